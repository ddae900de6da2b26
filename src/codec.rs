//! Primitives of all stored formats: LEB128 numbers and length-prefixed bytes.
//!
//! Reading never panics and never runs past the end: [`Reader`] returns [`Torn`], and its caller names the value that
//! was torn. Writing appends to a `Vec<u8>`.

/// A truncated value, or a number that is not well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes end in the middle of a value or hold an ill-formed number")]
pub struct Torn;

/// Appends `number` as LEB128: 7 bits a byte, least significant first, 1 to 10 bytes.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the length of `bytes` as LEB128, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number of bytes that [`put_varint`] writes.
pub fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes values off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Torn`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Torn> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Torn)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    ///
    /// [`Torn`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Torn> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Torn)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// [`Torn`] at the end.
    pub fn byte(&mut self) -> Result<u8, Torn> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A LEB128 number.
    ///
    /// # Errors
    ///
    /// [`Torn`] at the end, past 64 bits, or when a shorter form would have done (so equal numbers are equal bytes).
    pub fn varint(&mut self) -> Result<u64, Torn> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte carries bit 63 alone.
            if shift == 63 && bits > 1 {
                return Err(Torn);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                // A last byte of zero adds nothing: the same number has a shorter form.
                let padded = byte == 0 && shift > 0;
                return if padded { Err(Torn) } else { Ok(number) };
            }
        }
        Err(Torn)
    }

    /// A LEB128 number that must fit 32 bits.
    ///
    /// # Errors
    ///
    /// [`Torn`] as for [`Reader::varint`], or when the number is larger.
    pub fn varint_u32(&mut self) -> Result<u32, Torn> {
        u32::try_from(self.varint()?).map_err(|_| Torn)
    }

    /// Bytes with their length in front.
    ///
    /// # Errors
    ///
    /// [`Torn`] when fewer are left than the length says.
    pub fn bytes(&mut self) -> Result<&'a [u8], Torn> {
        let len = usize::try_from(self.varint()?).map_err(|_| Torn)?;
        self.take(len)
    }

    /// UTF-8 text with its length in front.
    ///
    /// # Errors
    ///
    /// [`Torn`] when it is cut or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Torn> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Torn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varint_round_trips_in_its_stated_length(number: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            prop_assert_eq!(out.len(), varint_len(number));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_read_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.bytes().is_ok() && !reader.is_empty() {}
        }
    }

    #[test]
    fn ill_formed_numbers_are_refused() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0x80, 0x00],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            assert_eq!(Reader::new(bytes).varint(), Err(Torn), "{bytes:x?}");
        }
    }
}

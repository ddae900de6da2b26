//! Tokens of an entry's text: numbers, hashes, base64 and percent-encoding, each with one spelling, written and read.

use std::{borrow::Cow, io::Write as _};

use data_encoding::BASE64;

/// A whole record, in place of the index of a value.
pub(super) const WHOLE_RECORD: &str = "*";

/// Maximum number of decimal digits of a 64-bit number.
const DIGITS_MAX: usize = 20;

/// Appends a decimal number. Not `write!`: each entry has several short numbers, and its machinery costs more than a
/// hash.
pub(super) fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut start) = ([b'0'; DIGITS_MAX], DIGITS_MAX - 1);
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            start = place;
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends `text` with space, control characters and "%" percent-encoded.
pub(super) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        if byte <= b' ' || byte == b'%' || byte == 0x7f {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(byte);
        }
    }
}

pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(bytes.len()), 0);
    BASE64.encode_mut(bytes, &mut out[start..]);
}

/// Reads a decimal number without a sign or leading zeros.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| canonical)
}

/// Reads a hash: 32 bytes are 44 characters of base64, for which the decoder wants room for 33 bytes.
pub(super) fn hash(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 33];
    let room = BASE64.decode_len(text.len()).ok().filter(|room| *room == bytes.len())?;
    let decoded = BASE64.decode_mut(text.as_bytes(), &mut bytes[..room]).ok()?;
    bytes.first_chunk().filter(|hash| hash.len() == decoded).copied()
}

/// Undoes the percent-encoding of space, control characters and "%"; `None` for a spelling that the writer does not
/// make.
pub(super) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b' ')) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |digit: u8| (digit as char).to_digit(16).filter(|_| !digit.is_ascii_lowercase());
                let byte = (digit(*high)? * 16 + digit(*low)?) as u8;
                if byte > b' ' && byte != b'%' && byte != 0x7f {
                    return None;
                }
                bytes.push(byte);
                behind
            }
            (b'%' | b' ', _) => return None,
            (plain, behind) => {
                bytes.push(plain);
                behind
            }
        };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_library_does() {
        for number in [0, 1, 9, 10, 99, 100, 1_763_820_000_123, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = b"at ".to_vec();
            put_decimal(&mut out, number);
            assert_eq!(out, format!("at {number}").into_bytes());
        }
    }
}

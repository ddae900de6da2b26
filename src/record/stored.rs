//! The stored form of a value, and the canonical bytes that its commitment covers.
//!
//! ```text
//! stored value    = index (varint) · type (length, bytes) · canonical bytes (length, bytes)
//! canonical bytes = permissions (1 byte) · ttl seconds (varint) · timestamp seconds (varint, 0 = the entry's own time)
//!                   · reference count (varint) · { identifier (length, bytes) · index (varint) } · data (to the end)
//! ```
//!
//! A ledger entry commits to `type 0x00 canonical bytes`, so the canonical bytes must not change for a value that is
//! already in a ledger. Formats with another layout take another frame version (`ledger::segment`).

use bytes::Bytes;

use super::{Permissions, Reference, Value, ValueType, ValueView, Values};
use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    id::Identifier,
};

/// Appends the canonical bytes of a value.
pub fn put_canonical(out: &mut Vec<u8>, value: &Value) {
    out.push(value.permissions.bits());
    put_varint(out, u64::from(value.ttl));
    put_varint(out, value.timestamp);
    put_varint(out, value.references.len() as u64);
    for reference in &value.references {
        put_bytes(out, reference.identifier.as_str().as_bytes());
        put_varint(out, u64::from(reference.index));
    }
    out.extend_from_slice(&value.data);
}

/// An upper bound of the stored length of a value, in bytes, computed without encoding it.
pub fn value_len_max(value: &Value) -> usize {
    // Index and lengths of a reference take at most 8 bytes, those of the value at most 32.
    let references: usize = value.references.iter().map(|reference| reference.identifier.as_str().len() + 8).sum();
    value.data.len() + value.kind.as_str().len() + references + 32
}

/// A stored value whose parts still lie in the bytes they were read from.
#[derive(Clone, Copy, Debug)]
pub struct StoredValue<'a> {
    /// The value's index.
    pub index: u32,
    /// The value's type.
    pub kind: &'a str,
    /// The canonical bytes, which the commitment covers together with the type.
    pub canonical: &'a [u8],
}

impl<'a> StoredValue<'a> {
    /// Reads one stored value.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the bytes are not a stored value.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Torn> {
        Ok(Self { index: reader.varint_u32()?, kind: reader.text()?, canonical: reader.bytes()? })
    }

    /// Appends the stored form.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.index));
        put_bytes(out, self.kind.as_bytes());
        put_bytes(out, self.canonical);
    }

    /// Decodes the value into owned parts.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the canonical bytes are not those of a value.
    pub fn decode(&self) -> Result<Value, Torn> {
        let mut reader = Reader::new(self.canonical);
        let CanonicalHead { permissions, ttl, timestamp, references } = CanonicalHead::read(&mut reader)?;
        let references = (0..references).map(|_| read_reference(&mut reader)).collect::<Result<_, _>>()?;
        let kind: ValueType = self.kind.parse().map_err(|_| Torn)?;
        let data = Bytes::copy_from_slice(reader.rest());
        Ok(Value { index: self.index, kind, data, ttl, timestamp, permissions, references })
    }

    /// Decodes the value in place, without copying.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the canonical bytes are not those of a value.
    pub fn view(&self) -> Result<ValueView<'a>, Torn> {
        let mut reader = Reader::new(self.canonical);
        let CanonicalHead { permissions, ttl, references, .. } = CanonicalHead::read(&mut reader)?;
        for _ in 0..references {
            reader.bytes()?;
            reader.varint_u32()?;
        }
        Ok(ValueView { index: self.index, kind: self.kind, data: reader.rest(), ttl, permissions })
    }
}

/// The head of canonical bytes, in front of the references.
struct CanonicalHead {
    permissions: Permissions,
    ttl: u32,
    timestamp: u64,
    /// Number of references that follow.
    references: u64,
}

impl CanonicalHead {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Torn> {
        let permissions = Permissions::from_bits(u32::from(reader.byte()?)).map_err(|_| Torn)?;
        let ttl = reader.varint_u32()?;
        let timestamp = reader.varint()?;
        let references = reader.varint()?;
        if references > Value::REFERENCES_MAX as u64 {
            return Err(Torn);
        }
        Ok(Self { permissions, ttl, timestamp, references })
    }
}

fn read_reference(reader: &mut Reader<'_>) -> Result<Reference, Torn> {
    let identifier = Identifier::parse(reader.text()?).map_err(|_| Torn)?;
    Ok(Reference { identifier, index: reader.varint_u32()? })
}

/// Decodes the values of an entry, and sets the entry's time on those without a timestamp of their own.
///
/// # Errors
///
/// [`Torn`] if one of them is no value, or if they break a rule of [`Values`].
pub fn decode_values(stored: &[StoredValue<'_>], entry_time_ms: u64) -> Result<Values, Torn> {
    let values = stored.iter().map(StoredValue::decode).collect::<Result<Vec<_>, _>>()?;
    let mut values = Values::new(values).map_err(|_| Torn)?;
    values.stamp(entry_time_ms / 1_000);
    Ok(values)
}

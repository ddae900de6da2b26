//! A record in few bytes, as caches hold it: its text, its numbers and its values one behind the other.
//!
//! ```text
//! packed = identifier (length, bytes) · version (varint) · ledger index (varint) · time (varint) · { value }, to the end
//! value  = index (varint) · type (length, bytes) · permissions (1 byte) · TTL (varint) · timestamp (varint)
//!          · reference count (varint) · { identifier (length, bytes) · index (varint) } · data (length, bytes)
//! ```
//!
//! A record of four short values takes about 200 bytes in one piece, and a sixth of what its parts take apart. Front ends
//! encode from the packed values in place. Packed bytes stay in the memory of one process: they are no format.

use std::sync::Arc;

use bytes::Bytes;

use super::{Permissions, Record, Reference, Status, Value, ValueView, Values, Version};
use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    id::Identifier,
};

/// An active record without edges, outputs and erased values, packed; a clone shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRecord(Arc<[u8]>);

/// The head of a packed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedHead<'a> {
    /// The identifier, as first registered.
    pub identifier: &'a str,
    /// The version.
    pub version: Version,
}

/// A value of a packed record.
#[derive(Clone, Debug)]
pub struct PackedValue<'a> {
    /// The value without its time and references.
    pub view: ValueView<'a>,
    /// As in [`Value::timestamp`].
    pub timestamp: u64,
    /// A reader at the first reference, and their number.
    references: Reader<'a>,
    reference_count: u64,
}

impl PackedRecord {
    /// Packs a record; `None` for the few records that have more than values.
    pub fn of(record: &Record) -> Option<Self> {
        let Record { identifier, values, values_erased, status, version, edges, edges_truncated, outputs } = record;
        let has_more = !edges.is_empty() || *edges_truncated || outputs.is_some() || !values_erased.is_empty();
        if has_more || *status != Status::Active {
            return None;
        }
        let mut packed = Vec::with_capacity(256);
        put_bytes(&mut packed, identifier.as_str().as_bytes());
        put_varint(&mut packed, version.number);
        put_varint(&mut packed, version.ledger_index);
        put_varint(&mut packed, version.time_ms);
        for value in values.iter() {
            put_value(&mut packed, value);
        }
        Some(Self(packed.into()))
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a packed record has an identifier at least")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The head.
    pub fn head(&self) -> PackedHead<'_> {
        self.open().0
    }

    /// The values, in order of their indexes.
    pub fn values(&self) -> impl Iterator<Item = PackedValue<'_>> {
        let (_, mut reader) = self.open();
        std::iter::from_fn(move || if reader.is_empty() { None } else { PackedValue::read(&mut reader).ok() })
    }

    /// The record.
    pub fn unpack(&self) -> Record {
        let PackedHead { identifier, version } = self.head();
        let reference = |(identifier, index): (&str, u32)| {
            let identifier = parsed(Identifier::parse(identifier));
            Reference { identifier, index }
        };
        let value = |value: PackedValue<'_>| Value {
            index: value.view.index,
            kind: parsed(value.view.kind.parse()),
            data: Bytes::copy_from_slice(value.view.data),
            ttl: value.view.ttl,
            timestamp: value.timestamp,
            permissions: value.view.permissions,
            references: value.references().map(reference).collect(),
        };
        Record {
            identifier: parsed(Identifier::parse(identifier)),
            values: parsed(Values::new(self.values().map(value).collect())),
            values_erased: Vec::new(),
            status: Status::Active,
            version,
            edges: Vec::new(),
            edges_truncated: false,
            outputs: None,
        }
    }

    /// The head, and a reader at the first value.
    fn open(&self) -> (PackedHead<'_>, Reader<'_>) {
        let mut reader = Reader::new(&self.0);
        let mut head = || {
            let identifier = reader.text()?;
            let (number, ledger_index, time_ms) = (reader.varint()?, reader.varint()?, reader.varint()?);
            Ok::<_, Torn>(PackedHead { identifier, version: Version { number, ledger_index, time_ms } })
        };
        (parsed(head()), reader)
    }
}

impl<'a> PackedValue<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Torn> {
        let (index, kind) = (reader.varint_u32()?, reader.text()?);
        let permissions = Permissions::from_bits(u32::from(reader.byte()?)).map_err(|_| Torn)?;
        let (ttl, timestamp, reference_count) = (reader.varint_u32()?, reader.varint()?, reader.varint()?);
        let references = reader.clone();
        for _ in 0..reference_count {
            reader.bytes()?;
            reader.varint_u32()?;
        }
        let view = ValueView { index, kind, data: reader.bytes()?, ttl, permissions };
        Ok(Self { view, timestamp, references, reference_count })
    }

    /// The references: identifier and value index of each.
    pub fn references(&self) -> impl Iterator<Item = (&'a str, u32)> {
        let mut reader = self.references.clone();
        (0..self.reference_count).map_while(move |_| Some((reader.text().ok()?, reader.varint_u32().ok()?)))
    }
}

fn put_value(packed: &mut Vec<u8>, value: &Value) {
    put_varint(packed, u64::from(value.index));
    put_bytes(packed, value.kind.as_str().as_bytes());
    packed.push(value.permissions.bits());
    put_varint(packed, u64::from(value.ttl));
    put_varint(packed, value.timestamp);
    put_varint(packed, value.references.len() as u64);
    for reference in &value.references {
        put_bytes(packed, reference.identifier.as_str().as_bytes());
        put_varint(packed, u64::from(reference.index));
    }
    put_bytes(packed, &value.data);
}

/// A part of bytes that [`PackedRecord::of`] wrote from checked parts.
#[expect(clippy::expect_used, reason = "the bytes were packed from a record, and nothing but this process holds them")]
fn parsed<T, E: std::fmt::Debug>(part: Result<T, E>) -> T {
    part.expect("what was packed can be unpacked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Edge, EdgeType};

    fn record(values: Vec<Value>) -> Record {
        Record {
            identifier: Identifier::parse("88.118.8/Bearing").unwrap(),
            values: Values::new(values).unwrap(),
            values_erased: Vec::new(),
            status: Status::Active,
            version: Version { number: 3, ledger_index: u64::MAX, time_ms: 1_700_000_000_123 },
            edges: Vec::new(),
            edges_truncated: false,
            outputs: None,
        }
    }

    fn value(index: u32, kind: &str, data: &[u8]) -> Value {
        let reference = |index| Reference { identifier: Identifier::parse("1.3.6.1").unwrap(), index };
        Value {
            index,
            kind: kind.parse().unwrap(),
            data: data.to_vec().into(),
            ttl: index % 1_000 * 7,
            timestamp: u64::from(index) << 33,
            permissions: Permissions::DEFAULT,
            references: (0..index % 3).map(reference).collect(),
        }
    }

    #[test]
    fn what_is_packed_comes_back() {
        for values in [
            vec![],
            vec![value(1, "NAME", b"Ball bearing 6205")],
            vec![
                value(1, "URL", b""),
                value(2, "SVC:epcis", &[0xff; 300]),
                value(5, "X", b"\0"),
                value(u32::MAX >> 4, "Y", b"y"),
            ],
        ] {
            let record = record(values);
            let packed = PackedRecord::of(&record).unwrap();
            assert_eq!(packed.unpack(), record);
            assert_eq!((packed.head().identifier, packed.head().version), (record.identifier.as_str(), record.version));
            let views: Vec<_> = packed.values().map(|value| value.view).collect();
            assert_eq!(views, record.values.iter().map(Value::view).collect::<Vec<_>>());
        }
    }

    #[test]
    fn records_with_more_than_values_stay_as_they_are() {
        let to = Identifier::parse("88.1/b").unwrap();
        let edge = Edge { kind: EdgeType::MadeOf, to, quantity: None, valid_from_ms: None };
        for more in [
            Record { edges: vec![edge], ..record(vec![]) },
            Record { edges_truncated: true, ..record(vec![]) },
            Record { status: Status::Retired, ..record(vec![]) },
            Record { values_erased: vec![1], ..record(vec![]) },
            Record { outputs: Some(Default::default()), ..record(vec![]) },
        ] {
            assert_eq!(PackedRecord::of(&more), None, "{more:?}");
        }
    }
}

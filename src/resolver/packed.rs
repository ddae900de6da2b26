//! A record in few bytes, as the cache holds it: one message, from which every front end takes what it needs.
//!
//! The layout is that of the message `Record` of `record.proto` (Protocol Buffers, "Encoding"): fields in the order of
//! their numbers, and none that has its default. So gRPC, over which most answers leave, copies it, and the others read it
//! in place; a test of the gRPC messages holds the two together. Packed bytes stay in the memory of one process: they are
//! no format on disk.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    id::Identifier,
    record::{Permissions, Record, Reference, Status, Value, ValueView, Values, Version},
};

/// Field numbers of the messages `Record`, `Value` and `Reference`, and the number of an active status.
mod field {
    pub(super) const RECORD_IDENTIFIER: u8 = 1;
    pub(super) const RECORD_STATUS: u8 = 2;
    pub(super) const RECORD_VALUES: u8 = 3;
    pub(super) const RECORD_VERSION: u8 = 5;
    pub(super) const RECORD_LEDGER_INDEX: u8 = 6;
    pub(super) const RECORD_TIME: u8 = 7;
    pub(super) const VALUE_INDEX: u8 = 1;
    pub(super) const VALUE_TYPE: u8 = 2;
    pub(super) const VALUE_DATA: u8 = 3;
    pub(super) const VALUE_TTL: u8 = 4;
    pub(super) const VALUE_TIMESTAMP: u8 = 5;
    pub(super) const VALUE_PERMISSIONS: u8 = 6;
    pub(super) const VALUE_REFERENCES: u8 = 7;
    pub(super) const REFERENCE_IDENTIFIER: u8 = 1;
    pub(super) const REFERENCE_INDEX: u8 = 2;
    pub(super) const STATUS_ACTIVE: u64 = 1;
}

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
#[derive(Clone, Copy, Debug)]
pub struct PackedValue<'a> {
    /// The value without its time and references.
    pub view: ValueView<'a>,
    /// As in [`Value::timestamp`].
    pub timestamp: u64,
    /// The whole message.
    message: &'a [u8],
}

impl PackedRecord {
    /// Packs a record; `None` for the few records that have more than values.
    pub fn of(record: &Record) -> Option<Self> {
        let Record { identifier, values, values_erased, status, version, edges, edges_truncated, outputs } = record;
        let has_more = !edges.is_empty() || *edges_truncated || outputs.is_some() || !values_erased.is_empty();
        // What is packed is parsed again. No identifier is known that is not its own canonical form; one that is not would be
        // held as it is, for a record of another node must never end a task.
        let is_stable =
            |identifier: &Identifier| Identifier::parse(identifier.as_str()).is_ok_and(|again| again == *identifier);
        let mut referenced = values.iter().flat_map(|value| &value.references);
        if has_more
            || *status != Status::Active
            || !is_stable(identifier)
            || !referenced.all(|reference| is_stable(&reference.identifier))
        {
            return None;
        }
        let (mut packed, mut message) = (Vec::with_capacity(512), Vec::with_capacity(128));
        put_text(&mut packed, field::RECORD_IDENTIFIER, identifier.as_str().as_bytes());
        put_number(&mut packed, field::RECORD_STATUS, field::STATUS_ACTIVE);
        for value in values.iter() {
            message.clear();
            put_value(&mut message, value);
            put_message(&mut packed, field::RECORD_VALUES, &message);
        }
        put_number(&mut packed, field::RECORD_VERSION, version.number);
        put_number(&mut packed, field::RECORD_LEDGER_INDEX, version.ledger_index);
        put_number(&mut packed, field::RECORD_TIME, version.time_ms);
        Some(Self(packed.into()))
    }

    /// The message `Record`.
    pub fn as_message(&self) -> &[u8] {
        &self.0
    }

    /// The head.
    pub fn head(&self) -> PackedHead<'_> {
        let version = Version { number: 0, ledger_index: 0, time_ms: 0 };
        let mut head = PackedHead { identifier: "", version };
        for (number, field) in MessageFields(Reader::new(&self.0)) {
            match (number, field) {
                (field::RECORD_IDENTIFIER, Field::Bytes(text)) => head.identifier = unpacked(std::str::from_utf8(text)),
                (field::RECORD_VERSION, Field::Number(number)) => head.version.number = number,
                (field::RECORD_LEDGER_INDEX, Field::Number(index)) => head.version.ledger_index = index,
                (field::RECORD_TIME, Field::Number(time)) => head.version.time_ms = time,
                _ => {}
            }
        }
        head
    }

    /// The values, in order of their indexes.
    pub fn values(&self) -> impl Iterator<Item = PackedValue<'_>> {
        MessageFields(Reader::new(&self.0)).filter_map(|field| match field {
            (field::RECORD_VALUES, Field::Bytes(message)) => Some(PackedValue::read(message)),
            _ => None,
        })
    }

    /// The record.
    pub fn unpack(&self) -> Record {
        let PackedHead { identifier, version } = self.head();
        let reference = |(identifier, index): (&str, u32)| {
            let identifier = unpacked(Identifier::parse(identifier));
            Reference { identifier, index }
        };
        let value = |value: PackedValue<'_>| Value {
            index: value.view.index,
            kind: unpacked(value.view.kind.parse()),
            data: Bytes::copy_from_slice(value.view.data),
            ttl: value.view.ttl,
            timestamp: value.timestamp,
            permissions: value.view.permissions,
            references: value.references().map(reference).collect(),
        };
        Record {
            identifier: unpacked(Identifier::parse(identifier)),
            values: unpacked(Values::new(self.values().map(value).collect())),
            values_erased: Vec::new(),
            status: Status::Active,
            version,
            edges: Vec::new(),
            edges_truncated: false,
            outputs: None,
        }
    }
}

impl<'a> PackedValue<'a> {
    fn read(message: &'a [u8]) -> Self {
        let mut view = ValueView { index: 0, kind: "", data: &[], ttl: 0, permissions: Permissions::DEFAULT };
        let mut timestamp = 0;
        for (number, field) in MessageFields(Reader::new(message)) {
            match (number, field) {
                (field::VALUE_INDEX, Field::Number(index)) => view.index = unpacked(u32::try_from(index)),
                (field::VALUE_TYPE, Field::Bytes(text)) => view.kind = unpacked(std::str::from_utf8(text)),
                (field::VALUE_DATA, Field::Bytes(data)) => view.data = data,
                (field::VALUE_TTL, Field::Number(ttl)) => view.ttl = unpacked(u32::try_from(ttl)),
                (field::VALUE_TIMESTAMP, Field::Number(time)) => timestamp = time,
                (field::VALUE_PERMISSIONS, Field::Number(bits)) => {
                    view.permissions = unpacked(Permissions::from_bits(unpacked(u32::try_from(bits))));
                }
                _ => {}
            }
        }
        Self { view, timestamp, message }
    }

    /// The references: identifier and value index of each.
    pub fn references(&self) -> impl Iterator<Item = (&'a str, u32)> + use<'a> {
        MessageFields(Reader::new(self.message)).filter_map(|field| match field {
            (field::VALUE_REFERENCES, Field::Bytes(message)) => Some(reference(message)),
            _ => None,
        })
    }
}

fn reference(message: &[u8]) -> (&str, u32) {
    let mut reference = ("", 0);
    for (number, field) in MessageFields(Reader::new(message)) {
        match (number, field) {
            (field::REFERENCE_IDENTIFIER, Field::Bytes(text)) => reference.0 = unpacked(std::str::from_utf8(text)),
            (field::REFERENCE_INDEX, Field::Number(index)) => reference.1 = unpacked(u32::try_from(index)),
            _ => {}
        }
    }
    reference
}

/// Wire types: a varint, and bytes behind their length.
const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// The content of a field.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, in order.
struct MessageFields<'a>(Reader<'a>);

impl<'a> Iterator for MessageFields<'a> {
    type Item = (u8, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut read = || {
            let key = self.0.byte()?;
            let field = match key & 7 {
                VARINT => Field::Number(self.0.varint()?),
                LENGTH_DELIMITED => Field::Bytes(self.0.bytes()?),
                _ => return Err(Torn),
            };
            Ok((key >> 3, field))
        };
        Some(unpacked(read()))
    }
}

/// A part of bytes that [`PackedRecord::of`] wrote from checked parts.
#[expect(clippy::expect_used, reason = "the bytes were packed from a record, and nothing but this process holds them")]
fn unpacked<T, E: std::fmt::Debug>(part: Result<T, E>) -> T {
    part.expect("what was packed can be unpacked")
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    put_number(out, field::VALUE_INDEX, value.index.into());
    put_text(out, field::VALUE_TYPE, value.kind.as_str().as_bytes());
    put_text(out, field::VALUE_DATA, &value.data);
    put_present(out, field::VALUE_TTL, value.ttl.into());
    put_number(out, field::VALUE_TIMESTAMP, value.timestamp);
    put_present(out, field::VALUE_PERMISSIONS, value.permissions.bits().into());
    for reference in &value.references {
        let mut message = Vec::with_capacity(64);
        put_text(&mut message, field::REFERENCE_IDENTIFIER, reference.identifier.as_str().as_bytes());
        put_number(&mut message, field::REFERENCE_INDEX, reference.index.into());
        put_message(out, field::VALUE_REFERENCES, &message);
    }
}

/// A number, left out if it is 0.
fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    if number != 0 {
        put_present(out, field, number);
    }
}

/// A number with presence.
fn put_present(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3 | VARINT);
    put_varint(out, number);
}

/// A text or bytes, left out if empty.
fn put_text(out: &mut Vec<u8>, field: u8, text: &[u8]) {
    if !text.is_empty() {
        put_message(out, field, text);
    }
}

fn put_message(out: &mut Vec<u8>, field: u8, message: &[u8]) {
    out.push(field << 3 | LENGTH_DELIMITED);
    put_bytes(out, message);
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

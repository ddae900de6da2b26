//! Packed records as messages: encoded from the packed bytes in place, without a message in between.
//!
//! The result is what `prost` makes of the same record, byte for byte: fields in the order of their numbers, and none that
//! has its default (Protocol Buffers, "Encoding").

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{Encoded, pb};
use crate::record::{PackedRecord, PackedValue};

/// Field numbers in `record.proto` and `resolver.proto`.
mod field {
    pub(super) const ANSWER_FOUND: u32 = 1;
    pub(super) const RECORD_IDENTIFIER: u32 = 1;
    pub(super) const RECORD_STATUS: u32 = 2;
    pub(super) const RECORD_VALUES: u32 = 3;
    pub(super) const RECORD_VERSION: u32 = 5;
    pub(super) const RECORD_LEDGER_INDEX: u32 = 6;
    pub(super) const RECORD_TIME: u32 = 7;
    pub(super) const VALUE_INDEX: u32 = 1;
    pub(super) const VALUE_TYPE: u32 = 2;
    pub(super) const VALUE_DATA: u32 = 3;
    pub(super) const VALUE_TTL: u32 = 4;
    pub(super) const VALUE_TIMESTAMP: u32 = 5;
    pub(super) const VALUE_PERMISSIONS: u32 = 6;
    pub(super) const VALUE_REFERENCES: u32 = 7;
    pub(super) const REFERENCE_IDENTIFIER: u32 = 1;
    pub(super) const REFERENCE_INDEX: u32 = 2;
}

/// Bytes that a record takes as a message beyond its packed form, for most records.
const MORE_BYTES: usize = 64;

/// An `Answer` with a packed record.
pub(super) fn encode_packed(packed: &PackedRecord) -> Encoded {
    let head = packed.head();
    let mut answer = Vec::with_capacity(packed.len() + MORE_BYTES);
    put_message(&mut answer, field::ANSWER_FOUND, packed.len(), |record| {
        put_bytes(record, field::RECORD_IDENTIFIER, head.identifier.as_bytes());
        put_number(record, field::RECORD_STATUS, pb::Status::Active as u64);
        for value in packed.values() {
            put_message(record, field::RECORD_VALUES, value.view.data.len(), |out| put_value(out, &value));
        }
        put_number(record, field::RECORD_VERSION, head.version.number);
        put_number(record, field::RECORD_LEDGER_INDEX, head.version.ledger_index);
        put_number(record, field::RECORD_TIME, head.version.time_ms);
    });
    Encoded(answer.into())
}

fn put_value(out: &mut Vec<u8>, value: &PackedValue<'_>) {
    put_number(out, field::VALUE_INDEX, value.view.index.into());
    put_bytes(out, field::VALUE_TYPE, value.view.kind.as_bytes());
    put_bytes(out, field::VALUE_DATA, value.view.data);
    put_present(out, field::VALUE_TTL, value.view.ttl.into());
    put_number(out, field::VALUE_TIMESTAMP, value.timestamp);
    put_present(out, field::VALUE_PERMISSIONS, value.view.permissions.bits().into());
    for (identifier, index) in value.references() {
        put_message(out, field::VALUE_REFERENCES, identifier.len(), |reference| {
            put_bytes(reference, field::REFERENCE_IDENTIFIER, identifier.as_bytes());
            put_number(reference, field::REFERENCE_INDEX, index.into());
        });
    }
}

/// A number, left out if it is 0.
fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_present(out, field, number);
    }
}

/// A number with presence.
fn put_present(out: &mut Vec<u8>, field: u32, number: u64) {
    encode_key(field, WireType::Varint, out);
    encode_varint(number, out);
}

/// Bytes or a text, left out if empty.
fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// A message that `put` writes. Its length is known only behind it: room is left for the length of about `len` bytes, and
/// the message is moved where it takes another number of bytes.
fn put_message(out: &mut Vec<u8>, field: u32, len: usize, put: impl FnOnce(&mut Vec<u8>)) {
    encode_key(field, WireType::LengthDelimited, out);
    let at = out.len();
    let room = encoded_len_varint(len as u64);
    out.resize(at + room, 0);
    put(out);
    let len = out.len() - at - room;
    let mut varint = [0; 10];
    let mut rest = &mut varint[..];
    encode_varint(len as u64, &mut rest);
    let left = rest.len();
    let varint = &varint[..varint.len() - left];
    match varint.len() == room {
        true => out[at..at + room].copy_from_slice(varint),
        false => drop(out.splice(at..at + room, varint.iter().copied())),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        id::Identifier,
        protocol::grpc::record_to_pb,
        record::{Permissions, Record, Reference, Status, Value, Values, Version},
    };

    #[test]
    fn packed_records_are_encoded_as_messages_are() {
        let value = |index: u32, data: &[u8]| Value {
            index,
            kind: "SVC:epcis".parse().unwrap(),
            data: data.to_vec().into(),
            ttl: index % 2 * 86_400,
            timestamp: u64::from(index / 2) << 31,
            permissions: Permissions::from_bits(index % 16).unwrap(),
            references: (0..index % 3)
                .map(|index| Reference { identifier: Identifier::parse("88.1/b").unwrap(), index })
                .collect(),
        };
        for count in [0, 1, 2, 40] {
            let data = |nth: u32| vec![b'x'; nth as usize * 37 % 700];
            let record = Record {
                identifier: Identifier::parse("urn:oid:1.3.6.1").unwrap(),
                values: Values::new((1..=count).map(|nth| value(nth, &data(nth))).collect()).unwrap(),
                values_erased: Vec::new(),
                status: Status::Active,
                version: Version { number: 1 + u64::from(count), ledger_index: u64::from(count), time_ms: 1 << 40 },
                edges: Vec::new(),
                edges_truncated: false,
                outputs: None,
            };
            let found = Some(pb::answer::Outcome::Found(record_to_pb(&record)));
            let expected = pb::Answer { outcome: found, ..pb::Answer::default() }.encode_to_vec();
            assert_eq!(encode_packed(&PackedRecord::of(&record).unwrap()).0, expected, "{count} values");
        }
    }
}

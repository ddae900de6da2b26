//! Answers as they are sent: encoded already, or a packed record, which is a message but for its head.

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use super::{Encoded, pb};
use crate::resolver::PackedRecord;

/// Field number of `Answer.found`, and that of `ResolveBatchResponse.answers`.
const ANSWER_FOUND: u32 = 1;
const BATCH_ANSWERS: u32 = 1;

/// An `Answer` to be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum EncodedAnswer {
    /// An encoded answer.
    Encoded(Encoded),
    /// A packed record: the message in `Answer.found`.
    Packed(PackedRecord),
}

/// A `ResolveBatchResponse` to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedAnswers {
    /// The answers, in the order of the questions.
    pub answers: Vec<EncodedAnswer>,
}

impl EncodedAnswer {
    /// The answer with more fields behind its outcome, as [`Encoded::with`].
    #[must_use]
    pub fn with(&self, fields: &pb::Answer) -> Self {
        let encoded = match self {
            Self::Encoded(encoded) => encoded.with(fields),
            Self::Packed(_) => Encoded(self.encode_to_vec().into()).with(fields),
        };
        encoded.into()
    }
}

impl Default for EncodedAnswer {
    fn default() -> Self {
        Encoded::default().into()
    }
}

impl From<Encoded> for EncodedAnswer {
    fn from(encoded: Encoded) -> Self {
        Self::Encoded(encoded)
    }
}

impl Message for EncodedAnswer {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        match self {
            Self::Encoded(encoded) => encoded.encode_raw(buf),
            Self::Packed(packed) => put_message(ANSWER_FOUND, packed.as_message().len(), buf, |buf| {
                buf.put_slice(packed.as_message());
            }),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Encoded(encoded) => encoded.encoded_len(),
            Self::Packed(packed) => message_len(ANSWER_FOUND, packed.as_message().len()),
        }
    }

    /// Takes the message undecoded.
    fn merge(&mut self, buf: impl Buf) -> Result<(), DecodeError> {
        let mut encoded = Encoded::default();
        encoded.merge(buf)?;
        *self = encoded.into();
        Ok(())
    }

    /// Not called: [`EncodedAnswer`] decodes no fields.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for EncodedAnswers {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for answer in &self.answers {
            put_message(BATCH_ANSWERS, answer.encoded_len(), buf, |buf| answer.encode_raw(buf));
        }
    }

    fn encoded_len(&self) -> usize {
        self.answers.iter().map(|answer| message_len(BATCH_ANSWERS, answer.encoded_len())).sum()
    }

    /// Takes each answer undecoded.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != BATCH_ANSWERS {
            return prost::encoding::skip_field(wire_type, tag, buf, ctx);
        }
        let mut bytes = bytes::Bytes::default();
        prost::encoding::bytes::merge(wire_type, &mut bytes, buf, ctx)?;
        self.answers.push(Encoded(bytes).into());
        Ok(())
    }

    fn clear(&mut self) {
        self.answers.clear();
    }
}

/// A message of `len` bytes in a field, as `put` writes it.
fn put_message<B: BufMut>(field: u32, len: usize, buf: &mut B, put: impl FnOnce(&mut B)) {
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(len as u64, buf);
    put(buf);
}

/// Length of a field with a message of `len` bytes.
fn message_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
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
            let packed = EncodedAnswer::Packed(PackedRecord::of(&record).unwrap());
            assert_eq!(packed.encode_to_vec(), expected, "{count} values");
            let more = pb::Answer { resolution: Some(pb::Resolution::default()), ..pb::Answer::default() };
            let decoded = pb::Answer::decode(packed.with(&more).encode_to_vec().as_slice()).unwrap();
            assert_eq!(decoded, pb::Answer { resolution: more.resolution, ..pb::Answer::decode(&*expected).unwrap() });
            let batch = EncodedAnswers { answers: vec![packed.clone(), Encoded(expected.clone().into()).into()] };
            let bytes = batch.encode_to_vec();
            assert_eq!(batch.encoded_len(), bytes.len());
            let decoded = pb::ResolveBatchResponse::decode(&*bytes).unwrap();
            assert_eq!(decoded.answers, vec![pb::Answer::decode(&*expected).unwrap(); 2]);
            assert_eq!(EncodedAnswers::decode(&*bytes).unwrap().answers[0].encode_to_vec(), expected);
        }
    }
}

//! Answers that are encoded already.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, key_len, skip_field},
};

use super::{pb, record_to_pb, value_to_pb};
use crate::{
    id::ParseError,
    record::Record,
    resolver::{Answer, Filter},
};

/// Field number of `ResolveBatchResponse.answers`.
const ANSWERS_TAG: u32 = 1;

/// The bytes of an `Answer` message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WireAnswer(Bytes);

/// The bytes of the answers of a `ResolveBatchResponse` message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WireAnswers(pub Vec<WireAnswer>);

impl WireAnswer {
    /// Encodes an answer; a whole record is encoded once and kept with the cached answer.
    ///
    /// `asked` is the identifier as the client wrote it.
    pub fn new(answer: &Answer, asked: &str, filter: &Filter) -> Self {
        use pb::answer::Outcome;
        let identifier = || asked.to_owned();
        let outcome = match answer {
            Answer::Found(found) if filter.takes_all() => return Self(found.rendered(|record| whole(record).0)),
            Answer::Found(found) => Outcome::Found(filtered(found.record(), filter)),
            Answer::Retired(tombstone) => Outcome::Retired(pb::Retired {
                identifier: tombstone.identifier.to_string(),
                version: tombstone.version.number,
                ledger_index: tombstone.version.ledger_index,
                time: tombstone.version.time_ms,
            }),
            Answer::NotFound => Outcome::NotFound(pb::NotFound { identifier: identifier() }),
            Answer::Delegated(delegation) => {
                Outcome::Delegated(pb::Delegated { identifier: identifier(), prefix: delegation.prefix.clone() })
            }
            Answer::Denied => Outcome::Denied(pb::Denied { identifier: identifier() }),
        };
        Self::encode(outcome)
    }

    /// Encodes that what was asked is no identifier.
    pub fn invalid(asked: &str, error: &ParseError) -> Self {
        let identifier = asked.chars().take(256).collect();
        Self::encode(pb::answer::Outcome::Invalid(pb::Invalid { identifier, reason: error.to_string() }))
    }

    fn encode(outcome: pb::answer::Outcome) -> Self {
        Self(pb::Answer { outcome: Some(outcome) }.encode_to_vec().into())
    }
}

/// The public record as an encoded `Answer`.
fn whole(record: &Record) -> WireAnswer {
    WireAnswer::encode(pb::answer::Outcome::Found(record_to_pb(record)))
}

fn filtered(record: &Record, filter: &Filter) -> pb::Record {
    let mut answer = record_to_pb(record);
    answer.values = record.values.iter().filter(|value| filter.takes(value)).map(value_to_pb).collect();
    answer
}

impl Message for WireAnswer {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    /// Answers are only ever sent; what is received is skipped.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Message for WireAnswers {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for WireAnswer(bytes) in &self.0 {
            encode_key(ANSWERS_TAG, WireType::LengthDelimited, buf);
            encode_varint(bytes.len() as u64, buf);
            buf.put_slice(bytes);
        }
    }

    fn encoded_len(&self) -> usize {
        let field = |WireAnswer(bytes): &WireAnswer| {
            key_len(ANSWERS_TAG) + encoded_len_varint(bytes.len() as u64) + bytes.len()
        };
        self.0.iter().map(field).sum()
    }

    /// Answers are only ever sent; what is received is skipped.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_answers_are_what_the_definitions_say() {
        let not_found = WireAnswer::new(&Answer::NotFound, "88.1/a", &Filter::default());
        let denied = WireAnswer::new(&Answer::Denied, "88.1/b", &Filter::default());
        let batch = WireAnswers(vec![not_found.clone(), denied]);
        let answer = pb::Answer::decode(not_found.encode_to_vec().as_slice()).unwrap();
        let outcome = |answer: &pb::Answer| format!("{:?}", answer.outcome);
        assert!(outcome(&answer).contains("NotFound"), "{answer:?}");
        let decoded = pb::ResolveBatchResponse::decode(batch.encode_to_vec().as_slice()).unwrap();
        assert_eq!(decoded.answers[0], answer);
        assert!(outcome(&decoded.answers[1]).contains("Denied"), "{decoded:?}");
    }
}

//! Messages as bytes: answers that are encoded once, commands that are decoded one by one.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, skip_field},
};

use super::{delegation_to_pb, packed::EncodedAnswer, pb, record_to_pb, value_to_pb};
use crate::{
    id::ParseError,
    record::Record,
    resolver::{Answer, Filter, FoundForm},
};

/// An encoded message of any kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded(pub Bytes);

/// An `ApplyBatchRequest` with encoded commands, so that a command that cannot be decoded does not spoil the others.
#[derive(Clone, PartialEq, Message)]
pub struct EncodedCommands {
    /// `Command` messages.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub commands: Vec<Bytes>,
    /// True if all commands are carried out or none.
    #[prost(bool, tag = "2")]
    pub atomic: bool,
}

/// Encodes an answer: a packed record is a message already, another whole record is encoded once and cached.
///
/// `asked` is the identifier as the client wrote it.
pub fn encode_answer(answer: &Answer, asked: &str, filter: &Filter) -> EncodedAnswer {
    match answer {
        Answer::Found(found) if filter.takes_all() => match found.form() {
            FoundForm::Packed(packed) => EncodedAnswer::Packed(packed.clone()),
            FoundForm::Whole(record) => Encoded(record.rendered(|record| whole(record).0)).into(),
        },
        answer => encode(answer_to_pb(answer, asked, filter)).into(),
    }
}

/// An answer as a message; `asked` as for [`encode_answer`].
pub fn answer_to_pb(answer: &Answer, asked: &str, filter: &Filter) -> pb::answer::Outcome {
    use pb::answer::Outcome;
    let identifier = || asked.to_owned();
    match answer {
        Answer::Found(found) => Outcome::Found(filtered(&found.record(), filter)),
        Answer::Retired(tombstone) => Outcome::Retired(pb::Retired {
            identifier: tombstone.identifier.to_string(),
            version: tombstone.version.number,
            ledger_index: tombstone.version.ledger_index,
            time: tombstone.version.time_ms,
            erased: tombstone.erased,
        }),
        Answer::NotFound => Outcome::NotFound(pb::NotFound { identifier: identifier() }),
        Answer::Delegated(referral) => Outcome::Delegated(pb::Delegated {
            identifier: identifier(),
            prefix: referral.prefix.to_string(),
            delegation: Some(delegation_to_pb(&referral.delegation)),
            ledger_index: referral.ledger_index.unwrap_or_default(),
        }),
        Answer::NotResponsible => Outcome::NotResponsible(pb::NotResponsible { identifier: identifier() }),
        Answer::Denied => Outcome::Denied(pb::Denied { identifier: identifier() }),
    }
}

/// Encodes the answer to a text that is no identifier.
pub fn encode_invalid(asked: &str, error: &ParseError) -> Encoded {
    let identifier = asked.chars().take(256).collect();
    encode(pb::answer::Outcome::Invalid(pb::Invalid { identifier, reason: error.to_string() }))
}

/// An answer with nothing beside its outcome.
pub(super) fn encode(outcome: pb::answer::Outcome) -> Encoded {
    Encoded(pb::Answer { outcome: Some(outcome), ..pb::Answer::default() }.encode_to_vec().into())
}

/// The public record as an encoded `Answer`.
fn whole(record: &Record) -> Encoded {
    encode(pb::answer::Outcome::Found(record_to_pb(record)))
}

/// The record with the values that the filter takes.
fn filtered(record: &Record, filter: &Filter) -> pb::Record {
    let mut answer = record_to_pb(record);
    answer.values = record.values.iter().filter(|value| filter.takes(value)).map(value_to_pb).collect();
    answer
}

impl Encoded {
    /// The answer with more fields behind its outcome: concatenated parts of a message are one message (Protocol
    /// Buffers, "Last One Wins").
    #[must_use]
    pub fn with(&self, fields: &pb::Answer) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + fields.encoded_len());
        bytes.extend_from_slice(&self.0);
        fields.encode_raw(&mut bytes);
        Self(bytes.into())
    }
}

impl Message for Encoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    /// Takes the message undecoded.
    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
        self.0 = buf.copy_to_bytes(buf.remaining());
        Ok(())
    }

    /// Not called: [`Encoded`] decodes no fields.
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
    use crate::protocol::grpc::EncodedAnswers;

    #[test]
    fn encoded_answers_are_what_the_definitions_say() {
        let not_found = encode_answer(&Answer::NotFound, "88.1/a", &Filter::default());
        let denied = encode_answer(&Answer::Denied, "88.1/b", &Filter::default());
        let batch = EncodedAnswers { answers: vec![not_found.clone(), denied] };
        let answer = pb::Answer::decode(not_found.encode_to_vec().as_slice()).unwrap();
        let outcome = |answer: &pb::Answer| format!("{:?}", answer.outcome);
        assert!(outcome(&answer).contains("NotFound"), "{answer:?}");
        let decoded = pb::ResolveBatchResponse::decode(batch.encode_to_vec().as_slice()).unwrap();
        assert_eq!(decoded.answers[0], answer);
        assert!(outcome(&decoded.answers[1]).contains("Denied"), "{decoded:?}");
    }

    #[test]
    fn what_comes_in_is_kept_as_it_is() {
        let command = pb::Command { identifier: "88.1/a".into(), ..Default::default() };
        let batch = pb::ApplyBatchRequest { commands: vec![command.clone(), pb::Command::default()], atomic: true };
        let undecoded = EncodedCommands::decode(batch.encode_to_vec().as_slice()).unwrap();
        assert!(undecoded.atomic);
        assert_eq!(undecoded.commands, [command.encode_to_vec(), vec![]]);
        let single = Encoded::decode(command.encode_to_vec().as_slice()).unwrap();
        assert_eq!(pb::Command::decode(single.0).unwrap(), command);
    }
}

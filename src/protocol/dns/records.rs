//! Records at the name of an identifier: its values, its whole record and its outcome as records of the DNS.

use prost::Message as _;

use super::{
    answer::{AnswerHead, ExtendedError, Section, WireAnswer},
    rdata,
    wire::{kind, rcode},
};
use crate::{
    protocol::{
        grpc::record_to_pb,
        outcome::{DnsRcode, Outcome},
    },
    record::{Record, Value, ValueView},
};

/// TTL of the answer to ANY, in seconds: long, so that the question is not repeated often (RFC 8482 section 4.2).
const ANY_TTL_SECONDS: u32 = 3_600;
/// Usual length of the records of an answer together, in octets.
const RECORDS_OCTETS_USUAL: usize = 384;
/// INFO-CODE Other (RFC 8914 section 4.1).
const OTHER: u16 = 0;
/// The extended error of an answer without some of the values.
const LEFT_OUT: ExtendedError<'static> =
    ExtendedError { code: OTHER, text: "values too long for this type are left out" };

/// The answer of a type, [`kind::RECORD`] aside, for a record with these values.
pub(super) fn found(kind: u16, values: &[ValueView<'_>], ors_dummy: bool) -> WireAnswer {
    let mut set = RecordSet::new();
    match kind {
        kind::NAPTR => values.iter().for_each(|value| set.push_naptr(value)),
        // X.672 asks below the name of an OID only so that a DNAME can rewrite it, and for NAPTR only.
        _ if ors_dummy => {}
        kind::TXT => values.iter().for_each(|value| set.push_text(value)),
        kind::ANY => push_any(&mut set.answer),
        kind::URI => values.iter().for_each(|value| set.push_uri(value)),
        _ => {}
    }
    set.finish()
}

/// The answer that holds a whole record.
pub(super) fn whole(record: &Record) -> WireAnswer {
    let mut set = RecordSet::new();
    set.push_record(record);
    set.finish()
}

/// Types at the name of a record with these values.
pub(super) fn types(values: &[ValueView<'_>], ors_dummy: bool) -> Vec<u16> {
    let links = || values.iter().filter(|value| rdata::service(value).is_some());
    let has_naptr = links().any(|value| rdata::regexp(value.data).is_some());
    let mut types = Vec::new();
    for (kind, there) in [
        (kind::TXT, !ors_dummy && !values.is_empty()),
        (kind::NAPTR, has_naptr),
        (kind::URI, !ors_dummy && links().next().is_some()),
        (kind::RECORD, !ors_dummy),
    ] {
        if there {
            types.push(kind);
        }
    }
    types
}

/// Marks an answer without records as negative: no data (RFC 2308 section 2.2).
pub(super) fn or_no_data(mut answer: WireAnswer) -> WireAnswer {
    answer.head.negative = answer.head.answer_count() == 0;
    answer
}

/// The answer for an outcome without records, as the table of outcomes spells it.
pub(super) fn without_data(outcome: Outcome) -> WireAnswer {
    let code = match outcome.spelling().dns {
        DnsRcode::NoError => rcode::NOERROR,
        DnsRcode::ServFail => rcode::SERVFAIL,
        DnsRcode::NxDomain => rcode::NXDOMAIN,
        DnsRcode::Refused => rcode::REFUSED,
    };
    // The node has no authority over the other outcomes.
    let is_ours = matches!(outcome, Outcome::NotFound | Outcome::Retired | Outcome::Erased);
    let extended = extended(outcome);
    AnswerHead { authoritative: is_ours, negative: is_ours, extended, ..AnswerHead::new(code) }.into()
}

/// The extended error of an outcome, as the table of outcomes spells it.
pub(super) fn extended(outcome: Outcome) -> Option<ExtendedError<'static>> {
    let spelling = outcome.spelling();
    spelling.dns_extended.map(|code| ExtendedError { code, text: spelling.word })
}

/// The answer to ANY at a name that has records (RFC 8482 section 4.2).
pub(super) fn push_any(answer: &mut WireAnswer) {
    answer.push(Section::Answer, kind::HINFO, ANY_TTL_SECONDS, |out| out.extend_from_slice(b"\x07RFC8482\x00"));
}

/// Records of one name and type, as many as a message holds.
struct RecordSet {
    answer: WireAnswer,
    ttl: u32,
    left_out: bool,
}

impl RecordSet {
    fn new() -> Self {
        Self { answer: WireAnswer::with_room(RECORDS_OCTETS_USUAL), ttl: u32::MAX, left_out: false }
    }

    fn push(&mut self, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.answer.push(Section::Answer, kind, ttl, write) {
            self.ttl = self.ttl.min(ttl);
        } else {
            self.left_out = true;
        }
    }

    fn push_text(&mut self, value: &ValueView<'_>) {
        self.push(kind::TXT, value.ttl, |out| rdata::put_text(out, value));
    }

    fn push_naptr(&mut self, value: &ValueView<'_>) {
        let Some(service) = rdata::service(value) else { return };
        match rdata::regexp(value.data) {
            Some(regexp) => self.push(kind::NAPTR, value.ttl, |out| rdata::put_naptr(out, value, service, &regexp)),
            None => self.left_out = true,
        }
    }

    fn push_uri(&mut self, value: &ValueView<'_>) {
        if rdata::service(value).is_some() {
            self.push(kind::URI, value.ttl, |out| rdata::put_uri(out, value));
        }
    }

    fn push_record(&mut self, record: &Record) {
        let message = record_to_pb(record);
        let ttl = record.values.iter().map(|value| value.ttl).min().unwrap_or(Value::TTL_SECONDS_DEFAULT);
        self.push(kind::RECORD, ttl, |out| message.encode_raw(out));
    }

    /// The answer, with one TTL for all records (RFC 2181 section 5.2).
    fn finish(mut self) -> WireAnswer {
        if self.ttl != u32::MAX {
            self.answer.set_ttl(self.ttl);
        }
        self.answer.head.extended = self.left_out.then_some(LEFT_OUT);
        or_no_data(self.answer)
    }
}

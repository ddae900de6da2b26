//! What the zone says about a name and a type.

use std::{net::IpAddr, sync::Arc};

use prost::Message as _;

use super::{
    answer::{ExtendedError, OwnedAnswer, RECORD_OCTETS, Section},
    dnssec::DNSKEY_TTL_SECONDS,
    kind,
    message::{HEADER_OCTETS, Question, labels, rcode},
    rdata,
    zone::{NAME_SERVER_LABEL, NEGATIVE_TTL_SECONDS, Soa, ZONE_TTL_SECONDS, Zone},
};
use crate::{
    id::{
        Identifier,
        dns_name::{self, Below, NameMeaning, NameTarget},
    },
    protocol::{
        grpc::record_to_pb,
        outcome::{DnsRcode, Outcome},
    },
    record::{Record, Value, ValueView},
    resolver::{Answer, Depth, Reading, Resolver, Seen},
    store::{ReadError, Resident},
};

/// How long the answer to ANY may be kept, in seconds: long, so that the same is not asked often (RFC 8482 section 4.2).
const ANY_TTL_SECONDS: u32 = 3_600;
/// What the records of most answers take together, in octets.
const RECORDS_OCTETS_USUAL: usize = 384;
/// INFO-CODE for what has no other (RFC 8914 section 4.1).
const OTHER: u16 = 0;
/// A reply without some values.
const LEFT_OUT: ExtendedError = ExtendedError { code: OTHER, text: "values too long for this type are left out" };

/// Answers for the names of a zone.
pub(super) struct Authority {
    pub(super) resolver: Arc<Resolver>,
    pub(super) zone: Zone,
    pub(super) ledger_size: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// The sets of the keys of a signed zone: type, and the data of its records.
pub(super) type KeySets = Vec<(u16, Vec<Vec<u8>>)>;

/// What an answer follows from, and so what outdates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// A record that exists, or the zone itself.
    Record,
    /// That there is no record.
    NoRecord,
}

/// What the zone says.
pub(super) struct Said {
    pub(super) answer: OwnedAnswer,
    pub(super) basis: Basis,
    /// The types that the name has, where the answer has no records: for the denial of the others.
    pub(super) types: Vec<u16>,
}

impl Said {
    fn new(answer: OwnedAnswer, basis: Basis) -> Self {
        Self { answer, basis, types: Vec::new() }
    }

    /// That the name does not exist.
    fn nothing() -> Self {
        Self::new(without_data(Outcome::NotFound), Basis::NoRecord)
    }
}

impl Authority {
    /// The answer for a name in the zone, whose apex stands at this offset in the name.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when index or ledger cannot be read.
    pub(super) fn answer(
        &self,
        question: Question<'_>,
        zone_at: usize,
        keys: Option<&KeySets>,
        depth: Depth,
    ) -> Result<Resident<Said>, ReadError> {
        let before: Vec<&[u8]> = labels(&question.name()[..zone_at]).collect();
        match before.as_slice() {
            [] => Ok(Resident::Here(self.apex(question, keys))),
            [label] if label.eq_ignore_ascii_case(NAME_SERVER_LABEL) => Ok(Resident::Here(self.name_server(question))),
            labels => self.identifier(question.kind(), labels, depth),
        }
    }

    /// The data of the records of the answer section, with names in full, as they are signed.
    pub(super) fn signed_data(&self, kind: u16, answer: &OwnedAnswer) -> Vec<Vec<u8>> {
        match kind {
            kind::NS => vec![self.zone.name_server_data()],
            _ => answer.answer_data().into_iter().map(<[u8]>::to_vec).collect(),
        }
    }

    /// The SOA record of a negative answer, which says how long it may be kept (RFC 2308 section 3).
    pub(super) fn negative_soa(&self, zone_at: usize) -> Soa {
        Soa {
            apex_offset: HEADER_OCTETS + zone_at,
            serial: self.serial(),
            ttl: ZONE_TTL_SECONDS.min(NEGATIVE_TTL_SECONDS),
            signed: None,
        }
    }

    /// The answer to a question for the SOA record, which follows from the size of the ledger at this moment.
    pub(super) fn soa(&self) -> (OwnedAnswer, u32) {
        let (mut answer, soa) = (authoritative(), self.negative_soa(0));
        answer.push(Section::Answer, kind::SOA, ZONE_TTL_SECONDS, |out| soa.put_data(out));
        (answer, soa.serial)
    }

    /// The version of the zone: the size of the ledger, mod 2^32. It grows with every change of a record (RFC 1982).
    fn serial(&self) -> u32 {
        (self.ledger_size)() as u32
    }

    fn apex(&self, question: Question<'_>, keys: Option<&KeySets>) -> Said {
        let mut answer = authoritative();
        match (question.kind(), keys) {
            (kind::NS, _) => {
                answer.push(Section::Answer, kind::NS, ZONE_TTL_SECONDS, |out| {
                    Zone::put_name_server(out, HEADER_OCTETS);
                });
                // The addresses belong to the name in the data of the record before, which is as long as its two parts.
                let name_server_at = HEADER_OCTETS + question.octets().len() + RECORD_OCTETS;
                self.push_addresses(&mut answer, Section::Additional, name_server_at, |_| true);
            }
            (kind::ANY, _) => push_any(&mut answer),
            (asked, Some(keys)) => {
                let set = keys.iter().filter(|(kind, _)| *kind == asked).flat_map(|(_, set)| set);
                for data in set {
                    answer.push(Section::Answer, asked, DNSKEY_TTL_SECONDS, |out| out.extend_from_slice(data));
                }
            }
            _ => {}
        }
        let mut types = vec![kind::NS, kind::SOA];
        types.extend(keys.into_iter().flatten().map(|(kind, _)| *kind));
        Said { answer: or_no_data(answer), basis: Basis::Record, types }
    }

    fn name_server(&self, question: Question<'_>) -> Said {
        let mut answer = authoritative();
        match question.kind() {
            kind::ANY if !self.zone.addresses().is_empty() => push_any(&mut answer),
            asked => self.push_addresses(&mut answer, Section::Answer, HEADER_OCTETS, |kind| kind == asked),
        }
        let type_of = |address: &IpAddr| if address.is_ipv4() { kind::A } else { kind::AAAA };
        let mut types: Vec<u16> = self.zone.addresses().iter().map(type_of).collect();
        types.sort_unstable();
        types.dedup();
        Said { answer: or_no_data(answer), basis: Basis::Record, types }
    }

    /// Adds the addresses of the node, as far as their type is wanted.
    fn push_addresses(&self, answer: &mut OwnedAnswer, section: Section, owner: usize, wanted: impl Fn(u16) -> bool) {
        for address in self.zone.addresses() {
            match address {
                IpAddr::V4(address) if wanted(kind::A) => {
                    answer.push_at(section, owner, kind::A, ZONE_TTL_SECONDS, |out| out.extend(address.octets()));
                }
                IpAddr::V6(address) if wanted(kind::AAAA) => {
                    answer.push_at(section, owner, kind::AAAA, ZONE_TTL_SECONDS, |out| out.extend(address.octets()));
                }
                _ => {}
            }
        }
    }

    fn identifier(&self, kind: u16, labels: &[&[u8]], depth: Depth) -> Result<Resident<Said>, ReadError> {
        let Some(meaning) = dns_name::parse(labels, self.zone.octets()) else {
            return Ok(Resident::Here(Said::nothing()));
        };
        let Resident::Here(reading) = self.read(&meaning, labels, depth)? else { return Ok(Resident::OnDisk) };
        let Some(reading) = reading else { return self.without_record(&meaning, depth) };
        let ors_dummy = meaning.ors_dummy;
        let outcome = match reading.seen()? {
            Seen::Found(_) if kind == kind::RECORD && !ors_dummy => {
                return Ok(self.resolver.whole(reading, depth)?.map(|answer| record(&answer)));
            }
            Seen::Found(values) => {
                let answer = found(kind, &values, ors_dummy);
                let types = if answer.negative { types(&values, ors_dummy) } else { Vec::new() };
                return Ok(Resident::Here(Said { answer, basis: Basis::Record, types }));
            }
            Seen::NotFound => return self.without_record(&meaning, depth),
            Seen::Retired => Outcome::Retired,
            Seen::Erased => Outcome::Erased,
            Seen::Delegated(_) => Outcome::Delegated,
            Seen::NotResponsible => Outcome::NotResponsible,
            Seen::Denied => Outcome::Denied,
        };
        Ok(Resident::Here(Said::new(without_data(outcome), Basis::Record)))
    }

    /// The answer for a name that stands for no registered identifier, or for none at all.
    fn without_record(&self, meaning: &NameMeaning, depth: Depth) -> Result<Resident<Said>, ReadError> {
        Ok(match (&meaning.below, depth) {
            (None, _) => Resident::Here(Said::nothing()),
            (Some(_), Depth::Resident) => Resident::OnDisk,
            (Some(below), Depth::Whole) if !self.any_below(below)? => Resident::Here(Said::nothing()),
            (Some(_), Depth::Whole) => Resident::Here(Said::new(or_no_data(authoritative()), Basis::NoRecord)),
        })
    }

    /// Reads about the identifier that a name stands for; nothing when it stands for none.
    fn read(
        &self,
        meaning: &NameMeaning,
        labels: &[&[u8]],
        depth: Depth,
    ) -> Result<Resident<Option<Reading>>, ReadError> {
        let read = |identifier: &Identifier| Ok(self.resolver.read(identifier, depth)?.map(Some));
        let hash = match &meaning.target {
            None => return Ok(Resident::Here(None)),
            Some(NameTarget::Identifier(identifier)) => return read(identifier),
            Some(NameTarget::Hash(_)) if depth == Depth::Resident => return Ok(Resident::OnDisk),
            Some(NameTarget::Hash(hash)) => hash,
        };
        let Some(identifier) = self.resolver.by_name_hash(hash)? else { return Ok(Resident::Here(None)) };
        // The index knows hashes for the longest zone; in this one the identifier may go by its own name.
        let name = dns_name::name_of(&identifier, self.zone.octets());
        let same = |(own, label): (&str, &&[u8])| label.eq_ignore_ascii_case(own.as_bytes());
        if name.labels().count() == labels.len() && name.labels().zip(labels).all(same) {
            read(&identifier)
        } else {
            Ok(Resident::Here(None))
        }
    }

    fn any_below(&self, below: &Below) -> Result<bool, ReadError> {
        match below {
            Below::Keys(prefix) => self.resolver.any_below(prefix),
            Below::AnyNameHash => self.resolver.any_name_hash(),
        }
    }
}

/// The records of a type that a registered record with these values has; [`kind::RECORD`] aside.
fn found(kind: u16, values: &[ValueView<'_>], ors_dummy: bool) -> OwnedAnswer {
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

/// The answer that holds the whole record.
fn record(answer: &Answer) -> Said {
    let answer = match answer {
        Answer::Found(found) => {
            let mut set = RecordSet::new();
            set.push_record(found.record());
            set.finish()
        }
        other => without_data(Outcome::from(other)),
    };
    Said::new(answer, Basis::Record)
}

/// The types that the name of a record with these values has.
fn types(values: &[ValueView<'_>], ors_dummy: bool) -> Vec<u16> {
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

fn authoritative() -> OwnedAnswer {
    OwnedAnswer { authoritative: true, ..OwnedAnswer::empty(rcode::NOERROR) }
}

/// An answer without records says that there are none (RFC 2308 section 2.2).
fn or_no_data(answer: OwnedAnswer) -> OwnedAnswer {
    OwnedAnswer { negative: answer.answer_count() == 0, ..answer }
}

/// An outcome that has no records to show, as the table spells it.
pub(super) fn without_data(outcome: Outcome) -> OwnedAnswer {
    let spelling = outcome.spelling();
    let extended = spelling.dns_extended.map(|code| ExtendedError { code, text: spelling.word });
    let code = match spelling.dns {
        DnsRcode::NoError => rcode::NOERROR,
        DnsRcode::ServFail => rcode::SERVFAIL,
        DnsRcode::NxDomain => rcode::NXDOMAIN,
        DnsRcode::Refused => rcode::REFUSED,
    };
    // Of the other outcomes the node says nothing with authority.
    let is_ours = matches!(outcome, Outcome::NotFound | Outcome::Retired | Outcome::Erased);
    OwnedAnswer { authoritative: is_ours, negative: is_ours, extended, ..OwnedAnswer::empty(code) }
}

/// The answer to ANY at a name that has records (RFC 8482 section 4.2).
fn push_any(answer: &mut OwnedAnswer) {
    answer.push(Section::Answer, kind::HINFO, ANY_TTL_SECONDS, |out| out.extend_from_slice(b"\x07RFC8482\x00"));
}

/// Records of one name and type, as many as a message holds.
struct RecordSet {
    answer: OwnedAnswer,
    ttl: u32,
    left_out: bool,
}

impl RecordSet {
    fn new() -> Self {
        let answer = OwnedAnswer { records: Vec::with_capacity(RECORDS_OCTETS_USUAL), ..authoritative() };
        Self { answer, ttl: u32::MAX, left_out: false }
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

    /// The answer, with one TTL (RFC 2181 section 5.2).
    fn finish(mut self) -> OwnedAnswer {
        if self.ttl != u32::MAX {
            self.answer.set_ttl(self.ttl);
        }
        let extended = self.left_out.then_some(LEFT_OUT);
        OwnedAnswer { extended, ..or_no_data(self.answer) }
    }
}

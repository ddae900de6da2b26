//! What the node says about a name and a type.
//!
//! Who answers for a name is decided first ([`super::delegation`]): the node, for its own zone or for that of a prefix that is homed
//! on it; others, to whom it refers; or nobody that it knows.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use super::{
    answer::{OwnedAnswer, RECORD_OCTETS, Section},
    delegation::{Cut, GlueIndex, Standing},
    dnssec::DNSKEY_TTL_SECONDS,
    kind,
    message::{HEADER_OCTETS, Question, labels},
    name_server,
    records::{authoritative, found, or_no_data, push_any, types, whole, without_data},
    signing::Signing,
    walking::Walkable,
    zone::{NAME_SERVER_LABEL, NEGATIVE_TTL_SECONDS, Soa, ZONE_TTL_SECONDS, Zone},
};
use crate::{
    id::{
        Identifier,
        dns_name::{self, Below, NameMeaning, NameTarget},
    },
    protocol::outcome::Outcome,
    resolver::{Answer, AnswerView, Depth, Reading, Resolver},
    store::{Prefixes, ReadError, Resident, Responsibility},
};

/// Answers for the names of a zone.
pub(super) struct Authority {
    pub(super) resolver: Arc<Resolver>,
    pub(super) zone: Zone,
    pub(super) ledger_size: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(super) glue: GlueIndex,
}

/// The sets of the keys of a signed zone: type, and the data of its records.
pub(super) type KeySets = Vec<(u16, Vec<Vec<u8>>)>;

/// What is asked, and how far to go for it.
pub(super) struct Asked<'a> {
    pub(super) question: Question<'a>,
    /// Where the zone of the node begins in the name.
    pub(super) zone_at: usize,
    /// The labels before that, from left to right.
    pub(super) labels: Vec<&'a [u8]>,
    /// What signs the zone, where that matters.
    pub(super) signing: Option<&'a Signing>,
    /// Seconds since 1970 UTC, mod 2^32.
    pub(super) now: u32,
    /// Whether others are asked for what the node does not answer for.
    pub(super) recursion: bool,
    pub(super) depth: Depth,
}

impl<'a> Asked<'a> {
    pub(super) fn new(question: Question<'a>, zone_at: usize, depth: Depth) -> Self {
        let labels = labels(&question.name()[..zone_at]).collect();
        Self { question, zone_at, labels, signing: None, now: 0, recursion: false, depth }
    }

    pub(super) fn kind(&self) -> u16 {
        self.question.kind()
    }

    /// Where the data of the next record of an answer will stand in the message.
    pub(super) fn data_offset(&self, answer: &OwnedAnswer) -> usize {
        HEADER_OCTETS + self.question.octets().len() + answer.records_octets() + RECORD_OCTETS
    }

    /// Where the zone of the node stands in the message.
    pub(super) fn zone_offset(&self) -> usize {
        HEADER_OCTETS + self.zone_at
    }
}

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
    /// To whom the question is referred; then the answer is made of this.
    pub(super) cut: Option<Cut>,
    /// What others are to be asked; then the answer is theirs.
    pub(super) walkable: Option<Walkable>,
}

impl Said {
    pub(super) fn new(answer: OwnedAnswer, basis: Basis) -> Self {
        Self { answer, basis, types: Vec::new(), cut: None, walkable: None }
    }

    pub(super) fn with_types(answer: OwnedAnswer, types: Vec<u16>) -> Self {
        Self { types, ..Self::new(answer, Basis::Record) }
    }

    /// That the name does not exist.
    pub(super) fn nothing() -> Self {
        Self::new(without_data(Outcome::NotFound), Basis::NoRecord)
    }

    /// The same, said by a zone whose apex stands at this offset in the name.
    pub(super) fn of_zone(mut self, apex_at: Option<usize>) -> Self {
        self.answer.apex_at = apex_at.map(|at| at as u16);
        self
    }
}

impl Authority {
    /// The answer for a name in the zone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when index or ledger cannot be read.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> Result<Resident<Said>, ReadError> {
        match asked.labels.as_slice() {
            [] => Ok(Resident::Here(self.apex(asked))),
            [label] if label.eq_ignore_ascii_case(NAME_SERVER_LABEL) => {
                Ok(Resident::Here(self.addresses(asked.kind(), self.zone.addresses())))
            }
            [label, below] if below.eq_ignore_ascii_case(NAME_SERVER_LABEL) => {
                let Some(address) = name_server::address(label) else { return Ok(Resident::Here(Said::nothing())) };
                Ok(self.is_name_server(address, asked.depth).map(|is_one| match is_one {
                    true => self.addresses(asked.kind(), &[address]),
                    false => Said::nothing(),
                }))
            }
            _ => self.below(asked),
        }
    }

    /// The name of the zone that an answer is of, in lower case.
    pub(super) fn apex_of<'a>(&'a self, name: &[u8], apex_at: Option<u16>) -> Cow<'a, [u8]> {
        match apex_at {
            None => Cow::Borrowed(self.zone.apex()),
            Some(at) => Cow::Owned(name.get(usize::from(at)..).unwrap_or_default().to_ascii_lowercase()),
        }
    }

    /// The data of the records of the answer section, with names in full, as they are signed.
    pub(super) fn signed_data(&self, kind: u16, answer: &OwnedAnswer) -> Vec<Vec<u8>> {
        match (kind, answer.apex_at) {
            (kind::NS, None) => vec![self.zone.name_server_data()],
            (kind::NS, Some(_)) => self.own_name_servers(),
            _ => answer.answer_data().into_iter().map(<[u8]>::to_vec).collect(),
        }
    }

    /// The SOA record of a negative answer, which says how long it may be kept (RFC 2308 section 3).
    pub(super) fn negative_soa(&self, zone_at: usize, apex_at: Option<u16>) -> Soa {
        Soa {
            apex_offset: HEADER_OCTETS + apex_at.map_or(zone_at, usize::from),
            zone_offset: HEADER_OCTETS + zone_at,
            serial: self.serial(),
            ttl: ZONE_TTL_SECONDS.min(NEGATIVE_TTL_SECONDS),
            signed: None,
        }
    }

    /// The answer to a question for the SOA record of an apex, which follows from the size of the ledger at this moment. The zone of
    /// the node begins at this offset in the name.
    pub(super) fn soa(&self, zone_at: usize) -> (OwnedAnswer, u32) {
        let (mut answer, soa) = (authoritative(), self.negative_soa(zone_at, Some(0)));
        answer.push(Section::Answer, kind::SOA, ZONE_TTL_SECONDS, |out| soa.put_data(out));
        answer.apex_at = (zone_at > 0).then_some(0);
        (answer, soa.serial)
    }

    /// The version of the zone: the size of the ledger, mod 2^32. It grows with every change of a record (RFC 1982).
    fn serial(&self) -> u32 {
        (self.ledger_size)() as u32
    }

    fn apex(&self, asked: &Asked<'_>) -> Said {
        let mut answer = authoritative();
        let keys = asked.signing.map(|signing| signing.key_sets(self.zone.apex(), asked.now));
        match asked.kind() {
            kind::NS => {
                answer.push(Section::Answer, kind::NS, ZONE_TTL_SECONDS, |out| {
                    Zone::put_name_server(out, HEADER_OCTETS);
                });
                // The addresses belong to the name in the data of the record before, which is as long as its two parts.
                let name_server_at = HEADER_OCTETS + asked.question.octets().len() + RECORD_OCTETS;
                push_addresses(&mut answer, (Section::Additional, name_server_at), self.zone.addresses(), |_| true);
            }
            kind::ANY => push_any(&mut answer),
            kind => push_keys(&mut answer, kind, keys.as_ref()),
        }
        Said::with_types(or_no_data(answer), apex_types(keys.as_ref()))
    }

    /// What the name of an address says.
    fn addresses(&self, kind: u16, addresses: &[IpAddr]) -> Said {
        let mut answer = authoritative();
        match kind {
            kind::ANY if !addresses.is_empty() => push_any(&mut answer),
            asked => push_addresses(&mut answer, (Section::Answer, HEADER_OCTETS), addresses, |kind| kind == asked),
        }
        let mut types: Vec<u16> = addresses.iter().map(|address| name_server::kind_of(*address)).collect();
        types.sort_unstable();
        types.dedup();
        Said::with_types(or_no_data(answer), types)
    }

    /// The answer for a name below the zone.
    fn below(&self, asked: &Asked<'_>) -> Result<Resident<Said>, ReadError> {
        let meaning = dns_name::parse(&asked.labels, self.zone.octets());
        if matches!(&meaning, Some(NameMeaning { target: Some(NameTarget::Hash(_)), .. })) {
            // Only what is registered here says which identifier it is, and so who answers for it.
            return self.at_home(asked, meaning.as_ref());
        }
        match self.standing(asked, meaning.as_ref()) {
            Standing::Home(Some(0)) => {
                let said = match self.homed_apex(asked) {
                    Some(said) => return Ok(Resident::Here(said)),
                    None => self.at_home(asked, meaning.as_ref())?,
                };
                Ok(said.map(|said| self.with_apex(asked, said)))
            }
            Standing::Home(apex_at) => Ok(self.at_home(asked, meaning.as_ref())?.map(|said| said.of_zone(apex_at))),
            Standing::Referred(cut) => Ok(Resident::Here(self.referred(asked, cut, meaning))),
            Standing::Elsewhere => Ok(Resident::Here(self.elsewhere(asked, meaning))),
        }
    }

    /// The answer for a name of which this node says what there is.
    fn at_home(&self, asked: &Asked<'_>, meaning: Option<&NameMeaning>) -> Result<Resident<Said>, ReadError> {
        let Some(meaning) = meaning else { return Ok(Resident::Here(Said::nothing())) };
        let (kind, depth) = (asked.kind(), asked.depth);
        let Resident::Here(reading) = self.read(meaning, &asked.labels, depth)? else { return Ok(Resident::OnDisk) };
        let Some(reading) = reading else { return self.without_record(meaning, depth) };
        let ors_dummy = meaning.ors_dummy;
        let outcome = match reading.view()? {
            AnswerView::Found(_) if kind == kind::RECORD && !ors_dummy => {
                return Ok(self.resolver.whole(reading, depth)?.map(|answer| record(&answer)));
            }
            AnswerView::Found(values) => {
                let answer = found(kind, &values, ors_dummy);
                let types = if answer.negative { types(&values, ors_dummy) } else { Vec::new() };
                return Ok(Resident::Here(Said::with_types(answer, types)));
            }
            AnswerView::NotFound => return self.without_record(meaning, depth),
            // One that was changed meanwhile leads nowhere.
            AnswerView::Delegated(referral) => match self.resolver.prefixes().get(&referral.prefix) {
                Some(version) => return Ok(Resident::Here(Said::referral(Cut::without_name(&version)))),
                None => Outcome::Delegated,
            },
            ended => ended.kind().into(),
        };
        Ok(Resident::Here(Said::new(without_data(outcome), Basis::Record)))
    }

    /// The answer for a name that stands for no registered identifier, or for none at all.
    fn without_record(&self, meaning: &NameMeaning, depth: Depth) -> Result<Resident<Said>, ReadError> {
        let prefixes = self.resolver.prefixes();
        let exists = || Resident::Here(Said::new(or_no_data(authoritative()), Basis::NoRecord));
        Ok(match (&meaning.below, depth) {
            // Of a hash that is not known here, nobody can tell whose it is where others answer for a part.
            (None, _) if is_hash(meaning) && !answers_for_all(prefixes) => {
                Resident::Here(Said::new(without_data(Outcome::NotResponsible), Basis::NoRecord))
            }
            (None, _) => Resident::Here(Said::nothing()),
            (Some(Below::Keys(path)), _) if prefixes.any_below(path.as_bytes()) => exists(),
            (Some(_), Depth::Resident) => Resident::OnDisk,
            (Some(below), Depth::Whole) if !self.any_below(below)? => Resident::Here(Said::nothing()),
            (Some(_), Depth::Whole) => exists(),
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

fn is_hash(meaning: &NameMeaning) -> bool {
    matches!(meaning.target, Some(NameTarget::Hash(_)))
}

/// True on a node that answers for every identifier.
fn answers_for_all(prefixes: &Prefixes) -> bool {
    let (_, delegated) = prefixes.count();
    delegated == 0 && prefixes.responsibility_for(&[]) == Responsibility::Home
}

/// The answer that holds the whole record.
fn record(answer: &Answer) -> Said {
    let answer = match answer {
        Answer::Found(found) => whole(found.record()),
        other => without_data(Outcome::from(other)),
    };
    Said::new(answer, Basis::Record)
}

/// The types that every apex has.
pub(super) fn apex_types(keys: Option<&KeySets>) -> Vec<u16> {
    let mut types = vec![kind::NS, kind::SOA];
    types.extend(keys.into_iter().flatten().map(|(kind, _)| *kind));
    types
}

/// Adds the set of keys of this type, if it is one.
pub(super) fn push_keys(answer: &mut OwnedAnswer, kind: u16, keys: Option<&KeySets>) {
    let sets = keys.into_iter().flatten().filter(|(of, _)| *of == kind);
    for data in sets.flat_map(|(_, set)| set) {
        answer.push(Section::Answer, kind, DNSKEY_TTL_SECONDS, |out| out.extend_from_slice(data));
    }
}

/// Adds addresses, as far as their type is wanted, to a section, with an owner that stands at an offset in the message.
pub(super) fn push_addresses(
    answer: &mut OwnedAnswer,
    (section, owner): (Section, usize),
    addresses: &[IpAddr],
    wanted: impl Fn(u16) -> bool,
) {
    for &address in addresses {
        let kind = name_server::kind_of(address);
        if wanted(kind) {
            answer.push_at(section, owner, kind, ZONE_TTL_SECONDS, |out| name_server::put_address(out, address));
        }
    }
}

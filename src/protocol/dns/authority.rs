//! The node's answers for a name and a type.
//!
//! The standing of a name is decided first ([`super::delegation`]): this node answers, for its own zone or for that of
//! a prefix homed on it; another node does, and the response is a referral; or no known node does.

use std::net::IpAddr;

use super::{
    answer::{AnswerHead, RecordPlace, Section, WireAnswer},
    apex::{beside_homed_apex, homed_apex, own_apex, signed_data},
    delegation::{Cut, Delegations, GlueIndex, Standing},
    dnssec::keys::NoRandomness,
    lookup::{Lookup, ZoneAnswer, ZoneQuery},
    name_server::{self, push_addresses},
    records::{found, or_no_data, push_any, types, whole, without_data},
    referral::above_cut,
    signing::{Signing, SigningContext},
    soa::Soa,
    topics::Basis,
    walking::{Walkable, can_be_walked},
    wire::{HEADER_OCTETS, kind},
    zone::{NAME_SERVER_LABEL, NEGATIVE_TTL_SECONDS, ZONE_TTL_SECONDS, Zone},
};
use crate::{
    id::{
        Identifier,
        dns_name::{self, Below, NameMeaning, NameTarget},
    },
    protocol::outcome::Outcome,
    resolver::{Answer, AnswerView, Depth, Desk, Reading},
    store::{Prefixes, ReadError, Resident, Responsibility},
};

/// Answers for the names of a zone.
pub(super) struct Authority {
    pub(super) desk: Desk,
    pub(super) zone: Zone,
    pub(super) ledger_size: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(super) glue: GlueIndex,
}

impl Authority {
    /// Looks up a name in the zone.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when index or ledger cannot be read.
    pub(super) fn answer(&self, query: &ZoneQuery<'_>) -> Result<Resident<Lookup>, ReadError> {
        match query.labels.as_slice() {
            [] => Ok(Resident::Here(own_apex(&self.zone, query).into())),
            [label] if label.eq_ignore_ascii_case(NAME_SERVER_LABEL) => {
                Ok(Resident::Here(addresses(query.kind(), self.zone.addresses()).into()))
            }
            [label, below] if below.eq_ignore_ascii_case(NAME_SERVER_LABEL) => {
                let Some(address) = name_server::address(label) else { return Ok(Resident::Here(Lookup::no_name())) };
                Ok(self.is_name_server(address, query.depth).map(|is_one| match is_one {
                    true => addresses(query.kind(), &[address]).into(),
                    false => Lookup::no_name(),
                }))
            }
            _ => self.below(query),
        }
    }

    /// Signs an answer of this node if there is a signer, or adds the denial of the missing name or type.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]; the answer is to be dropped then.
    pub(super) fn sign(
        &self,
        query: &ZoneQuery<'_>,
        found: ZoneAnswer,
        signing: Option<&Signing>,
    ) -> Result<WireAnswer, NoRandomness> {
        let ZoneAnswer { mut answer, types, .. } = found;
        let Some(signing) = signing else { return Ok(answer) };
        let owner = query.question.name();
        let apex = self.zone.apex_of(owner, answer.head.apex_at);
        let context = SigningContext { owner, apex: &apex, now: query.now };
        if answer.head.answer_count() > 0 {
            let kind = if query.kind() == kind::ANY { kind::HINFO } else { query.kind() };
            let rdatas = signed_data(&self.zone, kind, &answer);
            signing.sign_answer_section(context, kind, &rdatas, &mut answer)?;
        } else if answer.head.negative {
            signing.deny(context, query.kind(), &types, &mut answer)?;
        }
        Ok(answer)
    }

    /// The zones of the node and the cuts below them.
    pub(super) fn delegations(&self) -> Delegations<'_> {
        Delegations { prefixes: self.desk.prefixes(), zone: &self.zone }
    }

    /// The SOA record of a negative answer, which gives its TTL (RFC 2308 section 3).
    pub(super) fn negative_soa(&self, zone_at: usize, apex_at: Option<u16>) -> Soa {
        Soa {
            apex_offset: HEADER_OCTETS + apex_at.map_or(zone_at, usize::from),
            zone_offset: HEADER_OCTETS + zone_at,
            serial: self.serial(),
            ttl: ZONE_TTL_SECONDS.min(NEGATIVE_TTL_SECONDS),
            signed: None,
        }
    }

    /// The answer to a question for the SOA record of an apex, and the serial number in that record, taken from the
    /// size of the ledger at this moment. The zone of the node begins at `zone_at` in the name.
    pub(super) fn soa(&self, zone_at: usize) -> (WireAnswer, u32) {
        let soa = self.negative_soa(zone_at, Some(0));
        let apex_at = (zone_at > 0).then_some(0);
        let mut answer = WireAnswer::from(AnswerHead { apex_at, ..AnswerHead::authoritative() });
        answer.push(Section::Answer, kind::SOA, ZONE_TTL_SECONDS, |out| soa.put_data(out));
        (answer, soa.serial)
    }

    /// The version of the zone: the size of the ledger, mod 2^32. It grows with every change of a record (RFC 1982).
    fn serial(&self) -> u32 {
        (self.ledger_size)() as u32
    }

    /// Looks up a name below the apex of the zone.
    fn below(&self, query: &ZoneQuery<'_>) -> Result<Resident<Lookup>, ReadError> {
        let meaning = dns_name::parse(&query.labels, self.zone.octets());
        if matches!(&meaning, Some(NameMeaning { target: Some(NameTarget::Hash(_)), .. })) {
            // Only the index tells which identifier a hash stands for, and so which node answers for it.
            return self.at_home(query, meaning.as_ref());
        }
        match self.delegations().standing(&query.labels, meaning.as_ref()) {
            Standing::Home(Some(0)) => self.at_homed_apex(query, meaning.as_ref()),
            Standing::Home(apex_at) => Ok(self.at_home(query, meaning.as_ref())?.map(|found| found.of_zone(apex_at))),
            Standing::Referred(cut) => Ok(Resident::Here(match above_cut(query, &cut) {
                Some(answer) => answer.into(),
                None => walk(query, meaning).unwrap_or(Lookup::Referral(cut)),
            })),
            Standing::Elsewhere => {
                let refused = || ZoneAnswer::new(without_data(Outcome::NotResponsible), Basis::Record).into();
                Ok(Resident::Here(walk(query, meaning).unwrap_or_else(refused)))
            }
        }
    }

    /// Looks up the apex of a homed prefix: the records of the apex itself, else those of an identifier of the same
    /// name.
    fn at_homed_apex(
        &self,
        query: &ZoneQuery<'_>,
        meaning: Option<&NameMeaning>,
    ) -> Result<Resident<Lookup>, ReadError> {
        if let Some(answer) = homed_apex(self.delegations(), query) {
            return Ok(Resident::Here(answer.into()));
        }
        Ok(self.at_home(query, meaning)?.map(|found| match found {
            Lookup::Answer(answer) => beside_homed_apex(&self.zone, query, answer).into(),
            other => other,
        }))
    }

    /// Looks up a name for which this node answers.
    fn at_home(&self, query: &ZoneQuery<'_>, meaning: Option<&NameMeaning>) -> Result<Resident<Lookup>, ReadError> {
        let Some(meaning) = meaning else { return Ok(Resident::Here(Lookup::no_name())) };
        let kind = query.kind();
        let depth = query.depth;
        let Resident::Here(reading) = self.read(meaning, &query.labels, depth)? else { return Ok(Resident::OnDisk) };
        let Some(reading) = reading else { return self.without_record(meaning, depth) };
        let ors_dummy = meaning.ors_dummy;
        let outcome = match reading.view()? {
            AnswerView::Found(_) if kind == kind::RECORD && !ors_dummy => {
                return Ok(self.desk.whole(reading, depth)?.map(|answer| record(&answer)));
            }
            AnswerView::Found(values) => {
                let answer = found(kind, &values, ors_dummy);
                let types = if answer.head.negative { types(&values, ors_dummy) } else { Vec::new() };
                return Ok(Resident::Here(ZoneAnswer::with_types(answer, types).into()));
            }
            AnswerView::NotFound => return self.without_record(meaning, depth),
            // A delegation that was revoked meanwhile gives no referral.
            AnswerView::Delegated(referral) => match self.desk.prefixes().get(&referral.prefix) {
                Some(version) => return Ok(Resident::Here(Lookup::Referral(Cut::without_name(&version)))),
                None => Outcome::Delegated,
            },
            ended => ended.kind().into(),
        };
        Ok(Resident::Here(ZoneAnswer::new(without_data(outcome), Basis::Record).into()))
    }

    /// The answer for a name that stands for no registered identifier, or for none at all.
    fn without_record(&self, meaning: &NameMeaning, depth: Depth) -> Result<Resident<Lookup>, ReadError> {
        let prefixes = self.desk.prefixes();
        let exists = || {
            let answer = or_no_data(WireAnswer::authoritative());
            Resident::Here(ZoneAnswer::new(answer, Basis::NoRecord).into())
        };
        Ok(match (&meaning.below, depth) {
            // A hash that is not registered here may stand for an identifier that another node answers for.
            (None, _) if is_hash(meaning) && !answers_for_all(prefixes) => {
                Resident::Here(ZoneAnswer::new(without_data(Outcome::NotResponsible), Basis::NoRecord).into())
            }
            (None, _) => Resident::Here(Lookup::no_name()),
            (Some(Below::Keys(path)), _) if prefixes.any_below(path.as_bytes()) => exists(),
            (Some(_), Depth::Resident) => Resident::OnDisk,
            (Some(below), Depth::Whole) if !self.any_below(below)? => Resident::Here(Lookup::no_name()),
            (Some(_), Depth::Whole) => exists(),
        })
    }

    /// Reads about the identifier that a name stands for; `None` if the name stands for none.
    fn read(
        &self,
        meaning: &NameMeaning,
        labels: &[&[u8]],
        depth: Depth,
    ) -> Result<Resident<Option<Reading>>, ReadError> {
        let read = |identifier: &Identifier| {
            let reading = match depth {
                Depth::Resident => self.desk.ask_resident(identifier)?,
                Depth::Whole => Resident::Here(self.desk.ask_blocking(identifier)?),
            };
            Ok(reading.map(Some))
        };
        let hash = match &meaning.target {
            None => return Ok(Resident::Here(None)),
            Some(NameTarget::Identifier(identifier)) => return read(identifier),
            Some(NameTarget::Hash(_)) if depth == Depth::Resident => return Ok(Resident::OnDisk),
            Some(NameTarget::Hash(hash)) => hash,
        };
        let Some(identifier) = self.desk.by_name_hash(hash)? else { return Ok(Resident::Here(None)) };
        // The index has the hashes of names in the longest possible zone; in this zone the name of the identifier may
        // be a plain one.
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
            Below::Keys(prefix) => self.desk.any_below(prefix),
            Below::AnyNameHash => self.desk.any_name_hash(),
        }
    }

    /// True for an address that has a name here: an address of the node, or of a site to which it delegates.
    fn is_name_server(&self, address: IpAddr, depth: Depth) -> Resident<bool> {
        match self.zone.addresses().contains(&address) {
            true => Resident::Here(true),
            false => self.glue.contains(self.desk.prefixes(), address, depth),
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
fn record(answer: &Answer) -> Lookup {
    let answer = match answer {
        Answer::Found(found) => whole(&found.record()),
        other => without_data(Outcome::from(other)),
    };
    ZoneAnswer::new(answer, Basis::Record).into()
}

/// The walk in place of a referral or a refusal; `None` if the client wants none, or the name or type cannot be walked
/// for.
fn walk(query: &ZoneQuery<'_>, meaning: Option<NameMeaning>) -> Option<Lookup> {
    let meaning = meaning.filter(|_| query.recursion && can_be_walked(query.kind()))?;
    Walkable::of(meaning).map(Lookup::Walk)
}

/// The answer for the name of an address.
fn addresses(kind: u16, addresses: &[IpAddr]) -> ZoneAnswer {
    let mut answer = WireAnswer::authoritative();
    match kind {
        kind::ANY if !addresses.is_empty() => push_any(&mut answer),
        asked => {
            push_addresses(&mut answer, RecordPlace::at_question(Section::Answer), addresses, |kind| kind == asked)
        }
    }
    let mut types: Vec<u16> = addresses.iter().map(|address| name_server::kind_of(*address)).collect();
    types.sort_unstable();
    types.dedup();
    ZoneAnswer::with_types(or_no_data(answer), types)
}

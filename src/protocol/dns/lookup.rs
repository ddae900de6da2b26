//! A question of the zone, and what was found for it: what the files that answer ([`super::authority`], `apex`, `referral`) have in
//! common.

use super::{
    answer::WireAnswer,
    delegation::Cut,
    records::without_data,
    request::Question,
    signing::{KeySet, Signing},
    topics::Basis,
    walking::Walkable,
    wire::{HEADER_OCTETS, RECORD_OCTETS, labels},
};
use crate::{protocol::outcome::Outcome, resolver::Depth};

/// A question for a name in the zone of the node, and how far to go for its answer.
pub(super) struct ZoneQuery<'a> {
    pub(super) question: Question<'a>,
    /// Where the zone of the node begins in the name.
    pub(super) zone_at: usize,
    /// The labels before that, from left to right.
    pub(super) labels: Vec<&'a [u8]>,
    /// The signer whose keys an apex shows, for a question that may be about them.
    pub(super) keys: Option<&'a Signing>,
    /// Seconds since 1970 UTC, mod 2^32.
    pub(super) now: u32,
    /// Whether others are asked for what the node does not answer for.
    pub(super) recursion: bool,
    pub(super) depth: Depth,
}

impl<'a> ZoneQuery<'a> {
    /// A question about which nothing else is known: no keys, no time, no recursion.
    pub(super) fn new(question: Question<'a>, zone_at: usize, depth: Depth) -> Self {
        let labels = labels(&question.name()[..zone_at]).collect();
        Self { question, zone_at, labels, keys: None, now: 0, recursion: false, depth }
    }

    /// The type that is asked.
    pub(super) fn kind(&self) -> u16 {
        self.question.kind()
    }

    /// The sets of keys at an apex, where they matter.
    pub(super) fn key_sets(&self, apex: &[u8]) -> Vec<KeySet> {
        self.keys.map(|signing| signing.key_sets(apex, self.now)).unwrap_or_default()
    }

    /// Where the data of the next record of an answer will stand in the message.
    pub(super) fn data_offset(&self, answer: &WireAnswer) -> usize {
        HEADER_OCTETS + self.question.octets().len() + answer.records().len() + RECORD_OCTETS
    }

    /// Where the zone of the node stands in the message.
    pub(super) fn zone_offset(&self) -> usize {
        HEADER_OCTETS + self.zone_at
    }
}

/// What was found for a question.
pub(super) enum Lookup {
    /// An answer of this node.
    Answer(ZoneAnswer),
    /// Others answer for the name: the question is referred to them.
    Referral(Cut),
    /// Others answer for the name, and they are to be asked for the client.
    Walk(Walkable),
}

impl Lookup {
    /// That the name does not exist.
    pub(super) fn no_name() -> Self {
        Self::Answer(ZoneAnswer::new(without_data(Outcome::NotFound), Basis::NoRecord))
    }

    /// The same, said by the zone whose apex stands at this offset in the name.
    pub(super) fn of_zone(self, apex_at: Option<usize>) -> Self {
        match self {
            Self::Answer(answer) => Self::Answer(answer.of_zone(apex_at)),
            other => other,
        }
    }
}

impl From<ZoneAnswer> for Lookup {
    fn from(answer: ZoneAnswer) -> Self {
        Self::Answer(answer)
    }
}

/// An answer of this node, not signed yet.
pub(super) struct ZoneAnswer {
    pub(super) answer: WireAnswer,
    pub(super) basis: Basis,
    /// The types that the name has, where the answer has no records: for the denial of the others.
    pub(super) types: Vec<u16>,
}

impl ZoneAnswer {
    pub(super) fn new(answer: WireAnswer, basis: Basis) -> Self {
        Self { answer, basis, types: Vec::new() }
    }

    pub(super) fn with_types(answer: WireAnswer, types: Vec<u16>) -> Self {
        Self { types, ..Self::new(answer, Basis::Record) }
    }

    /// The same, said by the zone whose apex stands at this offset in the name; without an offset, by the zone of the node.
    pub(super) fn of_zone(mut self, apex_at: Option<usize>) -> Self {
        self.answer.head.apex_at = apex_at.map(|at| at as u16);
        self
    }
}

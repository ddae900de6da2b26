//! A question of the zone and the result of its lookup, shared by the files that answer: [`super::authority`], `apex`,
//! `referral`.

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

/// A question for a name in the zone of the node, with the depth to which its answer is read.
pub(super) struct ZoneQuery<'a> {
    pub(super) question: Question<'a>,
    /// Offset of the zone of the node in the name.
    pub(super) zone_at: usize,
    /// Labels of the name before the zone, from left to right.
    pub(super) labels: Vec<&'a [u8]>,
    /// The signer whose keys an apex shows, for a question that may be about them.
    pub(super) keys: Option<&'a Signing>,
    /// Seconds since 1970 UTC, mod 2^32.
    pub(super) now: u32,
    /// True if the node walks for names that other nodes answer for.
    pub(super) recursion: bool,
    pub(super) depth: Depth,
}

impl<'a> ZoneQuery<'a> {
    /// A query without keys, time or recursion.
    pub(super) fn new(question: Question<'a>, zone_at: usize, depth: Depth) -> Self {
        let labels = labels(&question.name()[..zone_at]).collect();
        Self { question, zone_at, labels, keys: None, now: 0, recursion: false, depth }
    }

    /// The type that is asked.
    pub(super) fn kind(&self) -> u16 {
        self.question.kind()
    }

    /// The key sets at an apex; none if the query does not need keys.
    pub(super) fn key_sets(&self, apex: &[u8]) -> Vec<KeySet> {
        self.keys.map(|signing| signing.key_sets(apex, self.now)).unwrap_or_default()
    }

    /// Offset in the message of the data of the next record of an answer.
    pub(super) fn data_offset(&self, answer: &WireAnswer) -> usize {
        HEADER_OCTETS + self.question.octets().len() + answer.records().len() + RECORD_OCTETS
    }

    /// Offset of the zone of the node in the message.
    pub(super) fn zone_offset(&self) -> usize {
        HEADER_OCTETS + self.zone_at
    }
}

/// Result of a lookup.
pub(super) enum Lookup {
    /// An answer of this node.
    Answer(ZoneAnswer),
    /// Another node answers for the name: the response is a referral.
    Referral(Cut),
    /// Another node answers for the name, and is asked for the client.
    Walk(Walkable),
}

impl Lookup {
    /// The name does not exist.
    pub(super) fn no_name() -> Self {
        Self::Answer(ZoneAnswer::new(without_data(Outcome::NotFound), Basis::NoRecord))
    }

    /// Sets the zone that answers, as [`ZoneAnswer::of_zone`] does; a referral or a walk stays as it is.
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
    /// Types at the name, for the denial of others if the answer has no records.
    pub(super) types: Vec<u16>,
}

impl ZoneAnswer {
    pub(super) fn new(answer: WireAnswer, basis: Basis) -> Self {
        Self { answer, basis, types: Vec::new() }
    }

    pub(super) fn with_types(answer: WireAnswer, types: Vec<u16>) -> Self {
        Self { types, ..Self::new(answer, Basis::Record) }
    }

    /// Sets the zone that answers, by the offset of its apex in the name; `None` is the zone of the node.
    pub(super) fn of_zone(mut self, apex_at: Option<usize>) -> Self {
        self.answer.head.apex_at = apex_at.map(|at| at as u16);
        self
    }
}

//! What a response is to say, decided before any of it is written.

use super::{
    answer::{AnswerHead, ExtendedError},
    exchange::Exchange,
    signing::Signing,
    soa::Soa,
};

/// A decided response, all but the records of its answer: those stand in the output already (`response::start`).
pub(super) struct Plan<'a> {
    pub(super) head: AnswerHead,
    pub(super) origin: Origin,
    /// The SOA record of a negative answer.
    pub(super) soa: Option<Soa>,
    /// The extended error, for a client that speaks EDNS.
    pub(super) extended: Option<ExtendedError<'a>>,
    /// Where the zone begins in the name that is asked, for a question of the zone.
    pub(super) zone_at: Option<usize>,
    /// The hash of name and type; 0 where they do not matter for limits.
    pub(super) hash: u64,
    /// Whether the answer came from the cache, or took nothing that a cache could save.
    pub(super) cached: bool,
}

impl Plan<'_> {
    /// The plan of an answer of this node that took no look into its zone.
    pub(super) fn new(head: AnswerHead) -> Self {
        Self { head, origin: Origin::Ours, soa: None, extended: head.extended, zone_at: None, hash: 0, cached: true }
    }

    /// The signer, for a client that wants signatures on an answer of this node: nothing that others say is signed.
    pub(super) fn signing<'a>(&self, exchange: &'a Exchange<'_>) -> Option<&'a Signing> {
        exchange.signing.as_deref().filter(|_| self.origin == Origin::Ours)
    }
}

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The node answers for itself.
    Ours,
    /// Other nodes were asked, or were to be; of this age is what they said.
    Others(Option<Age>),
}

/// How old an answer of others is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// For how many seconds it has been kept.
    pub(super) kept_seconds: u32,
    /// For how many more it may be.
    pub(super) left_seconds: u32,
}

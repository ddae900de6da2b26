//! Plan of a response, decided before the response is written.

use super::{
    answer::{AnswerHead, ExtendedError},
    exchange::Exchange,
    signing::Signing,
    soa::Soa,
};

/// Plan of a response without the records of its answer, which stand in the output already (`response::start`).
pub(super) struct Plan<'a> {
    pub(super) head: AnswerHead,
    pub(super) origin: Origin,
    /// The SOA record of a negative answer.
    pub(super) soa: Option<Soa>,
    /// The extended error, for a client that speaks EDNS.
    pub(super) extended: Option<ExtendedError<'a>>,
    /// Offset of the zone in the name, for a question of the zone.
    pub(super) zone_at: Option<usize>,
    /// Hash of name and type; 0 if limits need none.
    pub(super) hash: u64,
    /// True for a cache hit, and for an answer that a cache could not have made cheaper.
    pub(super) cached: bool,
}

impl Plan<'_> {
    /// Plan of an answer of this node without a lookup in its zone.
    pub(super) fn new(head: AnswerHead) -> Self {
        Self { head, origin: Origin::Ours, soa: None, extended: head.extended, zone_at: None, hash: 0, cached: true }
    }

    /// The signer, if the client wants signatures and the answer is this node's own: answers of other nodes are never
    /// signed.
    pub(super) fn signing<'a>(&self, exchange: &'a Exchange<'_>) -> Option<&'a Signing> {
        exchange.signing.as_deref().filter(|_| self.origin == Origin::Ours)
    }
}

/// Source of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This node.
    Ours,
    /// Other nodes, with the age of their answer; `None` if there is no answer, or none yet.
    Others(Option<Age>),
}

/// Age of an answer of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// Time in the cache so far, in seconds.
    pub(super) kept_seconds: u32,
    /// Remaining lifetime, in seconds.
    pub(super) left_seconds: u32,
}

//! Questions to the desk, and its replies.

use super::{pool::Busy, walks::NoRoom};
use crate::{
    id::{Identifier, Prefix},
    resolver::{
        Answer, Evidence, HistoryError, Moment, Proofs, ProveError,
        recursion::{Hop, RecursionError, Resolved},
    },
    rights::Caller,
    store::ReadError,
};

/// A query for an identifier.
#[derive(Clone, Debug)]
pub struct Question {
    /// The identifier.
    pub identifier: Identifier,
    /// Point of the ledger; `None` for now.
    pub moment: Option<Moment>,
    /// Evidence to return with an answer of this node.
    pub evidence: Evidence,
    /// The prefix for which this node is asked as a site; `None` for everything. Only [`Evidence::Latest`] uses it.
    pub delegated: Option<Prefix>,
    /// The caller.
    pub caller: Caller,
    /// Policy on delegations.
    pub follow: Follow,
}

/// Policy on following delegations for a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// No walk: a referral is the answer.
    Never,
    /// A walk, if another node answers and the caller may have walks made; cached answers count.
    #[default]
    Wanted,
    /// As [`Follow::Wanted`], but without the cache, and with the hops of the walk.
    Anew,
}

/// An answer, its origin and its evidence.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// Origin of the answer.
    pub how: How,
    /// Evidence, if requested; only for an answer of this node about the present.
    pub proofs: Option<Box<Proofs>>,
}

/// Origin of an answer.
#[derive(Clone, Debug)]
pub enum How {
    /// This node.
    Own,
    /// A site of another node.
    Walked {
        /// Result of the walk.
        resolved: Resolved,
        /// Hops of the walk; `None` unless [`Follow::Anew`].
        hops: Option<Vec<Hop>>,
    },
}

/// Reason why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Index or ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index has not applied the requested entry yet.
    #[error("ledger index {index} is still to come; the ledger has {entries} entries")]
    ToCome {
        /// The requested index.
        index: u64,
        /// Number of entries that the index has applied.
        entries: u64,
    },
    /// The evidence cannot be made.
    #[error(transparent)]
    Proof(#[from] ProveError),
    /// The read pool has no place for the read.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// No room for another walk.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The walk failed.
    #[error("{}", .0.error)]
    Walk(Box<FailedWalk>),
}

/// A failed walk.
#[derive(Clone, Debug)]
pub struct FailedWalk {
    /// Error of the walk.
    pub error: RecursionError,
    /// Hops of the walk; `None` unless [`Follow::Anew`].
    pub hops: Option<Vec<Hop>>,
}

impl From<HistoryError> for NoAnswer {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::ToCome { index, entries } => Self::ToCome { index, entries },
            HistoryError::Read(error) => Self::Read(error),
        }
    }
}

impl From<RecursionError> for NoAnswer {
    fn from(error: RecursionError) -> Self {
        Self::Walk(Box::new(FailedWalk { error, hops: None }))
    }
}

impl Reply {
    pub(super) fn walked(resolved: Resolved, hops: Option<Vec<Hop>>) -> Self {
        Self { answer: resolved.resolution.answer.clone(), how: How::Walked { resolved, hops }, proofs: None }
    }
}

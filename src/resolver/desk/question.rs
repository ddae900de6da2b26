//! What the desk is asked, and what it says.

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

/// A question about an identifier.
#[derive(Clone, Debug)]
pub struct Question {
    /// The identifier.
    pub identifier: Identifier,
    /// The point of the ledger that it is asked for; `None` for now.
    pub moment: Option<Moment>,
    /// The evidence that is to come along with an answer of this node.
    pub evidence: Evidence,
    /// The prefix as whose site this node is asked; `None` for everything. It matters for [`Evidence::Latest`] alone.
    pub delegated: Option<Prefix>,
    /// Who asks.
    pub caller: Caller,
    /// Whether delegations are to be followed.
    pub follow: Follow,
}

/// Whether a caller wants delegations to be followed for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// Not at all: a referral is an answer.
    Never,
    /// Where this node does not answer itself, and may walk for the caller.
    #[default]
    Wanted,
    /// The same past everything that is kept, with the way that was gone.
    Anew,
}

/// An answer with what belongs to it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// How it was come by.
    pub how: How,
    /// The evidence, when it was asked for.
    pub proofs: Option<Box<Proofs>>,
}

/// How an answer was come by.
#[derive(Clone, Debug)]
pub enum How {
    /// This node said it itself.
    Own,
    /// A site of another node said it.
    Walked {
        /// What the walk came to.
        resolved: Resolved,
        /// The way; `None` but for [`Follow::Anew`].
        hops: Option<Vec<Hop>>,
    },
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Index or ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The entry that is asked for is still to come.
    #[error("ledger index {index} is still to come; the ledger has {entries} entries")]
    ToCome {
        /// What was asked for.
        index: u64,
        /// The entries that the index has applied.
        entries: u64,
    },
    /// The evidence cannot be made.
    #[error(transparent)]
    Proof(#[from] ProveError),
    /// The pool has no place for the read.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// There is no room for one more walk.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The walk came to nothing.
    #[error("{}", .0.error)]
    Walk(Box<FailedWalk>),
}

/// A walk that came to nothing.
#[derive(Clone, Debug)]
pub struct FailedWalk {
    /// Why.
    pub error: RecursionError,
    /// The way; `None` but for [`Follow::Anew`].
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

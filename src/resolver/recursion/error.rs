//! Errors of walks, in words that an operator can act on.

use std::{fmt, sync::Arc};

use crate::{id::Prefix, record::Endpoint};

/// Error of a walk.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecursionError {
    /// No root covers the identifier.
    #[error("no root covers {identifier}: name the sites of one of its prefixes in the file of roots")]
    NotResponsible {
        /// The identifier.
        identifier: String,
    },
    /// The delegation has no site that can be asked.
    #[error("no site of {prefix} {missing}")]
    NoSite {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// Part that none of the sites has.
        missing: &'static str,
    },
    /// No site gave a valid reply.
    #[error("no site of {prefix} gave an answer: {reasons}")]
    AllFailed {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// Fault of each site.
        reasons: Reasons,
    },
    /// The sites refer back to where the walk was, or to another part of the tree.
    #[error("the sites of {prefix} lead nowhere: {reasons}")]
    Loop {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// Fault of each site.
        reasons: Reasons,
    },
    /// No site gave a reply that verifies, and evidence is required.
    #[error("no site of {prefix} gave an answer that verifies: {reasons}")]
    Unverified {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// Fault of each site.
        reasons: Reasons,
    },
    /// No site gave a valid reply, and no parent could point to others.
    #[error("{below}; and nobody could be asked whether that still holds: {above}")]
    DeadEnd {
        /// Error of the deepest sites.
        below: Box<RecursionError>,
        /// Error of the sites above.
        above: Box<RecursionError>,
    },
    /// The timeout of the walk has passed.
    #[error("no answer from the sites of {prefix} within {limit_ms} ms, which the walk had left for them: {reasons}")]
    Timeout {
        /// Prefix that the walk had reached.
        prefix: Arc<Prefix>,
        /// The limit, in milliseconds.
        limit_ms: u64,
        /// Faults of the sites up to then.
        reasons: Reasons,
    },
    /// The walk exceeds a bound.
    #[error("the walk to {prefix} passed {limit} {what}, the limit; the tree is deeper than it may be")]
    TooManyHops {
        /// Prefix that the walk had reached.
        prefix: Arc<Prefix>,
        /// The bound.
        limit: usize,
        /// Unit of the bound.
        what: &'static str,
    },
    /// Too many walks, waiters or traces are in progress.
    #[error("{limit} {what} are under way, which is the limit; ask again later")]
    Overloaded {
        /// The bound.
        limit: usize,
        /// Unit of the bound.
        what: &'static str,
    },
    /// The walk was cancelled: the node is stopping, or a task failed.
    #[error("the walk was broken off; ask again")]
    BrokenOff,
}

/// Faults of several sites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasons(Arc<[Reason]>);

/// Fault of one site.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Kind of the fault.
    pub kind: ReasonKind,
    /// Text of the fault.
    pub what: Box<str>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// Not asked: the back-off after earlier failures is not over.
    Resting,
    /// No reply.
    Silent,
    /// The site refused to answer.
    Refused,
    /// The reply is unreadable, or does not belong to the query.
    Garbled,
    /// The site does not answer for the prefix delegated to it.
    Lame,
    /// The referral leads back, or to another part of the tree.
    Loop,
    /// The reply does not verify.
    Unverified,
}

impl Reasons {
    /// Maximum number of reasons kept.
    pub const COUNT_MAX: usize = 8;
    /// Maximum length of a reason, in characters.
    pub const CHARS_MAX: usize = 240;

    /// Keeps the first reasons, up to [`Reasons::COUNT_MAX`].
    pub(super) fn new(reasons: &[Reason]) -> Self {
        Self(reasons.iter().take(Self::COUNT_MAX).cloned().collect())
    }

    /// The reasons in their order.
    pub fn as_slice(&self) -> &[Reason] {
        &self.0
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|reason| size_of::<Reason>() + reason.what.len()).sum()
    }
}

impl RecursionError {
    /// Name of the kind, for counters; that of the deepest sites for a dead end.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotResponsible { .. } => "not-responsible",
            Self::NoSite { .. } => "no-site",
            Self::AllFailed { .. } => "all-failed",
            Self::Loop { .. } => "loop",
            Self::Unverified { .. } => "unverified",
            Self::DeadEnd { below, .. } => below.kind(),
            Self::Timeout { .. } => "timeout",
            Self::TooManyHops { .. } => "too-many-hops",
            Self::Overloaded { .. } => "overloaded",
            Self::BrokenOff => "broken-off",
        }
    }

    /// True if every site was reached and none answers for the prefix delegated to it.
    pub(super) fn was_reached(&self) -> bool {
        let lame = |reason: &Reason| reason.kind == ReasonKind::Lame;
        matches!(self, Self::AllFailed { reasons, .. } if !reasons.0.is_empty() && reasons.0.iter().all(lame))
    }

    /// Approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let more = match self {
            Self::NotResponsible { identifier } => identifier.len(),
            Self::AllFailed { reasons, .. }
            | Self::Loop { reasons, .. }
            | Self::Unverified { reasons, .. }
            | Self::Timeout { reasons, .. } => reasons.bytes(),
            Self::DeadEnd { below, above } => below.bytes() + above.bytes(),
            _ => 0,
        };
        size_of::<Self>() + more
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none has said anything");
        }
        for (number, reason) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{} {}", reason.endpoint, reason.what)?;
        }
        Ok(())
    }
}

impl Reason {
    pub(super) fn new(endpoint: Endpoint, kind: ReasonKind, what: &str) -> Self {
        let what = what.chars().filter(|character| !character.is_control()).take(Reasons::CHARS_MAX);
        Self { endpoint, kind, what: what.collect::<String>().into() }
    }
}

/// Error of a verification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gives an answer that does not verify: {reason}")]
pub struct Unproven {
    /// Text of the first fault.
    pub reason: String,
}

//! Why a walk came to nothing, in words that an operator can act on.

use std::{fmt, sync::Arc};

use crate::{id::Prefix, record::Endpoint};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecursionError {
    /// No root covers the identifier.
    #[error("no root covers {identifier}: name the sites of one of its prefixes in the file of roots")]
    NotResponsible {
        /// The identifier.
        identifier: String,
    },
    /// The delegation names nobody who could be asked.
    #[error("no site of {prefix} {missing}")]
    NoSite {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// What none of them has.
        missing: &'static str,
    },
    /// Nobody gave an answer of use.
    #[error("no site of {prefix} gave an answer: {reasons}")]
    AllFailed {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// What each of them did.
        reasons: Reasons,
    },
    /// The sites lead back to where the walk was, or to another part of the tree.
    #[error("the sites of {prefix} lead nowhere: {reasons}")]
    Loop {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// What each of them did.
        reasons: Reasons,
    },
    /// Nobody gave an answer that verifies, and no other is wanted.
    #[error("no site of {prefix} gave an answer that verifies: {reasons}")]
    Unverified {
        /// The prefix.
        prefix: Arc<Prefix>,
        /// What each of them did.
        reasons: Reasons,
    },
    /// Nobody gave an answer of use, and nobody above could say who else might.
    #[error("{below}; and nobody could be asked whether that still holds: {above}")]
    DeadEnd {
        /// Why the deepest sites were of no use.
        below: Box<RecursionError>,
        /// Why those above them were of none.
        above: Box<RecursionError>,
    },
    /// The time for a walk is over.
    #[error("no answer from the sites of {prefix} within {limit_ms} ms, which the walk had left for them: {reasons}")]
    Timeout {
        /// How far the walk had come.
        prefix: Arc<Prefix>,
        /// The limit, in milliseconds.
        limit_ms: u64,
        /// What the sites that did answer said.
        reasons: Reasons,
    },
    /// The walk is too long.
    #[error("the walk to {prefix} passed {limit} {what}, the limit; the tree is deeper than it may be")]
    TooManyHops {
        /// How far the walk had come.
        prefix: Arc<Prefix>,
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// Too much is under way.
    #[error("{limit} {what} are under way, which is the limit; ask again later")]
    Overloaded {
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// The walk was broken off: the node is going down, or something in it failed.
    #[error("the walk was broken off; ask again")]
    BrokenOff,
}

/// What several sites did wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasons(Arc<[Reason]>);

/// What one site did wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Which one.
    pub endpoint: Endpoint,
    /// What kind of wrong it is.
    pub kind: ReasonKind,
    /// What it did.
    pub what: Box<str>,
}

/// Kinds of what a site can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// It was not asked: it failed too often before.
    Resting,
    /// It did not answer.
    Silent,
    /// It answered that it will not.
    Refused,
    /// What it said cannot be read, or does not belong to the question.
    Garbled,
    /// It does not answer for what was delegated to it.
    Lame,
    /// It leads back, or elsewhere.
    Loop,
    /// What it said does not verify.
    Unverified,
}

impl Reasons {
    /// The most reasons that are kept.
    pub const COUNT_MAX: usize = 8;
    /// The longest reason that is kept, in characters.
    pub const CHARS_MAX: usize = 240;

    /// Takes the first reasons.
    pub(super) fn new(reasons: &[Reason]) -> Self {
        Self(reasons.iter().take(Self::COUNT_MAX).cloned().collect())
    }

    /// The reasons, the first one first.
    pub fn as_slice(&self) -> &[Reason] {
        &self.0
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|reason| size_of::<Reason>() + reason.what.len()).sum()
    }
}

impl RecursionError {
    /// One word for the kind, for counters.
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

    /// True when every site was reached, and none of them answers for what was delegated to it.
    pub(super) fn was_reached(&self) -> bool {
        let lame = |reason: &Reason| reason.kind == ReasonKind::Lame;
        matches!(self, Self::AllFailed { reasons, .. } if !reasons.0.is_empty() && reasons.0.iter().all(lame))
    }

    /// About how many bytes it keeps in memory.
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

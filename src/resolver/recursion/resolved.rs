//! What a walk comes to, and the way that it took.

use std::{fmt, sync::Arc, sync::OnceLock, time::Duration};

use bytes::Bytes;

use crate::{
    id::Prefix,
    record::{Endpoint, Record},
    resolver::{Answer, Evidence},
};

/// An answer as one who asked gets it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the walk came to; shared with everyone who asked the same.
    pub resolution: Arc<Resolution>,
    /// For how many seconds it may still be kept.
    pub ttl_seconds: u32,
    /// True when its time is over, and nothing newer can be had (RFC 8767).
    pub stale: bool,
    /// Whether it was here already.
    pub source: Source,
}

/// Where something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was kept from an earlier question.
    Cache,
    /// It was asked for.
    Network,
}

/// What a walk came to.
#[derive(Debug)]
pub struct Resolution {
    /// The answer, and never [`Answer::Delegated`] or [`Answer::NotResponsible`]. When it is verified, a record holds what is proven
    /// of it and no more: no edges and no outputs, which [`Record::edges_truncated`] says if there were any.
    pub answer: Answer,
    /// What was verified of it, and of all referrals that led to it.
    pub verification: Verification,
    /// Indexes of values that the entry has and the site did not show, when it was verified: they are not public, or were erased,
    /// or the site keeps them back.
    pub withheld: Box<[u32]>,
    /// The prefix of the delegation that led there.
    pub prefix: Arc<Prefix>,
    /// Who said it.
    pub endpoint: Endpoint,
    /// How far that one says it is behind its primary, in seconds.
    pub lag_seconds: Option<u32>,
    /// The walk that brought it, in order of time; at most [`Hop::SHOWN_MAX`].
    pub hops: Box<[Hop]>,
    pub(super) rendered: OnceLock<Bytes>,
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verification {
    /// Nothing.
    #[default]
    None,
    /// The ledger of the one who answers for it has an entry that says so.
    Included,
    /// And none that says otherwise later, nor one that delegates a longer prefix, up to the checkpoint of the lookup.
    Latest,
}

/// One question on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// The prefix of the delegation that led to whom was asked.
    pub prefix: Arc<Prefix>,
    /// Who was asked.
    pub endpoint: Endpoint,
    /// How long it took; nothing for what was kept.
    pub took: Duration,
    /// What came of it.
    pub outcome: HopOutcome,
    /// How long it may be kept, in seconds.
    pub ttl_seconds: u32,
    /// What was verified of it alone.
    pub verification: Verification,
    /// Whether it was here already.
    pub source: Source,
}

/// What came of a question on the way.
#[derive(Clone, Debug, PartialEq)]
pub enum HopOutcome {
    /// It leads on.
    Referral {
        /// To the sites of this prefix.
        prefix: Arc<Prefix>,
    },
    /// It ends the walk.
    Answer {
        /// As [`AnswerKind::as_str`](crate::resolver::AnswerKind::as_str).
        said: &'static str,
    },
    /// It was of no use.
    Failed {
        /// Why.
        reason: Box<str>,
    },
}

impl Resolution {
    /// The record, when there is one.
    pub fn record(&self) -> Option<&Record> {
        self.answer.record()
    }

    /// The answer as one front end writes it, written once and kept with it. One front end alone may use this.
    pub fn rendered(&self, render: impl FnOnce(&Answer) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(&self.answer)).clone()
    }

    /// About how many bytes it keeps in memory, its rendered form included.
    pub(super) fn bytes(&self) -> usize {
        let reasons = |hop: &Hop| match &hop.outcome {
            HopOutcome::Failed { reason } => reason.len(),
            _ => 0,
        };
        // Prefixes are shared with the delegations, and counted here as if they were not.
        let hops: usize = self.hops.iter().map(|hop| size_of::<Hop>() + reasons(hop) + hop.prefix.as_str().len()).sum();
        size_of::<Self>() + self.answer.bytes() + hops + 4 * self.withheld.len()
    }
}

impl Hop {
    /// The most hops that are shown of a walk.
    pub const SHOWN_MAX: usize = 48;
}

impl Verification {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Included => "included",
            Self::Latest => "latest",
        }
    }

    /// What evidence shows, when it holds.
    pub(super) fn by(evidence: Evidence) -> Self {
        match evidence {
            Evidence::None => Self::None,
            Evidence::Inclusion => Self::Included,
            Evidence::Latest => Self::Latest,
        }
    }
}

impl Source {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Network => "network",
        }
    }
}

impl fmt::Display for HopOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Referral { prefix } => write!(f, "referral to {prefix}"),
            Self::Answer { said } => f.write_str(said),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
        }
    }
}

#[cfg(test)]
impl Resolved {
    /// An answer that a walk brought just now.
    pub(crate) fn fresh(answer: Answer, ttl_seconds: u32) -> Self {
        let (prefix, endpoint) = (Prefix::parse("88.118").unwrap(), "grpc://192.0.2.7:50051".parse().unwrap());
        let resolution = Resolution {
            answer,
            verification: Verification::None,
            withheld: Box::default(),
            prefix: prefix.into(),
            endpoint,
            lag_seconds: None,
            hops: Box::default(),
            rendered: OnceLock::new(),
        };
        Self { resolution: resolution.into(), ttl_seconds, stale: false, source: Source::Network }
    }
}

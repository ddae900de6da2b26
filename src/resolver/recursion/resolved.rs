//! Results of walks, and the hops that led to them.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    id::Prefix,
    record::{Endpoint, Record},
    resolver::{Answer, Evidence},
};

/// An answer of another node, as given to one caller.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Result of the walk, shared by all who asked for the same identifier.
    pub resolution: Arc<Resolution>,
    /// Remaining TTL in seconds.
    pub ttl_seconds: u32,
    /// True if the TTL is over and no newer answer can be had (RFC 8767).
    pub stale: bool,
    /// Source of the answer.
    pub source: Source,
}

/// Source of an answer or a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cache, filled by an earlier query.
    Cache,
    /// A query to a site.
    Network,
}

/// Result of a walk.
#[derive(Debug)]
pub struct Resolution {
    /// The answer; never [`Answer::Delegated`] or [`Answer::NotResponsible`]. With required evidence, a record holds
    /// only proven parts: no edges and no outputs. If there were any, [`Record::edges_truncated`] is set.
    pub answer: Answer,
    /// Verification of the answer and of all referrals that led to it.
    pub verification: Verification,
    /// Indexes of values that the entry has and the site did not show, with required evidence: they are not public,
    /// were erased, or are withheld by the site.
    pub withheld: Box<[u32]>,
    /// Prefix of the delegation that led to the answering site.
    pub prefix: Arc<Prefix>,
    /// Endpoint that gave the answer.
    pub endpoint: Endpoint,
    /// Lag of that site behind its primary, in seconds, as stated by the site.
    pub lag_seconds: Option<u32>,
    /// Hops of the walk, in order of time; at most [`Hop::SHOWN_MAX`].
    pub hops: Box<[Hop]>,
    pub(super) rendered: OnceLock<Bytes>,
}

/// Degree of verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verification {
    /// Nothing.
    #[default]
    None,
    /// An entry that states the answer is in the ledger of the responsible site.
    Included,
    /// As [`Verification::Included`], and up to the checkpoint of the lookup no later entry contradicts the answer and
    /// no longer prefix is delegated.
    Latest,
}

/// One step of a walk: a query to a site, or a cached delegation.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// Prefix of the delegation that led to the endpoint.
    pub prefix: Arc<Prefix>,
    /// Endpoint that was asked.
    pub endpoint: Endpoint,
    /// Duration of the query; zero for a cached delegation.
    pub took: Duration,
    /// Outcome of the query.
    pub outcome: HopOutcome,
    /// TTL of the outcome, in seconds.
    pub ttl_seconds: u32,
    /// Verification of this hop alone.
    pub verification: Verification,
    /// Source of the hop.
    pub source: Source,
}

/// Outcome of a hop.
#[derive(Clone, Debug, PartialEq)]
pub enum HopOutcome {
    /// A referral.
    Referral {
        /// Prefix of the sites referred to.
        prefix: Arc<Prefix>,
    },
    /// An answer, which ends the walk.
    Answer {
        /// Kind of the answer, as [`AnswerKind::as_str`](crate::resolver::AnswerKind::as_str).
        said: &'static str,
    },
    /// A failure.
    Failed {
        /// Reason of the failure.
        reason: Box<str>,
    },
}

impl Resolution {
    /// The record of an answer that found one.
    pub fn record(&self) -> Option<Cow<'_, Record>> {
        self.answer.record()
    }

    /// The answer as encoded by one front end, encoded once and kept with the answer. Only one front end may use this.
    pub fn rendered(&self, render: impl FnOnce(&Answer) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(&self.answer)).clone()
    }

    /// Approximate size in memory, in bytes, the rendered form included.
    pub(super) fn bytes(&self) -> usize {
        let reasons = |hop: &Hop| match &hop.outcome {
            HopOutcome::Failed { reason } => reason.len(),
            _ => 0,
        };
        // Prefixes are shared with the delegations, yet counted here as if they were not.
        let hops: usize = self.hops.iter().map(|hop| size_of::<Hop>() + reasons(hop) + hop.prefix.as_str().len()).sum();
        size_of::<Self>() + self.answer.bytes() + hops + 4 * self.withheld.len()
    }
}

impl Hop {
    /// Maximum number of hops kept of a walk.
    pub const SHOWN_MAX: usize = 48;
}

impl Verification {
    /// Name of the degree.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Included => "included",
            Self::Latest => "latest",
        }
    }

    /// Verification that holds when this evidence verifies.
    pub(super) fn by(evidence: Evidence) -> Self {
        match evidence {
            Evidence::None => Self::None,
            Evidence::Inclusion => Self::Included,
            Evidence::Latest => Self::Latest,
        }
    }
}

impl Source {
    /// Name of the source.
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
    /// An answer of a walk that has just ended.
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

//! What is asked of the sites of others, and what they can say.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    id::{Identifier, Prefix},
    record::Endpoint,
    resolver::{Answer, Evidence},
    tlog::tlog_proof::TlogProof,
    vindex::Lookup,
};

/// A future that is owned by whoever waits for it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Asks one question of one endpoint of one site.
///
/// An implementation keeps its connections and bounds what it reads. It need not know any limit of time: a future that takes too
/// long is dropped. What it gives back is believed in nothing: the walk checks that it belongs to the question, and, when asked
/// for, what proves it.
pub trait Upstream: Send + Sync + 'static {
    /// Asks.
    fn ask<'a>(&'a self, to: &'a Target, question: &'a SiteQuestion)
    -> BoxFuture<'a, Result<SiteReply, UpstreamError>>;
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub endpoint: Endpoint,
    /// The key that signs the checkpoints of the site (C2SP signed-note vkey), as its delegation says it.
    pub key: Option<Box<str>>,
    /// As whom: the prefix that was delegated to it.
    pub prefix: Arc<Prefix>,
}

/// What to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteQuestion {
    /// About which identifier.
    pub identifier: Identifier,
    /// What is to come along.
    pub evidence: Evidence,
}

/// What a site said.
#[derive(Clone, Debug)]
pub struct SiteReply {
    /// The answer; never one that others gave the site.
    pub answer: Answer,
    /// What proves its entry (C2SP tlog-proof).
    pub proof: Option<TlogProof>,
    /// What shows that no later entry is about the same: of an answer `id:` of the identifier, of a referral `ns:` of its prefix.
    pub lookup: Option<Lookup>,
    /// What shows that prefixes are not delegated which cover the identifier, and are longer than the one of the site, or of the
    /// referral: from the longest down to the first that is homed.
    pub prefixes: Vec<PrefixEvidence>,
    /// How long it may be kept at most, in seconds, when the site says less than what it said does: from its own cache, over DNS.
    pub ttl_seconds: Option<u32>,
    /// How far the site says it is behind its primary, in seconds; `None` for a primary.
    pub lag_seconds: Option<u32>,
}

/// What shows that a prefix is not delegated.
#[derive(Clone, Debug)]
pub struct PrefixEvidence {
    /// The prefix.
    pub prefix: Prefix,
    /// What the verifiable index has under `ns:` of the prefix.
    pub lookup: Lookup,
    /// What proves the last entry about it (C2SP tlog-proof); `None` when there is none.
    pub last: Option<TlogProof>,
}

/// Why a site said nothing of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing came back.
    #[error("it cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// It answered that it will not.
    #[error("it refuses: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// What came back is no answer.
    #[error("its answer cannot be read: {reason}")]
    Garbled {
        /// Why.
        reason: String,
    },
}

impl SiteReply {
    /// An answer with nothing beside it.
    pub fn bare(answer: Answer) -> Self {
        Self { answer, proof: None, lookup: None, prefixes: Vec::new(), ttl_seconds: None, lag_seconds: None }
    }
}

//! The upstream contract: queries to sites of other nodes, and their replies.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    id::{Identifier, Prefix},
    record::Endpoint,
    resolver::{Answer, Evidence},
    tlog::tlog_proof::TlogProof,
    vindex::Lookup,
};

/// A boxed future, polled by its owner.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends one query to one endpoint of a site.
///
/// An implementation keeps its connections and bounds how much it reads. It needs no timeout: the caller drops a future
/// that takes too long. The caller trusts no part of the reply: the walk checks that the reply belongs to the query,
/// and verifies its proofs if evidence is required.
pub trait Upstream: Send + Sync + 'static {
    /// Asks the target and returns its reply.
    fn ask<'a>(&'a self, to: &'a Target, question: &'a SiteQuestion)
    -> BoxFuture<'a, Result<SiteReply, UpstreamError>>;
}

/// Target of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Endpoint to ask.
    pub endpoint: Endpoint,
    /// Key that signs the site's checkpoints (C2SP signed-note vkey), as stated by the delegation.
    pub key: Option<Box<str>>,
    /// Prefix that is delegated to the site.
    pub prefix: Arc<Prefix>,
}

/// Query to a site.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteQuestion {
    /// Identifier to resolve.
    pub identifier: Identifier,
    /// Evidence to return.
    pub evidence: Evidence,
}

/// Reply of a site.
#[derive(Clone, Debug)]
pub struct SiteReply {
    /// The answer of the site itself; never one that it has from other nodes.
    pub answer: Answer,
    /// Proof of the entry behind the answer (C2SP tlog-proof).
    pub proof: Option<TlogProof>,
    /// Lookup that shows the last entry about the subject: under `id:` of the identifier for an answer, under `ns:` of
    /// the prefix for a referral.
    pub lookup: Option<Lookup>,
    /// Evidence that prefixes which cover the identifier are not delegated, if they are longer than the site's prefix,
    /// or than that of a referral: from the longest down to the first that is homed.
    pub prefixes: Vec<PrefixEvidence>,
    /// TTL in seconds, if the site gives one below that of the answer: from its own cache, over DNS.
    pub ttl_seconds: Option<u32>,
    /// Lag of the site behind its primary, in seconds, as stated by the site; `None` for a primary.
    pub lag_seconds: Option<u32>,
}

/// Evidence that a prefix is not delegated.
#[derive(Clone, Debug)]
pub struct PrefixEvidence {
    /// The prefix.
    pub prefix: Prefix,
    /// Lookup of `ns:` of the prefix in the verifiable index.
    pub lookup: Lookup,
    /// Proof of the last entry about the prefix (C2SP tlog-proof); `None` if there is none.
    pub last: Option<TlogProof>,
}

/// Error of a query to a site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No reply came.
    #[error("it cannot be reached: {reason}")]
    Unreachable {
        /// Reason of the failure.
        reason: String,
    },
    /// The site refused to answer.
    #[error("it refuses: {reason}")]
    Refused {
        /// Reason given by the site.
        reason: String,
    },
    /// The reply cannot be read.
    #[error("its answer cannot be read: {reason}")]
    Garbled {
        /// Reason of the failure.
        reason: String,
    },
}

impl SiteReply {
    /// A reply with an answer only.
    pub fn bare(answer: Answer) -> Self {
        Self { answer, proof: None, lookup: None, prefixes: Vec::new(), ttl_seconds: None, lag_seconds: None }
    }
}

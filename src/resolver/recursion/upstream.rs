//! What is asked of the sites of others, and what they can say.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    id::{Identifier, Prefix},
    record::{Delegation, Endpoint, Record},
    resolver::Tombstone,
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
    fn ask<'a>(&'a self, to: &'a Target, question: &'a Question) -> BoxFuture<'a, Result<Reply, UpstreamError>>;
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
pub struct Question {
    /// About which identifier.
    pub identifier: Identifier,
    /// What is to come along.
    pub evidence: Evidence,
}

/// What is to come along with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Nothing.
    #[default]
    None,
    /// The proof that the entry which says it stands in the ledger. Not found has no entry: a lookup that finds none.
    Inclusion,
    /// Beside it lookups in the verifiable index, which show that no later entry does, and that no longer prefix is delegated.
    Latest,
}

/// What a site said.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer.
    pub said: Said,
    /// What proves its entry (C2SP tlog-proof, as `proof::verify` takes it).
    pub proof: Option<Vec<u8>>,
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
    pub last: Option<Vec<u8>>,
}

/// What a site can say.
#[derive(Clone, Debug)]
pub enum Said {
    /// An active record, as far as anyone may read it.
    Found(Record),
    /// The record was retired, or erased.
    Retired(Tombstone),
    /// Nothing was ever registered under the identifier.
    NotFound,
    /// The record exists, and none of its values may leave without a permit.
    Denied,
    /// Others answer for the identifier, nobody knows who.
    NotResponsible,
    /// These answer for the identifier.
    Referral(Referral),
}

/// Who answers for a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// The prefix.
    pub prefix: Prefix,
    /// Its sites.
    pub delegation: Delegation,
    /// The ledger entry that delegates it.
    pub ledger_index: u64,
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

impl Said {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Retired(tombstone) if tombstone.erased => "erased",
            Self::Retired(_) => "retired",
            Self::NotFound => "not found",
            Self::Denied => "denied",
            Self::NotResponsible => "not responsible",
            Self::Referral(_) => "referral",
        }
    }
}

impl Reply {
    /// An answer with nothing beside it.
    pub fn bare(said: Said) -> Self {
        Self { said, proof: None, lookup: None, prefixes: Vec::new(), ttl_seconds: None, lag_seconds: None }
    }
}

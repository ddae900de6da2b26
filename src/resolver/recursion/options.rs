//! Roots, bounds and options of recursion.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use super::Evidence;
use crate::{
    id::{Key, Prefix},
    record::Delegation,
};

/// Maximum number of referrals in one walk.
pub const HOPS_MAX: usize = 16;
/// Maximum TTL of any cached item, in seconds: two days.
pub const TTL_SECONDS_MAX: u32 = 172_800;
/// TTL of an answer without values, in seconds: not found, and a record that shows none.
pub const TTL_SECONDS_NOT_FOUND: u32 = 60;
/// TTL of retired, erased and denied, in seconds.
pub const TTL_SECONDS_ENDED: u32 = 300;
/// TTL of a cached failure (RFC 9520 section 3.2: 1 s to 5 min).
pub const FAILURE_TTL: Duration = Duration::from_secs(5);
/// TTL in a stale answer, in seconds (RFC 8767 section 4).
pub const STALE_TTL_SECONDS: u32 = 30;
/// Time that a client with a stale answer waits for a fresh one (RFC 8767 section 5, client response timer).
pub const CLIENT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(1_800);
/// Pause after a failed refresh (RFC 8767 section 5, failure recheck timer).
pub const FAILURE_RECHECK: Duration = Duration::from_secs(30);

/// The local node's own delegation for an identifier, from which a walk may begin.
pub type Start = (Arc<Prefix>, Arc<Delegation>);

/// Configured starts of walks; the longest prefix that covers an identifier counts.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    by_path: HashMap<Box<[u8]>, Start>,
    /// Path lengths, longest first: there are few.
    lengths: Vec<usize>,
}

impl Roots {
    /// The roots; of two for the same prefix the later one counts.
    pub fn new(roots: Vec<(Prefix, Delegation)>) -> Self {
        let by_path: HashMap<Box<[u8]>, _> = roots
            .into_iter()
            .map(|(prefix, delegation)| (prefix.path().into(), (Arc::new(prefix), Arc::new(delegation))))
            .collect();
        let mut lengths: Vec<usize> = by_path.keys().map(|path| path.len()).collect();
        lengths.sort_unstable_by_key(|length| Reverse(*length));
        lengths.dedup();
        Self { by_path, lengths }
    }

    /// The root with the longest prefix that covers an identifier.
    pub(super) fn covering(&self, key: &Key) -> Option<&Start> {
        let at = |length: &usize| self.by_path.get(key.as_bytes().get(..*length)?);
        self.lengths.iter().filter_map(at).find(|(prefix, _)| prefix.covers(key))
    }
}

/// Protocol of the first query to a site that speaks both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstProtocol {
    /// gRPC: a reply carries everything, proofs included.
    #[default]
    Grpc,
    /// DNS: a hop is faster. Identifiers whose DNS name may be a hash still go to gRPC first, and queries with evidence
    /// to gRPC only.
    Dns,
}

/// Options and bounds of a recursor.
#[derive(Clone, Debug)]
pub struct RecursionOptions {
    /// Evidence required of every answer and referral; [`Evidence::None`] verifies nothing.
    pub evidence: Evidence,
    /// Protocol of the first query to a site that speaks both.
    pub first: FirstProtocol,
    /// Timeout of a walk.
    pub walk_timeout: Duration,
    /// Maximum number of concurrent walks; beyond it, a caller that needs one is told to try later.
    pub walks_max: usize,
    /// Maximum number of callers waiting for walks.
    pub waiters_max: usize,
    /// Maximum number of queries to sites in one walk, repeats included.
    pub questions_max: usize,
    /// Maximum size of the cache of answers, in bytes.
    pub answer_bytes_max: usize,
    /// Maximum size of the cache of delegations, in bytes.
    pub delegation_bytes_max: usize,
    /// Maximum number of endpoints, and of posts, with health records.
    pub endpoints_max: usize,
    /// Time after its TTL for which an answer may be served stale; zero for never.
    pub stale_max: Duration,
    /// Seed of the randomness for probes and jitter.
    pub seed: u64,
}

impl Default for RecursionOptions {
    fn default() -> Self {
        Self {
            evidence: Evidence::None,
            first: FirstProtocol::Grpc,
            walk_timeout: Duration::from_secs(5),
            walks_max: 4_096,
            waiters_max: 65_536,
            questions_max: 32,
            answer_bytes_max: 64 << 20,
            delegation_bytes_max: 16 << 20,
            endpoints_max: 16_384,
            stale_max: Duration::from_secs(86_400),
            seed: 0,
        }
    }
}

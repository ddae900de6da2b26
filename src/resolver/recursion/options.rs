//! Where walks begin, and every bound of theirs.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use super::{Evidence, walk::Start};
use crate::{
    id::{Key, Prefix},
    record::Delegation,
};

/// The most referrals of one walk.
pub const HOPS_MAX: usize = 16;
/// The longest that anything is kept, in seconds: two days.
pub const TTL_SECONDS_MAX: u32 = 172_800;
/// How long an answer without values to say it may be kept, in seconds: not found, and a record that has none.
pub const TTL_SECONDS_NOT_FOUND: u32 = 60;
/// How long retired and denied may be kept, in seconds.
pub const TTL_SECONDS_ENDED: u32 = 300;
/// How long a failure is kept (RFC 9520 section 3.2: 1 s to 5 min).
pub const FAILURE_TTL: Duration = Duration::from_secs(5);
/// What a stale answer says it may be kept for, in seconds (RFC 8767 section 4).
pub const STALE_TTL_SECONDS: u32 = 30;
/// How long one who could have a stale answer waits for a fresh one (RFC 8767 section 5, client response timer).
pub const CLIENT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(1_800);
/// How long after a failed refresh none is tried (RFC 8767 section 5, failure recheck timer).
pub const FAILURE_RECHECK: Duration = Duration::from_secs(30);

/// Where walks begin: of those that cover an identifier the longest prefix counts.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    by_path: HashMap<Box<[u8]>, Start>,
    /// Every length of a path, longest first: there are few.
    lengths: Vec<usize>,
}

impl Roots {
    /// The roots; of two for one prefix the later one counts.
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

    /// The longest one that covers an identifier.
    pub(super) fn covering(&self, key: &Key) -> Option<&Start> {
        let at = |length: &usize| self.by_path.get(key.as_bytes().get(..*length)?);
        self.lengths.iter().filter_map(at).find(|(prefix, _)| prefix.covers(key))
    }
}

/// Over what a site is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstProtocol {
    /// gRPC: everything that a site knows comes along, proofs too.
    #[default]
    Grpc,
    /// DNS: a hop takes less. Not for what needs a proof, or has a name of the DNS that does not tell who delegates it.
    Dns,
}

/// The bounds of a recursor.
#[derive(Clone, Debug)]
pub struct RecursionOptions {
    /// What every answer and every referral has to bring along and to be verified by; without it nothing is verified.
    pub evidence: Evidence,
    /// Over what a site is asked first that is asked over both.
    pub first: FirstProtocol,
    /// How long a walk may take.
    pub walk_timeout: Duration,
    /// The most walks at once; beyond, those who need one are told to come later.
    pub walks_max: usize,
    /// The most who wait for walks.
    pub waiters_max: usize,
    /// The most questions to sites in one walk, repeated ones included.
    pub questions_max: usize,
    /// What answers may take in memory, in bytes.
    pub answer_bytes_max: usize,
    /// What delegations may take in memory, in bytes.
    pub delegation_bytes_max: usize,
    /// Of how many endpoints is known how they did.
    pub endpoints_max: usize,
    /// How long past its time an answer is kept, for when nothing newer can be had; zero for not at all.
    pub stale_max: Duration,
    /// Where the randomness begins that spreads probes and pauses.
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

//! Counters of a recursor.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::error::RecursionError;

/// Counters since the start, and current sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecursionStats {
    /// Queries of clients.
    pub questions: u64,
    /// Queries answered from the cache within the TTL.
    pub from_cache: u64,
    /// Queries answered with a stale answer.
    pub stale: u64,
    /// Queries that joined the walk of another query.
    pub flights_joined: u64,
    /// Walks started.
    pub walks: u64,
    /// Queries to sites.
    pub upstream_questions: u64,
    /// Queries to sites that were probes.
    pub probes: u64,
    /// Failed queries of clients by kind of error; only kinds that occurred.
    pub failures: Vec<(&'static str, u64)>,
    /// Breakers that are not closed.
    pub breakers_open: usize,
    /// Shared walks in progress.
    pub flights: usize,
    /// Cached answers, failures included.
    pub answers: usize,
    /// Size of the cached answers, in bytes.
    pub answer_bytes: usize,
    /// Cached delegations.
    pub delegations: usize,
    /// Size of the cached delegations, in bytes.
    pub delegation_bytes: usize,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) questions: AtomicU64,
    pub(super) from_cache: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) flights_joined: AtomicU64,
    pub(super) walks: AtomicU64,
    pub(super) upstream_questions: AtomicU64,
    pub(super) probes: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
}

/// Kinds of errors, as in [`RecursionError::kind`].
const KINDS: [&str; 9] = [
    "not-responsible",
    "no-site",
    "all-failed",
    "loop",
    "unverified",
    "timeout",
    "too-many-hops",
    "overloaded",
    "broken-off",
];

impl Counters {
    pub(super) fn failed(&self, error: &RecursionError) {
        let counter = KINDS.iter().zip(&self.failures).find(|(kind, _)| **kind == error.kind());
        if let Some((_, counter)) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn read(&self) -> RecursionStats {
        let failures = KINDS.iter().zip(&self.failures).map(|(kind, counter)| (*kind, counter.load(Relaxed)));
        RecursionStats {
            questions: self.questions.load(Relaxed),
            from_cache: self.from_cache.load(Relaxed),
            stale: self.stale.load(Relaxed),
            flights_joined: self.flights_joined.load(Relaxed),
            walks: self.walks.load(Relaxed),
            upstream_questions: self.upstream_questions.load(Relaxed),
            probes: self.probes.load(Relaxed),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            ..RecursionStats::default()
        }
    }
}

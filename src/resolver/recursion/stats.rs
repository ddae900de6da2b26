//! What a recursor has done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::error::RecursionError;

/// Counters since the start, and what is held now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecursionStats {
    /// Questions of clients.
    pub questions: u64,
    /// Of these, those that were answered with what was kept and still counts.
    pub from_cache: u64,
    /// Of these, those that were answered with what had passed its time.
    pub stale: u64,
    /// Of these, those that waited for the walk of another one.
    pub flights_joined: u64,
    /// Walks.
    pub walks: u64,
    /// Questions to sites.
    pub upstream_questions: u64,
    /// Of these, those that were asked beside another one, to know how the site does.
    pub probes: u64,
    /// Questions of clients that came to nothing, by the kind of error; only kinds that occurred.
    pub failures: Vec<(&'static str, u64)>,
    /// Breakers that are not closed.
    pub breakers_open: usize,
    /// Walks that are under way and shared.
    pub flights: usize,
    /// Answers held.
    pub answers: usize,
    /// Their weight in bytes.
    pub answer_bytes: usize,
    /// Delegations held.
    pub delegations: usize,
    /// Their weight in bytes.
    pub delegation_bytes: usize,
}

/// The counters.
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

/// Kinds of errors, as [`RecursionError::kind`] says them.
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

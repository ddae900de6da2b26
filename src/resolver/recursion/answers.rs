//! The cache of answers: valid for their TTL, then stale (RFC 8767).
//!
//! Only found records are served stale: once their TTL is over, absence and retirement need a fresh answer. A failure
//! never replaces an answer that may still be served stale: beside such an answer it only sets the time of the next
//! try.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    error::RecursionError,
    options::{
        FAILURE_RECHECK, FAILURE_TTL, STALE_TTL_SECONDS, TTL_SECONDS_ENDED, TTL_SECONDS_MAX, TTL_SECONDS_NOT_FOUND,
    },
    resolved::{Resolution, Resolved, Source},
};
use crate::{cache::shelf::Shelf, id::Key, resolver::Answer};

/// Bytes that an entry is charged on top of its content.
const ENTRY_BYTES: usize = 192;

#[derive(Debug)]
enum Entry {
    Answer {
        answer: Arc<Resolution>,
        until: Instant,
        /// End of the time to serve the answer stale; equal to `until` if it never is.
        stale_until: Instant,
        /// Time before which no refresh is tried, after a failed one.
        recheck: Option<Instant>,
    },
    Failure {
        error: RecursionError,
        until: Instant,
    },
}

/// Result of a cache lookup.
#[derive(Debug)]
pub(super) enum Kept {
    /// A valid answer; or a stale one shortly after a failed refresh.
    Answer(Resolved),
    /// A recent failure, without an answer beside it.
    Failure(RecursionError),
    /// A stale answer: a refresh is due.
    Stale(Resolved),
}

/// The cache of answers and failures.
#[derive(Debug)]
pub(super) struct Answers {
    kept: Shelf<Key, Entry>,
    stale_max: Duration,
}

impl Answers {
    pub(super) fn new(bytes_max: usize, stale_max: Duration) -> Self {
        let weigh = |key: &Key, entry: &Entry| {
            let held = match entry {
                Entry::Answer { answer, .. } => answer.bytes(),
                Entry::Failure { error, .. } => error.bytes(),
            };
            ENTRY_BYTES + 2 * key.as_bytes().len() + held
        };
        Self { kept: Shelf::new(bytes_max, weigh), stale_max }
    }

    /// Looks a key up.
    pub(super) fn look(&self, key: &Key, now: Instant) -> Option<Kept> {
        self.kept.read(key, |entry| entry.look(now)).flatten()
    }

    /// Caches an answer from the time of its query on, and returns it for the caller.
    pub(super) fn keep(&self, key: &Key, answer: &Arc<Resolution>, ttl_seconds: u32, asked: Instant) -> Resolved {
        let ttl = Duration::from_secs(u64::from(ttl_seconds.min(TTL_SECONDS_MAX)));
        let until = asked + ttl;
        let resolved = |ttl_seconds| {
            let answer = Arc::clone(answer);
            Resolved { resolution: answer, ttl_seconds, stale: false, source: Source::Network }
        };
        if ttl_seconds == 0 {
            // An older cached answer is no better than one with a TTL of zero.
            self.kept.remove(key);
            return resolved(0);
        }
        let stale = if answer.may_be_stale() { self.stale_max } else { Duration::ZERO };
        let entry = Entry::Answer { answer: Arc::clone(answer), until, stale_until: until + stale, recheck: None };
        self.kept.put(key.clone(), entry);
        resolved(seconds_left(until, Instant::now()))
    }

    /// Invalidates a key.
    pub(super) fn forget(&self, key: &Key) {
        self.kept.remove(key);
    }

    /// Invalidates everything.
    pub(super) fn clear(&self) {
        self.kept.clear();
    }

    /// Wraps an answer for the caller without caching it.
    pub(super) fn pass(answer: Arc<Resolution>, ttl_seconds: u32) -> Resolved {
        Resolved { resolution: answer, ttl_seconds, stale: false, source: Source::Network }
    }

    /// Records a failed walk.
    pub(super) fn fail(&self, key: &Key, error: &RecursionError, now: Instant) {
        let note = |entry: &mut Entry| match entry {
            // Stale answers cover unreachable sites, but not sites that were reached and do not answer for the
            // identifier any more.
            Entry::Answer { stale_until, recheck, .. } if *stale_until > now && !error.was_reached() => {
                *recheck = Some(now + FAILURE_RECHECK);
                true
            }
            _ => false,
        };
        if !self.kept.change(key, note).unwrap_or(false) {
            self.kept.put(key.clone(), Entry::Failure { error: error.clone(), until: now + FAILURE_TTL });
        }
    }

    /// Number of entries, and their size in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        self.kept.size()
    }
}

impl Entry {
    fn look(&self, now: Instant) -> Option<Kept> {
        match self {
            Self::Failure { error, until } => (now < *until).then(|| Kept::Failure(error.clone())),
            Self::Answer { answer, until, stale_until, recheck } => {
                let resolved = |ttl_seconds, stale| {
                    let answer = Arc::clone(answer);
                    Resolved { resolution: answer, ttl_seconds, stale, source: Source::Cache }
                };
                if now < *until {
                    return Some(Kept::Answer(resolved(seconds_left(*until, now), false)));
                }
                if now >= *stale_until {
                    return None;
                }
                let stale = resolved(STALE_TTL_SECONDS, true);
                let failed = recheck.is_some_and(|recheck| now < recheck);
                Some(if failed { Kept::Answer(stale) } else { Kept::Stale(stale) })
            }
        }
    }
}

impl Resolution {
    fn may_be_stale(&self) -> bool {
        matches!(self.answer, Answer::Found(_))
    }
}

/// TTL of a reply in seconds, by its answer.
pub(super) fn ttl_seconds(answer: &Answer) -> u32 {
    let ttl = match answer {
        Answer::Found(found) => found.values().iter().map(|value| value.ttl).min().unwrap_or(TTL_SECONDS_NOT_FOUND),
        Answer::Retired(_) | Answer::Denied => TTL_SECONDS_ENDED,
        Answer::NotFound => TTL_SECONDS_NOT_FOUND,
        Answer::Delegated(referral) => referral.delegation.ttl_seconds(),
        Answer::NotResponsible => 0,
    };
    ttl.min(TTL_SECONDS_MAX)
}

fn seconds_left(until: Instant, now: Instant) -> u32 {
    u32::try_from(until.saturating_duration_since(now).as_secs()).unwrap_or(TTL_SECONDS_MAX).min(TTL_SECONDS_MAX)
}

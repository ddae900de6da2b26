//! Answers that walks came to, for as long as they count, and stale ones beyond that (RFC 8767).
//!
//! Only a record that was found is ever given out stale: that something is gone is said by those who know, and after its time they are
//! asked again. A failure takes the place of nothing: it is kept only where no answer is, and beside a stale one it only says
//! when to try again.

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

/// What an entry is counted for beside what it holds, in bytes.
const ENTRY_BYTES: usize = 192;

#[derive(Debug)]
enum Entry {
    Answer {
        answer: Arc<Resolution>,
        until: Instant,
        /// Until when it may be given out stale; not past `until` for what never is.
        stale_until: Instant,
        /// No refresh is tried before, after one failed.
        recheck: Option<Instant>,
    },
    Failure {
        error: RecursionError,
        until: Instant,
    },
}

/// What is kept about a key.
#[derive(Debug)]
pub(super) enum Kept {
    /// An answer that counts; a stale one when a refresh failed not long ago.
    Answer(Resolved),
    /// A walk failed not long ago, and nothing else is there.
    Failure(RecursionError),
    /// An answer whose time is over: a refresh is due.
    Stale(Resolved),
}

/// The answers.
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

    /// What is kept about a key.
    pub(super) fn look(&self, key: &Key, now: Instant) -> Option<Kept> {
        self.kept.read(key, |entry| entry.look(now)).flatten()
    }

    /// Keeps an answer from when it was asked for, and gives it out.
    pub(super) fn keep(&self, key: &Key, answer: &Arc<Resolution>, ttl_seconds: u32, asked: Instant) -> Resolved {
        let ttl = Duration::from_secs(u64::from(ttl_seconds.min(TTL_SECONDS_MAX)));
        let until = asked + ttl;
        let resolved = |ttl_seconds| {
            let answer = Arc::clone(answer);
            Resolved { resolution: answer, ttl_seconds, stale: false, source: Source::Network }
        };
        if ttl_seconds == 0 {
            // What is older than the answer counts no more than the answer.
            self.kept.remove(key);
            return resolved(0);
        }
        let stale = if answer.may_be_stale() { self.stale_max } else { Duration::ZERO };
        let entry = Entry::Answer { answer: Arc::clone(answer), until, stale_until: until + stale, recheck: None };
        self.kept.put(key.clone(), entry);
        resolved(seconds_left(until, Instant::now()))
    }

    /// Forgets an answer.
    pub(super) fn forget(&self, key: &Key) {
        self.kept.remove(key);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.kept.clear();
    }

    /// Gives an answer out that is not kept.
    pub(super) fn pass(answer: Arc<Resolution>, ttl_seconds: u32) -> Resolved {
        Resolved { resolution: answer, ttl_seconds, stale: false, source: Source::Network }
    }

    /// Takes note that a walk failed.
    pub(super) fn fail(&self, key: &Key, error: &RecursionError, now: Instant) {
        let note = |entry: &mut Entry| match entry {
            // Stale is given out when nobody can be reached, and not when somebody was who does not answer for it any more.
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

    /// How many entries there are, and what they take in bytes.
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

/// For how long what a site said may be kept, in seconds, by what it said.
pub(super) fn ttl_seconds(answer: &Answer) -> u32 {
    let ttl = match answer {
        Answer::Found(found) => {
            found.record().values.iter().map(|value| value.ttl).min().unwrap_or(TTL_SECONDS_NOT_FOUND)
        }
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

//! How far a mirror is behind its primary, for whoever asks: metrics, and every answer.
//!
//! Times are the primary's as far as it says any, and go on with the mirror's own clock while it says none: clocks that differ do
//! not make a lag.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{ledger::Ledger, registry::Clock};

/// How long a mirror counts as in step behind a sign of life, in milliseconds: one comes each second.
const FRESH_MS: u64 = 2_500;

/// What is known of the primary.
pub struct Lag {
    primary: String,
    ledger: Arc<Ledger>,
    clock: Clock,
    known: Mutex<Known>,
    rejected: AtomicU64,
    forks: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    connected: bool,
    forked: bool,
    /// Entries that the primary said it has.
    size: u64,
    /// The primary's time when it was heard last, and the mirror's.
    theirs_ms: u64,
    heard_ms: u64,
    /// The primary's time up to which the mirror has everything.
    in_step_ms: u64,
}

/// How far behind a mirror is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagNow {
    /// Entries that the primary is known to have and the mirror has not.
    pub entries: u64,
    /// For how long it has not been in step; 0 while it is.
    pub seconds: u64,
    /// Whether the primary's stream is open.
    pub connected: bool,
    /// Whether the primary shows another history than the mirror holds.
    pub forked: bool,
}

impl fmt::Display for LagNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entries={}, seconds={}", self.entries, self.seconds)
    }
}

impl fmt::Debug for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lag({})", self.primary)
    }
}

impl Lag {
    /// Of a mirror that has not heard of its primary yet, and whose last entry has this time.
    pub fn new(primary: &str, ledger: Arc<Ledger>, last_time_ms: Option<u64>, clock: Clock) -> Self {
        let now = clock();
        let known = Known {
            connected: false,
            forked: false,
            size: 0,
            theirs_ms: now,
            heard_ms: now,
            in_step_ms: last_time_ms.unwrap_or(now).min(now),
        };
        let (rejected, forks) = (AtomicU64::default(), AtomicU64::default());
        Self { primary: primary.into(), ledger, clock, known: Mutex::new(known), rejected, forks }
    }

    /// Where the primary is.
    pub fn primary(&self) -> &str {
        &self.primary
    }

    /// The primary gave a sign of life.
    pub fn heard(&self, size: u64, time_ms: u64) {
        let now = (self.clock)();
        let held = self.ledger.size();
        let mut known = self.known();
        (known.connected, known.size, known.theirs_ms, known.heard_ms) = (true, size, time_ms, now);
        if held >= size {
            known.in_step_ms = time_ms;
        }
    }

    /// A batch was applied.
    pub fn applied(&self) {
        let held = self.ledger.size();
        let mut known = self.known();
        known.forked = false;
        if held >= known.size {
            known.in_step_ms = known.theirs_ms;
        }
    }

    /// The stream fits what is held.
    pub fn fits(&self) {
        self.known().forked = false;
    }

    /// The stream is over.
    pub fn lost(&self) {
        self.known().connected = false;
    }

    /// Something came that does not verify.
    pub fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// The primary shows another history; true when it did not before.
    pub fn fork(&self) -> bool {
        self.forks.fetch_add(1, Ordering::Relaxed);
        !std::mem::replace(&mut self.known().forked, true)
    }

    /// How often something came that does not verify.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// How often the primary showed another history.
    pub fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    /// How it stands.
    pub fn now(&self) -> LagNow {
        let (known, held, now) = (*self.known(), self.ledger.size(), (self.clock)());
        let silent_ms = now.saturating_sub(known.heard_ms);
        let entries = known.size.saturating_sub(held);
        let is_in_step = known.connected && entries == 0 && silent_ms < FRESH_MS;
        let behind_ms = (known.theirs_ms + silent_ms).saturating_sub(known.in_step_ms);
        let seconds = if is_in_step { 0 } else { behind_ms / 1_000 };
        LagNow { entries, seconds, connected: known.connected, forked: known.forked }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

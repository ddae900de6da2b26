//! How far a mirror is behind its primary, for whoever asks: metrics, and every answer.
//!
//! Times are the primary's as far as it says any, and go on with the mirror's own clock while it says none: clocks that differ do
//! not make a lag. They are not verified, so they cannot hide one either: it is never less than what the mirror's own clock says
//! since it was in step. A mirror that lacks values which nobody is known to have erased is not in step.

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
    /// The primary's time up to which the mirror has everything, and the mirror's when it had it.
    in_step_ms: u64,
    had_ms: u64,
    /// Whether values are missing that no entry erased so far.
    lacks: bool,
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
    /// Whether values are missing that no entry erased so far.
    pub lacks: bool,
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
            had_ms: now,
            lacks: false,
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
        // A clock that was set back, or a time that was none.
        known.in_step_ms = known.in_step_ms.min(time_ms);
        known.has(held);
    }

    /// A batch was applied.
    pub fn applied(&self) {
        let held = self.ledger.size();
        let mut known = self.known();
        known.forked = false;
        known.has(held);
    }

    /// Whether values are missing that no entry erased so far.
    pub fn lacks(&self, lacks: bool) {
        self.known().lacks = lacks;
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
        let is_in_step = known.connected && entries == 0 && !known.lacks && silent_ms < FRESH_MS;
        let theirs_ms = known.theirs_ms.saturating_sub(known.in_step_ms).saturating_add(silent_ms);
        let behind_ms = theirs_ms.max(now.saturating_sub(known.had_ms));
        let seconds = if is_in_step { 0 } else { behind_ms / 1_000 };
        LagNow { entries, seconds, connected: known.connected, forked: known.forked, lacks: known.lacks }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// So many entries are held.
    fn has(&mut self, held: u64) {
        if held >= self.size && !self.lacks {
            (self.in_step_ms, self.had_ms) = (self.theirs_ms, self.heard_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::ledger::{DataDir, KeySource, LedgerError, Mark, Opening};

    /// What a mirror hears, and when: own time, size and time of the primary; then what it says at a later time.
    #[test]
    fn what_the_primary_says_of_the_time_hides_no_lag() {
        const NOW: u64 = 1_000_000;
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let ledger = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap().ledger;
        type Case<'a> = (&'a str, &'a [(u64, u64, u64)], bool, u64, (u64, u64));
        let table: [Case<'_>; 8] = [
            ("in step", &[(0, 0, NOW)], false, 1_000, (0, 0)),
            ("clocks differ", &[(0, 0, NOW + 900_000)], false, 1_000, (0, 0)),
            ("silent", &[(0, 0, NOW)], false, 9_000, (0, 9)),
            ("behind", &[(0, 0, NOW), (7_000, 3, NOW + 7_000)], false, 7_000, (3, 7)),
            ("in the future once", &[(0, 0, u64::MAX), (7_000, 3, NOW + 7_000)], false, 7_000, (3, 7)),
            ("in the future always", &[(0, 0, u64::MAX), (7_000, 3, u64::MAX)], false, 7_000, (3, 7)),
            ("in the future, then silent", &[(0, u64::MAX, u64::MAX)], false, 9_000, (u64::MAX, u64::MAX)),
            ("without some values", &[(0, 0, NOW), (7_000, 0, NOW + 7_000)], true, 7_000, (0, 7)),
        ];
        for (name, heard, lacks, at, (entries, seconds)) in table {
            let time = Arc::new(AtomicU64::new(NOW));
            let clock = Arc::clone(&time);
            let lag = Lag::new("p", Arc::clone(&ledger), None, Arc::new(move || clock.load(Ordering::Relaxed)));
            for (nth, (own, size, theirs)) in heard.iter().enumerate() {
                time.store(NOW + own, Ordering::Relaxed);
                lag.lacks(lacks && nth > 0);
                lag.heard(*size, *theirs);
            }
            time.store(NOW + at, Ordering::Relaxed);
            let now = lag.now();
            // A lag that is too long is for the operator to see; one that is hidden is not.
            let said = if seconds == u64::MAX { u64::from(now.seconds >= 9) * u64::MAX } else { now.seconds };
            assert_eq!((now.entries, said), (entries, seconds), "{name}");
        }
    }
}

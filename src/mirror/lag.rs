//! Lag of a mirror behind its primary, for metrics and for every answer.
//!
//! Times are the primary's while it reports them, and advance with the mirror's own clock in between: clocks that
//! differ make no lag. The reported times are not verified, but cannot hide a lag: it is never less than the time since
//! the mirror was last in step, by its own clock. A mirror that lacks values without a known erasure is not in step.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{ledger::Ledger, registry::Clock};

/// Time for which a mirror counts as in step after a sign of life, in milliseconds: one comes each second.
const FRESH_MS: u64 = 2_500;

/// Lag of a mirror, and the state of its primary behind it.
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
    /// Entries in the primary's ledger, as reported.
    size: u64,
    /// Time of the last sign of life, by the primary's clock and by the mirror's.
    theirs_ms: u64,
    heard_ms: u64,
    /// Time at which the mirror last had everything, by the primary's clock and by the mirror's.
    in_step_ms: u64,
    had_ms: u64,
    /// True if values are missing that no entry has erased so far.
    lacks: bool,
}

/// Lag of a mirror at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagNow {
    /// Number of entries that the primary has and the mirror lacks.
    pub entries: u64,
    /// Time since the mirror was in step, in seconds; 0 while it is.
    pub seconds: u64,
    /// True if the primary's stream is open.
    pub connected: bool,
    /// True if the primary shows another history than the mirror holds.
    pub forked: bool,
    /// True if values are missing that no entry has erased so far.
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
    /// The lag of a mirror without contact to its primary yet; `last_time_ms` is the time of its last entry.
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

    /// URL of the primary.
    pub fn primary(&self) -> &str {
        &self.primary
    }

    /// Notes a sign of life: size of the primary's ledger, and time of the primary in milliseconds since 1970 UTC.
    pub fn heard(&self, size: u64, time_ms: u64) {
        let now = (self.clock)();
        let held = self.ledger.size();
        let mut known = self.known();
        (known.connected, known.size, known.theirs_ms, known.heard_ms) = (true, size, time_ms, now);
        // The primary's clock was set back, or an earlier time was wrong.
        known.in_step_ms = known.in_step_ms.min(time_ms);
        known.has(held);
    }

    /// Notes that a batch was applied.
    pub fn applied(&self) {
        let held = self.ledger.size();
        let mut known = self.known();
        known.forked = false;
        known.has(held);
    }

    /// Notes whether values are missing that no entry has erased so far.
    pub fn lacks(&self, lacks: bool) {
        self.known().lacks = lacks;
    }

    /// Notes the end of the stream.
    pub fn lost(&self) {
        self.known().connected = false;
    }

    /// Counts a rejection: a record or checkpoint that does not verify.
    pub fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fork: the primary shows another history. Returns true if it did not before.
    pub fn fork(&self) -> bool {
        self.forks.fetch_add(1, Ordering::Relaxed);
        !std::mem::replace(&mut self.known().forked, true)
    }

    /// Number of rejections.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Number of times that the primary showed another history.
    pub fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    /// The lag now.
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
    /// Notes the number of entries held.
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

    /// Signs of life as the mirror hears them: own time, size and time of the primary; then the lag at a later time.
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
            // A lag shown too long is for the operator to see; a hidden one is not.
            let said = if seconds == u64::MAX { u64::from(now.seconds >= 9) * u64::MAX } else { now.seconds };
            assert_eq!((now.entries, said), (entries, seconds), "{name}");
        }
    }
}

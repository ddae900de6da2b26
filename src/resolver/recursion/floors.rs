//! Size floors of ledgers: a state that was true once is not accepted again as the latest.
//!
//! Once a site has shown a tree of some size, the least size accepted under its key rises to it some seconds later. So
//! an old lookup with an old checkpoint, both signed and once true, is rejected by a verifier that has seen more. A
//! verifier that has seen nothing accepts the first state it is shown.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Unproven;
use crate::cache::shelf::Shelf;

/// Time until a shown size becomes the floor: replies overtake each other, and the verifiable index lags the ledger by
/// some seconds.
const SETTLES_AFTER: Duration = Duration::from_secs(15);
/// Maximum number of entries by which a lookup may lag the checkpoint of the proof beside it.
const BEHIND_MAX: u64 = 65_536;
/// Maximum number of ledgers with a floor; the least recently used is forgotten.
const LEDGERS_MAX: usize = 65_536;

/// Least accepted size of each ledger, by verifier key.
#[derive(Debug)]
pub(super) struct Floors(Shelf<Box<str>, Seen>);

/// Sizes shown by a ledger.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    newest: u64,
    /// A size, and the time at which it was the newest.
    candidate: Option<(u64, Instant)>,
    settled: u64,
}

impl Floors {
    pub(super) fn new() -> Self {
        Self(Shelf::new(LEDGERS_MAX, |_, _| 1))
    }

    /// Checks a lookup over `entries` entries beside a proof whose checkpoint covers `size`, and records the size.
    pub(super) fn check(&self, key: &str, entries: u64, size: u64) -> Result<(), Unproven> {
        let behind = size.saturating_sub(entries);
        if behind > BEHIND_MAX {
            let reason = format!("its lookup is {behind} entries behind its proof; the limit is {BEHIND_MAX}");
            return Err(Unproven { reason });
        }
        let now = Instant::now();
        self.0.change_or_default(&key.into(), |seen| {
            let floor = seen.floor(now);
            if entries < floor {
                let reason = format!("its lookup covers {entries} entries, and {floor} were shown before");
                return Err(Unproven { reason });
            }
            seen.note(entries, now);
            Ok(())
        })
    }
}

impl Seen {
    fn floor(&self, now: Instant) -> u64 {
        match self.candidate {
            Some((size, at)) if now >= at + SETTLES_AFTER => size,
            _ => self.settled,
        }
    }

    fn note(&mut self, size: u64, now: Instant) {
        self.newest = self.newest.max(size);
        if self.candidate.is_none_or(|(_, at)| now >= at + SETTLES_AFTER) {
            self.settled = self.floor(now);
            self.candidate = Some((self.newest, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_back_behind_what_was_shown() {
        let floors = Floors::new();
        assert!(floors.check("a", 10, 10).is_ok());
        assert!(floors.check("a", 9, 9).is_ok(), "answers pass each other");
        tokio::time::advance(SETTLES_AFTER).await;
        assert!(floors.check("a", 9, 9).unwrap_err().to_string().contains("10 were shown before"));
        assert!(floors.check("a", 10, 10).is_ok());
        assert!(floors.check("b", 1, 1).is_ok(), "each ledger for itself");
        for second in 0..60 {
            assert!(floors.check("a", 20 + second, 20 + second).is_ok());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(floors.check("a", 40, 40).is_err(), "also of one that grows all the time");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_lookup_beside_a_new_proof_is_refused() {
        let floors = Floors::new();
        assert!(floors.check("a", 5, 5 + BEHIND_MAX).is_ok());
        assert!(floors.check("a", 5, 6 + BEHIND_MAX).unwrap_err().to_string().contains("behind its proof"));
    }
}

//! A budget that several caches share: bytes that one cache does not need, another uses.
//!
//! Each cache evicts its own least recently used entries when all caches together hold too much. A cache that fills
//! later takes over the room of an earlier one as the earlier one goes on being used. A small part of the pool is
//! reserved for each cache, so that an idle cache starves none. All caches together hold at most the pool, plus that
//! small part for each cache but one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Divisor of the pool that gives the part reserved for each cache.
const OWN_PART: usize = 8;

/// A budget in bytes that several caches share.
#[derive(Debug)]
pub struct Pool {
    bytes_max: usize,
    used_bytes: AtomicUsize,
}

/// Budget of one cache.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes_max: usize,
    pool: Option<Arc<Pool>>,
}

impl From<usize> for Budget {
    /// A budget of so many bytes, whatever other caches hold.
    fn from(bytes_max: usize) -> Self {
        Self { bytes_max, pool: None }
    }
}

impl Pool {
    /// Returns a pool of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, used_bytes: AtomicUsize::new(0) })
    }

    /// Budget of one of the caches that share the pool.
    pub fn budget(self: &Arc<Self>) -> Budget {
        Budget { bytes_max: self.bytes_max, pool: Some(Arc::clone(self)) }
    }

    /// Bytes that all caches hold together.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

impl Budget {
    /// Budget of each of `shards` shards.
    pub(super) fn per_shard(self, shards: usize) -> ShardBudget {
        let own = self.pool.as_ref().map_or(0, |pool| pool.bytes_max / OWN_PART);
        ShardBudget { bytes_max: self.bytes_max / shards, own_bytes: own / shards, pool: self.pool }
    }
}

/// Budget of one shard of a cache.
#[derive(Debug)]
pub(super) struct ShardBudget {
    /// Maximum size of a shard, in bytes.
    pub(super) bytes_max: usize,
    /// Bytes that a shard may hold however full the pool is.
    own_bytes: usize,
    pool: Option<Arc<Pool>>,
}

impl ShardBudget {
    /// Records in the pool that a shard of `before` bytes now holds `now` bytes.
    pub(super) fn moved(&self, before: usize, now: usize) {
        let Some(pool) = &self.pool else { return };
        match now.checked_sub(before) {
            Some(more) => pool.used_bytes.fetch_add(more, Ordering::Relaxed),
            None => pool.used_bytes.fetch_sub(before - now, Ordering::Relaxed),
        };
    }

    /// True if a shard of this many bytes must evict entries.
    pub(super) fn is_exceeded_by(&self, bytes: usize) -> bool {
        let pool_is_full = || self.pool.as_ref().is_some_and(|pool| pool.used_bytes() > pool.bytes_max);
        bytes > self.bytes_max || bytes > self.own_bytes && pool_is_full()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::{Boarded, Cache};

    fn put(cache: &Arc<Cache<u64, u64>>, key: u64) {
        if let Boarded::First(pilot) = cache.board(&key) {
            pilot.land(key);
        }
    }

    #[test]
    fn caches_share_a_pool() {
        const POOL_BYTES: usize = 1 << 20;
        let pool = Pool::new(POOL_BYTES);
        let cache = || Arc::new(Cache::<u64, u64>::new(pool.budget(), |_, _| 64));
        let (one, other) = (cache(), cache());
        let fill = |cache: &Arc<Cache<u64, u64>>, keys: std::ops::Range<u64>| keys.for_each(|key| put(cache, key));
        let bytes = || [one.stats().bytes, other.stats().bytes];
        // Alone, a cache takes the whole pool.
        fill(&one, 0..100_000);
        assert!(bytes()[0] > POOL_BYTES * 9 / 10 && bytes()[0] <= POOL_BYTES, "{:?}", bytes());
        // Beside an idle cache, the other one has its own part.
        fill(&other, 0..100_000);
        let [of_one, of_other] = bytes();
        assert!(of_other > POOL_BYTES / 10 && of_one + of_other <= POOL_BYTES / 8 * 9 + 1_024, "{of_one} {of_other}");
        // A cache in use gives way to the pool.
        fill(&one, 100_000..200_000);
        assert!(bytes().iter().sum::<usize>() <= POOL_BYTES + 1_024, "{:?}", bytes());
        assert_eq!(pool.used_bytes(), bytes().iter().sum::<usize>());
        // Removed entries free their room.
        one.clear();
        other.invalidate(&99_999);
        assert_eq!((bytes()[0], pool.used_bytes()), (0, bytes()[1]));
        fill(&other, 0..100_000);
        assert!(bytes()[1] > POOL_BYTES * 9 / 10, "{:?}", bytes());
    }

    #[test]
    fn a_budget_of_its_own() {
        let cache = Arc::new(Cache::<u64, u64>::new(1_600_usize, |_, _| 10));
        (0..10_000).for_each(|key| put(&cache, key));
        assert!(cache.stats().bytes <= 1_600, "{:?}", cache.stats());
    }
}

//! A budget that several caches share: what one does not need, another one uses.
//!
//! Each cache drops its own oldest entries when all of them together hold too much. One that is filled later takes the room of an
//! earlier one as that one goes on being used; a small part of the pool is every cache's own, so that none is
//! starved by one that lies idle. All together hold at most the pool, and that small part of it for each cache but one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Of so many parts of a pool one is every cache's own.
const OWN_PART: usize = 8;

/// A budget in bytes that several caches share.
#[derive(Debug)]
pub struct Pool {
    bytes_max: usize,
    used_bytes: AtomicUsize,
}

/// How much a cache may hold.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes_max: usize,
    pool: Option<Arc<Pool>>,
}

impl From<usize> for Budget {
    /// So many bytes, whatever other caches hold.
    fn from(bytes_max: usize) -> Self {
        Self { bytes_max, pool: None }
    }
}

impl Pool {
    /// A pool of so many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, used_bytes: AtomicUsize::new(0) })
    }

    /// The budget of one of the caches that share the pool.
    pub fn budget(self: &Arc<Self>) -> Budget {
        Budget { bytes_max: self.bytes_max, pool: Some(Arc::clone(self)) }
    }

    /// What all caches hold together, in bytes.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

impl Budget {
    /// The part of it for each of so many shards.
    pub(super) fn per_shard(self, shards: usize) -> ShardBudget {
        let own = self.pool.as_ref().map_or(0, |pool| pool.bytes_max / OWN_PART);
        ShardBudget { bytes_max: self.bytes_max / shards, own_bytes: own / shards, pool: self.pool }
    }
}

/// How much a shard of a cache may hold.
#[derive(Debug)]
pub(super) struct ShardBudget {
    /// The most that a shard may hold.
    pub(super) bytes_max: usize,
    /// What it may hold however full the pool is.
    own_bytes: usize,
    pool: Option<Arc<Pool>>,
}

impl ShardBudget {
    /// Takes note that a shard holds so many bytes, and no longer so many.
    pub(super) fn moved(&self, before: usize, now: usize) {
        let Some(pool) = &self.pool else { return };
        match now.checked_sub(before) {
            Some(more) => pool.used_bytes.fetch_add(more, Ordering::Relaxed),
            None => pool.used_bytes.fetch_sub(before - now, Ordering::Relaxed),
        };
    }

    /// True when a shard with so many bytes has to drop some.
    pub(super) fn is_exceeded_by(&self, bytes: usize) -> bool {
        let pool_is_full = || self.pool.as_ref().is_some_and(|pool| pool.used_bytes() > pool.bytes_max);
        bytes > self.bytes_max || bytes > self.own_bytes && pool_is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Boarded, Cache};

    /// Asks for a key, and fills it where it is not there.
    fn ask(cache: &Arc<Cache<u64, u64>>, key: u64) {
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
        let fill = |cache: &Arc<Cache<u64, u64>>, keys: std::ops::Range<u64>| keys.for_each(|key| ask(cache, key));
        let bytes = || [one.stats().bytes, other.stats().bytes];
        // Alone, one takes it all.
        fill(&one, 0..100_000);
        assert!(bytes()[0] > POOL_BYTES * 9 / 10 && bytes()[0] <= POOL_BYTES, "{:?}", bytes());
        // Beside one that lies idle, the other one has its own part.
        fill(&other, 0..100_000);
        let [of_one, of_other] = bytes();
        assert!(of_other > POOL_BYTES / 10 && of_one + of_other <= POOL_BYTES / 8 * 9 + 1_024, "{of_one} {of_other}");
        // One that goes on gives way to the pool.
        fill(&one, 100_000..200_000);
        assert!(bytes().iter().sum::<usize>() <= POOL_BYTES + 1_024, "{:?}", bytes());
        assert_eq!(pool.used_bytes(), bytes().iter().sum::<usize>());
        // What is forgotten is free again.
        one.clear();
        other.invalidate(&99_999);
        assert_eq!((bytes()[0], pool.used_bytes()), (0, bytes()[1]));
        fill(&other, 0..100_000);
        assert!(bytes()[1] > POOL_BYTES * 9 / 10, "{:?}", bytes());
    }

    #[test]
    fn a_budget_of_its_own() {
        let cache = Arc::new(Cache::<u64, u64>::new(1_600_usize, |_, _| 10));
        (0..10_000).for_each(|key| ask(&cache, key));
        assert!(cache.stats().bytes <= 1_600, "{:?}", cache.stats());
    }
}

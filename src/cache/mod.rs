//! A sharded LRU cache with a byte budget and single flight. Generic: it knows nothing of identifiers or answers. Caches may
//! share a budget ([`pool`]).
//!
//! [`stamped`] is a cache of ready answers that are invalidated by topic; [`shelf`] is a bounded table whose owner
//! fills it and decides when an entry is stale.
//!
//! * Each entry has a weight in bytes; a shard over its share of the budget evicts the least recently used entries.
//! * Of concurrent misses of one key, one caller runs the fill and the others wait for its result (single flight).
//! * [`Cache::invalidate`] also detaches fills in flight: a fill may have read before the change, so its result goes to
//!   the callers who already wait for it and is not cached. A call after `invalidate` has returned sees data read after
//!   it.
//!
//! No lock is held during a fill. Deliberately absent: time. An entry stays until it is evicted or invalidated; answers
//! that expire carry their own time to live.

pub mod pool;
pub mod shelf;
pub mod stamped;

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use tokio::sync::watch;

use self::pool::{Budget, ShardBudget};

/// Number of shards: enough that the threads of a small machine rarely contend.
const SHARD_COUNT: usize = 16;

/// Hits of a shard per move of an entry to the front; a power of two. A move touches five entries, and the order of use is
/// known well enough without the others.
const HITS_PER_MOVE: u64 = 8;

/// Function for the weight of an entry, in bytes.
pub type Weigh<K, V> = fn(&K, &V) -> usize;

/// A cache from `K` to `V`. Cloning a value should be cheap: an `Arc` or something like it.
///
/// ```
/// use std::sync::Arc;
/// use touchmark::cache::{Boarded, Cache};
///
/// let cache: Arc<Cache<String, Arc<str>>> = Arc::new(Cache::new(1_usize << 20, |key, value| key.len() + value.len()));
/// let read = |text: &str| match cache.board("key") {
///     Boarded::Hit(value) => value,
///     Boarded::First(pilot) => {
///         let value: Arc<str> = text.into();
///         pilot.land(Arc::clone(&value));
///         value
///     }
///     Boarded::Joined(_) => unreachable!("nobody else fills"),
/// };
///
/// assert_eq!(&*read("old"), "old");
/// assert_eq!(&*read("new"), "old", "a hit does not fill");
/// cache.invalidate("key");
/// assert_eq!(&*read("new"), "new");
/// ```
#[derive(Debug)]
pub struct Cache<K: Hash + Eq, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    weigh: Weigh<K, V>,
    budget: ShardBudget,
}

#[derive(Debug)]
struct Shard<K: Hash + Eq, V> {
    entries: LruCache<K, V, RandomState>,
    flights: HashMap<K, Arc<Flight<V>>, RandomState>,
    bytes: usize,
    hits: u64,
    misses: u64,
}

/// A fill in flight, and the callers that wait for it.
#[derive(Debug)]
struct Flight<V> {
    landing: watch::Sender<Landing<V>>,
}

#[derive(Clone, Debug)]
enum Landing<V> {
    /// The fill is under way.
    Ahead,
    Filled(V),
    /// The fill failed, or its pilot is gone; each waiting caller boards again.
    Failed,
}

/// Result of boarding.
#[derive(Debug)]
pub enum Boarded<K: Hash + Eq + Clone, V: Clone> {
    /// A cache hit.
    Hit(V),
    /// A seat in a flight of another caller.
    Joined(Seat<V>),
    /// The duty to fill, as the first caller that missed.
    First(Pilot<K, V>),
}

/// A place among the callers that wait for a fill.
#[derive(Debug)]
pub struct Seat<V>(watch::Receiver<Landing<V>>);

/// Counters and size of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Cache hits.
    pub hits: u64,
    /// Cache misses.
    pub misses: u64,
    /// Entries in the cache.
    pub entries: usize,
    /// Weight of the entries, in bytes.
    pub bytes: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// Returns a cache of at most the bytes of `budget`, as `weigh` counts them.
    pub fn new(budget: impl Into<Budget>, weigh: Weigh<K, V>) -> Self {
        let shard = || {
            let entries = LruCache::unbounded_with_hasher(RandomState::new());
            let flights = HashMap::default();
            Mutex::new(Shard { entries, flights, bytes: 0, hits: 0, misses: 0 })
        };
        Self {
            shards: (0..SHARD_COUNT).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            weigh,
            budget: budget.into().per_shard(SHARD_COUNT),
        }
    }

    /// The cached value of a key; on a miss, a seat in the flight that fills it, or the duty to fill it.
    pub fn board<Q>(self: &Arc<Self>, key: &Q) -> Boarded<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut guard = self.shard(key);
        let shard = &mut *guard;
        let hit = match (shard.hits + 1) % HITS_PER_MOVE {
            0 => shard.entries.get(key),
            _ => shard.entries.peek(key),
        };
        if let Some(value) = hit {
            let value = value.clone();
            shard.hits += 1;
            return Boarded::Hit(value);
        }
        shard.misses += 1;
        if let Some(flight) = shard.flights.get(key) {
            return Boarded::Joined(Seat(flight.landing.subscribe()));
        }
        let flight = Arc::new(Flight { landing: watch::Sender::new(Landing::Ahead) });
        shard.flights.insert(key.to_owned(), Arc::clone(&flight));
        Boarded::First(Pilot { cache: Arc::clone(self), key: Some(key.to_owned()), flight })
    }

    /// The cached value of a key. Does not fill, and does not count as a use.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key).entries.peek(key).cloned()
    }

    /// Removes a key, and detaches the fill in flight, so that its old value is not cached.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key);
        // Its callers still get the value; `land` finds another flight, or none, and does not cache it.
        shard.flights.remove(key);
        if let Some((key, value)) = shard.entries.pop_entry(key) {
            let weight = (self.weigh)(&key, &value);
            shard.bytes -= weight;
            self.budget.moved(weight, 0);
        }
    }

    /// Removes all entries, and detaches all fills in flight.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.flights.clear();
            shard.entries.clear();
            self.budget.moved(shard.bytes, 0);
            shard.bytes = 0;
        }
    }

    /// Counters and size of the cache.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats::default();
        for shard in &self.shards {
            let shard = lock(shard);
            stats.hits += shard.hits;
            stats.misses += shard.misses;
            stats.entries += shard.entries.len();
            stats.bytes += shard.bytes;
        }
        stats
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>> {
        let hash = self.hasher.hash_one(key);
        lock(&self.shards[hash as usize % SHARD_COUNT])
    }

    /// Ends a flight: caches the value if the flight has not been detached by an invalidation.
    fn land(&self, key: K, flight: &Arc<Flight<V>>, landing: &Landing<V>) {
        let mut guard = self.shard(&key);
        let shard = &mut *guard;
        if !shard.flights.get(&key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            return;
        }
        shard.flights.remove(&key);
        let Landing::Filled(value) = landing else { return };
        let weight = (self.weigh)(&key, value);
        if weight > self.budget.bytes_max {
            return;
        }
        shard.bytes += weight;
        self.budget.moved(0, weight);
        shard.entries.put(key, value.clone());
        while self.budget.is_exceeded_by(shard.bytes) {
            let Some((key, value)) = shard.entries.pop_lru() else { break };
            let weight = (self.weigh)(&key, &value);
            shard.bytes -= weight;
            self.budget.moved(weight, 0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Clone> Seat<V> {
    /// Waits for the fill; `None` if the fill failed, and the key is to be boarded again.
    pub async fn wait(mut self) -> Option<V> {
        let landed = self.0.wait_for(|landing| !matches!(landing, Landing::Ahead)).await;
        match landed.as_deref() {
            Ok(Landing::Filled(value)) => Some(value.clone()),
            Ok(Landing::Ahead | Landing::Failed) | Err(_) => None,
        }
    }
}

/// The duty to fill a key. Ends the flight on drop, so that nobody waits for a fill that failed or panicked.
#[derive(Debug)]
pub struct Pilot<K: Hash + Eq + Clone, V: Clone> {
    cache: Arc<Cache<K, V>>,
    key: Option<K>,
    flight: Arc<Flight<V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Pilot<K, V> {
    /// Caches the value, unless the key was invalidated meanwhile, and gives it to the waiting callers.
    pub fn land(mut self, value: V) {
        self.finish(Landing::Filled(value));
    }

    fn finish(&mut self, landing: Landing<V>) {
        if let Some(key) = self.key.take() {
            // The value is cached before the waiting callers wake.
            self.cache.land(key, &self.flight, &landing);
            self.flight.landing.send_replace(landing);
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Pilot<K, V> {
    fn drop(&mut self) {
        self.finish(Landing::Failed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn cache(bytes_max: usize) -> Arc<Cache<String, u64>> {
        Arc::new(Cache::new(bytes_max, |key, _| key.len()))
    }

    fn first(cache: &Arc<Cache<String, u64>>, key: &str) -> Pilot<String, u64> {
        match cache.board(key) {
            Boarded::First(pilot) => pilot,
            other => panic!("the first asker of {key}: {other:?}"),
        }
    }

    fn get(cache: &Arc<Cache<String, u64>>, key: &str, fill: u64) -> u64 {
        match cache.board(key) {
            Boarded::Hit(value) => return value,
            Boarded::First(pilot) => pilot.land(fill),
            Boarded::Joined(seat) => panic!("nobody fills {key} meanwhile: {seat:?}"),
        }
        fill
    }

    #[test]
    fn a_value_is_kept_until_it_is_outdated() {
        let cache = cache(1_000);
        assert_eq!(get(&cache, "a", 1), 1);
        assert_eq!(get(&cache, "a", 2), 1);
        cache.invalidate("a");
        assert_eq!(get(&cache, "a", 3), 3);
        assert_eq!(cache.stats(), CacheStats { hits: 1, misses: 2, entries: 1, bytes: 1 });
    }

    #[test]
    fn the_byte_budget_holds_and_the_newest_stay() {
        let cache = cache(16 * 100);
        for number in 0..10_000 {
            get(&cache, &format!("{number:010}"), number);
        }
        let stats = cache.stats();
        assert!(stats.bytes <= 16 * 100 && stats.bytes > 16 * 50, "{stats:?}");
        assert_eq!(get(&cache, "0000009999", 0), 9_999);
        get(&cache, &"x".repeat(101), 1);
        assert_eq!(get(&cache, &"x".repeat(101), 2), 2, "heavier than a shard, never kept");
    }

    #[test]
    fn errors_are_not_kept() {
        let cache = cache(1_000);
        drop(first(&cache, "a"));
        assert_eq!(get(&cache, "a", 1), 1);
    }

    #[tokio::test]
    async fn many_askers_share_one_fill() {
        let cache = cache(1_000);
        let pilot = first(&cache, "a");
        let seats = [(); 4].map(|()| match cache.board("a") {
            Boarded::Joined(seat) => seat,
            other => panic!("somebody fills: {other:?}"),
        });
        assert_eq!(cache.stats().misses, 5);
        pilot.land(7);
        for seat in seats {
            assert_eq!(seat.wait().await, Some(7));
        }
        assert_eq!(get(&cache, "a", 8), 7);
    }

    #[tokio::test]
    async fn a_fill_that_began_before_a_change_is_not_kept() {
        let cache = cache(1_000);
        let pilot = first(&cache, "a");
        let Boarded::Joined(before) = cache.board("a") else { panic!("somebody fills") };
        cache.invalidate("a");
        assert_eq!(get(&cache, "a", 2), 2, "asked after the change: reads anew");
        pilot.land(1);
        assert_eq!(before.wait().await, Some(1), "asked before the change: may see the old value");
        assert_eq!(get(&cache, "a", 3), 2);
    }

    #[tokio::test]
    async fn a_fill_that_panics_leaves_nobody_waiting() {
        let cache = cache(1_000);
        let pilot = first(&cache, "a");
        let Boarded::Joined(seat) = cache.board("a") else { panic!("somebody fills") };
        let fill = move || {
            let _pilot = pilot;
            panic!("fill")
        };
        assert!(thread::spawn(fill).join().is_err());
        assert_eq!(seat.wait().await, None, "each asks again");
        assert_eq!(get(&cache, "a", 1), 1);
    }
}

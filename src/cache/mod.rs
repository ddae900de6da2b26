//! A sharded LRU cache with a byte budget and single flight. Generic: it knows nothing of identifiers or answers. Caches may
//! share a budget ([`pool`]).
//!
//! * Every entry has a weight in bytes; a shard over its share of the budget drops what was used longest ago.
//! * Of many askers that miss the same key at once, one fills and the others wait for it (single flight): [`Cache::board`] says who is
//!   the first. Waiting is asynchronous, and blocks no thread.
//! * [`Cache::invalidate`] also outdates fills under way: what they read may be older than the change, so it is given
//!   to those who asked before the change and kept for nobody. Whoever asks after `invalidate` returned gets what was
//!   read after it.
//!
//! No lock is held while a value is filled. Deliberately absent: time. An entry stays until it is pushed out or outdated;
//! answers that age carry their own time to live.

pub mod pool;
pub mod shelf;
pub mod stamped;

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lru::LruCache;
use tokio::sync::watch;

use self::pool::{Budget, ShardBudget};

/// Number of shards: enough that the threads of a small machine rarely contend.
const SHARD_COUNT: usize = 16;

/// How many bytes an entry is counted for.
pub type Weigh<K, V> = fn(&K, &V) -> usize;

/// A cache from `K` to `V`. Cloning a value should be cheap: an `Arc` or something like it.
#[derive(Debug)]
pub struct Cache<K: Hash + Eq, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    weigh: Weigh<K, V>,
    budget: ShardBudget,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Shard<K: Hash + Eq, V> {
    entries: LruCache<K, V, RandomState>,
    flights: HashMap<K, Arc<Flight<V>>, RandomState>,
    bytes: usize,
}

/// One fill under way.
#[derive(Debug)]
struct Flight<V> {
    landing: watch::Sender<Landing<V>>,
}

#[derive(Clone, Debug)]
enum Landing<V> {
    /// The fill is under way.
    Ahead,
    Filled(V),
    /// The fill failed, or whoever filled is gone; each waiter boards again.
    Failed,
}

/// What becomes of an asker.
#[derive(Debug)]
pub enum Boarded<K: Hash + Eq + Clone, V: Clone> {
    /// The value is there.
    Hit(V),
    /// Another asker fills.
    Joined(Seat<V>),
    /// This asker fills, and lands the value.
    First(Pilot<K, V>),
}

/// A place among those who wait for a fill.
#[derive(Debug)]
pub struct Seat<V>(watch::Receiver<Landing<V>>);

/// What a cache has done so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Questions answered from the cache.
    pub hits: u64,
    /// Questions that were not.
    pub misses: u64,
    /// Entries held.
    pub entries: usize,
    /// Their weight in bytes.
    pub bytes: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// A cache of at most as many bytes as the budget says, as `weigh` counts them.
    pub fn new(budget: impl Into<Budget>, weigh: Weigh<K, V>) -> Self {
        let shard = || {
            let (entries, flights) = (LruCache::unbounded_with_hasher(RandomState::new()), HashMap::default());
            Mutex::new(Shard { entries, flights, bytes: 0 })
        };
        Self {
            shards: (0..SHARD_COUNT).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            weigh,
            budget: budget.into().per_shard(SHARD_COUNT),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The value of a key; without one, a seat in the flight that fills it, or the duty to fill it.
    pub fn board<Q>(self: &Arc<Self>, key: &Q) -> Boarded<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut shard = self.shard(key);
        if let Some(value) = shard.entries.get(key) {
            let value = value.clone();
            drop(shard);
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Boarded::Hit(value);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        if let Some(flight) = shard.flights.get(key) {
            return Boarded::Joined(Seat(flight.landing.subscribe()));
        }
        let flight = Arc::new(Flight { landing: watch::Sender::new(Landing::Ahead) });
        shard.flights.insert(key.to_owned(), Arc::clone(&flight));
        Boarded::First(Pilot { cache: Arc::clone(self), key: Some(key.to_owned()), flight })
    }

    /// The value of a key if it is there. Nothing is filled, and nothing counts as used.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key).entries.peek(key).cloned()
    }

    /// Forgets a key, and sees to it that no fill that is under way brings the old value back.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key);
        shard.flights.remove(key);
        if let Some((key, value)) = shard.entries.pop_entry(key) {
            let weight = (self.weigh)(&key, &value);
            shard.bytes -= weight;
            self.budget.moved(weight, 0);
        }
    }

    /// Forgets everything, and sees to it that no fill that is under way brings anything back.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.flights.clear();
            shard.entries.clear();
            self.budget.moved(shard.bytes, 0);
            shard.bytes = 0;
        }
    }

    /// What the cache has done and holds.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ..CacheStats::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            stats.entries += shard.entries.len();
            stats.bytes += shard.bytes;
        }
        stats
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>> {
        let hash = self.hasher.hash_one(key);
        lock(&self.shards[hash as usize % SHARD_COUNT])
    }

    /// Ends a flight: keeps the value if the flight is still the one that the shard knows.
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
    /// Waits for the fill; `None` when it came to nothing, and the key is to be boarded again.
    pub async fn wait(mut self) -> Option<V> {
        let landed = self.0.wait_for(|landing| !matches!(landing, Landing::Ahead)).await;
        match landed.as_deref() {
            Ok(Landing::Filled(value)) => Some(value.clone()),
            Ok(Landing::Ahead | Landing::Failed) | Err(_) => None,
        }
    }
}

/// The duty to fill a key. It lands in any case, so that nobody waits for a fill that failed or panicked.
#[derive(Debug)]
pub struct Pilot<K: Hash + Eq + Clone, V: Clone> {
    cache: Arc<Cache<K, V>>,
    key: Option<K>,
    flight: Arc<Flight<V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Pilot<K, V> {
    /// Keeps the value, unless the key was outdated meanwhile, and gives it to those who wait.
    pub fn land(mut self, value: V) {
        self.finish(Landing::Filled(value));
    }

    fn finish(&mut self, landing: Landing<V>) {
        if let Some(key) = self.key.take() {
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

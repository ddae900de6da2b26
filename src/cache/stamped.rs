//! A sharded LRU cache of ready answers, invalidated by topic: an entry is valid until something that it depends on
//! changes.
//!
//! A writer does not know all keys under which its change was answered. So each entry carries a [`Stamp`]: the
//! generation of one topic, and the epoch of all topics, as they were before the answer was read. [`Topics::outdate`]
//! begins the next generation of a topic, [`Topics::outdate_all`] the next epoch; entries with an older stamp are
//! misses from then on, and so are answers still being made. Topics share a fixed number of generations: now and then a
//! change invalidates an unrelated entry, but never misses a related one.
//!
//! Once a shard is full, an answer is admitted at its second miss: most keys that are asked once are not asked again,
//! and would only evict others (the doorkeeper of TinyLFU, Einziger et al. 2017, section 3.4.2, here a table of the
//! last misses).
//!
//! A hit hashes the key, takes one short lock, and reads the value in place; one in eight moves the entry to the front.

use std::{
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use lru::LruCache;

use super::{
    CacheStats, HITS_PER_MOVE,
    pool::{Budget, ShardBudget},
};

/// Number of shards: enough that the threads of a large machine rarely contend.
const SHARD_COUNT: usize = 256;
/// Number of generations: a quarter of a million, of 4 bytes each.
const GENERATION_COUNT: usize = 1 << 18;
/// Overhead of an entry beside its key and its value, in bytes: its node, its slot in the table, the allocator's share.
const ENTRY_BYTES: usize = 112;

/// Generations of topics, on which cached answers depend. A topic is any hash.
#[derive(Debug)]
pub struct Topics {
    generations: Box<[AtomicU32]>,
    /// Number of times that all topics were invalidated at once.
    epoch: AtomicU32,
}

/// A topic's slot, its generation and the epoch at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    slot: u32,
    generation: u32,
    epoch: u32,
}

impl Default for Topics {
    fn default() -> Self {
        Self { generations: (0..GENERATION_COUNT).map(|_| AtomicU32::new(0)).collect(), epoch: AtomicU32::new(0) }
    }
}

impl Topics {
    /// The current stamp of a topic; to be taken before the data that depends on the topic is read.
    pub fn stamp(&self, topic: u64) -> Stamp {
        let slot = (topic % GENERATION_COUNT as u64) as usize;
        let generation = self.generations[slot].load(Ordering::Acquire);
        Stamp { slot: slot as u32, generation, epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// Invalidates the entries of a topic; to be called after the change and before it is acknowledged.
    pub fn outdate(&self, topic: u64) {
        self.generations[(topic % GENERATION_COUNT as u64) as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// Invalidates the entries of all topics.
    pub fn outdate_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// True as long as neither the stamp's topic nor all topics have been invalidated.
    pub fn is_current(&self, stamp: Stamp) -> bool {
        let generation = self.generations.get(stamp.slot as usize);
        let same = generation.is_some_and(|generation| generation.load(Ordering::Acquire) == stamp.generation);
        same && self.epoch.load(Ordering::Acquire) == stamp.epoch
    }
}

/// A cacheable answer.
pub trait Kept {
    /// Size of the answer in memory, in bytes.
    fn bytes(&self) -> usize;
}

/// A key with its hash, which costs more to compute than to look up.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'a> {
    key: &'a [u8],
    hash: u64,
}

impl HashedKey<'_> {
    /// The hash. Its seed is random, so that nobody outside can choose keys that collide.
    pub fn hash(self) -> u64 {
        self.hash
    }
}

/// A cache from byte strings to answers.
#[derive(Debug)]
pub struct StampedCache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    budget: ShardBudget,
}

#[derive(Debug)]
struct Shard<V> {
    /// Entries by the hash of their key; of two keys with one hash the later one stays.
    entries: LruCache<u64, Entry<V>, BuildHasherDefault<AsIs>>,
    /// The doorkeeper: marks of the last misses, by slot; empty until the shard is full.
    missed: Box<[u32]>,
    bytes: usize,
    asked: u64,
    hits: u64,
}

#[derive(Debug)]
struct Entry<V> {
    key: Box<[u8]>,
    value: V,
}

impl<V: Kept> StampedCache<V> {
    /// Returns a cache of at most the bytes of `budget`.
    pub fn new(budget: impl Into<Budget>) -> Self {
        let shard = || {
            let entries = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
            Mutex::new(Shard { entries, missed: Box::default(), bytes: 0, asked: 0, hits: 0 })
        };
        Self {
            shards: (0..SHARD_COUNT).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            budget: budget.into().per_shard(SHARD_COUNT),
        }
    }

    /// Hashes a key.
    pub fn hashed<'a>(&self, key: &'a [u8]) -> HashedKey<'a> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        HashedKey { key, hash: hasher.finish() }
    }

    /// Reads the value of a key in place; `None` on a miss, or if `read` finds the value stale. `read` runs under a
    /// lock: it checks whether the value is stale, copies what it needs, and does nothing else.
    pub fn read<R>(&self, key: HashedKey<'_>, read: impl FnOnce(&V) -> Option<R>) -> Option<R> {
        let mut shard = self.shard(key);
        shard.asked += 1;
        let entry = match shard.asked % HITS_PER_MOVE {
            0 => shard.entries.get(&key.hash),
            _ => shard.entries.peek(&key.hash),
        };
        let found = entry.filter(|entry| *entry.key == *key.key).and_then(|entry| read(&entry.value));
        shard.hits += u64::from(found.is_some());
        found
    }

    /// Inserts the value that `make` gives for a key, if the doorkeeper admits it.
    pub fn put(&self, key: HashedKey<'_>, make: impl FnOnce() -> V) {
        let mut shard = self.shard(key);
        if !shard.lets_in(key.hash) {
            return;
        }
        let entry = Entry { key: key.key.into(), value: make() };
        let weight = entry.weight();
        if weight > self.budget.bytes_max {
            return;
        }
        let before = shard.bytes;
        shard.bytes += weight;
        if let Some(old) = shard.entries.put(key.hash, entry) {
            shard.bytes -= old.weight();
        }
        self.budget.moved(before, shard.bytes);
        while self.budget.is_exceeded_by(shard.bytes) {
            let before = shard.bytes;
            shard.drop_oldest();
            self.budget.moved(before, shard.bytes);
        }
    }

    /// Counters and size of the cache.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats::default();
        for shard in &self.shards {
            let shard = super::lock(shard);
            stats.hits += shard.hits;
            stats.misses += shard.asked - shard.hits;
            stats.entries += shard.entries.len();
            stats.bytes += shard.bytes;
        }
        stats
    }

    fn shard(&self, key: HashedKey<'_>) -> MutexGuard<'_, Shard<V>> {
        // The hash table of a shard uses the low bits and the highest ones.
        super::lock(&self.shards[(key.hash >> 32) as usize % SHARD_COUNT])
    }
}

impl<V: Kept> Shard<V> {
    /// True if an answer is admitted: the shard has room, the answer replaces one, or the key missed before, not long
    /// ago.
    fn lets_in(&mut self, hash: u64) -> bool {
        if self.missed.is_empty() || self.entries.contains(&hash) {
            return true;
        }
        // Other bits than those that choose the shard and the place in its table.
        let slot = (hash >> 8) as usize % self.missed.len();
        // Zero is an empty slot; no mark is zero.
        let mark = (hash >> 40) as u32 | 1;
        std::mem::replace(&mut self.missed[slot], mark) == mark
    }

    fn drop_oldest(&mut self) {
        // The shard is full for the first time: the doorkeeper gets one slot for each entry.
        if self.missed.is_empty() {
            self.missed = vec![0; self.entries.len()].into();
        }
        match self.entries.pop_lru() {
            Some((_, oldest)) => self.bytes -= oldest.weight(),
            None => self.bytes = 0,
        }
    }
}

impl<V: Kept> Entry<V> {
    fn weight(&self) -> usize {
        ENTRY_BYTES + self.key.len() + self.value.bytes()
    }
}

/// The hasher for keys that are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Answer {
        stamp: Stamp,
        text: String,
    }

    impl Kept for Answer {
        fn bytes(&self) -> usize {
            self.text.len()
        }
    }

    struct Cached {
        topics: Topics,
        cache: StampedCache<Answer>,
    }

    impl Cached {
        fn new(bytes_max: usize) -> Self {
            Self { topics: Topics::default(), cache: StampedCache::new(bytes_max) }
        }

        fn put(&self, key: &str, topic: u64, text: &str) {
            let answer = Answer { stamp: self.topics.stamp(topic), text: text.into() };
            self.cache.put(self.cache.hashed(key.as_bytes()), || answer);
        }

        fn read(&self, key: &str) -> Option<String> {
            let current = |answer: &Answer| self.topics.is_current(answer.stamp).then(|| answer.text.clone());
            self.cache.read(self.cache.hashed(key.as_bytes()), current)
        }
    }

    #[test]
    fn an_answer_counts_until_its_topic_changes() {
        let cached = Cached::new(1 << 20);
        cached.put("a", 1, "one");
        cached.put("b", 2, "two");
        assert_eq!(cached.read("a").as_deref(), Some("one"));
        cached.topics.outdate(1);
        assert_eq!((cached.read("a"), cached.read("b").as_deref()), (None, Some("two")));
        cached.put("a", 1, "new");
        assert_eq!(cached.read("a").as_deref(), Some("new"));
        let stats = cached.cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.entries), (3, 1, 2));
    }

    #[test]
    fn an_answer_that_was_begun_before_a_change_does_not_count() {
        let cached = Cached::new(1 << 20);
        let begun = Answer { stamp: cached.topics.stamp(1), text: "old".into() };
        cached.topics.outdate(1);
        cached.cache.put(cached.cache.hashed(b"a"), || begun);
        assert_eq!(cached.read("a"), None);
    }

    #[test]
    fn topics_that_share_a_generation_are_outdated_together() {
        let topics = Topics::default();
        let (stamp, other) = (topics.stamp(7), topics.stamp(8));
        topics.outdate(7 + GENERATION_COUNT as u64);
        assert!(!topics.is_current(stamp) && topics.is_current(other));
    }

    #[test]
    fn all_topics_are_outdated_at_once() {
        let topics = Topics::default();
        let stamps = [0, 7, u64::MAX].map(|topic| topics.stamp(topic));
        topics.outdate_all();
        assert!(stamps.iter().all(|stamp| !topics.is_current(*stamp)));
        let stamp = topics.stamp(7);
        assert!(topics.is_current(stamp));
        topics.outdate(7);
        topics.outdate_all();
        assert!(!topics.is_current(stamp), "what was outdated once stays so");
    }

    #[test]
    fn the_byte_budget_holds_and_what_is_used_stays() {
        let bytes_max = SHARD_COUNT * 20 * (ENTRY_BYTES + 18);
        let cached = Cached::new(bytes_max);
        cached.put("used  ", 0, "x");
        for number in 0..20_000 {
            let key = format!("{number:06}");
            cached.put(&key, 1, "twelve bytes");
            cached.put(&key, 1, "twelve bytes");
            assert!((0..HITS_PER_MOVE).all(|_| cached.read("used  ").is_some()), "after {number}");
        }
        let stats = cached.cache.stats();
        assert!(stats.bytes <= bytes_max && stats.bytes > bytes_max * 9 / 10, "{stats:?}");
        assert!(cached.read("019999").is_some() && cached.read("000000").is_none());
        cached.put("huge", 1, &"x".repeat(bytes_max));
        assert!(cached.read("huge").is_none(), "heavier than a shard, never kept");
    }

    #[test]
    fn when_full_an_answer_comes_in_at_its_second_miss() {
        let cached = Cached::new(SHARD_COUNT * 20 * (ENTRY_BYTES + 18));
        (0..20_000).for_each(|number| cached.put(&format!("{number:06}"), 1, "twelve bytes"));
        cached.put("new", 1, "x");
        assert_eq!(cached.read("new"), None);
        cached.put("new", 1, "x");
        assert_eq!(cached.read("new").as_deref(), Some("x"));
        cached.topics.outdate(1);
        cached.put("new", 1, "y");
        assert_eq!(cached.read("new").as_deref(), Some("y"), "what is there is replaced at once");
    }
}

//! A sharded LRU of ready answers that is outdated from afar: an entry counts as long as nothing happened to what it
//! depends on.
//!
//! Whoever changes something does not know under how many keys it was answered. So an entry carries a [`Stamp`]: the
//! generation of one topic, and the epoch of all of them, as they were before the answer was read. [`Topics::outdate`] begins the next
//! generation, [`Topics::outdate_all`] the next epoch, and all entries with an older stamp are misses from then on, those that are
//! being made at that moment included. Topics share a fixed number of generations: now and then an entry is outdated for another's
//! sake, never the other way round.
//!
//! Once a shard is full, an answer comes in at its second miss: most of what is asked once is not asked again, and would
//! only push out what is (the doorkeeper of TinyLFU, Einziger et al. 2017, section 3.4.2, here a table of the last misses).
//!
//! A hit hashes the key, takes one short lock, and reads the value where it lies. One hit in eight moves the entry to the front:
//! moving touches five entries, and which of them were used last is known well enough without it.

use std::{
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use lru::LruCache;

use super::CacheStats;

/// The number of shards: enough that the threads of a large machine rarely meet.
const SHARD_COUNT: usize = 256;
/// The number of generations: a quarter of a million topics of 4 bytes.
const GENERATION_COUNT: usize = 1 << 18;
/// One hit in so many moves its entry to the front; a power of two.
const HITS_PER_MOVE: u64 = 8;
/// What an entry takes beside its key and its value, in bytes: its node, its place in the table, the allocator's share.
const ENTRY_BYTES: usize = 112;

/// Generations of what answers depend on. A topic is any hash.
#[derive(Debug)]
pub struct Topics {
    generations: Box<[AtomicU32]>,
    /// How often all of them were outdated at once.
    epoch: AtomicU32,
}

/// A topic, its generation and the epoch at some time.
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
    /// The generation of a topic now: taken before what depends on it is read.
    pub fn stamp(&self, topic: u64) -> Stamp {
        let slot = (topic % GENERATION_COUNT as u64) as usize;
        let generation = self.generations[slot].load(Ordering::Acquire);
        Stamp { slot: slot as u32, generation, epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// Begins the next generation of a topic, after it changed and before anyone is told that it did.
    pub fn outdate(&self, topic: u64) {
        self.generations[(topic % GENERATION_COUNT as u64) as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// As [`Topics::outdate`], of every topic.
    pub fn outdate_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// True while nothing has happened to the stamp's topic, nor to all of them.
    pub fn is_current(&self, stamp: Stamp) -> bool {
        let generation = self.generations.get(stamp.slot as usize);
        let same = generation.is_some_and(|generation| generation.load(Ordering::Acquire) == stamp.generation);
        same && self.epoch.load(Ordering::Acquire) == stamp.epoch
    }
}

/// An answer that can be kept.
pub trait Kept {
    /// Its size in memory, in bytes.
    fn bytes(&self) -> usize;
}

/// A key with its hash, which takes longer to compute than to look up.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'a> {
    key: &'a [u8],
    hash: u64,
}

impl HashedKey<'_> {
    /// The hash: nobody outside can choose keys with the same one.
    pub fn hash(self) -> u64 {
        self.hash
    }
}

/// A cache from byte strings to answers.
#[derive(Debug)]
pub struct StampedCache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    shard_bytes_max: usize,
}

#[derive(Debug)]
struct Shard<V> {
    /// By the hash of the key; of two keys with one hash the later one stays.
    entries: LruCache<u64, Entry<V>, BuildHasherDefault<AsIs>>,
    /// The last hash that missed, for each slot; empty until the shard is full.
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
    /// A cache that holds at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        let shard = || {
            let entries = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
            Mutex::new(Shard { entries, missed: Box::default(), bytes: 0, asked: 0, hits: 0 })
        };
        Self {
            shards: (0..SHARD_COUNT).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            shard_bytes_max: bytes_max / SHARD_COUNT,
        }
    }

    /// Hashes a key.
    pub fn hashed<'a>(&self, key: &'a [u8]) -> HashedKey<'a> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        HashedKey { key, hash: hasher.finish() }
    }

    /// Reads the value of a key where it lies; `None` when there is none, or when `read` says that it does not count any
    /// more. `read` runs under a lock: it looks whether the value counts, copies what it needs, and does nothing else.
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

    /// Keeps the value that `make` gives for a key, if it comes in.
    pub fn put(&self, key: HashedKey<'_>, make: impl FnOnce() -> V) {
        let mut shard = self.shard(key);
        if !shard.lets_in(key.hash) {
            return;
        }
        let entry = Entry { key: key.key.into(), value: make() };
        let weight = entry.weight();
        if weight > self.shard_bytes_max {
            return;
        }
        shard.bytes += weight;
        if let Some(old) = shard.entries.put(key.hash, entry) {
            shard.bytes -= old.weight();
        }
        while shard.bytes > self.shard_bytes_max {
            shard.drop_oldest();
        }
    }

    /// What the cache has done and holds.
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
        // The table of a shard uses the low and the highest bits.
        super::lock(&self.shards[(key.hash >> 32) as usize % SHARD_COUNT])
    }
}

impl<V: Kept> Shard<V> {
    /// Whether an answer may come in: when there is room, when it replaces one, or when it was missed not long ago.
    fn lets_in(&mut self, hash: u64) -> bool {
        if self.missed.is_empty() || self.entries.contains(&hash) {
            return true;
        }
        // Shards and their tables use other bits.
        let slot = (hash >> 8) as usize % self.missed.len();
        let mark = (hash >> 40) as u32 | 1;
        std::mem::replace(&mut self.missed[slot], mark) == mark
    }

    fn drop_oldest(&mut self) {
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

/// Keys that are hashes already.
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

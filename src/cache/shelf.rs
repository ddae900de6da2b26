//! A sharded, bounded LRU table whose entries are read and changed in place: for data that expires, and for state kept
//! about peers.
//!
//! * Each entry has a weight, in bytes or in entries; a shard over its share of the budget evicts the least recently
//!   used entries.
//! * `read` and `change` run under the lock of one shard: they copy what they need, and do nothing else.
//!
//! Deliberately absent: time and fills. The entry carries its expiry, and its owner decides who fills it.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, MutexGuard},
};

use lru::LruCache;

use super::{SHARD_COUNT, Weigh, lock};

/// A bounded table from `K` to `V`.
#[derive(Debug)]
pub struct Shelf<K: Hash + Eq, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    weigh: Weigh<K, V>,
    shard_weight_max: usize,
}

#[derive(Debug)]
struct Shard<K: Hash + Eq, V> {
    entries: LruCache<K, V, RandomState>,
    weight: usize,
}

impl<K: Hash + Eq + Clone, V> Shelf<K, V> {
    /// A table of at most `weight_max`, as `weigh` counts it. The weight of an entry must not change.
    pub fn new(weight_max: usize, weigh: Weigh<K, V>) -> Self {
        let shard = || Shard { entries: LruCache::unbounded_with_hasher(RandomState::new()), weight: 0 };
        Self {
            shards: (0..SHARD_COUNT).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            weigh,
            shard_weight_max: weight_max / SHARD_COUNT,
        }
    }

    /// The result of `read` on the value of a key; `None` on a miss.
    pub fn read<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key).entries.get(key).map(read)
    }

    /// Changes the value of a key in place, if there is one; its weight must stay the same.
    pub fn change<Q, R>(&self, key: &Q, change: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key).entries.get_mut(key).map(change)
    }

    /// Changes the value of a key in place, after inserting the default if there is none; its weight must stay the
    /// same.
    pub fn change_or_default<R>(&self, key: &K, change: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        let mut shard = self.shard(key);
        if let Some(value) = shard.entries.get_mut(key) {
            return change(value);
        }
        let mut value = V::default();
        let result = change(&mut value);
        shard.put(key.clone(), value, self.weigh, self.shard_weight_max);
        result
    }

    /// Inserts or replaces the value of a key. A value heavier than a shard is not inserted, and the old one is
    /// removed.
    pub fn put(&self, key: K, value: V) {
        self.shard(&key).put(key, value, self.weigh, self.shard_weight_max);
    }

    /// Removes a key.
    pub fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key);
        if let Some((key, value)) = shard.entries.pop_entry(key) {
            shard.weight -= (self.weigh)(&key, &value);
        }
    }

    /// Removes all entries.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.entries.clear();
            shard.weight = 0;
        }
    }

    /// Number of entries, and their weight.
    pub fn size(&self) -> (usize, usize) {
        let sizes = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            (shard.entries.len(), shard.weight)
        });
        sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
    }

    /// Number of values for which `is` holds; `is` runs under a lock.
    pub fn count(&self, is: impl Fn(&V) -> bool) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.iter().filter(|(_, value)| is(value)).count()).sum()
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARD_COUNT])
    }
}

impl<K: Hash + Eq, V> Shard<K, V> {
    fn put(&mut self, key: K, value: V, weigh: Weigh<K, V>, weight_max: usize) {
        if let Some((key, old)) = self.entries.pop_entry(&key) {
            self.weight -= weigh(&key, &old);
        }
        let weight = weigh(&key, &value);
        if weight > weight_max {
            return;
        }
        self.weight += weight;
        self.entries.put(key, value);
        while self.weight > weight_max {
            let Some((key, value)) = self.entries.pop_lru() else { break };
            self.weight -= weigh(&key, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(weight_max: usize) -> Shelf<String, u64> {
        Shelf::new(weight_max, |key, _| key.len())
    }

    #[test]
    fn what_is_put_is_read_changed_and_forgotten() {
        let shelf = shelf(16 * 100);
        assert_eq!(shelf.read("a", |value| *value), None);
        shelf.put("a".into(), 1);
        assert_eq!(shelf.change("a", |value| std::mem::replace(value, 2)), Some(1));
        assert_eq!(shelf.read("a", |value| *value), Some(2));
        shelf.put("a".into(), 3);
        assert_eq!((shelf.size(), shelf.count(|value| *value == 3)), ((1, 1), 1), "replaced, and counted once");
        shelf.remove("a");
        assert_eq!((shelf.read("a", |value| *value), shelf.size()), (None, (0, 0)));
        assert_eq!(shelf.change_or_default(&"b".into(), |value| *value += 1), ());
        shelf.change_or_default(&"b".into(), |value| *value += 1);
        assert_eq!(shelf.read("b", |value| *value), Some(2));
    }

    #[test]
    fn the_budget_holds_and_the_newest_stay() {
        let shelf = shelf(16 * 100);
        for number in 0..10_000 {
            shelf.put(format!("{number:010}"), number);
            assert_eq!(shelf.read("0000000000", |value| *value), Some(0), "what is used stays");
        }
        let (entries, weight) = shelf.size();
        assert!(weight <= 16 * 100 && weight > 16 * 50 && entries == weight / 10, "{entries} {weight}");
        assert_eq!(shelf.read("0000009999", |value| *value), Some(9_999));
        shelf.put("x".repeat(101), 1);
        assert_eq!(shelf.read(&*"x".repeat(101), |value| *value), None, "heavier than a shard, never kept");
    }
}

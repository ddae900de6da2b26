//! A filter over index keys: most lookups of absent keys end here, without a search of a map or a block.
//!
//! A blocked Bloom filter: a key sets [`BITS_PER_KEY_SET`] bits within one cache line. It only grows; removed keys stay
//! in it. Bulk registration asks for tens of thousands of unregistered keys a second, each in another block, and
//! resolvers ask for names that do not exist.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

const LINE_WORDS: usize = 8;
const LINE_BITS: usize = LINE_WORDS * 64;
/// Bits of the filter for each key of its capacity.
const BITS_PER_KEY: usize = 10;
/// Bits that one key sets: about 1 of 100 absent keys passes a full filter.
const BITS_PER_KEY_SET: u32 = 6;

/// Hasher of the keys of all filters of one index: a key is hashed once, however many filters are asked.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyHasher(RandomState);

impl KeyHasher {
    /// Hash of an index key.
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.0.hash_one(key))
    }
}

/// Hash of an index key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash(u64);

/// Set of keys that may be in a part of the index, by their hashes.
#[derive(Debug)]
pub(super) struct Filter {
    lines: Box<[[AtomicU64; LINE_WORDS]]>,
    keys: AtomicUsize,
    keys_max: usize,
}

impl Filter {
    /// An empty filter with room for `keys_max` keys.
    pub(super) fn new(keys_max: usize) -> Self {
        let lines = (keys_max * BITS_PER_KEY).div_ceil(LINE_BITS).max(1);
        Self {
            lines: std::iter::repeat_with(Default::default).take(lines).collect(),
            keys: AtomicUsize::new(0),
            keys_max,
        }
    }

    /// Number of distinct keys inserted, approximately.
    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// True if `more` keys fit.
    pub(super) fn has_room_for(&self, more: usize) -> bool {
        self.keys() + more <= self.keys_max
    }

    /// Inserts a key.
    pub(super) fn insert(&self, key: KeyHash) {
        let (line, bits) = self.place(key);
        let mut new = false;
        for (word, mask) in bits {
            // `Relaxed` is enough: readers look for these keys in the blocks only after the overlay's lock has released
            // them, and that lock orders the writes.
            new |= line[word].fetch_or(mask, Ordering::Relaxed) & mask == 0;
        }
        if new {
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// False if the key is certainly absent.
    pub(super) fn may_hold(&self, key: KeyHash) -> bool {
        let (line, mut bits) = self.place(key);
        bits.all(|(word, mask)| line[word].load(Ordering::Relaxed) & mask != 0)
    }

    fn place(&self, KeyHash(hash): KeyHash) -> (&[AtomicU64; LINE_WORDS], impl Iterator<Item = (usize, u64)> + use<>) {
        // The upper half of the hash picks the line, the lower half the bits, 9 bits each (multiplied, to have enough).
        let line = (((hash >> 32) * self.lines.len() as u64) >> 32) as usize;
        let spread = (hash & 0xffff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (0..BITS_PER_KEY_SET).map(move |nth| {
            let bit = (spread >> (64 - 9 * (nth + 1))) as usize % LINE_BITS;
            (bit / 64, 1 << (bit % 64))
        });
        (&self.lines[line], bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_and_little_else() {
        const KEYS: u32 = 100_000;
        let (filter, hasher) = (Filter::new(KEYS as usize), KeyHasher::default());
        let hash = |key: u32| hasher.hash(&key.to_be_bytes());
        (0..KEYS).for_each(|key| filter.insert(hash(key)));
        assert!((0..KEYS).all(|key| filter.may_hold(hash(key))));
        assert!(filter.keys() > 97 * KEYS as usize / 100 && filter.keys() <= KEYS as usize);
        let wrong = (KEYS..2 * KEYS).filter(|key| filter.may_hold(hash(*key))).count();
        assert!(wrong < 5 * KEYS as usize / 100, "{wrong} of {KEYS} absent keys");
        assert!(wrong > 0, "a filter that is never wrong is no filter of this size");
    }

    #[test]
    fn knows_its_room() {
        let filter = Filter::new(2);
        assert!(filter.has_room_for(2));
        let hash = KeyHasher::default().hash(b"a");
        filter.insert(hash);
        filter.insert(hash);
        assert!(filter.has_room_for(1));
        assert!(!filter.has_room_for(2));
    }
}

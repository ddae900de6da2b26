//! A cache of blocks as they lie on disk: front coded, a few bytes over what they take there.
//!
//! sled's own cache counts pages by the next power of two, and what is not in it costs reading and taking apart a leaf
//! of up to 16 blocks with up to 10 amendments: 30 µs and more. So sled's cache is kept small, and this one serves.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

const SHARDS: usize = 16;
/// One hit in so many moves its block to the front, which touches five others; a power of two.
const HITS_PER_MOVE: u64 = 8;
/// What an entry takes beside its key and its block, about, in bytes.
const ENTRY_EXTRA_BYTES: usize = 128;

/// The blocks used last, by their keys.
#[derive(Debug)]
pub(super) struct BlockCache<B> {
    hasher: RandomState,
    shards: [Mutex<Shard<B>>; SHARDS],
    shard_bytes_max: usize,
}

#[derive(Debug)]
struct Shard<B> {
    blocks: LruCache<Box<[u8]>, B>,
    bytes: usize,
    asked: u64,
    writes: u64,
}

/// Proof that a block was looked for before it was read: it may be filled in if it was not written since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    writes: u64,
}

impl<B: Clone + Deref<Target = [u8]>> BlockCache<B> {
    /// An empty cache.
    pub(super) fn new(bytes_max: usize) -> Self {
        let shard = || Mutex::new(Shard { blocks: LruCache::unbounded(), bytes: 0, asked: 0, writes: 0 });
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| shard()),
            shard_bytes_max: bytes_max / SHARDS,
        }
    }

    /// The block under a key.
    ///
    /// # Errors
    ///
    /// [`Missed`] when it is not here: whoever reads it from disk may [`BlockCache::fill`] it in.
    pub(super) fn get(&self, key: &[u8]) -> Result<B, Missed> {
        let mut shard = self.shard(key);
        shard.asked += 1;
        let block = match shard.asked % HITS_PER_MOVE {
            0 => shard.blocks.get(key).cloned(),
            _ => shard.blocks.peek(key).cloned(),
        };
        block.ok_or(Missed { writes: shard.writes })
    }

    /// Keeps a block that was read from disk, unless one was written since: then it may be out of date.
    pub(super) fn fill(&self, key: &[u8], block: &B, missed: Missed) {
        let mut shard = self.shard(key);
        if shard.writes == missed.writes {
            shard.put(key, block);
            while shard.bytes > self.shard_bytes_max {
                shard.drop_oldest();
            }
        }
    }

    /// Replaces a block that has been written to disk. A block that is not here comes in only where there is room:
    /// merges write all blocks, readers use few.
    pub(super) fn write(&self, key: &[u8], block: &B) {
        let mut shard = self.shard(key);
        shard.writes += 1;
        let has_room = shard.bytes + entry_bytes(key, block) <= self.shard_bytes_max;
        if has_room || shard.blocks.contains(key) {
            shard.put(key, block);
        }
        while shard.bytes > self.shard_bytes_max {
            shard.drop_oldest();
        }
    }

    /// Forgets everything, also what is being read at this moment.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.writes += 1;
            shard.blocks.clear();
            shard.bytes = 0;
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard<B>> {
        let nth = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[nth].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Clone + Deref<Target = [u8]>> Shard<B> {
    fn put(&mut self, key: &[u8], block: &B) {
        self.bytes += entry_bytes(key, block);
        if let Some(old) = self.blocks.put(key.into(), block.clone()) {
            self.bytes -= entry_bytes(key, &old);
        }
    }

    fn drop_oldest(&mut self) {
        match self.blocks.pop_lru() {
            Some((key, block)) => self.bytes -= entry_bytes(&key, &block),
            None => self.bytes = 0,
        }
    }
}

fn entry_bytes(key: &[u8], block: &[u8]) -> usize {
    key.len() + block.len() + ENTRY_EXTRA_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn block(byte: u8, len: usize) -> Arc<[u8]> {
        vec![byte; len].into()
    }

    #[test]
    fn what_was_written_since_it_was_missed_is_not_filled_in() {
        let cache = BlockCache::new(1 << 20);
        let missed = cache.get(b"a").unwrap_err();
        cache.fill(b"a", &block(1, 10), missed);
        assert_eq!(cache.get(b"a").unwrap(), block(1, 10));
        cache.write(b"a", &block(2, 10));
        cache.fill(b"a", &block(1, 10), missed);
        assert_eq!(cache.get(b"a").unwrap(), block(2, 10));
    }

    #[test]
    fn stays_within_its_bytes_and_keeps_what_was_used_last() {
        let cache = BlockCache::new(SHARDS * 10_000);
        for nth in 0..10_000u32 {
            let key = nth.to_be_bytes();
            let missed = cache.get(&key).unwrap_err();
            cache.fill(&key, &block(1, 1_000), missed);
            (0..HITS_PER_MOVE).for_each(|_| drop(cache.get(&0u32.to_be_bytes())));
        }
        assert!(cache.get(&0u32.to_be_bytes()).is_ok());
        assert!(cache.get(&1u32.to_be_bytes()).is_err());
        let held: usize = cache.shards.iter().map(|shard| shard.lock().unwrap().bytes).sum();
        assert!(held <= SHARDS * 10_000 && held > SHARDS * 8_000, "{held}");
        cache.write(&1u32.to_be_bytes(), &block(2, 1_000));
        assert!(cache.get(&1u32.to_be_bytes()).is_err(), "a write needs room");
    }
}

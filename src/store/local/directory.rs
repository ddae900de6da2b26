//! The keys of all blocks, and the cache of blocks: as they lie on disk, front coded, with a few bytes of overhead.
//!
//! Every key is here (a few bytes each, one for about 90 entries), so that a lookup is one exact `get` of the tree, and
//! none on a cache hit. sled's own cache counts pages by the next power of two, and a miss there costs reading and
//! decoding a leaf of up to 16 blocks with up to 10 amendments: 30 µs and more. So sled's cache is kept small, in
//! favour of this one.
//!
//! Blocks are evicted by a clock (Corbato 1968): a hand goes round the keys and evicts every block that was not used
//! since it last came by. A hit sets a flag and moves nothing.

use std::{
    collections::BTreeMap,
    ops::{Bound, Deref},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Overhead of a cached block beside its bytes, in bytes, approximate.
const BLOCK_EXTRA_BYTES: usize = 32;

/// All blocks by their keys, cached or not.
#[derive(Debug)]
pub(super) struct Directory<B> {
    /// A key is inserted after its block has been written; keys are removed only when the tree is reopened.
    slots: RwLock<Slots<B>>,
    /// Size of the cached blocks, in bytes.
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Position of the clock's hand: the last key that it passed.
    hand: Mutex<Box<[u8]>>,
}

type Slots<B> = BTreeMap<Box<[u8]>, Slot<B>>;

#[derive(Debug)]
struct Slot<B> {
    content: Mutex<CachedBlock<B>>,
    /// True if the block was used since the hand last came by.
    used: AtomicBool,
}

#[derive(Debug)]
struct CachedBlock<B> {
    block: Option<B>,
    /// Number of writes of the block, which makes reads in flight stale.
    writes: u32,
}

impl<B> Default for Slot<B> {
    fn default() -> Self {
        Self { content: Mutex::new(CachedBlock { block: None, writes: 0 }), used: AtomicBool::new(false) }
    }
}

/// A range of the key space at the time of its lookup.
#[derive(Debug)]
pub(super) struct Place<B> {
    /// The key of its block; `None` if there is no block at all.
    pub(super) key: Option<Box<[u8]>>,
    /// Start of the next range.
    pub(super) end: Option<Box<[u8]>>,
    /// The block of the range, if it is cached.
    pub(super) block: Result<B, CacheMiss>,
    /// Number of blocks at the time of the lookup.
    pub(super) known: usize,
}

/// Token of a cache miss, taken before the block is read: it can fill the cache unless the block was written since.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheMiss {
    writes: u32,
}

impl<B: Clone + Deref<Target = [u8]>> Directory<B> {
    /// A directory without blocks; cached ones will take at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { slots: RwLock::default(), bytes: AtomicUsize::new(0), bytes_max, hand: Mutex::default() }
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.slots().len()
    }

    /// Replaces all keys and empties the cache; blocks being read at this moment do not fill it.
    pub(super) fn reset(&self, keys: impl Iterator<Item = Box<[u8]>>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *slots);
        *slots = keys.map(|key| (key, Slot::default())).collect();
        // A read in flight compares the number of writes: a higher one makes it stale.
        for (key, slot) in &before {
            if let Some(now) = slots.get(key) {
                lock(&now.content).writes = lock(&slot.content).writes.wrapping_add(1);
            }
        }
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// The block that can hold a key, if that block is cached. Never waits for a disk.
    pub(super) fn get(&self, key: &[u8]) -> Option<B> {
        // Under the lock no block is split.
        let slots = self.slots();
        let (_, slot) = slots.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        slot.get().ok()
    }

    /// The range of a key.
    pub(super) fn place(&self, key: &[u8]) -> Place<B> {
        let slots = self.slots();
        let mut after = slots.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded));
        let end = after.next().map(|(end, _)| end.clone());
        let known = slots.len();
        match slots.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back() {
            Some((key, slot)) => Place { key: Some(key.clone()), end, block: slot.get(), known },
            None => Place { key: None, end, block: Err(CacheMiss { writes: 0 }), known },
        }
    }

    /// Caches a block that was read from disk, unless it was written since: then it may be stale.
    pub(super) fn fill(&self, key: &[u8], block: &B, miss: CacheMiss) {
        let slots = self.slots();
        let Some(slot) = slots.get(key) else { return };
        {
            let mut content = lock(&slot.content);
            if content.writes != miss.writes {
                return;
            }
            self.replace(&mut content, Some(block.clone()));
        }
        self.make_room(&slots);
    }

    /// Registers a write of a block. A block that was not cached is cached only if there is room: merges write all
    /// blocks, readers use few.
    pub(super) fn write(&self, key: &[u8], block: &B) {
        if !self.slots().contains_key(key) {
            self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(key.into(), Slot::default());
        }
        let slots = self.slots();
        let Some(slot) = slots.get(key) else { return };
        {
            let mut content = lock(&slot.content);
            content.writes = content.writes.wrapping_add(1);
            let has_room = self.bytes.load(Ordering::Relaxed) + bytes_of(block) <= self.bytes_max;
            if has_room || content.block.is_some() {
                self.replace(&mut content, Some(block.clone()));
            }
        }
        self.make_room(&slots);
    }

    fn replace(&self, content: &mut CachedBlock<B>, block: Option<B>) {
        // Added first: the sum never passes below zero, whatever other threads do in between.
        self.bytes.fetch_add(block.as_ref().map_or(0, bytes_of), Ordering::Relaxed);
        let old = std::mem::replace(&mut content.block, block);
        self.bytes.fetch_sub(old.as_ref().map_or(0, bytes_of), Ordering::Relaxed);
    }

    /// Moves the hand on, evicting, until the cache is within its budget.
    fn make_room(&self, slots: &Slots<B>) {
        let has_room = || self.bytes.load(Ordering::Relaxed) <= self.bytes_max;
        if has_room() {
            return;
        }
        let mut hand = lock(&self.hand);
        // The first round clears all flags at the latest, the second one evicts.
        for _ in 0..3 {
            for (key, slot) in slots.range::<[u8], _>((Bound::Excluded(&**hand), Bound::Unbounded)) {
                if has_room() {
                    *hand = key.clone();
                    return;
                }
                if !slot.used.swap(false, Ordering::Relaxed) {
                    self.replace(&mut lock(&slot.content), None);
                }
            }
            *hand = Box::default();
        }
    }

    fn slots(&self) -> RwLockReadGuard<'_, Slots<B>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Clone> Slot<B> {
    fn get(&self) -> Result<B, CacheMiss> {
        let content = lock(&self.content);
        let block = content.block.clone().ok_or(CacheMiss { writes: content.writes })?;
        // Written only when it changes: readers on other processors have the flag in their caches.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Ok(block)
    }
}

fn bytes_of<B: Deref<Target = [u8]>>(block: &B) -> usize {
    block.len() + BLOCK_EXTRA_BYTES
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn block(byte: u8, len: usize) -> Arc<[u8]> {
        vec![byte; len].into()
    }

    fn directory(bytes_max: usize, keys: u32) -> Directory<Arc<[u8]>> {
        let directory = Directory::new(bytes_max);
        directory.reset((0..keys).map(|key| Box::from(key.to_be_bytes())));
        directory
    }

    fn miss(directory: &Directory<Arc<[u8]>>, key: u32) -> CacheMiss {
        directory.place(&key.to_be_bytes()).block.unwrap_err()
    }

    fn get(directory: &Directory<Arc<[u8]>>, key: u32) -> Option<Arc<[u8]>> {
        directory.get(&key.to_be_bytes())
    }

    #[test]
    fn what_was_written_since_it_was_missed_is_not_filled_in() {
        let directory = directory(1 << 20, 2);
        let before = miss(&directory, 0);
        directory.fill(&0u32.to_be_bytes(), &block(1, 10), before);
        assert_eq!(get(&directory, 0).unwrap(), block(1, 10));
        directory.write(&0u32.to_be_bytes(), &block(2, 10));
        directory.fill(&0u32.to_be_bytes(), &block(1, 10), before);
        assert_eq!(get(&directory, 0).unwrap(), block(2, 10));
        let before = miss(&directory, 1);
        directory.reset((0..2u32).map(|key| Box::from(key.to_be_bytes())));
        directory.fill(&1u32.to_be_bytes(), &block(1, 10), before);
        assert_eq!((get(&directory, 0), get(&directory, 1)), (None, None), "read before it began anew");
    }

    #[test]
    fn a_key_lies_between_its_block_and_the_next() {
        let directory = directory(1 << 20, 0);
        let Place { key, end, block: none, known } = directory.place(b"b");
        assert!(key.is_none() && end.is_none() && none.is_err() && known == 0);
        for key in [b"b", b"d"] {
            directory.write(key, &block(key[0], 5));
        }
        let Place { key, end, block: found, known } = directory.place(b"c");
        assert_eq!((key.as_deref(), end.as_deref(), known), (Some(&b"b"[..]), Some(&b"d"[..]), 2));
        assert_eq!(found.unwrap(), block(b'b', 5));
        assert_eq!(directory.place(b"d").end, None);
        assert_eq!(directory.get(b"z"), Some(block(b'd', 5)));
        assert_eq!(directory.get(b"a"), None);
    }

    #[test]
    fn stays_within_its_bytes_and_keeps_what_is_used() {
        const BYTES_MAX: usize = 160_000;
        let directory = directory(BYTES_MAX, 10_000);
        for key in 0..10_000u32 {
            let before = miss(&directory, key);
            directory.fill(&key.to_be_bytes(), &block(1, 1_000), before);
            assert!(get(&directory, 0).is_some(), "after {key}");
        }
        assert!(get(&directory, 1).is_none());
        let bytes = directory.bytes.load(Ordering::Relaxed);
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX * 9 / 10, "{bytes}");
        directory.write(&1u32.to_be_bytes(), &block(2, 2_000));
        assert!(get(&directory, 1).is_none(), "a write needs room");
    }
}

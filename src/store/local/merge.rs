//! The merge: one sorted pass that writes frozen changes into the blocks.
//!
//! The key of a block is not above its first entry and above every entry of the previous block; the block holds the
//! entries between its key and the next block's. The lowest block's key is [`keys::LOWEST`], so every key has a block,
//! and a block's key never changes. A block that would grow too long is split into several, which are written from the
//! last to the first. So at every moment, for readers and after a crash, the block found for a key is right:
//!
//! * before a right part is written, the old block still holds its entries;
//! * after, the right part holds them; copies left in the old block lie at or above the key of the next block. Such
//!   leftovers are ignored, by readers and by the next merge.
//!
//! For the same reason a block that becomes empty stays, empty: without it, leftovers in the previous block could come
//! back.

use std::{
    collections::btree_map,
    iter::Peekable,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    block::{Block, BlockError, BlockWriter, shared_len},
    blocks::Blocks,
    keys::{self, IndexKey},
    overlay::Changes,
};
use crate::{ledger::Position, store::StoreError};

/// Limits of the length of blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockLimits {
    /// Maximum number of entries of a block.
    pub(super) entries_max: usize,
    /// Maximum length of a block, in bytes, unless it has a single entry.
    pub(super) bytes_max: usize,
}

/// Outcome of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MergeOutcome {
    /// Everything is in the blocks.
    All,
    /// Stopped early on request; the part written does no harm.
    Stopped,
}

/// Maximum number of changes merged into one block at a time.
const RUN_CHANGES_MAX: usize = 16_384;

/// Writes `changes` into the blocks, which are not durable yet.
pub(super) fn merge(
    blocks: &Blocks,
    changes: &Changes,
    limits: BlockLimits,
    stop: &AtomicBool,
) -> Result<MergeOutcome, StoreError> {
    let mut buffer = EntryBuffer::default();
    let mut changes = changes.iter().peekable();
    while let Some((first, _)) = changes.peek() {
        if stop.load(Ordering::Relaxed) {
            return Ok(MergeOutcome::Stopped);
        }
        let span = blocks.find_in_passing(first)?;
        let old = span.block.as_deref();
        let run = Run { changes: &mut changes, end: span.end.as_deref(), left: RUN_CHANGES_MAX };
        buffer.gather(old, run).map_err(|error| blocks.bad_block(&span.key, error))?;
        // From the last part to the first, as the module header explains.
        for (key, part) in buffer.split(&span.key, limits).into_iter().rev() {
            let is_unchanged = *key == *span.key && old == Some(part.as_slice());
            if !is_unchanged {
                blocks.put(&key, part)?;
            }
        }
    }
    Ok(MergeOutcome::All)
}

/// Calls `each` with every key in the blocks, in order.
pub(super) fn each_key(
    blocks: &Blocks,
    stop: &AtomicBool,
    mut each: impl FnMut(&[u8]),
) -> Result<MergeOutcome, StoreError> {
    let mut start: Box<[u8]> = keys::LOWEST.into();
    while !stop.load(Ordering::Relaxed) {
        let span = blocks.find_in_passing(&start)?;
        if let Some(block) = &span.block {
            let bad = |error| blocks.bad_block(&span.key, error);
            let mut entries = Block::open(block).map_err(bad)?.entries();
            while let Some((key, _)) = entries.next().map_err(bad)? {
                each(key);
            }
        }
        match span.end {
            Some(end) => start = end,
            None => return Ok(MergeOutcome::All),
        }
    }
    Ok(MergeOutcome::Stopped)
}

/// The changes for one block.
struct Run<'a, 'b> {
    changes: &'a mut Peekable<btree_map::Iter<'b, IndexKey, Option<Position>>>,
    end: Option<&'a [u8]>,
    left: usize,
}

impl<'b> Run<'_, 'b> {
    /// The next change, if it belongs to the block and is not above `key`.
    fn next_upto(&mut self, key: Option<&[u8]>) -> Option<(&'b [u8], Option<Position>)> {
        let (next, position) = *self.changes.peek()?;
        let next = &**next;
        if self.left == 0 || self.end.is_some_and(|end| next >= end) || key.is_some_and(|key| next > key) {
            return None;
        }
        self.left -= 1;
        self.changes.next();
        Some((next, *position))
    }
}

/// Sorted entries, their keys concatenated in one buffer that is used again for the next block.
#[derive(Default)]
struct EntryBuffer {
    bytes: Vec<u8>,
    /// End of each key in `bytes`, and its position.
    entries: Vec<(usize, Position)>,
}

impl EntryBuffer {
    /// Merges an old block with the changes for it.
    fn gather(&mut self, old: Option<&[u8]>, mut run: Run<'_, '_>) -> Result<(), BlockError> {
        self.bytes.clear();
        self.entries.clear();
        let mut old = old.map(Block::open).transpose()?.map(Block::entries);
        while let Some((key, position)) = old.as_mut().map_or(Ok(None), |old| old.next())? {
            if run.end.is_some_and(|end| key >= end) {
                break;
            }
            // A change of the same key replaces the entry; one that removes the key pushes nothing.
            let mut replaced = false;
            while let Some((changed, position)) = run.next_upto(Some(key)) {
                replaced = changed == key;
                self.push(changed, position);
            }
            if !replaced {
                self.push(key, Some(position));
            }
        }
        while let Some((changed, position)) = run.next_upto(None) {
            self.push(changed, position);
        }
        Ok(())
    }

    fn push(&mut self, key: &[u8], position: Option<Position>) {
        if let Some(position) = position {
            self.bytes.extend_from_slice(key);
            self.entries.push((self.bytes.len(), position));
        }
    }

    /// The entries in blocks of about equal length, at least one block, which may be empty; the first one's key is
    /// `key`.
    fn split(&self, key: &[u8], limits: BlockLimits) -> Vec<(Vec<u8>, Vec<u8>)> {
        let count = self.entries.len();
        // Parts are filled to three quarters, so that the next changes do not split them at once.
        let target = (limits.entries_max * 3 / 4).max(1);
        let parts = if count <= limits.entries_max { 1 } else { count.div_ceil(target) };
        let entries_max = count.div_ceil(parts);
        let mut done = Vec::with_capacity(parts);
        let mut part_key = key.to_vec();
        let mut part = BlockWriter::new();
        let mut start = 0;
        for &(end, position) in &self.entries {
            let key = &self.bytes[start..end];
            start = end;
            let full = part.entries() >= entries_max || part.len() + key.len() + ENTRY_EXTRA_BYTES > limits.bytes_max;
            if full && part.entries() > 0 {
                let above = separator(part.last_key(), key);
                let full = std::mem::replace(&mut part, BlockWriter::new());
                done.push((std::mem::replace(&mut part_key, above), full.finish()));
            }
            part.push(key, position);
        }
        done.push((part_key, part.finish()));
        done
    }
}

/// Maximum overhead of an entry beside its key, in bytes: two lengths and a position.
const ENTRY_EXTRA_BYTES: usize = 5 + 5 + 10;

/// The shortest key that is above `below` and not above `key`.
fn separator(below: &[u8], key: &[u8]) -> Vec<u8> {
    let len = shared_len(below, key) + 1;
    key[..len.min(key.len())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::{super::blocks::CacheBytes, *};

    const LIMITS: BlockLimits = BlockLimits { entries_max: 4, bytes_max: 200 };

    /// Merges keys (and the removal of keys) into blocks and gives back what lies in them then.
    fn merged(blocks: &Blocks, set: &[&str], removed: &[&str]) -> Vec<(String, Vec<String>)> {
        let set = set.iter().map(|key| (key.as_bytes().into(), Some(Position(1))));
        let changes = set.chain(removed.iter().map(|key| (key.as_bytes().into(), None))).collect();
        assert_eq!(merge(blocks, &changes, LIMITS, &AtomicBool::new(false)).unwrap(), MergeOutcome::All);
        let mut found = Vec::new();
        let mut start = Some(Box::from(keys::LOWEST));
        while let Some(span) = start.map(|start| blocks.find(&start).unwrap()) {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            let mut entries = Block::open(span.block.as_ref().unwrap()).unwrap().entries();
            let mut inside = Vec::new();
            while let Some((key, _)) = entries.next().unwrap() {
                inside.push(text(key));
            }
            found.push((text(&span.key), inside));
            start = span.end;
        }
        found
    }

    fn expected(blocks: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let owned = |keys: &[&str]| keys.iter().map(|key| key.to_string()).collect();
        blocks.iter().map(|(key, inside)| (key.to_string(), owned(inside))).collect()
    }

    #[test]
    fn blocks_split_keep_their_keys_and_stay_when_empty() {
        let directory = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(directory.path(), CacheBytes { sled: 1 << 20, blocks: 1 << 20 }).unwrap();
        let low = r"\x01";
        assert_eq!(merged(&blocks, &["b1", "b3"], &["b2"]), expected(&[(low, &["b1", "b3"])]));
        let split = [(low, &["b1", "b3", "c1"][..]), ("d", &["d1", "e1"])];
        assert_eq!(merged(&blocks, &["c1", "d1", "e1"], &[]), expected(&split));
        let emptied = [(low, &["a", "b1", "b3", "c1"][..]), ("d", &[])];
        assert_eq!(merged(&blocks, &["a"], &["d1", "e1"]), expected(&emptied));
        let filled = [(low, &["a", "b1", "b3", "c1"][..]), ("d", &["d", "f"])];
        assert_eq!(merged(&blocks, &["d", "f"], &[]), expected(&filled));
    }

    #[test]
    fn a_right_part_that_equals_the_old_block_is_written_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(directory.path(), CacheBytes { sled: 1 << 20, blocks: 1 << 20 }).unwrap();
        let (long, longer) = ("x".repeat(150), format!("y{}", "x".repeat(150)));
        merged(&blocks, &[&longer], &[]);
        let parts = [(r"\x01", &[&*long][..]), ("y", &[&*longer])];
        assert_eq!(merged(&blocks, &[&long], &[]), expected(&parts));
    }

    #[test]
    fn long_keys_bound_a_block_by_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(directory.path(), CacheBytes { sled: 1 << 20, blocks: 1 << 20 }).unwrap();
        let keys: Vec<String> = (0..4).map(|nth| nth.to_string().repeat(300)).collect();
        let found = merged(&blocks, &keys.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        assert_eq!(found.len(), 4, "one entry each, though every one is longer than a block should be");
    }
}

//! Reading a range of the index in order: the overlay's changes over the blocks' entries.

use std::{collections::btree_map, iter::Peekable, ops::Bound};

use super::{
    block::Block,
    blocks::Blocks,
    keys::{self, IndexKey},
    overlay::{Changes, Overlay},
};
use crate::{ledger::Position, store::StoreError};

/// An index key and its position.
pub(super) type Entry = (IndexKey, Position);

/// Minimum and maximum overlay entries copied at a time.
const CHUNK_ENTRIES_MIN: usize = 16;
const CHUNK_ENTRIES_MAX: usize = 1_024;

/// The entries from `start` on whose keys begin with `prefix`, in order, at most `limit`.
///
/// `start` is not below `prefix`.
pub(super) fn scan(
    blocks: &Blocks,
    overlay: &Overlay,
    prefix: &[u8],
    start: Bound<&[u8]>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let end = first_after(prefix);
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    if let Bound::Included(start) | Bound::Excluded(start) = start
        && is_above(start, end)
    {
        return Ok(Vec::new());
    }
    let mut found = ScanResult { entries: Vec::new(), limit };
    let mut start = start.map(Box::<[u8]>::from);
    while !found.is_full() {
        let count_max = (limit - found.entries.len()).clamp(CHUNK_ENTRIES_MIN, CHUNK_ENTRIES_MAX);
        let from = start.as_ref().map(|start| &**start);
        // First the overlay, then the blocks: changes that a merge moves meanwhile have been seen in the overlay.
        let stretch = overlay.stretch((from, end), count_max);
        let covered = stretch.covers.as_deref().map_or(end, Bound::Included);
        merged(blocks, (from, covered), stretch.changes, &mut found)?;
        match stretch.covers {
            Some(covers) => start = Bound::Excluded(covers.into_boxed_slice()),
            None => break,
        }
    }
    Ok(found.entries)
}

/// Appends the blocks' entries in `bounds`, overlaid with `changes`, which lie in the same bounds.
fn merged(
    blocks: &Blocks,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    changes: Changes,
    found: &mut ScanResult,
) -> Result<(), StoreError> {
    let mut changes = changes.into_iter().peekable();
    let mut start: Box<[u8]> = match bounds.0 {
        Bound::Included(start) | Bound::Excluded(start) => start.into(),
        Bound::Unbounded => keys::LOWEST.into(),
    };
    loop {
        let span = blocks.find(&start)?;
        if let Some(block) = &span.block {
            let bad = |error| blocks.bad_block(&span.key, error);
            let mut entries = Block::open(block).map_err(bad)?.entries();
            while let Some((key, position)) = entries.next().map_err(bad)? {
                // A split leaves copies of entries in the left block; they belong to the next one.
                let is_left_over = span.end.as_ref().is_some_and(|end| key >= &**end);
                if is_left_over || is_above(key, bounds.1) || found.is_full() {
                    break;
                }
                if !is_below(key, bounds.0) {
                    found.push(&mut changes, key, position);
                }
            }
        }
        match span.end {
            Some(next) if !is_above(&next, bounds.1) && !found.is_full() => start = next,
            _ => break,
        }
    }
    changes.for_each(|(key, position)| found.push_change(key, position));
    Ok(())
}

/// Entries that a scan has found so far.
struct ScanResult {
    entries: Vec<Entry>,
    limit: usize,
}

impl ScanResult {
    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// Adds a block's entry, after the changes before it; a change of the same key replaces it.
    fn push(
        &mut self,
        changes: &mut Peekable<btree_map::IntoIter<IndexKey, Option<Position>>>,
        key: &[u8],
        position: Position,
    ) {
        while let Some((changed, position)) = changes.next_if(|(changed, _)| **changed < *key) {
            self.push_change(changed, position);
        }
        match changes.next_if(|(changed, _)| **changed == *key) {
            Some((changed, position)) => self.push_change(changed, position),
            None => self.push_change(key.into(), Some(position)),
        }
    }

    fn push_change(&mut self, key: IndexKey, position: Option<Position>) {
        if let Some(position) = position
            && !self.is_full()
        {
            self.entries.push((key, position));
        }
    }
}

fn is_below(key: &[u8], start: Bound<&[u8]>) -> bool {
    match start {
        Bound::Included(start) => key < start,
        Bound::Excluded(start) => key <= start,
        Bound::Unbounded => false,
    }
}

fn is_above(key: &[u8], end: Bound<&[u8]>) -> bool {
    match end {
        Bound::Included(end) => key > end,
        Bound::Excluded(end) => key >= end,
        Bound::Unbounded => false,
    }
}

/// The least string above all that begin with `prefix`; `None` if there is none.
fn first_after(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut after = prefix[..=kept].to_vec();
    after[kept] += 1;
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_after_passes_the_whole_prefix_and_nothing_else() {
        for (prefix, after) in
            [(&b"\x01ab"[..], Some(&b"\x01ac"[..])), (b"\x01\xff\xff", Some(b"\x02")), (b"\xff", None), (b"", None)]
        {
            assert_eq!(first_after(prefix).as_deref(), after);
        }
    }
}

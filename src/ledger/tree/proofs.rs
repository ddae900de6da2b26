//! Proofs over the tree, made from the hashes of its full subtrees: inclusion (RFC 9162 section 2.1.3.1) and consistency (2.1.4.1).
//!
//! Every hash of a proof is the root of a full subtree inside one tile, or is folded from a few such roots at the right
//! edge. A tile is read with one read, and its inner nodes are computed once. Tiles of the upper levels are cached: a
//! full subtree never changes, and 10 million entries have 153 such tiles. Of level 0 only the tile at the right edge
//! is cached, which every proof for the newest tree needs; it grows with the tree. Hashes behind the published size are
//! never read, for they may still be cut.

use std::{
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::{Levels, TreeHashes};
use crate::{
    ledger::LedgerError,
    tlog::{Hash, TILE_HEIGHT, node_hash},
};

/// Maximum number of cached tiles, of 16 KiB each (16 MiB): the upper levels of 67 million entries.
const TILES_MAX: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(1_023);
/// Hashes of a full tile.
const TILE_HASHES: usize = 1 << TILE_HEIGHT;
/// Hashes of a full tile, and the inner nodes above them up to its root.
const TILE_NODES: usize = 2 * TILE_HASHES - 1;

/// Level and number of a tile, as in C2SP tlog-tiles.
type TileId = (u32, u64);

/// Makes proofs over the hashes of a tree. Safe from any thread.
#[derive(Debug)]
pub struct Prover {
    hashes: Arc<dyn TreeHashes>,
    tiles: Mutex<LruCache<TileId, Arc<Tile>>>,
}

impl Prover {
    /// Returns a prover over the hashes of a tree.
    pub fn new(hashes: Arc<dyn TreeHashes>) -> Self {
        Self { hashes, tiles: Mutex::new(LruCache::new(TILES_MAX)) }
    }

    /// Inclusion path from leaf `index` to the root of the first `size` leaves, the leaf's sibling first. `written` is
    /// the number of leaves that can no longer be cut.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::OutOfTree`] unless `index < size <= written`.
    pub fn inclusion(&self, index: u64, size: u64, written: u64) -> Result<Vec<Hash>, LedgerError> {
        if index >= size || size > written {
            let asked = index.saturating_add(1).max(size);
            return Err(LedgerError::OutOfTree { asked, entries: written.min(size) });
        }
        let mut reading = self.reading(written);
        let (mut start, mut end) = (0, size);
        let mut path = Vec::with_capacity(u64::BITS as usize);
        while end - start > 1 {
            let middle = split(start, end);
            if index < middle {
                path.push(reading.root(middle, end)?);
                end = middle;
            } else {
                path.push(reading.root(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// Consistency proof between the trees of the first `old` and the first `new` leaves; empty if `old` is 0 or equal
    /// to `new`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::OutOfTree`] unless `old <= new <= written`.
    pub fn consistency(&self, old: u64, new: u64, written: u64) -> Result<Vec<Hash>, LedgerError> {
        if old > new || new > written {
            return Err(LedgerError::OutOfTree { asked: old.max(new), entries: written.min(new) });
        }
        let mut path = Vec::new();
        if old == 0 || old == new {
            return Ok(path);
        }
        let mut reading = self.reading(written);
        let (mut start, mut end) = (0, new);
        while end != old {
            let middle = split(start, end);
            if old <= middle {
                path.push(reading.root(middle, end)?);
                end = middle;
            } else {
                path.push(reading.root(start, middle)?);
                start = middle;
            }
        }
        // The verifier knows the root of the whole old tree, but not that of a part.
        if start != 0 {
            path.push(reading.root(start, end)?);
        }
        path.reverse();
        Ok(path)
    }

    fn reading(&self, written: u64) -> Reading<'_> {
        Reading { prover: self, written, used: Vec::new() }
    }
}

/// Splits a range of leaves behind the largest power of two that is less than its length (RFC 9162 section 2.1.1).
fn split(start: u64, end: u64) -> u64 {
    start + (1 << (end - start - 1).ilog2())
}

/// One proof while it is made.
struct Reading<'a> {
    prover: &'a Prover,
    written: u64,
    /// Tiles used so far.
    used: Vec<(TileId, Arc<Tile>)>,
}

impl Reading<'_> {
    /// Root of the leaves from `start` to before `end`, one of the ranges that [`split`] makes.
    fn root(&mut self, start: u64, end: u64) -> Result<Hash, LedgerError> {
        let len = end - start;
        if len.is_power_of_two() {
            let height = len.trailing_zeros();
            return self.node(height, start >> height);
        }
        let middle = split(start, end);
        Ok(node_hash(self.root(start, middle)?, self.root(middle, end)?))
    }

    /// Root of full subtree `index` of 2^`height` leaves.
    fn node(&mut self, height: u32, index: u64) -> Result<Hash, LedgerError> {
        let (level, inside) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = index << inside;
        let at = (first % TILE_HASHES as u64) as usize;
        let tile = self.tile((level, first / TILE_HASHES as u64), at + (1 << inside))?;
        Ok(tile.nodes[nodes_below(inside) + (at >> inside)])
    }

    /// A tile with at least `width` hashes.
    fn tile(&mut self, id: TileId, width: usize) -> Result<Arc<Tile>, LedgerError> {
        if let Some((_, tile)) = self.used.iter().find(|(used, tile)| *used == id && tile.width >= width) {
            return Ok(Arc::clone(tile));
        }
        let (level, number) = id;
        let before = self.prover.tiles.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let tile = match before {
            Some(tile) if tile.width >= width => tile,
            before => {
                let start = number * TILE_HASHES as u64;
                let there = Levels::width(level as usize, self.written).saturating_sub(start);
                let there = there.min(TILE_HASHES as u64) as usize;
                if there < width {
                    let asked = (start + width as u64) << (TILE_HEIGHT * level);
                    return Err(LedgerError::OutOfTree { asked, entries: self.written });
                }
                let known = before.as_ref().map_or(0, |tile| tile.width);
                let new = self.prover.hashes.hashes(level as usize, start + known as u64, there - known)?;
                let tile = Arc::new(Tile::grown(before.as_deref(), &new));
                // A full tile of leaves is hardly ever asked for again before it would be evicted.
                if level > 0 || there < TILE_HASHES {
                    let mut tiles = self.prover.tiles.lock().unwrap_or_else(PoisonError::into_inner);
                    tiles.put(id, Arc::clone(&tile));
                }
                tile
            }
        };
        self.used.push((id, Arc::clone(&tile)));
        Ok(tile)
    }
}

/// Hashes of a tile, and the inner nodes above them as far as they are full.
#[derive(Debug)]
struct Tile {
    /// Number of hashes, at most 256.
    width: usize,
    /// Nodes, height by height, height 0 first.
    nodes: Box<[Hash]>,
}

impl Tile {
    /// An earlier state of the tile, extended by the hashes that follow.
    fn grown(before: Option<&Self>, new: &[Hash]) -> Self {
        let empty = || vec![Hash([0; 32]); TILE_NODES].into_boxed_slice();
        let (mut nodes, known) = before.map_or_else(|| (empty(), 0), |tile| (tile.nodes.clone(), tile.width));
        let width = known + new.len();
        nodes[known..width].copy_from_slice(new);
        for height in 1..=TILE_HEIGHT {
            let (children, parents) = (nodes_below(height - 1), nodes_below(height));
            for index in (known >> height)..(width >> height) {
                nodes[parents + index] = node_hash(nodes[children + 2 * index], nodes[children + 2 * index + 1]);
            }
        }
        Self { width, nodes }
    }
}

/// Number of nodes of a tile below a height.
fn nodes_below(height: u32) -> usize {
    2 * TILE_HASHES - ((2 * TILE_HASHES) >> height)
}

#[cfg(test)]
mod tests {
    use super::{super::NewHashes, *};
    use crate::{
        ledger::Position,
        tlog::{
            Frontier,
            definition::{path, sub_proof},
            record_hash,
        },
    };

    fn leaf(index: u64) -> Hash {
        record_hash(&index.to_be_bytes())
    }

    struct Grown {
        _directory: tempfile::TempDir,
        levels: Arc<Levels>,
        prover: Prover,
        frontier: Frontier,
        leaves: Vec<Hash>,
    }

    impl Grown {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let levels = Arc::new(Levels::open(directory.path()).unwrap());
            let prover = Prover::new(Arc::clone(&levels) as Arc<dyn TreeHashes>);
            Self { _directory: directory, levels, prover, frontier: Frontier::default(), leaves: Vec::new() }
        }

        fn grow_to(&mut self, size: u64) {
            let start = self.frontier.size();
            let mut new = NewHashes::default();
            for index in start..size {
                self.leaves.push(leaf(index));
                new.push(0, leaf(index));
                new.push_position(Position(index));
                self.frontier.push(leaf(index), |level, hash| new.push(level, hash));
            }
            self.levels.append(start, &new).unwrap();
        }

        fn check_inclusion(&self, index: u64, size: u64) {
            let made = self.prover.inclusion(index, size, self.frontier.size()).unwrap();
            assert_eq!(made, path(index as usize, &self.leaves[..size as usize]), "{index} of {size}");
        }

        fn check_consistency(&self, old: u64, new: u64) {
            let made = self.prover.consistency(old, new, self.frontier.size()).unwrap();
            assert_eq!(made, sub_proof(old as usize, &self.leaves[..new as usize], true), "{old} to {new}");
        }
    }

    #[test]
    fn all_proofs_of_small_trees_are_those_of_the_definition() {
        let mut grown = Grown::new();
        for size in 1..=40 {
            grown.grow_to(size);
            for index in 0..size {
                grown.check_inclusion(index, size);
                grown.check_consistency(index + 1, size);
            }
        }
        // Trees of the past, over files that grew since.
        for size in 1..=40 {
            (0..size).for_each(|index| grown.check_inclusion(index, size));
        }
    }

    #[test]
    fn proofs_across_tiles_and_while_tiles_grow() {
        let mut grown = Grown::new();
        let sizes = [255, 256, 257, 511, 513, 1_000, 65_535, 65_536, 65_537, 70_000];
        for size in sizes {
            grown.grow_to(size);
            for index in [0, 1, 254, 255, 256, 300, size / 2, size - 2, size - 1].into_iter().filter(|&i| i < size) {
                grown.check_inclusion(index, size);
            }
            for old in sizes.into_iter().filter(|&old| old <= size) {
                grown.check_consistency(old, size);
            }
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let mut grown = Grown::new();
        grown.grow_to(10);
        assert!(grown.prover.inclusion(5, 5, 10).is_err());
        assert!(grown.prover.inclusion(5, 11, 10).is_err());
        assert!(grown.prover.consistency(6, 5, 10).is_err());
        assert!(grown.prover.consistency(6, 11, 10).is_err());
        assert_eq!(grown.prover.consistency(0, 5, 10).unwrap(), []);
        assert_eq!(grown.prover.consistency(5, 5, 10).unwrap(), []);
    }
}

//! Checks that depend on the order of entries: the tree, times, the chain of each identifier, and the map at each size
//! that the output log has a leaf for.

use std::collections::HashMap;

use super::{
    AuditError, Facts, LogSource,
    outputs::{Output, UpperHashes},
    pipeline::Chunk,
};
use crate::{
    entry::chain::{Broken, Chain, check_previous, check_previous_leaf},
    tlog::{Hash, SignedCheckpoint},
    vindex::map::{Hashing, Map, Update},
};

/// Number of updates that are gathered before they go into the map.
const UPDATES_AT_ONCE: usize = 65_536;

/// The collector: takes all entries, in order.
pub(super) struct Collector {
    chain: Chain,
    upper: UpperHashes,
    leaves: Vec<Hash>,
    /// The newest entry of each identifier, by the first half of its map key.
    newest: HashMap<[u8; 16], u64>,
    index: Option<Index>,
}

/// The map, recomputed from the entries.
struct Index {
    outputs: Vec<Output>,
    /// Position of the next leaf to compare.
    next: usize,
    map: Map,
    updates: Vec<Update>,
}

/// Totals of a finished audit.
pub(super) struct AuditTotals {
    pub(super) identifiers: u64,
    pub(super) covers: u64,
    pub(super) keys: u64,
}

impl Collector {
    pub(super) fn new(outputs: Option<Vec<Output>>, size: u64) -> Result<Self, AuditError> {
        if let Some((index, output)) =
            (0..).zip(outputs.iter().flatten()).find(|(_, output): &(u64, &Output)| output.size > size)
        {
            let what = format!("it covers {} entries, and the log has {size}", output.size);
            return Err(AuditError::OutputLeaf { index, what });
        }
        let index = outputs.map(|outputs| Index { outputs, next: 0, map: Map::default(), updates: Vec::new() });
        let mut collector = Self {
            chain: Chain::default(),
            upper: UpperHashes::default(),
            leaves: Vec::new(),
            newest: HashMap::new(),
            index,
        };
        collector.compare_index()?;
        Ok(collector)
    }

    pub(super) fn size(&self) -> u64 {
        self.chain.size()
    }

    /// Takes the next entries.
    pub(super) fn take(&mut self, chunk: Chunk<Option<Facts>>) -> Result<(), AuditError> {
        for (leaf, facts) in chunk.leaves.into_iter().zip(chunk.items) {
            let index = self.chain.size();
            if let Some(facts) = &facts {
                self.check(index, facts).map_err(|broken| AuditError::Entry { index, what: format!("it {broken}") })?;
            }
            self.chain.push(leaf, |level, hash| self.upper.push(level, hash));
            let Some(facts) = facts else { continue };
            self.leaves.push(leaf);
            if let Some(map) = &mut self.index {
                map.add(index, &facts);
            }
            self.compare_index()?;
        }
        Ok(())
    }

    /// Checks that the next entry follows on the entries before it.
    fn check(&mut self, index: u64, facts: &Facts) -> Result<(), Broken> {
        self.chain.place(index, facts.time_ms)?;
        // Half of a SHA-256 hash distinguishes identifiers in half the memory.
        let half = facts.key.first_chunk().copied().unwrap_or_default();
        let newest = self.newest.insert(half, index);
        check_previous(facts.previous.map(|(named, _)| named), newest)?;
        let Some((named, said)) = facts.previous else { return Ok(()) };
        let leaf = usize::try_from(named).ok().and_then(|named| self.leaves.get(named)).copied();
        check_previous_leaf(named, said, leaf)
    }

    /// Compares tree and map with the output leaf for the current size, if there is one.
    fn compare_index(&mut self) -> Result<(), AuditError> {
        let Some(index) = &mut self.index else { return Ok(()) };
        let Some(output) = index.outputs.get(index.next).filter(|output| output.size == self.chain.size()) else {
            return Ok(());
        };
        let bad = |what: String| AuditError::OutputLeaf { index: index.next as u64, what };
        if output.tree != self.chain.root() {
            let what = format!("its checkpoint of {} entries has another root than the entries give", output.size);
            return Err(bad(what));
        }
        index.map.update(std::mem::take(&mut index.updates), Hashing::Now);
        if output.map != index.map.root() {
            let what = format!("the first {} entries give another map root than it says", output.size);
            return Err(bad(what));
        }
        index.next += 1;
        Ok(())
    }

    /// Compares the whole tree with the checkpoint.
    pub(super) fn finish(self, log: &dyn LogSource, checkpoint: &SignedCheckpoint) -> Result<AuditTotals, AuditError> {
        self.upper.compare(self.chain.root(), log, checkpoint, "the log")?;
        let covers = self.index.as_ref().and_then(|index| index.outputs.last()).map_or(0, |output| output.size);
        let keys = self.index.as_ref().map_or(0, |index| index.map.keys() as u64);
        Ok(AuditTotals { identifiers: self.newest.len() as u64, covers, keys })
    }
}

impl Index {
    fn add(&mut self, index: u64, facts: &Facts) {
        if self.next == self.outputs.len() {
            return;
        }
        self.updates.push(Update { key: facts.key, index });
        self.updates.extend(facts.more_keys.iter().map(|&key| Update { key, index }));
        if self.updates.len() >= UPDATES_AT_ONCE {
            self.map.update(std::mem::take(&mut self.updates), Hashing::Later);
        }
    }
}

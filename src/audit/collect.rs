//! What needs the order of the entries: the tree, times, the chain of each identifier, and the map at each size that the
//! output log speaks of.

use std::collections::HashMap;

use super::{AuditError, Facts, LogSource, outputs::Output, outputs::Tree, pipeline::Chunk};
use crate::{
    tlog::{Hash, SignedCheckpoint},
    vindex::map::{Hashing, Map, Update},
};

/// How many updates gather before they go into the map, between two sizes that are compared.
const UPDATES_AT_ONCE: usize = 65_536;

/// The one that sees all entries in order.
pub(super) struct Collector {
    tree: Tree,
    leaves: Vec<Hash>,
    time_ms: u64,
    /// The newest entry of each identifier, by the first half of its key.
    newest: HashMap<[u8; 16], u64>,
    index: Option<Index>,
}

/// The map that is made again.
struct Index {
    outputs: Vec<Output>,
    /// The next of them to be compared.
    next: usize,
    map: Map,
    updates: Vec<Update>,
}

/// What was found in the end.
pub(super) struct Collected {
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
        let mut collector =
            Self { tree: Tree::default(), leaves: Vec::new(), time_ms: 0, newest: HashMap::new(), index };
        collector.compare_index()?;
        Ok(collector)
    }

    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Takes the next entries.
    pub(super) fn take(&mut self, chunk: Chunk<Option<Facts>>) -> Result<(), AuditError> {
        for (leaf, facts) in chunk.leaves.into_iter().zip(chunk.items) {
            let index = self.tree.size();
            self.tree.push(leaf);
            let Some(facts) = facts else { continue };
            self.check_order(index, &facts)?;
            self.leaves.push(leaf);
            if let Some(map) = &mut self.index {
                map.add(index, &facts);
            }
            self.compare_index()?;
        }
        Ok(())
    }

    fn check_order(&mut self, index: u64, facts: &Facts) -> Result<(), AuditError> {
        let bad = |what: String| AuditError::Entry { index, what };
        if facts.time_ms < self.time_ms {
            return Err(bad("it is older than the entry before it".into()));
        }
        self.time_ms = facts.time_ms;
        let half = facts.key.first_chunk().copied().unwrap_or_default();
        let before = self.newest.insert(half, index);
        let leaf = |index: u64| usize::try_from(index).ok().and_then(|index| self.leaves.get(index)).copied();
        match (facts.previous, before) {
            (None, None) => Ok(()),
            (Some((previous, hash)), Some(before)) if previous == before && leaf(before) == Some(hash) => Ok(()),
            (Some((previous, _)), Some(before)) if previous == before => {
                Err(bad(format!("it names another leaf hash for entry {previous}")))
            }
            (Some((previous, _)), Some(before)) => {
                Err(bad(format!("it follows on entry {previous}, and the newest entry of its identifier is {before}")))
            }
            (Some((previous, _)), None) => {
                Err(bad(format!("it follows on entry {previous}, and none is about its identifier")))
            }
            (None, Some(before)) => Err(bad(format!("it follows on none, and entry {before} is about its identifier"))),
        }
    }

    /// Compares tree and map with what the output log says about this size, if it does.
    fn compare_index(&mut self) -> Result<(), AuditError> {
        let Some(index) = &mut self.index else { return Ok(()) };
        let Some(output) = index.outputs.get(index.next).filter(|output| output.size == self.tree.size()) else {
            return Ok(());
        };
        let bad = |what: String| AuditError::OutputLeaf { index: index.next as u64, what };
        if output.tree != self.tree.root() {
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

    /// Compares the whole with the checkpoint.
    pub(super) fn finish(self, log: &dyn LogSource, checkpoint: &SignedCheckpoint) -> Result<Collected, AuditError> {
        self.tree.compare(log, checkpoint, "the log")?;
        let covers = self.index.as_ref().and_then(|index| index.outputs.last()).map_or(0, |output| output.size);
        let keys = self.index.as_ref().map_or(0, |index| index.map.keys() as u64);
        Ok(Collected { identifiers: self.newest.len() as u64, covers, keys })
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

//! The output log of a verifiable index: its tree and signatures, and the content of each leaf.

use super::{
    AuditError, LogSource, THREADS_MAX,
    pipeline::{Stream, first_difference},
    signed,
};
use crate::{
    tlog::{Frontier, Hash, SignedCheckpoint, note::VerifierKey, read_checkpoint},
    vindex::{OutputLeaf, output_verifier, trie::Bytes32},
};

/// Content of a leaf of the output log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Number of entries that the leaf covers.
    pub(super) size: u64,
    /// Root of the tree over those entries.
    pub(super) tree: Hash,
    /// Root of the map over those entries.
    pub(super) map: Bytes32,
}

/// Reads all leaves of an output log and checks its tree.
pub(super) fn read(
    source: &dyn LogSource,
    verifier: Option<&VerifierKey>,
    threads: usize,
) -> Result<Vec<Output>, AuditError> {
    let output = verifier.map(output_verifier).transpose().map_err(|error| AuditError::Source(error.to_string()))?;
    let (_, checkpoint) = signed(source, "the output log", output.as_ref())?;
    let bad = |index, what: &str| AuditError::OutputLeaf { index, what: what.into() };
    let read = |index, leaf: &[u8]| {
        let leaf = OutputLeaf::parse(leaf).ok_or_else(|| bad(index, "it is not a map root and a checkpoint"))?;
        let covered = match verifier {
            Some(verifier) => verifier.verify(leaf.checkpoint.as_bytes()),
            None => read_checkpoint(leaf.checkpoint.as_bytes()).map(|(_, covered)| covered),
        };
        let covered = covered.ok_or_else(|| bad(index, "its checkpoint is not signed by the log"))?;
        Ok(Output { size: covered.size, tree: covered.root, map: leaf.root })
    };
    let mut outputs: Vec<Output> = Vec::new();
    let (mut frontier, mut upper) = (Frontier::default(), UpperHashes::default());
    let stream = Stream {
        source,
        size: checkpoint.size,
        threads: threads.clamp(1, THREADS_MAX),
        bad: |index, what| AuditError::OutputLeaf { index, what },
    };
    stream.run(read, |chunk| {
        chunk.leaves.into_iter().for_each(|leaf| frontier.push(leaf, |level, hash| upper.push(level, hash)));
        for output in chunk.items {
            if outputs.last().is_some_and(|before| before.size >= output.size) {
                return Err(bad(outputs.len() as u64, "it does not cover more than the leaf before"));
            }
            outputs.push(output);
        }
        Ok(())
    })?;
    upper.compare(frontier.root(), source, &checkpoint, "the output log")?;
    Ok(outputs)
}

/// The hashes of a tree above its leaves, as the tiles of level 1 and higher have them.
#[derive(Default)]
pub(super) struct UpperHashes(Vec<Vec<Hash>>);

impl UpperHashes {
    /// Adds the next hash of a level.
    pub(super) fn push(&mut self, level: usize, hash: Hash) {
        if self.0.len() < level {
            self.0.push(Vec::new());
        }
        self.0[level - 1].push(hash);
    }

    /// Compares the root of the tree with a checkpoint, and its hashes above the leaves with the tiles.
    pub(super) fn compare(
        &self,
        root: Hash,
        source: &dyn LogSource,
        checkpoint: &SignedCheckpoint,
        log: &'static str,
    ) -> Result<(), AuditError> {
        // The tiles of level 0 were compared with the leaf hashes when they were read.
        for (level, hashes) in (1..).zip(&self.0) {
            for (number, tile) in (0..).zip(hashes.chunks(super::TILE_WIDTH)) {
                let served = source.hashes(level, number, tile.len()).map_err(AuditError::Source)?;
                if let Some(offset) = first_difference(tile, &served) {
                    let last = ((number * super::TILE_WIDTH as u64 + offset + 1) << (8 * level)) - 1;
                    let what = format!("the tile of level {level} has another hash for the entries up to {last}");
                    return Err(AuditError::Checkpoint { log, what });
                }
            }
        }
        if root == checkpoint.root {
            return Ok(());
        }
        let what = format!("its {} entries give another root than it says", checkpoint.size);
        Err(AuditError::Checkpoint { log, what })
    }
}

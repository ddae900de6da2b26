//! The segments on the local disk: the files of entries, of tree hashes, and of redactions.
//!
//! Readers of this node find entries by position ([`LocalSegments::entry_at`]); everybody else names them by ledger
//! index, which costs one more read, of the position.

mod erase;

use std::{ops::Range, sync::Arc};

use erase::LocalRedacting;
pub(super) use erase::{check as check_erasures, recover as recover_erasure};

use super::{
    DataDir, EntryBytes, LedgerError, Position, Resident,
    redactions::Redactions,
    segment::{SegmentFiles, SegmentWriter, Tail},
    segments::{Redacting, Segments, SegmentsWriter, StagedBatch, Unwritten},
    tree::{Levels, NewHashes, TreeHashes},
};
use crate::{entry::Locator, tlog::Hash};

/// Segments in the files of a data directory.
#[derive(Debug)]
pub struct LocalSegments {
    pub(super) files: Arc<SegmentFiles>,
    pub(super) levels: Levels,
}

impl LocalSegments {
    /// Opens the files of a data directory; creates those that are missing.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if one is another file, or a segment is missing.
    pub(super) fn open(directory: &DataDir) -> Result<Self, LedgerError> {
        let files = SegmentFiles::open(&directory.segments(), Redactions::open(&directory.redactions())?)?;
        Ok(Self { files: Arc::new(files), levels: Levels::open(&directory.tree())? })
    }

    /// Reads the entry at a position.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if no entry lies there.
    pub(crate) fn entry_at(&self, position: Position) -> Result<EntryBytes, LedgerError> {
        Ok(EntryBytes::new(self.files.read_entry(position)?, position.into()))
    }

    /// Reads the entry at a position if the system holds it in memory.
    ///
    /// # Errors
    ///
    /// As for [`LocalSegments::entry_at`].
    pub(crate) fn entry_resident(&self, position: Position) -> Result<Resident<EntryBytes>, LedgerError> {
        Ok(self.files.read_entry_resident(position)?.map(|bytes| EntryBytes::new(bytes, position.into())))
    }

    /// Position of an entry.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there is no such entry.
    pub(crate) fn position(&self, index: u64) -> Result<Position, LedgerError> {
        self.levels.position(index)
    }

    /// Positions of consecutive entries.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there are fewer.
    pub(crate) fn positions(&self, indexes: Range<u64>) -> Result<Vec<Position>, LedgerError> {
        let count = usize::try_from(indexes.end.saturating_sub(indexes.start)).unwrap_or(usize::MAX);
        self.levels.read_positions(indexes.start, count)
    }
}

impl TreeHashes for LocalSegments {
    fn hash_bytes(&self, level: usize, start: u64, count: usize) -> Result<Vec<u8>, LedgerError> {
        self.levels.hash_bytes(level, start, count)
    }

    fn leaf(&self, index: u64) -> Result<Hash, LedgerError> {
        self.levels.leaf(index)
    }
}

impl Segments for LocalSegments {
    fn entry(&self, index: u64) -> Result<EntryBytes, LedgerError> {
        self.entry_at(self.position(index)?)
    }

    fn entries(&self, indexes: Range<u64>) -> Result<Vec<EntryBytes>, LedgerError> {
        let positions = self.positions(indexes)?;
        let entries = self.files.read_entries(&positions)?;
        Ok(entries.into_iter().zip(positions).map(|(bytes, at)| EntryBytes::new(bytes, at.into())).collect())
    }

    fn locator(&self, index: u64) -> Result<Locator, LedgerError> {
        Ok(self.position(index)?.into())
    }

    fn erasures_finished(&self) -> u64 {
        self.files.redactions().finished()
    }
}

/// The writer of the files.
#[derive(Debug)]
pub(super) struct LocalWriter {
    segments: Arc<LocalSegments>,
    writer: SegmentWriter,
    /// Position of the frame of the batch under way.
    start: Position,
    /// Length of the staged frame, in bytes.
    frame_len: usize,
    /// Memory for the leaves that are read back.
    read_back: Vec<u8>,
}

impl LocalWriter {
    /// The writer behind the last good frame, which ends at a position.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(super) fn new(segments: Arc<LocalSegments>, end: Position, tail: Tail) -> Result<Self, LedgerError> {
        let writer = SegmentWriter::new(Arc::clone(&segments.files), end, tail)?;
        Ok(Self { segments, writer, start: end, frame_len: 0, read_back: Vec::new() })
    }

    /// Writes the batch's tree hashes, and reads the leaves back.
    ///
    /// A bit that flips between hashing and storing would make a tree that no entry fits. The comparison finds it
    /// before anything is signed: it uses a checksum that was updated when each leaf was hashed. Computing the root
    /// again from the stored hashes would find the same errors, at the cost of hashing the tree twice.
    fn write_hashes(&mut self, first: u64, hashes: &NewHashes) -> Result<(), Unwritten> {
        let levels = &self.segments.levels;
        levels.append(first, hashes).map_err(Unwritten::Nothing)?;
        match levels.give_back(first, hashes, &mut self.read_back).map_err(Unwritten::Nothing)? {
            true => Ok(()),
            false => {
                let what = "do not give back what was written to them";
                Err(Unwritten::InDoubt(LedgerError::damaged(levels.directory(), what)))
            }
        }
    }
}

impl SegmentsWriter for LocalWriter {
    fn begin(&mut self, first: u64) -> Result<(), LedgerError> {
        self.start = self.writer.begin(first)?;
        Ok(())
    }

    fn locator(&self, _index: u64, offset: usize) -> Locator {
        Position(self.start.0 + offset as u64).into()
    }

    fn stage(&mut self, batch: &mut StagedBatch) -> Result<(), Unwritten> {
        let first = batch.first();
        let (frame, hashes) = batch.frame_at(self.start);
        self.frame_len = frame.len();
        let staged = self.write_hashes(first, hashes).and_then(|()| self.writer.write(frame));
        staged.or_else(|unwritten| {
            self.segments.levels.cut(first).map_err(Unwritten::InDoubt)?;
            Err(unwritten)
        })
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        self.writer.commit(self.frame_len)
    }

    fn begin_erasure(&mut self, erase: u64) -> Result<Box<dyn Redacting>, LedgerError> {
        Ok(Box::new(LocalRedacting::begin(Arc::clone(&self.segments), erase, self.start)?))
    }
}

//! The contract of segments: where a ledger keeps its stored entries and the hashes of the tree over them.
//!
//! ```text
//! Appender: begin -> push … -> stage -> commit -> (head stored, checkpoint published)
//!           begin -> begin_erasure -> redact … -> push -> seal -> stage -> commit -> … -> finish
//! ```
//!
//! Everything is named by ledger index. The local segments are files (`local`); an engine that several machines share
//! keeps the same bytes in its own tables. [`Ledger`](super::Ledger) reads no further than its published checkpoint, so
//! what was staged and never committed is never seen.

use std::{fmt, ops::Range};

use super::{
    EntryBytes, LedgerError,
    segment::{FRAME_HEADER_BYTES, FrameBuffer, FrameInfo},
    tree::{HashesMark, NewHashes, TreeHashes},
};
use crate::{
    entry::Locator,
    tlog::{Frontier, Hash},
};

/// Stored entries and tree hashes, for reading from any thread while the one writer appends.
///
/// Every implementation guarantees:
///
/// * **Committed is readable**: an entry and the hashes it completes are found once [`SegmentsWriter::commit`] has
///   returned, by every reader, with the bytes that were staged.
/// * **Nothing moves**: index, locator and hashes of a committed entry never change. Its bytes change only by an erasure,
///   and then at once and for good: no reader sees half of it.
/// * **Checked**: bytes are compared with a checksum before they are returned.
pub trait Segments: TreeHashes {
    /// Reads an entry; for an erased entry, its redacted form.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there is no such entry; [`LedgerError::Damaged`] if its bytes are not those that were
    /// stored.
    fn entry(&self, index: u64) -> Result<EntryBytes, LedgerError>;

    /// Reads consecutive entries with few requests: at least the first, and fewer than asked for if they are long.
    ///
    /// # Errors
    ///
    /// As for [`Segments::entry`].
    fn entries(&self, indexes: Range<u64>) -> Result<Vec<EntryBytes>, LedgerError>;

    /// Locator of an entry, by which the next entry of the same identifier names it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there is no such entry.
    fn locator(&self, index: u64) -> Result<Locator, LedgerError>;

    /// Number of erasures finished since the segments were opened: bytes read before the last of them may hold erased
    /// values.
    fn erasures_finished(&self) -> u64;
}

/// Failure to write what does not count yet.
#[derive(Debug)]
pub enum Unwritten {
    /// Nothing is left of it; a later batch may succeed.
    Nothing(LedgerError),
    /// It is unknown what is left: nothing may be written any more.
    InDoubt(LedgerError),
}

/// The one writer of [`Segments`].
///
/// Every implementation guarantees:
///
/// * **All or nothing**: after a crash a staged batch is there as a whole, or not at all. A batch that was not committed
///   may be found after a crash; it was whole then.
/// * **Durable**: a batch survives the loss of power once [`SegmentsWriter::commit`] has returned.
/// * **An erasure follows its entry**: redactions count if and only if the erase entry that they were begun for is
///   committed. If the process ends before [`Redacted::finish`], opening the segments finishes an erasure that counts
///   and drops one that does not.
pub trait SegmentsWriter: fmt::Debug + Send {
    /// Begins a batch whose first entry has this index. A batch that was begun before and never committed is forgotten.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]: try again later.
    fn begin(&mut self, first: u64) -> Result<(), LedgerError>;

    /// Locator that entry `index` of the batch under way has, if it begins `offset` bytes behind the batch's start.
    fn locator(&self, index: u64, offset: usize) -> Locator;

    /// Writes a batch that was begun, and its tree hashes; neither counts yet. The hashes are read back, so that no bit
    /// that flipped on the way is signed.
    ///
    /// # Errors
    ///
    /// [`Unwritten`].
    fn stage(&mut self, batch: &mut StagedBatch) -> Result<(), Unwritten>;

    /// Makes the staged batch durable: the commit point.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]: it is unknown whether the batch counts, and nothing may be written any more.
    fn commit(&mut self) -> Result<(), LedgerError>;

    /// Prepares an erasure whose erase entry will be the first of the batch under way. An erasure that was prepared
    /// before and never committed is dropped.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; nothing is changed.
    fn begin_erasure(&mut self, erase: u64) -> Result<Box<dyn Redacting>, LedgerError>;
}

/// An erasure that is prepared: redacted entries are gathered beside the entries that they will replace.
pub trait Redacting: fmt::Debug + Send {
    /// Adds the redacted form of entry `index`, which an earlier erasure may have redacted before.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; abandon the erasure then.
    fn redact(&mut self, index: u64, redacted: Vec<u8>) -> Result<(), LedgerError>;

    /// Makes every redaction durable; the erase entry can be committed then.
    ///
    /// # Errors
    ///
    /// [`Unwritten`]; if nothing is left, the erasure is abandoned.
    fn seal(self: Box<Self>) -> Result<Box<dyn Redacted>, Unwritten>;

    /// Drops the erasure.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the next erasure or the next opening drops it.
    fn abandon(self: Box<Self>) -> Result<(), LedgerError>;
}

/// An erasure whose redactions are durable.
pub trait Redacted: fmt::Debug + Send {
    /// Destroys what the erasure redacts, once its erase entry is committed, in every copy that the segments keep.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; opening the segments again finishes the erasure.
    fn finish(self: Box<Self>) -> Result<(), LedgerError>;

    /// Drops the erasure, whose erase entry was not committed.
    ///
    /// # Errors
    ///
    /// As for [`Redacting::abandon`].
    fn abandon(self: Box<Self>) -> Result<(), LedgerError>;
}

/// A batch in memory: its entries, and what they add to the tree.
#[derive(Debug, Default)]
pub struct StagedBatch {
    first: u64,
    time_ms: u64,
    frontier: Frontier,
    /// Root of the tree with the batch, once it is sealed.
    root: Hash,
    frame: FrameBuffer,
    /// Offset of each entry from the start of the frame.
    offsets: Vec<u32>,
    hashes: NewHashes,
}

/// A point of a [`StagedBatch`], to go back to.
#[derive(Clone, Debug)]
pub struct BatchMark {
    time_ms: u64,
    frontier: Frontier,
    frame_len: usize,
    count: usize,
    hashes: HashesMark,
}

impl StagedBatch {
    /// Empties the batch and begins it anew, behind a tree with this right edge. The memory is kept.
    pub(super) fn begin(&mut self, frontier: Frontier, time_ms: u64) {
        (self.first, self.time_ms, self.frontier) = (frontier.size(), time_ms, frontier);
        self.frame.begin();
        self.offsets.clear();
        self.hashes.clear();
    }

    /// Index of the first entry.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Size of the entries, in bytes.
    pub fn bytes(&self) -> usize {
        self.frame.len() - FRAME_HEADER_BYTES
    }

    /// Time of the last entry, in milliseconds since 1970 UTC.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Sets the time of the next entry.
    pub(super) fn set_time_ms(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
    }

    /// Computes the root of the tree with the batch, which is whole now.
    pub(super) fn seal(&mut self) -> Hash {
        self.root = self.frontier.root();
        self.root
    }

    /// Root of the tree with the batch.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The right edge of the tree with the batch.
    pub(super) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The hashes that the batch adds to the tree.
    pub fn hashes(&self) -> &NewHashes {
        &self.hashes
    }

    /// Stored bytes of the entry with a ledger index; `None` for an entry of another batch.
    pub fn entry(&self, index: u64) -> Option<&[u8]> {
        self.frame.entry(self.offset(index)?)
    }

    /// Offset of the entry with a ledger index; `None` for an entry of another batch.
    pub(super) fn offset(&self, index: u64) -> Option<usize> {
        let nth = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.offsets.get(nth).map(|offset| *offset as usize)
    }

    /// Leaf hash of the entry with a ledger index; `None` for an entry of another batch.
    pub(super) fn leaf(&self, index: u64) -> Option<Hash> {
        self.hashes.leaf(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Adds the entry that `put` writes in its stored form.
    pub(super) fn push(&mut self, leaf_hash: Hash, put: impl FnOnce(&mut Vec<u8>)) {
        let Self { frame, offsets, hashes, frontier, .. } = self;
        // A batch is far shorter than 4 GiB (`BATCH_BYTES_MAX`).
        offsets.push(frame.len() as u32);
        frame.push(put);
        hashes.push(0, leaf_hash);
        frontier.push(leaf_hash, |level, hash| hashes.push(level, hash));
    }

    /// A point to go back to. It holds a copy of the right edge of the tree, some hundred bytes.
    pub(super) fn mark(&self) -> BatchMark {
        BatchMark {
            time_ms: self.time_ms,
            frontier: self.frontier.clone(),
            frame_len: self.frame.len(),
            count: self.len(),
            hashes: self.hashes.mark(),
        }
    }

    /// Takes back every entry that was pushed since a mark of this batch was set.
    pub(super) fn rewind(&mut self, mark: BatchMark) {
        let BatchMark { time_ms, frontier, frame_len, count, hashes } = mark;
        debug_assert!(count <= self.len() && frame_len <= self.frame.len(), "a mark of another batch");
        self.frame.rewind(frame_len);
        self.offsets.truncate(count);
        self.hashes.rewind(&hashes);
        (self.time_ms, self.frontier) = (time_ms, frontier);
    }

    /// The batch as a frame of the local segments, to be written at a position; notes the positions of its entries.
    pub(super) fn frame_at(&mut self, position: super::Position) -> (&[u8], &NewHashes) {
        for offset in &self.offsets {
            self.hashes.push_position(super::Position(position.0 + u64::from(*offset)));
        }
        let info = FrameInfo {
            count: self.offsets.len() as u32,
            first_index: self.first,
            last_time_ms: self.time_ms,
            root: self.root,
        };
        (self.frame.finish(&info), &self.hashes)
    }
}

//! Appending to the ledger: stage, commit point, apply, publish.

mod erase;

use std::{ops::Range, sync::Arc};

pub use erase::{Erasing, ErasureStaged};
pub(super) use erase::{check as check_erasures, recover as recover_erasure};

use super::{
    EntryBytes, Ledger, LedgerError, Position,
    head::OwnHead,
    redactions::Group,
    segment::{BODY_BYTES_MAX, ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES, FrameBuffer, FrameInfo, SegmentWriter},
    tree::{HashesMark, NewHashes},
};
use crate::{
    entry::{Draft, Place, Previous, leaf_hash},
    tlog::{Frontier, Hash, SignedCheckpoint},
};

/// Maximum size of one batch, in bytes: the body of one frame.
pub const BATCH_BYTES_MAX: usize = BODY_BYTES_MAX;

/// The one writer of a ledger.
#[derive(Debug)]
pub struct Appender {
    ledger: Arc<Ledger>,
    writer: SegmentWriter,
    frontier: Frontier,
    head: OwnHead,
    last_time_ms: u64,
    stopped: Option<String>,
    /// An erasure that counts and whose overwriting is still to come.
    erasing: Option<Group>,
    frame: FrameBuffer,
    hashes: NewHashes,
    text: Vec<u8>,
}

impl Appender {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        writer: SegmentWriter,
        frontier: Frontier,
        head: OwnHead,
        last_time_ms: u64,
    ) -> Self {
        Self {
            ledger,
            writer,
            frontier,
            head,
            last_time_ms,
            stopped: None,
            erasing: None,
            frame: FrameBuffer::default(),
            hashes: NewHashes::default(),
            text: Vec::new(),
        }
    }

    /// Begins a batch. `now_ms` is the time of its entries, unless an earlier entry has a later one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Stopped`] after a failure that left the disk in doubt; [`LedgerError::Io`] if there is no room
    /// for a new segment: try again later.
    pub fn begin(&mut self, now_ms: u64) -> Result<Batch<'_>, LedgerError> {
        self.check()?;
        let start = self.writer.begin(self.frontier.size())?;
        self.frame.begin();
        self.hashes.clear();
        Ok(Batch {
            start,
            frontier: self.frontier.clone(),
            time_ms: now_ms.max(self.last_time_ms),
            count: 0,
            appender: self,
        })
    }

    /// Tests whether batches are taken, as far as is known without trying.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Stopped`] after a failure that left the disk in doubt, or when the ledger was halted.
    pub fn check(&self) -> Result<(), LedgerError> {
        match self.stopped.as_deref().or(self.ledger.halted()) {
            Some(reason) => Err(LedgerError::Stopped { reason: reason.into() }),
            None => Ok(()),
        }
    }

    /// Makes the last signed checkpoint durable against a power cut, too.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the ledger then takes no more entries.
    pub fn sync_head(&mut self) -> Result<(), LedgerError> {
        self.head.sync().inspect_err(|error| self.stopped = Some(format!("could not sync the signed head ({error})")))
    }

    /// Refuses all later batches: after this error the content of the disk is unknown.
    fn stop(&mut self, error: LedgerError) -> LedgerError {
        self.stopped = Some(format!("failed: {error}"));
        error
    }

    fn tree_error(&self, what: &'static str, error: std::io::Error) -> LedgerError {
        LedgerError::io(what, self.ledger.levels.directory(), error)
    }

    /// Writes the batch's tree hashes, and reads the leaves back.
    ///
    /// A bit that flips between hashing and storing would make a tree that no entry fits. The comparison finds it
    /// before anything is signed: it uses a checksum that was updated when each leaf was hashed. Computing the root
    /// again from the stored hashes would find the same errors, at the cost of hashing the tree twice.
    fn store_hashes(&mut self) -> Result<(), LedgerError> {
        let size = self.frontier.size();
        let levels = &self.ledger.levels;
        levels.append(size, &self.hashes).map_err(|error| self.tree_error("cannot write", error))?;
        // The buffer of the last entry's text is free again.
        let same = levels.give_back(size, &self.hashes, &mut self.text);
        match same.map_err(|error| self.tree_error("cannot read", error))? {
            true => Ok(()),
            false => Err(LedgerError::damaged(levels.directory(), "do not give back what was written to them")),
        }
    }

    fn discard_hashes(&mut self) -> Result<(), LedgerError> {
        let cut = self.ledger.levels.cut(self.frontier.size());
        cut.map_err(|error| {
            let error = self.tree_error("cannot cut", error);
            self.stop(error)
        })
    }
}

/// Entries that go into the ledger together.
#[derive(Debug)]
pub struct Batch<'a> {
    appender: &'a mut Appender,
    start: Position,
    pub(super) frontier: Frontier,
    pub(super) time_ms: u64,
    count: u32,
}

/// A point of a batch, for [`Batch::rewind`].
#[derive(Clone, Debug)]
pub struct BatchMark {
    frontier: Frontier,
    hashes: HashesMark,
    frame_len: usize,
    time_ms: u64,
    count: u32,
}

/// Place of a pushed entry once the batch is committed.
#[derive(Clone, Copy, Debug)]
pub struct Pushed {
    /// Index of the entry in the ledger.
    pub index: u64,
    /// Time of the entry, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Leaf hash of the entry.
    pub leaf_hash: Hash,
}

/// A batch that is durable, signed and published.
#[derive(Clone, Debug)]
pub struct Committed {
    /// A checkpoint that covers the batch.
    pub checkpoint: SignedCheckpoint,
    /// Ledger indexes of the batch's entries.
    pub entries: Range<u64>,
}

impl Batch<'_> {
    /// Number of entries pushed.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if no entry was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the entries pushed, in bytes.
    pub fn bytes(&self) -> usize {
        self.appender.frame.len() - FRAME_HEADER_BYTES
    }

    /// A point to go back to. It holds a copy of the right edge of the tree, some hundred bytes.
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            frontier: self.frontier.clone(),
            hashes: self.appender.hashes.mark(),
            frame_len: self.appender.frame.len(),
            time_ms: self.time_ms,
            count: self.count,
        }
    }

    /// Takes back every entry that was pushed since a mark of this batch was set, as if the entry had never been
    /// pushed.
    pub fn rewind(&mut self, mark: BatchMark) {
        let BatchMark { frontier, hashes, frame_len, time_ms, count } = mark;
        debug_assert!(count <= self.count && frame_len <= self.appender.frame.len(), "a mark of another batch");
        self.appender.frame.rewind(frame_len);
        self.appender.hashes.rewind(&hashes);
        (self.frontier, self.time_ms, self.count) = (frontier, time_ms, count);
    }

    /// The stored bytes of an entry of this batch; `None` for indexes before it.
    pub fn staged(&self, index: u64) -> Option<&[u8]> {
        let offset = self.staged_position(index)?.0.checked_sub(self.start.0)?;
        self.appender.frame.entry(usize::try_from(offset).ok()?)
    }

    /// As [`Batch::staged`], copied.
    pub fn staged_entry(&self, index: u64) -> Option<EntryBytes> {
        Some(EntryBytes { bytes: self.staged(index)?.into(), position: self.staged_position(index)? })
    }

    fn staged_position(&self, index: u64) -> Option<Position> {
        let nth = index.checked_sub(self.appender.frontier.size())?;
        self.appender.hashes.position(usize::try_from(nth).ok()?)
    }

    /// Position of an entry of this batch or of the ledger.
    pub(super) fn position(&self, index: u64) -> Result<Position, LedgerError> {
        self.staged_position(index).map_or_else(|| self.appender.ledger.position(index), Ok)
    }

    /// Gives a draft the next place in the batch.
    ///
    /// `previous` is the index of the entry of the version before, in this batch or in the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`] if the previous entry's leaf hash cannot be read; [`LedgerError::BatchTooLong`] if the batch
    /// has no room for the entry.
    pub fn push(
        &mut self,
        draft: &Draft,
        version: u64,
        previous: Option<u64>,
        edges: EdgesAfter,
    ) -> Result<Pushed, LedgerError> {
        let bytes = self.bytes() + ENTRY_HEADER_BYTES + draft.stored_len_max();
        if bytes > BATCH_BYTES_MAX {
            return Err(LedgerError::BatchTooLong { bytes });
        }
        let index = self.frontier.size();
        let previous = match previous {
            Some(index) => {
                let (locator, leaf_hash) = (self.position(index)?.into(), self.leaf_hash(index)?);
                Some(Previous { index, locator, leaf_hash })
            }
            None => None,
        };
        let has_edges = edges == EdgesAfter::Some;
        let place = Place { index, time_ms: self.time_ms, version, previous, has_edges };
        let text = &mut self.appender.text;
        text.clear();
        draft.put_text(text, &place);
        let leaf_hash = leaf_hash(text);
        self.add(leaf_hash, |out| draft.put_stored(out, &place));
        Ok(Pushed { index, time_ms: self.time_ms, leaf_hash })
    }

    /// Adds an entry in its stored form, with its leaf hash; returns its position.
    pub(super) fn add(&mut self, leaf_hash: Hash, put: impl FnOnce(&mut Vec<u8>)) {
        let Appender { frame, hashes, .. } = &mut *self.appender;
        let position = Position(self.start.0 + frame.len() as u64);
        frame.push(put);
        hashes.push(0, leaf_hash);
        hashes.push_position(position);
        self.frontier.push(leaf_hash, |level, hash| hashes.push(level, hash));
        self.count += 1;
    }

    /// Leaf hash of entry `index`, of this batch or of the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError> {
        let Appender { ledger, frontier, hashes, .. } = &*self.appender;
        let leaf = ledger.levels.leaf_with(index, frontier.size(), hashes);
        leaf.map_err(|error| LedgerError::io("cannot read", ledger.levels.directory(), error))
    }

    /// Makes the batch durable, signs the tree with it, and publishes the checkpoint.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]: nothing of the batch is in the ledger; try again later. After a failed sync or signature
    /// [`LedgerError::Io`], too, and every later batch is refused with [`LedgerError::Stopped`].
    pub fn commit(self) -> Result<Committed, LedgerError> {
        self.commit_signed(None)
    }

    /// As [`Batch::commit`], with a checkpoint of the tree with the batch that another node signed; that checkpoint is
    /// made durable, too.
    ///
    /// The steps are those of sunlight's `sequencePool`: stage, commit point, apply, publish.
    pub(super) fn commit_signed(self, theirs: Option<&SignedCheckpoint>) -> Result<Committed, LedgerError> {
        let Self { appender, frontier, time_ms, count, .. } = self;
        let entries = appender.frontier.size()..frontier.size();
        if count == 0 {
            return Ok(Committed { checkpoint: appender.ledger.checkpoint(), entries });
        }
        let (size, root) = (frontier.size(), frontier.root());
        if let Some(theirs) = theirs.filter(|theirs| (theirs.size, theirs.root) != (size, root)) {
            return Err(LedgerError::OtherTree { size, signed: theirs.size });
        }
        let frame_len =
            appender.stage(&FrameInfo { count, first_index: entries.start, last_time_ms: time_ms, root })?;
        // The commit point. After a failed sync the content of the disk is unknown.
        if let Err(error) = appender.writer.commit(frame_len) {
            return Err(appender.stop(error));
        }
        appender.frontier = frontier;
        appender.last_time_ms = time_ms;
        let checkpoint = match appender.sign(root, theirs) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Err(appender.stop(error)),
        };
        appender.ledger.publish(checkpoint.clone());
        Ok(Committed { checkpoint, entries })
    }
}

impl Appender {
    /// Stage: writes the batch's tree hashes and its frame to their files; neither counts yet. Returns the length of
    /// the frame.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; nothing of the batch is left then.
    fn stage(&mut self, info: &FrameInfo) -> Result<usize, LedgerError> {
        debug_assert_eq!(self.hashes.leaf_count(), info.count as usize);
        if let Err(error) = self.store_hashes() {
            self.discard_hashes()?;
            return Err(if matches!(error, LedgerError::Damaged { .. }) { self.stop(error) } else { error });
        }
        let frame = self.frame.finish(info);
        let frame_len = frame.len();
        debug_assert!(frame_len > FRAME_HEADER_BYTES);
        if let Err(error) = self.writer.write(frame) {
            self.discard_hashes()?;
            return Err(error);
        }
        Ok(frame_len)
    }

    /// Apply: stores the head for the written segments. The checkpoint is signed with this node's key, or it is the
    /// primary's; the head of a primary's checkpoint is synced at once, for this node could not sign it again.
    fn sign(&mut self, root: Hash, theirs: Option<&SignedCheckpoint>) -> Result<SignedCheckpoint, LedgerError> {
        let Some(theirs) = theirs else {
            let signed = self.ledger.keys.signer()?.sign(self.frontier.size(), root)?;
            self.head.store(&signed)?;
            return Ok(signed);
        };
        self.head.store(theirs)?;
        self.head.sync()?;
        Ok(theirs.clone())
    }
}

/// State of a record's edges after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgesAfter {
    /// No edge ever left the record.
    None,
    /// Edges may leave the record.
    Some,
}

#[cfg(test)]
mod tests;

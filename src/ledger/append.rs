//! Appending to the ledger: stage, commit point, apply, publish.

mod erase;

use std::{ops::Range, sync::Arc};

pub use erase::{Erasing, ErasureStaged};

use super::{
    EntryBytes, Ledger, LedgerError,
    head::OwnHead,
    segment::{BODY_BYTES_MAX, ENTRY_HEADER_BYTES},
    segments::{BatchMark, Redacted, SegmentsWriter, StagedBatch, Unwritten},
};
use crate::{
    entry::{Draft, Locator, Place, Previous, leaf_hash},
    tlog::{Frontier, Hash, SignedCheckpoint},
};

/// Maximum size of one batch, in bytes: the body of one frame.
pub const BATCH_BYTES_MAX: usize = BODY_BYTES_MAX;

/// The one writer of a ledger.
#[derive(Debug)]
pub struct Appender {
    ledger: Arc<Ledger>,
    writer: Box<dyn SegmentsWriter>,
    frontier: Frontier,
    head: OwnHead,
    last_time_ms: u64,
    stopped: Option<String>,
    /// An erasure that counts and whose destruction is still to come.
    erased: Option<Box<dyn Redacted>>,
    /// The batch under way.
    staged: StagedBatch,
    text: Vec<u8>,
}

impl Appender {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        writer: Box<dyn SegmentsWriter>,
        frontier: Frontier,
        head: OwnHead,
        last_time_ms: u64,
    ) -> Self {
        let (staged, text) = (StagedBatch::default(), Vec::new());
        Self { ledger, writer, frontier, head, last_time_ms, stopped: None, erased: None, staged, text }
    }

    /// Begins a batch. `now_ms` is the time of its entries, unless an earlier entry has a later one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Stopped`] after a failure that left the disk in doubt; [`LedgerError::Io`] if there is no room
    /// for a new segment: try again later.
    pub fn begin(&mut self, now_ms: u64) -> Result<Batch<'_>, LedgerError> {
        self.check()?;
        self.writer.begin(self.frontier.size())?;
        self.staged.begin(self.frontier.clone(), now_ms.max(self.last_time_ms));
        Ok(Batch { appender: self })
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

    /// Apply: stores the head for the written segments. The checkpoint is signed with this node's key, or it is the
    /// primary's; the head of a primary's checkpoint is synced at once, for this node could not sign it again.
    fn sign(&mut self, root: Hash, theirs: Option<&SignedCheckpoint>) -> Result<SignedCheckpoint, LedgerError> {
        let Some(theirs) = theirs else {
            let signed = self.ledger.signer()?.sign(self.frontier.size(), root)?;
            self.head.store(&signed)?;
            return Ok(signed);
        };
        self.head.store(theirs)?;
        self.head.sync()?;
        Ok(theirs.clone())
    }
}

/// Entries that go into the ledger together.
#[derive(Debug)]
pub struct Batch<'a> {
    appender: &'a mut Appender,
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
        self.appender.staged.len()
    }

    /// True if no entry was pushed.
    pub fn is_empty(&self) -> bool {
        self.appender.staged.is_empty()
    }

    /// Size of the entries pushed, in bytes.
    pub fn bytes(&self) -> usize {
        self.appender.staged.bytes()
    }

    /// Index of the next entry.
    pub(super) fn next_index(&self) -> u64 {
        self.appender.staged.frontier().size()
    }

    /// Sets the time of the next entry, in milliseconds since 1970 UTC.
    pub(super) fn set_time_ms(&mut self, time_ms: u64) {
        self.appender.staged.set_time_ms(time_ms);
    }

    /// A point to go back to.
    pub fn mark(&self) -> BatchMark {
        self.appender.staged.mark()
    }

    /// Takes back every entry that was pushed since a mark of this batch was set, as if the entry had never been
    /// pushed.
    pub fn rewind(&mut self, mark: BatchMark) {
        self.appender.staged.rewind(mark);
    }

    /// The stored bytes of an entry of this batch; `None` for indexes before it.
    pub fn staged(&self, index: u64) -> Option<&[u8]> {
        self.appender.staged.entry(index)
    }

    /// As [`Batch::staged`], copied.
    pub fn staged_entry(&self, index: u64) -> Option<EntryBytes> {
        let Appender { staged, writer, .. } = &*self.appender;
        Some(EntryBytes::new(staged.entry(index)?.into(), writer.locator(index, staged.offset(index)?)))
    }

    /// Locator of an entry of this batch or of the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(super) fn locator(&self, index: u64) -> Result<Locator, LedgerError> {
        let Appender { staged, writer, ledger, .. } = &*self.appender;
        match staged.offset(index) {
            Some(offset) => Ok(writer.locator(index, offset)),
            None => ledger.segments.locator(index),
        }
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
        let (index, time_ms) = (self.next_index(), self.appender.staged.time_ms());
        let previous = match previous {
            Some(index) => {
                let (locator, leaf_hash) = (self.locator(index)?, self.leaf_hash(index)?);
                Some(Previous { index, locator, leaf_hash })
            }
            None => None,
        };
        let has_edges = edges == EdgesAfter::Some;
        let place = Place { index, time_ms, version, previous, has_edges };
        let text = &mut self.appender.text;
        text.clear();
        draft.put_text(text, &place);
        let leaf_hash = leaf_hash(text);
        self.add(leaf_hash, |out| draft.put_stored(out, &place));
        Ok(Pushed { index, time_ms, leaf_hash })
    }

    /// Adds an entry in its stored form, with its leaf hash.
    pub(super) fn add(&mut self, leaf_hash: Hash, put: impl FnOnce(&mut Vec<u8>)) {
        self.appender.staged.push(leaf_hash, put);
    }

    /// Leaf hash of entry `index`, of this batch or of the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError> {
        self.appender.staged.leaf(index).map_or_else(|| self.appender.ledger.leaf_hash(index), Ok)
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
        let Self { appender } = self;
        let entries = appender.staged.first()..appender.staged.frontier().size();
        if entries.is_empty() {
            return Ok(Committed { checkpoint: appender.ledger.checkpoint(), entries });
        }
        let (size, root) = (entries.end, appender.staged.seal());
        if let Some(theirs) = theirs.filter(|theirs| (theirs.size, theirs.root) != (size, root)) {
            return Err(LedgerError::OtherTree { size, signed: theirs.size });
        }
        match appender.writer.stage(&mut appender.staged) {
            Ok(()) => {}
            Err(Unwritten::Nothing(error)) => return Err(error),
            Err(Unwritten::InDoubt(error)) => return Err(appender.stop(error)),
        }
        // The commit point. After a failed sync the content of the disk is unknown.
        if let Err(error) = appender.writer.commit() {
            return Err(appender.stop(error));
        }
        appender.frontier.clone_from(appender.staged.frontier());
        appender.last_time_ms = appender.staged.time_ms();
        let checkpoint = match appender.sign(root, theirs) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Err(appender.stop(error)),
        };
        appender.ledger.publish(checkpoint.clone());
        Ok(Committed { checkpoint, entries })
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

//! A mirror's writer: entries of another node's ledger, under that node's checkpoints.
//!
//! It goes the way of every batch: tree hashes, frame, sync; then the primary's checkpoint is kept where a primary keeps its own,
//! and published. What is written was verified before (`mirror`); here the root of the tree has to be the signed one once more, or
//! nothing of the batch is written. An erasure of the primary destroys the same values here, with the same machinery.

use super::{
    Appender, Batch, Committed, ErasedValues, Hash, LedgerError, Outside, Position, SignedCheckpoint, append::Erasing,
    with_place,
};

/// The one writer of a mirror's ledger.
#[derive(Debug)]
pub struct Replica {
    appender: Appender,
}

impl Replica {
    pub(super) fn new(appender: Appender) -> Self {
        Self { appender }
    }

    /// Begins a batch.
    ///
    /// # Errors
    ///
    /// As for [`Appender::begin`].
    pub fn begin(&mut self) -> Result<ReplicaBatch<'_>, LedgerError> {
        Ok(ReplicaBatch { batch: self.appender.begin(0)? })
    }

    /// Writes an erase entry, alone in its batch, and prepares to destroy what it erases in every version from the newest one on,
    /// which lies at a position. [`Replica::finish_erasing`] has to follow.
    ///
    /// # Errors
    ///
    /// As for [`ReplicaBatch::commit`].
    pub fn erase(
        &mut self,
        values: ErasedValues,
        newest: Position,
        entry: &Foreign<'_>,
        checkpoint: &SignedCheckpoint,
    ) -> Result<(Position, Committed), LedgerError> {
        let mut erasing: Erasing<'_> = self.appender.begin_erasing(0, values)?;
        if let Err(error) = erasing.redact_all(newest) {
            return erasing.abandon().and(Err(error));
        }
        erasing.commit_pushed(Some(checkpoint), |batch| push(batch, entry, Some(newest)))
    }

    /// Overwrites what the erasure that was committed last destroys.
    ///
    /// # Errors
    ///
    /// As for [`Appender::finish_erasing`].
    pub fn finish_erasing(&mut self) -> Result<(), LedgerError> {
        self.appender.finish_erasing()
    }

    /// Whether batches are taken, as far as is known without trying.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Stopped`] after a failure that left the disk in doubt.
    pub fn check(&self) -> Result<(), LedgerError> {
        self.appender.check()
    }
}

/// An entry of another node's ledger, verified.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    /// The stored form, whose place is blank.
    pub stored: &'a [u8],
    /// When the ledger took it, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Its leaf hash.
    pub leaf_hash: Hash,
    /// Whether any edge leaves the record after it.
    pub has_edges: bool,
}

/// Entries of another node's ledger that are written together.
#[derive(Debug)]
pub struct ReplicaBatch<'a> {
    batch: Batch<'a>,
}

impl ReplicaBatch<'_> {
    /// Adds an entry; `previous` is where the entry before of the same identifier lies, in this batch or in the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] when it is no entry.
    pub fn push(&mut self, entry: &Foreign<'_>, previous: Option<Position>) -> Result<Position, LedgerError> {
        push(&mut self.batch, entry, previous)
    }

    /// Adds what is kept of an entry outside the prefixes of the node.
    pub fn push_outside(&mut self, outside: &Outside) -> Position {
        self.batch.time_ms = outside.time_ms;
        self.batch.add(outside.leaf_hash, |out| outside.put(out))
    }

    /// Makes the batch durable, keeps the checkpoint, which has to be one of the tree with the batch, and publishes it.
    ///
    /// # Errors
    ///
    /// As for [`Batch::commit`]; [`LedgerError::OtherTree`] when the checkpoint is one of another tree, and nothing was written.
    pub fn commit(self, checkpoint: &SignedCheckpoint) -> Result<Committed, LedgerError> {
        self.batch.commit_signed(Some(checkpoint))
    }
}

fn push(batch: &mut Batch<'_>, entry: &Foreign<'_>, previous: Option<Position>) -> Result<Position, LedgerError> {
    let stored = with_place(entry.stored, previous, entry.has_edges);
    let stored = stored.map_err(|torn| LedgerError::entry(Position::default(), torn))?;
    batch.time_ms = entry.time_ms;
    Ok(batch.add(entry.leaf_hash, |out| out.extend_from_slice(&stored)))
}

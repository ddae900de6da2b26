//! Erasing: the redactions first, the entry that counts, then the destruction.
//!
//! ```text
//! redactions written and synced -> erase entry committed and signed -> index, caches -> bytes destroyed
//!                                  (from here on it counts)                          -> noted as done
//! ```
//!
//! How redactions are kept, and how an erasure that was cut off is finished or dropped, is the business of the segments
//! ([`SegmentsWriter`](crate::ledger::segments::SegmentsWriter)).

use super::{Appender, Batch, Committed, EdgesAfter};
use crate::{
    entry::{Draft, ErasedValues},
    ledger::{
        LedgerError,
        segments::{Redacting, Unwritten},
    },
    tlog::{Hash, SignedCheckpoint},
};

/// An erasure under construction: a redaction of every version, then the erase entry.
#[derive(Debug)]
pub struct Erasing<'a> {
    batch: Batch<'a>,
    values: ErasedValues,
    redacting: Box<dyn Redacting>,
    redacted: u64,
}

impl Appender {
    /// Begins an erasure; an erasure is alone in its batch.
    ///
    /// # Errors
    ///
    /// As for [`Appender::begin`].
    pub fn begin_erasing(&mut self, now_ms: u64, values: ErasedValues) -> Result<Erasing<'_>, LedgerError> {
        let batch = self.begin(now_ms)?;
        let redacting = batch.appender.writer.begin_erasure(batch.appender.staged.first())?;
        Ok(Erasing { batch, values, redacting, redacted: 0 })
    }

    /// Destroys the values that the last committed erasure redacts. Nothing is acknowledged before.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; the ledger then takes no more entries, and the next start finishes the erasure.
    pub fn finish_erasing(&mut self) -> Result<(), LedgerError> {
        let Some(redacted) = self.erased.take() else { return Ok(()) };
        redacted.finish().map_err(|error| self.stop(error))
    }
}

impl<'a> Erasing<'a> {
    /// Redacts every version that holds any of the values, from the newest one, entry `newest`, back to the first.
    /// However many there are, one is in memory at a time.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; abandon the erasure then.
    pub fn redact_all(&mut self, newest: u64) -> Result<(), LedgerError> {
        let mut next = Some(newest);
        while let Some(index) = next {
            let bytes = self.batch.appender.ledger.at(index)?;
            let entry = bytes.decode()?;
            if entry.holds_any(self.values) {
                self.redacting.redact(index, entry.redacted(self.values))?;
                self.redacted += 1;
            }
            // The chain leads back and never forward; a damaged one could loop for ever.
            next = entry.previous.map(|(before, _)| before).filter(|before| *before < index);
        }
        Ok(())
    }

    /// Number of versions that held one of the values.
    pub fn redacted(&self) -> u64 {
        self.redacted
    }

    /// Gives the erase entry its place: read it with [`ErasureStaged::stored`], make it count with
    /// [`ErasureStaged::commit`].
    ///
    /// # Errors
    ///
    /// As for [`Batch::push`]; the erasure is abandoned then.
    pub fn push(
        self,
        draft: &Draft,
        version: u64,
        previous: u64,
        edges: EdgesAfter,
    ) -> Result<ErasureStaged<'a>, LedgerError> {
        self.push_with(|batch| Ok(batch.push(draft, version, Some(previous), edges)?.leaf_hash))
    }

    /// As [`Erasing::push`], for an entry that `push` adds.
    pub(in crate::ledger) fn push_with(
        mut self,
        push: impl FnOnce(&mut Batch<'_>) -> Result<Hash, LedgerError>,
    ) -> Result<ErasureStaged<'a>, LedgerError> {
        match push(&mut self.batch) {
            Ok(leaf_hash) => Ok(ErasureStaged { batch: self.batch, redacting: self.redacting, leaf_hash }),
            Err(error) => self.abandon().and(Err(error)),
        }
    }

    /// Abandons the erasure: nothing is changed.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`] if the prepared redactions cannot be dropped; the next erasure or start drops them.
    pub fn abandon(self) -> Result<(), LedgerError> {
        self.redacting.abandon()
    }
}

/// An erasure whose erase entry has its place.
#[derive(Debug)]
pub struct ErasureStaged<'a> {
    batch: Batch<'a>,
    redacting: Box<dyn Redacting>,
    leaf_hash: Hash,
}

impl ErasureStaged<'_> {
    /// The stored bytes of the erase entry.
    pub fn stored(&self) -> &[u8] {
        // The erase entry was pushed: it is the first one of its batch.
        let staged = &self.batch.appender.staged;
        staged.entry(staged.first()).unwrap_or_default()
    }

    /// Leaf hash of the erase entry.
    pub fn leaf_hash(&self) -> Hash {
        self.leaf_hash
    }

    /// Makes the erase entry durable: from here on the erasure counts. [`Appender::finish_erasing`] must follow.
    ///
    /// # Errors
    ///
    /// As for [`Batch::commit`].
    pub fn commit(self) -> Result<Committed, LedgerError> {
        self.commit_signed(None)
    }

    /// As [`ErasureStaged::commit`], with a checkpoint that another node signed.
    pub(in crate::ledger) fn commit_signed(self, theirs: Option<&SignedCheckpoint>) -> Result<Committed, LedgerError> {
        let Self { batch: Batch { appender }, redacting, .. } = self;
        let redacted = match redacting.seal() {
            Ok(redacted) => redacted,
            Err(Unwritten::Nothing(error)) => return Err(error),
            Err(Unwritten::InDoubt(error)) => return Err(appender.stop(error)),
        };
        match (Batch { appender: &mut *appender }).commit_signed(theirs) {
            Ok(committed) => {
                appender.erased = Some(redacted);
                Ok(committed)
            }
            // Whether the entry counts is unknown: the next start knows, and finishes or drops the erasure.
            Err(error) if appender.stopped.is_some() => Err(error),
            Err(error) => redacted.abandon().and(Err(error)),
        }
    }

    /// Abandons the erasure: nothing is changed.
    ///
    /// # Errors
    ///
    /// As for [`Erasing::abandon`].
    pub fn abandon(self) -> Result<(), LedgerError> {
        self.redacting.abandon()
    }
}

//! A mirror's writer: entries of another node's ledger, under that node's checkpoints.
//!
//! A mirror's batch takes the same steps as every batch: tree hashes, frame, sync; then the primary's checkpoint is
//! stored in the signed head, and published. The entries were verified before (`mirror`); here the root of the tree is
//! compared with the signed one once more, or nothing of the batch is written. An erasure of the primary destroys the
//! same values here, by the same means.

use super::{Appender, Batch, Committed, LedgerError, append::Erasing};
use crate::{
    entry::{ErasedValues, Outside, with_place},
    tlog::{Hash, SignedCheckpoint},
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

    /// Writes an erase entry, alone in its batch, and prepares to destroy what it erases in every version back from entry
    /// `newest`. [`Replica::finish_erasing`] has to follow.
    ///
    /// # Errors
    ///
    /// As for [`ReplicaBatch::commit`].
    pub fn erase(
        &mut self,
        values: ErasedValues,
        newest: u64,
        entry: &Foreign<'_>,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Committed, LedgerError> {
        let mut erasing: Erasing<'_> = self.appender.begin_erasing(0, values)?;
        if let Err(error) = erasing.redact_all(newest) {
            return erasing.abandon().and(Err(error));
        }
        let staged = erasing.push_with(|batch| push(batch, entry, Some(newest)).map(|()| entry.leaf_hash))?;
        staged.commit_signed(Some(checkpoint))
    }

    /// Overwrites the values that the last committed erasure destroys.
    ///
    /// # Errors
    ///
    /// As for [`Appender::finish_erasing`].
    pub fn finish_erasing(&mut self) -> Result<(), LedgerError> {
        self.appender.finish_erasing()
    }

    /// Tests whether batches are taken, as far as is known without trying.
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
    /// Stored form of the entry, with its place blank.
    pub stored: &'a [u8],
    /// Time of the entry, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Leaf hash of the entry.
    pub leaf_hash: Hash,
    /// True if edges may leave the record after the entry.
    pub has_edges: bool,
}

/// Entries of another node's ledger that are written together.
#[derive(Debug)]
pub struct ReplicaBatch<'a> {
    batch: Batch<'a>,
}

impl ReplicaBatch<'_> {
    /// Adds an entry; `previous` is the index of the entry before of the same identifier, in this batch or in the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] if the bytes are not an entry.
    pub fn push(&mut self, entry: &Foreign<'_>, previous: Option<u64>) -> Result<(), LedgerError> {
        push(&mut self.batch, entry, previous)
    }

    /// Adds the kept part of an entry outside the prefixes of the node.
    pub fn push_outside(&mut self, outside: &Outside) {
        self.batch.set_time_ms(outside.time_ms);
        self.batch.add(outside.leaf_hash, |out| outside.put(out));
    }

    /// Makes the batch durable, stores the checkpoint, which must be of the tree with the batch, and publishes it.
    ///
    /// # Errors
    ///
    /// As for [`Batch::commit`]; [`LedgerError::OtherTree`] if the checkpoint is of another tree, and nothing is
    /// written then.
    pub fn commit(self, checkpoint: &SignedCheckpoint) -> Result<Committed, LedgerError> {
        self.batch.commit_signed(Some(checkpoint))
    }
}

fn push(batch: &mut Batch<'_>, entry: &Foreign<'_>, previous: Option<u64>) -> Result<(), LedgerError> {
    let locator = previous.map(|previous| batch.locator(previous)).transpose()?;
    let stored = with_place(entry.stored, locator, entry.has_edges).map_err(|torn| LedgerError::Damaged {
        path: "entry".into(),
        what: format!("{} of another ledger cannot be read: {torn}", batch.next_index()),
    })?;
    batch.set_time_ms(entry.time_ms);
    batch.add(entry.leaf_hash, |out| out.extend_from_slice(&stored));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        entry::{EntryKind, Erasure, Reason, without_place},
        ledger::{
            DataDir, EdgesAfter, Followed, KeySource, Ledger, Mark, MirrorOf, Opening, Recovered, audit,
            segments_contract::{SECRET, draft},
        },
        record::Status,
        tlog::note::VerifierKey,
    };

    /// A registration and the erasure of its value: the entries as a mirror receives them, each with a checkpoint.
    fn primary(data: &DataDir) -> (Vec<(Vec<u8>, Hash, SignedCheckpoint)>, VerifierKey) {
        let opening = Opening::new(data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let Recovered { ledger, mut appender, .. } =
            opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let erasure = Erasure::of_value(1, Status::Active, Reason::new("r").unwrap()).unwrap();
        let changes = [draft(1, EntryKind::Create, &[1], None), draft(1, EntryKind::Erase, &[], Some(&erasure))];
        let mut entries = Vec::new();
        let mut before = None;
        for (version, change) in (1..).zip(&changes) {
            let mut batch = appender.begin(version).unwrap();
            let pushed = batch.push(change, version, before, EdgesAfter::None).unwrap();
            let checkpoint = batch.commit().unwrap().checkpoint;
            let stored = ledger.at(pushed.index).unwrap();
            entries.push((without_place(stored.as_bytes()).unwrap(), pushed.leaf_hash, checkpoint));
            before = Some(pushed.index);
        }
        (entries, ledger.verifier().clone())
    }

    fn open(data: &DataDir) -> (Arc<Ledger>, Replica) {
        let opening = Opening::new(data, KeySource { origin: "id.test/ledger", seed: [2; 32] }).unwrap();
        let Followed { ledger, replica, .. } =
            opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().follow().unwrap();
        (ledger, replica)
    }

    #[test]
    fn an_erasure_without_its_checkpoint_never_was() {
        let directory = tempfile::tempdir().unwrap();
        let (entries, key) = primary(&DataDir::open_or_create(&directory.path().join("primary")).unwrap());
        let data = DataDir::open_or_create(&directory.path().join("mirror")).unwrap();
        MirrorOf { key, url: "http://a.example/log".into(), only: Vec::new() }.write(&data).unwrap();
        let foreign = |nth: usize| {
            let (stored, leaf_hash, _) = &entries[nth];
            Foreign { stored, time_ms: 1 + nth as u64, leaf_hash: *leaf_hash, has_edges: false }
        };
        let (ledger, mut replica) = open(&data);
        let mut batch = replica.begin().unwrap();
        batch.push(&foreign(0), None).unwrap();
        let created = 0;
        batch.commit(&entries[0].2).unwrap();
        let head = std::fs::read(data.signed_head()).unwrap();
        replica.erase(ErasedValues::One(1), created, &foreign(1), &entries[1].2).unwrap();
        assert_eq!(ledger.size(), 2);
        drop((ledger, replica));
        let signed = std::fs::read(data.signed_head()).unwrap();

        // The state if the node dies between the frame and the checkpoint.
        std::fs::write(data.signed_head(), &head).unwrap();
        let audited = audit::<LedgerError>(&data, |_, _| Ok(())).unwrap();
        assert!(audited.entries == 1 && audited.torn_bytes > 0, "{audited:?}");
        let (ledger, mut replica) = open(&data);
        assert_eq!(ledger.size(), 1);
        assert!(ledger.at(created).unwrap().as_bytes().windows(SECRET.len()).any(|part| part == SECRET));
        // The entry is received again, and counts.
        replica.erase(ErasedValues::One(1), created, &foreign(1), &entries[1].2).unwrap();
        drop((ledger, replica));
        assert_eq!(std::fs::read(data.signed_head()).unwrap(), signed);
        let (ledger, _replica) = open(&data);
        assert_eq!(ledger.size(), 2);
        assert!(!ledger.at(created).unwrap().as_bytes().windows(SECRET.len()).any(|part| part == SECRET));
        assert!(ledger.unexplained(0).unwrap().is_empty());
    }
}

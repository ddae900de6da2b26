//! Writing what was verified: ledger, index, caches, and what an erasure destroys.

use std::sync::Arc;

use super::{
    Held, HeldEntry,
    check::{Checked, CheckedEntry, VerifiedBatch},
};
use crate::{
    id::Key,
    ledger::{Committed, Foreign, Hash, Ledger, LedgerError, Position, Replica, StoredEntry},
    registry::{Changed, Changes, Committer, apply::change_of},
    store::{Applied, IndexChange, PrefixVersion, Prefixes, ReadError, Store, StoreError},
};

/// Why a verified batch could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was verified says what this version cannot read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What the index, the caches, and those who ask who answers learn of a batch.
#[derive(Debug, Default)]
struct Learned {
    changes: Vec<IndexChange>,
    changed: Vec<Changed>,
    prefixes: Vec<PrefixVersion>,
}

/// The one writer of a mirror.
pub struct Applier {
    replica: Replica,
    ledger: Arc<Ledger>,
    store: Arc<dyn Store>,
    prefixes: Arc<Prefixes>,
    committer: Committer,
}

/// What a mirror holds: its ledger and its index.
#[derive(Clone)]
pub struct HeldLedger {
    ledger: Arc<Ledger>,
    store: Arc<dyn Store>,
}

impl Held for HeldLedger {
    fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError> {
        self.ledger.leaf_hash(index)
    }

    fn newest(&self, key: &Key) -> Result<Option<HeldEntry>, ReadError> {
        let Some(position) = self.store.latest(key)? else { return Ok(None) };
        let bytes = self.ledger.entry(position)?;
        let StoredEntry { index, version, has_edges, .. } = bytes.decode()?;
        Ok(Some(HeldEntry { index, version, has_edges }))
    }
}

impl Applier {
    /// A writer over a ledger whose entries are all in the index; `committer` is told of every batch once it can be seen.
    pub fn new(
        replica: Replica,
        ledger: Arc<Ledger>,
        store: Arc<dyn Store>,
        prefixes: Arc<Prefixes>,
        committer: Committer,
    ) -> Self {
        Self { replica, ledger, store, prefixes, committer }
    }

    /// What is held already.
    pub fn held(&self) -> HeldLedger {
        HeldLedger { ledger: Arc::clone(&self.ledger), store: Arc::clone(&self.store) }
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes a batch: when this returns it is durable, in the index, and what it erases is gone.
    ///
    /// # Errors
    ///
    /// [`MirrorError`]. When the ledger has the batch and the index failed, the next start goes on from there.
    pub fn apply(&mut self, batch: &VerifiedBatch) -> Result<(), MirrorError> {
        if batch.entries.is_empty() {
            return Ok(());
        }
        self.store.ready()?;
        let (positions, committed) = match batch.entries.first() {
            Some(Checked::Entry(entry @ CheckedEntry { erases: Some(values), previous: Some(previous), .. })) => {
                let newest = self.ledger.position(*previous)?;
                let written = self.replica.erase(*values, newest, &foreign(entry), &batch.checkpoint)?;
                (vec![written.0], written.1)
            }
            _ => self.write(batch)?,
        };
        let Learned { changes, changed, prefixes } = self.learned(batch, &positions)?;
        let Committed { mark, .. } = committed;
        let applied = self.store.apply(changes, Applied { entries: mark.entries, next: mark.position });
        match prefixes.is_empty() {
            true => (self.committer)(&Changes::Identifiers(&changed)),
            false => {
                prefixes.into_iter().for_each(|version| self.prefixes.put(version));
                (self.committer)(&Changes::Prefix);
            }
        }
        self.replica.finish_erasing()?;
        Ok(applied?)
    }

    fn write(&mut self, batch: &VerifiedBatch) -> Result<(Vec<Position>, Committed), MirrorError> {
        let mut positions = Vec::with_capacity(batch.entries.len());
        let mut writing = self.replica.begin()?;
        for checked in &batch.entries {
            let position = match checked {
                Checked::Outside(outside) => writing.push_outside(outside),
                Checked::Entry(entry) => {
                    let previous = previous(&self.ledger, batch, entry, &positions)?;
                    writing.push(&foreign(entry), previous)?
                }
            };
            positions.push(position);
        }
        let committed = writing.commit(&batch.checkpoint)?;
        Ok((positions, committed))
    }

    /// What the index and the caches learn of a batch: an edge node knows of no identifier but its own.
    fn learned(&self, batch: &VerifiedBatch, positions: &[Position]) -> Result<Learned, MirrorError> {
        let mut learned = Learned::default();
        for (checked, position) in batch.entries.iter().zip(positions) {
            let Checked::Entry(entry) = checked else { continue };
            let stored = StoredEntry::read(&entry.stored).map_err(|_| LedgerError::Damaged {
                path: "entry".into(),
                what: "that was verified cannot be read".into(),
            })?;
            let before = previous(&self.ledger, batch, entry, positions)?;
            let change = change_of(*position, &stored)?;
            let superseded = entry.previous.zip(before);
            learned.changed.push(Changed { key: change.key.clone(), created: superseded.is_none() });
            learned.changes.push(IndexChange { superseded, ..change });
            learned.prefixes.extend(PrefixVersion::of(&stored)?);
        }
        Ok(learned)
    }
}

/// Where the entry before lies, in the batch or in the ledger.
fn previous(
    ledger: &Ledger,
    batch: &VerifiedBatch,
    entry: &CheckedEntry,
    positions: &[Position],
) -> Result<Option<Position>, LedgerError> {
    let Some(previous) = entry.previous else { return Ok(None) };
    let staged = previous.checked_sub(batch.start).and_then(|offset| positions.get(usize::try_from(offset).ok()?));
    staged.map_or_else(|| ledger.position(previous), |position| Ok(*position)).map(Some)
}

fn foreign(entry: &CheckedEntry) -> Foreign<'_> {
    let CheckedEntry { stored, time_ms, leaf_hash, has_edges, .. } = entry;
    Foreign { stored, time_ms: *time_ms, leaf_hash: *leaf_hash, has_edges: *has_edges }
}

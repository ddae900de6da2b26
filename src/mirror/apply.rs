//! Writing what was verified: ledger, index, caches, and what an erasure destroys.

use std::sync::Arc;

use super::{
    Held, HeldEntry,
    check::{Checked, CheckedEntry, VerifiedBatch},
};
use crate::{
    entry::StoredEntry,
    id::Key,
    ledger::{Committed, Erasures, Foreign, Ledger, LedgerError, Missing, Replica, Unexplained},
    registry::{Changed, Changes, Committer, apply::Effects},
    store::{Entries, IndexChange, PrefixVersion, Prefixes, ReadError, StoreError},
    tlog::Hash,
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
    /// An earlier batch is in the ledger and not in the index.
    #[error("the index lacks entries that the ledger has, because earlier it failed ({reason}): start the node again")]
    Broken {
        /// The earlier failure.
        reason: String,
    },
}

/// What the index, the caches, and those who ask who answers learn of a batch. All that can fail is done before the batch is written.
#[derive(Debug, Default)]
struct Learned {
    changes: Vec<IndexChange>,
    changed: Vec<Changed>,
    prefixes: Vec<PrefixVersion>,
    erasures: Vec<Erasures>,
}

/// From when on a value that is missing without an erasure is withheld.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// The size of the primary's ledger, which it said behind the entries that lack something.
    size: u64,
    /// How many entries were there then.
    entries: u64,
}

/// The one writer of a mirror.
pub struct Applier {
    replica: Replica,
    ledger: Arc<Ledger>,
    entries: Arc<dyn Entries>,
    prefixes: Arc<Prefixes>,
    committer: Committer,
    /// `None` until the entries were looked at that were there before.
    unexplained: Option<Unexplained>,
    due: Option<Due>,
    /// Why nothing is written any more: the ledger has entries that the index lacks.
    broken: Option<String>,
}

/// What a mirror holds: its ledger and its index.
#[derive(Clone)]
pub struct HeldLedger {
    ledger: Arc<Ledger>,
    entries: Arc<dyn Entries>,
}

impl Held for HeldLedger {
    fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError> {
        self.ledger.leaf_hash(index)
    }

    fn newest(&self, key: &Key) -> Result<Option<HeldEntry>, ReadError> {
        let Some(bytes) = self.entries.newest(key)? else { return Ok(None) };
        let StoredEntry { index, version, has_edges, .. } = bytes.decode()?;
        Ok(Some(HeldEntry { index, version, has_edges }))
    }
}

impl Applier {
    /// A writer over a ledger whose entries are all in the index; `committer` is told of every batch once it can be seen.
    pub fn new(
        replica: Replica,
        ledger: Arc<Ledger>,
        entries: Arc<dyn Entries>,
        prefixes: Arc<Prefixes>,
        committer: Committer,
    ) -> Self {
        Self { replica, ledger, entries, prefixes, committer, unexplained: None, due: None, broken: None }
    }

    /// What is held already.
    pub fn held(&self) -> HeldLedger {
        HeldLedger { ledger: Arc::clone(&self.ledger), entries: Arc::clone(&self.entries) }
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Makes sure of what is missing in the entries that are there, of which so many are known to lack nothing that was not erased.
    /// It has to come before the first batch of every stream: what a new one brings may explain what an old one did not.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; try again.
    pub fn look_back(&mut self, explained: u64) -> Result<(), LedgerError> {
        self.due = None;
        if self.unexplained.is_none() {
            self.unexplained = Some(self.ledger.unexplained(explained)?);
        }
        Ok(())
    }

    /// Writes a batch: when this returns it is durable, in the index, and what it erases is gone.
    ///
    /// # Errors
    ///
    /// [`MirrorError`]. When the ledger has the batch and the index failed, every later batch is refused with
    /// [`MirrorError::Broken`], and the next start goes on from there.
    pub fn apply(&mut self, batch: &VerifiedBatch) -> Result<(), MirrorError> {
        if let Some(reason) = &self.broken {
            return Err(MirrorError::Broken { reason: reason.clone() });
        }
        if batch.entries.is_empty() {
            return Ok(());
        }
        self.entries.ready()?;
        let Learned { changes, changed, prefixes, erasures } = Learned::of(batch)?;
        let committed = match batch.entries.first() {
            Some(Checked::Entry(entry @ CheckedEntry { erases: Some(values), previous: Some(previous), .. })) => {
                self.replica.erase(*values, *previous, &foreign(entry), &batch.checkpoint)?
            }
            _ => self.write(batch)?,
        };
        if let Some(unexplained) = &mut self.unexplained {
            erasures.iter().for_each(|erasures| unexplained.see(erasures));
        }
        let applied = self.entries.apply(changes, committed.entries);
        if let Err(error) = &applied {
            // Another batch would be marked as applied, and this one with it.
            self.broken = Some(error.to_string());
        }
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

    /// The primary said how many entries it has.
    pub fn heard(&mut self, size: u64) {
        if !self.is_explained() && self.due.is_none() {
            self.due = Some(Due { size, entries: self.ledger.size() });
        }
    }

    /// Whether every value that is missing here was erased.
    pub fn is_explained(&self) -> bool {
        self.unexplained.as_ref().is_some_and(Unexplained::is_empty)
    }

    /// The first value that is missing though no entry erased it, once everything is here that the primary had when it gave the entry
    /// without it: a primary writes the erasure before it gives an entry without what was erased.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn withheld(&mut self) -> Result<Option<Missing>, LedgerError> {
        let Some(Due { entries, .. }) = self.due.filter(|due| self.ledger.size() >= due.size) else { return Ok(None) };
        let Some(unexplained) = &mut self.unexplained else { return Ok(None) };
        if let Some(first) = unexplained.first().filter(|first| first.entry < entries) {
            return Ok(Some(first));
        }
        // What came later is due later.
        self.due = None;
        if let Some(rest) = unexplained.next_pass() {
            *unexplained = self.ledger.unexplained(rest)?;
        }
        Ok(None)
    }

    fn write(&mut self, batch: &VerifiedBatch) -> Result<Committed, LedgerError> {
        let mut writing = self.replica.begin()?;
        for checked in &batch.entries {
            match checked {
                Checked::Outside(outside) => writing.push_outside(outside),
                Checked::Entry(entry) => writing.push(&foreign(entry), entry.previous)?,
            }
        }
        writing.commit(&batch.checkpoint)
    }
}

impl Learned {
    /// What the index and the caches learn of a batch that is not written yet: an edge node knows of no identifier but its own.
    fn of(batch: &VerifiedBatch) -> Result<Self, MirrorError> {
        let mut learned = Self::default();
        for checked in &batch.entries {
            let Checked::Entry(entry) = checked else { continue };
            let stored = StoredEntry::read(&entry.stored).map_err(|_| LedgerError::Damaged {
                path: "entry".into(),
                what: "that was verified cannot be read".into(),
            })?;
            let Effects { index, prefix } = Effects::of(&stored)?;
            // In the stored form that travels, the place of the entry before is blank.
            let change = IndexChange { superseded: entry.previous, ..index };
            learned.changed.push(Changed::by(&change));
            learned.changes.push(change);
            learned.prefixes.extend(prefix);
            learned.erasures.extend(Erasures::of(&stored));
        }
        Ok(learned)
    }
}

fn foreign(entry: &CheckedEntry) -> Foreign<'_> {
    let CheckedEntry { stored, time_ms, leaf_hash, has_edges, .. } = entry;
    Foreign { stored, time_ms: *time_ms, leaf_hash: *leaf_hash, has_edges: *has_edges }
}

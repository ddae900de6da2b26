//! Writer of verified batches: ledger, index, caches, and the overwriting of erased values.

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

/// Error of writing a verified batch.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// An error of the ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An error of the index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This version cannot read a verified entry.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An earlier batch is in the ledger and not in the index.
    #[error("the index lacks entries that the ledger has, because earlier it failed ({reason}): start the node again")]
    Broken {
        /// The earlier failure.
        reason: String,
    },
}

/// Changes of a batch for the index, the caches and the prefixes. Everything that can fail is computed before the batch
/// is written.
#[derive(Debug, Default)]
struct Learned {
    changes: Vec<IndexChange>,
    changed: Vec<Changed>,
    prefixes: Vec<PrefixVersion>,
    erasures: Vec<Erasures>,
}

/// Point from which on a value that is missing without an erasure counts as withheld.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// Size of the primary's ledger, as reported after the entries that lack values had come.
    size: u64,
    /// Number of entries held at that time.
    entries: u64,
}

/// The only writer of a mirror.
pub struct Applier {
    replica: Replica,
    ledger: Arc<Ledger>,
    entries: Arc<dyn Entries>,
    prefixes: Arc<Prefixes>,
    committer: Committer,
    /// `None` until the entries from earlier runs have been searched for missing values.
    unexplained: Option<Unexplained>,
    due: Option<Due>,
    /// Failure after which nothing is written any more: the ledger has entries that the index lacks.
    broken: Option<String>,
}

/// The ledger and index of a mirror.
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
    /// A writer over a ledger whose entries are all in the index; `committer` is called with every batch once the batch
    /// is visible.
    pub fn new(
        replica: Replica,
        ledger: Arc<Ledger>,
        entries: Arc<dyn Entries>,
        prefixes: Arc<Prefixes>,
        committer: Committer,
    ) -> Self {
        Self { replica, ledger, entries, prefixes, committer, unexplained: None, due: None, broken: None }
    }

    /// The ledger and index that the entries are written to.
    pub fn held(&self) -> HeldLedger {
        HeldLedger { ledger: Arc::clone(&self.ledger), entries: Arc::clone(&self.entries) }
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Searches the entries held for missing values; the first `explained` entries are known to lack only erased ones.
    /// Call this before the first batch of every stream: a new stream may bring the erasure that explains what an old
    /// one left open.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; the call may be repeated.
    pub fn look_back(&mut self, explained: u64) -> Result<(), LedgerError> {
        self.due = None;
        if self.unexplained.is_none() {
            self.unexplained = Some(self.ledger.unexplained(explained)?);
        }
        Ok(())
    }

    /// Writes a batch: when this returns, the batch is durable and in the index, and the values that it erases are
    /// overwritten.
    ///
    /// # Errors
    ///
    /// [`MirrorError`]. If the ledger has the batch and the index failed, every later batch is refused with
    /// [`MirrorError::Broken`], and the next start brings the index up to date.
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
            // Applying another batch would mark this one as applied, too.
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

    /// Takes the size that the primary reports of its ledger.
    pub fn heard(&mut self, size: u64) {
        if !self.is_explained() && self.due.is_none() {
            self.due = Some(Due { size, entries: self.ledger.size() });
        }
    }

    /// True if every missing value was erased by an entry.
    pub fn is_explained(&self) -> bool {
        self.unexplained.as_ref().is_some_and(Unexplained::is_empty)
    }

    /// The first value that is missing though no entry erased it; `None` until the mirror holds every entry that the
    /// primary had when it sent the entry without the value. A primary writes the erasure before it sends an entry
    /// without the erased value.
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
        // Entries that came later get a deadline of their own.
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
    /// Computes the changes of a batch that is not written yet. Entries outside the prefixes of an edge node change neither
    /// index nor caches.
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

//! Writer of verified batches: ledger, index, caches, and the overwriting of erased values.

use std::sync::Arc;

use super::{
    Held, HeldEntry,
    check::{Checked, CheckedEntry, VerifiedBatch},
};
use crate::{
    entry::StoredEntry,
    id::Key,
    ledger::{Committed, Erasures, Foreign, Ledger, LedgerError, Missing, Position, Replica, Unexplained},
    registry::{Changed, Changes, Committer, apply::Effects},
    store::{Applied, IndexChange, PrefixVersion, Prefixes, ReadError, Store, StoreError},
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
    store: Arc<dyn Store>,
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
    /// A writer over a ledger whose entries are all in the index; `committer` is called with every batch once the batch
    /// is visible.
    pub fn new(
        replica: Replica,
        ledger: Arc<Ledger>,
        store: Arc<dyn Store>,
        prefixes: Arc<Prefixes>,
        committer: Committer,
    ) -> Self {
        Self { replica, ledger, store, prefixes, committer, unexplained: None, due: None, broken: None }
    }

    /// The ledger and index that the entries are written to.
    pub fn held(&self) -> HeldLedger {
        HeldLedger { ledger: Arc::clone(&self.ledger), store: Arc::clone(&self.store) }
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
        self.store.ready()?;
        let learned = self.learned(batch)?;
        let (positions, committed) = match batch.entries.first() {
            Some(Checked::Entry(entry @ CheckedEntry { erases: Some(values), previous: Some(previous), .. })) => {
                let newest = self.ledger.position(*previous)?;
                let written = self.replica.erase(*values, newest, &foreign(entry), &batch.checkpoint)?;
                (vec![written.0], written.1)
            }
            _ => self.write(batch)?,
        };
        let Learned { changes, changed, prefixes, erasures } = learned.placed(batch.start, &positions);
        if let Some(unexplained) = &mut self.unexplained {
            erasures.iter().for_each(|erasures| unexplained.see(erasures));
        }
        let Committed { mark, .. } = committed;
        let applied = self.store.apply(changes, Applied { entries: mark.entries, next: mark.position });
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

    /// Computes the changes of a batch that is not written yet, and whose positions are not known. Entries outside the
    /// prefixes of an edge node change neither index nor caches.
    fn learned(&self, batch: &VerifiedBatch) -> Result<Learned, MirrorError> {
        let mut learned = Learned::default();
        for checked in &batch.entries {
            let Checked::Entry(entry) = checked else { continue };
            let stored = StoredEntry::read(&entry.stored).map_err(|_| LedgerError::Damaged {
                path: "entry".into(),
                what: "that was verified cannot be read".into(),
            })?;
            let superseded = match entry.previous {
                Some(previous) if previous < batch.start => Some((previous, self.ledger.position(previous)?)),
                previous => previous.map(|previous| (previous, Position::default())),
            };
            let Effects { index, prefix } = Effects::of(Position::default(), &stored)?;
            let change = IndexChange { superseded, ..index };
            learned.changed.push(Changed::by(&change));
            learned.changes.push(change);
            learned.prefixes.extend(prefix);
            learned.erasures.extend(Erasures::of(&stored));
        }
        Ok(learned)
    }
}

impl Learned {
    /// Fills in the positions of the entries from `start` on.
    fn placed(mut self, start: u64, positions: &[Position]) -> Self {
        let place = |index: u64| positions.get(usize::try_from(index.checked_sub(start)?).ok()?).copied();
        for change in &mut self.changes {
            change.position = place(change.index).unwrap_or(change.position);
            if let Some((index, position)) = &mut change.superseded {
                *position = place(*index).unwrap_or(*position);
            }
        }
        self
    }
}

/// Position of the previous entry of the identifier, in the batch or in the ledger.
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

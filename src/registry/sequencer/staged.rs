//! State of a batch under construction, derived from its bytes entry by entry.

use std::{collections::HashMap, sync::Arc};

use crate::{
    entry::StoredEntry,
    id::Key,
    ledger::Batch,
    record::Version,
    registry::{Changed, Receipt, Refusal, apply::Effects},
    store::{IndexChange, PrefixVersion, ReadError, RequestKey},
    tlog::Hash,
};

/// Entries already in this batch, as later commands of the batch see them.
#[derive(Debug, Default)]
pub(super) struct Staged {
    newest: HashMap<Key, u64>,
    requests: HashMap<RequestKey, u64>,
    pub(super) changes: Vec<IndexChange>,
    /// Statement about a prefix; such a batch holds nothing else.
    pub(super) prefix: Option<PrefixVersion>,
}

/// Decision about a command, before the batch is committed.
#[derive(Debug)]
pub(super) struct Decided {
    identifier: Box<str>,
    version: Version,
    leaf_hash: Hash,
    /// True if the command was carried out before.
    pub(super) replayed: bool,
}

impl Staged {
    /// Reserves room for `count` entries, so that a large batch does not grow its tables step by step.
    pub(super) fn reserve(&mut self, count: usize) {
        self.newest.reserve(count);
        self.changes.reserve(count);
    }

    /// Stages the effects of an entry that the batch holds.
    ///
    /// # Errors
    ///
    /// [`Refusal::Internal`] if the entry cannot be read back: the batch must not be committed then.
    pub(super) fn note(&mut self, stored: &[u8], leaf_hash: Hash) -> Result<Decided, Refusal> {
        let unreadable = |what: String| Refusal::Internal { what: format!("an entry that was just written {what}") };
        let entry = StoredEntry::read(stored).map_err(|torn| unreadable(format!("cannot be read: {torn}")))?;
        let effects = Effects::of(&entry).map_err(|error: ReadError| unreadable(format!("says nothing: {error}")))?;
        let Effects { index: change, prefix } = effects;
        self.newest.insert(change.key.clone(), change.index);
        if let Some(request) = change.request {
            self.requests.insert(request, change.index);
        }
        self.changes.push(change);
        self.prefix = prefix.or(self.prefix.take());
        Ok(Decided::of(&entry, leaf_hash))
    }

    /// Index of the newest entry of an identifier, when this batch has one.
    pub(super) fn newest(&self, key: &Key) -> Option<u64> {
        self.newest.get(key).copied()
    }

    /// Index of the entry of a request, when this batch has it.
    pub(super) fn by_request(&self, request: &RequestKey) -> Option<u64> {
        self.requests.get(request).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Changed identifiers, for caches of answers.
    pub(super) fn changed(&self) -> Vec<Changed> {
        self.changes.iter().map(Changed::by).collect()
    }

    /// A point to go back to: the number of staged entries.
    pub(super) fn mark(&self) -> usize {
        self.changes.len()
    }

    /// Forgets the entries that were staged since a mark was set; `batch` must still hold them.
    pub(super) fn rewind(&mut self, mark: usize, batch: &Batch<'_>) {
        // Backwards, so that of two entries of one identifier the earlier one decides what is restored.
        for change in self.changes.drain(mark..).rev() {
            match change.superseded.filter(|before| batch.staged(*before).is_some()) {
                Some(before) => self.newest.insert(change.key, before),
                None => self.newest.remove(&change.key),
            };
            // A request is staged once: a repeated one is replayed and stages nothing.
            if let Some(request) = change.request {
                self.requests.remove(&request);
            }
        }
    }
}

impl Decided {
    fn of(entry: &StoredEntry<'_>, leaf_hash: Hash) -> Self {
        let version = Version { number: entry.version, ledger_index: entry.index, time_ms: entry.time_ms };
        Self { identifier: entry.identifier.into(), version, leaf_hash, replayed: false }
    }

    /// Decision that the command became this entry before.
    pub(super) fn before(entry: &StoredEntry<'_>, leaf_hash: Hash) -> Self {
        Self { replayed: true, ..Self::of(entry, leaf_hash) }
    }

    /// The receipt, with a checkpoint that covers the entry.
    pub(super) fn receipt(self, checkpoint: &Arc<str>) -> Receipt {
        let Self { identifier, version, leaf_hash, replayed } = self;
        Receipt { identifier, version, leaf_hash, checkpoint: Arc::clone(checkpoint), replayed }
    }
}

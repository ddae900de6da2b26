//! What a batch under construction holds already, derived from its bytes entry by entry.

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

/// What this batch holds already, for the commands that follow in it.
#[derive(Debug, Default)]
pub(super) struct Staged {
    newest: HashMap<Key, u64>,
    requests: HashMap<RequestKey, u64>,
    pub(super) changes: Vec<IndexChange>,
    /// What was said of a prefix; such a batch holds nothing else.
    pub(super) prefix: Option<PrefixVersion>,
}

/// What was decided about a command, waiting for the batch's commit.
#[derive(Debug)]
pub(super) struct Decided {
    identifier: Box<str>,
    version: Version,
    leaf_hash: Hash,
    /// Whether the command was carried out before.
    pub(super) replayed: bool,
}

impl Staged {
    /// Makes room for so many entries: a large batch does not grow its tables step by step.
    pub(super) fn reserve(&mut self, count: usize) {
        self.newest.reserve(count);
        self.changes.reserve(count);
    }

    /// Takes note of an entry that a batch holds.
    ///
    /// # Errors
    ///
    /// [`Refusal::Internal`] when the entry cannot be read back: the batch must not be committed.
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

    /// What those learn who keep answers.
    pub(super) fn changed(&self) -> Vec<Changed> {
        self.changes.iter().map(Changed::by).collect()
    }

    /// A point to go back to: how many entries were noted.
    pub(super) fn mark(&self) -> usize {
        self.changes.len()
    }

    /// Forgets the entries that were noted since a mark was set; `batch` still holds them.
    pub(super) fn rewind(&mut self, mark: usize, batch: &Batch<'_>) {
        // Backwards, so that of two entries of one identifier the earlier one has the last word.
        for change in self.changes.drain(mark..).rev() {
            match change.superseded.filter(|before| batch.staged(*before).is_some()) {
                Some(before) => self.newest.insert(change.key, before),
                None => self.newest.remove(&change.key),
            };
            // A request is noted once: whoever comes with it again is replayed.
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

    /// That the command became this entry before.
    pub(super) fn before(entry: &StoredEntry<'_>, leaf_hash: Hash) -> Self {
        Self { replayed: true, ..Self::of(entry, leaf_hash) }
    }

    /// The receipt, under a checkpoint that covers the entry.
    pub(super) fn receipt(self, checkpoint: &Arc<str>) -> Receipt {
        let Self { identifier, version, leaf_hash, replayed } = self;
        Receipt { identifier, version, leaf_hash, checkpoint: Arc::clone(checkpoint), replayed }
    }
}

//! The pure part: records in, verified batches out.
//!
//! Checked of every entry: its index is the next one; its time is not before that of the last entry; the entry that it
//! names as the previous one of its identifier is the newest that there is; its text is derived from its stored form.
//! Checked of every batch: the primary's key signed a tree of exactly these entries. So another value, another salt,
//! another order or an entry left out gives another root. Facts that are not in the text (the version, whether edges
//! leave the record, the position of the previous entry) are derived here and not believed.
//!
//! A root does not tell everything: the text has commitments in place of values, and an entry may come without some of
//! them, as after an erasure. [`super::Applier`] checks that an `erase` entry explains that, for this entry comes
//! later, maybe much later.

use std::collections::HashMap;

use crate::{
    entry::{
        EntryKind, EntrySubject, EntryText, ErasedValues, Outside, StoredEntry,
        chain::{Broken, Chain, check_previous, check_version},
        leaf_hash,
    },
    id::{Key, Subtree},
    ledger::LedgerError,
    protocol::replica::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, Record},
    record::EdgeChange,
    store::ReadError,
    tlog::{Frontier, Hash, SignedCheckpoint, note::VerifierKey},
};

/// Access to the entries that a mirror holds.
pub trait Held {
    /// The leaf hash of an entry.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the hash cannot be read.
    fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError>;

    /// The newest entry of an identifier; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the entry cannot be read.
    fn newest(&self, key: &Key) -> Result<Option<HeldEntry>, ReadError>;
}

/// The newest entry of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// Index of the entry in the ledger.
    pub index: u64,
    /// Version of the record that the entry made.
    pub version: u64,
    /// True if any edge leaves the record after the entry.
    pub has_edges: bool,
}

/// Error of a record that does not verify; nothing of its batch is taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// An entry breaks a rule.
    #[error("ledger entry {index} {what}")]
    Entry {
        /// Index of the entry.
        index: u64,
        /// The rule that broke.
        what: String,
    },
    /// The primary's key did not sign the checkpoint.
    #[error(
        "the checkpoint behind ledger entry {size} is not signed with the key {key}: compare it with the `ledger key` that the primary \
         prints; if `key` in [mirror] was wrong, give the mirror a new directory"
    )]
    Signature {
        /// Number of entries received.
        size: u64,
        /// The key.
        key: String,
    },
    /// The entries are not those that the primary signed.
    #[error(
        "the entries up to {size} are not those that the primary's key signed: {what}; one of the {count} that came last is altered, missing or in another place"
    )]
    Tree {
        /// Number of entries received.
        size: u64,
        /// Number of those that are not verified yet.
        count: usize,
        /// The difference.
        what: String,
    },
    /// The primary signed another tree than the mirror holds.
    #[error(
        "the primary signed another tree of {size} entries than this mirror holds: one of the two is an old copy that was continued"
    )]
    Fork {
        /// Number of entries that the mirror holds.
        size: u64,
    },
    /// Too many entries or bytes came without a checkpoint.
    #[error(
        "{entries} entries of {bytes} bytes came behind ledger entry {size} without a checkpoint, which is more than may"
    )]
    TooMuch {
        /// Number of entries before.
        size: u64,
        /// Number of entries without a checkpoint.
        entries: usize,
        /// Length of those entries, in bytes.
        bytes: usize,
    },
    /// A value is missing, and no entry erased it.
    #[error(
        "ledger entry {entry} came without its value {value}, and no entry of the ledger says that the value was erased: it was \
         withheld, by the primary or on the way. What is missing here stays missing: give a new mirror a new directory, and do \
         not promote this one"
    )]
    Withheld {
        /// Ledger index of the entry.
        entry: u64,
        /// Index of the value in the record.
        value: u32,
    },
    /// The ledger or index of the mirror cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<LedgerError> for Rejected {
    fn from(error: LedgerError) -> Self {
        Self::Read(error.into())
    }
}

/// An entry that is valid if its batch is.
#[derive(Debug)]
pub enum Checked {
    /// A whole entry.
    Entry(CheckedEntry),
    /// The part that an edge node keeps of an entry outside its prefixes.
    Outside(Outside),
}

/// A whole entry.
#[derive(Debug)]
pub struct CheckedEntry {
    /// The stored form, without its place.
    pub stored: Vec<u8>,
    /// Time of the entry, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Leaf hash of the entry.
    pub leaf_hash: Hash,
    /// True if any edge leaves the record after the entry.
    pub has_edges: bool,
    /// Ledger index of the previous entry of the same identifier.
    pub previous: Option<u64>,
    /// Values that the entry erases from earlier versions.
    pub erases: Option<ErasedValues>,
}

/// Entries under a checkpoint that the primary signed.
#[derive(Debug)]
pub struct VerifiedBatch {
    /// Ledger index of the first entry.
    pub start: u64,
    /// The entries; empty if the mirror had them all.
    pub entries: Vec<Checked>,
    /// The checkpoint of the tree that ends with the entries.
    pub checkpoint: SignedCheckpoint,
}

/// Checks the records of one stream. After a rejection a checker must not be used any more.
#[derive(Debug)]
pub struct Checker {
    verifier: VerifierKey,
    only: Vec<Subtree>,
    /// The tree of all entries received.
    chain: Chain,
    /// Root of the tree that the mirror holds.
    held_root: Hash,
    entries: Vec<Checked>,
    leaves: Vec<Hash>,
    bytes: usize,
    newest: HashMap<Key, HeldEntry>,
    erases: bool,
    ahead: Option<SignedCheckpoint>,
}

impl Checker {
    /// A checker for the entries behind the tree that the mirror holds; `time_ms` is the time of its last entry. An
    /// edge node keeps `only` the entries that these subtrees cover; for a whole mirror `only` is empty.
    pub fn new(verifier: VerifierKey, only: Vec<Subtree>, frontier: Frontier, time_ms: u64) -> Self {
        Self {
            verifier,
            only,
            held_root: frontier.root(),
            chain: Chain::new(frontier, time_ms),
            entries: Vec::new(),
            leaves: Vec::new(),
            bytes: 0,
            newest: HashMap::new(),
            erases: false,
            ahead: None,
        }
    }

    /// Index of the next entry.
    pub fn next_index(&self) -> u64 {
        self.chain.size()
    }

    /// A checkpoint that the primary's key signed, and that does not fit the entries received; set by a rejection only.
    pub fn ahead(&self) -> Option<&SignedCheckpoint> {
        self.ahead.as_ref()
    }

    /// Takes a record; returns a batch if the record is a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Rejected`]; nothing received since the last batch may be used.
    pub fn take(&mut self, record: Record, held: &impl Held) -> Result<Option<VerifiedBatch>, Rejected> {
        match record {
            Record::Entry(stored) => self.entry(stored, held)?,
            Record::Outside(text) => self.outside(&text, held)?,
            Record::Checkpoint(note) => return self.checkpoint(&note).map(Some),
            Record::Alive { .. } => {}
        }
        Ok(None)
    }

    fn entry(&mut self, stored: Vec<u8>, held: &impl Held) -> Result<(), Rejected> {
        let index = self.begin(stored.len())?;
        let bad = |what: &str| Rejected::Entry { index, what: what.into() };
        let entry = StoredEntry::read(&stored).map_err(|_| bad("cannot be read"))?;
        self.place(index, entry.index, entry.time_ms)?;
        let subject = entry.subject().ok_or_else(|| bad("is about no identifier"))?;
        let key = &subject.key();
        entry.decode_values().map_err(|_| bad("holds values that no record may have"))?;
        if !self.covers(&subject) {
            return Err(bad("is outside the prefixes that were asked for, and came whole"));
        }
        if self.erases || (entry.kind == EntryKind::Erase && !self.entries.is_empty()) {
            return Err(bad("is not alone between two checkpoints, as an erasure has to be"));
        }
        let before = match self.newest.get(key) {
            Some(before) => Some(*before),
            None => held.newest(key)?,
        };
        check_previous(entry.previous.map(|(previous, _)| previous), before.map(|before| before.index))
            .map_err(|_| bad("does not follow on the newest entry of its identifier"))?;
        check_version(entry.version, before.map(|before| before.version)).map_err(|broken| bad(&broken.to_string()))?;
        let previous_leaf = before.map(|before| self.leaf(before.index, held)).transpose()?;
        let leaf_hash = self.chain.leaf_of(&entry, previous_leaf);
        let adds = entry.edges.iter().any(|change| matches!(change, EdgeChange::Add(_)));
        let has_edges = adds || before.is_some_and(|before| before.has_edges);
        let erases = entry.erasure.as_ref().map(|erasure| erasure.values);
        let (version, time_ms) = (entry.version, entry.time_ms);
        self.newest.insert(key.clone(), HeldEntry { index, version, has_edges });
        self.erases = erases.is_some();
        let previous = before.map(|before| before.index);
        self.add(Checked::Entry(CheckedEntry { stored, time_ms, leaf_hash, has_edges, previous, erases }), leaf_hash);
        Ok(())
    }

    fn outside(&mut self, text: &[u8], held: &impl Held) -> Result<(), Rejected> {
        let index = self.begin(text.len())?;
        let bad = |what: &str| Rejected::Entry { index, what: what.into() };
        let entry = EntryText::parse(text)
            .map_err(|error| Rejected::Entry { index, what: format!("has a text that cannot be read: {error}") })?;
        self.place(index, index, entry.time_ms)?;
        let subject = EntrySubject::of(entry.kind, &entry.identifier);
        if self.covers(&subject.ok_or_else(|| bad("is about no identifier"))?) {
            return Err(bad("is among what was asked for, and came without its values"));
        }
        if self.erases || (entry.kind == EntryKind::Erase && !self.entries.is_empty()) {
            return Err(bad("is not alone between two checkpoints, as an erasure has to be"));
        }
        if let Some((previous, leaf)) = entry.previous
            && (previous >= index || self.leaf(previous, held)? != leaf)
        {
            return Err(bad("does not follow on the entry it names as the previous one"));
        }
        self.erases = entry.kind == EntryKind::Erase;
        let (time_ms, leaf_hash) = (entry.time_ms, leaf_hash(text));
        self.add(Checked::Outside(Outside { index, time_ms, leaf_hash }), leaf_hash);
        Ok(())
    }

    /// Checks that there is room for one more entry, and returns its index.
    fn begin(&mut self, bytes: usize) -> Result<u64, Rejected> {
        self.bytes += bytes;
        let (size, entries) = (self.chain.size(), self.entries.len());
        if entries >= BATCH_ENTRIES_MAX || self.bytes > BATCH_BYTES_MAX {
            return Err(Rejected::TooMuch { size: size - entries as u64, entries: entries + 1, bytes: self.bytes });
        }
        Ok(size)
    }

    fn place(&mut self, index: u64, found: u64, time_ms: u64) -> Result<(), Rejected> {
        self.chain.place(found, time_ms).map_err(|broken| Rejected::Entry {
            index,
            what: match broken {
                Broken::Index { found } => format!("should come, and {found} does"),
                broken => broken.to_string(),
            },
        })
    }

    fn covers(&self, subject: &EntrySubject) -> bool {
        self.only.is_empty() || self.only.iter().any(|subtree| subject.concerns(subtree))
    }

    fn leaf(&self, index: u64, held: &impl Held) -> Result<Hash, Rejected> {
        let start = self.chain.size() - self.leaves.len() as u64;
        let staged = index.checked_sub(start).and_then(|offset| self.leaves.get(usize::try_from(offset).ok()?));
        Ok(staged.map_or_else(|| held.leaf_hash(index), |leaf| Ok(*leaf))?)
    }

    fn add(&mut self, checked: Checked, leaf: Hash) {
        self.entries.push(checked);
        self.leaves.push(leaf);
        self.chain.push(leaf, |_, _| {});
    }

    fn checkpoint(&mut self, note: &[u8]) -> Result<VerifiedBatch, Rejected> {
        let (size, count) = (self.chain.size(), self.entries.len());
        let checkpoint =
            self.verifier.verify(note).ok_or_else(|| Rejected::Signature { size, key: self.verifier.text().into() })?;
        let tree = |what: String| Rejected::Tree { size, count, what };
        if checkpoint.size != size {
            let what = format!("the checkpoint covers {}", checkpoint.size);
            self.ahead = Some(checkpoint);
            return Err(tree(what));
        }
        let root = if count == 0 { self.held_root } else { self.chain.root() };
        if checkpoint.root != root {
            self.ahead = Some(checkpoint);
            return Err(if count == 0 { Rejected::Fork { size } } else { tree("they give another root".into()) });
        }
        self.held_root = root;
        (self.bytes, self.erases) = (0, false);
        self.newest.clear();
        self.leaves.clear();
        let entries = std::mem::take(&mut self.entries);
        Ok(VerifiedBatch { start: size - entries.len() as u64, entries, checkpoint })
    }
}

#[cfg(test)]
mod tests;

//! The ledger: every change, in order, hashed into a Merkle tree and signed. The ledger is the truth; the index is
//! derived from it.
//!
//! ```text
//! DIR/FORMAT             version of the layout; locked while the directory is open      data_dir
//! DIR/ledger/key         the signing key, made at the first start                       key_file
//! DIR/ledger/mirror      in place of the key on a mirror: key and URL of the primary    keys
//! DIR/ledger/seen        also on a mirror: the largest checkpoint seen of its primary   seen
//! DIR/ledger/signed_head the last checkpoint signed                                     signed_head
//! DIR/ledger/promoted    note of a former mirror that signs under its primary's key     promote
//! DIR/ledger/segments/   frames of entries with their values and salts                  local: segment, entry
//! DIR/ledger/redactions  redacted entries, in place of erased ones                      local: redactions
//! DIR/ledger/tree/       hashes of the Merkle tree, by level; positions of entries      local: tree, tiles
//! DIR/index/             the index (`store`); disposable
//! DIR/vindex/            the output log of the verifiable index (`vindex`)              leaf_log
//! ```
//!
//! Writing goes one way: an [`Appender`] begins a [`Batch`], entries are pushed into it as
//! [`Draft`](crate::entry::Draft)s, and [`Batch::commit`] writes tree hashes, writes the frame, syncs it, signs, stores
//! the signature, publishes. A committed batch is durable. Reading ([`Ledger`]) is safe from any thread meanwhile and
//! sees only published entries.
//!
//! Where entries and hashes are kept is behind a contract, [`Segments`]; files are its one implementation ([`LocalSegments`]),
//! beside a model in memory. The last signed checkpoint is behind another, [`Head`].
//!
//! Opening ends before the first signature ([`Replayed`]), so that witnesses and mirrors can be asked for a later state
//! of the ledger first. Proofs come from the tree's files; [`Publication`] holds the published checkpoints and their
//! cosignatures.
//!
//! Invariants: times never decrease; no checkpoint is signed for a tree that is not on the disk; none is signed that
//! contradicts the one before; after a failed sync nothing is written any more. Formats: `segment`, `tree`,
//! `signed_head`, and those of `entry` and `tlog`. Deliberately absent: the index, the meaning of entries, and rights
//! to write.

mod append;
mod audit;
mod data_dir;
mod error;
mod explained;
mod head;
mod key_file;
mod keys;
mod leaf_log;
mod local;
#[cfg(test)]
mod memory;
mod promote;
mod publication;
mod recover;
mod redactions;
mod replica;
mod seen;
mod segment;
mod segments;
#[cfg(test)]
mod segments_contract;
mod signed_head;
mod tiles;
pub mod tree;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

pub use append::{Appender, BATCH_BYTES_MAX, Batch, Committed, EdgesAfter, Erasing, ErasureStaged, Pushed};
pub use audit::{Audit, audit};
pub use data_dir::DataDir;
pub use error::LedgerError;
pub use explained::{Erasures, Missing, Unexplained};
pub use head::Head;
pub use key_file::write_secret;
pub use keys::{MirrorOf, PREFIXES_MAX};
pub use leaf_log::{LastLeaf, LeafLog, LeafLogCheck, LeafLogWriter};
pub use local::LocalSegments;
pub use promote::{PromotionKey, promote};
pub use publication::Publication;
pub use recover::{Followed, KeySource, Opening, Recovered, Replayed, ReplayedFrame};
#[cfg(any(test, fuzzing))]
pub(crate) use redactions::fuzz as redactions_fuzz;
pub use replica::{Foreign, Replica, ReplicaBatch};
pub use seen::Seen;
pub use segment::ENTRY_BYTES_MAX;
pub use segments::{BatchMark, Redacted, Redacting, Segments, SegmentsWriter, StagedBatch, Unwritten};
pub use signed_head::SLOT_BYTES as CHECKPOINT_BYTES_MAX;

use keys::Keys;
use segment::{FRAME_HEADER_BYTES, SegmentFiles};
use tree::Prover;

use crate::{
    codec::Torn,
    entry::{Locator, Outside, StoredEntry},
    tlog::{Frontier, Hash, LedgerKey, SignedCheckpoint, note::VerifierKey},
};

/// Position of an entry in the ledger's segments: opaque to other modules, increasing from entry to entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A point between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Number of entries before the mark.
    pub entries: u64,
    /// Position of the frame behind the mark; 0 is the beginning of the ledger.
    pub position: Position,
}

impl Mark {
    /// The beginning of every ledger.
    pub const START: Self = Self { entries: 0, position: Position(0) };

    /// The point before the frame whose first entry has this index and position.
    pub(crate) fn before_frame_of(first: u64, position: Position) -> Self {
        Self { entries: first, position: Position(position.0.saturating_sub(FRAME_HEADER_BYTES as u64)) }
    }

    fn frame_position(self) -> Position {
        self.position.max(SegmentFiles::first())
    }
}

impl From<Locator> for Position {
    fn from(locator: Locator) -> Self {
        Self(locator.0)
    }
}

impl From<Position> for Locator {
    fn from(position: Position) -> Self {
        Self(position.0)
    }
}

/// Index and position of the previous entry of the same identifier.
fn previous(entry: &StoredEntry<'_>) -> Option<(u64, Position)> {
    entry.previous.map(|(index, locator)| (index, locator.into()))
}

/// Result of a read that waits for no disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resident<T> {
    /// Found in memory.
    Here(T),
    /// Possibly on the disk, or too long to be read in passing: only a read that may wait can tell.
    OnDisk,
}

impl<T> Resident<T> {
    /// Applies `change` to a value found in memory.
    pub fn map<R>(self, change: impl FnOnce(T) -> R) -> Resident<R> {
        match self {
            Self::Here(found) => Resident::Here(change(found)),
            Self::OnDisk => Resident::OnDisk,
        }
    }
}

/// The ledger, for reading.
#[derive(Debug)]
pub struct Ledger {
    segments: Arc<dyn Segments>,
    prover: Prover,
    keys: Keys,
    published: RwLock<SignedCheckpoint>,
    /// Size of the published checkpoint, to be read without its lock.
    size: AtomicU64,
    /// Reason why nothing may be signed any more.
    halted: OnceLock<String>,
}

impl Ledger {
    /// The ledger in segments, up to a checkpoint that they hold.
    fn new(segments: Arc<dyn Segments>, keys: Keys, published: SignedCheckpoint) -> Self {
        let prover = Prover::new(Arc::clone(&segments) as _);
        let (size, published) = (AtomicU64::new(published.size), RwLock::new(published));
        Self { segments, prover, keys, published, size, halted: OnceLock::new() }
    }

    /// Reads the entry with an index.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also when there is no such entry; [`LedgerError::Damaged`] when it cannot be read.
    pub fn at(&self, index: u64) -> Result<EntryBytes, LedgerError> {
        self.segments.entry(index)
    }

    /// Reads consecutive entries from `index` on, with few reads of the disk: at most `count_max` of those that the
    /// last checkpoint covers, fewer if they are long; at least one if there is one.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::at`].
    pub fn entries(&self, index: u64, count_max: usize) -> Result<Vec<EntryBytes>, LedgerError> {
        let end = index.saturating_add(count_max as u64).min(self.size());
        if index >= end { Ok(Vec::new()) } else { self.segments.entries(index..end) }
    }

    /// Appends the text of an entry to `out`; the leaf hash covers the text.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn put_text(&self, entry: &StoredEntry<'_>, out: &mut Vec<u8>) -> Result<(), LedgerError> {
        let previous = entry.previous.map(|(index, _)| self.leaf_hash(index)).transpose()?;
        entry.put_text(out, previous);
        Ok(())
    }

    /// Number of entries taken up to a time, in milliseconds since 1970 UTC: a binary search, for times never decrease.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn entries_until(&self, time_ms: u64) -> Result<u64, LedgerError> {
        let (mut before, mut after) = (0, self.size());
        while before < after {
            let middle = before.midpoint(after);
            if self.at(middle)?.time_ms()? <= time_ms {
                before = middle + 1;
            } else {
                after = middle;
            }
        }
        Ok(before)
    }

    /// Time of the last entry, in milliseconds since 1970 UTC; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn last_time_ms(&self) -> Result<Option<u64>, LedgerError> {
        let Some(last) = self.size().checked_sub(1) else { return Ok(None) };
        self.at(last)?.time_ms().map(Some)
    }

    /// The newest signed checkpoint.
    pub fn checkpoint(&self) -> SignedCheckpoint {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of entries that the newest signed checkpoint covers.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Number of erasures finished since the ledger was opened: bytes read before the last of them may hold erased
    /// values.
    pub fn erasures_finished(&self) -> u64 {
        self.segments.erasures_finished()
    }

    /// Leaf hash of entry `index`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn leaf_hash(&self, index: u64) -> Result<Hash, LedgerError> {
        self.segments.leaf(index)
    }

    /// Reads `count` hashes of full subtrees of 256^level entries, from hash `start` on: a part of a C2SP tile.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there are fewer hashes.
    pub fn hashes(&self, level: usize, start: u64, count: usize) -> Result<Vec<Hash>, LedgerError> {
        self.segments.hashes(level, start, count)
    }

    /// Opens the ledger of a data directory for reading only, up to its signed head; nothing is mended.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if a file is missing or damaged.
    pub fn open_to_read(directory: &DataDir) -> Result<Self, LedgerError> {
        let keys = Keys::open(directory)?;
        for path in [directory.segments(), directory.tree(), directory.signed_head()] {
            if !path.exists() {
                return Err(LedgerError::damaged(&path, "is missing"));
            }
        }
        let newest = signed_head::read_slots(&directory.signed_head(), keys.verifier())?.newest;
        let (_, published) = newest
            .ok_or_else(|| LedgerError::damaged(&directory.signed_head(), "holds no checkpoint of this ledger"))?;
        Ok(Self::new(Arc::new(LocalSegments::open(directory)?), keys, published))
    }

    /// Inclusion proof of entry `index` in the tree of the first `size` entries (RFC 9162 section 2.1.3.1), the leaf's
    /// sibling first.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OutOfTree`] if the entry is not among the first `size`, or the ledger has signed fewer;
    /// [`LedgerError::Io`].
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
        self.prover.inclusion(index, size, self.size())
    }

    /// Consistency proof between the trees of the first `old` and the first `new` entries (RFC 9162 section 2.1.4.1);
    /// empty if `old` is 0 or equal to `new`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OutOfTree`] if `old` is more than `new`, or the ledger has signed fewer than `new`;
    /// [`LedgerError::Io`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        self.prover.consistency(old, new, self.size())
    }

    /// Stops all signing, for good: another history of this ledger exists than the one on this disk. `reason` completes
    /// the sentence "because earlier it …".
    pub fn halt(&self, reason: String) {
        // The first reason stays.
        let _ = self.halted.set(reason);
    }

    /// Reason why nothing is signed any more, if the ledger was halted.
    pub fn halted(&self) -> Option<&str> {
        self.halted.get().map(String::as_str)
    }

    /// Key that verifies this ledger's checkpoints.
    pub fn verifier(&self) -> &VerifierKey {
        self.keys.verifier()
    }

    /// Key that signs this ledger's checkpoints.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoKey`] on a mirror.
    pub fn signer(&self) -> Result<&LedgerKey, LedgerError> {
        self.keys.signer()
    }

    /// The right edge of the tree that the newest checkpoint covers.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn frontier(&self) -> Result<Frontier, LedgerError> {
        self.segments.frontier(self.size())
    }

    /// Root of the tree of the first `size` entries.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OutOfTree`] if the ledger has signed fewer; [`LedgerError::Io`].
    pub fn root(&self, size: u64) -> Result<Hash, LedgerError> {
        let entries = self.size();
        if size > entries {
            return Err(LedgerError::OutOfTree { asked: size, entries });
        }
        Ok(self.segments.frontier(size)?.root())
    }

    fn publish(&self, checkpoint: SignedCheckpoint) {
        self.size.store(checkpoint.size, Ordering::Release);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = checkpoint;
    }
}

/// The bytes of one stored entry, checked against their checksum.
#[derive(Clone, Debug)]
pub struct EntryBytes {
    bytes: Vec<u8>,
    locator: Locator,
}

impl EntryBytes {
    /// The stored form of the entry with a locator, which errors name.
    pub fn new(bytes: Vec<u8>, locator: Locator) -> Self {
        Self { bytes, locator }
    }

    /// Number of bytes.
    #[expect(clippy::len_without_is_empty, reason = "an entry is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Decodes the entry.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] if the bytes are not an entry; [`LedgerError::NotHeld`] if the entry is outside the
    /// prefixes that the node keeps.
    pub fn decode(&self) -> Result<StoredEntry<'_>, LedgerError> {
        match self.outside()? {
            None => StoredEntry::read(&self.bytes).map_err(|torn| self.damaged(torn)),
            Some(outside) => Err(LedgerError::NotHeld { index: outside.index }),
        }
    }

    /// The kept part of an entry outside the prefixes that the node keeps; `None` if the whole entry is there.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`].
    pub fn outside(&self) -> Result<Option<Outside>, LedgerError> {
        match Outside::is(&self.bytes) {
            true => Outside::read(&self.bytes).map(Some).map_err(|torn| self.damaged(torn)),
            false => Ok(None),
        }
    }

    /// Index of the entry in the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] when the bytes are not an entry.
    pub fn index(&self) -> Result<u64, LedgerError> {
        match self.outside()? {
            Some(outside) => Ok(outside.index),
            None => StoredEntry::index_of(&self.bytes).map_err(|torn| self.damaged(torn)),
        }
    }

    /// Time of the entry, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] if the bytes are not an entry.
    pub fn time_ms(&self) -> Result<u64, LedgerError> {
        match self.outside()? {
            Some(outside) => Ok(outside.time_ms),
            None => Ok(self.decode()?.time_ms),
        }
    }

    /// Stored form of the entry.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Error for a part of the entry that cannot be read.
    pub fn damaged(&self, torn: Torn) -> LedgerError {
        LedgerError::entry(self.locator, torn)
    }
}

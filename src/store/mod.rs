//! The index: maps an identifier to the ledger position of its newest entry.
//!
//! The index is a function of the ledger and holds nothing else: it can be deleted and rebuilt at any time. Its
//! contract uses the domain's terms, not raw keys, so that another engine can answer from tables of its own. [`local`]
//! keeps the index in sled, [`memory`] is the reference model; one contract suite runs on both.
//!
//! Deliberately absent: records (they lie in the ledger's segments) and decisions (`registry`).

#[cfg(test)]
mod contract;
mod edges;
mod history;
mod links;
pub mod local;
pub mod memory;
mod prefixes;
mod records;

pub use edges::{Direction, EdgeEnd, EdgeMove, EdgeOp, EdgeOrigin, EdgeQuery, IndexedEdge};
pub use history::PastVersion;
pub use links::{Link, LinkReader, Registered, Standing};
pub use prefixes::{ImplicitHome, PrefixVersion, Prefixes, Responsibility};
pub use records::{Newest, ReadError, Records};

pub use crate::ledger::Resident;
use crate::{
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::Position,
};

/// Change of the index by one ledger entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexChange {
    /// The entry's index in the ledger.
    pub index: u64,
    /// The identifier that the entry is about, or the prefix ([`crate::id::Prefix::key`]).
    pub key: Key,
    /// Position of the entry, which becomes the newest of this identifier.
    pub position: Position,
    /// Index and position of the entry that was the newest before, if there was one.
    pub superseded: Option<(u64, Position)>,
    /// Hash of the key, if the identifier's DNS name may be the hash form.
    pub name_hash: Option<NameHash>,
    /// Key by which a retry of the same request finds this entry, if the client gave a request id.
    pub request: Option<RequestKey>,
    /// Edges that the entry adds (or replaces) and removes, each once.
    pub edges: Vec<EdgeMove>,
}

/// First 20 bytes of SHA-256 over an identifier's key and a client's request id.
pub type RequestKey = [u8; 20];

/// Extent of the ledger that an index holds: all entries before a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Number of entries applied.
    pub entries: u64,
    /// Position of the frame of the first entry that is not applied.
    pub next: Position,
}

/// The index over the ledger.
///
/// Every implementation guarantees:
///
/// * **Visible**: when [`Store::apply`] has returned, every later read on any thread sees all of its changes. While it
///   runs, a read may see some of them and not others, but never an older state of one identifier after a newer one.
/// * **Ordered**: changes are applied in the order of the ledger; of two changes of one identifier the later one wins.
///   Applying a change again, or a run of changes again from an earlier point on, ends in the same state.
/// * **Durable** is only the extent that [`Store::durable`] reports: after a crash the index opens with at least that
///   much of the ledger applied, or it does not open; the caller then replays the ledger from there.
/// * **Concurrent**: one thread applies; any number of threads read at the same time.
pub trait Store: Send + Sync + 'static {
    /// Position of the newest entry of an identifier; `None` if it was never registered.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the index cannot be read; so for every method.
    fn latest(&self, key: &Key) -> Result<Option<Position>, StoreError>;

    /// As [`Store::latest`], without waiting for a disk: [`Resident::OnDisk`] if the answer is not in memory.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn latest_resident(&self, key: &Key) -> Result<Resident<Option<Position>>, StoreError>;

    /// Position of the newest entry of the identifier whose key has this hash.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Position>, StoreError>;

    /// Superseded entries of an identifier, with their ledger indexes, newest first: at most `limit` of those up to
    /// ledger index `upto`.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn superseded(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<(u64, Position)>, StoreError>;

    /// Position of the entry that a client's request became.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn by_request(&self, request: &RequestKey) -> Result<Option<Position>, StoreError>;

    /// The edges of an identifier in one direction as of an entry, in order of [`EdgeEnd`]: source, type, key at the
    /// other end. The cost is one search for each edge, however often the edge changed.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, StoreError>;

    /// True if an identifier is registered whose key starts with `prefix` and is longer than it.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, StoreError>;

    /// True if any identifier has a name hash.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn any_name_hash(&self) -> Result<bool, StoreError>;

    /// Identifiers whose key starts with `prefix`, in order of their keys, after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Position)>, StoreError>;

    /// Waits until there is room for more changes. A writer calls it before it appends to the ledger: once an entry is
    /// in the ledger, it must be applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] until the disk has room again; any other [`StoreError`] until the index is reopened.
    fn ready(&self) -> Result<(), StoreError>;

    /// Applies the changes of consecutive ledger entries; the index then holds the ledger up to `upto`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the index is closed; nothing is applied then.
    fn apply(&self, changes: Vec<IndexChange>, upto: Applied) -> Result<(), StoreError>;

    /// Extent of the ledger that the index would hold after a crash now.
    fn durable(&self) -> Applied;

    /// Makes everything applied durable and closes the index; later calls of [`Store::apply`] fail.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn close(&self) -> Result<(), StoreError>;
}

/// Failure of the index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine failed: disk, permissions, a lock held elsewhere.
    #[error("index {path}: {reason}")]
    Engine {
        /// The index directory.
        path: String,
        /// Reason given by the engine.
        reason: String,
    },
    /// The disk has no room for the index. Changes already applied are answered from memory.
    #[error("index {path}: no space left on its disk")]
    Full {
        /// The index directory.
        path: String,
    },
    /// The index holds data that no version of this program writes: rebuild it (`touchmark rebuild`).
    #[error("index {path} is damaged: {what}; `touchmark rebuild` makes it again from the ledger")]
    Damaged {
        /// The index directory.
        path: String,
        /// The damage, and its place.
        what: String,
    },
}

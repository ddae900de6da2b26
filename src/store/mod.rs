//! Where is what: from an identifier to the position of its newest entry in the ledger.
//!
//! The index is a function of the ledger and holds nothing else: throw it away and it is made again. It is asked in the
//! domain's words, not in raw keys, so that another engine can answer with tables of its own. [`local`] keeps it in
//! sled, [`memory`] is the reference model; one contract suite runs on both.
//!
//! Deliberately absent: records (they lie in the ledger's segments) and anything that decides (`registry`).

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

/// What one ledger entry changes in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexChange {
    /// The entry's index in the ledger.
    pub index: u64,
    /// The identifier that the entry is about, or the prefix ([`crate::id::Prefix::key`]).
    pub key: Key,
    /// Where the entry lies; from now on the newest of this identifier.
    pub position: Position,
    /// Index and position of the entry that was the newest before, when there was one.
    pub superseded: Option<(u64, Position)>,
    /// Under which hash the identifier is found, when its DNS name may be a hash.
    pub name_hash: Option<NameHash>,
    /// Under which key a retry of the same request finds this entry, when the client gave a request id.
    pub request: Option<RequestKey>,
    /// Edges that the entry adds (or replaces) and removes, each once.
    pub edges: Vec<EdgeMove>,
}

/// First 20 bytes of SHA-256 over an identifier's key and a client's request id.
pub type RequestKey = [u8; 20];

/// How much of the ledger an index holds: everything before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The number of entries applied.
    pub entries: u64,
    /// Where the frame of the first entry that is not applied begins.
    pub next: Position,
}

/// The index over the ledger.
///
/// What every implementation promises:
///
/// * **Visible**: when [`Store::apply`] returns, every later read on any thread sees all of its changes. While it runs,
///   a read may see some of them and not others, but never an older state of one identifier after a newer one.
/// * **Ordered**: changes are applied in the order of the ledger; of two changes of one identifier the later one counts.
///   Applying a change again, or a stretch of changes again from an earlier point on, ends in the same state.
/// * **Durable** is only what [`Store::durable`] says: after a crash the index opens with at least that much of the
///   ledger applied, or it does not open, and whoever opened it applies the ledger from there on.
/// * One thread applies, any number read at the same time.
pub trait Store: Send + Sync + 'static {
    /// The newest entry of an identifier, or `None` when it was never registered.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index cannot be read; so for every method.
    fn latest(&self, key: &Key) -> Result<Option<Position>, StoreError>;

    /// As [`Store::latest`], as far as that can be said without waiting for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn latest_resident(&self, key: &Key) -> Result<Resident<Option<Position>>, StoreError>;

    /// The newest entry of the identifier whose key has this hash.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Position>, StoreError>;

    /// Entries of an identifier that are not its newest any more, with their ledger indexes, newest first: at most `limit`
    /// of those up to ledger index `upto`.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn superseded(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<(u64, Position)>, StoreError>;

    /// The entry that a client's request became.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn by_request(&self, request: &RequestKey) -> Result<Option<Position>, StoreError>;

    /// The edges of an identifier in one direction as of an entry, in order of [`EdgeEnd`]: who says it, type, key at the
    /// other end. It costs a search for each edge, however often the edge changed.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, StoreError>;

    /// True when an identifier is registered whose key starts with `prefix` and is longer than it.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, StoreError>;

    /// True when any identifier is known by the hash of its key.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn any_name_hash(&self) -> Result<bool, StoreError>;

    /// Identifiers whose key starts with `prefix`, in order, after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Position)>, StoreError>;

    /// Waits until there is room for more changes. Whoever adds to the ledger asks before: what is in the ledger has to be
    /// applied, whatever happens meanwhile.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] until the disk has room again; any other [`StoreError`] until the index is opened anew.
    fn ready(&self) -> Result<(), StoreError>;

    /// Applies the changes of consecutive ledger entries; the index then holds the ledger up to `upto`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index is closed; nothing is applied then.
    fn apply(&self, changes: Vec<IndexChange>, upto: Applied) -> Result<(), StoreError>;

    /// How much of the ledger a crash now would leave in the index.
    fn durable(&self) -> Applied;

    /// Makes everything applied durable and closes the index; nothing is applied after.
    ///
    /// # Errors
    ///
    /// As for [`Store::latest`].
    fn close(&self) -> Result<(), StoreError>;
}

/// Why the index could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine failed: disk, permissions, a lock held elsewhere.
    #[error("index {path}: {reason}")]
    Engine {
        /// The index directory.
        path: String,
        /// What the engine said.
        reason: String,
    },
    /// The disk has no room for the index. What was applied answers all the same, from memory.
    #[error("index {path}: no space left on its disk")]
    Full {
        /// The index directory.
        path: String,
    },
    /// The index holds something that no version of this program writes: make it again (`touchmark rebuild`).
    #[error("index {path} is damaged: {what}; `touchmark rebuild` makes it again from the ledger")]
    Damaged {
        /// The index directory.
        path: String,
        /// What was found, and where.
        what: String,
    },
}

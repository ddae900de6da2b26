//! The index of a local ledger: where the newest entry of an identifier lies, and what leads to it.
//!
//! A part of the engines that keep their entries in the ledger's segments ([`super::local`], [`super::memory`]); nothing
//! outside of them reads or names a position. The index is a function of the ledger and holds nothing else.

use super::{Direction, EdgeQuery, IndexChange, IndexedEdge, RequestKey, StoreError};
use crate::{
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::{Position, Resident},
};

/// Change of the index by one ledger entry, with the positions to which it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedChange {
    /// The change.
    pub change: IndexChange,
    /// Position of the entry.
    pub position: Position,
    /// Position of the entry that was the newest before, if there was one.
    pub superseded: Option<Position>,
}

/// Extent of the ledger that an index holds: all entries before a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Number of entries applied.
    pub entries: u64,
    /// Position of the frame of the first entry that is not applied.
    pub next: Position,
}

/// The index over the segments of a local ledger: maps an identifier to the position of its newest entry.
///
/// Every implementation guarantees:
///
/// * **Visible**: when [`PositionIndex::apply`] has returned, every later read on any thread sees all of its changes. While it
///   runs, a read may see some of them and not others, but never an older state of one identifier after a newer one.
/// * **Ordered**: changes are applied in the order of the ledger; of two changes of one identifier the later one wins.
///   Applying a change again, or a run of changes again from an earlier point on, ends in the same state.
/// * **Durable** is only the extent that [`PositionIndex::durable`] reports: after a crash the index opens with at least that
///   much of the ledger applied, or it does not open; the caller then replays the ledger from there.
/// * **Concurrent**: one thread applies; any number of threads read at the same time.
pub trait PositionIndex: Send + Sync + 'static {
    /// Position of the newest entry of an identifier; `None` if it was never registered.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the index cannot be read; so for every method.
    fn latest(&self, key: &Key) -> Result<Option<Position>, StoreError>;

    /// As [`PositionIndex::latest`], without waiting for a disk: [`Resident::OnDisk`] if the answer is not in memory.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn latest_resident(&self, key: &Key) -> Result<Resident<Option<Position>>, StoreError>;

    /// Position of the newest entry of the identifier whose key has this hash.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Position>, StoreError>;

    /// Superseded entries of an identifier, with their ledger indexes, newest first: at most `limit` of those up to
    /// ledger index `upto`.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn superseded(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<(u64, Position)>, StoreError>;

    /// Position of the entry that a client's request became.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn by_request(&self, request: &RequestKey) -> Result<Option<Position>, StoreError>;

    /// The edges of an identifier in one direction as of an entry, each with the position of its entry as its locator, in
    /// order of [`super::EdgeEnd`]: source, type, key at the other end. The cost is one search for each edge, however
    /// often the edge changed.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, StoreError>;

    /// True if an identifier is registered whose key starts with `prefix` and is longer than it.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, StoreError>;

    /// True if any identifier has a name hash.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn any_name_hash(&self) -> Result<bool, StoreError>;

    /// Identifiers whose key starts with `prefix`, in order of their keys, after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
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
    fn apply(&self, changes: Vec<PlacedChange>, upto: Applied) -> Result<(), StoreError>;

    /// Extent of the ledger that the index would hold after a crash now.
    fn durable(&self) -> Applied;

    /// Makes everything applied durable and closes the index; later calls of [`PositionIndex::apply`] fail.
    ///
    /// # Errors
    ///
    /// As for [`PositionIndex::latest`].
    fn close(&self) -> Result<(), StoreError>;
}

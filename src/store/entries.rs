//! The contract of an engine: entries found by what people and machines ask for, and the changes that make them found.

use std::ops::Range;

use super::{Direction, EdgeMove, EdgeQuery, IndexedEdge, StoreError};
use crate::{
    entry::Locator,
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::{EntryBytes, LedgerError, Resident},
};

/// Change of an engine's index by one ledger entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexChange {
    /// The entry's index in the ledger.
    pub index: u64,
    /// The identifier that the entry is about, or the prefix ([`crate::id::Prefix::key`]).
    pub key: Key,
    /// Ledger index of the entry that was the newest before, if there was one.
    pub superseded: Option<u64>,
    /// Hash of the key, if the identifier's DNS name may be the hash form.
    pub name_hash: Option<NameHash>,
    /// Key by which a retry of the same request finds this entry, if the client gave a request id.
    pub request: Option<RequestKey>,
    /// Edges that the entry adds (or replaces) and removes, each once.
    pub edges: Vec<EdgeMove>,
}

/// First 20 bytes of SHA-256 over an identifier's key and a client's request id.
pub type RequestKey = [u8; 20];

/// Bounds of a page of past entries.
#[derive(Clone, Copy, Debug)]
pub struct PastPage {
    /// Only entries up to this ledger index.
    pub upto: u64,
    /// Maximum number of entries.
    pub entries_max: usize,
    /// Number of bytes after which the page ends; the entry that passes it is part of the page.
    pub bytes_max: usize,
}

impl PastPage {
    /// Reads the entries of the page, given newest first.
    pub(super) fn read(
        self,
        entries: impl Iterator<Item = Result<EntryBytes, ReadError>>,
    ) -> Result<Vec<EntryBytes>, ReadError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in entries.take(self.entries_max) {
            let entry = entry?;
            bytes += entry.len();
            page.push(entry);
            if bytes > self.bytes_max {
                break;
            }
        }
        Ok(page)
    }
}

/// Failure to read entries.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The entries of a ledger, found by identifier, ledger index, name hash, request and edge.
///
/// Every implementation guarantees:
///
/// * **Committed first**: an entry is in the ledger, durable and signed for, before its change is applied here. So an
///   engine never holds what the ledger does not, and may be made again from the ledger.
/// * **Visible**: when [`Entries::apply`] has returned, every later read on any thread sees all of its changes. While it
///   runs, a read may see some of them and not others, but never an older state of one identifier after a newer one.
/// * **Ordered**: changes are applied in the order of the ledger; of two changes of one identifier the later one wins.
///   Applying a change again, or a run of changes again from an earlier point on, ends in the same state.
/// * **Durable** is only the extent that [`Entries::durable`] reports: after a crash an engine opens with at least that
///   much of the ledger applied, or it does not open. Whoever opens it applies the rest from the ledger before any read.
/// * **Concurrent**: one thread applies; any number of threads read at the same time.
/// * **Blocking**: every method may wait for a disk or a network, but [`Entries::newest_resident`]. So only the desk's
///   pool of readers, the sequencer, and threads of the feed and of mirrors call them.
pub trait Entries: Send + Sync + 'static {
    /// The newest entry of an identifier; `None` if it was never registered.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the index or the entry cannot be read; so for every method that returns it.
    fn newest(&self, key: &Key) -> Result<Option<EntryBytes>, ReadError>;

    /// As [`Entries::newest`], without waiting: [`Resident::OnDisk`] if the answer is not in memory.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn newest_resident(&self, key: &Key) -> Result<Resident<Option<EntryBytes>>, ReadError>;

    /// Locator of the newest entry of an identifier, without a read of the entry; `None` if it was never registered.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn newest_locator(&self, key: &Key) -> Result<Option<Locator>, ReadError>;

    /// The entry with a locator that this engine gave, with an edge or by [`Entries::newest_locator`]: one read, while a
    /// ledger index may cost another to find the entry. A locator means nothing to others, not even to another engine.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`]; also if there is no such entry.
    fn by_locator(&self, locator: Locator) -> Result<EntryBytes, ReadError>;

    /// The entry with a ledger index.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`]; also if there is no such entry.
    fn at(&self, index: u64) -> Result<EntryBytes, ReadError>;

    /// The superseded entries of an identifier, newest first: a page of them, with one at least where there is one.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn past(&self, key: &Key, page: PastPage) -> Result<Vec<EntryBytes>, ReadError>;

    /// The newest entry of the identifier whose key has this hash.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<EntryBytes>, ReadError>;

    /// The entry that a client's request became.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn by_request(&self, request: &RequestKey) -> Result<Option<EntryBytes>, ReadError>;

    /// The edges of an identifier in one direction as of an entry, in order of [`super::EdgeEnd`]: source, type, key at
    /// the other end. The cost is one search for each edge, however often the edge changed.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, ReadError>;

    /// True if an identifier is registered whose key starts with `prefix` and is longer than it.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError>;

    /// True if any identifier has a name hash.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn any_name_hash(&self) -> Result<bool, ReadError>;

    /// The newest entries of identifiers whose key starts with `prefix`, in order of their keys, after `after`, at most
    /// `limit`.
    ///
    /// # Errors
    ///
    /// As for [`Entries::newest`].
    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, EntryBytes)>, ReadError>;

    /// Waits until there is room for more changes. A writer calls it before it appends to the ledger: once an entry is
    /// in the ledger, it must be applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] until the disk has room again; any other [`StoreError`] until the engine is reopened.
    fn ready(&self) -> Result<(), StoreError>;

    /// Applies the changes of one committed batch, whose entries have these ledger indexes. A batch may hold entries
    /// without a change: those that an edge node does not keep.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the engine is closed, or cannot find the batch in the ledger. Nothing of the batch is applied
    /// then, and nothing of later ones until the engine is reopened: it would hold a ledger with a gap.
    fn apply(&self, changes: Vec<IndexChange>, batch: Range<u64>) -> Result<(), ReadError>;

    /// Number of ledger entries that the engine would hold after a crash now.
    fn durable(&self) -> u64;

    /// Makes everything applied durable and closes the engine; later calls of [`Entries::apply`] fail.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if what was applied could not be made durable; the next start applies it again.
    fn close(&self) -> Result<(), StoreError>;
}

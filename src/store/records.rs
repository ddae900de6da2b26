//! Whole records: from an identifier through the index to the ledger entry that says it.

use std::sync::Arc;

use super::{Direction, EdgeOrigin, EdgeQuery, Store, StoreError};
use crate::{
    entry::{EntryKind, StoredEntry},
    id::{Identifier, Key, KeyPrefix, Prefix, dns_name::NameHash},
    ledger::{EntryBytes, Ledger, LedgerError, Position, Resident, previous},
    record::{Edge, EdgeChange, EdgeType, EdgeTypes, Record, Status, ValueView, Version, stored::StoredValue},
};

/// The index and the ledger behind it, read together.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    ledger: Arc<Ledger>,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Records {
    /// Reads through this index and this ledger.
    pub fn new(store: Arc<dyn Store>, ledger: Arc<Ledger>) -> Self {
        Self { store, ledger }
    }

    /// The index alone.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The ledger alone.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The newest version of what is registered under a key; `None` when nothing ever was.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn latest(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        self.newest(key)?.map(|newest| self.record(&newest)).transpose()
    }

    /// The newest entry about a key; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn newest(&self, key: &Key) -> Result<Option<Newest>, ReadError> {
        self.store.latest(key)?.map(|position| Ok(Newest(self.entry(position)?))).transpose()
    }

    /// As [`Records::newest`], as far as that can be said without waiting for a disk.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn newest_resident(&self, key: &Key) -> Result<Resident<Option<Newest>>, ReadError> {
        Ok(match self.store.latest_resident(key)? {
            Resident::Here(Some(position)) => self.ledger.entry_resident(position)?.map(|bytes| Some(Newest(bytes))),
            Resident::Here(None) => Resident::Here(None),
            Resident::OnDisk => Resident::OnDisk,
        })
    }

    /// The record as its newest entry left it.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn record(&self, newest: &Newest) -> Result<Record, ReadError> {
        self.record_of(&newest.0.decode()?)
    }

    /// As [`Records::record`], as far as that can be said without waiting for a disk.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn record_resident(&self, newest: &Newest) -> Result<Resident<Record>, ReadError> {
        let entry = newest.0.decode()?;
        // Edges that came with other entries may be anywhere.
        match entry.has_edges {
            true => Ok(Resident::OnDisk),
            false => Ok(Resident::Here(self.record_of(&entry)?)),
        }
    }

    /// The identifier that is known by a hash; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Identifier>, ReadError> {
        let Some(position) = self.store.by_name_hash(hash)? else { return Ok(None) };
        Ok(Some(identifier(&self.ledger.entry(position)?.decode()?)?))
    }

    /// Records whose key starts with `prefix`, in order of their keys, after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, ReadError> {
        let (mut records, mut after) = (Vec::new(), after.cloned());
        while records.len() < limit {
            let found = self.store.scan(prefix, after.as_ref(), limit - records.len())?;
            let Some((last, _)) = found.last() else { break };
            after = Some(last.clone());
            // What is said of prefixes lies among them, when everything is asked for.
            let prefixes = Prefix::keys();
            let identifiers = found.iter().filter(|(key, _)| !key.as_bytes().starts_with(prefixes.as_bytes()));
            for (_, position) in identifiers {
                records.push(self.at(*position)?);
            }
        }
        Ok(records)
    }

    /// The entry that counts when the erasures since are left aside; `None` when it is the entry itself.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`].
    pub fn beneath_erasures(&self, entry: &StoredEntry<'_>) -> Result<Option<EntryBytes>, ReadError> {
        let (mut beneath, mut kind, mut next) = (None, entry.kind, previous(entry));
        while let (EntryKind::Erase, Some((_, position))) = (kind, next) {
            let bytes = self.entry(position)?;
            let before = bytes.decode()?;
            (kind, next) = (before.kind, previous(&before));
            beneath = Some(bytes);
        }
        Ok(beneath)
    }

    /// The bytes of the entry at a position.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`].
    pub fn entry(&self, position: Position) -> Result<EntryBytes, ReadError> {
        Ok(self.ledger.entry(position)?)
    }

    fn at(&self, position: Position) -> Result<Record, ReadError> {
        self.record_of(&self.ledger.entry(position)?.decode()?)
    }

    fn record_of(&self, entry: &StoredEntry<'_>) -> Result<Record, ReadError> {
        let record = record_without_edges(entry)?;
        let (edges, edges_truncated) = match (record.status, entry.has_edges) {
            (Status::Active, true) => self.edges(record.identifier.key(), entry)?,
            _ => (Vec::new(), false),
        };
        // What an event says of its outputs stays when values of it are erased.
        let beneath = match record.status {
            Status::Active => self.beneath_erasures(entry)?,
            _ => None,
        };
        let outputs = match beneath {
            Some(bytes) => bytes.decode()?.outputs,
            None => record.outputs,
        };
        Ok(Record { edges, edges_truncated, outputs, ..record })
    }

    /// The edges that a record says behind one of its entries, and whether there are more than are shown. What an event
    /// says of its outputs is the event's.
    fn edges(&self, from: &Key, entry: &StoredEntry<'_>) -> Result<(Vec<Edge>, bool), ReadError> {
        let query = EdgeQuery {
            types: EdgeTypes::ALL,
            origin: Some(EdgeOrigin::Record),
            upto: entry.index,
            after: None,
            limit: Record::EDGES_SHOWN_MAX + 1,
        };
        let mut indexed = self.store.edges(from, Direction::Out, &query)?;
        let truncated = indexed.len() > Record::EDGES_SHOWN_MAX;
        indexed.truncate(Record::EDGES_SHOWN_MAX);
        let mut edges = Vec::with_capacity(indexed.len());
        let mut other: Option<(Position, EntryBytes)> = None;
        for edge in indexed {
            // Most edges came with one entry, usually this one: read it once.
            if let Some(edge) = added(entry, edge.end.kind, &edge.end.other) {
                edges.push(edge);
                continue;
            }
            if other.as_ref().is_none_or(|(position, _)| *position != edge.position) {
                other = Some((edge.position, self.ledger.entry(edge.position)?));
            }
            if let Some((_, bytes)) = &other
                && let Some(edge) = added(&bytes.decode()?, edge.end.kind, &edge.end.other)
            {
                edges.push(edge);
            }
        }
        Ok((edges, truncated))
    }
}

/// The newest entry about an identifier, as it lies in the ledger.
#[derive(Debug)]
pub struct Newest(pub(super) EntryBytes);

impl Newest {
    /// The entry, taken apart.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] when it cannot be read.
    pub fn entry(&self) -> Result<StoredEntry<'_>, ReadError> {
        Ok(self.0.decode()?)
    }

    /// The values of the record, whoever may read them; an [`Err`] with its state when it does not answer any more.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] when the entry cannot be read.
    pub fn values(&self) -> Result<Result<Vec<ValueView<'_>>, Status>, ReadError> {
        let entry = self.0.decode()?;
        match entry.status() {
            Status::Active => {}
            ended => return Ok(Err(ended)),
        }
        let values = entry.values.iter().map(StoredValue::view).collect::<Result<_, _>>();
        Ok(Ok(values.map_err(|torn| self.0.damaged(torn))?))
    }
}

/// The edge of this type and target that an entry adds.
fn added(entry: &StoredEntry<'_>, kind: EdgeType, to: &Key) -> Option<Edge> {
    entry.edges.iter().find_map(|change| match change {
        EdgeChange::Add(edge) if edge.kind == kind && edge.to.key() == to => Some(edge.clone()),
        _ => None,
    })
}

/// The record as an entry left it, its edges aside.
pub(super) fn record_without_edges(entry: &StoredEntry<'_>) -> Result<Record, ReadError> {
    Ok(Record {
        identifier: identifier(entry)?,
        values: entry.decode_values().map_err(|_| damaged(entry, "holds values that no record may have"))?,
        values_erased: entry.erased.iter().map(|value| value.index).collect(),
        status: entry.status(),
        version: Version { number: entry.version, ledger_index: entry.index, time_ms: entry.time_ms },
        edges: Vec::new(),
        edges_truncated: false,
        outputs: entry.outputs.clone(),
    })
}

/// The identifier that an entry is about.
fn identifier(entry: &StoredEntry<'_>) -> Result<Identifier, LedgerError> {
    Identifier::parse(entry.identifier).map_err(|_| damaged(entry, "is about no identifier"))
}

pub(super) fn damaged(entry: &StoredEntry<'_>, what: &str) -> LedgerError {
    LedgerError::Damaged { path: "ledger".into(), what: format!("entry {} {what}", entry.index) }
}

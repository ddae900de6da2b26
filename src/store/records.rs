//! Whole records, read from the ledger entries that an engine finds.

use std::sync::Arc;

use super::{Direction, EdgeOrigin, EdgeQuery, Entries, ReadError};
use crate::{
    entry::{EntryKind, StoredEntry},
    id::{Identifier, Key, KeyPrefix, Prefix, dns_name::NameHash},
    ledger::{EntryBytes, Ledger, LedgerError, Resident},
    record::{Edge, EdgeChange, EdgeType, EdgeTypes, Record, Status, ValueView, Version, stored::StoredValue},
};

/// Reader of records over an engine, and the ledger that proves them.
#[derive(Clone)]
pub struct Records {
    entries: Arc<dyn Entries>,
    ledger: Arc<Ledger>,
}

impl Records {
    /// A reader over this engine and the ledger whose entries it finds.
    pub fn new(entries: Arc<dyn Entries>, ledger: Arc<Ledger>) -> Self {
        Self { entries, ledger }
    }

    /// The engine.
    pub fn entries(&self) -> &dyn Entries {
        &*self.entries
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The newest version of the record under a key; `None` if there never was one.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn latest(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        self.newest(key)?.map(|newest| self.record(&newest)).transpose()
    }

    /// The newest entry about a key; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn newest(&self, key: &Key) -> Result<Option<Newest>, ReadError> {
        Ok(self.entries.newest(key)?.map(Newest))
    }

    /// As [`Records::newest`], without waiting for a disk: [`Resident::OnDisk`] if index or entry are not in memory.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn newest_resident(&self, key: &Key) -> Result<Resident<Option<Newest>>, ReadError> {
        Ok(self.entries.newest_resident(key)?.map(|found| found.map(Newest)))
    }

    /// The record in the version of its newest entry.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn record(&self, newest: &Newest) -> Result<Record, ReadError> {
        self.record_of(&newest.0.decode()?)
    }

    /// As [`Records::record`], without waiting for a disk: [`Resident::OnDisk`] if the record has edges.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn record_resident(&self, newest: &Newest) -> Result<Resident<Record>, ReadError> {
        let entry = newest.0.decode()?;
        // Edges of earlier entries may lie on the disk.
        if entry.has_edges { Ok(Resident::OnDisk) } else { Ok(Resident::Here(self.record_of(&entry)?)) }
    }

    /// The identifier whose key has this hash; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Identifier>, ReadError> {
        let Some(bytes) = self.entries.by_name_hash(hash)? else { return Ok(None) };
        Ok(Some(identifier(&bytes.decode()?)?))
    }

    /// Records whose key starts with `prefix`, in order of their keys, after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        let mut after = after.cloned();
        while records.len() < limit {
            let found = self.entries.scan(prefix, after.as_ref(), limit - records.len())?;
            let Some((last, _)) = found.last() else { break };
            after = Some(last.clone());
            // Keys of prefixes lie among those of identifiers if the scan is over everything.
            let prefixes = Prefix::keys();
            let identifiers = found.iter().filter(|(key, _)| !key.as_bytes().starts_with(prefixes.as_bytes()));
            for (_, bytes) in identifiers {
                records.push(self.record_of(&bytes.decode()?)?);
            }
        }
        Ok(records)
    }

    /// The entry below the erasures: the last one that is no erasure; `None` if that is `entry` itself.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn beneath_erasures(&self, entry: &StoredEntry<'_>) -> Result<Option<EntryBytes>, ReadError> {
        let mut beneath = None;
        let mut kind = entry.kind;
        let mut next = entry.previous_index();
        while let (EntryKind::Erase, Some(index)) = (kind, next) {
            let bytes = self.entries.at(index)?;
            let before = bytes.decode()?;
            (kind, next) = (before.kind, before.previous_index());
            beneath = Some(bytes);
        }
        Ok(beneath)
    }

    fn record_of(&self, entry: &StoredEntry<'_>) -> Result<Record, ReadError> {
        let record = record_without_edges(entry)?;
        let (edges, edges_truncated) = match (record.status, entry.has_edges) {
            (Status::Active, true) => self.edges(record.identifier.key(), entry)?,
            _ => (Vec::new(), false),
        };
        // Erasing values of an event leaves its outputs as they were.
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

    /// The edges that a record states as of one of its entries, and true if there are more than
    /// [`Record::EDGES_SHOWN_MAX`]. Edges that an event states about its outputs belong to the event.
    fn edges(&self, from: &Key, entry: &StoredEntry<'_>) -> Result<(Vec<Edge>, bool), ReadError> {
        let query = EdgeQuery {
            types: EdgeTypes::ALL,
            origin: Some(EdgeOrigin::Record),
            upto: entry.index,
            after: None,
            limit: Record::EDGES_SHOWN_MAX + 1,
        };
        let mut indexed = self.entries.edges(from, Direction::Out, &query)?;
        let truncated = indexed.len() > Record::EDGES_SHOWN_MAX;
        indexed.truncate(Record::EDGES_SHOWN_MAX);
        let mut edges = Vec::with_capacity(indexed.len());
        let mut other: Option<(u64, EntryBytes)> = None;
        for edge in indexed {
            // Most edges came with one entry, usually this one: read it once.
            if let Some(edge) = added(entry, edge.end.kind, &edge.end.other) {
                edges.push(edge);
                continue;
            }
            if other.as_ref().is_none_or(|(index, _)| *index != edge.index) {
                other = Some((edge.index, self.entries.by_locator(edge.locator)?));
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
    /// Length of the stored entry, in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The entry, decoded.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] if the entry is damaged.
    pub fn entry(&self) -> Result<StoredEntry<'_>, ReadError> {
        Ok(self.0.decode()?)
    }

    /// All values of the record, public or not; the inner [`Err`] holds the status of a record that does not answer any
    /// more.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] if the entry is damaged.
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

/// The record in the version of an entry, without its edges.
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

/// The identifier of an entry.
fn identifier(entry: &StoredEntry<'_>) -> Result<Identifier, LedgerError> {
    Identifier::parse(entry.identifier).map_err(|_| damaged(entry, "is about no identifier"))
}

pub(super) fn damaged(entry: &StoredEntry<'_>, what: &str) -> LedgerError {
    LedgerError::Damaged { path: "ledger".into(), what: format!("entry {} {what}", entry.index) }
}

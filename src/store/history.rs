//! Past versions of records: each with the change that made it, and its principal.

use super::{Newest, PastPage, ReadError, Records, records};
use crate::{
    entry::{EntryKind, Erasure, Principal, StoredEntry},
    id::Key,
    record::{EdgeChange, Record},
};

/// A version of a record, and the change that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastVersion {
    /// Kind of the change.
    pub kind: EntryKind,
    /// Principal of the change.
    pub principal: Principal,
    /// The record in this version, without its edges.
    pub record: Record,
    /// Edges that the change added and removed; those of an event are its inputs.
    pub edges: Vec<EdgeChange>,
    /// Reason and extent of the erasure, if the change erased values of earlier versions.
    pub erasure: Option<Erasure>,
}

impl PastVersion {
    /// The version that an entry made.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] if the entry breaks a rule of records.
    pub fn of(entry: &StoredEntry<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            kind: entry.kind,
            principal: entry.principal.clone(),
            record: records::record_without_edges(entry)?,
            edges: entry.edges.clone(),
            erasure: entry.erasure.clone(),
        })
    }
}

/// Maximum number of bytes read from the ledger for one list of versions; two versions are listed whatever their
/// length.
const VERSIONS_BYTES_MAX: usize = 4 << 20;

impl Records {
    /// The record under a key as of a ledger entry, with its edges; `None` if nothing was registered by then.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn as_of(&self, key: &Key, upto: u64) -> Result<Option<Record>, ReadError> {
        self.newest_upto(key, upto)?.map(|newest| self.record(&newest)).transpose()
    }

    /// The newest entry about a key up to a ledger index; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn newest_upto(&self, key: &Key, upto: u64) -> Result<Option<Newest>, ReadError> {
        let Some(newest) = self.newest(key)? else { return Ok(None) };
        if newest.entry()?.index <= upto {
            return Ok(Some(newest));
        }
        let page = PastPage { upto, entries_max: 1, bytes_max: 0 };
        Ok(self.entries().past(key, page)?.pop().map(Newest))
    }

    /// Versions of the record under a key, newest first: at most `limit` of those up to a ledger index, and fewer when
    /// they are long. The cost is one search of the index and a read of each version, whatever the length of the
    /// history.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn versions(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<PastVersion>, ReadError> {
        let mut versions = Vec::new();
        let Some(newest) = self.newest(key)? else { return Ok(versions) };
        let entry = newest.entry()?;
        if entry.index <= upto && limit > 0 {
            versions.push(PastVersion::of(&entry)?);
        }
        // An entry that was superseded after `newest` was looked up is that one or a newer one: neither belongs here.
        let Some(before) = entry.index.checked_sub(1).filter(|_| versions.len() < limit) else { return Ok(versions) };
        let page = PastPage {
            upto: upto.min(before),
            entries_max: limit - versions.len(),
            bytes_max: VERSIONS_BYTES_MAX.saturating_sub(newest.len()),
        };
        for bytes in self.entries().past(key, page)? {
            versions.push(PastVersion::of(&bytes.decode()?)?);
        }
        Ok(versions)
    }
}

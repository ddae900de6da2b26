//! Past versions: what was registered under an identifier at some point of the ledger, and who made it so.

use super::{Newest, ReadError, Records, records};
use crate::{
    entry::{EntryKind, Erasure, Principal, StoredEntry},
    id::Key,
    record::{EdgeChange, Record},
};

/// A version of a record, and the change that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastVersion {
    /// What happened.
    pub kind: EntryKind,
    /// Who made the change.
    pub principal: Principal,
    /// The record as it was then, without its edges.
    pub record: Record,
    /// Edges that came and went with the change; those of an event are its inputs.
    pub edges: Vec<EdgeChange>,
    /// What the change erased from the versions before it, and why.
    pub erasure: Option<Erasure>,
}

impl PastVersion {
    /// The version that an entry made.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] when the entry holds what no record may have.
    pub fn of(entry: &StoredEntry<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            kind: entry.kind,
            principal: entry.principal,
            record: records::record_without_edges(entry)?,
            edges: entry.edges.clone(),
            erasure: entry.erasure.clone(),
        })
    }
}

/// How much of the ledger is read for one list of versions, in bytes; two versions are always given.
const VERSIONS_BYTES_MAX: usize = 4 << 20;

impl Records {
    /// What was registered under a key behind a ledger entry, with its edges; `None` when nothing was.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn as_of(&self, key: &Key, upto: u64) -> Result<Option<Record>, ReadError> {
        self.newest_upto(key, upto)?.map(|newest| self.record(&newest)).transpose()
    }

    /// The newest entry about a key up to a ledger index; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn newest_upto(&self, key: &Key, upto: u64) -> Result<Option<Newest>, ReadError> {
        let Some(newest) = self.newest(key)? else { return Ok(None) };
        if newest.entry()?.index <= upto {
            return Ok(Some(newest));
        }
        match self.store().superseded(key, upto, 1)?.pop() {
            Some((_, position)) => Ok(Some(Newest(self.entry(position)?))),
            None => Ok(None),
        }
    }

    /// Versions of what is registered under a key, newest first: at most `limit` of those up to a ledger index, and
    /// fewer when they are long. However long the history, it takes one search of the index and a read of each version.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn versions(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<PastVersion>, ReadError> {
        let mut versions = Vec::new();
        let Some(newest) = self.store().latest(key)? else { return Ok(versions) };
        let bytes = self.entry(newest)?;
        let entry = bytes.decode()?;
        if entry.index <= upto && limit > 0 {
            versions.push(PastVersion::of(&entry)?);
        }
        // What was superseded since the newest one was looked up is newer than that, or it itself.
        let Some(before) = entry.index.checked_sub(1) else { return Ok(versions) };
        let mut read = bytes.len();
        for (_, position) in self.store().superseded(key, upto.min(before), limit - versions.len())? {
            if read > VERSIONS_BYTES_MAX && versions.len() > 1 {
                break;
            }
            let bytes = self.entry(position)?;
            read += bytes.len();
            versions.push(PastVersion::of(&bytes.decode()?)?);
        }
        Ok(versions)
    }
}

//! Proofs of entries: inclusion in the ledger, with openings of the values that anyone may read.

use std::{fmt, sync::Arc};

use super::Resolver;
use crate::{
    entry::StoredEntry,
    id::{Identifier, Key, Prefix},
    ledger::{EntryBytes, Publication},
    proof::opening::{self, Opening},
    store::ReadError,
    tlog::{Hash, SignedCheckpoint, tlog_proof::TlogProof},
};

/// The entry to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The newest entry about an identifier.
    Newest(Identifier),
    /// The newest entry about a prefix.
    NewestOf(Prefix),
    /// The entry with this ledger index.
    Index(u64),
}

/// The values to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// All values that anyone may read.
    Public,
    /// The values with these indexes.
    Listed(Vec<u32>),
}

/// An inclusion proof of an entry, in its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryProof {
    /// The entry's text.
    pub text: Vec<u8>,
    /// Openings of the commitments to the values shown, in order of index.
    pub openings: Vec<Opening>,
    /// The entry's index.
    pub index: u64,
    /// Hashes of the inclusion proof, from the leaf's sibling to the child of the root.
    pub path: Vec<Hash>,
    /// The checkpoint as a signed note, with its cosignatures.
    pub checkpoint: Arc<str>,
}

impl EntryProof {
    /// The proof as a file (C2SP tlog-proof).
    pub fn to_file(&self) -> TlogProof {
        let extra = opening::write(&self.text, &self.openings);
        TlogProof { extra, index: self.index, path: self.path.clone(), checkpoint: self.checkpoint.as_ref().into() }
    }
}

/// Error of a proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// No entry is about the identifier or the prefix.
    #[error("nothing is registered under {identifier}")]
    NotFound {
        /// The identifier or prefix.
        identifier: String,
    },
    /// The ledger has no entry with this index yet.
    #[error("ledger index {index} is still to come; the ledger has {entries} entries")]
    ToCome {
        /// The requested index.
        index: u64,
        /// The size of the ledger.
        entries: u64,
    },
    /// The record has no such value, or its payload was erased.
    #[error("ledger entry {entry} has no value {index} to show")]
    NoSuchValue {
        /// The entry.
        entry: u64,
        /// The value.
        index: u32,
    },
    /// The value may not be shown without a permit.
    #[error("value {index} of ledger entry {entry} is not public")]
    NotPublic {
        /// The entry.
        entry: u64,
        /// The value.
        index: u32,
    },
    /// Index or ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Resolver {
    /// Proves an entry against a published checkpoint if one covers it, else against the newest checkpoint. May wait
    /// for a disk.
    ///
    /// # Errors
    ///
    /// [`ProveError`].
    pub fn prove(
        &self,
        subject: &Subject,
        disclosure: &Disclosure,
        publication: &Publication,
    ) -> Result<EntryProof, ProveError> {
        let ledger = self.records.ledger();
        let bytes = match subject {
            Subject::Newest(identifier) => self.newest(identifier.key(), identifier)?,
            Subject::NewestOf(prefix) => self.newest(&prefix.key(), prefix)?,
            &Subject::Index(index) => {
                let entries = ledger.size();
                if index >= entries {
                    return Err(ProveError::ToCome { index, entries });
                }
                self.records.entries().at(index)?
            }
        };
        let entry = bytes.decode().map_err(ReadError::from)?;
        let openings = openings(&entry, disclosure)?;
        let mut text = Vec::new();
        ledger.put_text(&entry, &mut text).map_err(ReadError::from)?;
        let checkpoint = publication.covering(entry.index).unwrap_or_else(|| ledger.checkpoint());
        let path = ledger.inclusion_proof(entry.index, checkpoint.size).map_err(ReadError::from)?;
        Ok(EntryProof { text, openings, index: entry.index, path, checkpoint: checkpoint.note })
    }

    /// The newest entry about something.
    fn newest(&self, key: &Key, subject: &dyn fmt::Display) -> Result<EntryBytes, ProveError> {
        self.records.entries().newest(key)?.ok_or_else(|| ProveError::NotFound { identifier: subject.to_string() })
    }

    /// The consistency proof from the first `old` entries to the first `new`; without `new`, to the newest published
    /// checkpoint of at least `old` entries, which is returned beside the proof.
    ///
    /// If no published checkpoint is that large, the ledger's newest takes its place.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; also if `old` is more than `new`, or the ledger has fewer entries than that.
    pub fn prove_consistency(
        &self,
        old: u64,
        new: Option<u64>,
        publication: &Publication,
    ) -> Result<(Vec<Hash>, Option<SignedCheckpoint>), ReadError> {
        let ledger = self.records.ledger();
        if let Some(new) = new {
            return Ok((ledger.consistency_proof(old, new)?, None));
        }
        // A client may hold the checkpoint of a receipt that is newer than the last publication.
        let newest = Some(publication.newest_checkpoint()).filter(|newest| newest.size >= old);
        let newest = newest.unwrap_or_else(|| ledger.checkpoint());
        Ok((ledger.consistency_proof(old, newest.size)?, Some(newest)))
    }
}

fn openings(entry: &StoredEntry<'_>, disclosure: &Disclosure) -> Result<Vec<Opening>, ProveError> {
    let is_public = |index: u32| {
        let value = entry.values.iter().find(|value| value.index == index);
        value.is_some_and(|value| value.view().is_ok_and(|view| super::is_public(view.permissions)))
    };
    let open = |index: u32| {
        let opening = entry.opening(index)?;
        Some(Opening { index, salt: opening.salt, canonical: opening.canonical.into() })
    };
    let mut indexes: Vec<u32> = match disclosure {
        Disclosure::Public => entry.values.iter().map(|value| value.index).filter(|&index| is_public(index)).collect(),
        Disclosure::Listed(indexes) => indexes.clone(),
    };
    indexes.sort_unstable();
    indexes.dedup();
    let mut openings = Vec::with_capacity(indexes.len().min(opening::OPENINGS_MAX));
    for index in indexes {
        match (open(index), disclosure) {
            (Some(_), _) if !is_public(index) => return Err(ProveError::NotPublic { entry: entry.index, index }),
            (Some(opening), _) => openings.push(opening),
            (None, Disclosure::Listed(_)) => return Err(ProveError::NoSuchValue { entry: entry.index, index }),
            // The payload was erased.
            (None, Disclosure::Public) => {}
        }
    }
    Ok(openings)
}

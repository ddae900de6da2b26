//! Effects of a ledger entry on the index and on prefixes: the one place where they are derived.
//!
//! Effects are derived from the stored bytes of the entry and from nothing else. So the sequencer (from the bytes that
//! it has just staged), a mirror (from verified bytes) and a replay of the ledger (start, `rebuild`, `fsck`) derive the
//! same. A field that joins [`IndexChange`] is filled in here.

use super::{Changed, may_need_hash, request_key};
use crate::{
    entry::{EntrySubject, StoredEntry},
    ledger::{LedgerError, ReplayedFrame},
    record::{EdgeChange, EdgeType, Outputs},
    store::{EdgeMove, EdgeOp, EdgeOrigin, IndexChange, PrefixVersion, ReadError, local::LocalIndex},
};

/// Effects of one entry on index and prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    /// Change of the index.
    pub index: IndexChange,
    /// Statement about a prefix, if the entry is about one.
    pub prefix: Option<PrefixVersion>,
}

impl Effects {
    /// Effects of an entry.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] if the entry is about neither an identifier nor a prefix.
    pub fn of(entry: &StoredEntry<'_>) -> Result<Self, ReadError> {
        Ok(Self { index: change_of(entry)?, prefix: PrefixVersion::of(entry)? })
    }
}

impl Changed {
    /// The changed identifier, for caches of answers.
    pub fn by(change: &IndexChange) -> Self {
        Self { key: change.key.clone(), created: change.superseded.is_none() }
    }
}

/// Applies a frame that is read again from the ledger, once the index has room for it.
///
/// # Errors
///
/// [`ReadError`].
pub fn apply_frame(index: &LocalIndex, frame: &ReplayedFrame<'_>) -> Result<(), ReadError> {
    index.replay(frame, change_of)
}

/// Change of the index by an entry.
///
/// # Errors
///
/// [`LedgerError::Damaged`] if the entry is about neither an identifier nor a prefix.
pub fn change_of(entry: &StoredEntry<'_>) -> Result<IndexChange, LedgerError> {
    let subject = entry.subject().ok_or_else(|| LedgerError::Damaged {
        path: "ledger".into(),
        what: format!("entry {} is about no identifier", entry.index),
    })?;
    let name_hash = match &subject {
        EntrySubject::Identifier(identifier) => may_need_hash(identifier),
        EntrySubject::Prefix(_) => None,
    };
    let key = subject.into_key();
    let request = (!entry.request.is_empty()).then(|| request_key(&key, entry.request));
    Ok(IndexChange {
        index: entry.index,
        name_hash,
        key,
        superseded: entry.previous_index(),
        request,
        edges: edge_moves(&entry.edges, entry.outputs.as_ref()),
    })
}

/// Changes of edges by an entry: those of its own record, and those of an event's outputs.
fn edge_moves(edges: &[EdgeChange], outputs: Option<&Outputs>) -> Vec<EdgeMove> {
    let own = edges.iter().map(|change| {
        let (kind, to) = change.subject();
        let op = if matches!(change, EdgeChange::Add(_)) { EdgeOp::Add } else { EdgeOp::Remove };
        EdgeMove { kind, origin: EdgeOrigin::Record, other: to.key().clone(), op }
    });
    let outputs = outputs.into_iter().flat_map(|outputs| &outputs.flows).map(|output| EdgeMove {
        kind: EdgeType::DerivedFrom,
        origin: EdgeOrigin::Event,
        other: output.identifier.key().clone(),
        op: EdgeOp::Add,
    });
    own.chain(outputs).collect()
}

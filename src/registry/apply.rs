//! From a ledger entry to what it changes for those who read: the one place where that is derived.
//!
//! It is derived from the entry as it is stored, and from nothing else. So the sequencer, which derives it from the bytes that it has just
//! staged, a mirror, which derives it from what was verified, and whoever replays the ledger (start, `rebuild`, `fsck`) come to the
//! same. A field that joins [`IndexChange`] is filled in here.

use super::{Changed, may_need_hash, request_key};
use crate::{
    entry::{EntrySubject, StoredEntry},
    ledger::{LedgerError, ReplayedFrame},
    record::{EdgeChange, EdgeType, Outputs},
    store::{EdgeMove, EdgeOp, EdgeOrigin, IndexChange, PrefixVersion, ReadError, local::LocalIndex},
};

/// What one entry changes for those who read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    /// What it changes in the index.
    pub index: IndexChange,
    /// What it says of a prefix, when it is about one.
    pub prefix: Option<PrefixVersion>,
}

impl Effects {
    /// What an entry changes.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] when it is about no identifier and no prefix.
    pub fn of(entry: &StoredEntry<'_>) -> Result<Self, ReadError> {
        Ok(Self { index: change_of(entry)?, prefix: PrefixVersion::of(entry)? })
    }
}

impl Changed {
    /// What a change of the index changes for those who keep answers.
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

/// What an entry changes in the index.
///
/// # Errors
///
/// [`LedgerError::Damaged`] when the entry is about no identifier.
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

/// What an entry does to edges: those of its own record, and those of an event's outputs.
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

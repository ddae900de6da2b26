//! From a ledger entry to what it changes in the index: one function for new entries and one for replayed ones.

use super::{may_need_hash, request_key};
use crate::{
    entry::{EntrySubject, StoredEntry},
    ledger::{LedgerError, Position, ReplayedFrame, previous},
    record::{EdgeChange, EdgeType, Outputs},
    store::{Applied, EdgeMove, EdgeOp, EdgeOrigin, IndexChange, Store, StoreError},
};

/// Why a frame could not be applied to the index.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Applies a frame that is read again from the ledger.
///
/// # Errors
///
/// [`ApplyError`].
pub fn apply_frame(store: &dyn Store, frame: &ReplayedFrame<'_>) -> Result<(), ApplyError> {
    let mut changes = Vec::new();
    for item in frame.entries() {
        let (position, entry) = item?;
        changes.push(change_of(position, &entry)?);
    }
    let mark = frame.mark();
    Ok(store.apply(changes, Applied { entries: mark.entries, next: mark.position })?)
}

/// What an entry changes in the index.
///
/// # Errors
///
/// [`LedgerError::Damaged`] when the entry is about no identifier.
pub fn change_of(position: Position, entry: &StoredEntry<'_>) -> Result<IndexChange, LedgerError> {
    let subject = entry.subject().ok_or_else(|| LedgerError::Damaged {
        path: "ledger".into(),
        what: format!("entry {} is about no identifier", entry.index),
    })?;
    let key = subject.key();
    let name_hash = match &subject {
        EntrySubject::Identifier(identifier) => may_need_hash(identifier),
        EntrySubject::Prefix(_) => None,
    };
    let request = (!entry.request.is_empty()).then(|| request_key(&key, entry.request));
    Ok(IndexChange {
        index: entry.index,
        name_hash,
        key,
        position,
        superseded: previous(entry),
        request,
        edges: edge_moves(&entry.edges, entry.outputs.as_ref()),
    })
}

/// What an entry does to edges: those of its own record, and those of an event's outputs.
pub(super) fn edge_moves(edges: &[EdgeChange], outputs: Option<&Outputs>) -> Vec<EdgeMove> {
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

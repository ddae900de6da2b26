//! The edges of a record as a batch sees them: those of the index, changed by earlier entries of the batch.

use super::Round;
use crate::{
    entry::StoredEntry,
    id::Identifier,
    record::{Edge, EdgeChange},
    registry::same::Unreadable,
};

impl Round<'_> {
    /// Edges of a record as of its newest entry, which may be an entry of this batch that the index does not hold yet.
    pub(super) fn edges_now(&self, newest: &StoredEntry<'_>) -> Result<Vec<Edge>, Unreadable> {
        let identifier = Identifier::parse(newest.identifier).map_err(|_| Unreadable::Entry)?;
        let mut staged = Vec::new();
        let mut next = self.staged.newest(identifier.key());
        while let Some(bytes) = next.and_then(|index| self.batch.staged_entry(index)) {
            let entry = bytes.decode().map_err(|_| Unreadable::Entry)?;
            next = entry.previous_index();
            staged.push(entry.edges);
        }
        let record = self.records.latest(identifier.key()).map_err(Unreadable::Record)?;
        let mut edges = record.map_or_else(Vec::new, |record| record.edges);
        for change in staged.into_iter().rev().flatten() {
            edges.retain(|edge| (edge.kind, &edge.to) != change.subject());
            if let EdgeChange::Add(edge) = change {
                edges.push(edge);
            }
        }
        Ok(edges)
    }
}

//! The edges of a record as a batch sees them: what the index knows, and what the entries before in the batch say.

use super::Round;
use crate::{
    entry::StoredEntry,
    id::Identifier,
    record::{Edge, EdgeChange},
    registry::same::Unreadable,
};

impl Round<'_> {
    /// The edges of a record behind its newest entry, which the index does not know yet when this batch has it.
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

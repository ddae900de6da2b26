//! The edges of a record as a batch sees them: those of the index, changed by earlier entries of the batch.

use super::{Round, round::unreadable};
use crate::{
    entry::StoredEntry,
    id::{Identifier, Key},
    record::{Edge, EdgeChange, EdgeType, EdgeTypes},
    registry::{Refusal, same::Unreadable},
    store::{Direction, EdgeEnd, EdgeOrigin, EdgeQuery},
};

/// Number of edges that are read at once to find one.
const EDGES_AT_ONCE: usize = 64;

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

    /// True if a record states an edge as of its newest entry, which may be an entry of this batch.
    pub(super) fn has_edge(&self, newest: &StoredEntry<'_>, kind: EdgeType, to: &Identifier) -> Result<bool, Refusal> {
        let from = Identifier::parse(newest.identifier).map_err(|_| unreadable(newest))?;
        let mut next = self.staged.newest(from.key());
        while let Some(bytes) = next.and_then(|index| self.batch.staged_entry(index)) {
            let entry = bytes.decode()?;
            next = entry.previous_index();
            if let Some(change) = entry.edges.iter().rev().find(|change| is_about(change, kind, to)) {
                return Ok(matches!(change, EdgeChange::Add(_)));
            }
        }
        self.is_indexed(from.key(), kind, to.key())
    }

    /// True if the index has an edge. The search begins just before the edge, in the order of the ends.
    fn is_indexed(&self, from: &Key, kind: EdgeType, to: &Key) -> Result<bool, Refusal> {
        let (_, before) = to.as_bytes().split_last().unwrap_or((&0, &[]));
        let mut after = EdgeEnd { origin: EdgeOrigin::Record, kind, other: Key::from_bytes(before) };
        let types: EdgeTypes = [kind].into_iter().collect();
        loop {
            let query = EdgeQuery {
                types,
                origin: Some(EdgeOrigin::Record),
                upto: u64::MAX,
                after: Some(&after),
                limit: EDGES_AT_ONCE,
            };
            let page = self.records.entries().edges(from, Direction::Out, &query)?;
            if let Some(edge) = page.iter().find(|edge| edge.end.other >= *to) {
                return Ok(edge.end.other == *to);
            }
            match page.into_iter().next_back() {
                Some(last) => after = last.end,
                None => return Ok(false),
            }
        }
    }
}

/// True if a change is about the edge with a type and a target, however the target is spelled.
fn is_about(change: &EdgeChange, kind: EdgeType, to: &Identifier) -> bool {
    let (changed, other) = change.subject();
    changed == kind && other.key() == to.key()
}

//! Edges in the index: every state that an edge ever had, found from both of its ends.

use crate::{
    entry::Locator,
    id::Key,
    record::{EdgeType, EdgeTypes},
};

/// Direction in which edges are followed from an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Edges that leave an identifier.
    Out,
    /// Edges that lead to an identifier.
    In,
}

/// Source of an edge: the entry of the record or that of the event. An edge stated by both is two edges to the index,
/// so that neither removes the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeOrigin {
    /// The record that the edge leaves.
    Record,
    /// The event that the edge leads to: the edge leaves one of its outputs.
    Event,
}

/// Operation of an entry on an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeOp {
    /// Adds the edge, or replaces it.
    Add,
    /// Removes the edge.
    Remove,
}

/// Change of one edge between an entry's own identifier and another. An entry names an edge once at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeMove {
    /// Type of the relation.
    pub kind: EdgeType,
    /// Source of the edge, which decides the end of the entry's own identifier: with [`EdgeOrigin::Record`] the edge
    /// leaves it.
    pub origin: EdgeOrigin,
    /// The identifier at the other end.
    pub other: Key,
    /// Operation on the edge.
    pub op: EdgeOp,
}

/// Identity of an edge among the edges of one identifier in one direction; lists are in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeEnd {
    /// Source of the edge.
    pub origin: EdgeOrigin,
    /// Type of the relation.
    pub kind: EdgeType,
    /// The identifier at the other end.
    pub other: Key,
}

/// Query for the edges of an identifier.
#[derive(Clone, Copy, Debug)]
pub struct EdgeQuery<'a> {
    /// Only edges of these types.
    pub types: EdgeTypes,
    /// Only edges of this source; `None` for all.
    pub origin: Option<EdgeOrigin>,
    /// Ledger index of the moment: edges as they were after this entry.
    pub upto: u64,
    /// Only edges behind this one: the last of the previous page.
    pub after: Option<&'a EdgeEnd>,
    /// Maximum number of edges in the answer.
    pub limit: usize,
}

impl EdgeQuery<'_> {
    /// True if the query covers edges of this source and type.
    pub fn takes(&self, origin: EdgeOrigin, kind: EdgeType) -> bool {
        self.types.contains(kind) && self.origin.is_none_or(|asked| asked == origin)
    }
}

/// An edge in the index: its identity, and the entry with the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedEdge {
    /// Identity of the edge.
    pub end: EdgeEnd,
    /// Ledger index of the entry that added the edge, or last replaced it.
    pub index: u64,
    /// Locator of that entry, for [`Entries::by_locator`](super::Entries::by_locator).
    pub locator: Locator,
}

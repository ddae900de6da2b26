//! Edges in the index: with every state that they ever had, and from both of their ends.

use crate::{
    id::Key,
    ledger::Position,
    record::{EdgeType, EdgeTypes},
};

/// From which of its ends an edge is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Edges that leave an identifier.
    Out,
    /// Edges that lead to an identifier.
    In,
}

/// Whose entry says an edge. An edge that both say is two edges to the index: neither takes the other's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeOrigin {
    /// The record that the edge leaves.
    Record,
    /// The event that the edge leads to: the edge leaves one of its outputs.
    Event,
}

/// Whether an edge was added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeOp {
    /// The edge is there from now on, as this entry says.
    Add,
    /// The edge is gone.
    Remove,
}

/// What an entry does to one edge between its own identifier and another. An edge stands in an entry once at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeMove {
    /// What the relation says.
    pub kind: EdgeType,
    /// Which end the entry's own identifier is: with [`EdgeOrigin::Record`] the edge leaves it.
    pub origin: EdgeOrigin,
    /// The identifier at the other end.
    pub other: Key,
    /// What becomes of the edge.
    pub op: EdgeOp,
}

/// What tells the edges of one identifier in one direction apart, in the order in which they are given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeEnd {
    /// Who says the edge.
    pub origin: EdgeOrigin,
    /// What the relation says.
    pub kind: EdgeType,
    /// The identifier at the other end.
    pub other: Key,
}

/// Which edges of an identifier are asked for.
#[derive(Clone, Copy, Debug)]
pub struct EdgeQuery<'a> {
    /// Only edges of these types.
    pub types: EdgeTypes,
    /// Only edges that one of these says; all when `None`.
    pub origin: Option<EdgeOrigin>,
    /// As of the entry with this ledger index, itself included.
    pub upto: u64,
    /// Only edges behind this one: the last of the page before.
    pub after: Option<&'a EdgeEnd>,
    /// The most edges to give.
    pub limit: usize,
}

impl EdgeQuery<'_> {
    /// True when the query asks for such edges.
    pub fn takes(&self, origin: EdgeOrigin, kind: EdgeType) -> bool {
        self.types.contains(kind) && self.origin.is_none_or(|asked| asked == origin)
    }
}

/// An edge as the index knows it: its ends, and the entry that says the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedEdge {
    /// What tells it from the other edges of the identifier.
    pub end: EdgeEnd,
    /// The ledger index of the entry that added the edge, or replaced it last.
    pub index: u64,
    /// Where that entry lies.
    pub position: Position,
}

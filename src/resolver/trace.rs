//! Following edges from record to record: what something is made of and came from, or what it went into.
//!
//! A trace goes breadth-first from its start, over one direction and some types of edges, as of one point of the ledger: what
//! is written meanwhile does not show. Every identifier is one node and is followed once, however many edges lead to it.
//! Nodes and edges are given out as they are found, totals and the summary at the end.
//!
//! What always holds: a node comes before the first edge that names it; an edge is given once; every bound that cut
//! something off is named in the summary. An edge that closes a circle is given like any other, and the summary says that
//! it does; what an event that was retired said is not followed.
//!
//! [`walk`] finds the graph, [`mod@totals`] finds its circles and reckons quantities over all paths.

mod totals;
mod walk;

use std::{ops::ControlFlow, time::Duration};

pub(super) use totals::{Order, order, totals};
pub(super) use walk::{Graph, Walk};

use super::{HistoryError, Moment, Resolver};
use crate::{
    id::{Identifier, Prefix},
    record::{Amount, EdgeType, EdgeTypes, Quantity, Unit},
    store::EdgeOrigin,
};

/// Which way edges are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceDirection {
    /// Against the edges: from a part to what contains it, from an input to what came of it, from a package to what lies in
    /// it, from a party to what it was given, from the old to the new.
    Up,
    /// Along the edges, from the record that carries them: to the parts, the origins, the package, the party, the old.
    Down,
}

/// Whether the times from which edges hold have a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeRule {
    /// They are shown, and that is all.
    Ignored,
    /// What a thing is made of counts only if it was so when the thing itself was built in: down the edges no edge holds
    /// from a later time than the one before it, and up not from an earlier one. Edges without a time always count. Where
    /// several edges lead to a node, the one that lets most through decides.
    Respected,
}

/// Whether nodes come with their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Without.
    Omitted,
    /// With their first public value of type NAME.
    Included,
}

/// How far a trace goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// The most edges between the start and a node, at most [`TraceLimits::DEPTH_MAX`].
    pub depth_max: u32,
    /// The most nodes, at most [`TraceLimits::NODES_MAX`].
    pub nodes_max: u32,
    /// The most edges that are followed from one node, at most [`TraceLimits::FAN_OUT_MAX`].
    pub fan_out_max: u32,
    /// The most time, at most [`TraceLimits::TIME_MAX`].
    pub time_max: Duration,
}

impl TraceLimits {
    /// The most that may be asked for.
    pub const DEPTH_MAX: u32 = 100;
    /// The most that may be asked for.
    pub const NODES_MAX: u32 = 100_000;
    /// The most that may be asked for.
    pub const FAN_OUT_MAX: u32 = 100_000;
    /// The most that may be asked for.
    pub const TIME_MAX: Duration = Duration::from_secs(60);
    /// The most edges of a trace; it may not be asked for more. Where times are respected, an edge that does not fit so far
    /// counts for four.
    pub const EDGES_MAX: usize = 1_000_000;

    /// The most that may be asked for, of everything but the time.
    pub const WIDEST: Self = Self {
        depth_max: Self::DEPTH_MAX,
        nodes_max: Self::NODES_MAX,
        fan_out_max: Self::FAN_OUT_MAX,
        time_max: Duration::from_secs(30),
    };

    /// With each limit at what may be asked for.
    fn clamped(self) -> Self {
        Self {
            depth_max: self.depth_max.min(Self::DEPTH_MAX),
            nodes_max: self.nodes_max.clamp(1, Self::NODES_MAX),
            fan_out_max: self.fan_out_max.clamp(1, Self::FAN_OUT_MAX),
            time_max: self.time_max.min(Self::TIME_MAX),
        }
    }
}

impl Default for TraceLimits {
    fn default() -> Self {
        Self { depth_max: 10, nodes_max: 10_000, fan_out_max: 10_000, time_max: Duration::from_secs(10) }
    }
}

/// What to trace.
#[derive(Clone, Debug)]
pub struct TraceRequest {
    /// Where to begin.
    pub start: Identifier,
    /// Which way.
    pub direction: TraceDirection,
    /// Over which edges.
    pub types: EdgeTypes,
    /// As of when; now when `None`.
    pub as_of: Option<Moment>,
    /// How far.
    pub limits: TraceLimits,
    /// What becomes of edges that do not fit in time.
    pub time_rule: TimeRule,
    /// What nodes come with.
    pub names: Names,
}

impl TraceRequest {
    /// The types that are followed unless others are asked for: what makes one thing out of others.
    pub fn types_default() -> EdgeTypes {
        [EdgeType::MadeOf, EdgeType::DerivedFrom].into_iter().collect()
    }
}

/// How a node stands at the moment of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// A record.
    Active,
    /// An event; its values may have been erased, what it says of its inputs and outputs stands.
    Event,
    /// A record that was retired. Its edges are followed: what it was made of stays true.
    Retired,
    /// An event that was retired. Its edges are not followed: what it said does not count any more.
    Withdrawn,
    /// Nothing was registered here. Edges that others say are followed.
    Missing,
    /// The record was erased, and its edges stand.
    Erased,
    /// Other nodes answer for it, to which this prefix was delegated.
    Delegated(Prefix),
}

/// A node, when it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedNode {
    /// Counts from 0, the start.
    pub number: u32,
    /// As it was first registered; as an edge spells it when nothing was registered.
    pub identifier: Identifier,
    /// The fewest edges from the start.
    pub depth: u32,
    /// How it stands.
    pub state: NodeState,
    /// Version of its record and the version's ledger index, when something was registered.
    pub version: Option<(u64, u64)>,
    /// Its name, if names are asked for and it has one.
    pub name: Option<Box<str>>,
}

/// An edge, when it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedEdge {
    /// Counts from 0.
    pub number: u32,
    /// The node that the edge leaves.
    pub from: u32,
    /// The node that the edge leads to.
    pub to: u32,
    /// What the relation says.
    pub kind: EdgeType,
    /// Whose entry says it.
    pub origin: EdgeOrigin,
    /// How many edges from the start this one is, from 1.
    pub depth: u32,
    /// The entry that says it.
    pub ledger_index: u64,
    /// How much, with its unit if it has one.
    pub quantity: Option<(Quantity, Option<Unit>)>,
    /// From when on, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
    /// Whether the node at the far end had been found before.
    pub repeated: bool,
}

/// How much of a node there is in all, over all paths from the start.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTotal {
    /// The node.
    pub number: u32,
    /// The sums, by unit; the empty unit for what has none.
    pub amounts: Vec<(Box<str>, Sum)>,
}

/// A sum of products of quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The exact number.
    Exact(Amount),
    /// It has more than 28 digits.
    TooLong,
}

/// What cut a trace off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truncation {
    /// Nodes at the depth limit have further edges.
    Depth,
    /// There are more nodes.
    Nodes,
    /// Some node has more edges.
    FanOut,
    /// There are more edges.
    Edges,
    /// There was no more time.
    Time,
}

/// What a trace came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceSummary {
    /// Ledger index of the last entry that counted; `None` before the first.
    pub as_of: Option<u64>,
    /// Nodes found.
    pub nodes: u32,
    /// Edges found.
    pub edges: u32,
    /// Nodes that were never registered here.
    pub missing: u32,
    /// Nodes that were retired, events withdrawn among them.
    pub retired: u32,
    /// Edges that were left out because they do not fit in time.
    pub out_of_time: u32,
    /// Numbers of the edges that lead back to where their path came from. They count for no total.
    pub cycles: Vec<u32>,
    /// What cut it off; empty when it is complete.
    pub truncated: Vec<Truncation>,
}

/// What a trace gives out.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceStep {
    /// A node was found.
    Node(TracedNode),
    /// An edge was found.
    Edge(TracedEdge),
    /// How much there is of a node.
    Total(NodeTotal),
    /// The end.
    Summary(TraceSummary),
}

/// Takes the steps of a trace; whoever breaks off wants no more.
pub type TraceSink<'a> = &'a mut dyn FnMut(TraceStep) -> ControlFlow<()>;

impl Resolver {
    /// Follows edges from an identifier. May take as long as its limits allow: not for a thread that others wait for.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; what was given out until then is a part of the trace only.
    pub fn trace(&self, request: &TraceRequest, sink: TraceSink<'_>) -> Result<(), HistoryError> {
        let upto = self.last_entry(request.as_of.unwrap_or(Moment::Time(u64::MAX)))?;
        let Some(graph) = Walk::new(&self.records, &self.prefixes, request, upto).run(sink)? else { return Ok(()) };
        let order = order(&graph);
        for total in totals(&graph, &order, request.direction).into_steps() {
            if sink(TraceStep::Total(total)).is_break() {
                return Ok(());
            }
        }
        let mut summary = graph.summary;
        summary.cycles = order.cycles;
        // Nobody is left to be told that the last step was not wanted.
        let _ = sink(TraceStep::Summary(summary));
        Ok(())
    }
}

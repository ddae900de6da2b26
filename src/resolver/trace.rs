//! Traces: edges followed from record to record, down to parts and origins or up to products.
//!
//! A trace goes breadth-first from its start, over one direction and some types of edges, as of one point of the
//! ledger: later entries do not show. Every identifier is one node and is followed once, however many edges lead to the
//! node. Nodes and edges are given out as they are found, totals and the summary at the end.
//!
//! Invariants: a node comes before the first edge that names it; an edge is given once; the summary names every limit
//! that cut something off. An edge that closes a cycle is given like any other, and listed in the summary. The edges of
//! a retired event are not followed.
//!
//! [`walk`] finds the graph, [`mod@totals`] finds its cycles and computes quantities over all paths.

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

/// Direction in which edges are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceDirection {
    /// Against the edges: from part to whole, from input to output, from package to content, from party to goods
    /// received, from old to new.
    Up,
    /// Along the edges, from the record that carries them: to parts, origins, package, party, old record.
    Down,
}

/// Effect of the times from which edges hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeRule {
    /// None: times are only shown.
    Ignored,
    /// An edge is followed only if it fits in time behind the edge that led to its node: going down it must not hold
    /// from a later time, going up not from an earlier one. So a part counts only if it was in the thing when the thing
    /// was built in. Edges without a time always fit. If several edges lead to a node, the least strict one decides.
    Respected,
}

/// Names beside nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// No names.
    Omitted,
    /// The first public value of type NAME of each node.
    Included,
}

/// Limits of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// Maximum number of edges between the start and a node, at most [`TraceLimits::DEPTH_MAX`].
    pub depth_max: u32,
    /// Maximum number of nodes, at most [`TraceLimits::NODES_MAX`].
    pub nodes_max: u32,
    /// Maximum number of edges followed from one node, at most [`TraceLimits::FAN_OUT_MAX`].
    pub fan_out_max: u32,
    /// Maximum duration, at most [`TraceLimits::TIME_MAX`].
    pub time_max: Duration,
}

impl TraceLimits {
    /// Upper bound of [`TraceLimits::depth_max`].
    pub const DEPTH_MAX: u32 = 100;
    /// Upper bound of [`TraceLimits::nodes_max`].
    pub const NODES_MAX: u32 = 100_000;
    /// Upper bound of [`TraceLimits::fan_out_max`].
    pub const FAN_OUT_MAX: u32 = 100_000;
    /// Upper bound of [`TraceLimits::time_max`].
    pub const TIME_MAX: Duration = Duration::from_secs(60);
    /// Maximum number of edges of a trace; no request can raise it. With [`TimeRule::Respected`], an edge held back
    /// because it does not fit in time counts as four.
    pub const EDGES_MAX: usize = 1_000_000;

    /// All limits at their upper bounds, except the time: 30 seconds.
    pub const WIDEST: Self = Self {
        depth_max: Self::DEPTH_MAX,
        nodes_max: Self::NODES_MAX,
        fan_out_max: Self::FAN_OUT_MAX,
        time_max: Duration::from_secs(30),
    };

    /// The limits, each cut to its bounds.
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

/// Request for a trace.
#[derive(Clone, Debug)]
pub struct TraceRequest {
    /// Start of the trace.
    pub start: Identifier,
    /// Direction of the trace.
    pub direction: TraceDirection,
    /// Types of the edges to follow.
    pub types: EdgeTypes,
    /// Point of the ledger; now if `None`.
    pub as_of: Option<Moment>,
    /// Limits of the trace.
    pub limits: TraceLimits,
    /// Treatment of edges that do not fit in time.
    pub time_rule: TimeRule,
    /// Names beside nodes.
    pub names: Names,
}

impl TraceRequest {
    /// Default edge types: made-of and derived-from, which make one thing out of others.
    pub fn types_default() -> EdgeTypes {
        [EdgeType::MadeOf, EdgeType::DerivedFrom].into_iter().collect()
    }
}

/// State of a node at the moment of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// An active record.
    Active,
    /// An event. Its values may have been erased; its inputs and outputs stand.
    Event,
    /// A retired record. Its edges are followed: its parts and origins stay true.
    Retired,
    /// A retired event. Its edges are not followed: its statement is withdrawn.
    Withdrawn,
    /// No record on this node. Edges stated by other records are followed.
    Missing,
    /// An erased record, whose edges stand.
    Erased,
    /// An identifier of other nodes, under this delegated prefix.
    Delegated(Prefix),
}

/// A node of the trace, as found.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedNode {
    /// Number of the node, from 0 for the start.
    pub number: u32,
    /// The identifier as first registered, else as the edge spells it.
    pub identifier: Identifier,
    /// Minimum number of edges from the start.
    pub depth: u32,
    /// State of the node.
    pub state: NodeState,
    /// Version number of the record and ledger index of the version, if there is a record.
    pub version: Option<(u64, u64)>,
    /// Name of the node, if names are included and the node has one.
    pub name: Option<Box<str>>,
}

/// An edge of the trace, as found.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedEdge {
    /// Number of the edge, from 0.
    pub number: u32,
    /// The node that the edge leaves.
    pub from: u32,
    /// The node that the edge leads to.
    pub to: u32,
    /// Type of the relation.
    pub kind: EdgeType,
    /// Source of the edge: the entry of the record or that of the event.
    pub origin: EdgeOrigin,
    /// Distance from the start in edges, this one included: from 1.
    pub depth: u32,
    /// Ledger index of the entry that states the edge.
    pub ledger_index: u64,
    /// Quantity, with its unit if there is one.
    pub quantity: Option<(Quantity, Option<Unit>)>,
    /// Time from which the edge holds, in milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
    /// True if the node at the far end had been found before.
    pub repeated: bool,
}

/// Total quantity of a node over all paths from the start.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTotal {
    /// Number of the node.
    pub number: u32,
    /// Sums by unit; the unit is empty for quantities without one.
    pub amounts: Vec<(Box<str>, Sum)>,
}

/// Sum of products of quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The exact sum.
    Exact(Amount),
    /// The sum has more than 28 digits.
    TooLong,
}

/// Limit that cut a trace off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truncation {
    /// Depth: nodes at the limit have further edges.
    Depth,
    /// Nodes: more were to be found.
    Nodes,
    /// Fan-out: some node has more edges.
    FanOut,
    /// Edges: more were to be found.
    Edges,
    /// Time: none was left.
    Time,
}

/// Summary of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceSummary {
    /// Ledger index of the last entry that counts; `None` before the first entry.
    pub as_of: Option<u64>,
    /// Number of nodes found.
    pub nodes: u32,
    /// Number of edges found.
    pub edges: u32,
    /// Number of nodes without a record on this node, delegated ones aside.
    pub missing: u32,
    /// Number of retired nodes, withdrawn events among them.
    pub retired: u32,
    /// Number of edges left out because they do not fit in time.
    pub out_of_time: u32,
    /// Numbers of the edges that lead back to a node of their own path, ascending. Such edges count for no total.
    pub cycles: Vec<u32>,
    /// Limits that cut the trace off; empty for a complete trace.
    pub truncated: Vec<Truncation>,
}

/// Step of a trace, as given to the sink.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceStep {
    /// A node was found.
    Node(TracedNode),
    /// An edge was found.
    Edge(TracedEdge),
    /// The total of a node.
    Total(NodeTotal),
    /// The end of the trace.
    Summary(TraceSummary),
}

/// Receiver of the steps of a trace; a break ends the trace.
pub type TraceSink<'a> = &'a mut dyn FnMut(TraceStep) -> ControlFlow<()>;

impl Resolver {
    /// Traces edges from an identifier. May run as long as the limits allow: call it on a thread that may wait.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; the steps given out before are an incomplete trace.
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
        // A break at the last step changes nothing.
        let _ = sink(TraceStep::Summary(summary));
        Ok(())
    }
}

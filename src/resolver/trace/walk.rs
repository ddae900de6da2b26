//! The walk of a trace: breadth-first from node to node, within the limits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::ControlFlow,
    time::Instant,
};

use super::{
    Names, NodeState, TimeRule, TraceDirection, TraceLimits, TraceRequest, TraceSink, TraceStep, TraceSummary,
    TracedEdge, TracedNode, Truncation,
};
use crate::{
    id::{Identifier, Key},
    record::{Amount, EdgeType},
    store::{
        Direction, EdgeEnd, EdgeOrigin, EdgeQuery, Link, LinkReader, Prefixes, ReadError, Records, Responsibility,
        Standing,
    },
};

/// Number of edges of a node that are read at once.
const PAGE_EDGES: usize = 1_000;
/// Number of edges between two checks of the deadline, held-back edges included.
const CLOCK_EDGES: usize = 64;
/// Edges of the graph that a held-back edge is counted as: it takes about as much memory.
const HELD_EDGES: usize = 4;

/// The graph found by a walk.
#[derive(Debug, Default)]
pub(in crate::resolver) struct Graph {
    pub(in crate::resolver) nodes: Vec<Node>,
    pub(in crate::resolver) edges: Vec<Reached>,
    pub(in crate::resolver) summary: TraceSummary,
}

/// A node of the graph.
#[derive(Debug)]
pub(in crate::resolver) struct Node {
    pub(in crate::resolver) found: TracedNode,
    /// Numbers of the edges by which the trace went on from the node.
    pub(in crate::resolver) edges: Vec<u32>,
    /// True if all edges of the node were followed, as far as they fit in time.
    pub(in crate::resolver) complete: bool,
    /// Time from which the edge that led here holds, in milliseconds since 1970 UTC; `None` lets every edge through.
    bound: Option<i64>,
    /// Edges held back because they do not fit in time so far.
    held: Vec<Link>,
    /// True if a turn to follow the held-back edges again is queued.
    again: bool,
}

/// An edge of the graph, as the trace followed it.
#[derive(Debug)]
pub(in crate::resolver) struct Reached {
    /// Number of the node at the far end.
    pub(in crate::resolver) far: u32,
    /// Factor of the edge's quantity.
    pub(in crate::resolver) factor: Factor,
    /// Unit of the quantity; empty for none.
    pub(in crate::resolver) unit: Box<str>,
}

/// Factor by which an edge multiplies amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resolver) enum Factor {
    /// The exact factor.
    By(Amount),
    /// A number of too many digits.
    TooLong,
}

/// Next step of a walk.
enum Turn {
    /// Follow all edges of a node.
    Expand(u32),
    /// Follow the held-back edges of a node again.
    Again(u32),
}

/// Reason why a walk ends early.
enum Stop {
    /// A limit of the whole walk was reached.
    Limit(Truncation),
    /// The sink broke off.
    Unwanted,
    /// Index or ledger cannot be read.
    Failed(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

/// A trace under way.
pub(in crate::resolver) struct Walk<'a> {
    reader: LinkReader<'a>,
    prefixes: &'a Prefixes,
    request: &'a TraceRequest,
    limits: TraceLimits,
    upto: Option<u64>,
    deadline: Instant,
    by_key: HashMap<Key, u32>,
    graph: Graph,
    turns: VecDeque<Turn>,
    edges_max: usize,
    /// Number of held-back edges of all nodes.
    held: usize,
    /// Number of edges looked at, repeats included.
    looked_at: usize,
}

impl<'a> Walk<'a> {
    /// A walk as of the entry with this index; `None` is before the first entry.
    pub(in crate::resolver) fn new(
        records: &'a Records,
        prefixes: &'a Prefixes,
        request: &'a TraceRequest,
        upto: Option<u64>,
    ) -> Self {
        let limits = request.limits.clamped();
        Self {
            reader: LinkReader::new(records, crate::resolver::is_public),
            prefixes,
            request,
            limits,
            upto,
            deadline: Instant::now() + limits.time_max,
            by_key: HashMap::new(),
            graph: Graph::default(),
            turns: VecDeque::new(),
            edges_max: TraceLimits::EDGES_MAX,
            held: 0,
            looked_at: 0,
        }
    }

    /// Runs the walk to its end; `None` if the sink broke off.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(in crate::resolver) fn run(mut self, sink: TraceSink<'_>) -> Result<Option<Graph>, ReadError> {
        match self.go(sink) {
            Ok(()) => {}
            Err(Stop::Limit(truncation)) => self.truncated(truncation),
            Err(Stop::Unwanted) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error),
        }
        let Graph { nodes, edges, summary } = &mut self.graph;
        summary.as_of = self.upto;
        // Both are bounded by limits that fit.
        summary.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        summary.edges = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        summary.out_of_time = u32::try_from(self.held).unwrap_or(u32::MAX);
        summary.truncated.sort_unstable();
        Ok(Some(self.graph))
    }

    fn go(&mut self, sink: TraceSink<'_>) -> Result<(), Stop> {
        self.node(&self.request.start, 0, None, sink)?;
        while let Some(turn) = self.turns.pop_front() {
            self.look_at_the_clock()?;
            match turn {
                Turn::Expand(number) => self.expand(number, sink)?,
                Turn::Again(number) => self.again(number, sink)?,
            }
        }
        Ok(())
    }

    /// Follows the held-back edges of a node again.
    fn again(&mut self, number: u32, sink: TraceSink<'_>) -> Result<(), Stop> {
        let node = &mut self.graph.nodes[number as usize];
        node.again = false;
        let held = std::mem::take(&mut node.held);
        self.held -= held.len();
        held.into_iter().try_for_each(|link| self.follow(number, link, sink))
    }

    fn truncated(&mut self, truncation: Truncation) {
        let truncated = &mut self.graph.summary.truncated;
        if !truncated.contains(&truncation) {
            truncated.push(truncation);
        }
    }

    /// Follows the edges of a node, page by page.
    fn expand(&mut self, number: u32, sink: TraceSink<'_>) -> Result<(), Stop> {
        let Some(upto) = self.upto else { return Ok(()) };
        let found = &self.graph.nodes[number as usize].found;
        if found.state == NodeState::Withdrawn {
            self.graph.nodes[number as usize].complete = true;
            return Ok(());
        }
        let (key, at_the_end) = (found.identifier.key().clone(), found.depth >= self.limits.depth_max);
        let direction = match self.request.direction {
            TraceDirection::Down => Direction::Out,
            TraceDirection::Up => Direction::In,
        };
        let mut after: Option<EdgeEnd> = None;
        let mut left = if at_the_end { 0 } else { self.limits.fan_out_max as usize };
        // An edge stated by both ends counts once. Edges of records come first.
        let mut said: HashSet<Key> = HashSet::new();
        loop {
            self.look_at_the_clock()?;
            // One more than is followed shows if there are further edges.
            let limit = PAGE_EDGES.min(left + 1);
            let query = EdgeQuery { types: self.request.types, origin: None, upto, after: after.as_ref(), limit };
            let mut links = self.reader.links(&key, direction, &query)?;
            let is_last = links.len() < limit;
            if links.len() > left {
                links.truncate(left);
                self.truncated(if at_the_end { Truncation::Depth } else { Truncation::FanOut });
                self.graph.nodes[number as usize].complete = false;
                return links.into_iter().try_for_each(|link| self.follow(number, link, sink));
            }
            left -= links.len();
            after = links.last().map(|link| link.end.clone());
            for link in links {
                match link.end.origin {
                    EdgeOrigin::Record if link.end.kind == EdgeType::DerivedFrom => {
                        said.insert(link.end.other.clone());
                    }
                    EdgeOrigin::Event if said.contains(&link.end.other) => continue,
                    _ => {}
                }
                self.follow(number, link, sink)?;
            }
            if is_last {
                self.graph.nodes[number as usize].complete = true;
                return Ok(());
            }
        }
    }

    fn look_at_the_clock(&self) -> Result<(), Stop> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Stop::Limit(Truncation::Time)) }
    }

    /// Follows an edge from a node.
    fn follow(&mut self, near: u32, link: Link, sink: TraceSink<'_>) -> Result<(), Stop> {
        self.looked_at += 1;
        if self.looked_at.is_multiple_of(CLOCK_EDGES) {
            self.look_at_the_clock()?;
        }
        if self.graph.edges.len() + HELD_EDGES * self.held >= self.edges_max {
            return Err(Stop::Limit(Truncation::Edges));
        }
        let node = &mut self.graph.nodes[near as usize];
        if !fits(self.request, node.bound, link.valid_from_ms) {
            node.held.push(link);
            self.held += 1;
            return Ok(());
        }
        let depth = node.found.depth + 1;
        let number = u32::try_from(self.graph.edges.len()).unwrap_or(u32::MAX);
        let known = self.by_key.get(&link.end.other).copied();
        let far = match known {
            Some(far) => {
                self.loosen(far, link.valid_from_ms);
                far
            }
            None => self.node(&link.other, depth, link.valid_from_ms, sink)?,
        };
        let (from, to) = match self.request.direction {
            TraceDirection::Down => (near, far),
            TraceDirection::Up => (far, near),
        };
        self.graph.nodes[near as usize].edges.push(number);
        self.graph.edges.push(Reached::new(far, &link));
        let edge = TracedEdge {
            number,
            from,
            to,
            kind: link.end.kind,
            origin: link.end.origin,
            depth,
            ledger_index: link.index,
            quantity: link.quantity,
            valid_from_ms: link.valid_from_ms,
            repeated: known.is_some(),
        };
        given(sink(TraceStep::Edge(edge)))
    }

    /// Relaxes the time bound of a node that another edge leads to, which may let held-back edges through.
    fn loosen(&mut self, number: u32, valid_from_ms: Option<i64>) {
        let node = &mut self.graph.nodes[number as usize];
        let Some(bound) = node.bound else { return };
        let looser = match (valid_from_ms, self.request.direction) {
            (None, _) => None,
            (Some(time), TraceDirection::Down) => Some(bound.max(time)),
            (Some(time), TraceDirection::Up) => Some(bound.min(time)),
        };
        if looser != node.bound {
            node.bound = looser;
            if !node.held.is_empty() && !node.again {
                node.again = true;
                self.turns.push_back(Turn::Again(number));
            }
        }
    }

    /// Adds a new node and queues its edges.
    fn node(
        &mut self,
        identifier: &Identifier,
        depth: u32,
        bound: Option<i64>,
        sink: TraceSink<'_>,
    ) -> Result<u32, Stop> {
        if self.graph.nodes.len() >= self.limits.nodes_max as usize {
            return Err(Stop::Limit(Truncation::Nodes));
        }
        let number = u32::try_from(self.graph.nodes.len()).unwrap_or(u32::MAX);
        let registered = match self.upto {
            Some(upto) => self.reader.registered(identifier.key(), upto)?,
            None => None,
        };
        let mut found = TracedNode {
            number,
            identifier: identifier.clone(),
            depth,
            state: NodeState::Missing,
            version: None,
            name: None,
        };
        if let Some(registered) = registered {
            found.identifier = registered.identifier;
            found.state = match registered.standing {
                Standing::Active => NodeState::Active,
                Standing::Event => NodeState::Event,
                Standing::Retired => NodeState::Retired,
                Standing::Withdrawn => NodeState::Withdrawn,
                Standing::Erased => NodeState::Erased,
            };
            found.version = Some((registered.version, registered.index));
            found.name = registered.name.filter(|_| self.request.names == Names::Included);
        } else if let Responsibility::Delegated(version) = self.prefixes.responsibility(identifier.key()) {
            found.state = NodeState::Delegated(version.prefix.clone());
        }
        match found.state {
            NodeState::Missing => self.graph.summary.missing += 1,
            NodeState::Retired | NodeState::Withdrawn => self.graph.summary.retired += 1,
            _ => {}
        }
        self.by_key.insert(found.identifier.key().clone(), number);
        let node =
            Node { found: found.clone(), edges: Vec::new(), complete: false, bound, held: Vec::new(), again: false };
        self.graph.nodes.push(node);
        self.turns.push_back(Turn::Expand(number));
        given(sink(TraceStep::Node(found)))?;
        Ok(number)
    }
}

impl Reached {
    fn new(far: u32, link: &Link) -> Self {
        let factor = match &link.quantity {
            Some((quantity, _)) => Amount::of(quantity).map_or(Factor::TooLong, Factor::By),
            None => Factor::By(Amount::ONE),
        };
        let unit = link.quantity.as_ref().and_then(|(_, unit)| unit.as_ref()).map_or("", |unit| unit.as_str());
        Self { far, factor, unit: unit.into() }
    }
}

fn given(taken: ControlFlow<()>) -> Result<(), Stop> {
    if taken.is_break() { Err(Stop::Unwanted) } else { Ok(()) }
}

/// True if an edge fits in time behind the edge that led to its node.
fn fits(request: &TraceRequest, bound: Option<i64>, valid_from_ms: Option<i64>) -> bool {
    match (request.time_rule, bound, valid_from_ms) {
        (TimeRule::Respected, Some(bound), Some(time)) => match request.direction {
            TraceDirection::Down => time <= bound,
            TraceDirection::Up => time >= bound,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests;

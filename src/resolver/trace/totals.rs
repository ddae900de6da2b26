//! Totals of each node over all paths: the sum of the products of the quantities along each path.
//!
//! An edge without a quantity counts as one. The unit is that of the edge at the part's end: going down the last edge
//! of a path, going up the first. Edges that close a cycle do not count. An event does not say how much of which input
//! went into which output. So going down, an event counts as one whatever leads to it, and its inputs count whole;
//! going up, nothing is computed across an event.

use super::{
    NodeState, NodeTotal, Sum, TraceDirection,
    walk::{Factor, Graph},
};
use crate::record::Amount;

/// Topological order of a graph without the edges that close cycles.
#[derive(Debug)]
pub(in crate::resolver) struct Order {
    nodes: Vec<u32>,
    /// Numbers of the edges that close cycles, ascending.
    pub(in crate::resolver) cycles: Vec<u32>,
}

impl Order {
    /// True if an edge closes a cycle.
    pub(in crate::resolver) fn is_cycle(&self, edge: u32) -> bool {
        self.cycles.binary_search(&edge).is_ok()
    }
}

/// Sums of each node, by unit.
#[derive(Debug)]
pub(in crate::resolver) struct Totals(Vec<Vec<(Box<str>, Sum)>>);

impl Totals {
    /// Sums of one node.
    pub(in crate::resolver) fn of(&self, node: u32) -> &[(Box<str>, Sum)] {
        self.0.get(node as usize).map_or(&[], |amounts| amounts)
    }

    /// A total for each node but the start.
    pub(in crate::resolver) fn into_steps(self) -> impl Iterator<Item = NodeTotal> {
        let numbered = (0..).zip(self.0).skip(1);
        numbered.map(|(number, amounts)| NodeTotal { number, amounts })
    }
}

/// Orders the nodes and finds the cycles depth-first from the start: an edge to a node on the current path closes one.
pub(in crate::resolver) fn order(graph: &Graph) -> Order {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::Not; graph.nodes.len()];
    let mut order = Order { nodes: Vec::with_capacity(graph.nodes.len()), cycles: Vec::new() };
    let mut path: Vec<(u32, usize)> = Vec::new();
    if let Some(start) = seen.first_mut() {
        *start = Seen::OnPath;
        path.push((0, 0));
    }
    while let Some((node, next)) = path.last_mut() {
        let Some(&edge) = graph.nodes[*node as usize].edges.get(*next) else {
            seen[*node as usize] = Seen::Done;
            order.nodes.push(*node);
            path.pop();
            continue;
        };
        *next += 1;
        let far = graph.edges[edge as usize].far;
        match seen[far as usize] {
            Seen::Not => {
                seen[far as usize] = Seen::OnPath;
                path.push((far, 0));
            }
            Seen::OnPath => order.cycles.push(edge),
            Seen::Done => {}
        }
    }
    order.nodes.reverse();
    order.cycles.sort_unstable();
    order
}

/// Computes the totals of all nodes.
pub(in crate::resolver) fn totals(graph: &Graph, order: &Order, direction: TraceDirection) -> Totals {
    let mut totals = Totals(vec![Vec::new(); graph.nodes.len()]);
    for &number in &order.nodes {
        let mut here = std::mem::take(&mut totals.0[number as usize]);
        let is_event = number != 0 && graph.nodes[number as usize].found.state == NodeState::Event;
        if is_event && direction == TraceDirection::Down {
            here = vec![("".into(), Sum::Exact(Amount::ONE))];
        }
        let all = here.iter().fold(Sum::Exact(Amount::ZERO), |all, (_, amount)| all.plus(*amount));
        let all = if number == 0 { Sum::Exact(Amount::ONE) } else { all };
        for &edge in graph.nodes[number as usize].edges.iter().filter(|edge| !order.is_cycle(**edge)) {
            let reached = &graph.edges[edge as usize];
            let there = &mut totals.0[reached.far as usize];
            match direction {
                TraceDirection::Up if is_event => {}
                TraceDirection::Up if number != 0 => {
                    here.iter().for_each(|(unit, amount)| add(there, unit, amount.times(reached.factor)));
                }
                _ => add(there, &reached.unit, all.times(reached.factor)),
            }
        }
        totals.0[number as usize] = here;
    }
    totals
}

fn add(amounts: &mut Vec<(Box<str>, Sum)>, unit: &str, amount: Sum) {
    match amounts.iter_mut().find(|(known, _)| **known == *unit) {
        Some((_, sum)) => *sum = sum.plus(amount),
        None => amounts.push((unit.into(), amount)),
    }
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a.checked_add(b).map_or(Self::TooLong, Self::Exact),
            _ => Self::TooLong,
        }
    }

    fn times(self, factor: Factor) -> Self {
        match (self, factor) {
            (Self::Exact(a), Factor::By(b)) => a.checked_mul(b).map_or(Self::TooLong, Self::Exact),
            _ => Self::TooLong,
        }
    }
}

//! Recall: from a bad lot to every finished product that it went into, and who has it now.
//!
//! The way is a trace up over made-of and derived-from, events included. A finished product is what nothing else contains
//! or derives from; the lot itself, when nothing does. Who has it is the newest party that the product was transferred to,
//! or, when it lies in a package, that the outermost package was transferred to.

use std::{ops::ControlFlow, time::Instant};

use super::{
    HistoryError, Moment, Names, NodeState, Resolver, Sum, TimeRule, TraceDirection, TraceLimits, TraceRequest,
    TraceSummary, TracedNode, Truncation,
    trace::{Graph, Order, Walk, order, totals},
};
use crate::{
    id::Identifier,
    record::{EdgeType, EdgeTypes},
    store::{Direction, EdgeQuery, Link, LinkReader, ReadError},
};

/// The most packages around a product, one in the other.
const PACKAGES_MAX: usize = 32;
/// Edges that are read at once.
const PAGE_EDGES: usize = 1_000;

/// What to recall.
#[derive(Clone, Debug)]
pub struct RecallRequest {
    /// The bad lot.
    pub start: Identifier,
    /// As of when; now when `None`.
    pub as_of: Option<Moment>,
    /// How far to go; [`TraceLimits::WIDEST`] is right unless there is a reason.
    pub limits: TraceLimits,
}

/// A finished product, and who has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// The product.
    pub node: TracedNode,
    /// How much of the lot is in it, by unit.
    pub amounts: Vec<(Box<str>, Sum)>,
    /// The packages that it lies in, from the innermost to the outermost.
    pub packages: Vec<Identifier>,
    /// Who has it, when somebody is known to.
    pub holder: Option<Holder>,
}

/// Who has a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The party.
    pub party: Identifier,
    /// What was transferred to it: the product, or a package that it lies in.
    pub transferred: Identifier,
    /// The entry that says so.
    pub ledger_index: u64,
    /// From when on, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// What a recall gives out.
#[derive(Clone, Debug, PartialEq)]
pub enum RecallStep {
    /// A finished product.
    Product(Recalled),
    /// The end: what the trace came to.
    Summary(TraceSummary),
}

impl Resolver {
    /// Finds every finished product that a lot went into. May take as long as its limits allow.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; what was given out until then is a part of the recall only.
    pub fn recall(
        &self,
        request: &RecallRequest,
        sink: &mut dyn FnMut(RecallStep) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let deadline = Instant::now() + request.limits.time_max.min(TraceLimits::TIME_MAX);
        let upto = self.last_entry(request.as_of.unwrap_or(Moment::Time(u64::MAX)))?;
        let trace = TraceRequest {
            start: request.start.clone(),
            direction: TraceDirection::Up,
            types: TraceRequest::types_default(),
            as_of: request.as_of,
            limits: request.limits,
            time_rule: TimeRule::Ignored,
            names: Names::Included,
        };
        let walked = Walk::new(&self.records, &trace, upto).run(&mut |_| ControlFlow::Continue(()))?;
        let Some(mut graph) = walked else { return Ok(()) };
        let order = order(&graph);
        let totals = totals(&graph, &order, TraceDirection::Up);
        let mut reader = LinkReader::new(&self.records);
        for number in finished(&graph, &order) {
            if Instant::now() >= deadline {
                graph.summary.truncated.push(Truncation::Time);
                graph.summary.truncated.dedup();
                break;
            }
            let node = graph.nodes[number as usize].found.clone();
            let (packages, holder) = match upto {
                Some(upto) => whereabouts(&mut reader, &node.identifier, upto)?,
                None => (Vec::new(), None),
            };
            let product = Recalled { node, amounts: totals.of(number).to_vec(), packages, holder };
            if sink(RecallStep::Product(product)).is_break() {
                return Ok(());
            }
        }
        let mut summary = graph.summary;
        summary.cycles = order.cycles;
        // Nobody is left to be told that the last step was not wanted.
        let _ = sink(RecallStep::Summary(summary));
        Ok(())
    }
}

/// The nodes that nothing else contains or derives from, as far as all of their edges were seen.
fn finished(graph: &Graph, order: &Order) -> Vec<u32> {
    let counts = |edge: &u32| {
        let far = &graph.nodes[graph.edges[*edge as usize].far as usize].found;
        !order.is_cycle(*edge) && far.state != NodeState::Withdrawn
    };
    let numbered = (0..).zip(&graph.nodes);
    let finished = numbered.filter(|(_, node)| {
        let is_thing = !matches!(node.found.state, NodeState::Event | NodeState::Withdrawn);
        is_thing && node.complete && !node.edges.iter().any(counts)
    });
    finished.map(|(number, _)| number).collect()
}

/// The packages around a product, and who has the outermost that somebody was given.
fn whereabouts(
    reader: &mut LinkReader<'_>,
    product: &Identifier,
    upto: u64,
) -> Result<(Vec<Identifier>, Option<Holder>), ReadError> {
    let mut things = vec![product.clone()];
    while let Some(inside) = things.last().filter(|_| things.len() <= PACKAGES_MAX) {
        match newest(reader, inside, EdgeType::PackedIn, upto)? {
            Some(package) if !things.contains(&package.other) => things.push(package.other),
            _ => break,
        }
    }
    let mut holder = None;
    for transferred in things.iter().rev() {
        if let Some(link) = newest(reader, transferred, EdgeType::TransferredTo, upto)? {
            let (ledger_index, valid_from_ms) = (link.index, link.valid_from_ms);
            holder = Some(Holder { party: link.other, transferred: transferred.clone(), ledger_index, valid_from_ms });
            break;
        }
    }
    things.remove(0);
    Ok((things, holder))
}

/// The edge of a type that the ledger took last; of one entry the one that holds from the latest time on.
fn newest(reader: &mut LinkReader<'_>, of: &Identifier, kind: EdgeType, upto: u64) -> Result<Option<Link>, ReadError> {
    let types: EdgeTypes = [kind].into_iter().collect();
    let (mut newest, mut after): (Option<Link>, _) = (None, None);
    loop {
        let query = EdgeQuery { types, origin: None, upto, after: after.as_ref(), limit: PAGE_EDGES };
        let links = reader.links(of.key(), Direction::Out, &query)?;
        let is_last = links.len() < PAGE_EDGES;
        after = links.last().map(|link| link.end.clone());
        let at = |link: &Link| (link.index, link.valid_from_ms);
        newest = newest.into_iter().chain(links).max_by_key(at);
        if is_last {
            return Ok(newest);
        }
    }
}

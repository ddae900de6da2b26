//! Recall: from a bad lot to every finished product that contains the lot, and the holder of each product.
//!
//! A recall is a trace up over made-of and derived-from, events included. A finished product is a node that nothing
//! else contains or derives from; the lot itself may be one. The holder is the newest party that the outermost package
//! around the product was transferred to, else that of the next package inside, down to the product itself.

use std::{collections::HashMap, ops::ControlFlow, time::Instant};

use super::{
    HistoryError, Moment, Names, NodeState, Resolver, Sum, TimeRule, TraceDirection, TraceLimits, TraceRequest,
    TraceSummary, TracedNode, Truncation,
    trace::{Graph, Order, Walk, order, totals},
};
use crate::{
    id::{Identifier, Key},
    record::{EdgeType, EdgeTypes},
    store::{Direction, EdgeQuery, Link, LinkReader, ReadError, Records},
};

/// Maximum number of nested packages around a product.
const PACKAGES_MAX: usize = 32;
/// Maximum number of package edges in the memo of a recall; a full memo is cleared.
const PACKAGES_KEPT_MAX: usize = 50_000;
/// Number of edges that are read at once, between two checks of the deadline.
const PAGE_EDGES: usize = 1_000;

/// Request for a recall.
#[derive(Clone, Debug)]
pub struct RecallRequest {
    /// The bad lot.
    pub start: Identifier,
    /// Point of the ledger; now if `None`.
    pub as_of: Option<Moment>,
    /// Limits of the trace; [`TraceLimits::WIDEST`] is the usual choice.
    pub limits: TraceLimits,
}

/// A finished product and its holder.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// The product.
    pub node: TracedNode,
    /// Amount of the lot in the product, by unit.
    pub amounts: Vec<(Box<str>, Sum)>,
    /// Packages around the product, from the innermost to the outermost.
    pub packages: Vec<Identifier>,
    /// Holder of the product, if known.
    pub holder: Option<Holder>,
}

/// Holder of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The party.
    pub party: Identifier,
    /// The product, or the package around it, that was transferred to the party.
    pub transferred: Identifier,
    /// Ledger index of the entry that states the transfer.
    pub ledger_index: u64,
    /// Time from which the transfer holds, in milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// Step of a recall, as given to the sink.
#[derive(Clone, Debug, PartialEq)]
pub enum RecallStep {
    /// A finished product.
    Product(Recalled),
    /// The end, with the summary of the trace.
    Summary(TraceSummary),
}

impl Resolver {
    /// Finds every finished product that contains a lot. May run as long as the limits allow.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; the steps given out before are an incomplete recall.
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
        let walked = Walk::new(&self.records, &self.prefixes, &trace, upto).run(&mut |_| ControlFlow::Continue(()))?;
        let Some(mut graph) = walked else { return Ok(()) };
        let order = order(&graph);
        let totals = totals(&graph, &order, TraceDirection::Up);
        let mut whereabouts = upto.map(|upto| Whereabouts::new(&self.records, upto, deadline));
        for number in finished(&graph, &order) {
            let node = graph.nodes[number as usize].found.clone();
            let found = match &mut whereabouts {
                Some(whereabouts) => whereabouts.of(&node.identifier),
                None => Ok((Vec::new(), None)),
            };
            let (packages, holder) = match found {
                Ok(found) => found,
                Err(Stop::Time) => {
                    graph.summary.truncated.push(Truncation::Time);
                    graph.summary.truncated.dedup();
                    break;
                }
                Err(Stop::Failed(error)) => return Err(error.into()),
            };
            let product = Recalled { node, amounts: totals.of(number).to_vec(), packages, holder };
            if sink(RecallStep::Product(product)).is_break() {
                return Ok(());
            }
        }
        let mut summary = graph.summary;
        summary.cycles = order.cycles;
        // A break at the last step changes nothing.
        let _ = sink(RecallStep::Summary(summary));
        Ok(())
    }
}

/// Numbers of the nodes that nothing else contains or derives from, among those whose edges were all seen.
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

/// Reason why the whereabouts of a product are unknown.
enum Stop {
    /// The deadline has passed.
    Time,
    /// Index or ledger cannot be read.
    Failed(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

/// Finds packages and holders of products, with a memo of package edges: many products lie in one package.
struct Whereabouts<'a> {
    reader: LinkReader<'a>,
    upto: u64,
    deadline: Instant,
    /// The newest edge of a type from a package; `None` if there is none.
    packages: HashMap<(EdgeType, Key), Option<Link>>,
}

impl<'a> Whereabouts<'a> {
    fn new(records: &'a Records, upto: u64, deadline: Instant) -> Self {
        Self { reader: LinkReader::new(records, super::is_public), upto, deadline, packages: HashMap::new() }
    }

    /// Packages around a product, and the holder by the outermost of them that was transferred.
    fn of(&mut self, product: &Identifier) -> Result<(Vec<Identifier>, Option<Holder>), Stop> {
        let mut things = vec![product.clone()];
        while let Some(inside) = things.last().filter(|_| things.len() <= PACKAGES_MAX) {
            match self.newest_of(product, inside, EdgeType::PackedIn)? {
                Some(package) if !things.contains(&package.other) => things.push(package.other),
                _ => break,
            }
        }
        let mut holder = None;
        for transferred in things.iter().rev() {
            if let Some(link) = self.newest_of(product, transferred, EdgeType::TransferredTo)? {
                let (ledger_index, valid_from_ms) = (link.index, link.valid_from_ms);
                holder =
                    Some(Holder { party: link.other, transferred: transferred.clone(), ledger_index, valid_from_ms });
                break;
            }
        }
        things.remove(0);
        Ok((things, holder))
    }

    /// The newest edge of a type from a product or from a package around it.
    fn newest_of(&mut self, product: &Identifier, thing: &Identifier, kind: EdgeType) -> Result<Option<Link>, Stop> {
        if thing == product {
            return self.newest(thing, kind);
        }
        let package = (kind, thing.key().clone());
        if let Some(known) = self.packages.get(&package) {
            return Ok(known.clone());
        }
        let newest = self.newest(thing, kind)?;
        if self.packages.len() >= PACKAGES_KEPT_MAX {
            self.packages.clear();
        }
        self.packages.insert(package, newest.clone());
        Ok(newest)
    }

    /// The edge of a type with the highest ledger index; within one entry, the one that holds from the latest time.
    fn newest(&mut self, of: &Identifier, kind: EdgeType) -> Result<Option<Link>, Stop> {
        let types: EdgeTypes = [kind].into_iter().collect();
        let (mut newest, mut after): (Option<Link>, _) = (None, None);
        loop {
            if Instant::now() >= self.deadline {
                return Err(Stop::Time);
            }
            let query = EdgeQuery { types, origin: None, upto: self.upto, after: after.as_ref(), limit: PAGE_EDGES };
            let links = self.reader.links(of.key(), Direction::Out, &query)?;
            let is_last = links.len() < PAGE_EDGES;
            after = links.last().map(|link| link.end.clone());
            let at = |link: &Link| (link.index, link.valid_from_ms);
            newest = newest.into_iter().chain(links).max_by_key(at);
            if is_last {
                return Ok(newest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        ledger::{DataDir, KeySource, LedgerError, Mark, Opening},
        store::memory::MemoryEntries,
    };

    #[test]
    fn whereabouts_keep_to_their_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let records = Records::new(Arc::new(MemoryEntries::new(Arc::clone(&recovered.ledger))), recovered.ledger);
        let product = Identifier::parse("20.500.1/product").unwrap();
        let package = Identifier::parse("20.500.1/package").unwrap();

        let mut late = Whereabouts::new(&records, 0, Instant::now() - Duration::from_millis(1));
        assert!(matches!(late.of(&product), Err(Stop::Time)));
        let mut in_time = Whereabouts::new(&records, 0, Instant::now() + Duration::from_secs(600));
        assert!(matches!(in_time.of(&product), Ok((packages, None)) if packages.is_empty()));
        assert!(in_time.packages.is_empty(), "a product is asked about once");
        assert!(matches!(in_time.newest_of(&product, &package, EdgeType::TransferredTo), Ok(None)));
        // Package edges in the memo need no time.
        in_time.deadline = Instant::now() - Duration::from_millis(1);
        assert!(matches!(in_time.newest_of(&product, &package, EdgeType::TransferredTo), Ok(None)));
    }
}

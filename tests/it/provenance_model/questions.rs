//! Questions without proofs: latest, as-of, histories, the feed, traces.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, rngs::StdRng};
use tonic::Code;
use touchmark::{
    id::Identifier,
    protocol::grpc::pb::{
        self, auditor_client::AuditorClient, change_event::Event, resolve_at_request::At, trace_node::State,
        trace_request, trace_summary::Truncation,
    },
};

use super::ledger::{Model, Said, parse};
use crate::{
    history,
    support::*,
    trace::{
        self, Traced,
        model::{breadth_first, is_without_circles},
    },
};

/// Compares the answers for every identifier with the model, now and at some moments of the past.
pub async fn compare_answers(running: &Running, model: &Model, rng: &mut StdRng, asked: &[String]) {
    let entries = model.entries.len();
    for identifier in asked {
        assert_eq!(running.resolve(identifier).await, model.answer(identifier, entries));
        if entries == 0 {
            continue;
        }
        for _ in 0..3 {
            let index = rng.random_range(0..entries);
            let found = history::at(running, identifier, At::LedgerIndex(index as u64)).await.unwrap();
            assert_eq!(found, model.answer(identifier, index + 1), "behind entry {index}");
        }
        let time = model.entries[rng.random_range(0..entries)].receipt.time + rng.random_range(0..3) - 1;
        let found = history::at(running, identifier, At::Time(time)).await.unwrap();
        assert_eq!(found, model.answer(identifier, model.end_at(time)), "at {time}");
    }
    let to_come = history::at(running, &asked[0], At::LedgerIndex(entries as u64)).await;
    assert_eq!(to_come.unwrap_err().code(), Code::OutOfRange);
}

/// Compares every history, in pages of any length.
pub async fn compare_histories(running: &Running, model: &Model, rng: &mut StdRng, asked: &[String]) {
    for identifier in asked {
        let expected = model.history(&parse(identifier));
        let (mut before, mut found) = (None, Vec::new());
        loop {
            let page = history::history(running, identifier, rng.random_range(1..9), before).await;
            found.extend(page.versions);
            let last = found.last().and_then(|change: &pb::VersionChange| change.record.as_ref());
            let further = last.filter(|record| record.version > 1).map(|record| record.ledger_index);
            assert_eq!(page.next_before, further, "{identifier}");
            before = page.next_before;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{identifier}");
    }
}

/// Compares the feed from a random entry on: exactly those entries, in order.
pub async fn compare_feed(running: &Running, model: &Model, rng: &mut StdRng) {
    let from = rng.random_range(0..=model.entries.len());
    let request = pb::WatchRequest { from_index: Some(from as u64), prefix: String::new() };
    let mut feed = AuditorClient::new(running.another_channel().await).watch(request).await.unwrap().into_inner();
    for entry in &model.entries[from..] {
        let event = tokio::time::timeout(crate::program::TIMEOUT, feed.message()).await.expect("an event comes");
        let Some(Event::Change(change)) = event.unwrap().unwrap().event else { panic!("there is more") };
        assert_eq!(change, entry.change());
    }
}

/// Expected result of a trace.
struct Expected<'a> {
    model: &'a Model,
    end: usize,
    is_up: bool,
    edges: Vec<Said>,
}

impl Expected<'_> {
    /// Edges that a trace follows from a node, with the nodes at their other ends.
    fn next(&self, here: &Identifier) -> Vec<(&Said, Identifier)> {
        if self.model.state(here, self.end) == State::Withdrawn {
            return Vec::new();
        }
        let ends = |said: &Said| match self.is_up {
            true => (said.to.clone(), said.from.clone()),
            false => (said.from.clone(), said.to.clone()),
        };
        let mine: Vec<_> =
            self.edges.iter().map(|said| (said, ends(said))).filter(|(_, ends)| ends.0 == *here).collect();
        // An edge that both the record and an event have counts once: that of the record.
        let says = |kind, far: &Identifier| {
            mine.iter().any(|(said, ends)| !said.by_event && said.kind == kind && ends.1 == *far)
        };
        let counts = |said: &Said, far: &Identifier| !said.by_event || !says(said.kind, far);
        mine.iter().filter(|(said, ends)| counts(said, &ends.1)).map(|(said, ends)| (*said, ends.1.clone())).collect()
    }
}

/// An edge of a trace, without its number.
type Edge = (Identifier, Identifier, i32, u32, (bool, u64), (String, String, Option<i64>));

fn found_edges(traced: &Traced) -> Vec<Edge> {
    let mut edges: Vec<_> = traced
        .edges
        .iter()
        .map(|edge| {
            let said = (edge.said_by_event, edge.ledger_index);
            let details = (edge.quantity.clone(), edge.unit.clone(), edge.valid_from);
            let [from, to] = [edge.from, edge.to].map(|end| parse(traced.name(end)));
            (from, to, edge.r#type, edge.depth, said, details)
        })
        .collect();
    edges.sort();
    edges
}

/// Compares a trace (random start, direction, moment and types) with a walk over the model.
pub async fn compare_trace(running: &Running, model: &Model, rng: &mut StdRng, start: &str) {
    let end = if rng.random_bool(0.5) { model.entries.len() } else { rng.random_range(0..=model.entries.len()) };
    let (is_up, depth) = (rng.random_bool(0.5), rng.random_range(1..=8));
    let types: Vec<i32> = (1..=5).filter(|_| rng.random_bool(0.6)).collect();
    let at = match end {
        0 => Some(trace_request::At::Time(model.entries.first().map_or(0, |first| first.receipt.time - 1))),
        end if end == model.entries.len() && rng.random_bool(0.5) => None,
        end => Some(trace_request::At::LedgerIndex(end as u64 - 1)),
    };
    let limits = Some(pb::TraceLimits { depth: Some(depth), ..Default::default() });
    let request = if is_up { trace::up(start) } else { trace::down(start) };
    let request = pb::TraceRequest { types: types.clone(), at, limits, names: true, ..request };
    let traced = trace::trace(running, request.clone()).await.unwrap();

    let asked = if types.is_empty() { vec![1, 2] } else { types };
    let edges = model.edges(end).into_iter().filter(|said| asked.contains(&said.kind)).collect();
    let expected = Expected { model, end, is_up, edges };
    let (edges, nodes) = breadth_first(parse(start), depth, |here| expected.next(here));
    let mut expected_edges: Vec<Edge> = edges
        .iter()
        .map(|(depth, said)| {
            let details = (said.edge.quantity.clone(), said.edge.unit.clone(), said.edge.valid_from);
            (said.from.clone(), said.to.clone(), said.kind, *depth, (said.by_event, said.index), details)
        })
        .collect();
    expected_edges.sort();
    assert_eq!(found_edges(&traced), expected_edges, "{request:?}");
    let found: BTreeMap<Identifier, u32> =
        traced.nodes.iter().map(|node| (parse(&node.identifier), node.depth)).collect();
    assert_eq!((found, traced.nodes.len()), (nodes.clone(), nodes.len()), "{request:?}");
    for node in &traced.nodes {
        let identifier = parse(&node.identifier);
        let last = model.versions(&identifier, end).pop();
        let version = last.map_or((0, 0), |last| (last.receipt.version, last.receipt.ledger_index));
        let expected = (model.state(&identifier, end), version, model.name(&identifier, end));
        assert_eq!((node.state(), (node.version, node.ledger_index), node.name.clone()), expected, "{request:?}");
        assert!(last.is_none_or(|last| last.identifier.to_string() == node.identifier), "as it was registered");
    }
    compare_summary(&traced, &expected, &nodes, depth);
}

fn compare_summary(traced: &Traced, expected: &Expected<'_>, nodes: &BTreeMap<Identifier, u32>, depth: u32) {
    let summary = &traced.summary;
    let count = |states: &[State]| {
        nodes.keys().filter(|node| states.contains(&expected.model.state(node, expected.end))).count() as u32
    };
    let counts = (count(&[State::Missing]), count(&[State::Retired, State::Withdrawn]));
    assert_eq!((summary.missing, summary.retired), counts);
    assert_eq!(summary.as_of, (expected.end as u64).checked_sub(1));
    let is_cut = nodes.iter().any(|(node, at)| *at == depth && !expected.next(node).is_empty());
    assert_eq!(traced.truncated(), if is_cut { vec![Truncation::Depth] } else { vec![] });
    let repeated = traced.edges.iter().filter(|edge| edge.repeated_node).count();
    assert_eq!(repeated, traced.edges.len() + 1 - traced.nodes.len(), "every node but the start is found by one edge");
    let without = |cycles: &[u32]| -> BTreeSet<(i32, u32, u32)> {
        let kept = traced.edges.iter().filter(|edge| !cycles.contains(&edge.number));
        kept.map(|edge| (edge.r#type, edge.from, edge.to)).collect()
    };
    assert!(is_without_circles(&without(&summary.cycles)));
    assert_eq!(is_without_circles(&without(&[])), summary.cycles.is_empty());
}

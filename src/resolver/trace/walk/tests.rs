//! The bounds of a walk, edge by edge, over a ledger without entries.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::{
    ledger::{DataDir, KeySource, LedgerError, Mark, Opening},
    resolver::TraceRequest,
    store::{ImplicitHome, memory::MemoryEntries},
};

/// Time from which the edge to the start holds.
const BOUND_MS: i64 = 100;

fn records() -> (Records, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open_or_create(directory.path()).unwrap();
    let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
    let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
    {
        let entries = Arc::new(MemoryEntries::new(Arc::clone(&recovered.ledger)));
        (Records::new(entries, recovered.ledger), directory)
    }
}

fn request() -> TraceRequest {
    TraceRequest {
        start: Identifier::parse("20.500.1/start").unwrap(),
        direction: TraceDirection::Down,
        types: TraceRequest::types_default(),
        as_of: None,
        limits: TraceLimits::default(),
        time_rule: TimeRule::Respected,
        names: Names::Omitted,
    }
}

/// A walk after its first node.
fn walk<'a>(records: &'a Records, request: &'a TraceRequest) -> Walk<'a> {
    let prefixes = Box::leak(Box::new(Prefixes::load(records, ImplicitHome::UntilHomed).unwrap()));
    let mut walk = Walk::new(records, prefixes, request, None);
    assert!(walk.node(&request.start, 0, Some(BOUND_MS), &mut |_| ControlFlow::Continue(())).is_ok());
    walk
}

fn link(number: usize, valid_from_ms: i64) -> Link {
    let other = Identifier::parse(&format!("20.500.1/{number}")).unwrap();
    let end = EdgeEnd { origin: EdgeOrigin::Record, kind: EdgeType::MadeOf, other: other.key().clone() };
    Link { end, other, index: 0, quantity: None, valid_from_ms: Some(valid_from_ms) }
}

/// Follows edges up to a limit; returns their number and the limit.
fn follow(walk: &mut Walk<'_>, valid_from_ms: i64, count: usize) -> (usize, Option<Truncation>) {
    for number in 0..count {
        match walk.follow(0, link(number, valid_from_ms), &mut |_| ControlFlow::Continue(())) {
            Ok(()) => {}
            Err(Stop::Limit(truncation)) => return (number, Some(truncation)),
            Err(_) => panic!("edge {number} cannot be followed"),
        }
    }
    (count, None)
}

#[test]
fn edges_that_are_held_back_count() {
    let ((records, _directory), request) = (records(), request());
    for (valid_from_ms, expected) in [(BOUND_MS, 40), (BOUND_MS + 1, 40 / HELD_EDGES)] {
        let mut walk = walk(&records, &request);
        walk.edges_max = 40;
        assert_eq!(follow(&mut walk, valid_from_ms, 100), (expected, Some(Truncation::Edges)), "{valid_from_ms}");
    }
}

#[test]
fn edges_that_are_held_back_take_time() {
    let ((records, _directory), request) = (records(), request());
    for valid_from_ms in [BOUND_MS, BOUND_MS + 1] {
        let mut walk = walk(&records, &request);
        walk.deadline = Instant::now() - Duration::from_millis(1);
        let (followed, stopped) = follow(&mut walk, valid_from_ms, 1_000);
        assert!(followed < CLOCK_EDGES && stopped == Some(Truncation::Time), "{valid_from_ms}: {followed} {stopped:?}");
    }
}

#[test]
fn a_node_is_looked_at_again_once() {
    let ((records, _directory), request) = (records(), request());
    let mut walk = walk(&records, &request);
    assert_eq!(follow(&mut walk, BOUND_MS + 10, 5), (5, None));
    let again = |walk: &Walk<'_>| walk.turns.iter().filter(|turn| matches!(turn, Turn::Again(0))).count();
    for later in 1..10 {
        walk.loosen(0, Some(BOUND_MS + later));
        assert_eq!((again(&walk), walk.held), (1, 5), "{later}");
    }
    walk.turns.clear();
    assert!(walk.again(0, &mut |_| ControlFlow::Continue(())).is_ok());
    assert_eq!((walk.held, walk.graph.edges.len()), (5, 0), "none fits yet");
    walk.loosen(0, Some(BOUND_MS + 10));
    assert_eq!(again(&walk), 1, "it is queued anew");
    assert!(walk.again(0, &mut |_| ControlFlow::Continue(())).is_ok());
    assert_eq!((walk.held, walk.graph.edges.len()), (0, 5), "all fit");
}

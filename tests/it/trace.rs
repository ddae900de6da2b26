//! Traces both ways, at any moment, within every bound; recalls; events.

mod bom;
mod events;
pub mod model;

use std::collections::BTreeMap;

use tonic::{Code, Status};
use touchmark::protocol::grpc::pb::{
    self, EdgeType, auditor_client::AuditorClient, trace_node::State, trace_request, trace_summary::Truncation,
};

use crate::{program::Program, support::*};

/// A whole trace.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    pub nodes: Vec<pb::TraceNode>,
    pub edges: Vec<pb::TraceEdge>,
    totals: Vec<pb::TraceTotal>,
    pub summary: pb::TraceSummary,
}

pub fn down(identifier: &str) -> pb::TraceRequest {
    let direction = trace_request::Direction::Down.into();
    pb::TraceRequest { identifier: identifier.into(), direction, ..Default::default() }
}

pub fn up(identifier: &str) -> pb::TraceRequest {
    pb::TraceRequest { direction: trace_request::Direction::Up.into(), ..down(identifier) }
}

pub fn at(index: u64, request: pb::TraceRequest) -> pb::TraceRequest {
    pb::TraceRequest { at: Some(trace_request::At::LedgerIndex(index)), ..request }
}

pub async fn trace(running: &Running, request: pb::TraceRequest) -> Result<Traced, Status> {
    let mut stream = AuditorClient::new(running.channel()).trace(request).await?.into_inner();
    let mut traced = Traced::default();
    while let Some(message) = stream.message().await? {
        // A node is sent before the first edge that names it.
        traced.nodes.extend(message.nodes);
        assert!(message.edges.iter().all(|edge| edge.from.max(edge.to) < traced.nodes.len() as u32));
        traced.edges.extend(message.edges);
        traced.totals.extend(message.totals);
        traced.summary = message.summary.unwrap_or(traced.summary);
    }
    assert!((0..).zip(&traced.nodes).all(|(number, node)| node.number == number));
    assert!((0..).zip(&traced.edges).all(|(number, edge)| edge.number == number));
    assert_eq!((traced.summary.nodes, traced.summary.edges), (traced.nodes.len() as u32, traced.edges.len() as u32));
    Ok(traced)
}

impl Traced {
    pub fn name(&self, number: u32) -> &str {
        &self.nodes[number as usize].identifier
    }

    /// Edges in one line, sorted: `a>b 2 kg, …`.
    pub fn shown(&self) -> String {
        let short = |number: u32| self.name(number).trim_start_matches("88.1/").to_owned();
        let mut edges: Vec<_> = self
            .edges
            .iter()
            .map(|edge| format!("{}>{} {} {}", short(edge.from), short(edge.to), edge.quantity, edge.unit))
            .map(|edge| edge.trim_end().to_owned())
            .collect();
        edges.sort();
        edges.join(", ")
    }

    /// Totals by identifier: `2 kg + 1`.
    pub fn totals(&self) -> BTreeMap<String, String> {
        let amount = |amount: &pb::TraceAmount| format!("{} {}", amount.quantity, amount.unit).trim_end().to_owned();
        let total = |total: &pb::TraceTotal| {
            let amounts: Vec<_> = total.amounts.iter().map(amount).collect();
            (self.name(total.node).to_owned(), amounts.join(" + "))
        };
        self.totals.iter().map(total).collect()
    }

    fn state(&self, identifier: &str) -> State {
        self.nodes.iter().find(|node| node.identifier == identifier).unwrap().state()
    }

    pub fn truncated(&self) -> Vec<Truncation> {
        self.summary.truncated().collect()
    }
}

/// A `made-of` edge with a quantity, a unit, and a time from which it holds.
fn part(to: &str, quantity: &str, unit: &str, valid_from: Option<i64>) -> pb::Edge {
    let (quantity, unit) = (quantity.into(), unit.into());
    pb::Edge { quantity, unit, valid_from, ..edge(EdgeType::MadeOf, &format!("88.1/{to}")) }
}

async fn made_of(running: &Running, of: &str, parts: &[pb::Edge]) -> u64 {
    let command = create_with_edges(&format!("88.1/{of}"), vec![value(1, "NAME", of)], parts.to_vec());
    running.apply(command).await.unwrap().ledger_index
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_summed_over_all_paths() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let pieces = |to: &str, quantity: &str| part(to, quantity, "piece", None);
    made_of(&running, "car", &[pieces("axle", "2"), pieces("bolt", "4"), part("frame", "", "", None)]).await;
    made_of(&running, "axle", &[pieces("wheel", "2"), part("steel", "10.5", "kg", None)]).await;
    made_of(&running, "wheel", &[pieces("bolt", "5"), part("steel", "0.25", "kg", None)]).await;
    made_of(&running, "frame", &[part("bolt", "1", "", None)]).await;
    let traced = trace(&running, pb::TraceRequest { names: true, ..down("88.1/CAR") }).await.unwrap();
    let totals = traced.totals();
    let total = |of: &str| totals[&format!("88.1/{of}")].clone();
    assert_eq!((total("axle"), total("wheel"), total("frame")), ("2 piece".into(), "4 piece".into(), "1".into()));
    assert_eq!(total("steel"), "22 kg");
    assert!(["24 piece + 1", "1 + 24 piece"].contains(&&*total("bolt")), "{totals:?}");
    assert_eq!((traced.nodes.len(), traced.edges.len(), traced.truncated()), (6, 8, vec![]));
    assert_eq!(
        (traced.nodes[0].name.as_str(), traced.state("88.1/bolt"), traced.summary.missing),
        ("car", State::Missing, 2)
    );
    assert_eq!(traced.edges.iter().filter(|edge| edge.repeated_node).count(), 3);
    // Up: the amount of steel in each node, in the unit of the first edge.
    let traced = trace(&running, up("88.1/steel")).await.unwrap();
    let totals: Vec<_> = traced.totals().into_iter().map(|(of, total)| format!("{of} {total}")).collect();
    assert_eq!(totals, ["88.1/axle 11 kg", "88.1/car 22 kg", "88.1/wheel 0.25 kg"]);
    assert_eq!(traced.edges.iter().map(|edge| edge.depth).max(), Some(2));
    // A total with too many digits to compute is reported as empty.
    made_of(&running, "long", &[part("x", "12345678901234567890123456789012", "", None)]).await;
    assert_eq!(trace(&running, down("88.1/long")).await.unwrap().totals()["88.1/x"], "");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bound_is_named() {
    let data = directory();
    let running = Running::start(data.path()).await;
    for level in 0..12 {
        let next: Vec<_> = (0..3).map(|number| part(&format!("{}-{number}", level + 1), "1", "", None)).collect();
        made_of(&running, &format!("{level}-0"), &next).await;
    }
    let limited = |limits: pb::TraceLimits| pb::TraceRequest { limits: Some(limits), ..down("88.1/0-0") };
    let limits = pb::TraceLimits::default;
    let table = [
        (limits(), 31, vec![Truncation::Depth]),
        (pb::TraceLimits { depth: Some(12), ..limits() }, 37, vec![]),
        (pb::TraceLimits { depth: Some(11), ..limits() }, 34, vec![Truncation::Depth]),
        (pb::TraceLimits { nodes: Some(7), ..limits() }, 7, vec![Truncation::Nodes]),
        (pb::TraceLimits { nodes: Some(1), ..limits() }, 1, vec![Truncation::Nodes]),
        (pb::TraceLimits { depth: Some(12), fan_out: Some(2), ..limits() }, 25, vec![Truncation::FanOut]),
        (pb::TraceLimits { depth: Some(12), fan_out: Some(3), ..limits() }, 37, vec![]),
        (
            pb::TraceLimits { depth: Some(1), fan_out: Some(1), ..limits() },
            2,
            vec![Truncation::Depth, Truncation::FanOut],
        ),
    ];
    for (limits, nodes, truncated) in table {
        let traced = trace(&running, limited(limits)).await.unwrap();
        assert_eq!((traced.nodes.len(), traced.truncated()), (nodes, truncated), "{limits:?}");
    }
    for limits in [
        pb::TraceLimits { depth: Some(0), ..limits() },
        pb::TraceLimits { depth: Some(101), ..limits() },
        pb::TraceLimits { nodes: Some(100_001), ..limits() },
        pb::TraceLimits { fan_out: Some(0), ..limits() },
        pb::TraceLimits { time_ms: Some(60_001), ..limits() },
    ] {
        assert_eq!(trace(&running, limited(limits)).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let no_direction = pb::TraceRequest { direction: 0, ..down("88.1/0-0") };
    assert_eq!(trace(&running, no_direction).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(trace(&running, down("88 1")).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown_type = pb::TraceRequest { types: vec![9], ..down("88.1/0-0") };
    assert_eq!(trace(&running, unknown_type).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(trace(&running, at(12, down("88.1/0-0"))).await.unwrap_err().code(), Code::OutOfRange);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_are_named_and_not_followed() {
    let data = directory();
    let running = Running::start(data.path()).await;
    for (of, parts) in [("a", &["b", "c"][..]), ("b", &["d"]), ("c", &["d"]), ("d", &["c", "a"])] {
        let parts: Vec<_> = parts.iter().map(|to| part(to, "2", "", None)).collect();
        made_of(&running, of, &parts).await;
    }
    let traced = trace(&running, down("88.1/a")).await.unwrap();
    assert_eq!(traced.shown(), "a>b 2, a>c 2, b>d 2, c>d 2, d>a 2, d>c 2");
    let edge = |number: &u32| &traced.edges[*number as usize];
    let mut cycles: Vec<_> = traced
        .summary
        .cycles
        .iter()
        .map(|number| [edge(number).from, edge(number).to].map(|of| traced.name(of)))
        .collect();
    cycles.sort_unstable();
    // Depth-first: a, b, d; d leads to c, which leads back to d; d leads back to a.
    assert_eq!(cycles, [["88.1/c", "88.1/d"], ["88.1/d", "88.1/a"]]);
    let totals: Vec<_> = traced.totals().into_values().collect();
    assert_eq!(totals, ["2", "10", "4"], "b, c, d: without the edges that close circles");
    let traced = trace(&running, up("88.1/c")).await.unwrap();
    assert_eq!((traced.nodes.len(), traced.edges.len(), traced.summary.cycles.is_empty()), (4, 6, false));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_then_is_shown_as_it_was() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let first = made_of(&running, "a", &[part("b", "1", "kg", None), part("c", "1", "", None)]).await;
    let second = made_of(&running, "b", &[part("d", "1", "", None)]).await;
    let change = pb::Update {
        mode: pb::update::Mode::Merge.into(),
        add_edges: vec![part("b", "3", "kg", None)],
        remove_edges: vec![part("c", "", "", None)],
        ..Default::default()
    };
    let third = running.apply(update("88.1/a", change)).await.unwrap().ledger_index;
    let fourth = running.apply(retire("88.1/b")).await.unwrap().ledger_index;
    for (index, expected, state) in [
        (first, "a>b 1 kg, a>c 1", State::Missing),
        (second, "a>b 1 kg, a>c 1, b>d 1", State::Active),
        (third, "a>b 3 kg, b>d 1", State::Active),
        (fourth, "a>b 3 kg, b>d 1", State::Retired),
    ] {
        let traced = trace(&running, at(index, down("88.1/a"))).await.unwrap();
        assert_eq!((traced.shown().as_str(), traced.state("88.1/b")), (expected, state), "behind {index}");
        assert_eq!((traced.summary.as_of, traced.nodes[0].version), (Some(index), 1 + u64::from(index >= third)));
    }
    let traced = trace(&running, at(second, up("88.1/c"))).await.unwrap();
    assert_eq!((traced.shown().as_str(), traced.summary.missing), ("a>c 1", 1));
    assert_eq!(trace(&running, up("88.1/c")).await.unwrap().shown(), "");
    let long_ago = pb::TraceRequest { at: Some(trace_request::At::Time(1)), ..down("88.1/a") };
    let traced = trace(&running, long_ago).await.unwrap();
    assert_eq!((traced.summary.as_of, traced.nodes[0].state(), traced.edges.len()), (None, State::Missing, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_times_choose_edges() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let at_time = |to: &str, time| part(to, "1", "", Some(time));
    made_of(&running, "car", &[at_time("old", 100), at_time("new", 200)]).await;
    made_of(&running, "old", &[at_time("cell", 150), at_time("case", 100)]).await;
    made_of(&running, "new", &[at_time("old", 200)]).await;
    let plain = trace(&running, down("88.1/car")).await.unwrap();
    assert_eq!((plain.edges.len(), plain.summary.out_of_time), (5, 0));
    // The cell came into `old` after `old` came into the car, but before `old` came into `new`.
    let timed = pb::TraceRequest { respect_time: true, ..down("88.1/car") };
    let timed = trace(&running, timed).await.unwrap();
    assert_eq!((timed.shown(), timed.summary.out_of_time), (plain.shown(), 0));
    let shallow = pb::TraceRequest { respect_time: true, ..at(1, down("88.1/car")) };
    let shallow = trace(&running, shallow).await.unwrap();
    assert_eq!((shallow.shown().as_str(), shallow.summary.out_of_time), ("car>new 1, car>old 1, old>case 1", 1));
    let from_cell = pb::TraceRequest { respect_time: true, ..at(1, up("88.1/cell")) };
    let from_cell = trace(&running, from_cell).await.unwrap();
    assert_eq!((from_cell.shown().as_str(), from_cell.summary.out_of_time), ("old>cell 1", 1));

    let edges = [
        edge(EdgeType::PackedIn, "88.1/box"),
        edge(EdgeType::TransferredTo, "88.1/buyer"),
        edge(EdgeType::Replaces, "88.1/before"),
        edge(EdgeType::DerivedFrom, "88.1/origin"),
    ];
    made_of(&running, "thing", &edges).await;
    assert_eq!(trace(&running, down("88.1/thing")).await.unwrap().shown(), "thing>origin");
    let of = |kinds: &[EdgeType]| kinds.iter().map(|kind| i32::from(*kind)).collect();
    let some = pb::TraceRequest { types: of(&[EdgeType::PackedIn, EdgeType::Replaces]), ..down("88.1/thing") };
    assert_eq!(trace(&running, some).await.unwrap().shown(), "thing>before, thing>box");
    let inside = pb::TraceRequest { types: of(&[EdgeType::PackedIn]), ..up("88.1/box") };
    assert_eq!(trace(&running, inside).await.unwrap().shown(), "thing>box");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_as_whole_after_a_restart() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let parts: Vec<_> = (0..40).map(|number| part(&format!("part {number}"), "1", "", None)).collect();
    for number in 0..60 {
        made_of(&running, &format!("thing {number}"), &parts).await;
    }
    let before = trace(&running, up("88.1/part 7")).await.unwrap();
    assert_eq!(before.edges.len(), 60);
    running.stop().await;
    let found = touchmark::app::fsck(data.path(), &mut |_| {}).unwrap();
    assert_eq!(found.entries, 60);
    let running = Running::start(data.path()).await;
    let after = trace(&running, up("88.1/part 7")).await.unwrap();
    assert_eq!((after.nodes, after.edges), (before.nodes, before.edges));
    // A client that disconnects frees its place.
    for _ in 0..40 {
        let stream = AuditorClient::new(running.channel()).trace(up("88.1/part 7")).await;
        drop(stream);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(trace(&running, up("88.1/part 7")).await.unwrap().edges.len(), 60);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_finds_edges_that_the_ledger_does_not_say() {
    let directories = [directory(), directory()];
    for (data, to) in directories.iter().zip(["b", "c"]) {
        let running = Running::start(data.path()).await;
        made_of(&running, "a", &[part(to, "1", "", None)]).await;
        running.stop().await;
    }
    let [ours, other] = directories.map(|data| data.keep());
    std::fs::remove_file(ours.join("index.seal")).unwrap();
    std::fs::remove_dir_all(ours.join("index")).unwrap();
    std::fs::rename(other.join("index"), ours.join("index")).unwrap();
    let error = touchmark::app::fsck(&ours, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("states of edges"), "{error}");
    [ours, other].iter().for_each(|path| std::fs::remove_dir_all(path).unwrap());
}

#[test]
fn the_command_line_shows_traces() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    let kg = |to: &str| format!("made-of=88.1/{to},quantity=2,unit=kg,from=2026-03-14T12:10:00Z");
    node.run(&["register", "88.1/car", "--value", "NAME=Car\u{1b}[31m", "--edge", &kg("a\"x\\"), "--edge", &kg("b")]);
    node.run(&["register", "88.1/b", "--edge", "made-of=88.1/a\"x\\", "--edge", "packed-in=88.1/box"]);
    let ran = node.run(&["trace", "88.1/car", "--names"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert_eq!(
        lines,
        [
            "88.1/car \"Car\\u{1b}[31m\"",
            "├─ made-of 88.1/a\"x\\ [missing], 2, kg, from 2026-03-14T12:10:00.000Z",
            "└─ made-of 88.1/b, 2, kg, from 2026-03-14T12:10:00.000Z",
            "   └─ made-of 88.1/a\"x\\ [missing]",
            "",
            "Totals:",
            "  88.1/a\"x\\  2 kg + 2",
            "  88.1/b  2 kg",
            "",
            "3 nodes, 3 edges, 1 missing, as of ledger index 1",
        ]
    );
    let ran = node.run(&["trace", "88.1/b", "--direction", "up", "--json"]);
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "{ran:?}");
    assert_eq!(
        (&lines[2]["edge"], &lines[2]["from"], &lines[2]["quantity"]),
        (&"made-of".into(), &"88.1/car".into(), &2.into())
    );
    assert_eq!((&lines[4]["nodes"], &lines[4]["cycles"]), (&2.into(), &serde_json::json!([])));
    let ran = node.run(&["trace", "88.1/car", "--dot"]);
    assert!(ran.out.contains("n1 [label=\"88.1/a\\\"x\\\\\\nmissing\", style=dotted];"), "{}", ran.out);
    assert!(ran.out.contains("n0 -> n1 [label=\"made-of 2 kg\"];"), "{}", ran.out);
    let ran = node.run(&["trace", "88.1/car", "--prov", "--types", "all"]);
    let prov: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(prov["entity"]["item:88.1%2Fcar"]["tm:identifier"], "88.1/car");
    assert_eq!(prov["wasDerivedFrom"]["_:e0"]["prov:generatedEntity"], "item:88.1%2Fcar");
    assert_eq!(prov["hadMember"].as_object().unwrap().values().next().unwrap()["prov:collection"], "item:88.1%2Fbox");
    for section in prov.as_object().unwrap().values().flat_map(|section| section.as_object().unwrap().values()) {
        for name in section.as_object().into_iter().flatten().filter(|(role, _)| role.starts_with("prov:e")) {
            assert!(!prov["entity"][name.1.as_str().unwrap()].is_null(), "{name:?}");
        }
    }
    let ran = node.run(&["trace", "88.1/car", "--depth", "1"]);
    assert!(ran.exit == 0 && ran.err.contains("not complete, there is more than the limits allow: depth"), "{ran:?}");
    let ran = node.run(&["trace", "88.1/none"]);
    assert!(ran.exit == 3 && ran.err.contains("not found"), "{ran:?}");
    let ran = node.run(&["trace", "88.1/car", "--types", "eats"]);
    assert!(ran.exit == 2 && ran.err.contains("edge type `eats`"), "{ran:?}");
    let ran = node.run(&["event", "88.1/e", "--input", "88.1/b=1:kg", "--output", "88.1/p=1.0:kg", "--balance", "kg"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    node.run(&["update", "88.1/car", "--add-edge", "transferred-to=88.1/buyer"]);
    let ran = node.run(&["recall", "88.1/b"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        lines[..3],
        ["88.1/car \"Car\\u{1b}[31m\"", "  holds  2 kg of it", "  with   88.1/buyer, ledger index 3"],
        "{ran:?}"
    );
    assert_eq!(
        lines[3..],
        ["88.1/p [missing]", "  with   nobody known", "2 finished products of 4 nodes, holder unknown for 1"]
    );
    let ran = node.run(&["recall", "88.1/b", "--json"]);
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["holder"]["party"], &lines[1]["holder"]), (&"88.1/buyer".into(), &serde_json::Value::Null));
    assert_eq!(node.stop("INT"), Some(0));
}

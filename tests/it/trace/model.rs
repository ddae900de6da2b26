//! Random edges that are added and removed, against a plain model: both ways, at any moment.

use std::collections::{BTreeSet, VecDeque};

use rand::{RngExt as _, SeedableRng, rngs::StdRng};

use super::*;

const THINGS: usize = 14;
const CHANGES: usize = 250;
const QUESTIONS: usize = 120;

type Edges = BTreeSet<(i32, usize, usize)>;

fn thing(number: usize) -> String {
    ["88.1/thing", "urn:oid:2.999.7", "https://maker.example/t"][number % 3].to_owned()
        + if number % 3 == 1 { "." } else { "/" }
        + &number.to_string()
}

/// Edges that a breadth-first walk finds, each with its distance from the start in edges, and nodes with their depth.
/// `next` returns the edges of a node with the nodes at their other ends.
pub fn breadth_first<N: Clone + Ord, E>(
    start: N,
    depth_max: u32,
    next: impl Fn(&N) -> Vec<(E, N)>,
) -> (Vec<(u32, E)>, BTreeMap<N, u32>) {
    let (mut found, mut nodes) = (Vec::new(), BTreeMap::from([(start.clone(), 0)]));
    let mut queue = VecDeque::from([(start, 0)]);
    while let Some((here, depth)) = queue.pop_front().filter(|(_, depth)| *depth < depth_max) {
        for (edge, far) in next(&here) {
            found.push((depth + 1, edge));
            if !nodes.contains_key(&far) {
                nodes.insert(far.clone(), depth + 1);
                queue.push_back((far, depth + 1));
            }
        }
    }
    (found, nodes)
}

/// All edges that a walk finds.
fn walk(edges: &Edges, start: usize, is_up: bool, kinds: &[i32]) -> Edges {
    let ends = |&edge: &(i32, usize, usize)| if is_up { (edge.2, edge.1) } else { (edge.1, edge.2) };
    let asked = |edge: &&(i32, usize, usize)| kinds.contains(&edge.0);
    let next = |here: &usize| {
        let leaving = edges.iter().filter(asked).filter(|edge| ends(edge).0 == *here);
        leaving.map(|edge| (*edge, ends(edge).1)).collect()
    };
    breadth_first(start, 100, next).0.into_iter().map(|(_, edge)| edge).collect()
}

/// True if the edges, which exclude those reported as cycles, have no circle.
pub fn is_without_circles<N: Clone + Ord>(edges: &BTreeSet<(i32, N, N)>) -> bool {
    let mut left = edges.clone();
    loop {
        let ends: BTreeSet<N> = left.iter().map(|(_, _, to)| to.clone()).collect();
        let before = left.len();
        left.retain(|(_, from, _)| ends.contains(from));
        match left.len() {
            0 => return true,
            after if after == before => return false,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_says_what_the_model_says() {
    let seed = std::env::var("TOUCHMARK_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("seed {seed} (TOUCHMARK_SEED)");
    let mut rng = StdRng::seed_from_u64(seed);
    let data = directory();
    let mut small = config(data.path());
    small.index.overlay_entries_max = 64;
    let running = Running::with(&small).await.unwrap();
    let (mut states, mut now): (Vec<Edges>, Edges) = (Vec::new(), Edges::new());
    for number in 0..THINGS {
        running.apply(create(&thing(number), vec![])).await.unwrap();
        states.push(now.clone());
    }
    for _ in 0..CHANGES {
        let from = rng.random_range(0..THINGS);
        let (mut added, mut removed) = (Edges::new(), Edges::new());
        for _ in 0..rng.random_range(1..4) {
            let edge = (rng.random_range(1..=5), from, rng.random_range(0..THINGS));
            let taken = added.contains(&edge) || removed.contains(&edge);
            if edge.2 != from && !taken {
                if rng.random_bool(0.5) {
                    added.insert(edge)
                } else {
                    removed.insert(edge)
                };
            }
        }
        let edges = |edges: &Edges| {
            let edge = |(kind, _, to): &(i32, usize, usize)| edge(EdgeType::try_from(*kind).unwrap(), &thing(*to));
            edges.iter().map(edge).collect()
        };
        let change = pb::Update {
            mode: pb::update::Mode::Merge.into(),
            add_edges: edges(&added),
            remove_edges: edges(&removed),
            ..Default::default()
        };
        running.apply(update(&thing(from), change)).await.unwrap();
        now.extend(added);
        now.retain(|edge| !removed.contains(edge));
        states.push(now.clone());
    }
    let number_of = |identifier: &str| (0..THINGS).find(|number| thing(*number) == identifier).unwrap();
    for _ in 0..QUESTIONS {
        let (index, start) = (rng.random_range(0..states.len()), rng.random_range(0..THINGS));
        let (is_up, kinds): (bool, Vec<i32>) =
            (rng.random_bool(0.5), (1..=5).filter(|_| rng.random_bool(0.5)).collect());
        let request = if is_up { up(&thing(start)) } else { down(&thing(start)) };
        let asked = if kinds.is_empty() { vec![1, 2] } else { kinds.clone() };
        let traced = trace(&running, at(index as u64, pb::TraceRequest { types: kinds, ..request })).await.unwrap();
        let edge =
            |edge: &pb::TraceEdge| (edge.r#type, number_of(traced.name(edge.from)), number_of(traced.name(edge.to)));
        let found: Edges = traced.edges.iter().map(edge).collect();
        assert_eq!(found, walk(&states[index], start, is_up, &asked), "{start} at {index}, up: {is_up}");
        assert_eq!((found.len(), traced.truncated()), (traced.edges.len(), vec![]), "each edge once");
        let is_cycle = |edge: &&pb::TraceEdge| traced.summary.cycles.contains(&edge.number);
        let kept: Edges = traced.edges.iter().filter(|edge| !is_cycle(edge)).map(edge).collect();
        assert!(is_without_circles(&kept));
        assert_eq!(is_without_circles(&found), traced.summary.cycles.is_empty());
    }
    running.stop().await;
    touchmark::app::fsck(data.path(), &mut |_| {}).unwrap();
}

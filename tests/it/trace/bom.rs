//! The real bill of materials: traces find the parts of the file. Skipped without the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::*;

/// Source, target, quantity, unit, valid from.
type Part = (String, String, String, String, i64);

fn read() -> Option<Vec<Json>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("TOUCHMARK_SHARED").map_or_else(beside, PathBuf::from);
    let text = fs::read_to_string(shared.join("data/bom.jsonl")).ok()?;
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn parts(line: &Json) -> Vec<Part> {
    let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    let part = |edge: &Json| {
        let time = text(&edge["valid_from"]).parse::<jiff::Timestamp>().unwrap().as_millisecond();
        (text(&line["identifier"]), text(&edge["to"]), text(&edge["quantity"]), text(&edge["unit"]), time)
    };
    line["edges"].as_array().into_iter().flatten().map(part).collect()
}

/// All parts below, according to the file.
fn below<'a>(of: &'a str, all: &'a BTreeMap<String, Vec<Part>>, found: &mut BTreeSet<&'a Part>) {
    for part in all.get(of).into_iter().flatten() {
        if found.insert(part) {
            below(&part.1, all, found);
        }
    }
}

/// Sums over all paths of the products of quantities, by target and unit of the last edge.
fn sums(
    of: &str,
    factor: Decimal,
    all: &BTreeMap<String, Vec<Part>>,
    sums_by: &mut BTreeMap<(String, String), Decimal>,
) {
    for (_, to, quantity, unit, _) in all.get(of).into_iter().flatten() {
        let amount = factor * Decimal::from_str_exact(quantity).unwrap();
        *sums_by.entry((to.clone(), unit.clone())).or_default() += amount;
        sums(to, amount, all, sums_by);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vehicle_is_traced_to_exactly_what_the_file_says() {
    let lines = read();
    if !crate::required::is_met("shared", lines.is_some()) {
        return;
    }
    let lines = lines.unwrap();
    let data = directory();
    let running = Running::start(data.path()).await;
    let all: BTreeMap<String, Vec<Part>> =
        lines.iter().map(|line| (line["identifier"].as_str().unwrap().to_owned(), parts(line))).collect();
    let commands = all.iter().map(|(of, parts)| {
        let edges = parts.iter().map(|(_, to, quantity, unit, time)| pb::Edge {
            quantity: quantity.clone(),
            unit: unit.clone(),
            valid_from: Some(*time),
            ..edge(EdgeType::MadeOf, to)
        });
        create_with_edges(of, vec![], edges.collect())
    });
    let results = running.apply_batch(commands.collect()).await.unwrap();
    assert!(results.iter().all(|result| result.receipt().version == 1));

    let used: BTreeSet<&String> = all.values().flatten().map(|part| &part.1).collect();
    let vehicles: Vec<&String> = all.keys().filter(|of| !used.contains(of)).collect();
    let (mut items, mut edges, mut depth) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut reach: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for vehicle in &vehicles {
        let traced = trace(&running, down(vehicle)).await.unwrap();
        let found: BTreeSet<Part> = traced
            .edges
            .iter()
            .map(|edge| {
                let (from, to) = (traced.name(edge.from).to_owned(), traced.name(edge.to).to_owned());
                (from, to, edge.quantity.clone(), edge.unit.clone(), edge.valid_from.unwrap())
            })
            .collect();
        let mut expected = BTreeSet::new();
        below(vehicle, &all, &mut expected);
        assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected, "{vehicle}");
        assert_eq!((found.len(), traced.summary.cycles.len(), traced.truncated()), (traced.edges.len(), 0, vec![]));
        let mut expected = BTreeMap::new();
        sums(vehicle, Decimal::ONE, &all, &mut expected);
        let amounts =
            traced.totals.iter().flat_map(|total| total.amounts.iter().map(move |amount| (total.node, amount)));
        let found: BTreeMap<_, _> = amounts
            .map(|(node, amount)| {
                let number = Decimal::from_str_exact(&amount.quantity).unwrap();
                ((traced.name(node).to_owned(), amount.unit.clone()), number)
            })
            .collect();
        assert_eq!(found, expected, "{vehicle}");
        for node in &traced.nodes {
            assert_eq!(node.state(), State::Active);
            items.insert(node.identifier.clone());
            reach.entry(node.identifier.clone()).or_default().insert((*vehicle).clone());
            depth = depth.max(node.depth);
        }
        edges.extend(traced.edges.iter().map(|edge| [edge.from, edge.to].map(|of| traced.name(of).to_owned())));
    }
    assert_eq!((items.len(), edges.len(), depth), (161, 283, 4));
    // The other way: every part leads to the vehicles that contain it.
    for (part, expected) in &reach {
        let traced = trace(&running, up(part)).await.unwrap();
        let found: BTreeSet<String> =
            traced.nodes.iter().map(|node| node.identifier.clone()).filter(|node| vehicles.contains(&node)).collect();
        assert_eq!(&found, expected, "{part}");
    }
    running.stop().await;
}

//! Receipts: a retry gets the first receipt, of several writers that expect the same version one wins, and the
//! checkpoint verifies with the ledger's key; and the effects of the three kinds of change on a record.

use std::collections::{HashMap, HashSet};

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::Checkpoint;
use tonic::Code;
use touchmark::protocol::grpc::pb::{self, EdgeType};

use crate::support::*;

fn name(text: &str) -> Vec<pb::Value> {
    vec![value(1, "NAME", text)]
}

/// Checks that the receipt of a retry equals the first one, except for the checkpoint.
fn check_replayed(first: &pb::Receipt, again: &pb::Receipt) {
    assert!(!first.replayed && again.replayed);
    let told = |receipt: &pb::Receipt| {
        let pb::Receipt { identifier, ledger_index, leaf_hash, version, time, .. } = receipt.clone();
        (identifier, ledger_index, leaf_hash, version, time)
    };
    assert_eq!(told(first), told(again));
}

/// Commands of every kind, in an order in which each can be carried out.
fn one_of_each() -> Vec<pb::Command> {
    let edges = |mode: pb::update::Mode| pb::Update {
        mode: mode.into(),
        values: name("c"),
        add_edges: vec![edge(EdgeType::MadeOf, "88.1/part")],
        remove_edges: vec![edge(EdgeType::Replaces, "88.1/old")],
        ..Default::default()
    };
    let commands = vec![
        create_with_edges("88.1/A", name("a"), vec![edge(EdgeType::Replaces, "88.1/old")]),
        replace("88.1/a", vec![value(1, "NAME", "b"), value(2, "URL", "https://example.com/")]),
        merge("88.1/a", vec![value(3, "MORE", "x")], vec![2]),
        // A value that is both removed and given ends up given.
        merge("88.1/a", vec![value(3, "MORE", "y")], vec![3]),
        update("88.1/a", edges(pb::update::Mode::Replace)),
        retire("88.1/a"),
    ];
    commands.into_iter().enumerate().map(|(number, command)| request(format!("r{number}"), command)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_receipt() {
    let directory = directory();
    let mut running = Running::start(directory.path()).await;
    let mut receipts = Vec::new();
    for command in one_of_each() {
        receipts.push(running.apply(command.clone()).await.unwrap());
        check_replayed(receipts.last().unwrap(), &running.apply(command).await.unwrap());
    }
    for _ in 0..2 {
        for (command, first) in one_of_each().into_iter().zip(&receipts) {
            check_replayed(first, &running.apply(command).await.unwrap());
        }
        for (outcome, first) in running.apply_batch(one_of_each()).await.unwrap().iter().zip(&receipts) {
            check_replayed(first, outcome.receipt());
        }
        for (outcome, first) in running.apply_stream(one_of_each()).await.unwrap().iter().zip(&receipts) {
            check_replayed(first, outcome.receipt());
        }
        running.stop().await;
        running = Running::start(directory.path()).await;
    }
    assert_eq!(running.entries(), 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_within_one_batch() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    let twice: Vec<_> = one_of_each().into_iter().flat_map(|command| [command.clone(), command]).collect();
    let outcomes = running.apply_batch(twice).await.unwrap();
    for pair in outcomes.chunks(2) {
        check_replayed(pair[0].receipt(), pair[1].receipt());
    }
    assert_eq!(running.entries(), 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_names_one_change() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    running.apply(request("r", create("88.1/a", name("a")))).await.unwrap();
    let edges = vec![edge(EdgeType::MadeOf, "88.1/part")];
    for other in [
        create("88.1/a", name("b")),
        create("88.1/a", vec![value(2, "NAME", "a")]),
        create_with_edges("88.1/a", name("a"), edges),
        replace("88.1/a", name("a")),
        merge("88.1/a", name("a"), vec![]),
        retire("88.1/a"),
        expecting(7, create("88.1/a", name("a"))),
    ] {
        let status = running.apply(request("r", other.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{other:?}");
        assert!(status.message().contains("request id") && status.message().contains("ledger index 0"), "{status}");
    }
    // With another identifier, the same id belongs to another command.
    running.apply(request("r", create("88.1/b", name("b")))).await.unwrap();
    assert_eq!(running.entries(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_expect_one_version_one_wins() {
    const WRITERS: u64 = 16;
    const VERSIONS: u64 = 20;
    let directory = directory();
    let running = Running::start(directory.path()).await;
    running.apply(create("88.1/a", name("start"))).await.unwrap();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut registry = pb::registry_client::RegistryClient::new(running.another_channel().await);
        writers.push(tokio::spawn(async move {
            let mut won = Vec::new();
            for version in 1..=VERSIONS {
                let command = expecting(version, replace("88.1/a", name(&format!("{writer}"))));
                // Every writer tries until the version is taken.
                loop {
                    match registry.apply(command.clone()).await {
                        Ok(receipt) => won.push((receipt.get_ref().version, writer)),
                        Err(status) => {
                            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
                            let early =
                                (0..version).any(|found| status.message().contains(&format!("at version {found},")));
                            if early {
                                tokio::task::yield_now().await;
                                continue;
                            }
                        }
                    }
                    break;
                }
            }
            won
        }));
    }
    let mut winners = HashMap::new();
    for writer in writers {
        for (version, writer) in writer.await.unwrap() {
            assert_eq!(winners.insert(version, writer), None, "two writers made version {version}");
        }
    }
    assert_eq!(winners.keys().copied().collect::<HashSet<_>>(), (2..=VERSIONS + 1).collect());
    let record = running.found("88.1/a").await;
    assert_eq!(content(&record), format!("1 NAME={}", winners[&(VERSIONS + 1)]));
    assert_eq!((record.version, running.entries()), (VERSIONS + 1, VERSIONS + 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_leaves() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    let values = vec![
        value(1, "NAME", "a"),
        pb::Value { ttl: Some(60), permissions: Some(0b1111), ..value(2, "URL", "https://example.com/") },
        value(5, "NOTE", "n"),
    ];
    let receipt = running.apply(create("88.1/Part-A", values)).await.unwrap();
    let first = running.found("88.1/part-a").await;
    assert!(first.values.iter().all(|value| value.timestamp == receipt.time / 1_000));
    assert_eq!((first.values[0].ttl, first.values[0].permissions), (Some(3_600), Some(0b1110)));
    assert_eq!((first.values[1].ttl, first.values[1].permissions), (Some(60), Some(0b1111)));

    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let merged = running.apply(merge("hdl:88.1/PART-A", vec![value(1, "NAME", "b"), value(3, "X", "")], vec![5])).await;
    let merged = merged.unwrap();
    assert_eq!(merged.identifier, "88.1/Part-A");
    let second = running.found("88.1/PART-a").await;
    assert_eq!(content(&second), "1 NAME=b · 2 URL=https://example.com/ · 3 X=");
    assert_eq!(
        (&*second.identifier, second.version, second.ledger_index, second.time),
        ("88.1/Part-A", 2, 1, merged.time)
    );
    let times: Vec<_> = second.values.iter().map(|value| value.timestamp).collect();
    assert_eq!(times, [merged.time / 1_000, receipt.time / 1_000, merged.time / 1_000]);
    assert!(times[0] > times[1]);
    assert_eq!((second.values[1].ttl, second.values[1].permissions), (Some(60), Some(0b1111)));

    let replaced = running.apply(replace("88.1/PART-A", vec![value(0, "A", "1"), value(0, "B", "2")])).await.unwrap();
    let third = running.found("88.1/part-a").await;
    assert_eq!(content(&third), "1 A=1 · 2 B=2");
    assert_eq!(third.identifier, "88.1/Part-A");
    assert!(third.values.iter().all(|value| value.timestamp == replaced.time / 1_000));

    let retired = running.apply(retire("88.1/part-A")).await.unwrap();
    let pb::answer::Outcome::Retired(gone) = running.resolve("88.1/part-a").await else { panic!("not retired") };
    assert_eq!((&*gone.identifier, gone.version, gone.ledger_index, gone.time), ("88.1/Part-A", 4, 3, retired.time));
    assert_eq!(retired.identifier, "88.1/Part-A");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_come_and_go() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    let of = |quantity: &str, to: &str| pb::Edge {
        quantity: quantity.into(),
        unit: "unit:piece".into(),
        valid_from: Some(1_643_899_734_709),
        ..edge(EdgeType::MadeOf, to)
    };
    let change = |add_edges, remove_edges| {
        let mode = pb::update::Mode::Merge.into();
        update("88.1/car", pb::Update { mode, add_edges, remove_edges, ..Default::default() })
    };
    let parts = vec![of("4", "88.1/wheel"), of("1", "88.1/engine"), edge(EdgeType::Replaces, "urn:oid:1.3.6")];
    running.apply(create_with_edges("88.1/car", name("car"), parts)).await.unwrap();
    let shows = "1 NAME=car · made-of 88.1/engine x1unit:piece · made-of 88.1/wheel x4unit:piece";
    let record = running.found("88.1/car").await;
    assert_eq!(content(&record), format!("{shows} · replaces urn:oid:1.3.6"));
    assert_eq!(record.edges[0].valid_from, Some(1_643_899_734_709));

    let removed = vec![edge(EdgeType::Replaces, "1.3.6")];
    running.apply(change(vec![of("5", "88.1/WHEEL"), of("1", "88.1/door")], removed)).await.unwrap();
    let shows = "1 NAME=car · made-of 88.1/door x1unit:piece · made-of 88.1/engine x1unit:piece \
                 · made-of 88.1/WHEEL x5unit:piece";
    assert_eq!(content(&running.found("88.1/car").await), shows);
    // Changes of values leave the edges.
    running.apply(replace("88.1/car", name("van"))).await.unwrap();
    assert_eq!(content(&running.found("88.1/car").await), shows.replace("car", "van"));
    // Removing an edge that does not exist changes nothing.
    running.apply(change(vec![], vec![edge(EdgeType::PackedIn, "88.1/door")])).await.unwrap();
    running.stop().await;
    let running = Running::start(directory.path()).await;
    let record = running.found("88.1/car").await;
    assert_eq!((content(&record), record.version), (shows.replace("car", "van"), 4));
    let none = vec!["88.1/door", "88.1/engine", "88.1/wheel"];
    let none = none.into_iter().map(|to| edge(EdgeType::MadeOf, to)).collect();
    running.apply(change(vec![], none)).await.unwrap();
    assert_eq!(content(&running.found("88.1/car").await), "1 NAME=van");
    running.stop().await;
}

/// Reads a checkpoint and verifies it with the key that the node shows.
fn verified(note: &str, verifier_key: &str) -> Checkpoint {
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    let verifier = StandardVerifier::new(verifier_key).unwrap();
    let (verified, _) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!(verified.len(), 1);
    Checkpoint::from_bytes(note.text()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_verify_and_grow() {
    let directory = directory();
    let (mut size, mut roots, mut time) = (0, HashMap::new(), 0);
    for round in 0..3 {
        let running = Running::start(directory.path()).await;
        let key = running.node.summary().verifier_key;
        let mut check = |receipt: &pb::Receipt, note: &str| {
            let checkpoint = verified(note, &key);
            assert!(checkpoint.size() > receipt.ledger_index && checkpoint.size() >= size);
            assert_eq!(receipt.leaf_hash.len(), 32);
            assert!(receipt.time >= time);
            (size, time) = (checkpoint.size(), receipt.time);
            assert_eq!(*roots.entry(size).or_insert(checkpoint.hash().0), checkpoint.hash().0, "two roots of {size}");
            checkpoint
        };
        for number in 0..10 {
            let receipt = running.apply(create(&format!("88.{round}/{number}"), name("a"))).await.unwrap();
            let checkpoint = check(&receipt, &receipt.checkpoint);
            if receipt.ledger_index == 0 {
                // The root of a tree with one leaf is the leaf hash.
                assert_eq!(receipt.leaf_hash, checkpoint.hash().0.as_slice());
            }
        }
        let many = (0..2_000).map(|number| create(&format!("88.{round}.1/{number}"), vec![])).collect::<Vec<_>>();
        let (batch, stream) = many.split_at(1_000);
        for outcomes in
            [running.apply_batch(batch.to_vec()).await.unwrap(), running.apply_stream(stream.to_vec()).await.unwrap()]
        {
            let mut note = String::new();
            let mut leaves = HashSet::new();
            for outcome in &outcomes {
                if !outcome.receipt().checkpoint.is_empty() {
                    note.clone_from(&outcome.receipt().checkpoint);
                    assert!(leaves.insert(outcome.receipt().leaf_hash.clone()));
                    check(outcome.receipt(), &note);
                }
                assert!(!note.is_empty());
            }
        }
        running.stop().await;
    }
}

/// The commands of a stream are carried out in order, wherever the stream is split into batches.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_carried_out_in_order() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    for round in 0..5 {
        let id = format!("88.1/{round}");
        let mut commands = vec![expecting(0, create(&id, name("0")))];
        commands.extend((1..3_000).map(|version| expecting(version, replace(&id, name(&format!("{version}"))))));
        let outcomes = running.apply_stream(commands).await.unwrap();
        for (version, outcome) in (1..).zip(&outcomes) {
            assert_eq!(outcome.receipt().version, version);
        }
        assert_eq!(content(&running.found(&id).await), "1 NAME=2999");
    }
    running.stop().await;
}

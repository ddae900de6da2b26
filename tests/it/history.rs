//! Every version of a record, by ledger index and by time, and the differences between versions.

use std::{fs, path::Path};

use tonic::{Code, Status};
use touchmark::protocol::grpc::pb::{
    self, answer::Outcome as Answer, auditor_client::AuditorClient, resolve_at_request::At, value_difference,
};

use crate::{
    program::Program,
    support::{
        Running, config, content, create, create_with_edges, directory, edge, merge, question, replace, retire, update,
        value,
    },
};

const PUMP: &str = "88.118.8/Pump";

/// Resolves an identifier as of a ledger index or a time.
pub async fn at(running: &Running, identifier: &str, at: At) -> Result<Answer, Status> {
    let request = pb::ResolveAtRequest { request: Some(question(identifier)), at: Some(at) };
    let answer = AuditorClient::new(running.channel()).resolve_at(request).await?;
    Ok(answer.into_inner().outcome.unwrap())
}

/// Content of a record as of a ledger index, in one line.
async fn said(running: &Running, identifier: &str, index: u64) -> String {
    match at(running, identifier, At::LedgerIndex(index)).await.unwrap() {
        Answer::Found(record) => format!("v{} {}", record.version, content(&record)),
        Answer::NotFound(_) => "not found".into(),
        Answer::Retired(retired) => format!("v{} retired", retired.version),
        other => panic!("{other:?}"),
    }
}

/// A page of a history.
pub async fn history(running: &Running, identifier: &str, limit: u32, before: Option<u64>) -> pb::HistoryResponse {
    let request = pb::HistoryRequest { identifier: identifier.into(), limit: Some(limit), before };
    AuditorClient::new(running.channel()).history(request).await.unwrap().into_inner()
}

/// A change in one line: `update v2 +3 ~1 -2 · edges +1 -0`.
fn shown(change: &pb::VersionChange) -> String {
    let sign = |difference: &pb::ValueDifference| match difference.kind() {
        value_difference::Kind::Added => format!(" +{}", difference.index),
        value_difference::Kind::Changed => format!(" ~{}", difference.index),
        value_difference::Kind::Removed => format!(" -{}", difference.index),
        value_difference::Kind::Unspecified => panic!("{change:?}"),
    };
    let differences: String = change.differences.iter().map(sign).collect();
    let kind = change.kind().as_str_name().trim_start_matches("KIND_").to_lowercase();
    let (added, removed) = (change.edges_added.len(), change.edges_removed.len());
    format!("{kind} v{}{differences} · edges +{added} -{removed}", change.record.as_ref().unwrap().version)
}

/// Registers, changes and retires one identifier among others; entry 0 belongs to another.
async fn live(running: &Running) -> Vec<pb::Receipt> {
    let commands = [
        create("88.118.8/Other", vec![value(1, "NAME", "Other")]),
        create_with_edges(
            PUMP,
            vec![value(1, "NAME", "Pump"), value(2, "MASS", "4")],
            vec![edge(pb::EdgeType::MadeOf, "88.118.8/Other")],
        ),
        create("88.118.8/Pump-2", vec![value(1, "NAME", "Neighbour")]),
        merge(PUMP, vec![value(1, "NAME", "Pump B"), value(3, "COLOUR", "red")], vec![2]),
        create("88.118.8/Pumq", vec![value(1, "NAME", "Neighbour")]),
        update(
            PUMP,
            pb::Update {
                mode: pb::update::Mode::Merge.into(),
                remove_edges: vec![edge(pb::EdgeType::MadeOf, "88.118.8/Other")],
                ..Default::default()
            },
        ),
        replace(PUMP, vec![value(1, "NAME", "Pump B"), value(3, "COLOUR", "blue")]),
        retire(PUMP),
        replace("88.118.8/Other", vec![value(1, "NAME", "Other B")]),
    ];
    let mut receipts = Vec::new();
    for command in commands {
        receipts.push(running.apply(command).await.unwrap());
    }
    receipts
}

async fn check_past(running: &Running) {
    let expected = [
        "not found",
        "v1 1 NAME=Pump · 2 MASS=4 · made-of 88.118.8/Other",
        "v1 1 NAME=Pump · 2 MASS=4 · made-of 88.118.8/Other",
        "v2 1 NAME=Pump B · 3 COLOUR=red · made-of 88.118.8/Other",
        "v2 1 NAME=Pump B · 3 COLOUR=red · made-of 88.118.8/Other",
        "v3 1 NAME=Pump B · 3 COLOUR=red",
        "v4 1 NAME=Pump B · 3 COLOUR=blue",
        "v5 retired",
        "v5 retired",
    ];
    for (index, expected) in (0..).zip(expected) {
        assert_eq!(said(running, PUMP, index).await, expected, "behind entry {index}");
    }
    let page = history(running, "88.118.8/PUMP", 10, None).await;
    let changes: Vec<String> = page.versions.iter().map(shown).collect();
    assert_eq!(
        changes,
        [
            "retire v5 -1 -3 · edges +0 -0",
            "update v4 ~3 · edges +0 -0",
            "update v3 · edges +0 -1",
            "update v2 ~1 -2 +3 · edges +0 -0",
            "create v1 +1 +2 · edges +1 -0",
        ]
    );
    assert!(page.versions.iter().all(|change| change.by == "loopback"), "{page:?}");
    assert_eq!(page.next_before, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_survives_restarts_rebuilds_and_older_directories() {
    let data = directory();
    let config = config(data.path());
    let running = Running::start(data.path()).await;
    live(&running).await;
    check_past(&running).await;
    running.stop().await;
    // Untouched; without the index; without positions, as in older directories; below, with torn positions after a
    // crash.
    let tampered: [fn(&Path); 3] = [
        |_| {},
        |data| fs::remove_dir_all(data.join("index")).unwrap(),
        |data| fs::remove_file(data.join("ledger/tree/positions")).unwrap(),
    ];
    for tamper in tampered {
        tamper(data.path());
        let running = Running::with(&config).await.unwrap();
        check_past(&running).await;
        running.stop().await;
    }
    let running = Running::with(&config).await.unwrap();
    fs::OpenOptions::new().write(true).open(data.path().join("ledger/tree/positions")).unwrap().set_len(21).unwrap();
    let running = running.abandon(&config).await;
    check_past(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_find_what_was_there() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let mut receipts = vec![running.apply(create(PUMP, vec![value(1, "N", "0")])).await.unwrap()];
    for number in 1..40 {
        // Most entries share their millisecond with others.
        if number % 7 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        receipts.push(running.apply(replace(PUMP, vec![value(1, "N", number.to_string())])).await.unwrap());
    }
    let (first, last) = (receipts[0].time, receipts[39].time);
    for time in first - 2..=last + 2 {
        let expected = receipts.iter().rev().find(|receipt| receipt.time <= time).map(|receipt| receipt.version);
        let found = match at(&running, PUMP, At::Time(time)).await.unwrap() {
            Answer::Found(record) => Some(record.version),
            Answer::NotFound(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "at {time}");
    }
    assert!(matches!(at(&running, "88.118.8/None", At::Time(last)).await, Ok(Answer::NotFound(_))));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_histories_come_in_pages() {
    let data = directory();
    let running = Running::start(data.path()).await;
    running.apply(create(PUMP, vec![value(1, "N", "1")])).await.unwrap();
    let commands = (2..=250).map(|number: u32| replace(PUMP, vec![value(1, "N", number.to_string())])).collect();
    running.apply_batch(commands).await.unwrap();
    let (mut before, mut versions) = (None, Vec::new());
    loop {
        let page = history(&running, PUMP, 60, before).await;
        assert!(page.versions.len() <= 60);
        for change in page.versions {
            let record = change.record.as_ref().unwrap();
            assert_eq!(content(record), format!("1 N={}", record.version));
            assert_eq!(change.differences.len(), 1, "the last one of a page is compared, too: {change:?}");
            versions.push(record.version);
        }
        before = page.next_before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(versions, (1..=250).rev().collect::<Vec<u64>>());
    // Long versions make short pages, but never empty ones.
    let long = "x".repeat(65_536);
    let values = (1..=12).map(|index| value(index, "DATA", long.clone())).collect::<Vec<_>>();
    running.apply(create("88.118.8/Long", values.clone())).await.unwrap();
    for _ in 0..9 {
        running.apply(replace("88.118.8/Long", values.clone())).await.unwrap();
    }
    let page = history(&running, "88.118.8/Long", 1_000, None).await;
    assert!((2..9).contains(&page.versions.len()) && page.next_before.is_some(), "{}", page.versions.len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_is_counted_and_not_shown() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let secret = |data: &str| pb::Value { permissions: Some(0b1100), ..value(2, "COST", data) };
    running.apply(create(PUMP, vec![value(1, "NAME", "Pump"), secret("7")])).await.unwrap();
    running.apply(merge(PUMP, vec![secret("8")], vec![])).await.unwrap();
    running.apply(merge(PUMP, vec![value(2, "COST", "9")], vec![])).await.unwrap();
    let page = history(&running, PUMP, 3, None).await;
    let changes: Vec<(String, u32)> =
        page.versions.iter().map(|change| (shown(change), change.values_withheld)).collect();
    let expected =
        [("update v3 +2 · edges +0 -0", 0), ("update v2 · edges +0 -0", 1), ("create v1 +1 · edges +0 -0", 1)];
    assert_eq!(changes, expected.map(|(change, withheld)| (change.to_owned(), withheld)));
    assert_eq!(said(&running, PUMP, 1).await, "v2 1 NAME=Pump");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_without_an_answer_say_why() {
    let data = directory();
    let running = Running::start(data.path()).await;
    running.apply(create(PUMP, vec![])).await.unwrap();
    let refused = at(&running, PUMP, At::LedgerIndex(1)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::OutOfRange, "ledger index 1 is still to come; the ledger has 1 entries")
    );
    let mut auditor = AuditorClient::new(running.channel());
    let nowhere = pb::ResolveAtRequest { request: Some(question(PUMP)), at: None };
    assert_eq!(auditor.resolve_at(nowhere).await.unwrap_err().code(), Code::InvalidArgument);
    for (identifier, limit) in [("88 118", 1), (PUMP, 0), (PUMP, 1_001)] {
        let request = pb::HistoryRequest { identifier: identifier.into(), limit: Some(limit), before: None };
        assert_eq!(auditor.history(request).await.unwrap_err().code(), Code::InvalidArgument, "{identifier} {limit}");
    }
    let none = pb::HistoryRequest { identifier: PUMP.into(), limit: None, before: Some(0) };
    assert_eq!(auditor.history(none).await.unwrap().into_inner(), pb::HistoryResponse::default());
    running.stop().await;
}

#[test]
fn the_command_line_shows_the_past() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    node.run(&["register", PUMP, "--value", "NAME=Pump", "--value", "MASS=4"]);
    node.run(&["update", PUMP, "--value", "1:NAME=Pump B"]);
    let ran = node.run(&["history", PUMP]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(ran.exit == 0 && lines[0].starts_with("version 2: updated, ledger index 1, "), "{ran:?}");
    assert_eq!((lines[1], lines[2]), ("  ~    1  NAME  Pump B", "       2  MASS  4"), "{ran:?}");
    assert!(lines[3].starts_with("version 1: created, ledger index 0, "), "{ran:?}");
    assert_eq!(lines[4..], ["  +    1  NAME  Pump", "  +    2  MASS  4"], "{ran:?}");
    let ran = node.run(&["history", PUMP, "--limit", "1", "--json"]);
    let line: serde_json::Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!(
        (&line["change"], &line["values_changed"][0], &line["version"]),
        (&"update".into(), &1.into(), &2.into())
    );
    assert!(ran.err.contains("there are earlier versions: --before 1"), "{ran:?}");
    let ran = node.run(&["resolve", PUMP, "--as-of", "0"]);
    assert!(ran.exit == 0 && ran.out.contains("NAME  Pump\n"), "{ran:?}");
    let ran = node.run(&["resolve", PUMP, "--as-of", "1970-01-02T00:00:00Z"]);
    assert!(ran.exit != 0 && ran.err.contains("not found"), "{ran:?}");
    let ran = node.run(&["resolve", PUMP, "--as-of", "yesterday"]);
    assert!(ran.exit == 2 && ran.err.contains("neither a ledger index nor a time"), "{ran:?}");
    let ran = node.run(&["history", "88.118.8/none"]);
    assert!(ran.exit != 0 && ran.err.contains("not found"), "{ran:?}");
    assert_eq!(node.stop("INT"), Some(0));
}

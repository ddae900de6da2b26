//! Atomic batches, carried out as a whole or not at all, over gRPC and from the command line.

use std::fmt::Write as _;

use tonic::Code;
use touchmark::protocol::grpc::pb::{self, refusal::Kind};

use crate::{
    program::{Program, file, run},
    support::*,
};

async fn apply_all(running: &Running, commands: Vec<pb::Command>) -> Vec<Outcome> {
    let response = running.registry().apply_batch(pb::ApplyBatchRequest { commands, atomic: true }).await.unwrap();
    response.into_inner().results.into_iter().map(outcome).collect()
}

fn name(text: &str) -> Vec<pb::Value> {
    vec![value(1, "NAME", text)]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_commands_are_carried_out_or_none() {
    let directory = directory();
    let mut running = Running::start(directory.path()).await;
    running.apply(create("88.1/there", name("x"))).await.unwrap();
    running.apply(create("88.1/kept", name("x"))).await.unwrap();
    let moved = |last| {
        vec![
            request("1", create("88.1/new", name("a"))),
            request("2", merge("88.1/kept", name("moved"), vec![])),
            request("3", create("88.1/other", name("b"))),
            last,
        ]
    };
    // The last command is refused: so is the batch, and every refusal names the reason.
    let outcomes = apply_all(&running, moved(create("88.1/there", name("y")))).await;
    for outcome in &outcomes[..3] {
        let refusal = outcome.refusal();
        assert_eq!((refusal.kind(), refusal.code), (Kind::Withdrawn, Code::FailedPrecondition.into()));
        let why = "command 4 of it was refused: `88.1/there` is already registered (version 1";
        assert!(refusal.message.contains(why), "{}", refusal.message);
    }
    let in_the_way = outcomes[3].refusal();
    assert_eq!((in_the_way.kind(), in_the_way.existing.unwrap().version), (Kind::AlreadyExists, 1));
    assert_eq!((running.entries(), content(&running.found("88.1/kept").await)), (2, "1 NAME=x".into()));
    assert!(matches!(running.resolve("88.1/new").await, pb::answer::Outcome::NotFound(_)));

    // With a command that is accepted, all entries share one checkpoint and one time, with consecutive indexes.
    let commands = || moved(request("4", retire("88.1/new")));
    let outcomes = apply_all(&running, commands()).await;
    let receipts: Vec<_> = outcomes.iter().map(Outcome::receipt).collect();
    assert!((2..).zip(&receipts).all(|(index, receipt)| receipt.ledger_index == index));
    assert!(receipts.iter().all(|receipt| receipt.time == receipts[0].time));
    assert!(receipts[0].checkpoint.contains("\n6\n") && receipts[1..].iter().all(|r| r.checkpoint.is_empty()));

    // A batch whose receipts were lost is sent again, also after a restart.
    for _ in 0..2 {
        let again = apply_all(&running, commands()).await;
        assert!(again.iter().all(|outcome| outcome.receipt().replayed));
        assert_eq!(running.entries(), 6);
        running.stop().await;
        running = Running::start(directory.path()).await;
    }
    assert_eq!(content(&running.found("88.1/kept").await), "1 NAME=moved");
    running.stop().await;
    let data = directory.path().to_str().unwrap();
    assert_eq!(run(["fsck", "--data", data]).exit, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_atomic_batch_takes() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    // An empty atomic batch is accepted: so a client finds out whether the node knows atomic batches.
    assert!(apply_all(&running, vec![]).await.is_empty());
    let status = running.apply_batch(vec![]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    running.apply(create("88.1/a", name("x"))).await.unwrap();
    let outcomes = apply_all(&running, vec![create("88.1/b", name("x")), erase("88.1/a", "r")]).await;
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.refusal().kind()).collect();
    assert_eq!(kinds, [Kind::Withdrawn, Kind::Invalid]);
    assert!(outcomes[1].refusal().message.contains("a batch of its own"));
    // A malformed command makes the whole batch fail, too.
    let outcomes = apply_all(&running, vec![create("88.1/b", name("x")), create("", name("x"))]).await;
    assert_eq!(outcomes[0].refusal().kind(), Kind::Withdrawn);
    assert_eq!(running.entries(), 1);
    let outcomes = apply_all(&running, vec![erase("88.1/a", "r")]).await;
    assert_eq!(outcomes[0].receipt().version, 2);
    running.stop().await;
}

#[test]
fn an_import_registers_all_lines_or_none() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    let line = |identifier: &str, data: &str| {
        format!("{{\"identifier\":\"{identifier}\",\"values\":[{{\"type\":\"N\",\"data\":\"{data}\"}}]}}\n")
    };
    let lines = |count: usize| (0..count).map(|nth| line(&format!("88.118/{nth}"), "x")).collect::<String>();
    let import = |paths: &[&str]| node.run(&[&["import", "--all-or-nothing"], paths].concat());
    let good = file(&files, "good.jsonl", lines(300));
    let table = file(&files, "table.csv", "identifier,NAME\n88.118/t1,x\n88.118/t2,y\n");

    // A line that cannot be read: nothing is sent.
    let cut = file(&files, "cut.jsonl", line("88.118/c", "x") + "{\"identifier\":\n");
    let ran = import(&[&good, &cut]);
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert!(
        ran.out.starts_with("registered 0 records, 1 failed, and the other 301 are left out with them"),
        "{}",
        ran.out
    );
    assert!(ran.err.starts_with(&format!("{cut}:2: ")), "{}", ran.err);
    // A record that the node refuses: nothing is registered.
    assert_eq!(node.run(&["register", "88.118/7", "--value", "NAME=other"]).exit, 0);
    let ran = import(&[&table, &good]);
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert!(ran.out.starts_with("registered 0 records, 1 failed, and the other 301 are left out"), "{}", ran.out);
    assert_eq!(ran.err.trim_end(), format!("{good}:8: `88.118/7` is already registered (version 1, ledger index 0)"));
    for missing in ["88.118/0", "88.118/t1"] {
        assert_eq!(node.run(&["resolve", missing]).exit, 3, "{missing}");
    }
    let ran = node.run(&["import", "--all-or-nothing", "--json", &good]);
    assert!(ran.out.contains("\"status\":\"already exists\"") && ran.out.contains("\"withdrawn\":299"), "{}", ran.out);

    // Without the refused record, every line is registered, once.
    let mut rest = String::new();
    lines(300).lines().filter(|line| !line.contains("/7\"")).for_each(|line| writeln!(rest, "{line}").unwrap());
    let rest = file(&files, "rest.jsonl", rest);
    let ran = import(&[&rest, &table]);
    assert!(ran.exit == 0 && ran.out.starts_with("registered 301 records, in "), "{ran:?}");
    let ran = import(&[&rest, &table]);
    assert!(
        ran.exit == 0 && ran.out.starts_with("registered 0 records, resumed: 301 were already registered"),
        "{ran:?}"
    );

    let many = file(&files, "many.jsonl", lines(10_001));
    let ran = import(&[&many]);
    assert_eq!((ran.exit, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("10000 in 16777216 bytes; nothing was registered"), "{}", ran.err);
    let ran = node.run(&["import", "--all-or-nothing", "--batch", "10", &good]);
    assert_eq!(ran.exit, 2, "{ran:?}");
}

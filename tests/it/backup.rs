//! Copies of a running node's directory, made under load as docs/operating.md describes ("Back up"): a node starts on
//! each copy, the copy is sound, and everything acknowledged before the copy is there.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use touchmark::{
    app,
    protocol::grpc::pb::{self, answer::Outcome as Answer, registry_client::RegistryClient},
};

use crate::{
    program::Program,
    support::{Running, config, create, directory, value},
};

/// Number of copies, each made under load.
const COPIES: usize = 3;
/// Commands of a batch.
const BATCH: usize = 100;

/// Identifiers acknowledged until now.
type Acknowledged = Arc<Mutex<Vec<String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_node_that_is_held_still_is_a_backup() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..2)
        .map(|writer| tokio::spawn(write(writer, node.grpc.clone(), Arc::clone(&acknowledged), Arc::clone(&stop))))
        .collect();
    let mut copies = Vec::new();
    for _ in 0..COPIES {
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.signal("STOP");
        let before = acknowledged.lock().unwrap().clone();
        let copied = directory();
        copy(data.path(), copied.path());
        node.signal("CONT");
        copies.push((copied, before));
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(node.stop("INT"), Some(0));
    for (copied, before) in &copies {
        assert!(before.len() > 200, "there was load: {}", before.len());
        check(copied.path(), before).await;
    }
}

/// The reason for stopping the node while it is copied: bytes read before a write, joined with bytes read after it, are
/// a state that never existed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_with_a_gap_is_refused() {
    let (data, copied) = (directory(), directory());
    let node = Running::start(data.path()).await;
    let batch = |turn: usize| (0..BATCH).map(|number| create(&format!("88.118/{turn}-{number}"), vec![])).collect();
    node.apply_batch(batch(0)).await.unwrap();
    copy(data.path(), copied.path());
    let segment = "ledger/segments/00000000000000000000.seg";
    let mut bytes = fs::read(data.path().join(segment)).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let read = written + 5_000;
    for turn in 1..10 {
        node.apply_batch(batch(turn)).await.unwrap();
    }
    let later = fs::read(data.path().join(segment)).unwrap();
    assert!(later.iter().rposition(|byte| *byte != 0).unwrap() > read + 5_000);
    bytes.truncate(read);
    bytes.extend_from_slice(&later[read..]);
    fs::write(copied.path().join(segment), bytes).unwrap();
    let refused = Running::with(&config(copied.path())).await.err().unwrap().to_string();
    assert!(refused.contains("holds no whole frame at offset"), "{refused}");
    node.stop().await;
}

async fn write(writer: usize, address: String, acknowledged: Acknowledged, stop: Arc<AtomicBool>) {
    let mut client = RegistryClient::connect(format!("http://{address}")).await.unwrap();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let identifier = |number: usize| format!("88.118/{writer}-{turn}-{number}");
        let data = "x".repeat(50 + 7 * turn % 2_000);
        let record = |number: usize| create(&identifier(number), vec![value(1, "N", data.clone())]);
        let commands = (0..BATCH).map(record).collect();
        let results =
            client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await.unwrap().into_inner().results;
        for result in results {
            let Some(pb::apply_result::Result::Receipt(receipt)) = result.result else { panic!("{result:?}") };
            acknowledged.lock().unwrap().push(receipt.identifier);
        }
    }
}

/// Copies the ledger's files as docs/operating.md ("Back up") describes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to.join("ledger")).unwrap();
    for name in ["FORMAT", "ledger/key", "ledger/signed_head", "ledger/segments"] {
        let copied = Command::new("cp").arg("-R").arg(from.join(name)).arg(to.join(name)).status();
        assert!(copied.unwrap().success(), "{name}");
    }
}

async fn check(copied: &Path, before: &[String]) {
    let node = Running::with(&config(copied)).await.unwrap();
    for identifiers in before.chunks(1_000) {
        for (answer, identifier) in node.resolve_batch(identifiers).await.into_iter().zip(identifiers) {
            assert!(matches!(answer, Answer::Found(_)), "{identifier}: {answer:?}");
        }
    }
    let entries = node.entries();
    assert!(entries >= before.len() as u64);
    node.stop().await;
    let report = app::fsck(copied, &mut |_| {}).unwrap();
    assert_eq!((report.entries, report.sealed, report.torn_bytes), (entries, true, 0));
}

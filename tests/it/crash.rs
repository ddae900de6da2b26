//! Kill -9 of the real binary under load, at random moments: everything acknowledged is in the ledger and in the index,
//! and no signed checkpoint contradicts the tree.
//!
//! `TOUCHMARK_KILLS` sets the number of kills (8 unless given); `TOUCHMARK_SEED` repeats a run.

mod matrix;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use tempfile::NamedTempFile;
use tlog_tiles::{Checkpoint, Hash, node_hash};
use touchmark::{
    app,
    protocol::grpc::pb::{self, registry_client::RegistryClient, resolver_client::ResolverClient},
};

/// Number of concurrent writers.
const WRITERS: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9() {
    let (kills, seed) = (number("TOUCHMARK_KILLS").unwrap_or(8), seed());
    println!("TOUCHMARK_KILLS={kills} TOUCHMARK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut acknowledged = Acknowledged::default();
    for round in 0..kills {
        let node = Node::start(&data);
        acknowledged.check_served(&node, &mut random).await;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write_until_killed(node.address.clone(), round, writer, random.next_u64())))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(30..500))).await;
        node.kill();
        for writer in writers {
            acknowledged.add(writer.await.unwrap());
        }
        if random.random_bool(0.3) {
            app::fsck(&data, &mut |_| {}).expect("sound right after the kill");
            acknowledged.check_tree(&data);
        }
    }
    let node = Node::start(&data);
    acknowledged.check_all_served(&node).await;
    node.stop();
    let report = app::fsck(&data, &mut |_| {}).expect("sound after a clean stop");
    assert!(report.sealed && report.torn_bytes == 0, "{report:?}");
    acknowledged.check_tree(&data);
    println!(
        "{} receipts, {} entries, {} identifiers",
        acknowledged.receipts.len(),
        report.entries,
        report.identifiers
    );
    assert!(acknowledged.receipts.len() as u64 > kills * 10, "the kills left room for real load");
}

/// The number in an environment variable.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seed of the random choices.
fn seed() -> u64 {
    number("TOUCHMARK_SEED").unwrap_or_else(|| rand::rng().next_u64())
}

/// A node process.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn start(data: &Path) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let log = NamedTempFile::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_touchmark"))
            .args(["serve", "--dns", "127.0.0.1:0", "--http", "127.0.0.1:0", "--grpc", &address, "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            let said = || fs::read_to_string(log.path()).unwrap();
            assert_eq!(child.try_wait().unwrap(), None, "the node did not start again: {}", said());
            assert!(began.elapsed() < Duration::from_secs(30), "the node does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(self.child.wait().unwrap().success(), "a clean stop ends with success");
    }
}

/// Replies that a writer received before the node died.
#[derive(Default)]
struct Heard {
    receipts: Vec<(pb::Receipt, String)>,
    checkpoints: Vec<String>,
    /// Secret that was erased for good.
    erased: Option<String>,
}

/// Registers and updates, alone and in batches, until the connection breaks.
async fn write_until_killed(address: String, round: u64, writer: u64, seed: u64) -> Heard {
    let mut random = StdRng::seed_from_u64(seed);
    let mut heard = Heard::default();
    let Ok(mut client) = RegistryClient::connect(format!("http://{address}")).await else { return heard };
    for turn in 0_u64.. {
        let count = if random.random_bool(0.5) { 1 } else { random.random_range(2..300) };
        let commands: Vec<_> = (0..count)
            .map(|number| command(&format!("88.118.8/{round}-{writer}-{turn}-{number}"), random.next_u64(), turn))
            .collect();
        let texts: Vec<_> = commands.iter().map(data_of).collect();
        let Ok(reply) = client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await else {
            return heard;
        };
        let mut checkpoint = String::new();
        for (result, text) in reply.into_inner().results.into_iter().zip(texts) {
            let Some(pb::apply_result::Result::Receipt(receipt)) = result.result else {
                panic!("refused: {result:?}");
            };
            if !receipt.checkpoint.is_empty() {
                checkpoint.clone_from(&receipt.checkpoint);
            }
            heard.receipts.push((receipt, text));
        }
        heard.checkpoints.push(checkpoint);
    }
    heard
}

/// A command that creates the writer's own identifier, or replaces its values.
fn command(identifier: &str, random: u64, turn: u64) -> pb::Command {
    let value = pb::Value {
        index: 1,
        r#type: "NAME".into(),
        data: format!("{random:x}").repeat(1 + (random % 40) as usize).into(),
        ..pb::Value::default()
    };
    let create = pb::Create { values: vec![value], edges: Vec::new() };
    let request_id = if turn.is_multiple_of(3) { random.to_be_bytes().to_vec() } else { Vec::new() };
    pb::Command {
        identifier: identifier.into(),
        operation: Some(pb::command::Operation::Create(create)),
        expected_version: None,
        request_id: request_id.into(),
    }
}

fn data_of(command: &pb::Command) -> String {
    match &command.operation {
        Some(pb::command::Operation::Create(create)) => String::from_utf8(create.values[0].data.to_vec()).unwrap(),
        _ => String::new(),
    }
}

/// Everything that was ever acknowledged.
#[derive(Clone, Default)]
struct Acknowledged {
    receipts: HashMap<String, (pb::Receipt, String)>,
    checkpoints: BTreeMap<u64, Hash>,
    erased: Vec<String>,
}

impl Acknowledged {
    fn add(&mut self, heard: Heard) {
        for (receipt, text) in heard.receipts {
            self.receipts.insert(receipt.identifier.clone(), (receipt, text));
        }
        self.erased.extend(heard.erased);
        for note in heard.checkpoints {
            let (text, _) = note.rsplit_once("\n\n").expect("a signed note");
            let checkpoint = Checkpoint::from_bytes(format!("{text}\n").as_bytes()).expect("a checkpoint");
            let known = self.checkpoints.insert(checkpoint.size(), *checkpoint.hash());
            assert!(known.is_none_or(|known| known == *checkpoint.hash()), "two roots for one size");
        }
    }

    /// Checks that erased secrets are in no file.
    fn check_erased(&self, data: &Path) {
        for path in files(data) {
            let bytes = fs::read(&path).unwrap();
            for secret in &self.erased {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {}", path.display());
            }
        }
    }

    async fn check_served(&self, node: &Node, random: &mut StdRng) {
        let sample: Vec<_> = self.receipts.values().filter(|_| random.random_bool(0.2)).collect();
        check(node, &sample).await;
    }

    async fn check_all_served(&self, node: &Node) {
        check(node, &self.receipts.values().collect::<Vec<_>>()).await;
    }

    /// Compares receipts and checkpoints with the leaf hashes in the tree files.
    fn check_tree(&self, data: &Path) {
        let bytes = fs::read(data.join("ledger/tree/0")).unwrap();
        let leaves: Vec<Hash> = bytes.as_chunks::<32>().0.iter().copied().map(Hash).collect();
        for (receipt, _) in self.receipts.values() {
            assert_eq!(leaves[receipt.ledger_index as usize].0, *receipt.leaf_hash, "{}", receipt.identifier);
        }
        let mut subtrees: Vec<(u32, Hash)> = Vec::new();
        for (size, leaf) in (1..).zip(leaves) {
            let (mut height, mut hash) = (0, leaf);
            while let Some(&(left_height, left)) = subtrees.last().filter(|(left_height, _)| *left_height == height) {
                hash = node_hash(left, hash);
                height = left_height + 1;
                subtrees.pop();
            }
            subtrees.push((height, hash));
            if let Some(signed) = self.checkpoints.get(&size) {
                let mut roots = subtrees.iter().rev().map(|(_, hash)| *hash);
                let last = roots.next().unwrap();
                assert_eq!(
                    roots.fold(last, |right, left| node_hash(left, right)),
                    *signed,
                    "checkpoint of size {size}"
                );
            }
        }
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(directory).unwrap().map(|item| item.unwrap().path());
    items.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn check(node: &Node, receipts: &[&(pb::Receipt, String)]) {
    let mut client = ResolverClient::connect(format!("http://{}", node.address)).await.unwrap();
    for chunk in receipts.chunks(1_000) {
        let request = |identifier: &String| pb::ResolveRequest {
            identifier: identifier.clone(),
            ..pb::ResolveRequest::default()
        };
        let requests = chunk.iter().map(|(receipt, _)| request(&receipt.identifier)).collect();
        let answers = client.resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap().into_inner().answers;
        for (answer, (receipt, text)) in answers.into_iter().zip(chunk) {
            let Some(pb::answer::Outcome::Found(record)) = answer.outcome else {
                panic!("acknowledged and gone: {receipt:?}");
            };
            assert_eq!((record.version, record.ledger_index), (receipt.version, receipt.ledger_index));
            assert_eq!(record.values[0].data, text.as_bytes());
        }
    }
}

//! A fault at every write, sync, truncation and rename of the ledger, its redactions and the output log, one at a time:
//! the call fails, or the process is killed before or after the call. When the directory is opened again, it holds
//! everything acknowledged, nothing that was erased, and no signed checkpoint contradicts the tree.
//!
//! `strace` injects the faults; without it the test is skipped. `TOUCHMARK_FAULTS` is the number of randomly chosen
//! cases (12 unless given, `all` for every case); `TOUCHMARK_SEED` repeats a choice.
//!
//! `strace` numbers the calls of each thread, and a new directory starts with other calls than a used one: the matrix
//! covers both, and so reaches the calls at start and those of the writing thread.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use touchmark::{
    app,
    protocol::grpc::pb::{self, command::Operation, registry_client::RegistryClient},
};

use super::{Acknowledged, Heard, Node, command, data_of, number, seed};
use crate::program::{exit_code, is_installed, touchmark};

/// System calls that change the disk.
const CALLS: [&str; 6] = ["write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename"];
/// Sizes of the batches, in commands, sent one after the other.
const BATCHES: [usize; 8] = [1, 1, 40, 1, 300, 2, 1, 5];
const CASES_DEFAULT: u64 = 12;
/// Time for a node under `strace` to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Effect of a fault on a call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    InputOutput,
    NoSpace,
    KilledBefore,
    KilledAfter,
}

impl Fault {
    const ALL: [Self; 4] = [Self::InputOutput, Self::NoSpace, Self::KilledBefore, Self::KilledAfter];

    fn injection(self) -> &'static str {
        match self {
            Self::InputOutput => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
            Self::KilledBefore => "error=EIO:signal=KILL",
            Self::KilledAfter => "signal=KILL",
        }
    }
}

/// One fault, at the `when`th such call of a thread.
#[derive(Clone, Copy, Debug)]
struct Case {
    start: Start,
    call: &'static str,
    when: usize,
    fault: Fault,
}

/// State of the directory at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// No directory.
    New,
    /// A directory with entries.
    Used,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_call_may_fail() {
    if !is_installed("strace") {
        return;
    }
    let seed = seed();
    let used = tempfile::tempdir().unwrap();
    let used_data = used.path().join("data");
    let mut before = Acknowledged::default();
    let node = Node::start(&used_data);
    before.add(write(&node.address, "before").await);
    node.kill();
    let mut cases = Vec::new();
    for start in [Start::New, Start::Used] {
        let directory = begin(start, &used_data);
        for (call, count) in calls(&directory.path().join("data")).await {
            assert!(count > 0, "{call}: the node never does this: the list is out of date");
            let all = (1..=count).flat_map(|when| Fault::ALL.map(|fault| Case { start, call, when, fault }));
            cases.extend(all);
        }
    }
    let (all, wanted) = (cases.len(), std::env::var("TOUCHMARK_FAULTS").unwrap_or_default());
    if wanted != "all" {
        cases.shuffle(&mut StdRng::seed_from_u64(seed));
        cases.truncate(number("TOUCHMARK_FAULTS").unwrap_or(CASES_DEFAULT) as usize);
    }
    println!("{} of {all} cases, TOUCHMARK_SEED={seed}", cases.len());
    let mut met = 0;
    for case in cases {
        println!("{case:?}");
        met += usize::from(try_case(case, &used_data, &before).await);
    }
    println!("{met} of them were met");
}

/// Makes a directory in the given state.
fn begin(start: Start, used: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    if start == Start::Used {
        let copied = Command::new("cp").arg("-a").arg(used).arg(directory.path()).status().unwrap();
        assert!(copied.success());
    }
    directory
}

/// Maximum number of times that one thread makes each call on the ledger's files, without faults.
async fn calls(data: &Path) -> BTreeMap<&'static str, usize> {
    let log = data.with_extension("strace");
    let mut traced = Traced::start(data, &["-o", log.to_str().unwrap()]);
    assert!(traced.listens());
    write(&traced.address, "counted").await;
    traced.stop();
    let mut counts: HashMap<(String, &'static str), usize> = HashMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let call = CALLS.into_iter().find(|call| rest.trim_start().starts_with(&format!("{call}(")));
        if let Some(call) = call {
            *counts.entry((thread.to_owned(), call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let most = most.entry(call).or_default();
        *most = count.max(*most);
    }
    most
}

/// Tries one fault; false if the node never reached that call.
async fn try_case(case: Case, used: &Path, before: &Acknowledged) -> bool {
    let directory = begin(case.start, used);
    let data = directory.path().join("data");
    let log = data.with_extension("strace");
    let inject = format!("inject={}:{}:when={}", case.call, case.fault.injection(), case.when);
    let mut traced = Traced::start(&data, &["-o", log.to_str().unwrap(), "-e", &inject]);
    let mut acknowledged = match case.start {
        Start::New => Acknowledged::default(),
        Start::Used => before.clone(),
    };
    if traced.listens() {
        acknowledged.add(write(&traced.address, "during").await);
    }
    traced.stop();
    let log = fs::read_to_string(&log).unwrap();
    let is_met = log.contains("(INJECTED)") || log.contains("killed by SIGKILL");
    // The directory opens, serves everything acknowledged, accepts writes, and is sound.
    let node = Node::start(&data);
    acknowledged.check_all_served(&node).await;
    let after = write(&node.address, "after").await;
    assert_eq!(after.receipts.len(), BATCHES.iter().sum::<usize>(), "{case:?}: takes no more");
    assert!(after.erased.is_some(), "{case:?}: erases no more");
    acknowledged.add(after);
    node.stop();
    acknowledged.check_erased(&data);
    let report = app::fsck(&data, &mut |_| {}).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    assert!(report.sealed && report.torn_bytes == 0, "{case:?}: {report:?}");
    acknowledged.check_tree(&data);
    is_met
}

/// A node under `strace`.
struct Traced {
    child: Child,
    address: String,
}

impl Traced {
    fn start(data: &Path, options: &[&str]) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "--seccomp-bpf", "-e", &format!("trace={}", CALLS.join(","))]);
        for path in watched(data) {
            strace.arg("-P").arg(path);
        }
        let program = touchmark().get_program().to_owned();
        strace.args(options).arg("--").arg(program);
        strace.args(["serve", "--dns", "127.0.0.1:0", "--http", "off", "--grpc", &address, "--data"]).arg(data);
        let child = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, address }
    }

    /// Waits until the node listens; false if the node ended instead.
    fn listens(&mut self) -> bool {
        let began = Instant::now();
        while std::net::TcpStream::connect(&self.address).is_err() {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < START_TIMEOUT, "the node does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Stops the node, if it still runs, and waits for node and `strace`.
    fn stop(&mut self) {
        let strace = self.child.id().to_string();
        let _ = Command::new("pkill").args(["-INT", "-P", &strace]).status();
        exit_code(&mut self.child);
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = Command::new("pkill").args(["-KILL", "-P", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The files and directories of the ledger.
fn watched(data: &Path) -> Vec<PathBuf> {
    let ledger = data.join("ledger");
    let tree = ledger.join("tree");
    let mut paths = vec![
        data.to_path_buf(),
        data.join("FORMAT"),
        data.join("FORMAT.new"),
        ledger.join("key"),
        ledger.join("key.new"),
        ledger.join("signed_head"),
        ledger.join("redactions"),
        ledger.join("segments"),
        ledger.join("segments/00000000000000000000.seg"),
        tree.join("positions"),
        ledger,
    ];
    paths.extend((0..3).map(|level| tree.join(level.to_string())));
    paths.push(tree);
    let output = data.join("vindex");
    paths.extend(["leaves", "signed_head", "tree", "tree/0", "tree/positions"].map(|name| output.join(name)));
    paths.push(output);
    paths
}

fn of(identifier: &str, operation: Operation) -> pb::Command {
    pb::Command { identifier: identifier.into(), operation: Some(operation), ..pb::Command::default() }
}

fn secret_record(secret: &str) -> pb::Create {
    let data = secret.to_owned().into();
    let value = pb::Value { index: 1, r#type: "NAME".into(), data, ..pb::Value::default() };
    pb::Create { values: vec![value], edges: Vec::new() }
}

/// Sends the batches until one of them gets no response; refused commands count as not acknowledged.
async fn write(address: &str, name: &str) -> Heard {
    let mut heard = Heard::default();
    let Ok(mut client) = RegistryClient::connect(format!("http://{address}")).await else { return heard };
    for (turn, count) in (0_u64..).zip(BATCHES) {
        let identifier = |number| format!("88.118.8/{name}-{turn}-{number}");
        let commands: Vec<_> = (0..count).map(|number| command(&identifier(number), turn, turn)).collect();
        let texts: Vec<_> = commands.iter().map(data_of).collect();
        let Ok(reply) = client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await else { break };
        for (result, text) in reply.into_inner().results.into_iter().zip(texts) {
            if let Some(pb::apply_result::Result::Receipt(receipt)) = result.result {
                heard.checkpoints.extend(Some(receipt.checkpoint.clone()).filter(|note| !note.is_empty()));
                heard.receipts.push((receipt, text));
            }
        }
    }
    // One registered identifier is erased: once the erasure is acknowledged, no file may hold its secret.
    let secret = format!("secret of {name}");
    let identifier = format!("88.118.8/{name}-secret");
    let created = client.apply(of(&identifier, Operation::Create(secret_record(&secret)))).await;
    heard.checkpoints.extend(created.iter().map(|receipt| receipt.get_ref().checkpoint.clone()));
    let erase = pb::Erase { index: None, reason: "a test".into() };
    if let Ok(receipt) = client.apply(of(&identifier, Operation::Erase(erase))).await {
        heard.checkpoints.push(receipt.into_inner().checkpoint);
        heard.erased = Some(secret);
    }
    heard
}

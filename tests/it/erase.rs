//! Erasures: erased values are gone from every file, earlier proofs stay valid, and an erasure happens as a whole or
//! not at all.
//!
//! `TOUCHMARK_KILLS` and `TOUCHMARK_SEED` as in `crash`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use hmac::{Hmac, Mac};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use sha2::Sha256;
use tonic::Code;
use touchmark::{
    app,
    entry::{EntryText, Salts, leaf_hash},
    id::Identifier,
    ledger::{DataDir, KeySource, Mark, Opening, Recovered, audit},
    protocol::grpc::pb::{
        self, answer::Outcome as Answer, auditor_client::AuditorClient, registry_client::RegistryClient,
        resolve_at_request::At, resolver_client::ResolverClient,
    },
};

use crate::{
    program::{Program, is_installed, run, wait_until},
    support::{
        Outcome, Running, content, create, create_with_edges, directory, edge, erase, erase_value, expecting, merge,
        question, replace, request, retire, value,
    },
};

const PUMP: &str = "88.118.8/Pump";

/// Files below a directory that contain `needle`.
pub fn files_with(directory: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}

/// Content of every file below a directory, as far as it is ASCII.
pub fn everything(directory: &Path) -> String {
    let mut all = String::new();
    for item in fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            all += &everything(&path);
        } else {
            all.extend(
                fs::read(&path).unwrap().into_iter().filter(|&byte| byte > 0).map(|byte| char::from(byte & 0x7f)),
            );
        }
    }
    all
}

/// Salts of the entries of an identifier and of their values, with ledger index and value index; the node must not run.
fn salts(data: &Path, identifier: &str) -> Vec<(u64, Option<u32>, [u8; 32])> {
    let directory = DataDir::open(data).unwrap();
    let identifier = Identifier::parse(identifier).unwrap();
    let mut salts = Vec::new();
    audit::<touchmark::ledger::LedgerError>(&directory, |_, entry| {
        if Identifier::parse(entry.identifier).unwrap() == identifier {
            if let Salts::Entry(salt) = entry.salts {
                salts.push((entry.index, None, salt));
            }
            let opened = entry.values.iter().map(|value| (value.index, entry.opening(value.index).unwrap()));
            salts.extend(opened.map(|(index, opening)| (entry.index, Some(index), opening.salt)));
        }
        Ok(())
    })
    .unwrap();
    salts
}

/// Texts of all entries; the node must not run.
fn texts(data: &Path) -> Vec<Vec<u8>> {
    let directory = DataDir::open(data).unwrap();
    let opening = Opening::new(&directory, KeySource { origin: "unused", seed: [0; 32] }).unwrap();
    let Recovered { ledger, .. } =
        opening.recover::<touchmark::ledger::LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
    let mut texts = Vec::new();
    for index in 0..ledger.size() {
        let bytes = ledger.at(index).unwrap();
        let mut text = Vec::new();
        ledger.put_text(&bytes.decode().unwrap(), &mut text).unwrap();
        EntryText::parse(&text).unwrap();
        assert_eq!(leaf_hash(&text), ledger.leaf_hash(index).unwrap(), "entry {index}");
        texts.push(text);
    }
    texts
}

async fn at(running: &Running, identifier: &str, index: u64) -> Answer {
    let request = pb::ResolveAtRequest { request: Some(question(identifier)), at: Some(At::LedgerIndex(index)) };
    AuditorClient::new(running.channel()).resolve_at(request).await.unwrap().into_inner().outcome.unwrap()
}

async fn history(running: &Running, identifier: &str) -> Vec<pb::VersionChange> {
    let request = pb::HistoryRequest { identifier: identifier.into(), limit: None, before: None };
    AuditorClient::new(running.channel()).history(request).await.unwrap().into_inner().versions
}

fn is_sound(data: &Path) {
    let report = app::fsck(data, &mut |_| {}).expect("sound");
    assert!(report.sealed && report.torn_bytes == 0, "{report:?}");
}

/// Registers an identifier and changes it twice, among other identifiers.
async fn live(running: &Running) {
    let others = (0..50).map(|number| create(&format!("88.118.8/o{number}"), vec![value(1, "N", "other")]));
    running.apply_batch(others.collect()).await.unwrap();
    let values = vec![value(1, "NAME", "Pump of mine"), value(2, "OWNER", "Grace Hopper"), value(7, "X", "kept")];
    let edges = vec![edge(pb::EdgeType::MadeOf, "88.118.8/o1")];
    running.apply(create_with_edges(PUMP, values, edges)).await.unwrap();
    // Several versions in one frame, among others.
    let commands = vec![
        replace("88.118.8/o1", vec![value(1, "N", "other B")]),
        merge(PUMP, vec![value(2, "OWNER", "Ada Lovelace")], vec![]),
        replace("88.118.8/o2", vec![value(1, "N", "other B")]),
        merge(PUMP, vec![value(1, "NAME", "Pump B")], vec![]),
    ];
    running.apply_batch(commands).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_value_goes_from_every_version_and_every_file() {
    let data = directory();
    let path = data.path();
    let running = Running::start(path).await;
    live(&running).await;
    running.stop().await;
    let (secrets, before) = (salts(path, PUMP), texts(path));
    let running = Running::start(path).await;
    assert!(!files_with(path, b"Grace Hopper").is_empty(), "the search finds what is there");
    let receipt = running.apply(request("gone", erase_value(PUMP, 2, "data subject request 17, 100%"))).await.unwrap();
    let gone = |secrets: &[(u64, Option<u32>, [u8; 32])]| {
        for payload in [&b"Grace Hopper"[..], b"Ada Lovelace"] {
            assert_eq!(files_with(path, payload), Vec::<PathBuf>::new());
        }
        for (entry, index, salt) in secrets {
            let files = files_with(path, salt);
            let stays = matches!(index, Some(index) if *index != 2);
            assert_eq!(!files.is_empty(), stays, "salt of entry {entry}, value {index:?}: {files:?}");
        }
    };
    gone(&secrets);
    assert_eq!(receipt.version, 4);
    assert_eq!(content(&running.found(PUMP).await), "1 NAME=Pump B · 7 X=kept · made-of 88.118.8/o1");
    let Answer::Found(old) = at(&running, PUMP, 50).await else { panic!() };
    assert_eq!(
        (content(&old).as_str(), old.values_erased),
        ("1 NAME=Pump of mine · 7 X=kept · made-of 88.118.8/o1", vec![2])
    );
    let changes = history(&running, PUMP).await;
    let erasure = changes[0].erasure.as_ref().unwrap();
    assert_eq!(changes[0].kind(), pb::version_change::Kind::Erase);
    assert_eq!((erasure.index, erasure.reason.as_str()), (Some(2), "data subject request 17, 100%"));
    assert!(changes[1..].iter().all(|change| change.record.as_ref().unwrap().values_erased == [2]), "{changes:?}");
    // A retry gets the first receipt; a retry is no longer compared with what was erased.
    let again = running.apply(request("gone", erase_value(PUMP, 2, "data subject request 17, 100%"))).await.unwrap();
    assert!(again.replayed && again.ledger_index == receipt.ledger_index);
    running.stop().await;
    is_sound(path);
    gone(&secrets);
    let after = texts(path);
    assert_eq!(after[..before.len()], before, "no text changed, so no leaf hash and no root");
    assert!(after.last().unwrap().ends_with(b"reason data%20subject%20request%2017,%20100%25\nrequest Z29uZQ==\n"));

    // Another value of the same entries, then the rest; index and trees are rebuilt.
    let running = Running::start(path).await;
    running.apply(erase_value(PUMP, 1, "b")).await.unwrap();
    for payload in [&b"Pump of mine"[..], b"Pump B"] {
        assert_eq!(files_with(path, payload), Vec::<PathBuf>::new());
    }
    assert_eq!(content(&running.found(PUMP).await), "7 X=kept · made-of 88.118.8/o1");
    running.apply(merge(PUMP, vec![value(2, "OWNER", "Nobody")], vec![])).await.unwrap();
    running.apply(erase(PUMP, "c")).await.unwrap();
    running.stop().await;
    is_sound(path);
    for payload in [&b"kept"[..], b"Nobody"] {
        assert_eq!(files_with(path, payload), Vec::<PathBuf>::new());
    }
    for (entry, index, salt) in &secrets {
        assert_eq!(files_with(path, salt), Vec::<PathBuf>::new(), "salt of entry {entry}, value {index:?}");
    }
    fs::remove_dir_all(path.join("index")).unwrap();
    fs::remove_dir_all(path.join("ledger/tree")).unwrap();
    assert_eq!(texts(path)[..before.len()], before);
    app::rebuild(path, &mut |_| {}).unwrap();
    is_sound(path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_with_all_its_values_and_its_identifier_is_never_used_again() {
    let data = directory();
    let running = Running::start(data.path()).await;
    live(&running).await;
    running.apply(retire("88.118.8/o3")).await.unwrap();
    running.apply(erase_value("88.118.8/o3", 1, "was retired")).await.unwrap();
    assert!(matches!(running.resolve("88.118.8/o3").await, Answer::Retired(retired) if !retired.erased));
    let receipt = running.apply(erase(PUMP, "by mistake")).await.unwrap();
    running.apply(erase("88.118.8/o3", "was retired")).await.unwrap();
    let running = {
        running.stop().await;
        Running::start(data.path()).await
    };
    for identifier in [PUMP, "88.118.8/o3"] {
        assert!(matches!(running.resolve(identifier).await, Answer::Retired(retired) if retired.erased));
        for command in [
            create(identifier, vec![]),
            replace(identifier, vec![value(1, "N", "x")]),
            retire(identifier),
            erase(identifier, "again"),
            erase_value(identifier, 1, "again"),
        ] {
            let refused = running.apply(command).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(refused.message().contains("was erased (ledger index"), "{refused:?}");
        }
    }
    let Answer::Found(old) = at(&running, PUMP, receipt.ledger_index - 1).await else { panic!() };
    assert_eq!((old.values.len(), old.values_erased), (0, vec![1, 2, 7]));
    let table = [
        (erase("88.118.8/none", "r"), Code::NotFound, "is not registered"),
        (
            erase_value("88.118.8/o4", 9, "r"),
            Code::InvalidArgument,
            "no version has a value with index 9 that could be",
        ),
        (erase_value("88.118.8/o4", 0, "r"), Code::InvalidArgument, "no value has index 0"),
        (erase("88.118.8/o4", ""), Code::InvalidArgument, "is not 1 to 200 bytes of printable text"),
        (erase("88.118.8/o4", "a\nb"), Code::InvalidArgument, "is not 1 to 200 bytes of printable text"),
        (expecting(7, erase("88.118.8/o4", "r")), Code::FailedPrecondition, "is at version 1, not at"),
    ];
    let entries = running.entries();
    for (command, code, words) in table {
        let refused = running.apply(command).await.unwrap_err();
        assert!(refused.code() == code && refused.message().contains(words), "{refused:?}");
    }
    assert_eq!(running.entries(), entries, "nothing was written");
    running.stop().await;
    is_sound(data.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_streams_keep_their_order_around_erasures() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let commands = || {
        vec![
            create("88.1/a", vec![value(1, "N", "secret one"), value(2, "N", "stays")]),
            erase_value("88.1/a", 1, "r"),
            merge("88.1/a", vec![value(1, "N", "secret two")], vec![]),
            erase_value("88.1/a", 1, "r"),
            erase_value("88.1/a", 1, "r"),
            create("88.1/b", vec![value(1, "N", "secret three")]),
            erase("88.1/b", "r"),
            create("88.1/b", vec![]),
        ]
    };
    let shown = |outcomes: &[Outcome]| -> Vec<String> {
        let shown = |outcome: &Outcome| match outcome {
            Outcome::Receipt(receipt) => format!("v{}", receipt.version),
            Outcome::Refusal(refusal) => format!("refused {}", refusal.code),
        };
        outcomes.iter().map(shown).collect()
    };
    let outcomes = running.apply_batch(commands()).await.unwrap();
    assert_eq!(shown(&outcomes), ["v1", "v2", "v3", "v4", "refused 3", "v1", "v2", "refused 9"]);
    let streamed = commands()
        .into_iter()
        .map(|command| pb::Command { identifier: command.identifier.replace("88.1/", "88.2/"), ..command });
    let outcomes = running.apply_stream(streamed.collect()).await.unwrap();
    assert_eq!(shown(&outcomes), ["v1", "v2", "v3", "v4", "refused 3", "v1", "v2", "refused 9"]);
    assert_eq!(content(&running.found("88.2/a").await), "2 N=stays");
    assert_eq!(files_with(data.path(), b"secret"), Vec::<PathBuf>::new());
    running.stop().await;
    is_sound(data.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_sent_again_after_an_erasure_gets_its_first_receipt() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let command = || request("first", create(PUMP, vec![value(1, "N", "secret"), value(2, "N", "stays")]));
    let receipt = running.apply(command()).await.unwrap();
    running.apply(erase_value(PUMP, 1, "r")).await.unwrap();
    let again = running.apply(command()).await.unwrap();
    assert!(again.replayed && again.ledger_index == receipt.ledger_index);
    let other = request("first", create(PUMP, vec![value(1, "N", "secret"), value(2, "N", "other")]));
    assert_eq!(running.apply(other).await.unwrap_err().code(), Code::FailedPrecondition);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_meanwhile_see_the_old_or_the_redacted_entry_and_never_an_error() {
    let data = directory();
    let running = Running::start(data.path()).await;
    let long = "long and secret ".repeat(3_000);
    let values = || (1..=12).map(|index| value(index, "N", long.clone())).collect::<Vec<_>>();
    running.apply(create(PUMP, values())).await.unwrap();
    for _ in 0..3 {
        running.apply(replace(PUMP, values())).await.unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let read = async {
        let mut seen = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let Answer::Found(record) = at(&running, PUMP, seen % 4).await else { panic!() };
            assert_eq!(record.values.len() + record.values_erased.len(), 12);
            assert!(record.values.iter().all(|value| value.data == long.as_bytes()));
            assert!(history(&running, PUMP).await.len() >= 2);
            seen += 1;
        }
        seen
    };
    let write = async {
        for index in 1..=12 {
            running.apply(erase_value(PUMP, index, "r")).await.unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (seen, ()) = tokio::join!(read, write);
    assert!(seen > 0);
    assert_eq!(files_with(data.path(), b"long and secret"), Vec::<PathBuf>::new());
    running.stop().await;
    is_sound(data.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_what_is_missing_or_altered() {
    let data = directory();
    let running = Running::start(data.path()).await;
    live(&running).await;
    running.apply(erase_value(PUMP, 2, "r")).await.unwrap();
    running.stop().await;
    let path = data.path().join("ledger/redactions");
    let good = fs::read(&path).unwrap();
    let said = |expected: &str| {
        let error = app::fsck(data.path(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fs::remove_file(&path).unwrap();
    said("entry 50 was erased: ");
    for bit in (0..good.len() * 8).step_by(13) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        said("ledger/redactions");
    }
    fs::write(&path, &good).unwrap();
    is_sound(data.path());
}

#[test]
fn the_command_line_erases_and_says_so() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    node.run(&["register", PUMP, "--value", "NAME=Pump", "--value", "OWNER=Grace Hopper"]);
    let ran = node.run(&["erase", PUMP, "--index", "2", "--reason", "asked for"]);
    assert!(ran.exit == 0 && ran.out.starts_with("erased 88.118.8/Pump\n"), "{ran:?}");
    let ran = node.run(&["history", PUMP]);
    assert!(ran.out.contains("version 2: erased, ledger index 1, "), "{ran:?}");
    assert!(ran.out.contains("value 2 of every version was erased: asked for"), "{ran:?}");
    assert!(ran.out.contains("erased since: 2"), "{ran:?}");
    let ran = node.run(&["resolve", PUMP, "--as-of", "0", "--json"]);
    assert!(ran.out.contains(r#""values_erased":[2]"#), "{ran:?}");
    let ran = node.run(&["erase", PUMP]);
    assert!(ran.exit == 2 && ran.err.contains("--reason"), "{ran:?}");
    let ran = node.run(&["erase", PUMP, "--reason", "all of it", "--json"]);
    assert!(ran.exit == 0 && ran.out.contains(r#""version":3"#), "{ran:?}");
    let ran = node.run(&["resolve", PUMP]);
    assert!(ran.exit == 4 && ran.err.contains("88.118.8/Pump: erased, version 3"), "{ran:?}");
    let dns = node.dns.to_string();
    let ran = run(["resolve", PUMP, "--over", "dns", "--dns", &dns, "--json"]);
    assert!(ran.exit == 4 && ran.out.contains(r#""status":"erased""#), "{ran:?}");
    let ran = node.run(&["history", PUMP, "--json"]);
    assert!(ran.out.lines().next().unwrap().contains(r#""erasure":{"reason":"all of it"}"#), "{ran:?}");
    let ran = node.run(&["export", "--retired"]);
    assert!(ran.out.contains(r#""status":"erased""#), "{ran:?}");
    assert_eq!(files_with(data.path(), b"Grace Hopper"), Vec::<PathBuf>::new());
    assert_eq!(node.stop("INT"), Some(0));
    is_sound(data.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_leaves_erasures_whole_or_undone() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("TOUCHMARK_KILLS").unwrap_or(6);
    let seed = number("TOUCHMARK_SEED").unwrap_or_else(|| rand::rng().next_u64());
    println!("TOUCHMARK_KILLS={kills} TOUCHMARK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let data = directory();
    let mut acknowledged = BTreeMap::new();
    let mut begun = 0;
    for round in 0..kills {
        let node = Program::serve(data.path(), &[]);
        let address = format!("http://{}", node.grpc);
        let heard = tokio::spawn(erase_until_killed(address, round));
        tokio::time::sleep(Duration::from_millis(random.random_range(150..600))).await;
        node.kill();
        let (identifiers, erased) = heard.await.unwrap();
        begun += identifiers.len();
        acknowledged.extend(identifiers.into_iter().map(|identifier| (identifier, false)));
        acknowledged.extend(erased.into_iter().map(|identifier| (identifier, true)));
        match app::fsck(data.path(), &mut |_| {}) {
            Ok(_) => {}
            Err(error) => assert!(error.to_string().contains("was cut off"), "{error}"),
        }
        let all = everything(data.path());
        for (identifier, _) in acknowledged.iter().filter(|(_, erased)| **erased) {
            assert!(!all.contains(&secret(identifier)), "{identifier}");
        }
        if random.random_bool(0.5) {
            continue;
        }
        let node = Program::serve(data.path(), &[]);
        check(&node, data.path(), &acknowledged).await;
        node.kill();
    }
    let node = Program::serve(data.path(), &[]);
    check(&node, data.path(), &acknowledged).await;
    assert_eq!(node.stop("INT"), Some(0));
    is_sound(data.path());
    texts(data.path());
    let erased = acknowledged.values().filter(|erased| **erased).count();
    println!("{begun} registered, {erased} erasures acknowledged");
    assert!(erased > kills as usize, "the kills left room for erasures");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_histories_are_erased() {
    let number = std::env::var("TOUCHMARK_VERSIONS").ok().and_then(|text| text.parse::<u32>().ok());
    let versions = number.unwrap_or(3_000);
    let data = directory();
    let running = Running::start(data.path()).await;
    running.apply(create(PUMP, vec![value(1, "N", "secret 1"), value(2, "N", "stays")])).await.unwrap();
    let numbers: Vec<u32> = (2..=versions).collect();
    for chunk in numbers.chunks(1_000) {
        let commands = chunk.iter().flat_map(|number| {
            let other = create(&format!("88.1/{number}"), vec![value(1, "N", "other")]);
            [merge(PUMP, vec![value(1, "N", format!("secret {number}"))], vec![]), other]
        });
        let outcomes = running.apply_batch(commands.collect()).await.unwrap();
        outcomes.iter().for_each(|outcome| assert!(outcome.receipt().version > 0));
    }
    for command in [erase_value(PUMP, 1, "r"), erase(PUMP, "r")] {
        let began = std::time::Instant::now();
        running.apply(command).await.unwrap();
        println!("{versions} versions erased in {:?}", began.elapsed());
    }
    let all = everything(data.path());
    assert!(!all.contains("secret ") && !all.contains("stays") && all.contains("other"));
    running.stop().await;
    is_sound(data.path());
}

/// Makes system calls of a process fail until it is dropped.
struct Failing(Child);

impl Failing {
    /// Attaches `strace`: from the `when`th on, calls of this name fail on each thread.
    fn attach(node: &Program, call: &str, error: &str, when: u32) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let inject = format!("inject={call}:error={error}:when={when}+");
        let child = Command::new("strace")
            .args([
                "-f",
                "-e",
                &format!("trace={call}"),
                "-e",
                &inject,
                "-p",
                &node.id().to_string(),
                "-o",
                "/dev/null",
            ])
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        wait_until("strace is attached", || fs::read_to_string(log.path()).unwrap().contains("attached"));
        // strace attaches to the threads one by one.
        std::thread::sleep(Duration::from_millis(100));
        Self(child)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_disks_leave_erasures_whole_or_undone() {
    if !is_installed("strace") {
        return;
    }
    let mut outcomes = Vec::new();
    let cases = [("pwrite64", "ENOSPC", 9), ("pwrite64", "EIO", 9), ("fdatasync", "EIO", 5), ("ftruncate", "EIO", 1)];
    for (call, error, count) in cases {
        for when in 1..=count {
            let outcome = fails(call, error, when).await;
            outcomes.push(format!("{call} {error} {when}: {outcome}"));
        }
    }
    println!("{}", outcomes.join("\n"));
    for kind in ["acknowledged", "undone", "finished at the next start"] {
        assert!(outcomes.iter().any(|outcome| outcome.ends_with(kind)), "{kind}: {outcomes:?}");
    }
}

/// Outcome of an erasure while system calls fail.
async fn fails(call: &str, error: &str, when: u32) -> &'static str {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    let mut client = RegistryClient::connect(format!("http://{}", node.grpc)).await.unwrap();
    let values = |text: &str| vec![value(1, "S", secret(text)), value(2, "N", format!("of {text}"))];
    for text in ["88.1/first", "88.1/a", "88.1/b"] {
        client.apply(create(text, values(text))).await.unwrap();
        client.apply(replace(text, values(text))).await.unwrap();
    }
    client.apply(erase_value("88.1/first", 1, "makes the file")).await.unwrap();
    let failing = Failing::attach(&node, call, error, when);
    let answer = client.apply(erase_value("88.1/a", 1, "r")).await;
    drop(failing);
    node.kill();
    let node = Program::serve(data.path(), &[]);
    let mut acknowledged = BTreeMap::from([("88.1/first".to_owned(), true), ("88.1/b".to_owned(), false)]);
    acknowledged.insert("88.1/a".into(), answer.is_ok());
    check(&node, data.path(), &acknowledged).await;
    assert_eq!(node.stop("INT"), Some(0));
    is_sound(data.path());
    texts(data.path());
    match (answer, everything(data.path()).contains(&secret("88.1/a"))) {
        (Ok(_), false) => "acknowledged",
        (Err(_), false) => "finished at the next start",
        (Err(_), true) => "undone",
        (Ok(_), true) => panic!("acknowledged and still there"),
    }
}

/// A text that only the record of this identifier contains.
fn secret(identifier: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap().chain_update(identifier).finalize().into_bytes();
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Registers, changes and erases until the connection breaks: value 1 is erased, value 2 stays.
async fn erase_until_killed(address: String, round: u64) -> (Vec<String>, Vec<String>) {
    let (mut registered, mut erased) = (Vec::new(), Vec::new());
    let Ok(mut client) = RegistryClient::connect(address).await else { return (registered, erased) };
    for turn in 0.. {
        let identifiers: Vec<String> = (0..4).map(|number| format!("88.1/{round}-{turn}-{number}")).collect();
        let values = |text: &String| vec![value(1, "S", secret(text).repeat(20)), value(2, "N", format!("of {text}"))];
        let mut commands: Vec<_> = identifiers.iter().map(|text| create(text, values(text))).collect();
        commands.extend(identifiers.iter().map(|text| replace(text, values(text))));
        if client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await.is_err() {
            break;
        }
        registered.extend(identifiers.iter().cloned());
        for text in &identifiers[..3] {
            if client.apply(erase_value(text, 1, "r")).await.is_err() {
                return (registered, erased);
            }
            erased.push(text.clone());
        }
    }
    (registered, erased)
}

/// Checks that acknowledged erasures are complete, that the others are complete or undone, and that nothing else
/// changed.
async fn check(node: &Program, data: &Path, acknowledged: &BTreeMap<String, bool>) {
    let mut client = ResolverClient::connect(format!("http://{}", node.grpc)).await.unwrap();
    let all = everything(data);
    for (identifier, erased) in acknowledged {
        let answer = client.resolve(question(identifier)).await.unwrap().into_inner();
        let Some(Answer::Found(record)) = answer.outcome else { panic!("{identifier}: {answer:?}") };
        let kept = record.values.last().unwrap();
        assert_eq!((kept.index, &*kept.data), (2, format!("of {identifier}").as_bytes()));
        assert!(!erased || record.version == 3, "{identifier} is at version {}", record.version);
        let found = all.contains(&secret(identifier));
        assert_eq!(!found, record.version == 3, "{identifier} at version {}", record.version);
        assert_eq!(record.values.len(), if record.version == 3 { 1 } else { 2 });
    }
}

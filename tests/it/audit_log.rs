//! `touchmark audit`: a sound log passes, from its directory and over HTTP, ours and foreign; every manipulation is
//! named.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
};

use touchmark::{
    app::{self, AuditReport, Content},
    audit::{LedgerSource, LogSource, OutputSource, TILE_WIDTH},
    entry::{EntryText, leaf_hash},
    ledger::{DataDir, LeafLog},
    protocol::grpc::pb::EdgeType,
    tlog::{Frontier, Hash, LedgerKey, note::VerifierKey},
    vindex::{
        OutputLeaf,
        keys::{LookupKind, ORIGIN_SUFFIX, keys_of_text},
        map::{Hashing, Map, Update},
    },
};

use crate::{
    program::run,
    support::{Running, create, create_with_edges, directory, edge, merge, value},
};

/// Files of a log by their paths, as C2SP tlog-tiles names them.
type Files = HashMap<String, Vec<u8>>;

/// Serves files over HTTP until the process ends; the files can be changed while they are served.
fn serve(files: Files) -> (String, Arc<Mutex<Files>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let files = Arc::new(Mutex::new(files));
    let shared = Arc::clone(&files);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, files) = (connection.unwrap(), Arc::clone(&shared));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                    let path = line.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
                    while line != "\r\n" {
                        line.clear();
                        reader.read_line(&mut line).unwrap();
                    }
                    line.clear();
                    let found = files.lock().unwrap().get(&path).cloned();
                    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _ = connection.write_all(&[head.as_bytes(), &body].concat());
                }
            });
        }
    });
    (url, files)
}

/// Files of a log, computed from the leaves as the specification defines them.
fn files_of(entries: &[Vec<u8>], checkpoint: &[u8]) -> Files {
    let mut files = Files::from([("checkpoint".into(), checkpoint.to_vec())]);
    let mut levels = vec![entries.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>()];
    for (number, bundle) in entries.chunks(TILE_WIDTH).enumerate() {
        let bytes = bundle.iter().flat_map(|entry| [&(entry.len() as u16).to_be_bytes(), entry.as_slice()].concat());
        files.insert(format!("tile/entries/{}", name(number, bundle.len())), bytes.collect());
    }
    while levels.last().unwrap().len() >= TILE_WIDTH {
        let above = levels.last().unwrap().chunks_exact(TILE_WIDTH).map(root).collect();
        levels.push(above);
    }
    for (level, hashes) in levels.iter().enumerate() {
        for (number, tile) in hashes.chunks(TILE_WIDTH).enumerate() {
            let bytes = tile.iter().flat_map(|hash| hash.0).collect();
            files.insert(format!("tile/{level}/{}", name(number, tile.len())), bytes);
        }
    }
    files
}

fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf, |_, _| {}));
    frontier.root()
}

fn name(number: usize, width: usize) -> String {
    let part = if width < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
    assert!(number < 1_000);
    format!("{number:03}{part}")
}

/// Entries of a log, read through its source.
fn entries_of(source: &dyn LogSource, size: usize) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for bundle in 0..size.div_ceil(TILE_WIDTH) {
        let bytes = source.entries(bundle as u64, (size - TILE_WIDTH * bundle).min(TILE_WIDTH)).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (entry, behind) = rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
            entries.push(entry.to_vec());
            rest = behind;
        }
    }
    entries
}

/// Makes a data directory with some history, and an output log of at least one leaf.
async fn make(data: &Path) -> VerifierKey {
    let node = Running::start(data).await;
    let records = (0..600).map(|number| create(&format!("88.1/{number}"), vec![value(1, "N", "x")])).collect();
    node.apply_batch(records).await.unwrap();
    for number in 0..5 {
        let edges = vec![edge(EdgeType::MadeOf, "88.1/0"), edge(EdgeType::MadeOf, &format!("88.1/{}", number + 1))];
        node.apply(create_with_edges(&format!("88.2/{number}"), vec![], edges)).await.unwrap();
        node.apply(merge("88.1/7", vec![value(2, "N", number.to_string())], vec![])).await.unwrap();
    }
    let verifier = VerifierKey::of_log(&node.node.summary().verifier_key).unwrap();
    node.stop().await;
    verifier
}

fn audit(data: &Path) -> Result<AuditReport, String> {
    app::audit_directory(data, None, &mut |_| {}).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_hides_something_is_found() {
    let data = directory();
    make(data.path()).await;
    let report = audit(data.path()).unwrap();
    assert_eq!((report.entries, report.content), (610, Content::Ours { identifiers: 605 }));
    let leaves = report.index.unwrap().leaves;

    // A second leaf over the same entries is refused (each leaf has to cover more), so the ledger grows first.
    let node = Running::start(data.path()).await;
    node.apply(create("88.3/late", vec![])).await.unwrap();
    node.abandon(&crate::support::config(data.path())).await.stop().await;
    let leaves_now = audit(data.path()).unwrap().index.unwrap().leaves;
    assert!(leaves_now > leaves);

    // The operator signs for a map without the edges from 88.2/3, without an entry, and with one entry too many.
    let hidden = LookupKind::Out.key(&"88.2/3".parse_id());
    let late = LookupKind::Id.key(&"88.3/late".parse_id());
    type Change = Box<dyn Fn(&mut Vec<Update>)>;
    let changes: [(&str, Change); 4] = [
        ("a hidden edge", Box::new(move |updates| updates.retain(|update| update.key != hidden))),
        ("a hidden entry", Box::new(move |updates| updates.retain(|update| update.key != late))),
        ("an older version as the newest", Box::new(move |updates| updates.retain(|update| update.index != 609))),
        ("one too many", Box::new(move |updates| updates.push(Update { key: late, index: 4 }))),
    ];
    for (what, change) in changes {
        let copy = directory();
        copy_all(data.path(), copy.path());
        publish(copy.path(), &change);
        let found = audit(copy.path()).unwrap_err();
        assert_eq!(
            found, "leaf 0 of the output log: the first 611 entries give another map root than it says",
            "{what}"
        );
    }
    let copy = directory();
    copy_all(data.path(), copy.path());
    publish(copy.path(), &|_| {});
    audit(copy.path()).expect("what the test publishes is right but for the change");
}

trait ParseId {
    fn parse_id(&self) -> touchmark::id::Identifier;
}

impl ParseId for str {
    fn parse_id(&self) -> touchmark::id::Identifier {
        touchmark::id::Identifier::parse(self).unwrap()
    }
}

/// Rewrites the output log of a directory, with one leaf over a changed map.
fn publish(data: &Path, change: &dyn Fn(&mut Vec<Update>)) {
    let directory = DataDir::open(data).unwrap();
    let source = LedgerSource::open(&directory).unwrap();
    let checkpoint = source.ledger().checkpoint();
    let mut updates = Vec::new();
    for (index, entry) in (0..).zip(entries_of(&source, checkpoint.size as usize)) {
        keys_of_text(&EntryText::parse(&entry).unwrap(), |key| updates.push(Update { key, index }));
    }
    change(&mut updates);
    let mut map = Map::default();
    map.update(updates, Hashing::Now);
    std::fs::remove_dir_all(directory.vindex()).unwrap();
    let key = source.ledger().signer().unwrap().with_suffix(ORIGIN_SUFFIX).unwrap();
    let (_, mut writer) = LeafLog::open(&directory.vindex(), key).unwrap();
    writer.append(&OutputLeaf { root: map.root(), checkpoint: &checkpoint.note }.to_bytes()).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_all(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_over_http_is_audited_and_tampering_is_named() {
    let data = directory();
    let verifier = make(data.path()).await;
    let (entries, checkpoint, leaves, output_checkpoint) = {
        let directory = DataDir::open(data.path()).unwrap();
        let source = LedgerSource::open(&directory).unwrap();
        let key = source.ledger().signer().unwrap().with_suffix(ORIGIN_SUFFIX).unwrap();
        let output = OutputSource(LeafLog::open_to_read(&directory.vindex(), key).unwrap().unwrap());
        let leaves = entries_of(&output, output.0.size() as usize);
        (entries_of(&source, 610), source.checkpoint().unwrap(), leaves, output.checkpoint().unwrap())
    };
    let (url, files) = serve(files_of(&entries, &checkpoint));
    let (index, index_files) = serve(files_of(&leaves, &output_checkpoint));
    let arguments = ["audit", &url, "--index", &index, "--key", verifier.text()];
    let ran = run(arguments);
    assert_eq!((ran.exit, &*ran.err), (0, ""));
    assert!(ran.out.contains("610, root") && ran.out.contains("over 610 entries"), "{}", ran.out);
    let unsigned = run(["audit", &url, "--json"]);
    assert_eq!(unsigned.exit, 0, "{}", unsigned.err);
    assert!(unsigned.out.contains("\"signatures_checked\":false"), "{}", unsigned.out);

    let table: [(bool, &str, usize, &str); 8] = [
        (false, "tile/entries/001", 3, "entry 256: line 1 of the entry"),
        (false, "tile/0/001", 32 * 9 + 1, "entry 265: it has another leaf hash than the tiles say"),
        (
            false,
            "tile/1/000.p/2",
            40,
            "the checkpoint of the log: the tile of level 1 has another hash for the entries up to 511",
        ),
        (false, "checkpoint", 20, "the checkpoint of the log: it is n"),
        (false, "tile/entries/002.p/98", 1, "entry 512: "),
        (true, "checkpoint", 30, "the checkpoint of the output log: it is n"),
        (true, "tile/entries/000.p/LEAVES", 2, "leaf 0 of the output log: "),
        (true, "tile/0/000.p/LEAVES", 5, "leaf 0 of the output log: it has another leaf hash"),
    ];
    for (of_index, path, at, expected) in table {
        let files = if of_index { &index_files } else { &files };
        let path = path.replace("LEAVES", &leaves.len().to_string());
        let before = files.lock().unwrap().get(&path).cloned().unwrap_or_else(|| panic!("{path}"));
        let mut flipped = before.clone();
        flipped[at] ^= 0x02;
        files.lock().unwrap().insert(path.clone(), flipped);
        let ran = run(arguments);
        assert_eq!(ran.exit, 1, "{path}: {}", ran.out);
        assert!(ran.err.contains(expected), "{path}: {}", ran.err);
        files.lock().unwrap().insert(path, before);
    }
    assert_eq!(run(arguments).exit, 0);
    chains_are_followed(&entries);
}

/// Logs that are signed and hashed correctly, but whose entries do not follow from each other.
fn chains_are_followed(entries: &[Vec<u8>]) {
    let text = |index: usize| String::from_utf8(entries[index].clone()).unwrap();
    let changed = |index: usize, from: &str, to: &str| {
        assert!(text(index).contains(from), "{}", text(index));
        let mut entries = entries.to_vec();
        entries[index] = text(index).replacen(from, to, 1).into_bytes();
        entries
    };
    let mut swapped = entries.to_vec();
    swapped.swap(601, 603);
    let without_prev =
        text(601).lines().filter(|line| !line.starts_with("prev")).map(|line| format!("{line}\n")).collect();
    let mut created_twice = entries.to_vec();
    created_twice[601] = String::into_bytes(without_prev);
    let table = [
        (
            changed(601, "prev 7 ", "prev 8 "),
            "entry 601: it follows on entry 8, and the newest entry of its identifier is 7",
        ),
        (changed(7, "88.1/7", "88.1/77777"), "entry 601: it follows on entry 7, and none is about its identifier"),
        (changed(7, "value 1 ", "value 1 X"), "entry 601: it names another leaf hash for entry 7"),
        // A well-formed principal of an unknown kind would be accepted: the grammar is open.
        (
            changed(7, "by loopback", "by Nobodyxx"),
            "entry 7: line 4 of the entry: who made the change is not written <kind>[:<name>]",
        ),
        (swapped, "entry 601: it follows on entry 601, and the newest entry of its identifier is 7"),
        (created_twice, "entry 601: it follows on none, and entry 7 is about its identifier"),
        (
            changed(30, "88.1/30", "(01)09506000134352"),
            "entry 30: `(01)09506000134352` is no identifier in its canonical form",
        ),
        (changed(30, "at 1", "at 9"), "entry 31: it is older than the entry before it"),
    ];
    for (entries, expected) in table {
        let (url, _) = serve(signed(&entries).0);
        let ran = run(["audit", &url]);
        assert_eq!(ran.exit, 1, "{expected}: {}", ran.out);
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
}

/// A log signed with a key of the test, and its verifier key.
fn signed(entries: &[Vec<u8>]) -> (Files, String) {
    let directory = directory();
    let key = LedgerKey::open_or_create(&directory.path().join("key"), "foreign.test/log", [9; 32]).unwrap();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let checkpoint = key.sign(entries.len() as u64, root(&leaves)).unwrap();
    (files_of(entries, checkpoint.note.as_bytes()), key.verifier_key().into())
}

#[test]
fn a_foreign_log_is_audited() {
    for size in [0, 1, 2, 255, 256, 257, 5_000, 70_000] {
        let entries: Vec<Vec<u8>> = (0..size).map(|number: u32| format!("{number}").into_bytes()).collect();
        let (files, key) = signed(&entries);
        let (url, files) = serve(files);
        let ran = run(["audit", &url, "--key", &key, "--json"]);
        assert_eq!(ran.exit, 0, "{size}: {}", ran.err);
        assert!(ran.out.contains(&format!("\"entries\":{size}")), "{}", ran.out);
        if size > 256 {
            files.lock().unwrap().get_mut("tile/entries/000").unwrap()[2] ^= 1;
            let ran = run(["audit", &url, "--key", &key]);
            assert!(ran.exit == 1 && ran.err.contains("another leaf hash"), "{size}: {}", ran.err);
        }
    }
    let ran = run(["audit", "http://127.0.0.1:1/log"]);
    assert!(ran.exit == 1 && ran.err.contains("cannot read http://127.0.0.1:1/log/checkpoint"), "{}", ran.err);
}

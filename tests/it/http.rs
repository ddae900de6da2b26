//! HTTP: health, metrics, records, history; and the tiles of the ledger, checked by a client from other hands.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Hash, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree,
    record_hash, tree_hash,
};
use tokio::task::block_in_place;

use crate::{
    http_support::{get, request},
    program::wait_until,
    support::{Running, config, create, directory, replace, retire, value},
};

fn address(running: &Running) -> SocketAddr {
    running.node.http_addr().unwrap()
}

/// The log as seen over HTTP, with every tile that was fetched.
struct Foreign {
    address: SocketAddr,
    fetched: Mutex<HashMap<String, Vec<u8>>>,
}

impl Foreign {
    fn new(address: SocketAddr) -> Self {
        Self { address, fetched: Mutex::default() }
    }

    /// Fetches the newest checkpoint and verifies its signature.
    fn checkpoint(&self, verifier_key: &str) -> Checkpoint {
        let reply = get(self.address, "/log/checkpoint");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("cache-control"), "no-cache");
        let verifier = StandardVerifier::new(verifier_key).unwrap();
        let verifiers = VerifierList::new(vec![Box::new(verifier)]);
        let note = Note::from_bytes(&reply.body).unwrap();
        let (signed, _) = note.verify(&verifiers).unwrap();
        assert_eq!(signed.len(), 1);
        Checkpoint::from_bytes(note.text()).unwrap()
    }

    fn fetch(&self, path: &str) -> Vec<u8> {
        if let Some(bytes) = self.fetched.lock().unwrap().get(path) {
            return bytes.clone();
        }
        let reply = get(self.address, &format!("/log/{path}"));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), "application/octet-stream", "{path}");
        assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable", "{path}");
        self.fetched.lock().unwrap().insert(path.into(), reply.body.clone());
        reply.body
    }

    /// Every entry, from full bundles and the last partial one.
    fn entries(&self, size: u64) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        for start in (0..size).step_by(256) {
            let path = Tile::new(8, 0, start / 256, (size - start).min(256) as u32, true).path();
            let bundle = self.fetch(&path.replacen("tile/8/data", "tile/entries", 1));
            let mut rest = bundle.as_slice();
            while let Some((len, behind)) = rest.split_first_chunk::<2>() {
                let (entry, behind) = behind.split_at(u16::from_be_bytes(*len).into());
                entries.push(entry.to_vec());
                rest = behind;
            }
        }
        entries
    }
}

impl TileReader for Foreign {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // The crate writes the paths of Go's checksum database, which contain the height.
        Ok(tiles.iter().map(|tile| self.fetch(&tile.path().replacen("tile/8/", "tile/", 1))).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Checks the whole log at this size: signature, tiles, entries, root, and proofs of some entries.
fn check_log(address: SocketAddr, verifier_key: &str, size: u64) -> Checkpoint {
    let foreign = Foreign::new(address);
    wait_until("the checkpoint is published", || foreign.checkpoint(verifier_key).size() == size);
    let checkpoint = foreign.checkpoint(verifier_key);
    let entries = foreign.entries(size);
    assert_eq!(entries.len() as u64, size);
    let leaves: Vec<Hash> = entries.iter().map(|entry| record_hash(entry)).collect();
    for (start, hashes) in leaves.chunks(256).enumerate() {
        let path = Tile::new(8, 0, start as u64, hashes.len() as u32, false).path();
        let tile = foreign.fetch(&path.replacen("tile/8/", "tile/", 1));
        assert_eq!(tile, hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>(), "{path}");
    }
    if size > 0 {
        let reader = TileHashReader::new(size, *checkpoint.hash(), &foreign);
        assert_eq!(tree_hash(size, &reader).unwrap(), *checkpoint.hash());
        for index in [0, 1, 254, 255, 256, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            let proof = prove_record(size, index, &reader).unwrap();
            let leaf = leaves[index as usize];
            check_record(&proof, size, *checkpoint.hash(), index, leaf).unwrap();
            if size > 1 {
                let other = leaves[((index + 1) % size) as usize];
                assert!(check_record(&proof, size, *checkpoint.hash(), index, other).is_err());
            }
        }
    }
    checkpoint
}

/// Registers records until the ledger has `size` entries.
async fn grow(running: &Running, size: u64) {
    while running.entries() < size {
        let start = running.entries();
        let end = size.min(start + 10_000);
        let commands = (start..end).map(|number| create(&format!("88.9/{number}"), vec![value(1, "N", "x")]));
        for outcome in running.apply_batch(commands.collect()).await.unwrap() {
            outcome.receipt();
        }
    }
    assert_eq!(running.entries(), size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_verifies_the_log_at_every_awkward_size() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let (address, key) = (address(&running), running.node.summary().verifier_key);
    let mut seen: Vec<Checkpoint> = Vec::new();
    for size in [0, 1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
        grow(&running, size).await;
        let checkpoint = block_in_place(|| check_log(address, &key, size));
        assert!(seen.last().is_none_or(|before| before.hash() != checkpoint.hash()), "at {size}");
        seen.push(checkpoint);
    }
    block_in_place(|| {
        let newest = seen.last().unwrap();
        let foreign = Foreign::new(address);
        let reader = TileHashReader::new(newest.size(), *newest.hash(), &foreign);
        for older in seen.iter().filter(|older| older.size() > 0) {
            let proof = prove_tree(newest.size(), older.size(), &reader).unwrap();
            check_tree(&proof, newest.size(), *newest.hash(), older.size(), *older.hash()).unwrap();
        }
        // 70,000 entries: 273 full tiles and one of 112 hashes, then 1 and 17, then 1 (C2SP tlog-tiles).
        let there = [
            "0/x000",
            "0/272",
            "0/273.p/112",
            "0/273.p/1",
            "0/273.p/111",
            "0/000.p/255",
            "0/000.p/1",
            "1/000",
            "1/001.p/17",
            "1/001.p/1",
            "2/000.p/1",
            "entries/272",
            "entries/273.p/112",
            "entries/000.p/3",
        ];
        for path in &there[1..] {
            let tile = get(address, &format!("/log/tile/{path}"));
            assert_eq!(tile.status, 200, "{path}");
            let whole = get(address, &format!("/log/tile/{}", path.split(".p").next().unwrap()));
            assert!(whole.status == 404 || whole.body.starts_with(&tile.body), "{path}");
        }
        let absent = [
            there[0],
            "0/273",
            "0/273.p/113",
            "0/274.p/1",
            "0/x001/000.p/1",
            "1/001",
            "1/001.p/18",
            "1/002.p/1",
            "2/000",
            "2/000.p/2",
            "3/000.p/1",
            "7/000.p/1",
            "8/000.p/1",
            "63/000.p/1",
            "64/000",
            "0/000.p/256",
            "0/000.p/0",
            "entries/273",
            "entries/273.p/113",
            "entries/274.p/1",
            "0/x018/x446/x744/x073/x709/x551/615",
            "",
            "0",
            "../key",
            "%2e%2e/key",
            "0/000?x",
        ];
        for path in absent {
            let reply = get(address, &format!("/log/tile/{path}"));
            assert_eq!(reply.status, if path.ends_with("?x") { 200 } else { 404 }, "{path}: {reply:?}");
        }
    });
    running.stop().await;
}

/// Under continuous writes, the checkpoint of each second covers everything acknowledged in the second before.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_under_load() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let (address, key) = (address(&running), running.node.summary().verifier_key);
    let (mut acknowledged, mut published, began) = (0, BTreeSet::new(), Instant::now());
    for number in 0.. {
        if began.elapsed() > Duration::from_secs(4) {
            break;
        }
        let receipt = running.apply(create(&format!("88.9/{number}"), vec![value(1, "N", "x")])).await.unwrap();
        acknowledged = receipt.ledger_index + 1;
        published.insert(block_in_place(|| Foreign::new(address).checkpoint(&key)).size());
    }
    assert!(published.len() >= 3, "{published:?}");
    wait_until("the last entry is covered", || Foreign::new(address).checkpoint(&key).size() == acknowledged);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_methods_and_paths() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let address = address(&running);
    block_in_place(|| {
        for path in ["/healthz", "/readyz"] {
            let reply = get(address, path);
            assert_eq!((reply.status, reply.text()), (200, "ok\n"), "{path}");
            let head = request(address, "HEAD", path, "");
            assert_eq!((head.status, head.text(), head.header("content-length")), (200, "", "3"), "{path}");
        }
        let reply = get(address, "/nothing/here");
        assert_eq!((reply.status, reply.header("content-type")), (404, "application/problem+json"));
        assert_eq!(reply.text(), r#"{"title":"not found","status":404,"detail":"there is nothing at /nothing/here"}"#);
        for path in ["/healthz", "/log/checkpoint", "/v1/records/88.1/x", "/events"] {
            let reply = request(address, "POST", path, "Content-Length: 0\r\n");
            assert_eq!((reply.status, reply.header("allow")), (405, "GET,HEAD"), "{path}");
        }
        let reply = request(address, "GET", "/healthz", &format!("X: {}\r\n", "x".repeat(70_000)));
        assert_eq!(reply.status, 431);
    });
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_their_history() {
    const PUMP: &str = "88.118.8/Pump A";
    const LINK: &str = "https://a.example/p?q=1";
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let address = address(&running);
    let private = touchmark::protocol::grpc::pb::Value { permissions: Some(0b1100), ..value(2, "SECRET", "s3cret") };
    let first = running.apply(create(PUMP, vec![value(1, "NAME", "Pump"), private.clone()])).await.unwrap();
    running.apply(replace(PUMP, vec![value(1, "NAME", "Pump B")])).await.unwrap();
    running.apply(create(LINK, vec![value(1, "NAME", "Link")])).await.unwrap();
    running.apply(create("88.118.8/private", vec![private])).await.unwrap();
    running.apply(create("1.3.6.1", vec![value(1, "NAME", "OID")])).await.unwrap();
    running.apply(create("88.118.8/old", vec![])).await.unwrap();
    running.apply(retire("88.118.8/old")).await.unwrap();
    block_in_place(|| {
        let table = [
            ("/v1/records/88.118.8/Pump%20A", 200, r#""data":"Pump B""#),
            ("/v1/records/88.118.8%2FPump%20A", 200, r#""identifier":"88.118.8/Pump A","status":"active","version":2"#),
            ("/v1/records/88.118.8/Pump%20A?as_of=0", 200, r#""data":"Pump""#),
            ("/v1/records/88.118.8/Pump%20A?as_of=2001-01-01T00:00:00Z", 404, r#""status":"not found""#),
            ("/v1/records/88.118.8/Pump%20A?as_of=99", 400, "ledger index 99 is still to come"),
            ("/v1/records/88.118.8/Pump%20A?as_of=noon", 400, "as_of: neither a ledger index nor a time"),
            ("/v1/records/88.118.8/Pump%20A?asof=1", 400, "unknown field `asof`"),
            ("/v1/records/https://a.example/p%3Fq=1", 200, r#""data":"Link""#),
            ("/v1/records/https%3A%2F%2Fa.example%2Fp%3Fq%3D1", 200, r#""data":"Link""#),
            ("/v1/records//1/3/6/1", 200, r#""identifier":"urn:oid:1.3.6.1""#),
            ("/v1/records/88.118.8/none", 404, r#"{"identifier":"88.118.8/none","status":"not found"}"#),
            ("/v1/records/88.118.8/private", 403, r#""status":"denied""#),
            ("/v1/records/88.118.8/old", 410, r#""status":"retired","version":2"#),
            ("/v1/records/nonsense", 400, "an identifier is a Handle"),
            ("/v1/records/%ff/x", 400, "UTF-8"),
            ("/v1/history/88.118.8/Pump%20A", 200, r#"{"versions":[{"change":"update","#),
            ("/v1/history/88.118.8/Pump%20A?limit=1", 200, r#""next_before":1}"#),
            ("/v1/history/88.118.8/Pump%20A?before=1", 200, r#""change":"create""#),
            ("/v1/history/88.118.8/Pump%20A?before=0", 200, r#"{"versions":[]}"#),
            ("/v1/history/88.118.8/Pump%20A?limit=0", 400, "limit: 0 versions in one page; ask for 1 to 1000"),
            ("/v1/history/88.118.8/Pump%20A?limit=x", 400, "invalid digit"),
            ("/v1/history/88.118.8/none", 404, "nothing was ever registered under `88.118.8/none`"),
        ];
        for (path, status, said) in table {
            let reply = get(address, path);
            assert_eq!(reply.status, status, "{path}: {}", reply.text());
            assert!(reply.text().contains(said), "{path}: {}", reply.text());
            assert!(!reply.text().contains("s3cret"), "{path}: {}", reply.text());
            let problem = status == 400 || (path.contains("history") && status == 404);
            let expected = if problem { "application/problem+json" } else { "application/json" };
            assert_eq!(reply.header("content-type"), expected, "{path}");
        }
        assert_eq!(first.ledger_index, 0);
    });
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_what_was_done() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let address = address(&running);
    let scrape = || block_in_place(|| get(address, "/metrics"));
    let number = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    };
    let empty = scrape();
    assert_eq!(empty.status, 200);
    assert_eq!(empty.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(empty.text().ends_with("# EOF\n"), "{}", empty.text());
    assert_eq!(number(empty.text(), "touchmark_ledger_entries"), 0.0);
    assert!(!empty.text().contains("touchmark_checkpoint_timestamp_seconds "));
    for identifier in ["88.1/a", "88.1/b"] {
        running.apply(create(identifier, vec![value(1, "N", "x")])).await.unwrap();
    }
    running.apply(create("88.1/a", vec![])).await.unwrap_err();
    running.apply(create("no identifier", vec![])).await.unwrap_err();
    running.found("88.1/a").await;
    running.found("88.1/a").await;
    block_in_place(|| get(address, "/nothing"));
    let reply = scrape();
    let said = |name: &str, expected: f64| assert_eq!(number(reply.text(), name), expected, "{name}\n{}", reply.text());
    said("touchmark_ledger_entries", 2.0);
    said("touchmark_index_overlay_entries", 2.0);
    said(r#"touchmark_registry_results_total{result="written"}"#, 2.0);
    said(r#"touchmark_registry_results_total{result="already_exists"}"#, 1.0);
    said(r#"touchmark_registry_results_total{result="invalid"}"#, 1.0);
    said("touchmark_registry_queue_commands", 0.0);
    said("touchmark_registry_ready", 1.0);
    said("touchmark_ledger_batch_entries_count", 2.0);
    said("touchmark_ledger_batch_entries_sum", 2.0);
    said("touchmark_ledger_commit_seconds_count", 2.0);
    said(r#"touchmark_ledger_commit_seconds_bucket{le="+Inf"}"#, 2.0);
    said("touchmark_cache_hits_total", 1.0);
    said(r#"touchmark_grpc_calls_total{method="Registry/Apply",code="OK"}"#, 2.0);
    said(r#"touchmark_grpc_calls_total{method="Registry/Apply",code="ALREADY_EXISTS"}"#, 1.0);
    said(r#"touchmark_grpc_calls_total{method="Registry/Apply",code="INVALID_ARGUMENT"}"#, 1.0);
    said(r#"touchmark_grpc_calls_total{method="Resolver/Resolve",code="OK"}"#, 2.0);
    said(r#"touchmark_http_responses_total{code="404"}"#, 1.0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let since = |name| now - number(reply.text(), name);
    assert!((0.0..600.0).contains(&since("touchmark_checkpoint_timestamp_seconds")));
    assert!(since("process_start_time_seconds") > -5.0, "{}", reply.text());
    assert!(number(reply.text(), "process_resident_memory_bytes") > 1e6);
    assert!(number(reply.text(), "process_cpu_seconds_total") > 0.0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_there_is_no_http() {
    let directory = directory();
    let mut config = config(&directory.path().join("data"));
    config.http.listen = None;
    let running = Running::with(&config).await.unwrap();
    assert_eq!(running.node.http_addr(), None);
    running.stop().await;
}

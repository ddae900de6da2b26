//! The verifiable index of a node: its answers verify over gRPC, HTTP and the command line, and the index continues
//! after every kill.

use std::{path::Path, time::Duration};

use sha2::{Digest, Sha256};
use touchmark::{
    app::{self, Content},
    id::Identifier,
    protocol::{
        grpc::{
            lookup_from_pb, lookup_kind_to_pb,
            pb::{self, EdgeType, auditor_client::AuditorClient},
        },
        json::{lookup_from_json, lookup_to_json},
    },
    tlog::note::VerifierKey,
    vindex::{Lookup, LookupError, LookupKind, OutputLeaf},
};

use crate::{
    program::{Program, run, wait_until},
    support::{Running, create, create_with_edges, directory, edge, expecting, replace, retire, update, value},
};

pub fn key(identifier: &str, kind: LookupKind) -> [u8; 32] {
    kind.key(&Identifier::parse(identifier).unwrap())
}

/// Asks until the answer covers every entry of the ledger.
pub async fn lookup(node: &Running, identifier: &str, kind: LookupKind) -> Lookup {
    for _ in 0..600 {
        let request = pb::LookupRequest { identifier: identifier.into(), kind: lookup_kind_to_pb(kind).into() };
        match AuditorClient::new(node.channel()).lookup(request).await {
            Ok(found) => {
                let lookup = lookup_from_pb(found.into_inner()).unwrap();
                let covers = OutputLeaf::parse(&lookup.leaf).unwrap().checkpoint.lines().nth(1).unwrap().to_owned();
                if covers.parse::<u64>().unwrap() == node.entries() {
                    return lookup;
                }
            }
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the index does not follow");
}

fn get(url: &str) -> Vec<u8> {
    ureq::get(url).call().unwrap().body_mut().read_to_vec().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_prove_themselves() {
    let data = directory();
    let node = Running::start(data.path()).await;
    let verifier = VerifierKey::of_log(&node.node.summary().verifier_key).unwrap();
    // An empty ledger already has a proof of absence.
    let nothing = lookup(&node, "88.1/a", LookupKind::Id).await;
    assert_eq!(nothing.verify(&key("88.1/a", LookupKind::Id), &verifier).unwrap().indices, [0_u64; 0]);

    let edges = vec![edge(EdgeType::MadeOf, "88.1/PART"), edge(EdgeType::MadeOf, "1.3.6.1")];
    node.apply(create("88.1/part", vec![value(1, "N", "x")])).await.unwrap();
    node.apply(create_with_edges("88.1/A", vec![], edges)).await.unwrap();
    node.apply(expecting(1, replace("88.1/a", vec![value(1, "N", "y")]))).await.unwrap();
    let add = pb::Update {
        mode: pb::update::Mode::Merge.into(),
        add_edges: vec![edge(EdgeType::PackedIn, "88.1/part")],
        ..Default::default()
    };
    node.apply(update("88.1/a", add)).await.unwrap();
    for number in 0..300 {
        node.apply(create(&format!("88.2/{number}"), vec![])).await.unwrap();
    }
    node.apply(retire("88.1/a")).await.unwrap();

    let table: [(&str, LookupKind, &[u64]); 9] = [
        ("88.1/a", LookupKind::Id, &[1, 2, 3, 304]),
        ("hdl:88.1/A", LookupKind::Id, &[1, 2, 3, 304]),
        ("88.1/a", LookupKind::Out, &[1, 3]),
        ("88.1/part", LookupKind::In, &[1, 3]),
        ("urn:oid:1.3.6.1", LookupKind::In, &[1]),
        ("1.3.6.1", LookupKind::Id, &[]),
        ("88.1/part", LookupKind::Out, &[]),
        ("88.2/299", LookupKind::Id, &[303]),
        ("88.2/300", LookupKind::Id, &[]),
    ];
    let http = node.node.http_addr().unwrap();
    for (identifier, kind, indices) in table {
        let found = lookup(&node, identifier, kind).await;
        let key = key(identifier, kind);
        let verified = found.verify(&key, &verifier).unwrap();
        assert_eq!((&*verified.indices, verified.covers.size), (indices, 305), "{identifier} {kind:?}");
        let hex = data_encoding::HEXLOWER.encode(&key);
        let url = format!("http://{http}/vindex/lookup/{hex}");
        let over_http = tokio::task::spawn_blocking(move || get(&url)).await.unwrap();
        assert_eq!(lookup_from_json(&over_http).unwrap(), found);
        flips_are_refused(&found, &key, &verifier);
    }
    // Another key, another kind, another identifier.
    let found = lookup(&node, "88.1/a", LookupKind::Id).await;
    assert!(matches!(found.verify(&key("88.1/a", LookupKind::Out), &verifier), Err(LookupError::Map(_))));
    let none = Lookup { indices: Vec::new(), ..found.clone() };
    assert!(matches!(none.verify(&key("88.1/a", LookupKind::Id), &verifier), Err(LookupError::Map(_))));
    let fewer = Lookup { indices: vec![1, 2, 3], ..found.clone() };
    assert!(matches!(fewer.verify(&key("88.1/a", LookupKind::Id), &verifier), Err(LookupError::Map(_))));
    let stranger = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let stranger = VerifierKey::of_log(stranger).unwrap();
    let refused = found.verify(&key("88.1/a", LookupKind::Id), &stranger);
    assert!(matches!(refused, Err(LookupError::OutputCheckpoint { .. })));
    let request = pb::LookupRequest { identifier: "88".into(), kind: 1 };
    let refused = AuditorClient::new(node.channel()).lookup(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    node.stop().await;
    let report = app::audit_directory(data.path(), Some(&verifier), &mut |_| {}).unwrap();
    assert_eq!((report.entries, report.content), (305, Content::Ours { identifiers: 302 }));
    assert_eq!(report.index.map(|index| index.covers), Some(305));
}

/// Checks that no document with a flipped bit verifies, for a bit of every byte.
fn flips_are_refused(found: &Lookup, key: &[u8; 32], verifier: &VerifierKey) {
    let refused = |changed: Lookup, what: &str, at: usize| {
        assert!(changed.verify(key, verifier).is_err(), "{what}, byte {at}");
    };
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    for at in 0..found.proof.len() {
        refused(Lookup { proof: flip(&found.proof, at), ..found.clone() }, "map proof", at);
    }
    for at in 0..found.leaf.len() {
        refused(Lookup { leaf: flip(&found.leaf, at).into(), ..found.clone() }, "leaf", at);
    }
    for at in 0..found.checkpoint.len() {
        let Ok(text) = String::from_utf8(flip(found.checkpoint.as_bytes(), at)) else { continue };
        refused(Lookup { checkpoint: text.into(), ..found.clone() }, "checkpoint", at);
    }
    for step in 0..found.leaf_path.len() {
        let mut path = found.leaf_path.to_vec();
        path[step].0[step % 32] ^= 1;
        refused(Lookup { leaf_path: path.into(), ..found.clone() }, "path", step);
    }
    for index in 0..found.indices.len() {
        let mut indices = found.indices.clone();
        indices[index] ^= 1 << 3;
        refused(Lookup { indices, ..found.clone() }, "index", index);
    }
}

/// C2SP clients can read the output log over HTTP.
fn check_tiles(node: &Program) {
    let base = format!("http://{}/vindex", node.http);
    let note = String::from_utf8(get(&format!("{base}/checkpoint"))).unwrap();
    let (origin, size) = (note.lines().next().unwrap(), note.lines().nth(1).unwrap().parse::<usize>().unwrap());
    assert_eq!(origin, "id.test/ledger/index/v1");
    let hashes = get(&format!("{base}/tile/0/000.p/{size}"));
    let entries = get(&format!("{base}/tile/entries/000.p/{size}"));
    let mut rest = entries.as_slice();
    for hash in hashes.as_chunks::<32>().0 {
        let (leaf, behind) = rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
        let expected: [u8; 32] = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
        assert_eq!(*hash, expected);
        rest = behind;
    }
    assert!(rest.is_empty() && hashes.len() == 32 * size);
    for missing in [format!("0/000.p/{}", size + 1), "0/000".into(), "1/000.p/1".into(), "entries/001".into()] {
        let answer = ureq::get(format!("{base}/tile/{missing}")).call();
        assert!(matches!(answer, Err(ureq::Error::StatusCode(404))), "{missing}");
    }
    let answer = ureq::get(format!("{base}/lookup/12")).call();
    assert!(matches!(answer, Err(ureq::Error::StatusCode(400))));
}

fn vkey(data: &Path) -> String {
    let key = std::fs::read_to_string(data.join("ledger/key")).unwrap();
    assert!(key.starts_with("PRIVATE+KEY+"));
    let ran = run(["fsck", "--json", "--data", data.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    report["verifier_key"].as_str().unwrap().to_owned()
}

#[test]
fn kills_leave_one_output_log_and_the_command_line_verifies_it() {
    let data = directory();
    let mut covered = 0;
    for round in 0..4 {
        let node = Program::serve(data.path(), &[]);
        for number in 0..3 {
            let ran = node.run(&["register", &format!("88.1/{round}-{number}"), "--edge", "made-of=88.1/part"]);
            assert_eq!(ran.exit, 0, "{}", ran.err);
        }
        let log = format!("http://{}/vindex/checkpoint", node.http);
        wait_until("something is published", || {
            let Ok(mut answer) = ureq::get(&log).call() else { return false };
            let note = answer.body_mut().read_to_string().unwrap();
            let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
            assert!(size >= covered, "the output log went back from {covered} to {size}");
            let grew = size > covered;
            covered = size;
            grew
        });
        if round % 2 == 0 { node.kill() } else { assert_eq!(node.stop("INT"), Some(0)) }
    }
    let report = app::audit_directory(data.path(), None, &mut |_| {}).unwrap();
    assert_eq!((report.entries, report.index.unwrap().covers), (12, 12));
    let key = vkey(data.path());
    let node = Program::serve(data.path(), &[]);
    check_tiles(&node);
    let files = directory();
    let file = files.path().join("lookup.json").to_str().unwrap().to_owned();
    let ran = node.run(&["lookup", "88.1/3-2", "--kind", "out", "--key", &key, "-o", &file]);
    assert_eq!((ran.exit, &*ran.err), (0, ""));
    assert!(ran.out.contains("1 ledger entries have edges from it, these and no others"), "{}", ran.out);
    assert!(ran.out.contains("as of 12 ledger entries"), "{}", ran.out);
    let ran = node.run(&["lookup", "88.1/part", "--kind", "in", "--key", &key, "--json"]);
    let proved: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, proved["indices"].as_array().unwrap().len(), &proved["latest"]), (0, 12, &11.into()));
    let ran = node.run(&["lookup", "88.1/none", "--key", &key]);
    assert_eq!(ran.exit, 3, "{}", ran.err);
    assert!(ran.out.starts_with("88.1/none: never registered\n"), "{}", ran.out);
    node.stop("INT");
    // Without a node.
    let offline =
        |identifier: &str, key: &str| run(["lookup", identifier, "--kind", "out", "--key", key, "--file", &file]);
    assert_eq!(offline("88.1/3-2", &key).exit, 0);
    let other = offline("88.1/3-1", &key);
    assert_eq!(other.exit, 1);
    assert!(other.err.contains("the answer proves nothing: the map proof"), "{}", other.err);
    assert_eq!(offline("88.1/3-2", "nonsense").exit, 2);
    let document = lookup_from_json(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::write(&file, lookup_to_json(&Lookup { proof: Vec::new(), ..document })).unwrap();
    assert_eq!(offline("88.1/3-2", &key).exit, 1);
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(offline("88.1/3-2", &key).exit, 2);
}

/// A node whose output log does not fit its ledger refuses lookups with the reason, and serves everything else.
#[test]
fn another_ledgers_index_is_refused() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    assert_eq!(node.run(&["register", "88.1/a"]).exit, 0);
    assert_eq!(node.stop("INT"), Some(0));
    let key = vkey(data.path());
    let leaves = data.path().join("vindex/leaves");
    let mut bytes = std::fs::read(&leaves).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&leaves, bytes).unwrap();
    let node = Program::serve(data.path(), &[]);
    wait_until("the log says so", || node.log().contains("the verifiable index gives no answers"));
    let ran = node.run(&["lookup", "88.1/a", "--key", &key]);
    assert_eq!(ran.exit, 9, "{}", ran.err);
    assert!(ran.err.contains("were signed for") && ran.err.contains("touchmark audit"), "{}", ran.err);
    assert_eq!(node.run(&["resolve", "88.1/a"]).exit, 0);
}

#[test]
fn a_node_without_an_index_says_so() {
    let data = directory();
    let mut command = crate::program::touchmark();
    command.args(["serve", "--data", data.path().to_str().unwrap()]).env("TOUCHMARK_VERIFIABLE_INDEX", "off");
    let node = Program::spawn(&mut command);
    let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let ran = node.run(&["lookup", "88.1/a", "--key", key]);
    assert_eq!(ran.exit, 1);
    assert!(ran.err.contains("this node has no verifiable index"), "{}", ran.err);
    assert!(!data.path().join("vindex").exists());
}

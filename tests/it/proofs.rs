//! Proofs over the real program: `prove`, `verify`, `consistency`. Valid proofs verify offline; a changed file, key or
//! policy is refused, or shows exactly the same.

use std::{fs, path::Path};

use data_encoding::BASE64;
use serde_json::Value as Json;
use tempfile::TempDir;
use touchmark::{
    proof::{Outcome, verify},
    protocol::grpc::pb::{self, auditor_client::AuditorClient},
    tlog::{
        Hash,
        merkle::{self, TreeHead},
        policy::Policy,
        tlog_proof::TlogProof,
    },
};

use crate::{
    program::{Program, Ran, file, run},
    support::{Running, create, directory, replace, value},
};

/// Key that the node prints at start.
fn key(node: &Program) -> String {
    let line = node.introduction.lines().find_map(|line| line.trim().strip_prefix("ledger key"));
    line.unwrap().trim().to_owned()
}

fn register(node: &Program, identifier: &str) {
    let ran = node.run(&["register", identifier, "--value", "NAME=Pump", "--value", "COLOUR=blue, and a secret"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
}

/// Writes a proof into a file and returns its path.
fn prove(node: &Program, directory: &TempDir, arguments: &[&str]) -> String {
    let path = directory.path().join(format!("{}.tlog-proof", arguments.join("_").replace('/', "_")));
    let path = path.to_str().unwrap().to_owned();
    let ran = node.run(&[&["prove"], arguments, &["-o", &path]].concat());
    assert_eq!(ran.exit, 0, "{ran:?}");
    path
}

fn verify_file(path: &str, arguments: &[&str]) -> Ran {
    run(["verify", path].iter().chain(arguments))
}

fn json(ran: &Ran) -> Json {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn an_entry_is_proven_and_checked_offline() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    for number in 0..5 {
        register(&node, &format!("88.118/P{number}"));
    }
    let retired = node.run(&["retire", "88.118/P4"]);
    assert_eq!(retired.exit, 0, "{retired:?}");
    let key = key(&node);
    let whole = prove(&node, &files, &["88.118/P2"]);
    let some = prove(&node, &files, &["2", "--value", "1"]);
    let none = prove(&node, &files, &["88.118/P2", "--none"]);
    let gone = prove(&node, &files, &["hdl:88.118/p4"]);
    for (arguments, exit) in
        [(&["88.118/P9"][..], 3), (&["77"], 1), (&["not an identifier"], 2), (&["88.118/P2", "--value", "9"], 2)]
    {
        let ran = node.run(&[&["prove"], arguments].concat());
        assert_eq!((ran.exit, ran.out.as_str()), (exit, ""), "{ran:?}");
    }
    assert_eq!(node.stop("INT"), Some(0));

    let ran = verify_file(&whole, &["--key", &key]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    for part in
        ["valid, and all values are shown", "88.118/P2", "create", "by loopback", "index 2 of 6", "secret", &key]
    {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let ran = verify_file(&some, &["--key", &key, "--json"]);
    assert_eq!(ran.exit, 10, "{ran:?}");
    let shown = json(&ran);
    assert_eq!((&shown["outcome"], &shown["withheld"]), (&"withheld".into(), &serde_json::json!([2])));
    assert_eq!((&shown["values"][0]["data"], &shown["values"][1]), (&"Pump".into(), &Json::Null));
    assert!(!fs::read_to_string(&some).unwrap().contains(&BASE64.encode(b"secret")), "what is withheld is not there");
    let ran = verify_file(&none, &["--key", &key]);
    assert_eq!((ran.exit, ran.out.contains("not shown     1, 2")), (10, true), "{ran:?}");
    let ran = verify_file(&gone, &["--key", &key, "--json"]);
    assert_eq!((ran.exit, &json(&ran)["change"], &json(&ran)["previous_index"]), (0, &"retire".into(), &4.into()));

    // Another ledger's key, a malformed key, no key.
    let other = Program::serve(directory().path(), &[]);
    let ran = verify_file(&whole, &["--key", &self::key(&other)]);
    assert_eq!((ran.exit, ran.out.contains("invalid: no known key of the log")), (11, true), "{ran:?}");
    assert_eq!(verify_file(&whole, &["--key", "x"]).exit, 2);
    assert_eq!(verify_file(&whole, &[]).exit, 2);
    assert_eq!(verify_file("missing.tlog-proof", &["--key", &key]).exit, 1);
}

#[test]
fn all_that_is_proven_is_shown() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    register(&node, "88.118/Lot");
    register(&node, "88.118/Half");
    for arguments in [
        &["event", "88.118/Cut", "--input", "88.118/Lot=2:kg", "--output", "88.118/Half=2:kg", "--balance", "kg"][..],
        &["erase", "88.118/Lot", "--index", "2", "--reason", "asked for"],
    ] {
        let ran = node.run(arguments);
        assert_eq!(ran.exit, 0, "{ran:?}");
    }
    let key = key(&node);
    let event = prove(&node, &files, &["88.118/Cut"]);
    let erasure = prove(&node, &files, &["3"]);
    for (path, lines) in [
        (
            &event,
            &["    edge add derived-from 88.118/Lot 2 kg\n", "    output 88.118/Half 2 kg\n", "    balance kg\n"][..],
        ),
        (&erasure, &["    erased 2\n", "    reason asked for\n"]),
    ] {
        let ran = verify_file(path, &["--key", &key]);
        assert!(lines.iter().all(|line| ran.out.contains(line)), "{ran:?}");
    }
    let shown = json(&verify_file(&event, &["--key", &key, "--json"]));
    assert_eq!((&shown["outputs"], &shown["balance"]), (&serde_json::json!(["88.118/Half 2 kg"]), &"kg".into()));
    assert_eq!((&shown["erased"], &shown["reason"]), (&Json::Null, &Json::Null));
    let shown = json(&verify_file(&erasure, &["--key", &key, "--json"]));
    assert_eq!((&shown["erased"], &shown["reason"]), (&"2".into(), &"asked for".into()));
}

/// Changes every byte of the files of a real node, with the code that `verify` runs.
#[test]
fn every_byte_of_a_proof_counts() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    for number in 0..9 {
        register(&node, &format!("88.118/P{number}"));
    }
    let policy = Policy::of_log(key(&node).parse().unwrap()).unwrap();
    for arguments in [&["88.118/P5"][..], &["88.118/P5", "--value", "2"], &["8", "--none"]] {
        let proof = fs::read(prove(&node, &files, arguments)).unwrap();
        assert!(!matches!(verify(&proof, &policy), Outcome::Invalid(_)));
        for at in 0..proof.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut flipped = proof.clone();
                flipped[at] ^= mask;
                let outcome = verify(&flipped, &policy);
                assert!(matches!(outcome, Outcome::Invalid(_)), "{arguments:?}, byte {at}: {outcome:?}");
            }
        }
        for end in 0..proof.len() {
            assert!(matches!(verify(&proof[..end], &policy), Outcome::Invalid(_)), "{arguments:?}, cut at {end}");
        }
    }
}

#[test]
fn policies_name_whom_to_trust() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    register(&node, "88.118/P");
    let proof = prove(&node, &files, &["88.118/P"]);
    let witness = touchmark::tlog::note::CosignerKey::new("w.test", [7; 32]).unwrap();
    let log = format!("log {}\nwitness W {}\n", key(&node), witness.verifier());
    let table = [
        ("quorum none\n", 0, "cosigned"),
        ("quorum W\n", 11, "not the quorum"),
        ("quorum V\n", 2, "line 3 of the policy: `V` is not defined"),
        ("", 2, "no `quorum` line"),
    ];
    for (lines, exit, part) in table {
        let policy = file(&files, "policy", log.clone() + lines);
        let ran = verify_file(&proof, &["--policy", &policy]);
        assert_eq!(ran.exit, exit, "{ran:?}");
        assert!(exit == 0 || format!("{}{}", ran.out, ran.err).contains(part), "{ran:?}");
    }
    // A policy without logs, and the log given beside it.
    let policy = file(&files, "policy", "quorum none");
    assert_eq!(verify_file(&proof, &["--policy", &policy]).exit, 11);
    assert_eq!(verify_file(&proof, &["--policy", &policy, "--key", &key(&node)]).exit, 0);
}

#[test]
fn a_ledger_that_only_grew() {
    let (data, files) = (directory(), directory());
    let node = Program::serve(data.path(), &[]);
    register(&node, "88.118/P0");
    let key = key(&node);
    let old = prove(&node, &files, &["88.118/P0"]);
    for number in 1..4 {
        register(&node, &format!("88.118/P{number}"));
    }
    let written = files.path().join("grown").to_str().unwrap().to_owned();
    let trusted = ["--key", &key];
    let consistency = |arguments: &[&str]| node.run(&[&["consistency"], arguments, &trusted].concat());
    // The published checkpoint may be a second behind, but never behind the checkpoint that is given.
    let ran = consistency(&[&old, "-o", &written]);
    assert_eq!((ran.exit, ran.out.starts_with("consistent: id.test/ledger with 1 entries")), (0, true), "{ran:?}");
    let new = prove(&node, &files, &["3"]);
    let ran = consistency(&[&old, &new, "--json"]);
    assert_eq!((ran.exit, &json(&ran)["new_entries"]), (0, &4.into()), "{ran:?}");
    assert_eq!(consistency(&[&new, &old]).exit, 2, "the older one comes first");
    assert_eq!(consistency(&[&old, &old]).exit, 0);

    // From the file, without the node.
    node.kill();
    let offline = |old: &str, new: &str| run(["consistency", old, new].iter().chain(&trusted));
    let ran = offline(&old, &written);
    assert_eq!(ran.exit, 0, "{ran:?}");
    // A proof that begins at another size shows nothing.
    let ran = offline(&new, &written);
    assert_eq!((ran.exit, ran.err.contains("leads from 1 entries, and OLD has 4")), (2, true), "{ran:?}");
    // Nor does an invalid proof.
    let newer = TlogProof::parse(&fs::read(&new).unwrap()).unwrap().checkpoint;
    let junk = file(&files, "junk", format!("old 1\n\n{newer}"));
    let ran = run(["consistency", &old, &junk, "--json"].iter().chain(&trusted));
    assert_eq!((ran.exit, &json(&ran)["two_histories"]), (11, &false.into()), "{ran:?}");
    assert!(offline(&old, &junk).out.starts_with("not shown"));
    assert_eq!(run(["consistency", &old].iter().chain(&trusted).chain(&["--server", "127.0.0.1:1"])).exit, 1);

    // Another ledger under the same key, as when a directory is copied and both copies go on.
    let (copy, other_data) = (directory(), directory());
    let node = Program::serve(other_data.path(), &[]);
    node.kill();
    copy_key(data.path(), copy.path(), other_data.path());
    let fork = Program::serve(other_data.path(), &[]);
    register(&fork, "88.118/Other");
    assert_eq!(self::key(&fork), key);
    let forked = prove(&fork, &files, &["0"]);
    assert_eq!(verify_file(&forked, &trusted).exit, 0, "taken alone, it is a proof");
    let ran = fork.run(&[&["consistency", &old, &forked], &trusted[..]].concat());
    assert_eq!(ran.exit, 11, "{ran:?}");
    assert!(ran.out.starts_with("two histories") && ran.out.matches("id.test/ledger\n1\n").count() == 2, "{ran:?}");
    let ran = fork.run(&[&["consistency", &old, &forked, "--json"], &trusted[..]].concat());
    assert_eq!((ran.exit, &json(&ran)["two_histories"]), (11, &true.into()), "{ran:?}");
}

/// Gives an empty ledger the key of another ledger.
fn copy_key(from: &Path, _: &Path, to: &Path) {
    fs::copy(from.join("ledger/key"), to.join("ledger/key")).unwrap();
    fs::remove_file(to.join("ledger/signed_head")).unwrap();
}

/// Consistency between sizes at and around the ends of tiles, with the verifier alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consistency_between_all_pairs_of_sizes() {
    let data = directory();
    let node = Running::start(data.path()).await;
    let mut auditor = AuditorClient::new(node.channel());
    let mut heads = Vec::new();
    let mut size = 0_u64;
    for target in [1, 2, 3, 7, 8, 255, 256, 257, 511, 700] {
        let commands = (size..target).map(|number| create(&format!("88.118/{number}"), vec![])).collect();
        node.apply_batch(commands).await.unwrap();
        size = target;
        let proof = auditor.prove(by_index(size - 1)).await.unwrap().into_inner();
        // The checkpoint may be newer than the entry, never older.
        let lines: Vec<&str> = proof.checkpoint.lines().collect();
        assert_eq!(lines[1], size.to_string());
        let root = Hash(BASE64.decode(lines[2].as_bytes()).unwrap().try_into().unwrap());
        heads.push(TreeHead { size, root });
    }
    for (at, &old) in heads.iter().enumerate() {
        for &new in &heads[at..] {
            let request = pb::ConsistencyRequest { old_size: old.size, new_size: Some(new.size) };
            let path = auditor.consistency(request).await.unwrap().into_inner().path;
            let path: Vec<Hash> = path.iter().map(|hash| Hash(hash.as_ref().try_into().unwrap())).collect();
            assert!(merkle::is_consistent(old, new, &path), "{} to {}", old.size, new.size);
            let wrong = TreeHead { root: Hash([1; 32]), ..old };
            assert!(!merkle::is_consistent(wrong, new, &path));
        }
    }
    for (old_size, new_size, code) in [
        (5, Some(4), tonic::Code::InvalidArgument),
        (5, Some(701), tonic::Code::OutOfRange),
        (701, None, tonic::Code::OutOfRange),
    ] {
        let status = auditor.consistency(pb::ConsistencyRequest { old_size, new_size }).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
    node.stop().await;
}

fn by_index(index: u64) -> pb::ProveRequest {
    pb::ProveRequest { entry: Some(pb::prove_request::Entry::LedgerIndex(index)), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_not_public_stay() {
    let data = directory();
    let node = Running::start(data.path()).await;
    let private = pb::Value { permissions: Some(0b1100), ..value(2, "PRICE", "a secret") };
    node.apply(create("88.118/P", vec![value(1, "NAME", "x"), private.clone()])).await.unwrap();
    node.apply(replace("88.118/P", vec![private, value(3, "NAME", "y")])).await.unwrap();
    let mut auditor = AuditorClient::new(node.channel());
    let entry = |identifier: &str| Some(pb::prove_request::Entry::Identifier(identifier.into()));
    let proof = auditor.prove(pb::ProveRequest { entry: entry("88.118/P"), ..Default::default() }).await.unwrap();
    let indexes: Vec<u32> = proof.into_inner().openings.iter().map(|opening| opening.index).collect();
    assert_eq!(indexes, [3]);
    let listed = |value_indexes: Vec<u32>| pb::ProveRequest {
        entry: entry("88.118/P"),
        disclosure: pb::prove_request::Disclosure::Listed.into(),
        value_indexes,
    };
    for (indexes, code) in [
        (vec![2], tonic::Code::PermissionDenied),
        (vec![3, 2], tonic::Code::PermissionDenied),
        (vec![1], tonic::Code::InvalidArgument),
    ] {
        assert_eq!(auditor.prove(listed(indexes)).await.unwrap_err().code(), code);
    }
    assert_eq!(auditor.prove(listed(vec![3, 3])).await.unwrap().into_inner().openings.len(), 1);
    let unlisted = pb::ProveRequest { entry: entry("88.118/P"), value_indexes: vec![3], ..Default::default() };
    assert_eq!(auditor.prove(unlisted).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(auditor.prove(pb::ProveRequest::default()).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    node.stop().await;
}

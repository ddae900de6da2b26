//! A mirror follows its primary through every change, rejects everything that does not verify, outlives its primary,
//! and takes its place.
//!
//! Real programs; where something is to go wrong, a proxy between them forwards to another primary, or alters the
//! stream ([`proxy`]).

mod proxy;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proxy::{Proxy, Tamper};
use tempfile::TempDir;
use tonic::Status;
use touchmark::protocol::grpc::pb::{
    self, registry_client::RegistryClient, resolver_client::ResolverClient, update::Mode,
};

use crate::{
    erase::files_with,
    http_support::get,
    program::{Program, Ran, run, touchmark, wait_until},
    support::{
        create, create_with_edges, directory, edge, erase, erase_value, merge, question, request, retire, update, value,
    },
};

/// URL of a node's log, for its mirrors.
fn log_of(address: SocketAddr) -> String {
    format!("http://{address}/log")
}

/// Verifier key that a node prints at start.
fn key_of(node: &Program) -> String {
    let line = node.introduction.lines().find_map(|line| line.trim().strip_prefix("ledger key"));
    line.unwrap().trim().to_owned()
}

fn mirror_arguments(url: &str, key: &str, only: &[&str]) -> Vec<String> {
    let mut arguments = vec!["--mirror-of".into(), url.into(), "--mirror-key".into(), key.into()];
    only.iter().for_each(|prefix| arguments.extend(["--only".into(), (*prefix).into()]));
    arguments
}

fn mirror(data: &Path, url: &str, key: &str, only: &[&str]) -> Program {
    let arguments = mirror_arguments(url, key, only);
    Program::serve(data, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Sends commands as one batch, of which every command must be accepted.
fn apply(grpc: &str, commands: Vec<pb::Command>) {
    let results = try_apply(grpc, commands).unwrap();
    for result in results {
        assert!(matches!(result.result, Some(pb::apply_result::Result::Receipt(_))), "{result:?}");
    }
}

fn try_apply(grpc: &str, commands: Vec<pb::Command>) -> Result<Vec<pb::ApplyResult>, Status> {
    block_on(async {
        let mut client = RegistryClient::connect(format!("http://{grpc}")).await.unwrap();
        Ok(client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?.into_inner().results)
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Value of a metric of `/metrics`.
fn metric(http: SocketAddr, name: &str) -> u64 {
    let metrics = get(http, "/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().unwrap() as u64
}

fn entries(node: &Program) -> u64 {
    metric(node.http, "touchmark_ledger_entries")
}

/// Waits until a mirror has every entry of its primary.
fn in_step(primary: &Program, mirror: &Program) {
    wait_until("the mirror is in step", || {
        entries(mirror) == entries(primary) && metric(mirror.http, "touchmark_mirror_lag_entries") == 0
    });
}

fn resolved(node: &Program, identifier: &str) -> Ran {
    node.run(&["resolve", identifier, "--json"])
}

/// Checks that two nodes give the same answers to every kind of question.
fn same_answers(primary: &Program, mirror: &Program, identifiers: &[&str]) {
    for identifier in identifiers {
        for command in ["resolve", "history", "trace"] {
            let [ours, theirs] = [mirror, primary].map(|node| node.run(&[command, identifier, "--json"]));
            assert_eq!((ours.exit, &ours.out), (theirs.exit, &theirs.out), "{command} {identifier}: {}", ours.err);
        }
        let over_dns = |node: &Program| {
            run([
                "resolve",
                identifier,
                "--json",
                "--over",
                "dns",
                "--dns",
                &node.dns.to_string(),
                "--server",
                &node.grpc,
            ])
        };
        let [ours, theirs] = [over_dns(mirror), over_dns(primary)];
        assert_eq!((ours.exit, ours.out), (theirs.exit, theirs.out), "{identifier} over DNS: {}", ours.err);
        let path = format!("/v1/records/{identifier}");
        let [ours, theirs] = [mirror, primary].map(|node| get(node.http, &path));
        assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()), "{path}");
    }
}

fn secret(number: usize) -> String {
    format!("a-secret-that-goes-{number}")
}

/// Makes changes of every kind; returns the identifiers.
fn all_kinds(grpc: &str) -> [&'static str; 6] {
    let made_of = |to: &str| edge(pb::EdgeType::MadeOf, to);
    apply(
        grpc,
        vec![
            create(
                "88.1/pump",
                vec![value(1, "NAME", "Pump"), value(2, "OWNER", secret(1)), value(3, "NOTE", secret(2))],
            ),
            create_with_edges("88.1/press", vec![value(1, "NAME", "Press")], vec![made_of("88.1/pump")]),
            create("88.2/old", vec![value(1, "NAME", "Old")]),
            request("order-1", create("urn:oid:2.999.7", vec![value(1, "NAME", secret(3))])),
            create("88.2/coil", vec![value(1, "NAME", "Coil")]),
        ],
    );
    let edges = pb::Update { mode: Mode::Merge.into(), add_edges: vec![made_of("88.2/coil")], ..Default::default() };
    apply(grpc, vec![merge("88.1/pump", vec![value(1, "NAME", "Pump 2")], Vec::new()), update("88.1/press", edges)]);
    let flow = |identifier: &str| pb::Flow { identifier: identifier.into(), ..Default::default() };
    let event = pb::Event { inputs: vec![flow("88.2/coil")], outputs: vec![flow("88.2/sheet")], ..Default::default() };
    let operation = pb::command::Operation::Event(event);
    apply(grpc, vec![pb::Command { identifier: "88.2/melt".into(), operation: Some(operation), ..Default::default() }]);
    apply(grpc, vec![retire("88.2/old")]);
    ["88.1/pump", "88.1/press", "88.2/old", "urn:oid:2.999.7", "88.2/melt", "88.2/sheet"]
}

#[test]
fn a_mirror_follows_everything() {
    let directory = directory();
    let (at, mirrored) = (directory.path().join("primary"), directory.path().join("mirror"));
    let primary = Program::serve(&at, &[]);
    apply(&primary.grpc, vec![create("88.0/first", vec![value(1, "NAME", "before the mirror")])]);
    let (url, key) = (log_of(primary.http), key_of(&primary));
    let node = mirror(&mirrored, &url, &key, &[]);
    assert!(node.introduction.contains(&format!("mirror of   {url}")), "{}", node.introduction);
    let identifiers = all_kinds(&primary.grpc);
    in_step(&primary, &node);
    same_answers(&primary, &node, &identifiers);
    assert!(!files_with(&mirrored, secret(1).as_bytes()).is_empty(), "the values are here");

    // An erasure at the primary also reaches every file of the mirror.
    apply(&primary.grpc, vec![erase_value("88.1/pump", 2, "r"), erase("urn:oid:2.999.7", "r")]);
    in_step(&primary, &node);
    for gone in [1, 3] {
        assert_eq!(files_with(&mirrored, secret(gone).as_bytes()), Vec::<PathBuf>::new());
    }
    assert!(!files_with(&mirrored, secret(2).as_bytes()).is_empty(), "what was not erased is still here");
    same_answers(&primary, &node, &identifiers);
    // A mirror that starts later gets the same answers.
    let late = mirror(&directory.path().join("late"), &url, &key, &[]);
    in_step(&primary, &late);
    same_answers(&primary, &late, &identifiers);

    // Checkpoint, tiles and proofs are the same.
    wait_until("the mirror publishes what the primary does", || {
        get(node.http, "/log/checkpoint").body == get(primary.http, "/log/checkpoint").body
    });
    let size = entries(&primary);
    for path in [format!("/log/tile/0/000.p/{size}"), format!("/log/tile/entries/000.p/{size}")] {
        let [ours, theirs] = [&node, &primary].map(|node| get(node.http, &path));
        assert_eq!((ours.status, ours.body), (200, theirs.body), "{path}");
    }
    let proof = directory.path().join("proof");
    let proof = proof.to_str().unwrap();
    let proved = node.run(&["prove", "88.1/press", "-o", proof]);
    assert_eq!(proved.exit, 0, "{}", proved.err);
    assert_eq!(run(["verify", proof, "--key", &key]).exit, 0);

    // A clean stop and a start without arguments: the mirror remembers its primary's address and key.
    assert_eq!(node.stop("TERM"), Some(0));
    apply(&primary.grpc, vec![create("88.1/while-away", vec![])]);
    let node = Program::serve(&mirrored, &[]);
    in_step(&primary, &node);
    same_answers(&primary, &node, &["88.1/while-away", "88.1/pump"]);
    assert_eq!(node.stop("TERM"), Some(0));
    assert_eq!(late.stop("TERM"), Some(0));
    assert_eq!(primary.stop("TERM"), Some(0));
    let checked: Vec<Ran> =
        [&at, &mirrored].map(|data| run(["fsck", "--json", "--data", data.to_str().unwrap()])).into();
    assert_eq!((checked[0].exit, checked[1].exit), (0, 0), "{}", checked[1].err);
    let root = |ran: &Ran| ran.out.split("\"root\":\"").nth(1).unwrap()[..44].to_owned();
    assert_eq!(root(&checked[0]), root(&checked[1]));
    assert_eq!(run(["rebuild", "--data", mirrored.to_str().unwrap()]).exit, 0);
    assert_eq!(run(["fsck", "--data", mirrored.to_str().unwrap()]).exit, 0);
    assert_eq!(run(["audit", mirrored.to_str().unwrap()]).exit, 0);
    assert!(!mirrored.join("ledger/key").exists());
}

#[test]
fn a_mirror_that_is_killed_catches_up() {
    let directory = directory();
    let mirrored = directory.path().join("mirror");
    let primary = Program::serve(&directory.path().join("primary"), &[]);
    let (url, key) = (log_of(primary.http), key_of(&primary));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                let at = |offset| format!("88.9/k{}", number + offset);
                apply(&primary.grpc, (0..20).map(|i| create(&at(i), vec![value(1, "NAME", secret(i))])).collect());
                apply(&primary.grpc, vec![erase(&at(3), "r"), merge(&at(4), vec![value(2, "X", "y")], vec![])]);
                number += 20;
            }
            number
        });
        for round in 0..4 {
            let node = mirror(&mirrored, &url, &key, &[]);
            let before = entries(&node);
            wait_until("some of it came", || entries(&node) > before + 40 * round);
            node.kill();
        }
        done.store(true, Ordering::Relaxed);
        assert!(writing.join().unwrap() > 0);
    });
    let node = mirror(&mirrored, &url, &key, &[]);
    in_step(&primary, &node);
    same_answers(&primary, &node, &["88.9/k3", "88.9/k4", "88.9/k19"]);
    assert_eq!(metric(node.http, "touchmark_mirror_rejected_total"), 0);
    assert_eq!(node.stop("TERM"), Some(0));
    assert_eq!(run(["fsck", "--data", mirrored.to_str().unwrap()]).exit, 0);
}

#[test]
fn a_mirror_goes_on_without_its_primary() {
    let directory = directory();
    let primary = Program::serve(&directory.path().join("primary"), &[]);
    let identifiers = all_kinds(&primary.grpc);
    let url = log_of(primary.http);
    let node = mirror(&directory.path().join("mirror"), &url, &key_of(&primary), &[]);
    in_step(&primary, &node);
    let lag = |node: &Program| get(node.http, "/v1/records/88.1/pump").header("touchmark-mirror-lag").to_owned();
    wait_until("the mirror says that it is in step", || lag(&node) == "entries=0, seconds=0");
    let before: Vec<String> = identifiers.map(|identifier| resolved(&primary, identifier).out).into();

    // Writes are refused with the address of the primary.
    let named = format!("this node is a mirror of the log at {url}; write to the node of that log, over gRPC");
    let refused = node.run(&["register", "88.1/new"]);
    assert!(refused.exit != 0 && refused.err.contains(&named), "{}", refused.err);
    let results = try_apply(&node.grpc, vec![create("88.1/new", vec![]), retire("88.1/pump")]).unwrap();
    for result in results {
        let Some(pb::apply_result::Result::Refusal(refusal)) = result.result else { panic!("a refusal") };
        assert_eq!((refusal.code, refusal.message), (9, named.clone()));
    }
    let asked = get(node.http, "/log/replica?from=0");
    assert!(asked.status == 421 && asked.text().contains(&url), "{}", asked.text());

    assert_eq!(primary.stop("TERM"), Some(0));
    wait_until("the mirror knows that its primary is gone", || {
        metric(node.http, "touchmark_mirror_connected") == 0 && metric(node.http, "touchmark_mirror_lag_seconds") >= 2
    });
    for (identifier, before) in identifiers.iter().zip(before) {
        assert_eq!(resolved(&node, identifier).out, before);
    }
    let over_dns = run(["resolve", "88.1/pump", "--over", "dns", "--dns", &node.dns.to_string()]);
    assert!(over_dns.out.contains("Pump 2"), "{}{}", over_dns.out, over_dns.err);
    assert!(!lag(&node).ends_with("seconds=0"), "{}", lag(&node));
    assert_eq!(get(node.http, "/readyz").status, 200);
    assert_eq!(get(node.http, "/log/checkpoint").status, 200);
    let metadata = block_on(async {
        let mut client = ResolverClient::connect(format!("http://{}", node.grpc)).await.unwrap();
        let answer = client.resolve(question("88.1/pump")).await.unwrap();
        answer.metadata().get("touchmark-mirror-lag").unwrap().to_str().unwrap().to_owned()
    });
    assert!(metadata.starts_with("entries=0, seconds="), "{metadata}");
}

#[test]
fn what_does_not_fit_a_directory_is_refused() {
    let directory = directory();
    let (at, mirrored) = (directory.path().join("primary"), directory.path().join("mirror"));
    let primary = Program::serve(&at, &[]);
    apply(&primary.grpc, vec![create("88.1/a", vec![value(1, "NAME", "a")])]);
    let (url, key) = (log_of(primary.http), key_of(&primary));
    let other = key_of(&Program::serve(&directory.path().join("other"), &[]));

    // With the key of another ledger, nothing of the primary's is accepted.
    let node = mirror(&directory.path().join("wrong"), &url, &other, &[]);
    wait_until("something was rejected", || metric(node.http, "touchmark_mirror_rejected_total") > 0);
    assert_eq!((entries(&node), resolved(&node, "88.1/a").exit), (0, 3));
    assert!(node.log().contains("is not signed with the key id.test/ledger+"), "{}", node.log());
    assert_eq!(get(node.http, "/log/checkpoint").status, 503);
    drop(node);

    let start = |data: &Path, arguments: &[String]| {
        let mut command = touchmark();
        command.args(["serve", "--grpc", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--http", "off", "--data"]);
        Ran::from(command.arg(data).args(arguments).output().unwrap())
    };
    let refused = start(&mirrored, &["--mirror-of".into(), url.clone()]);
    assert!(refused.exit == 1 && refused.err.contains("--mirror-key"), "{}", refused.err);
    assert_eq!(mirror(&mirrored, &url, &key, &["88.1"]).stop("TERM"), Some(0));
    let table = [
        (&mirrored, mirror_arguments(&url, &other, &["88.1"]), "mirrors the ledger with the key"),
        (&mirrored, mirror_arguments(&url, &key, &["88.2"]), "keeps 88.1, not 88.2"),
    ];
    for (data, arguments, expected) in table {
        let refused = start(data, &arguments);
        assert!(refused.exit == 1 && refused.err.contains(expected), "{}", refused.err);
    }
    assert_eq!(primary.stop("TERM"), Some(0));
    let refused = start(&at, &mirror_arguments(&url, &key, &[]));
    assert!(refused.exit == 1 && refused.err.contains("a ledger of its own"), "{}", refused.err);

    // The primary serves mirrors of the configured networks only.
    let primary =
        Program::spawn(touchmark().args(["serve", "--data"]).arg(&at).env("TOUCHMARK_MIRRORS", "192.0.2.0/24"));
    assert_eq!(get(primary.http, "/log/replica?from=0").status, 403);
}

#[test]
fn an_old_copy_of_the_primary_is_not_followed() {
    let directory = directory();
    let (at, copy) = (directory.path().join("primary"), directory.path().join("copy"));
    let primary = Program::serve(&at, &[]);
    apply(&primary.grpc, vec![create("88.1/a", vec![value(1, "NAME", "a")])]);
    let key = key_of(&primary);
    assert_eq!(primary.stop("TERM"), Some(0));
    copy_directory(&at, &copy);
    let primary = Program::serve(&at, &[]);
    apply(&primary.grpc, vec![create("88.1/b", vec![value(1, "NAME", "acknowledged")])]);
    let proxy = Proxy::to(primary.http);
    let node = mirror(&directory.path().join("mirror"), &proxy.url(), &key, &[]);
    in_step(&primary, &node);
    assert_eq!(primary.stop("TERM"), Some(0));

    // The old copy first has fewer entries than the mirror, then a history of its own.
    let restored = Program::serve(&copy, &[]);
    proxy.forward_to(restored.http);
    wait_until("the fork is found", || metric(node.http, "touchmark_mirror_fork") == 1);
    assert!(node.log().contains("FORK"), "{}", node.log());
    let names = ["c", "d", "e"].map(|name| create(&format!("88.1/{name}"), vec![value(1, "NAME", "another history")]));
    apply(&restored.grpc, names.into());
    wait_until("the other history is found", || node.log().contains("another tree"));
    assert_eq!(entries(&node), 2);
    assert!(resolved(&node, "88.1/b").out.contains("acknowledged"));
    assert_eq!((resolved(&node, "88.1/c").exit, get(node.http, "/readyz").status), (3, 200));

    // The mirror follows the right primary again.
    assert_eq!(restored.stop("TERM"), Some(0));
    let primary = Program::serve(&at, &[]);
    apply(&primary.grpc, vec![create("88.1/f", vec![])]);
    proxy.forward_to(primary.http);
    in_step(&primary, &node);
    assert_eq!(metric(node.http, "touchmark_mirror_fork"), 0);
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy_directory(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

#[test]
fn what_is_altered_on_the_way_is_never_served() {
    for tamper in [Tamper::Flip, Tamper::LeaveOut, Tamper::Swap] {
        let directory = directory();
        let primary = Program::serve(&directory.path().join("primary"), &[]);
        let proxy = Proxy::to(primary.http);
        proxy.tamper(Some(tamper));
        let node = mirror(&directory.path().join("mirror"), &proxy.url(), &key_of(&primary), &[]);
        let named = |name: &str, data: &str| create(&format!("88.1/{name}"), vec![value(1, "NAME", data)]);
        apply(&primary.grpc, vec![named("a", "sound"), named("b", proxy::MARKED), named("c", "sound")]);
        wait_until("something was rejected", || metric(node.http, "touchmark_mirror_rejected_total") > 0);
        assert_eq!(entries(&node), 0, "{tamper:?}");
        assert_eq!(["a", "b", "c"].map(|name| resolved(&node, &format!("88.1/{name}")).exit), [3, 3, 3]);
        assert!(node.log().contains("REJECTED"), "{}", node.log());
        proxy.tamper(None);
        in_step(&primary, &node);
        same_answers(&primary, &node, &["88.1/a", "88.1/b", "88.1/c"]);
    }
}

#[test]
fn a_value_that_is_withheld_is_noticed() {
    let directory = directory();
    let mirrored = directory.path().join("mirror");
    let data = mirrored.to_str().unwrap();
    let primary = Program::serve(&directory.path().join("primary"), &[]);
    let proxy = Proxy::to(primary.http);
    proxy.tamper(Some(Tamper::Redact));
    let node = mirror(&mirrored, &proxy.url(), &key_of(&primary), &[]);
    let marked = vec![value(1, "NAME", proxy::MARKED), value(2, "NOTE", "sound")];
    apply(&primary.grpc, vec![create("88.1/a", vec![value(1, "NAME", "sound")]), create("88.1/b", marked)]);
    let lacks = |node: &Program| metric(node.http, "touchmark_mirror_lacks_values");
    let rejected = |node: &Program| metric(node.http, "touchmark_mirror_rejected_total");
    // The root is correct, so the entries are accepted; but the mirror does not count as in step.
    wait_until("the missing value is noticed", || rejected(&node) > 0);
    assert!(node.log().contains("came without its value 1"), "{}", node.log());
    assert_eq!((entries(&node), lacks(&node), resolved(&node, "88.1/a").exit), (2, 1, 0));
    wait_until("the mirror is not in step", || metric(node.http, "touchmark_mirror_lag_seconds") >= 2);

    // Neither a restart of the mirror nor a sound stream mends the gap, and the commands on the directory report it.
    assert_eq!(node.stop("TERM"), Some(0));
    for command in [
        &["fsck", "--data", data][..],
        &["promote", data, "--new-key"],
        &["promote", data, "--new-key", "--accept-loss"],
    ] {
        let ran = run(command);
        assert!(ran.exit == 1 && ran.err.contains("entry 1 lacks value 1"), "{command:?}: {}", ran.err);
    }
    proxy.tamper(None);
    let node = Program::serve(&mirrored, &[]);
    wait_until("the missing value is noticed again", || rejected(&node) > 0);
    assert_eq!(lacks(&node), 1);

    // Once the primary erases the value, nothing is missing.
    apply(&primary.grpc, vec![erase_value("88.1/b", 1, "r")]);
    in_step(&primary, &node);
    wait_until("nothing is missing", || lacks(&node) == 0);
    same_answers(&primary, &node, &["88.1/a", "88.1/b"]);
    assert_eq!(node.stop("TERM"), Some(0));
    assert_eq!(run(["fsck", "--data", data]).exit, 0);
}

#[test]
fn a_mirror_that_is_kept_from_entries_knows_of_them() {
    let directory = directory();
    let mirrored = directory.path().join("mirror");
    let data = mirrored.to_str().unwrap();
    let primary = Program::serve(&directory.path().join("primary"), &[]);
    let proxy = Proxy::to(primary.http);
    let node = mirror(&mirrored, &proxy.url(), &key_of(&primary), &[]);
    apply(&primary.grpc, vec![create("88.1/a", vec![value(1, "NAME", "sound")])]);
    in_step(&primary, &node);
    proxy.tamper(Some(Tamper::Flip));
    apply(&primary.grpc, vec![create("88.1/b", vec![value(1, "NAME", proxy::MARKED)]), create("88.1/c", vec![])]);
    // The start of the stream verifies each time, which must not count as progress.
    wait_until("it was rejected again and again", || metric(node.http, "touchmark_mirror_rejected_total") >= 5);
    let log = node.log();
    let said = log.matches("REJECTED").count() as u64;
    let times = metric(node.http, "touchmark_mirror_rejected_total");
    assert!(said <= u64::from(times.ilog2()) + 1, "{said} lines for {times} rejections: {log}");
    let rejected = log.find("REJECTED").unwrap();
    assert!(!log[rejected..].contains("is followed again"), "{log}");
    wait_until("the checkpoint is kept", || mirrored.join("ledger/seen").exists());
    assert_eq!((entries(&node), node.stop("TERM")), (1, Some(0)));

    // `seen` counts for a promotion; a mirror with a damaged `seen` still serves, and logs the damage.
    let seen = fs::read(mirrored.join("ledger/seen")).unwrap();
    fs::write(mirrored.join("ledger/seen"), &seen[..seen.len() - 9]).unwrap();
    for command in [&["fsck", "--data", data][..], &["promote", data, "--new-key"]] {
        let refused = run(command.iter());
        assert!(refused.exit == 1 && refused.err.contains("ledger/seen"), "{refused:?}");
    }
    proxy.tamper(Some(Tamper::Flip));
    let node = mirror(&mirrored, &proxy.url(), &key_of(&primary), &[]);
    assert!(node.log().contains("give --at-least") && resolved(&node, "88.1/a").exit == 0, "{}", node.log());
    assert_eq!(node.stop("TERM"), Some(0));
    assert!(mirrored.join("ledger/seen.damaged").exists());
    fs::write(mirrored.join("ledger/seen"), &seen).unwrap();

    let refused = run(["promote", data, "--new-key"]);
    assert!(refused.exit == 1 && refused.err.contains("covers 3 entries"), "{}", refused.err);
    assert!(refused.err.contains("2 are missing") && refused.err.contains("--accept-loss"), "{}", refused.err);
    let promoted = run(["promote", data, "--new-key", "--accept-loss"]);
    assert!(promoted.exit == 0 && promoted.out.contains("2 of the 3"), "{}{}", promoted.out, promoted.err);
    assert!(!mirrored.join("ledger/seen").exists());
    assert_eq!(run(["fsck", "--data", data]).exit, 0);
}

/// A stopped mirror with entries of every kind, whose primary is gone.
struct Orphan {
    directory: TempDir,
    data: String,
    /// File with the last checkpoint that the primary published.
    checkpoint: String,
    key: String,
    entries: u64,
}

fn orphan() -> Orphan {
    let directory = directory();
    let (at, mirrored) = (directory.path().join("primary"), directory.path().join("mirror"));
    let primary = Program::serve(&at, &[]);
    let node = mirror(&mirrored, &log_of(primary.http), &key_of(&primary), &[]);
    all_kinds(&primary.grpc);
    in_step(&primary, &node);
    let (size, key) = (entries(&primary), key_of(&primary));
    let covers = |note: &str| note.lines().nth(1) == Some(&size.to_string());
    wait_until("the checkpoint is published", || covers(get(primary.http, "/log/checkpoint").text()));
    let checkpoint = directory.path().join("checkpoint");
    fs::write(&checkpoint, get(primary.http, "/log/checkpoint").body).unwrap();
    assert_eq!(node.stop("TERM"), Some(0));
    primary.kill();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    Orphan { data: text(mirrored), checkpoint: text(checkpoint), directory, key, entries: size }
}

/// Checks that a promoted mirror accepts writes, recognizes earlier requests, and has a sound directory.
fn goes_on(orphan: &Orphan, key: &str) {
    let node = Program::serve(Path::new(&orphan.data), &[]);
    assert_eq!((entries(&node), key_of(&node)), (orphan.entries, key.to_owned()));
    apply(&node.grpc, vec![create("88.1/after", vec![value(1, "NAME", "after")])]);
    apply(
        &node.grpc,
        vec![merge("88.1/pump", vec![value(1, "NAME", "Pump 3")], vec![]), erase_value("88.1/pump", 3, "r")],
    );
    // A retry after the loss of the primary gets the first receipt.
    let again = request("order-1", create("urn:oid:2.999.7", vec![value(1, "NAME", secret(3))]));
    let results = try_apply(&node.grpc, vec![again]).unwrap();
    let Some(pb::apply_result::Result::Receipt(receipt)) = &results[0].result else { panic!("{results:?}") };
    assert!(receipt.replayed, "{receipt:?}");
    assert_eq!(node.stop("TERM"), Some(0));
    for command in [&["fsck", "--data", &orphan.data][..], &["audit", &orphan.data]] {
        let ran = run(command);
        assert_eq!(ran.exit, 0, "{command:?}: {}", ran.err);
    }
}

#[test]
fn a_mirror_takes_the_place_of_its_primary() {
    // With a new key.
    let lost = orphan();
    let promoted = run(["promote", &lost.data, "--new-key", "--at-least", &lost.checkpoint]);
    assert_eq!(promoted.exit, 0, "{}", promoted.err);
    assert!(promoted.out.contains(&format!("all {} that its primary signed last are here", lost.entries)));
    assert!(promoted.out.contains("unknown"), "{}", promoted.out);
    let key = promoted.out.lines().find_map(|line| line.trim().strip_prefix("ledger key")).unwrap().trim();
    assert!(key != lost.key && key.starts_with("id.test/ledger+"), "{key}");
    assert_eq!(run(["fsck", "--data", &lost.data]).exit, 0);
    goes_on(&lost, key);
    let again = run(["promote", &lost.data, "--new-key"]);
    assert!(again.exit == 1 && again.err.contains("no mirror's directory"), "{}", again.err);

    // With the primary's key, from escrow.
    let lost = orphan();
    let escrow = lost.directory.path().join("primary/ledger/key");
    let promoted = run(["promote", &lost.data, "--key", escrow.to_str().unwrap(), "--json"]);
    assert_eq!(promoted.exit, 0, "{}", promoted.err);
    goes_on(&lost, &lost.key);
}

#[test]
fn a_mirror_that_lacks_something_is_not_promoted() {
    let lost = orphan();
    let newest = fs::read_to_string(&lost.checkpoint).unwrap();
    let file = |name: &str, text: &str| {
        let path = lost.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The primary wrote one more entry, which the mirror never received.
    let primary = Program::serve(&lost.directory.path().join("primary"), &[]);
    apply(&primary.grpc, vec![create("88.1/more", vec![])]);
    let receipt = || get(primary.http, "/log/checkpoint").text().to_owned();
    wait_until("the checkpoint is published", || receipt() != newest);
    let more = file("more", &receipt());
    assert_eq!(primary.stop("TERM"), Some(0));
    let other = Program::serve(&lost.directory.path().join("other"), &[]);
    let foreign = file("foreign", get(other.http, "/log/checkpoint").text());
    let key = lost.directory.path().join("other/ledger/key").to_str().unwrap().to_owned();
    let damaged = file("damaged", &newest.replace("id.test/ledger", "id.test/ledges"));
    let table: [(&[&str], &str); 6] = [
        (&["--new-key", "--at-least", &more], "1 are missing"),
        (&["--new-key", "--at-least", &foreign], "is not signed with the key"),
        (&["--new-key", "--at-least", &damaged], "is not signed with the key"),
        (&["--key", &key], "and this ledger's is"),
        (&["--key", &more], "holds no signing key"),
        (&[], "required"),
    ];
    for (arguments, expected) in table {
        let refused = run(["promote", &lost.data].iter().chain(arguments));
        assert!(refused.exit != 0 && refused.err.contains(expected), "{arguments:?}: {}", refused.err);
    }
    // A byte that flipped on the disk.
    let segment = Path::new(&lost.data).join("ledger/segments/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"Pump 2").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let refused = run(["promote", &lost.data, "--new-key"]);
    assert!(refused.exit == 1 && refused.err.contains("entry"), "{}", refused.err);
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    // An interrupted promotion under the old key is not continued when a new key is requested.
    let ledger = Path::new(&lost.data).join("ledger");
    fs::copy(lost.directory.path().join("primary/ledger/key"), ledger.join("key")).unwrap();
    fs::write(ledger.join("promoted"), "touchmark promoted 1\nentries 1").unwrap();
    let promoted = run(["promote", &lost.data, "--new-key", "--json"]);
    let promoted: serde_json::Value = serde_json::from_str(&promoted.out).unwrap();
    assert_ne!(promoted["old_key"], promoted["verifier_key"]);
    assert!(!ledger.join("promoted").exists());
}

#[test]
fn an_edge_keeps_its_prefixes_only() {
    let directory = directory();
    let kept = directory.path().join("edge");
    let primary = Program::serve(&directory.path().join("primary"), &[]);
    let (url, key) = (log_of(primary.http), key_of(&primary));
    apply(
        &primary.grpc,
        vec![
            create("88.1/own", vec![value(1, "NAME", "kept-here")]),
            create("88.2/other", vec![value(1, "NAME", "kept-elsewhere")]),
            create("88.10/similar", vec![value(1, "NAME", "kept-elsewhere")]),
            create("urn:oid:2.999.1", vec![value(1, "NAME", "kept-here")]),
        ],
    );
    let edge = mirror(&kept, &url, &key, &["88.1", "urn:oid:2.999"]);
    apply(
        &primary.grpc,
        vec![
            merge("88.1/own", vec![value(2, "NOTE", secret(1))], vec![]),
            merge("88.2/other", vec![value(2, "NOTE", secret(2))], vec![]),
        ],
    );
    apply(
        &primary.grpc,
        vec![erase_value("88.1/own", 2, "r"), erase_value("88.2/other", 2, "r"), retire("88.2/other")],
    );
    in_step(&primary, &edge);
    let own = ["88.1/own", "urn:oid:2.999.1"];
    same_answers(&primary, &edge, &own);
    let before: Vec<String> = own.map(|identifier| resolved(&primary, identifier).out).into();
    for absent in ["kept-elsewhere", "88.2/other", "88.10/similar"] {
        assert_eq!(files_with(&kept, absent.as_bytes()), Vec::<PathBuf>::new(), "{absent}");
    }
    assert_eq!(files_with(&kept, secret(1).as_bytes()), Vec::<PathBuf>::new(), "it was erased");
    assert!(!files_with(&kept, b"kept-here").is_empty());

    // The tree is complete; requests for entries outside the prefixes are refused with the reason.
    let size = entries(&primary);
    let path = format!("/log/tile/0/000.p/{size}");
    assert_eq!(get(edge.http, &path).body, get(primary.http, &path).body);
    let bundle = get(edge.http, &format!("/log/tile/entries/000.p/{size}"));
    assert!(bundle.status == 404 && bundle.text().contains("outside the prefixes"), "{}", bundle.text());
    let proof = directory.path().join("proof").to_str().unwrap().to_owned();
    assert_eq!(edge.run(&["prove", "88.1/own", "-o", &proof]).exit, 0);
    assert_eq!(run(["verify", &proof, "--key", &key]).exit, 0);
    let outside = edge.run(&["prove", "1", "-o", &proof]);
    assert!(outside.exit != 0 && outside.err.contains("outside the prefixes"), "{}", outside.err);

    // Without the primary the edge node answers for its prefixes, also after a restart.
    assert_eq!(primary.stop("TERM"), Some(0));
    assert_eq!(edge.stop("TERM"), Some(0));
    let edge = Program::serve(&kept, &[]);
    for (identifier, before) in own.iter().zip(before) {
        assert_eq!(resolved(&edge, identifier).out, before);
    }
    assert_eq!(edge.stop("TERM"), Some(0));
    let data = kept.to_str().unwrap();
    for command in [["fsck", "--data", data], ["rebuild", "--data", data], ["fsck", "--data", data]] {
        let ran = run(command);
        assert_eq!(ran.exit, 0, "{command:?}: {}", ran.err);
    }
    let refused = run(["promote", data, "--new-key"]);
    assert!(refused.exit == 1 && refused.err.contains("88.1, urn:oid:2.999 only"), "{}", refused.err);
}

//! Delegations of one node: homed and delegated prefixes over every protocol, across restarts, and in the proofs of the
//! ledger.

use std::sync::Arc;

use serde_json::Value as Json;
use touchmark::{
    client::NodeUpstream,
    id::{Identifier, Prefix},
    record::{Endpoint, SiteProtocol},
    resolver::recursion::{
        Claim, Evidence, LedgerVerifier, SiteQuestion, SiteReply, Target, Upstream as _, Verifier as _,
    },
};

use crate::{
    http_support::{Events, get, request},
    program::{Program, Ran, TIMEOUT, file, run},
    support::directory,
    tree_support::key_of,
};

fn ok(ran: Ran) -> String {
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{}", ran.out);
    ran.out
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Exit code and output of `resolve`.
fn resolved(node: &Program, identifier: &str) -> (i32, String) {
    let ran = node.run(&["resolve", identifier]);
    (ran.exit, ran.out + &ran.err)
}

fn delegate(node: &Program, prefix: &str, port: u16) -> String {
    let site = format!("2 primary grpc://127.0.0.1:{port} dns://127.0.0.1:{port} http://127.0.0.1:{port}");
    ok(node.run(&["prefix", "delegate", prefix, "--site", &site, "--ttl", "60"]))
}

#[test]
fn the_longest_prefix_decides() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    for identifier in ["88.118.8/x", "88.1180/x", "88.118.8.7/x"] {
        ok(node.run(&["register", identifier, "--value", "NAME=here"]));
    }
    let receipt = delegate(&node, "88.118.8", 4001);
    assert!(receipt.contains("hdl:88.118.8") && receipt.contains("version       1"), "{receipt}");
    ok(node.run(&["prefix", "home", "hdl:88.118.8.7"]));
    ok(node.run(&["prefix", "home", "88.1180"]));
    ok(node.run(&["prefix", "delegate", "1.3.6.1.4.1.9", "--site", "dns://127.0.0.1:4002"]));
    let (exit, said) = resolved(&node, "88.118.8/x");
    assert_eq!(exit, 5, "{said}");
    assert!(said.contains("hdl:88.118.8 is answered for at grpc://127.0.0.1:4001"), "{said}");
    assert_eq!(resolved(&node, "88.118.8.7/x").0, 0);
    assert_eq!(resolved(&node, "88.1180/x").0, 0);
    let (exit, said) = resolved(&node, "88.118/x");
    assert!(exit == 5 && said.contains("not responsible"), "{said}");
    // The JSON output names the sites, too.
    let ran = node.run(&["resolve", "1.3.6.1.4.1.9.1", "--json"]);
    let line = json(&ran.out);
    assert_eq!((&line["status"], &line["prefix"]), (&"delegated".into(), &"urn:oid:1.3.6.1.4.1.9".into()), "{line}");
    assert_eq!(line["sites"][0]["endpoints"][0], "dns://127.0.0.1:4002");
    // A registration is refused below a delegated prefix, and below a prefix that is not homed.
    let refused = node.run(&["register", "88.118.8/y", "--value", "NAME=x"]);
    assert!(refused.exit == 8 && refused.err.contains("grpc://127.0.0.1:4001"), "{refused:?}");
    let refused = node.run(&["register", "99/y", "--value", "NAME=x"]);
    assert!(refused.exit == 8 && refused.err.contains("no prefix that is homed"), "{refused:?}");
    // A revoked prefix belongs to the prefix above again, and its history continues.
    let receipt = ok(node.run(&["prefix", "revoke", "88.118.8"]));
    assert!(receipt.contains("version       2"), "{receipt}");
    assert!(resolved(&node, "88.118.8/x").1.contains("not responsible"));
    let receipt = ok(node.run(&["prefix", "home", "88.118.8", "--expect-version", "2"]));
    assert!(receipt.contains("version       3"), "{receipt}");
    assert_eq!(resolved(&node, "88.118.8/x").0, 0);
}

#[test]
fn commands_are_checked_and_repeated_safely() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    let site = "grpc://127.0.0.1:4001";
    let check = |arguments: &[&str], exit: i32, rule: &str| {
        let ran = node.run(arguments);
        assert!(ran.exit == exit && ran.err.contains(rule), "{arguments:?}: {ran:?}");
    };
    check(&["prefix", "delegate", "88.118/x", "--site", site], 2, "single Handle");
    check(&["prefix", "delegate", ".", "--site", site], 2, "cannot be delegated");
    check(&["prefix", "delegate", "88", "--site", "grpc://localhost:1"], 2, "no IP address");
    check(&["prefix", "delegate", "88", "--site", "1 primary k+0+x grpc://127.0.0.1:1"], 2, "key of a site");
    check(&["prefix", "delegate", "88", "--site", site, "--ttl", "172801"], 2, "172800");
    check(&["prefix", "delegate", "88", "--site", site, "--ds", "1 13"], 2, "key tag, algorithm");
    check(&["prefix", "revoke", "88"], 8, "said already");
    check(&["prefix", "home", "88", "--expect-version", "1"], 8, "version 0");
    let once = ["prefix", "home", "88", "--request-id", "r1", "--json"];
    let (first, again) = (json(&ok(node.run(&once))), json(&ok(node.run(&once))));
    assert_eq!((&first["ledger_index"], &first["replayed"]), (&0.into(), &false.into()));
    assert_eq!((&again["ledger_index"], &again["replayed"]), (&0.into(), &true.into()));
    check(&["prefix", "revoke", "88", "--request-id", "r1"], 8, "request id was used");
    check(&["prefix", "home", "88"], 8, "said already");
}

#[test]
fn what_is_said_of_prefixes_is_kept_proven_and_shown() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    ok(node.run(&["register", "88.118/x", "--value", "NAME=x"]));
    delegate(&node, "88.118", 4001);
    delegate(&node, "88.118", 4002);
    ok(node.run(&["prefix", "home", "77"]));
    ok(node.run(&["prefix", "revoke", "77"]));
    ok(node.run(&["prefix", "home", "."]));
    let list = ok(node.run(&["prefix", "list"]));
    assert!(list.contains("delegated hdl:88.118  version 2") && list.contains("homed     .  version 1"), "{list}");
    assert!(list.contains("4002") && !list.contains("4001") && !list.contains("hdl:77"), "{list}");
    // A feed shows changes of prefixes in their places.
    let mut events = Events::open(node.http, "/events?from=0", "");
    let shown: Vec<String> = (0..6).map(|_| events.next().unwrap().kind).collect();
    assert_eq!(shown, ["create", "delegate", "delegate", "home", "revoke", "home"]);
    // The entry is proven like any other, and its text names the change.
    let proof = file(&data, "proof", ok(node.run(&["prove", "2"])));
    let key = node.introduction.lines().find_map(|line| line.trim().strip_prefix("ledger key  ")).unwrap();
    let verified = ok(run(["verify", &proof, "--key", key]));
    assert!(verified.contains("delegate") && verified.contains("hdl:88.118"), "{verified}");
    // The bootstrap registry lists the current delegations, with headers for caches.
    let reply = get(node.http, "/bootstrap.json");
    let document = json(reply.text());
    assert_eq!(document["services"][0][0][0], "88.118");
    assert_eq!(document["services"][0][1][0], "http://127.0.0.1:4002/");
    assert_eq!(reply.header("cache-control"), "public, max-age=60");
    let tag = format!("If-None-Match: {}\r\n", reply.header("etag"));
    assert_eq!(request(node.http, "GET", "/bootstrap.json", &tag).status, 304);
    delegate(&node, "88.118", 4003);
    assert_eq!(request(node.http, "GET", "/bootstrap.json", &tag).status, 200);
    let refused = resolved(&node, "88.118/x");
    assert_eq!(refused.0, 5);
    // Across a restart, and with a rebuilt index.
    let path = data.path().to_str().unwrap().to_owned();
    assert_eq!(node.stop("TERM"), Some(0));
    ok(run(["fsck", "--data", &path]));
    ok(run(["rebuild", "--data", &path]));
    ok(run(["fsck", "--data", &path]));
    let audited = ok(run(["audit", &path]));
    assert!(audited.contains('7'), "{audited}");
    let node = Program::serve(data.path(), &[]);
    let (exit, said) = resolved(&node, "88.118/x");
    assert!(exit == 5 && said.contains("4003"), "{said}");
    assert_eq!(resolved(&node, "77/x").0, 3);
    let exported = ok(node.run(&["export"]));
    assert_eq!(exported.lines().count(), 1, "{exported}");
}

#[test]
fn the_tree_is_drawn() {
    let (upper, lower) = (directory(), directory());
    let (parent, child) = (Program::serve(upper.path(), &[]), Program::serve(lower.path(), &[]));
    ok(child.run(&["prefix", "home", "88.118"]));
    ok(child.run(&["prefix", "delegate", "88.118.9", "--site", "grpc://127.0.0.1:1"]));
    delegate(&parent, "88.118", child.grpc.parse::<std::net::SocketAddr>().unwrap().port());
    ok(parent.run(&["prefix", "delegate", "gs1:0614141", "--site", "dns://127.0.0.1:53"]));
    ok(child.run(&["prefix", "delegate", "88.118.7", "--site", &format!("grpc://{}", parent.grpc)]));
    let tree = ok(parent.run(&["tree"]));
    let lines: Vec<&str> = tree.lines().map(|line| line.split("  ").next().unwrap_or_default()).collect();
    assert_eq!(lines.len(), 5, "{tree}");
    assert!(tree.contains("├── hdl:88.118  grpc://") && tree.contains("└── gs1:0614141  dns://127.0.0.1:53"), "{tree}");
    assert!(tree.contains("│   ├── hdl:88.118.7") && tree.contains("[drawn above]"), "{tree}");
    assert!(tree.contains("│   └── hdl:88.118.9") && tree.contains("[cannot reach"), "{tree}");
    assert!(tree.contains("[speaks no gRPC]"), "{tree}");
}

/// Reply of a node as the site of the prefix `delegated`, and the result of verifying that the reply is the latest.
async fn latest(node: &Program, delegated: &str, identifier: &str) -> (SiteReply, Result<(), String>) {
    let (endpoint, key) =
        (Endpoint { protocol: SiteProtocol::Grpc, address: node.grpc.parse().unwrap() }, key_of(node));
    let target = Target { endpoint, key: Some(key.into()), prefix: Arc::new(Prefix::parse(delegated).unwrap()) };
    let question = SiteQuestion { identifier: Identifier::parse(identifier).unwrap(), evidence: Evidence::Latest };
    let upstream = NodeUpstream::new("id.test");
    // Right after the start, the verifiable index may still be catching up.
    let asked = async {
        loop {
            let reply = upstream.ask(&target, &question).await.unwrap();
            if reply.lookup.is_some() {
                return reply;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let reply = tokio::time::timeout(TIMEOUT, asked).await.unwrap();
    let (key, prefix, identifier) = (target.key.as_deref(), &*target.prefix, &question.identifier);
    let claim = Claim { key, prefix, identifier, evidence: Evidence::Latest, reply: &reply };
    let verified = LedgerVerifier::default().verify(&claim).map(|_| ()).map_err(|unproven| unproven.reason);
    (reply, verified)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_shows_that_no_longer_prefix_is_delegated() {
    let data = directory();
    let node = Program::serve(data.path(), &[]);
    ok(node.run(&["register", "88.1.2.3/x", "--value", "NAME=here"]));
    ok(node.run(&["prefix", "home", "."]));
    delegate(&node, "88", 4001);
    delegate(&node, "88.1.2.3", 4001);
    ok(node.run(&["prefix", "revoke", "88.1.2.3"]));
    ok(node.run(&["prefix", "home", "88.1.2"]));
    delegate(&node, "88.1.5", 4001);
    delegate(&node, "urn:oid:1.3.6", 4002);
    // Prefix of the asked site, identifier, kind of reply, prefixes with proofs beside the reply.
    let table: [(&str, &str, &str, &[&str]); 8] = [
        (".", "88.1.2.3/x", "found", &["hdl:88.1.2.3", "hdl:88.1.2"]),
        ("88.1.2", "88.1.2.3/x", "found", &["hdl:88.1.2.3"]),
        ("88.1.2.3", "88.1.2.3/x", "found", &[]),
        (".", "88.1.2/nothing", "not found", &["hdl:88.1.2"]),
        (".", "99.1/x", "not found", &["hdl:99.1", "hdl:99"]),
        (".", "88.1.5.6/x", "referral", &["hdl:88.1.5.6"]),
        (".", "88.9.9/x", "referral", &["hdl:88.9.9", "hdl:88.9"]),
        (".", "1.3.6.1.4", "referral", &["urn:oid:1.3.6.1.4", "urn:oid:1.3.6.1"]),
    ];
    for (delegated, identifier, said, prefixes) in table {
        let (reply, verified) = latest(&node, delegated, identifier).await;
        let shown: Vec<_> = reply.prefixes.iter().map(|shown| shown.prefix.as_str()).collect();
        assert_eq!(
            (reply.answer.kind().as_str(), &*shown, verified),
            (said, prefixes, Ok(())),
            "{identifier} of {delegated}"
        );
    }
}

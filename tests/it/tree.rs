//! One tree of many nodes, as real processes: every identifier resolves from everywhere, whatever fails on the way, and nothing wrong is
//! ever said to be verified.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use touchmark::protocol::grpc::pb::{self, resolution::Verification};

use crate::{
    http_support::get,
    program::run,
    tree_support::{Mode, Node, Tree, connect, ok, question},
};

/// What clients saw while something failed.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    stale: u64,
    failed: u64,
    slowest: Duration,
    /// From the first question that failed to the last one.
    failing: Option<(Instant, Instant)>,
    /// What should never be.
    wrong: Vec<String>,
}

/// Clients that ask on and on for the identifiers of one enterprise, one after the other, without what is kept.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Seen>,
}

impl Load {
    fn start(tree: &Arc<Tree>, recursive: usize, enterprise: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, tree) = (Arc::clone(&stop), Arc::clone(tree));
        let task = tokio::spawn(async move {
            let (mut seen, identifiers) = (Seen::default(), tree.of(enterprise));
            let mut client = tree.client(recursive).await;
            for identifier in identifiers.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                let request = pb::ResolveRequest { recursion: pb::Recursion::Fresh.into(), ..question(identifier) };
                let answer = client.resolve(request).await;
                seen.slowest = seen.slowest.max(began.elapsed());
                seen.take(&tree, identifier, answer, began);
            }
            seen
        });
        Self { stop, task }
    }

    async fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.task.await.unwrap();
        assert_eq!(seen.wrong, Vec::<String>::new());
        seen
    }
}

impl Seen {
    fn take(
        &mut self,
        tree: &Tree,
        identifier: &str,
        answer: Result<tonic::Response<pb::Answer>, tonic::Status>,
        began: Instant,
    ) {
        let answer = answer.map(tonic::Response::into_inner);
        match answer {
            Ok(answer) if matches!(answer.outcome, Some(pb::answer::Outcome::Found(_))) => {
                self.answered += 1;
                self.stale += u64::from(answer.resolution.as_ref().is_some_and(|resolution| resolution.stale));
                if let Err(what) = tree.check(identifier, &answer) {
                    self.wrong.push(format!("{identifier}: {what}"));
                }
            }
            Ok(pb::Answer { outcome: Some(pb::answer::Outcome::Failed(_)), .. }) | Err(_) => {
                self.failed += 1;
                let first = self.failing.map_or(began, |(first, _)| first);
                self.failing = Some((first, Instant::now()));
            }
            Ok(other) => self.wrong.push(format!("{identifier}: {other:?}")),
        }
    }

    fn failing_for(&self) -> Duration {
        self.failing.map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

async fn resolve(tree: &Tree, recursive: usize, identifier: &str) -> Result<pb::Answer, tonic::Status> {
    let answer = tree.client(recursive).await.resolve(question(identifier)).await;
    answer.map(tonic::Response::into_inner)
}

/// The verification of an answer that was found.
fn verification(answer: &pb::Answer) -> Verification {
    assert!(matches!(answer.outcome, Some(pb::answer::Outcome::Found(_))), "{answer:?}");
    answer.resolution.as_ref().unwrap().verification()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_identifier_resolves_from_each_recursive_node() {
    let tree = Tree::start(3_600);
    for recursive in [0, 1] {
        tree.check_all(recursive).await;
    }
    let some = tree.of(1).pop().unwrap();
    assert_eq!(verification(&resolve(&tree, 0, &some).await.unwrap()), Verification::Latest);
    let kept = resolve(&tree, 1, &some).await.unwrap();
    assert_eq!(verification(&kept), Verification::None);
    assert!(kept.resolution.unwrap().cached);
    // What nobody registered is not found, and what nobody was told of is nobody's.
    let server = &tree.recursive[0].program();
    let missing = server.run(&["resolve", "88.1002.ffff/nothing"]);
    assert_eq!(missing.exit, 3, "{missing:?}");
    let nowhere = server.run(&["resolve", "99.1/x"]);
    assert!(nowhere.exit == 3, "the national node answers for what it does not delegate: {nowhere:?}");
    // The walk is shown, hop by hop.
    let walk = ok(server.run(&["resolve", &some, "--trace"]));
    let hops: Vec<&str> = walk.lines().filter(|line| line.starts_with("hop ")).collect();
    assert_eq!(hops.len(), 3, "{walk}");
    assert!(hops[0].contains("  .  ") && hops[0].contains("referral to hdl:88,"), "{walk}");
    assert!(hops[2].contains("found") && hops[2].contains("verified: latest"), "{walk}");
    let json: Json = serde_json::from_str(&ok(server.run(&["resolve", &some, "--trace", "--json"]))).unwrap();
    let resolution = &json["resolution"];
    assert_eq!((&resolution["verification"], resolution["hops"].as_array().unwrap().len()), (&"latest".into(), 3));
    assert!(resolution["hops"][0]["duration_us"].as_u64().unwrap() > 0, "{json}");
    // Over HTTP, too, with heads for caches.
    let reply = get(server.http, &format!("/v1/records/{some}"));
    assert_eq!(reply.status, 200);
    assert!(reply.header("touchmark-resolution").contains("verification=latest"), "{reply:?}");
    assert!(reply.header("cache-control").starts_with("max-age="), "{reply:?}");
    let metrics = get(server.http, "/metrics");
    assert!(metrics.text().contains("touchmark_recursion_walks_total"), "{}", metrics.text());
    // The tree is drawn from the top.
    let drawn = ok(tree.national.program().run(&["tree"]));
    assert!(drawn.contains("hdl:88.1001  grpc://") && drawn.contains("urn:oid:1.3.6.1.4  grpc://"), "{drawn}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recursive_node_starts_from_a_bootstrap_registry() {
    let tree = Tree::start(3_600);
    let bootstrap = get(tree.national.program().http, "/bootstrap.json");
    let path = tree.national.data.path().join("bootstrap.json");
    fs::write(&path, bootstrap.text()).unwrap();
    let roots = path.to_str().unwrap();
    let node = Node::start(&["--recursive", "--roots", roots, "--verify"]);
    let some = tree.of(3).pop().unwrap();
    let answer = connect(&node.program().grpc).await.resolve(question(&some)).await.unwrap().into_inner();
    assert_eq!(verification(&answer), Verification::Included);
    tree.check(&some, &answer).unwrap();
    // Of what the registry does not name it knows nobody.
    let nowhere = node.program().run(&["resolve", "99.1/x"]);
    assert!(nowhere.exit == 5 && nowhere.err.contains("not responsible"), "{nowhere:?}");
    let refused = node.program().run(&["register", "99.1/x", "--value", "NAME=x"]);
    assert!(refused.exit == 8, "a recursive node registers nothing that is not homed on it: {refused:?}");
    let bad = run([
        "serve",
        "--recursive",
        "--roots",
        "/nonexistent",
        "--data",
        node.data.path().join("x").to_str().unwrap(),
    ]);
    assert!(bad.exit != 0 && bad.err.contains("roots"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_fails_on_the_way_is_seen_for_as_long_as_it_is_said() {
    let tree = Arc::new(Tree::start(2));
    // A second site that serves the same ledger, and one that lies in wait: both are wires to the enterprise.
    let usb = &tree.enterprises[1];
    let second = crate::tree_support::Wire::to(usb.program().grpc.parse().unwrap());
    let other = usb.site().replace(&usb.wire.address.to_string(), &second.address.to_string());
    tree.second_level[0].delegate("88.1002", &[&usb.site(), &other], 2);
    let said = Mutex::new(Vec::new());
    let report = |what: &str, seen: &Seen| {
        let line = format!(
            "{what}: {} answers ({} stale), {} failures over {:?}, slowest {:?}",
            seen.answered,
            seen.stale,
            seen.failed,
            seen.failing_for(),
            seen.slowest
        );
        println!("{line}");
        said.lock().unwrap().push(line);
    };
    // One of two sites fails: nobody notices more than a moment.
    for mode in [Mode::Dead, Mode::Cut, Mode::Garbage, Mode::Late] {
        for recursive in [0, 1] {
            let load = Load::start(&tree, recursive, 1);
            tokio::time::sleep(Duration::from_millis(300)).await;
            usb.wire.set(mode);
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            usb.wire.set(Mode::Sound);
            let seen = load.end().await;
            report(&format!("one of two sites, {mode:?}, recursive {recursive}"), &seen);
            assert!(seen.answered > 0 && seen.failed == 0, "{mode:?}: {seen:?}");
        }
    }
    // The only site fails, between second level and enterprise: it fails as long as it is cut, and comes back by itself.
    let pci = &tree.enterprises[0];
    let some = tree.of(0);
    let load = Load::start(&tree, 0, 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // One is kept before.
    let kept = resolve(&tree, 0, &some[0]).await.unwrap();
    assert_eq!(verification(&kept), Verification::Latest);
    pci.wire.set(Mode::Cut);
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    assert_eq!(verification(&resolve(&tree, 0, &some[0]).await.unwrap()), Verification::Latest, "what is kept counts");
    pci.wire.set(Mode::Sound);
    let began = Instant::now();
    let client = &mut tree.client(0).await;
    loop {
        let request = pb::ResolveRequest { recursion: pb::Recursion::Fresh.into(), ..question(&some[1]) };
        let answer = client.resolve(request).await;
        if answer.is_ok_and(|answer| matches!(answer.get_ref().outcome, Some(pb::answer::Outcome::Found(_)))) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it comes back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let back = began.elapsed();
    let seen = load.end().await;
    report(&format!("the only site cut for 2 s, back {back:?} after"), &seen);
    assert!(seen.failed > 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_key_and_a_loop_are_found() {
    let tree = Tree::start(2);
    let [usb, first] = [&tree.enterprises[1], &tree.second_level[0]];
    let some = tree.of(1);
    // The delegation names the key of another node: who verifies refuses, who does not is told that nothing was.
    first.delegate("88.1002", &[&usb.site_with_key(&tree.national.key)], 1);
    let refused = resolve(&tree, 0, &some[0]).await.unwrap_err();
    assert!(refused.message().contains("verif"), "{refused:?}");
    assert_eq!(verification(&resolve(&tree, 1, &some[0]).await.unwrap()), Verification::None);
    // No key at all.
    first.delegate("88.1002", &[&usb.site_with_key("-")], 1);
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    let refused = resolve(&tree, 0, &some[1]).await.unwrap_err();
    assert!(refused.message().contains("key"), "{refused:?}");
    // A loop: the enterprise delegates the same prefix back to the second level.
    first.delegate("88.1002", &[&usb.site()], 1);
    usb.delegate("88.1002.000a", &[&first.site()], 1);
    let looped = "88.1002.000a/x";
    // What was kept of the delegation without a key has to pass.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for recursive in [0, 1] {
        let refused = resolve(&tree, recursive, looped).await.unwrap_err();
        assert!(refused.message().contains("lead"), "{refused:?}");
    }
    // Beside it everything is as before.
    let fine = some.iter().find(|identifier| !identifier.starts_with("88.1002.000a")).unwrap();
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    assert_eq!(verification(&resolve(&tree, 0, fine).await.unwrap()), Verification::Latest);
}

//! One tree of many nodes, as real processes: every identifier resolves from every recursive node, whatever fails on
//! the way, and no false answer is marked as verified.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use touchmark::protocol::grpc::pb::{self, registry_client::RegistryClient, resolution::Verification};

use crate::{
    http_support::get,
    program::{Program, TIMEOUT, file, run, wait_until},
    support::{create, value},
    tree_support::{Mode, Node, Tree, connect, key_of, ok, question, roots_of},
};

/// Observations of clients during a failure.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    stale: u64,
    failed: u64,
    slowest: Duration,
    /// Times of the first and the last failed question.
    failing: Option<(Instant, Instant)>,
    /// Answers that must never occur.
    wrong: Vec<String>,
}

/// A client that resolves the identifiers of one enterprise again and again, bypassing the cache.
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

/// Waits until a condition holds.
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < TIMEOUT, "{what}: not within {TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a question is refused, with `word` in the reason.
async fn refused(tree: &Tree, recursive: usize, identifier: &str, word: &str) {
    let is_refused =
        async || resolve(tree, recursive, identifier).await.is_err_and(|error| error.message().contains(word));
    eventually(word, is_refused).await;
}

async fn resolve(tree: &Tree, recursive: usize, identifier: &str) -> Result<pb::Answer, tonic::Status> {
    let answer = tree.client(recursive).await.resolve(question(identifier)).await;
    answer.map(tonic::Response::into_inner)
}

/// Verification of a found answer.
fn verification(answer: &pb::Answer) -> Verification {
    assert!(matches!(answer.outcome, Some(pb::answer::Outcome::Found(_))), "{answer:?}");
    answer.resolution.as_ref().unwrap().verification()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_identifier_resolves_from_each_recursive_node() {
    let tree = Tree::start(3_600);
    for recursive in 0..tree.recursive.len() {
        tree.check_all(recursive).await;
    }
    for recursive in 0..tree.recursive.len() {
        tree.check_all_over_dns(recursive).await;
    }
    let some = tree.of(1).pop().unwrap();
    assert_eq!(verification(&resolve(&tree, 0, &some).await.unwrap()), Verification::Latest);
    // The cache does not hold all hundred thousand answers, but it holds the last one.
    assert_eq!(verification(&resolve(&tree, 1, &some).await.unwrap()), Verification::None);
    let kept = resolve(&tree, 1, &some).await.unwrap();
    assert!(kept.resolution.unwrap().cached);
    // An unregistered identifier is not found; the root answers for prefixes that it does not delegate.
    let server = &tree.recursive[0].program();
    let missing = server.run(&["resolve", "88.1002.ffff/nothing"]);
    assert_eq!(missing.exit, 3, "{missing:?}");
    let nowhere = server.run(&["resolve", "99.1/x"]);
    assert!(nowhere.exit == 3, "the national node answers for what it does not delegate: {nowhere:?}");
    // The walk is printed hop by hop.
    let walk = ok(server.run(&["resolve", &some, "--trace"]));
    let hops: Vec<&str> = walk.lines().filter(|line| line.starts_with("hop ")).collect();
    assert_eq!(hops.len(), 3, "{walk}");
    assert!(hops[0].contains("  .  ") && hops[0].contains("referral to hdl:88,"), "{walk}");
    assert!(hops[2].contains("found") && hops[2].contains("verified: latest"), "{walk}");
    let json: Json = serde_json::from_str(&ok(server.run(&["resolve", &some, "--trace", "--json"]))).unwrap();
    let resolution = &json["resolution"];
    assert_eq!((&resolution["verification"], resolution["hops"].as_array().unwrap().len()), (&"latest".into(), 3));
    assert!(resolution["hops"][0]["duration_us"].as_u64().unwrap() > 0, "{json}");
    // DNS goes first where configured, except for an identifier whose name does not show its prefix.
    let over_dns = tree.recursive[2].program();
    for (identifier, protocol, count) in [(some.as_str(), "dns://", 3), ("https://example.com/x", "grpc://", 1)] {
        let walk = over_dns.run(&["resolve", identifier, "--trace"]).out;
        let hops: Vec<&str> = walk.lines().filter(|line| line.starts_with("hop ")).collect();
        assert!(hops.len() == count && hops.iter().all(|hop| hop.contains(protocol)), "{walk}");
    }
    let config = tree.national.data.path().join("dns-first.toml");
    let both = ["serve", "--recursive", "--roots", "x", "--verify", "--config", config.to_str().unwrap()];
    let refused = run(both);
    assert!(refused.exit == 2 && refused.err.contains("`recursion_first`"), "{refused:?}");
    // Also over HTTP, with headers for caches.
    let reply = get(server.http, &format!("/v1/records/{some}"));
    assert_eq!(reply.status, 200);
    assert!(reply.header("touchmark-resolution").contains("verification=latest"), "{reply:?}");
    assert!(reply.header("cache-control").starts_with("max-age="), "{reply:?}");
    let metrics = get(server.http, "/metrics");
    assert!(metrics.text().contains("touchmark_recursion_walks_total"), "{}", metrics.text());
    // The tree is printed from the top.
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
    // Prefixes that the registry does not name have no known site.
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
async fn a_recursive_node_starts_while_nobody_can_be_reached() {
    let above = Node::start(&[]);
    ok(above.program().run(&["register", "88.1/x", "--value", "NAME=x"]));
    let roots = above.data.path().join("roots.json");
    fs::write(&roots, roots_of(&[&format!("1 primary {} grpc://{}", above.key, above.wire.address)])).unwrap();
    for (mode, reason) in [(Mode::Dead, "cannot be reached"), (Mode::Cut, "within"), (Mode::Garbage, "gave an answer")]
    {
        above.wire.set(mode);
        let node = Node::start(&["--recursive", "--roots", roots.to_str().unwrap(), "--verify"]);
        let refused = node.program().run(&["resolve", "88.1/x"]);
        assert!(refused.exit != 0 && refused.err.contains(reason), "{mode:?}: {refused:?}");
        above.wire.set(Mode::Sound);
        eventually("the line is back", async || node.program().run(&["resolve", "88.1/x"]).exit == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_fails_on_the_way_is_seen_for_as_long_as_it_is_said() {
    let tree = Arc::new(Tree::start(2));
    // A second site that serves the same ledger: both sites are wires to the enterprise.
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
    // One of two sites fails: clients see nothing but a delay.
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
    // The only site is cut: questions fail during the cut, and succeed again afterwards without intervention.
    let pci = &tree.enterprises[0];
    let some = tree.of(0);
    let load = Load::start(&tree, 0, 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // One answer is cached before.
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

/// A writer that registers one identifier after another, and remembers those with a receipt.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<(Vec<String>, String)>,
}

impl Writer {
    fn start(server: &str, name: &'static str) -> Self {
        let (stop, server) = (Arc::new(AtomicBool::new(false)), format!("http://{server}"));
        let (stopped, written) = (Arc::clone(&stop), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&written);
        let task = tokio::spawn(async move {
            let mut registry = RegistryClient::connect(server).await.unwrap();
            let (mut acknowledged, mut checkpoint) = (Vec::new(), String::new());
            while !stopped.load(Ordering::Relaxed) {
                let identifier = format!("urn:oid:1.3.6.1.4.1.99999.{}.{}", name.len(), acknowledged.len() + 1);
                let Ok(receipt) = registry.apply(create(&identifier, vec![value(1, "NAME", name)])).await else {
                    break;
                };
                checkpoint = receipt.into_inner().checkpoint;
                acknowledged.push(identifier);
                count.store(acknowledged.len(), Ordering::Relaxed);
            }
            (acknowledged, checkpoint)
        });
        Self { stop, written, task }
    }

    /// Waits until this many identifiers have a receipt.
    async fn wrote(&self, count: usize) {
        eventually("receipts", async || self.written.load(Ordering::Relaxed) >= count).await;
    }

    async fn end(self) -> (Vec<String>, String) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mirror_takes_the_place_of_its_primary_and_an_edge_answers_offline() {
    let mut tree = Tree::start(1);
    let log = |node: &Node| format!("http://{}/log", node.program().http);
    // A mirror of one enterprise, as a second site; an edge node of another enterprise, with one prefix.
    let primary = &tree.enterprises[3];
    let mut mirror = Node::start(&["--mirror-of", &log(primary), "--mirror-key", &primary.key]);
    let mirror_site = mirror.site_with_key(&primary.key).replace("1 primary", "1 mirror");
    tree.second_level[1].delegate("1.3.6.1.4.1", &[&primary.site(), &mirror_site], 1);
    let usb = &tree.enterprises[1];
    let edge = Node::start(&["--mirror-of", &log(usb), "--mirror-key", &usb.key, "--only", "88.1002"]);
    let roots = tree.national.data.path().join("roots.json");
    let included = Node::start(&["--recursive", "--roots", roots.to_str().unwrap(), "--verify=included"]);
    let mut client = connect(&included.program().grpc).await;
    // The primary is killed while a client registers; the mirror has to answer.
    let (known, writer) = (tree.of(3), Writer::start(&primary.program().grpc, "before"));
    writer.wrote(20).await;
    tree.enterprises[3].program.take().unwrap().kill();
    let (acknowledged, checkpoint) = writer.end().await;
    let (began, mut failed) = (Instant::now(), 0);
    for identifier in known.iter().take(200) {
        let request = pb::ResolveRequest { recursion: pb::Recursion::Fresh.into(), ..question(identifier) };
        match client.resolve(request).await {
            Ok(answer) if matches!(answer.get_ref().outcome, Some(pb::answer::Outcome::Found(_))) => {
                tree.check(identifier, answer.get_ref()).unwrap();
                assert_eq!(verification(answer.get_ref()), Verification::Included);
            }
            _ => failed += 1,
        }
    }
    println!("primary killed: {failed} of 200 questions failed, {:?} in all", began.elapsed());
    assert_eq!(failed, 0, "the mirror answers");
    // The mirror refuses writes and names the primary.
    let refused = mirror.program().run(&["register", "1.3.6.1.4.1.99999.1", "--value", "NAME=x"]);
    assert!(refused.exit != 0 && refused.err.contains("mirror"), "{refused:?}");
    // If acknowledged entries did not reach the mirror, the promotion refuses until they do.
    let at_least = file(&mirror.data, "newest-checkpoint", &checkpoint);
    let key = tree.enterprises[3].data.path().join("ledger/key");
    let escrow = file(&mirror.data, "escrow", fs::read(&key).unwrap());
    let data = mirror.data.path().to_str().unwrap().to_owned();
    assert_eq!(mirror.program.take().unwrap().stop("TERM"), Some(0));
    let promote = || run(["promote", &data, "--key", &escrow, "--at-least", &at_least]);
    let mut promoted = promote();
    if promoted.exit != 0 {
        assert!(promoted.err.contains("cover") || promoted.err.contains("hold"), "{promoted:?}");
        let again = Program::serve(tree.enterprises[3].data.path(), &[]);
        let url = format!("http://{}/log", again.http);
        let follower = Program::serve(Path::new(&data), &["--mirror-of", &url]);
        wait_until("the mirror has everything", || follower.run(&["resolve", acknowledged.last().unwrap()]).exit == 0);
        assert_eq!(follower.stop("TERM"), Some(0));
        again.kill();
        promoted = promote();
    }
    assert_eq!(promoted.exit, 0, "{promoted:?}");
    let new = Program::serve(Path::new(&data), &[]);
    assert_eq!(key_of(&new), tree.enterprises[3].key, "it goes on under the same key");
    mirror.wire.lead_to(new.grpc.parse().unwrap());
    mirror.program = Some(new);
    tree.second_level[1].delegate("1.3.6.1.4.1", &[&mirror.site_with_key(&tree.enterprises[3].key)], 1);
    // Every acknowledged write is there, and new writes are accepted.
    let writer = Writer::start(&mirror.program().grpc, "afterwards");
    writer.wrote(20).await;
    let (more, _) = writer.end().await;
    assert!(!more.is_empty());
    for identifier in acknowledged.iter().chain(&more) {
        let answer = client.resolve(question(identifier)).await.unwrap().into_inner();
        assert_eq!(verification(&answer), Verification::Included, "{identifier}");
    }
    // When its primary is gone, the edge node still answers for its prefix, and for nothing else.
    let all = tree.of(1);
    wait_until("the edge is in step", || edge.program().run(&["resolve", all.last().unwrap()]).exit == 0);
    tree.enterprises[1].program.take().unwrap().kill();
    let mut offline = connect(&edge.program().grpc).await;
    for identifier in &all {
        tree.check(identifier, offline.resolve(question(identifier)).await.unwrap().get_ref()).unwrap();
    }
    let elsewhere = edge.program().run(&["resolve", &tree.of(0)[0]]);
    assert!(elsewhere.exit == 5 && elsewhere.err.contains("not responsible"), "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_key_and_a_loop_are_found() {
    let tree = Tree::start(2);
    let [usb, first] = [&tree.enterprises[1], &tree.second_level[0]];
    let some = tree.of(1);
    // The delegation names the key of another node: the verifying node refuses, and the other node answers as
    // unverified.
    first.delegate("88.1002", &[&usb.site_with_key(&tree.national.key)], 1);
    refused(&tree, 0, &some[0], "verif").await;
    assert_eq!(verification(&resolve(&tree, 1, &some[0]).await.unwrap()), Verification::None);
    // A delegation without a key.
    first.delegate("88.1002", &[&usb.site_with_key("-")], 1);
    refused(&tree, 0, &some[1], "has a key").await;
    // A loop: the enterprise delegates the same prefix back to the second level.
    first.delegate("88.1002", &[&usb.site()], 1);
    usb.delegate("88.1002.000a", &[&first.site()], 1);
    let looped = "88.1002.000a/x";
    for recursive in [0, 1] {
        refused(&tree, recursive, looped, "lead").await;
    }
    // Other identifiers still resolve.
    let fine = some.iter().find(|identifier| !identifier.starts_with("88.1002.000a")).unwrap();
    let is_latest = async || {
        let answer = resolve(&tree, 0, fine).await;
        answer.is_ok_and(|answer| verification(&answer) == Verification::Latest)
    };
    eventually("it is found, and the latest", is_latest).await;
}

//! The feed of changes, over gRPC and as server-sent events: every change once and in order, to every client.

use std::{net::SocketAddr, time::Duration};

use tokio::task::block_in_place;
use tonic::{Code, Streaming};
use touchmark::protocol::grpc::pb::{self, auditor_client::AuditorClient, change_event::Event};

use crate::{
    http_support::{Events, get, request},
    program::{Program, TIMEOUT, run, touchmark},
    support::{Running, create, create_with_edges, directory, edge, merge, replace, retire, value},
};

fn address(running: &Running) -> SocketAddr {
    running.node.http_addr().unwrap()
}

async fn watch(
    running: &Running,
    from: Option<u64>,
    prefix: &str,
) -> Result<Streaming<pb::ChangeEvent>, tonic::Status> {
    let request = pb::WatchRequest { from_index: from, prefix: prefix.into() };
    let feed = AuditorClient::new(running.another_channel().await).watch(request).await;
    feed.map(tonic::Response::into_inner)
}

/// Next change of a feed.
async fn next(feed: &mut Streaming<pb::ChangeEvent>) -> pb::VersionChange {
    loop {
        let event = tokio::time::timeout(TIMEOUT, feed.message()).await.expect("an event comes").unwrap().unwrap();
        if let Event::Change(change) = event.event.unwrap() {
            return change;
        }
    }
}

fn index(change: &pb::VersionChange) -> u64 {
    change.record.as_ref().unwrap().ledger_index
}

fn small(identifier: &str) -> pb::Command {
    create(identifier, vec![value(1, "N", "x")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_shows_what_happened_and_what_happens() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let private = pb::Value { permissions: Some(0b1100), ..value(2, "SECRET", "s3cret") };
    let edges = vec![edge(pb::EdgeType::MadeOf, "88.118/b")];
    running.apply(create_with_edges("88.118/a", vec![value(1, "N", "x"), private], edges)).await.unwrap();
    running.apply(merge("88.118/a", vec![value(1, "N", "y")], vec![])).await.unwrap();
    let mut feed = watch(&running, Some(0), "").await.unwrap();
    let first = next(&mut feed).await;
    assert_eq!((first.kind(), index(&first), first.values_withheld), (pb::version_change::Kind::Create, 0, 1));
    assert_eq!((first.edges_added.len(), first.by.as_str(), first.differences.len()), (1, "loopback", 0));
    assert!(!format!("{first:?}").contains("s3cret"));
    assert_eq!(next(&mut feed).await.kind(), pb::version_change::Kind::Update);
    let mut live = watch(&running, None, "").await.unwrap();
    let mut events = block_in_place(|| Events::open(address(&running), "/events?from=1", ""));
    running.apply(retire("88.118/a")).await.unwrap();
    for feed in [&mut feed, &mut live] {
        let change = next(feed).await;
        assert_eq!((change.kind(), index(&change)), (pb::version_change::Kind::Retire, 2));
    }
    let seen: Vec<_> = block_in_place(|| (0..2).map(|_| events.next().unwrap()).collect());
    assert_eq!((seen[0].id, seen[0].kind.as_str()), (Some(1), "update"));
    assert!(seen[0].data.starts_with(r#"{"change":"update","by":"loopback","identifier":"88.118/a""#), "{seen:?}");
    assert_eq!((seen[1].id, seen[1].kind.as_str()), (Some(2), "retire"));
    assert!(!format!("{seen:?}").contains("s3cret"));
    drop((feed, live, events));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_beginnings_are_refused() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    running.apply(small("88.1/a")).await.unwrap();
    let table = [
        (Some(2), "", Code::OutOfRange),
        (None, "88..1", Code::InvalidArgument),
        (None, "(01)1", Code::InvalidArgument),
    ];
    for (from, prefix, code) in table {
        assert_eq!(watch(&running, from, prefix).await.unwrap_err().code(), code, "{from:?} {prefix}");
    }
    assert!(watch(&running, Some(1), "").await.is_ok());
    block_in_place(|| {
        let address = address(&running);
        for path in ["/events?from=2", "/events?prefix=88..1", "/events?from=x", "/events?form=1"] {
            assert_eq!(get(address, path).status, 400, "{path}");
        }
        for last in ["x", "1", "18446744073709551615"] {
            assert_eq!(request(address, "GET", "/events", &format!("Last-Event-ID: {last}\r\n")).status, 400, "{last}");
        }
        let feeds: Vec<_> = (0..64).map_while(|_| Some(Events::open(address, "/events", ""))).take(60).collect();
        let mut refused = 0;
        let mut more = Vec::new();
        for _ in 0..8 {
            // Four more feeds are accepted, then none; a dropped feed may take a moment to end.
            let stream = std::panic::catch_unwind(|| Events::open(address, "/events", ""));
            match stream {
                Ok(events) => more.push(events),
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= 4, "{refused}");
        let reply = get(address, "/events");
        assert_eq!((reply.status, reply.header("retry-after")), (429, "1"), "{reply:?}");
        drop((feeds, more));
    });
    running.stop().await;
}

/// Feeds that start at different places, filter, break off and resume, beside writers.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_nothing_comes_twice() {
    const WRITERS: usize = 4;
    const BATCHES: usize = 25;
    const COMMANDS: usize = 40;
    const ENTRIES: u64 = (WRITERS * BATCHES * COMMANDS) as u64;
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let mut whole = watch(&running, Some(0), "").await.unwrap();
    let mut part = watch(&running, Some(0), "88.1").await.unwrap();
    let address = address(&running);
    let resumed = std::thread::spawn(move || {
        // Reconnects after every 100 events, with the id of the last one.
        let mut ids: Vec<u64> = Vec::new();
        while (ids.len() as u64) < ENTRIES {
            let lines = ids.last().map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
            let mut events = Events::open(address, "/events?from=0", &lines);
            for _ in 0..100.min(ENTRIES - ids.len() as u64) {
                let event = events.next().unwrap();
                ids.extend(event.id.filter(|_| !event.data.is_empty()));
            }
        }
        ids
    });
    let writers = (0..WRITERS).map(|writer| {
        let mut registry = running.registry();
        tokio::spawn(async move {
            for batch in 0..BATCHES {
                let name = |number| format!("88.{writer}{}/{batch}-{number}", if writer == 1 { "" } else { ".5" });
                let commands = (0..COMMANDS).map(|number| small(&name(number))).collect();
                registry.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for expected in 0..ENTRIES {
        assert_eq!(index(&next(&mut whole).await), expected);
    }
    let mut before = None;
    for _ in 0..BATCHES * COMMANDS {
        let change = next(&mut part).await;
        assert!(change.record.as_ref().unwrap().identifier.starts_with("88.1/"), "{change:?}");
        assert!(before < Some(index(&change)));
        before = Some(index(&change));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let ids = block_in_place(|| resumed.join().unwrap());
    assert_eq!(ids, (0..ENTRIES).collect::<Vec<_>>());
    drop((whole, part));
    running.stop().await;
}

/// A feed shows every change that has a receipt; a query finds every change that a feed shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_never_ahead_of_an_answer() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    running.apply(small("88.1/a")).await.unwrap();
    let mut feed = watch(&running, None, "88.1/a").await.unwrap();
    for round in 0..200 {
        let (receipt, change) =
            tokio::join!(running.apply(replace("88.1/a", vec![value(1, "N", format!("{round}"))])), async {
                let change = next(&mut feed).await;
                (index(&change), running.found("88.1/a").await)
            });
        let (shown, found) = change;
        assert_eq!(receipt.unwrap().ledger_index, shown);
        assert!(found.ledger_index >= shown, "{round}");
    }
    drop(feed);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_lets_nothing_by_says_how_far_it_came() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    for start in 0..4 {
        let commands = (0..10_000).map(|number| small(&format!("88.1/{start}-{number}"))).collect();
        running.apply_batch(commands).await.unwrap();
    }
    let mut feed = watch(&running, Some(0), "99").await.unwrap();
    let mut events = block_in_place(|| Events::open(address(&running), "/events?from=0&prefix=99", ""));
    let mut at = 0;
    while at < 32_768 {
        let event = tokio::time::timeout(TIMEOUT, feed.message()).await.unwrap().unwrap().unwrap();
        let Some(Event::Progress(progress)) = event.event else { panic!("{event:?}") };
        assert!(progress.next_index > at);
        at = progress.next_index;
    }
    let event = block_in_place(|| events.next().unwrap());
    assert!(event.id.is_some_and(|id| id >= 16_383) && event.data.is_empty(), "{event:?}");
    drop((feed, events));
    running.stop().await;
}

/// Clients that open a feed and do not read delay neither writers nor the stop of the node.
#[tokio::test(flavor = "multi_thread")]
async fn feeds_that_are_not_taken_hold_up_nobody() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    let data = "x".repeat(20_000);
    let fill = |round: usize| -> Vec<pb::Command> {
        (0..200).map(|number| create(&format!("88.1/{round}-{number}"), vec![value(1, "N", data.clone())])).collect()
    };
    running.apply_batch(fill(0)).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(watch(&running, Some(0), "").await.unwrap());
    }
    let deaf: Vec<_> =
        (0..8).map(|_| block_in_place(|| Events::open(address(&running), "/events?from=0", ""))).collect();
    for round in 1..6 {
        for outcome in running.apply_batch(fill(round)).await.unwrap() {
            outcome.receipt();
        }
    }
    let metrics = block_in_place(|| get(address(&running), "/metrics"));
    assert!(metrics.text().contains("touchmark_feeds 16\n"), "{}", metrics.text());
    tokio::time::timeout(TIMEOUT, running.stop()).await.expect("the node stops");
    drop((idle, deaf));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_feeds_at_once() {
    let directory = directory();
    let running = Running::start(&directory.path().join("data")).await;
    running.apply(small("88.1/a")).await.unwrap();
    let mut feed = watch(&running, Some(0), "").await.unwrap();
    next(&mut feed).await;
    let mut events = block_in_place(|| Events::open(address(&running), "/events?from=0", ""));
    block_in_place(|| assert!(events.next().is_some()));
    let ended = std::thread::spawn(move || (std::iter::from_fn(|| events.next()).count(), events.is_complete));
    let watching = tokio::spawn(async move { feed.message().await.unwrap_err() });
    tokio::time::timeout(TIMEOUT, running.stop()).await.expect("the node stops");
    let status = watching.await.unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the node is stopping; the feed goes on at ledger index 1");
    // The node ended the stream; the connection was not cut off at the end of the drain time.
    assert_eq!(block_in_place(|| ended.join().unwrap()), (0, true));
}

#[test]
fn the_command_shows_changes_and_where_to_go_on() {
    let directory = directory();
    let node = Program::serve(&directory.path().join("data"), &[]);
    for identifier in ["88.118/a", "88.1180/b", "88.118.8/c"] {
        assert_eq!(node.run(&["register", identifier, "--value", "NAME=x"]).exit, 0);
    }
    let watch = |arguments: &[&str]| {
        let mut command = touchmark();
        command.args(["watch", "--server", &node.grpc]).args(arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let plain = watch(&["--from", "0", "--prefix", "88.118"]);
    let json = watch(&["--from", "1", "--json"]);
    // The node counts both feeds.
    crate::program::wait_until("the feeds are open", || {
        get(node.http, "/metrics").text().contains("touchmark_feeds 2\n")
    });
    assert_eq!(node.run(&["retire", "88.118/a"]).exit, 0);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(run(["watch", "--server", &node.grpc, "--from", "99"]).exit, 1);
    assert_eq!(node.stop("INT"), Some(0));
    let (plain, json) = (plain.wait_with_output().unwrap(), json.wait_with_output().unwrap());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let lines: Vec<String> = text(&plain.stdout).lines().map(str::to_owned).collect();
    let ends = [
        "create  88.118/a, version 1, by loopback",
        "create  88.118.8/c, version 1, by loopback",
        "retire  88.118/a, version 2, by loopback",
    ];
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{lines:?}");
    assert_eq!(plain.status.code(), Some(9));
    assert!(text(&plain.stderr).ends_with("go on with --from 4\n"), "{}", text(&plain.stderr));
    let json = text(&json.stdout);
    assert_eq!(json.lines().count(), 3, "{json}");
    assert!(json.lines().all(|line| line.starts_with(r#"{"change":""#)), "{json}");
}

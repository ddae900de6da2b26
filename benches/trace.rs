//! A trace of 10,000 nodes, down and up, over gRPC: `cargo bench --bench trace`.
//!
//! One product of 99 groups of 100 parts each, and a lot that went into every part. Node and client run in this
//! process; times are those of whole calls, from the request to the last message.

use std::{error::Error, time::Instant};

use touchmark::{
    app::Node,
    client::Client,
    config::Config,
    protocol::{
        grpc::{
            CommandBatch,
            pb::{self, trace_request::Direction},
        },
        json::create_from_line,
    },
};

/// The allocator of the node's program: with that of the system, threads wait for each other, more or less by chance.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GROUPS: usize = 99;
const PARTS_PER_GROUP: usize = 100;
const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` runs the program, too, without measurements.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    let loopback = ([127, 0, 0, 1], 0).into();
    let mut config = Config { data: data.path().into(), ..Config::default() };
    config.dns.listen = vec![loopback];
    config.grpc.listen = loopback;
    config.http.listen = None;
    let node = Node::start(&config).await?;
    let client = Client::connect(&node.grpc_addr().to_string()).await?;
    register(&client).await?;
    measure(&client, "down from the product", "88.118.8/product", Direction::Down).await?;
    measure(&client, "up from the lot", "88.118.8/lot", Direction::Up).await?;
    drop(client);
    node.stop().await?;
    Ok(())
}

async fn register(client: &Client) -> Result<(), Box<dyn Error>> {
    let edge = |to: &str| format!(r#"{{"type":"made-of","to":"{to}","quantity":2,"unit":"unit:piece"}}"#);
    let line = |of: &str, edges: &[String]| {
        let values = format!(r#"[{{"type":"NAME","data":"{of}"}},{{"type":"PART_NUMBER","data":"41200-120"}}]"#);
        format!(r#"{{"identifier":"{of}","values":{values},"edges":[{}]}}"#, edges.join(","))
    };
    let group = |group: usize| format!("88.118.8/group-{group}");
    let part = |group: usize, part: usize| format!("88.118.8/JXDY-{group}-{part}");
    let mut lines = vec![line("88.118.8/lot", &[])];
    for number in 0..GROUPS {
        let parts: Vec<String> = (0..PARTS_PER_GROUP).map(|nth| part(number, nth)).collect();
        lines.extend(parts.iter().map(|part| line(part, &[edge("88.118.8/lot")])));
        lines.push(line(&group(number), &parts.iter().map(|part| edge(part)).collect::<Vec<_>>()));
    }
    lines.push(line("88.118.8/product", &(0..GROUPS).map(|number| edge(&group(number))).collect::<Vec<_>>()));
    for lines in lines.chunks(1_000) {
        let mut batch = CommandBatch::default();
        lines.iter().try_for_each(|line| create_from_line(line.as_bytes(), &mut batch))?;
        client.apply_batch(&batch).await?;
    }
    Ok(())
}

async fn measure(client: &Client, what: &str, start: &str, direction: Direction) -> Result<(), Box<dyn Error>> {
    let limits = pb::TraceLimits { nodes: Some(100_000), ..pb::TraceLimits::default() };
    let mut times_ms = Vec::with_capacity(ROUNDS);
    let mut summary = pb::TraceSummary::default();
    for _ in 0..ROUNDS {
        let request = pb::TraceRequest {
            identifier: start.into(),
            direction: direction.into(),
            limits: Some(limits),
            ..pb::TraceRequest::default()
        };
        let began = Instant::now();
        let mut messages = client.trace(request).await?;
        while let Some(message) = messages.next().await? {
            summary = message.summary.unwrap_or(summary);
        }
        times_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    times_ms.sort_by(f64::total_cmp);
    let (nodes, edges) = (summary.nodes, summary.edges);
    let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|place| times_ms[place]);
    println!("trace {what}: {nodes} nodes, {edges} edges: median {median:.1} ms, {least:.1} to {most:.1} ms");
    Ok(())
}

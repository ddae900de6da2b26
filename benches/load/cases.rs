//! Cases of the load generator: writing, reading, importing.

use std::{
    fs::File,
    io::{BufWriter, Write},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use touchmark::protocol::grpc::pb::{self, registry_client::RegistryClient, resolver_client::ResolverClient};

use crate::{
    Outcome,
    node::{Process, disk_bytes},
    records,
};

/// Identifiers in one `ResolveBatch`.
pub const BATCH: u64 = 1_000;
/// Calls under way at once in the resolve case.
const CALLERS: u64 = 16;

/// Figures of one round.
pub struct Round {
    pub operations: u64,
    pub wall: Duration,
    pub cpu_us: u64,
    pub latency: Option<Histogram<u64>>,
}

impl Round {
    /// CPU time of the node per operation, in microseconds.
    pub fn cpu_us_per_operation(&self) -> f64 {
        self.cpu_us as f64 / self.operations as f64
    }

    /// Prints a line.
    pub fn print(&self, name: &str) {
        let rate = self.operations as f64 / self.wall.as_secs_f64();
        print!("{name:<16} {rate:>10.0}/s  node CPU {:>6.2} us/op", self.cpu_us_per_operation());
        if let Some(latency) = &self.latency {
            let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
            print!("  p50 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999));
        }
        println!();
    }
}

/// Median of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Connects to a node.
pub async fn connect(address: &str) -> Outcome<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect().await?)
}

/// Single `Apply` calls from many clients.
pub async fn apply(clients: usize, calls: u64, rounds: usize) -> Outcome<()> {
    println!("# single Apply calls, {clients} clients, {calls} calls a round, each durable before its receipt");
    let directory = tempfile::tempdir()?;
    let node = Process::node(directory.path()).await?;
    let mut rates = Vec::new();
    for round in 0..rounds as u64 {
        let next = Arc::new(AtomicU64::new(0));
        let (began, cpu) = (Instant::now(), node.cpu_us()?);
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let mut client = RegistryClient::new(connect(&node.address).await?);
            let next = Arc::clone(&next);
            tasks.push(tokio::spawn(async move {
                let mut latency = Histogram::<u64>::new(3)?;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return Outcome::Ok(latency);
                    }
                    let command = records::create(round * calls + number);
                    let sent = Instant::now();
                    client.apply(command).await?;
                    latency.record(sent.elapsed().as_micros() as u64)?;
                }
            }));
        }
        let mut latency = Histogram::<u64>::new(3)?;
        for task in tasks {
            latency.add(task.await??)?;
        }
        let figures =
            Round { operations: calls, wall: began.elapsed(), cpu_us: node.cpu_us()? - cpu, latency: Some(latency) };
        figures.print("apply");
        rates.push(calls as f64 / figures.wall.as_secs_f64());
    }
    println!("apply            median {:.0}/s\n", median(rates));
    node.stop()?;
    Ok(())
}

/// Batches of commands, several calls at once.
pub async fn batch(records: u64, commands: u64, calls: usize) -> Outcome<()> {
    println!("# {records} records in batches of {commands}, {calls} calls at once, keys in random order");
    let directory = tempfile::tempdir()?;
    let node = Process::node(directory.path()).await?;
    let (began, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..calls {
        let mut client = RegistryClient::new(connect(&node.address).await?).max_decoding_message_size(16 << 20);
        let next = Arc::clone(&next);
        tasks.push(tokio::spawn(async move {
            let mut latency = Histogram::<u64>::new(3)?;
            loop {
                let start = next.fetch_add(commands, Ordering::Relaxed);
                if start >= records {
                    return Outcome::Ok(latency);
                }
                let commands = (start..records.min(start + commands)).map(records::create).collect();
                let sent = Instant::now();
                client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?;
                latency.record(sent.elapsed().as_micros() as u64)?;
            }
        }));
    }
    let mut latency = Histogram::<u64>::new(3)?;
    for task in tasks {
        latency.add(task.await??)?;
    }
    let figures = Round { operations: records, wall: began.elapsed(), cpu_us: node.cpu_us()?, latency: Some(latency) };
    figures.print("batch");
    let (now_mb, peak_mb) = node.resident_mb()?;
    println!(
        "                 node memory {now_mb} MB, at its highest {peak_mb} MB; latency is that of a whole batch\n"
    );
    node.stop()?;
    Ok(())
}

/// Warm resolutions in three ways, beside empty calls with replies of the same size.
pub async fn resolve(records: u64, calls: u64, rounds: usize, ways: &[Way]) -> Outcome<()> {
    println!(
        "# warm resolutions of {records} records, {calls} a round; the floor replies with as many bytes and does nothing"
    );
    let directory = tempfile::tempdir()?;
    let node = Process::node(directory.path()).await?;
    let mut registry = RegistryClient::new(connect(&node.address).await?);
    for start in (0..records).step_by(BATCH as usize) {
        let commands = (start..records.min(start + BATCH)).map(records::create).collect();
        registry.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?;
    }
    let mut resolver = ResolverClient::new(connect(&node.address).await?);
    let request = pb::ResolveRequest { identifier: records::identifier(0), ..pb::ResolveRequest::default() };
    let answer_bytes = resolver.resolve(request).await?.into_inner().encoded_len();
    // The floor wraps its bytes into a field with a key and a length, 3 bytes, as the answer does.
    let floor = Process::floor(answer_bytes - 3).await?;
    let floor_batch = Process::floor((answer_bytes + 3) * BATCH as usize).await?;
    for (name, way, floor) in [
        ("resolve", Way::Unary, &floor),
        ("resolve batch", Way::Batch, &floor_batch),
        ("resolve stream", Way::Stream, &floor),
    ] {
        if !ways.contains(&way) {
            continue;
        }
        let (mut ours, mut empty) = (Vec::new(), Vec::new());
        for _ in 0..=rounds {
            let figures = resolve_round(&node, way, records, calls).await?;
            figures.print(name);
            ours.push(figures.cpu_us_per_operation());
            let figures = resolve_round(floor, way, records, calls).await?;
            figures.print("  floor");
            empty.push(figures.cpu_us_per_operation());
        }
        // The first round warms the cache.
        let (ours, empty) = (median(ours.split_off(1)), median(empty.split_off(1)));
        println!(
            "{name:<16} median {ours:.2} us of node CPU an identifier, floor {empty:.2}, ratio {:.2}\n",
            ours / empty
        );
    }
    node.stop()?;
    floor.kill()?;
    floor_batch.kill()
}

/// Form of the calls.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// One identifier per call.
    Unary,
    /// Many identifiers per call.
    Batch,
    /// One streaming call.
    Stream,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Unary, Self::Batch, Self::Stream];
}

/// Resolves the first `records` records again and again.
pub async fn resolve_round(server: &Process, way: Way, records: u64, calls: u64) -> Outcome<Round> {
    let request = move |number: u64| pb::ResolveRequest {
        identifier: records::identifier(number % records),
        ..pb::ResolveRequest::default()
    };
    let (began, cpu) = (Instant::now(), server.cpu_us()?);
    let mut tasks = Vec::new();
    let callers = if matches!(way, Way::Unary) { CALLERS } else { 2 };
    for caller in 0..callers {
        let mut client = ResolverClient::new(connect(&server.address).await?).max_decoding_message_size(16 << 20);
        let numbers = (caller * calls / callers)..((caller + 1) * calls / callers);
        tasks.push(tokio::spawn(async move {
            match way {
                Way::Unary => {
                    for number in numbers {
                        client.resolve(request(number)).await?;
                    }
                }
                Way::Batch => {
                    for start in numbers.step_by(BATCH as usize) {
                        let requests = (start..start + BATCH).map(request).collect();
                        client.resolve_batch(pb::ResolveBatchRequest { requests }).await?;
                    }
                }
                Way::Stream => {
                    let requests = futures_util::stream::iter(numbers.map(request));
                    let mut answers = client.resolve_stream(requests).await?.into_inner();
                    while let Some(answer) = answers.next().await {
                        answer?;
                    }
                }
            }
            Outcome::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(Round { operations: calls, wall: began.elapsed(), cpu_us: server.cpu_us()? - cpu, latency: None })
}

/// `touchmark import` of a file, then restarts.
pub async fn import(records: u64) -> Outcome<()> {
    println!("# import of {records} records, keys in random order");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("records.jsonl");
    let mut out = BufWriter::new(File::create(&file)?);
    let bytes = records::write_jsonl(&mut out, records)?;
    out.flush()?;
    drop(out);
    println!("input            {bytes} bytes, {} a record", bytes / records);
    let data = directory.path().join("data");
    let node = Process::node(&data).await?;
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_touchmark"))
        .args(["import", "--server", &node.address])
        .arg(&file)
        .stdout(Stdio::null())
        .status()?;
    let wall = began.elapsed();
    if !status.success() {
        return Err(format!("the import ended with {status}").into());
    }
    Round { operations: records, wall, cpu_us: node.cpu_us()?, latency: None }.print("import");
    let (_, peak_mb) = node.resident_mb()?;
    println!("                 node memory at its highest {peak_mb} MB");
    let stopped_in = node.stop()?;
    let disk = disk_bytes(&data)?;
    println!(
        "disk             {disk} bytes, {:.2} of the input; clean stop in {:.2} s",
        disk as f64 / bytes as f64,
        stopped_in.as_secs_f64()
    );
    let node = Process::node(&data).await?;
    let (now_mb, _) = node.resident_mb()?;
    println!("restart          {:.2} s after a clean stop; memory {now_mb} MB", node.started_in.as_secs_f64());
    node.kill()?;
    let node = Process::node(&data).await?;
    println!("restart          {:.2} s after kill -9", node.started_in.as_secs_f64());
    node.stop()?;
    println!();
    Ok(())
}

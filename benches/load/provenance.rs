//! Cases of the load generator: history, and lag of the verifiable index.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::transport::Channel;
use touchmark::{
    protocol::grpc::pb::{self, auditor_client::AuditorClient, command::Operation, registry_client::RegistryClient},
    tlog::read_checkpoint,
    vindex::OutputLeaf,
};

use crate::{
    Outcome,
    cases::{BATCH, Round, connect},
    node::Process,
    records,
};

/// Number of calls for pages.
const PAGES: u64 = 2_000;
/// Time between two calls of a steady load.
pub const TICK: Duration = Duration::from_millis(10);
/// Time between two measurements of the verifiable index.
const LOOK: Duration = Duration::from_millis(100);
/// Maximum number of concurrent calls of a steady load; when it is reached, the rate is not sustained.
const CALLS_MAX: usize = 64;

/// The first page, pages in the middle, and as-of answers of an identifier with many versions.
pub async fn history(versions: u64) -> Outcome<()> {
    println!("# an identifier with {versions} versions");
    let directory = tempfile::tempdir()?;
    let node = Process::node(directory.path()).await?;
    let mut registry = RegistryClient::new(connect(&node.address).await?).max_decoding_message_size(16 << 20);
    registry.apply(records::create(0)).await?;
    for start in (1..versions).step_by(BATCH as usize) {
        let commands = (start..versions.min(start + BATCH)).map(update).collect();
        registry.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?;
    }
    let mut auditor = AuditorClient::new(connect(&node.address).await?).max_decoding_message_size(16 << 20);
    for (name, before) in [("first page", None), ("middle page", Some(versions / 2))] {
        let request = pb::HistoryRequest { identifier: records::identifier(0), limit: None, before };
        let (cpu, began) = (node.cpu_us()?, Instant::now());
        let mut latency = Histogram::<u64>::new(3)?;
        for _ in 0..PAGES {
            let sent = Instant::now();
            let page = auditor.history(request.clone()).await?.into_inner();
            latency.record(sent.elapsed().as_micros() as u64)?;
            if page.versions.len() != 50 {
                return Err(format!("a page of {} versions", page.versions.len()).into());
            }
        }
        let cpu_us = node.cpu_us()? - cpu;
        Round { operations: PAGES, wall: began.elapsed(), cpu_us, latency: Some(latency) }.print(name);
    }
    let (cpu, began) = (node.cpu_us()?, Instant::now());
    let mut latency = Histogram::<u64>::new(3)?;
    for number in 0..PAGES {
        let request = pb::ResolveRequest { identifier: records::identifier(0), ..pb::ResolveRequest::default() };
        let at = pb::resolve_at_request::At::LedgerIndex(number * versions / PAGES);
        let sent = Instant::now();
        auditor.resolve_at(pb::ResolveAtRequest { request: Some(request), at: Some(at) }).await?;
        latency.record(sent.elapsed().as_micros() as u64)?;
    }
    let cpu_us = node.cpu_us()? - cpu;
    Round { operations: PAGES, wall: began.elapsed(), cpu_us, latency: Some(latency) }.print("as of an index");
    println!();
    node.stop()?;
    Ok(())
}

/// Command that makes the `number`th version of the first record.
fn update(number: u64) -> pb::Command {
    let values = match records::create(number).operation {
        Some(Operation::Create(create)) => create.values,
        _ => Vec::new(),
    };
    let mode = pb::update::Mode::Replace.into();
    let update = pb::Update { mode, values, ..pb::Update::default() };
    pb::Command {
        identifier: records::identifier(0),
        operation: Some(Operation::Update(update)),
        ..pb::Command::default()
    }
}

/// Lag of the verifiable index behind acknowledged entries, under a steady load of registrations.
pub async fn lag(per_second: u64, seconds: u64) -> Outcome<()> {
    println!("# {per_second} registrations a second for {seconds} s, and how far the verifiable index is behind them");
    let directory = tempfile::tempdir()?;
    let node = Process::node(directory.path()).await?;
    let mut auditor = AuditorClient::new(connect(&node.address).await?);
    while covered(&mut auditor).await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (began, cpu) = (Instant::now(), node.cpu_us()?);
    let commands = per_second * TICK.as_millis() as u64 / 1_000;
    let ticks = seconds * 1_000 / TICK.as_millis() as u64;
    let registry = RegistryClient::new(connect(&node.address).await?).max_decoding_message_size(16 << 20);
    let load = tokio::spawn(steady(registry, commands, ticks, Arc::clone(&acknowledged)));
    let (mut lags, mut lookups) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let mut looks = interval(LOOK);
    while !load.is_finished() {
        looks.tick().await;
        let sent = Instant::now();
        let covered = covered(&mut auditor).await?;
        lookups.record(sent.elapsed().as_micros() as u64)?;
        lags.record(behind(&acknowledged, covered, sent).as_millis() as u64)?;
    }
    let latency = load.await??;
    let (wall, cpu_us) = (began.elapsed(), node.cpu_us()? - cpu);
    Round { operations: commands * ticks, wall, cpu_us, latency: Some(latency) }.print("registrations");
    let at = |figures: &Histogram<u64>, quantile| figures.value_at_quantile(quantile) as f64 / 1_000.0;
    let [median, p99, max] = [0.5, 0.99, 1.0].map(|quantile| at(&lags, quantile));
    println!("lag              median {median:.2} s  p99 {p99:.2} s  max {max:.2} s");
    let [median, p99] = [0.5, 0.99].map(|quantile| at(&lookups, quantile));
    println!("lookup           p50 {median:.2} ms  p99 {p99:.2} ms, meanwhile\n");
    node.stop()?;
    Ok(())
}

/// For each acknowledged call: its time, and its last ledger index.
pub type Acknowledged = Mutex<Vec<(Instant, u64)>>;

/// Sends a call of `commands` registrations at every tick; returns the latencies of the calls.
pub async fn steady(
    registry: RegistryClient<Channel>,
    commands: u64,
    ticks: u64,
    acknowledged: Arc<Acknowledged>,
) -> Outcome<Histogram<u64>> {
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (room, mut calls) = (Arc::new(Semaphore::new(CALLS_MAX)), JoinSet::new());
    for tick in 0..ticks {
        clock.tick().await;
        let (permit, acknowledged) = (Arc::clone(&room).acquire_owned().await?, Arc::clone(&acknowledged));
        let mut registry = registry.clone();
        calls.spawn(async move {
            let commands = (tick * commands..(tick + 1) * commands).map(records::create).collect();
            let sent = Instant::now();
            let reply = registry.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?.into_inner();
            let receipts = reply.results.iter().filter_map(|result| match &result.result {
                Some(pb::apply_result::Result::Receipt(receipt)) => Some(receipt.ledger_index),
                _ => None,
            });
            let last = receipts.max().ok_or("a call without a receipt")?;
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), last));
            drop(permit);
            Outcome::Ok(sent.elapsed())
        });
    }
    let mut latency = Histogram::new(3)?;
    while let Some(took) = calls.join_next().await {
        latency.record(took??.as_micros() as u64)?;
    }
    Ok(latency)
}

/// Number of ledger entries that the verifiable index covers.
async fn covered(auditor: &mut AuditorClient<Channel>) -> Outcome<u64> {
    let request = pb::LookupRequest { identifier: records::identifier(0), ..pb::LookupRequest::default() };
    let reply = auditor.lookup(request).await?.into_inner();
    let leaf = OutputLeaf::parse(&reply.output_leaf).ok_or("the output leaf is none")?;
    let (_, checkpoint) = read_checkpoint(leaf.checkpoint.as_bytes()).ok_or("no checkpoint in the output leaf")?;
    Ok(checkpoint.size)
}

/// Age of the oldest acknowledged call with an entry that is not covered; forgets the covered calls.
fn behind(acknowledged: &Acknowledged, covered: u64, now: Instant) -> Duration {
    let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    acknowledged.retain(|(_, last)| *last >= covered);
    let oldest = acknowledged.iter().map(|(at, _)| *at).min();
    oldest.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
}

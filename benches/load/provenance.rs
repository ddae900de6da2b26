//! The cases about the past and its proofs.

use std::time::Instant;

use hdrhistogram::Histogram;
use touchmark::protocol::grpc::pb::{
    self, auditor_client::AuditorClient, command::Operation, registry_client::RegistryClient,
};

use crate::{
    Outcome,
    cases::{BATCH, Round, connect},
    node::Process,
    records,
};

/// How often a page is asked for.
const PAGES: u64 = 2_000;

/// The first page, pages in the middle, and as-of answers of an identifier with many versions.
pub async fn history(versions: u64) -> Outcome<()> {
    println!("# an identifier with {versions} versions");
    let directory = tempfile::tempdir()?;
    let node = Process::node(directory.path()).await?;
    let mut registry = RegistryClient::new(connect(&node.address).await?).max_decoding_message_size(16 << 20);
    registry.apply(records::create(0)).await?;
    for start in (1..versions).step_by(BATCH as usize) {
        let commands = (start..versions.min(start + BATCH)).map(update).collect();
        registry.apply_batch(pb::ApplyBatchRequest { commands }).await?;
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

/// The command that makes the `number`th version of the first record.
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

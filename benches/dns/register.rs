//! A writer at a steady rate: batches of registrations, each durable before its receipt.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::MissedTickBehavior};
use tonic::transport::Endpoint;
use touchmark::protocol::grpc::pb::{self, registry_client::RegistryClient};

use crate::{Outcome, records};

/// Maximum number of batches under way; when more are due, the rate falls.
const CALLS_MAX: usize = 8;

/// Registrations to make.
#[derive(clap::Args)]
pub struct Arguments {
    /// gRPC address of the node.
    #[arg(long)]
    server: String,
    /// Number of the first record; registered records are refused.
    #[arg(long)]
    first: u64,
    /// Registrations per second.
    #[arg(long)]
    rate: f64,
    /// Duration in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Registrations in a batch.
    #[arg(long, default_value_t = 100)]
    commands: u64,
}

/// Registers until the time is up.
pub fn run(out: &mut impl Write, arguments: &Arguments) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (registered, elapsed) = runtime.block_on(register(arguments))?;
    let rate = registered as f64 / elapsed.as_secs_f64();
    writeln!(out, "registered={registered} per_second={rate:.0}")?;
    Ok(())
}

async fn register(arguments: &Arguments) -> Outcome<(u64, Duration)> {
    let channel = Endpoint::from_shared(format!("http://{}", arguments.server))?.connect().await?;
    let client = RegistryClient::new(channel).max_decoding_message_size(16 << 20);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(arguments.commands as f64 / arguments.rate));
    // Late batches are made up for, as long as the node can keep up on average.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut next, mut registered) = (Instant::now(), arguments.first, 0);
    let mut calls = JoinSet::<Outcome<u64>>::new();
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        ticks.tick().await;
        if calls.len() >= CALLS_MAX
            && let Some(call) = calls.join_next().await
        {
            registered += call??;
        }
        let commands: Vec<_> = (next..next + arguments.commands).map(records::create).collect();
        next += arguments.commands;
        let mut client = client.clone();
        calls.spawn(async move {
            let reply = client.apply_batch(pb::ApplyBatchRequest { commands, atomic: false }).await?.into_inner();
            let done = |result: &&pb::ApplyResult| matches!(result.result, Some(pb::apply_result::Result::Receipt(_)));
            Ok(reply.results.iter().filter(done).count() as u64)
        });
    }
    while let Some(call) = calls.join_next().await {
        registered += call??;
    }
    Ok((registered, began.elapsed()))
}

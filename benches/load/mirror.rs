//! Time from a receipt of the primary until a mirror shows the change.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use touchmark::{
    protocol::grpc::pb::{self, auditor_client::AuditorClient, registry_client::RegistryClient},
    tlog::LedgerKey,
};

use crate::{
    Outcome,
    cases::{Round, connect},
    node::{Process, free_address},
    provenance::{TICK, steady},
};

/// Time for the mirror to catch up when the load ends.
const REST: Duration = Duration::from_secs(60);

/// Registers at the primary at a steady rate, and looks for each entry in the mirror's feed.
pub async fn lag(per_second: u64, seconds: u64) -> Outcome<()> {
    println!(
        "# {per_second} registrations a second for {seconds} s, and how long after its receipt a mirror shows each"
    );
    let (directory, mirrored) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let http = free_address()?;
    let primary = Process::node_with(directory.path(), ["127.0.0.1:0", &http], &[]).await?;
    let key = LedgerKey::open(&directory.path().join("ledger/key"))?.verifier_key().to_owned();
    let log = format!("http://{http}/log");
    let mirror = ["--mirror-of", &log, "--mirror-key", &key];
    let mirror = Process::node_with(mirrored.path(), ["127.0.0.1:0"; 2], &mirror).await?;

    let commands = per_second * TICK.as_millis() as u64 / 1_000;
    let ticks = seconds * 1_000 / TICK.as_millis() as u64;
    let total = commands * ticks;
    let mut auditor = AuditorClient::new(connect(&mirror.address).await?).max_decoding_message_size(16 << 20);
    let request = pb::WatchRequest { from_index: Some(0), prefix: String::new() };
    let mut feed = auditor.watch(request).await?.into_inner();
    let shown = tokio::spawn(async move {
        let mut shown = Vec::with_capacity(total as usize);
        while shown.len() < total as usize {
            let event = feed.message().await?.ok_or("the feed of the mirror ended")?;
            if matches!(event.event, Some(pb::change_event::Event::Change(_))) {
                shown.push(Instant::now());
            }
        }
        Outcome::Ok(shown)
    });
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (began, cpu, mirror_cpu) = (Instant::now(), primary.cpu_us()?, mirror.cpu_us()?);
    let registry = RegistryClient::new(connect(&primary.address).await?).max_decoding_message_size(16 << 20);
    let latency = steady(registry, commands, ticks, Arc::clone(&acknowledged)).await?;
    let (wall, cpu_us) = (began.elapsed(), primary.cpu_us()? - cpu);
    let shown = tokio::time::timeout(REST, shown).await???;
    let mirror_cpu_us = mirror.cpu_us()? - mirror_cpu;
    let mut lags = Histogram::<u64>::new(3)?;
    for (at, last) in acknowledged.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let shown = shown.get(*last as usize).ok_or("an entry was acknowledged that the mirror never showed")?;
        // The mirror may show the entry before the receipt has arrived.
        lags.record(shown.saturating_duration_since(*at).as_micros() as u64)?;
    }
    Round { operations: total, wall, cpu_us, latency: Some(latency) }.print("registrations");
    let at = |quantile| lags.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "mirror lag       p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms, of {} calls",
        at(0.5),
        at(0.99),
        at(1.0),
        lags.len()
    );
    println!("mirror           node CPU {:>6.2} us/op\n", mirror_cpu_us as f64 / total as f64);
    mirror.stop()?;
    primary.stop()?;
    Ok(())
}

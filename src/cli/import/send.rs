//! Sends batches of commands, several in flight at once, and collects their results.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::{FailedLine, Report, source::Chunk};
use crate::{
    client::{Client, ClientError},
    protocol::{
        grpc::{CommandBatch, outcome_of_refusal, pb},
        outcome::Outcome,
    },
};

/// Maximum number of batches in flight.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// First back-off after the node said "try later"; each next one is twice as long.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Maximum back-off.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Maximum number of times that a batch is sent, over about two minutes, before the import gives up.
pub(super) const TRIES_MAX: usize = 120;

/// Result of one chunk.
#[derive(Debug, Default)]
pub struct ChunkResult {
    /// Records registered now.
    pub registered: u64,
    /// Records registered before, with the same content.
    pub already: u64,
    /// Lines whose record could not be registered.
    pub failed: Vec<FailedLine>,
    /// Records that were left out because others failed.
    pub withdrawn: u64,
    /// Bytes of the source that the chunk covers.
    pub bytes: u64,
}

/// Sends every chunk and reports its result.
///
/// # Errors
///
/// The first [`ClientError`] that concerns more than one record; chunks in flight then may or may not have been carried
/// out.
pub async fn send_all(
    client: &Client,
    mut chunks: mpsc::Receiver<Chunk>,
    report: &mut Report,
) -> Result<(), ClientError> {
    let mut under_way = JoinSet::new();
    while let Some(chunk) = chunks.recv().await {
        while under_way.len() >= BATCHES_IN_FLIGHT_MAX {
            take(under_way.join_next().await, report)?;
        }
        let client = client.clone();
        under_way.spawn(async move { send(&client, chunk).await });
    }
    while !under_way.is_empty() {
        take(under_way.join_next().await, report)?;
    }
    Ok(())
}

/// Reports the result of a chunk. No task panics or is aborted, so that each one has a result.
fn take(
    joined: Option<Result<Result<ChunkResult, ClientError>, tokio::task::JoinError>>,
    report: &mut Report,
) -> Result<(), ClientError> {
    if let Some(Ok(sent)) = joined {
        report.add(sent?);
    }
    Ok(())
}

/// Sends a chunk, with back-off, until every command has its result.
async fn send(client: &Client, chunk: Chunk) -> Result<ChunkResult, ClientError> {
    let Chunk { source, mut batch, mut lines, refused, bytes } = chunk;
    let mut sent = ChunkResult { failed: refused, bytes, ..ChunkResult::default() };
    let mut pause = PAUSE_MIN;
    for _ in 0..TRIES_MAX {
        if batch.is_empty() {
            return Ok(sent);
        }
        match client.apply_batch(&batch).await {
            Ok(results) => {
                let again = sort(results, &batch, &lines, &source, &mut sent)?;
                lines = again.iter().filter_map(|position| lines.get(*position).copied()).collect();
                batch = batch.select(again);
            }
            Err(ClientError::Refused { code, .. }) if is(code, Outcome::TryLater) => {}
            Err(error) => return Err(error),
        }
        if !batch.is_empty() {
            sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }
    Err(no_room())
}

/// The error of a batch that was refused again and again.
pub(super) fn no_room() -> ClientError {
    let message = format!("the node had no room for a batch {TRIES_MAX} times in a row");
    ClientError::Refused { code: Outcome::TryLater.spelling().grpc, message }
}

/// Counts results; returns the positions of the commands to send again.
fn sort(
    results: Vec<pb::ApplyResult>,
    batch: &CommandBatch,
    lines: &[u64],
    source: &str,
    sent: &mut ChunkResult,
) -> Result<Vec<usize>, ClientError> {
    use pb::apply_result::Result as Applied;
    let mut again = Vec::new();
    for (position, result) in results.into_iter().enumerate() {
        let refusal = match result.result {
            Some(Applied::Receipt(_)) => {
                sent.registered += 1;
                continue;
            }
            Some(Applied::Refusal(refusal)) => refusal,
            None => pb::Refusal { message: "the node gave no result".into(), ..pb::Refusal::default() },
        };
        match outcome_of_refusal(&refusal) {
            Some(Outcome::TryLater) => again.push(position),
            // The ledger refuses all writes now; every other command would fail the same way.
            Some(Outcome::Unavailable) => {
                return Err(ClientError::Refused { code: refusal.code, message: refusal.message });
            }
            Some(Outcome::AlreadyExists) if refusal.existing.is_some_and(|existing| existing.same_content) => {
                sent.already += 1;
            }
            outcome => sent.failed.push(FailedLine {
                source: source.to_owned(),
                line: lines.get(position).copied().unwrap_or_default(),
                identifier: Some(batch.identifier(position)),
                outcome: outcome.unwrap_or(Outcome::Unavailable),
                reason: refusal.message,
            }),
        }
    }
    Ok(again)
}

pub(super) fn is(code: i32, outcome: Outcome) -> bool {
    Outcome::of_grpc_code(code) == Some(outcome)
}

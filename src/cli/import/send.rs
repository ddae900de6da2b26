//! From batches of commands to results, several batches under way at once.

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

/// How many batches are under way at once.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// The first pause after the node said "try later"; every next one is twice as long.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a batch is sent again before the import gives up: about two minutes.
pub(super) const TRIES_MAX: usize = 120;

/// What became of one chunk.
#[derive(Debug, Default)]
pub struct Sent {
    /// Records that were registered now.
    pub registered: u64,
    /// Records that were registered before, with the same content.
    pub already: u64,
    /// Lines whose record could not be registered.
    pub failed: Vec<FailedLine>,
    /// Records that were left out because others failed.
    pub withdrawn: u64,
    /// How many bytes of its source the chunk stood for.
    pub bytes: u64,
}

/// Sends every chunk and reports what became of each.
///
/// # Errors
///
/// The first [`ClientError`] that concerns more than one record; chunks that were under way then may or may not have been
/// carried out.
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

/// Takes the result of a chunk; none of the tasks panics or is aborted, so that each has one.
fn take(
    joined: Option<Result<Result<Sent, ClientError>, tokio::task::JoinError>>,
    report: &mut Report,
) -> Result<(), ClientError> {
    if let Some(Ok(sent)) = joined {
        report.add(sent?);
    }
    Ok(())
}

/// Sends a chunk until every command has its result.
async fn send(client: &Client, chunk: Chunk) -> Result<Sent, ClientError> {
    let Chunk { source, mut batch, mut lines, refused, bytes } = chunk;
    let mut sent = Sent { failed: refused, bytes, ..Sent::default() };
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

/// Counts results; gives the positions of the commands to send again.
fn sort(
    results: Vec<pb::ApplyResult>,
    batch: &CommandBatch,
    lines: &[u64],
    source: &str,
    sent: &mut Sent,
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
            // The ledger takes nothing now; every other command would hear the same.
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

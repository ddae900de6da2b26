//! An import that registers all records or none: one atomic batch.
//!
//! Nothing is sent before every line was read and made a command. The request id of each command is derived from its
//! line, so that a batch whose receipts were lost can be sent again, and a repeated import finds everything registered.

use tokio::{sync::mpsc, time::sleep};

use super::{
    FailedLine, Report, Show, read,
    send::{ChunkResult, PAUSE_MAX, PAUSE_MIN, TRIES_MAX, is, no_room},
    source::{Chunk, Source},
    total_bytes, with_advice,
};
use crate::{
    cli::failure::Failure,
    client::{Client, ClientError},
    protocol::{
        grpc::{APPLY_REQUEST_BYTES_MAX, CommandBatch, outcome_of_refusal, pb},
        outcome::Outcome,
    },
    registry::BATCH_COMMANDS_MAX,
};

/// All commands of an import, with their source lines.
#[derive(Debug, Default)]
struct Whole {
    batch: CommandBatch,
    /// Source and lines of the commands, by chunk.
    lines: Vec<(String, Vec<u64>)>,
    /// Lines that gave no command.
    refused: Vec<FailedLine>,
    /// Number of bytes read from the sources.
    bytes: u64,
}

/// Registers the records of sources, all or none; returns the number of failed lines.
///
/// # Errors
///
/// [`Failure`] if a file cannot be opened, there are more records than one batch takes, or the node cannot be reached.
pub async fn import(client: &Client, sources: Vec<Source>, show: Show) -> Result<u64, Failure> {
    let mut report = Report::new(show, total_bytes(&sources)?);
    let (reader, chunks) = read(sources, BATCH_COMMANDS_MAX)?;
    let whole = Whole::take_all(chunks).await?;
    // All chunks were taken, so the reader is at its end.
    let _ = reader.join();
    let sent = match whole.refused.is_empty() {
        true => whole.send(client).await,
        false => Ok(ChunkResult {
            withdrawn: whole.batch.len() as u64,
            failed: whole.refused,
            bytes: whole.bytes,
            ..ChunkResult::default()
        }),
    };
    match sent {
        Ok(sent) => report.add(sent),
        Err(error) => {
            report.print()?;
            return Err(with_advice(error).into());
        }
    }
    let failed = report.failed;
    report.print()?;
    Ok(failed)
}

impl Whole {
    async fn take_all(mut chunks: mpsc::Receiver<Chunk>) -> Result<Self, Failure> {
        let mut whole = Self::default();
        while let Some(chunk) = chunks.recv().await {
            let Chunk { source, batch, lines, refused, bytes } = chunk;
            whole.batch.append(&batch.with_request_ids());
            whole.lines.push((source, lines));
            whole.refused.extend(refused);
            whole.bytes += bytes;
            // The reader ends when its next chunk has no receiver.
            if whole.batch.len().max(whole.refused.len()) > BATCH_COMMANDS_MAX
                || whole.batch.bytes_len() >= APPLY_REQUEST_BYTES_MAX
            {
                return Err(Failure::of(
                    Outcome::Invalid,
                    format!(
                        "there are more records than can be registered all or none, which are {BATCH_COMMANDS_MAX} in \
                         {APPLY_REQUEST_BYTES_MAX} bytes; nothing was registered: leave --all-or-nothing out, or divide them"
                    ),
                ));
            }
        }
        Ok(whole)
    }

    /// Sends the batch, with back-off, until it has results.
    async fn send(&self, client: &Client) -> Result<ChunkResult, ClientError> {
        let mut pause = PAUSE_MIN;
        if self.batch.is_empty() {
            return Ok(ChunkResult { bytes: self.bytes, ..ChunkResult::default() });
        }
        for _ in 0..TRIES_MAX {
            match client.apply_all(&self.batch).await {
                Ok(results) => return self.sort(results),
                Err(ClientError::Refused { code, .. }) if is(code, Outcome::TryLater) => {}
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
        Err(no_room())
    }

    /// Counts results.
    fn sort(&self, results: Vec<pb::ApplyResult>) -> Result<ChunkResult, ClientError> {
        use pb::apply_result::Result as Applied;
        let mut sent = ChunkResult { bytes: self.bytes, ..ChunkResult::default() };
        let lines = self.lines.iter().flat_map(|(source, lines)| lines.iter().map(move |line| (source, *line)));
        for (position, (result, (source, line))) in results.into_iter().zip(lines).enumerate() {
            let refusal = match result.result {
                Some(Applied::Receipt(receipt)) if receipt.replayed => {
                    sent.already += 1;
                    continue;
                }
                Some(Applied::Receipt(_)) => {
                    sent.registered += 1;
                    continue;
                }
                Some(Applied::Refusal(refusal)) => refusal,
                None => pb::Refusal { message: "the node gave no result".into(), ..pb::Refusal::default() },
            };
            if refusal.kind() == pb::refusal::Kind::Withdrawn {
                sent.withdrawn += 1;
                continue;
            }
            let outcome = outcome_of_refusal(&refusal);
            // The ledger refuses all writes now; every other command failed the same way.
            if outcome == Some(Outcome::Unavailable) {
                return Err(ClientError::Refused { code: refusal.code, message: refusal.message });
            }
            sent.failed.push(FailedLine {
                source: source.clone(),
                line,
                identifier: Some(self.batch.identifier(position)),
                outcome: outcome.unwrap_or(Outcome::Unavailable),
                reason: refusal.message,
            });
        }
        Ok(sent)
    }
}

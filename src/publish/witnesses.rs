//! Requests to witnesses, from the node's side: one each with a timeout, all at once.
//!
//! A witness says how many entries of this ledger it has cosigned before it cosigns more. If these are more than the
//! ledger ever had, or others, somebody continued a copy of the ledger: [`Asked::Ahead`], [`Asked::OtherHistory`]. That
//! is the word of the witness, or of an impostor; a checkpoint that the ledger's own key signed is evidence
//! ([`Witness::shown`]). The consequences stand in `guard` (at start) and `publisher` (later on).

use std::thread;

use crate::{
    client::witness::{WitnessClient, WitnessReply},
    tlog::{
        Hash, SignedCheckpoint,
        merkle::TreeHead,
        note::{VerifierKey, verify_checkpoint},
        witness::AddCheckpoint,
    },
};

/// A configured witness, and the size that it is known to hold.
#[derive(Debug)]
pub struct Witness {
    client: WitnessClient,
    /// Size of the checkpoint that the witness cosigned last, as far as this process knows.
    held: u64,
}

/// Result of asking a witness for a cosignature.
#[derive(Debug)]
pub(super) enum Asked {
    /// A cosignature: its signature line.
    Cosigned { line: String },
    /// The witness holds more entries than it was shown.
    Ahead { size: u64 },
    /// The witness holds another root for the size that it was shown, or for the old size of the request.
    OtherHistory { size: u64 },
    /// No usable answer; the reason.
    Nothing { reason: String },
}

/// Returns the consistency proof between two sizes of the ledger.
type Prove<'a> = &'a (dyn Fn(u64, u64) -> Result<Vec<Hash>, String> + Sync);

impl Witness {
    /// A witness that is reached through `client`.
    pub fn new(client: WitnessClient) -> Self {
        Self { client, held: 0 }
    }

    pub(super) fn name(&self) -> &str {
        self.client.key().name()
    }

    /// The last checkpoint of this ledger that the witness shows, if the ledger's key signed it; the error is the
    /// reason for showing none.
    pub(super) fn shown(&self, key: &VerifierKey) -> Result<TreeHead, String> {
        let note = self.client.latest(key.name()).map_err(|error| error.to_string())?;
        let note = note.ok_or("it shows no checkpoint of this ledger")?;
        let verified = verify_checkpoint(note.as_bytes(), [key]);
        let verified =
            verified.map_err(|error| format!("the checkpoint that it shows is not this ledger's: {error}"))?;
        Ok(verified.head)
    }

    /// Asks for a cosignature from the size that the witness is known to hold, and once more from the size that it
    /// answers with.
    pub(super) fn ask(&mut self, checkpoint: &SignedCheckpoint, prove: Prove<'_>) -> Asked {
        match self.ask_from(self.held.min(checkpoint.size), checkpoint, prove) {
            Ok(Err(size)) if size > checkpoint.size => Asked::Ahead { size },
            Ok(Err(size)) => match self.ask_from(size, checkpoint, prove) {
                Ok(Ok(asked)) => asked,
                // Some witnesses answer like this if they hold another root of the same size.
                Ok(Err(again)) if again == size && size == checkpoint.size => Asked::OtherHistory { size },
                Ok(Err(other)) => {
                    Asked::Nothing { reason: format!("it says that it holds {size}, then {other} entries") }
                }
                Err(reason) => Asked::Nothing { reason },
            },
            Ok(Ok(asked)) => asked,
            Err(reason) => Asked::Nothing { reason },
        }
    }

    /// Asks once. The inner error is the size that the witness holds.
    fn ask_from(
        &mut self,
        old_size: u64,
        checkpoint: &SignedCheckpoint,
        prove: Prove<'_>,
    ) -> Result<Result<Asked, u64>, String> {
        let proof = prove(old_size, checkpoint.size)?;
        let request = AddCheckpoint { old_size, proof, checkpoint: checkpoint.note.as_ref().into() };
        let reply = self.client.add_checkpoint(&request).map_err(|error| error.to_string())?;
        Ok(Ok(match reply {
            WitnessReply::Cosigned(cosignature) => {
                self.held = checkpoint.size;
                Asked::Cosigned { line: cosignature.line }
            }
            WitnessReply::Holds { size } => return Ok(Err(size)),
            WitnessReply::Inconsistent => Asked::OtherHistory { size: old_size },
            WitnessReply::UnknownLog => Asked::Nothing { reason: "it does not know this ledger's key".into() },
            WitnessReply::Refused { status, reason } => {
                Asked::Nothing { reason: format!("it refuses with status {status}: {reason}") }
            }
        }))
    }
}

/// Asks all witnesses at once; the answers are in their order.
pub(super) fn ask_all<'a>(
    witnesses: impl IntoIterator<Item = &'a mut Witness>,
    checkpoint: &SignedCheckpoint,
    prove: Prove<'_>,
) -> Vec<Asked> {
    thread::scope(|scope| {
        let asked: Vec<_> = witnesses
            .into_iter()
            .map(|witness| thread::Builder::new().spawn_scoped(scope, || witness.ask(checkpoint, prove)))
            .collect();
        let nothing = |reason: &str| Asked::Nothing { reason: reason.into() };
        let answer = |asked: std::io::Result<thread::ScopedJoinHandle<'_, Asked>>| match asked {
            Ok(asked) => asked.join().unwrap_or_else(|_| nothing("asking it failed")),
            Err(error) => nothing(&error.to_string()),
        };
        asked.into_iter().map(answer).collect()
    })
}

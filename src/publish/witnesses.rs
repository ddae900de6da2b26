//! Asking witnesses, from the node's side: one question each with a bounded time, all at once.
//!
//! A witness says what it holds of this ledger before it cosigns more. When that is more than the ledger ever had, or something
//! else, somebody continued a copy of it: [`Asked::Ahead`], [`Asked::OtherHistory`]. That is its word, or that of whoever answers in
//! its place; a checkpoint that the ledger's own key signed is evidence ([`Witness::shown`]). What follows from either stands in
//! `guard` (at start) and `publisher` (later on).

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

/// A configured witness, and what it is known to hold.
#[derive(Debug)]
pub struct Witness {
    client: WitnessClient,
    /// The size that it cosigned last, as far as this process knows.
    held: u64,
}

/// What came of asking a witness for a cosignature.
#[derive(Debug)]
pub(super) enum Asked {
    /// It cosigned, with this signature line.
    Cosigned { line: String },
    /// It holds more than it was shown.
    Ahead { size: u64 },
    /// It holds something else of the size that it was shown, or of the size from which it was asked.
    OtherHistory { size: u64 },
    /// It said nothing that helps.
    Nothing { reason: String },
}

/// What shows that one size of the ledger follows on another.
type Prove<'a> = &'a (dyn Fn(u64, u64) -> Result<Vec<Hash>, String> + Sync);

impl Witness {
    /// A witness that is reached through `client`.
    pub fn new(client: WitnessClient) -> Self {
        Self { client, held: 0 }
    }

    pub(super) fn name(&self) -> &str {
        self.client.key().name()
    }

    /// The last checkpoint of this ledger that the witness shows, when the ledger's key signed it; otherwise why there is none.
    pub(super) fn shown(&self, key: &VerifierKey) -> Result<TreeHead, String> {
        let note = self.client.latest(key.name()).map_err(|error| error.to_string())?;
        let note = note.ok_or("it shows no checkpoint of this ledger")?;
        let verified = verify_checkpoint(note.as_bytes(), [key]);
        let verified =
            verified.map_err(|error| format!("the checkpoint that it shows is not this ledger's: {error}"))?;
        Ok(verified.head)
    }

    /// Asks for a cosignature, from the size that the witness is known to hold; once more from the size that it says.
    pub(super) fn ask(&mut self, checkpoint: &SignedCheckpoint, prove: Prove<'_>) -> Asked {
        match self.ask_from(self.held.min(checkpoint.size), checkpoint, prove) {
            Ok(Err(size)) if size > checkpoint.size => Asked::Ahead { size },
            Ok(Err(size)) => match self.ask_from(size, checkpoint, prove) {
                Ok(Ok(asked)) => asked,
                // Some witnesses say so when they hold another root of the same size.
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

/// Asks all of them at once; answers in their order.
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

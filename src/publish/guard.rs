//! The guard against forks: before a node signs anything, it asks its witnesses how much of its ledger they hold.
//!
//! If an old copy of the data directory is restored, entries, tree and `signed_head` fit together, and nothing in it
//! tells that there was more. Continued, it would be a second history under the same key. A witness knows: it cosigned
//! the later one.
//!
//! The witness is shown a checkpoint that contradicts no history of the ledger: the last one that this directory
//! signed, or, if nothing was signed, that of the empty tree. The witness answers with what it holds:
//!
//! * more entries than the ledger has, or another root for a size that the ledger has: the node does not start;
//! * as many entries as shown or fewer, and a beginning of the ledger: the node starts;
//! * more entries than shown, and not more than there is (a power cut may take the last `signed_head`): the node compares
//!   the witness's own copy, if the witness shows one; otherwise the witness compares at the next cosignature.
//!
//! A witness that does not answer stops the node only when `required` in `[witnesses]` says so.

use super::witnesses::{Asked, Witness, ask_all};
use crate::{
    ledger::{LedgerError, Replayed},
    tlog::{SignedCheckpoint, empty_root, merkle::TreeHead},
};

/// Error of a ledger that must not be continued.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// A witness cosigned more entries than there are.
    #[error(
        "the data directory is an old copy: the witness {witness} has cosigned {theirs} entries of this ledger, and here are \
         {ours}; refusing to sign a second history. Restore the newest copy of the data directory. What stands behind it: {evidence}"
    )]
    OldCopy {
        /// Name of the witness.
        witness: String,
        /// Number of entries that the witness cosigned.
        theirs: u64,
        /// Number of entries here.
        ours: u64,
        /// Evidence from the witness.
        evidence: String,
    },
    /// A witness cosigned another history.
    #[error(
        "the witness {witness} has cosigned another history of this ledger, of {size} entries or less: somebody continued a copy \
         of it, here or elsewhere; refusing to sign a second history. Restore the newest copy of the data directory. What stands behind it: {evidence}"
    )]
    OtherHistory {
        /// Name of the witness.
        witness: String,
        /// Size within which the histories differ.
        size: u64,
        /// Evidence from the witness.
        evidence: String,
    },
    /// Too few witnesses answered.
    #[error(
        "{answered} of the witnesses answered, and `required` in [witnesses] is {required}; refusing to sign before they are asked: {reasons}"
    )]
    Silent {
        /// Number of witnesses that answered.
        answered: usize,
        /// Number of answers required.
        required: usize,
        /// Errors of the other witnesses.
        reasons: String,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Asks the witnesses whether the ledger may be continued.
///
/// # Errors
///
/// [`GuardError`]; nothing may be signed then.
pub fn ask(replayed: &Replayed, witnesses: &mut [Witness], required: usize) -> Result<(), GuardError> {
    if witnesses.is_empty() {
        return Ok(());
    }
    let shown = match replayed.signed() {
        Some(signed) => signed.clone(),
        None => replayed.signer()?.sign(0, empty_root()).map_err(LedgerError::from)?,
    };
    let asked = ask_all(witnesses.iter_mut(), &shown, &|old, new| {
        replayed.consistency_proof(old, new).map_err(|error| error.to_string())
    });
    let (mut answered, mut reasons) = (0, Vec::new());
    for (witness, asked) in witnesses.iter().zip(asked) {
        let name = || witness.name().to_owned();
        match asked {
            Asked::Cosigned { .. } => answered += 1,
            Asked::Ahead { size } if size > replayed.size() => {
                let (ours, evidence) = (replayed.size(), evidence(replayed, witness));
                return Err(GuardError::OldCopy { witness: name(), theirs: size, ours, evidence });
            }
            Asked::Ahead { size } => {
                compare(replayed, witness, &shown)?;
                tracing::warn!(
                    witness = witness.name(),
                    size,
                    "the witness holds more than `signed_head` says, as after a power cut; the ledger has as much"
                );
                answered += 1;
            }
            Asked::OtherHistory { size } => {
                let evidence = evidence(replayed, witness);
                return Err(GuardError::OtherHistory { witness: name(), size, evidence });
            }
            Asked::Nothing { reason } => {
                tracing::warn!(witness = witness.name(), %reason, "a witness could not be asked what it holds of this ledger");
                reasons.push(format!("{}: {reason}", witness.name()));
            }
        }
    }
    if answered < required {
        return Err(GuardError::Silent { answered, required, reasons: reasons.join("; ") });
    }
    Ok(())
}

/// Compares the ledger with the checkpoint that a witness shows, if the witness shows one that our key signed.
fn compare(replayed: &Replayed, witness: &Witness, shown: &SignedCheckpoint) -> Result<(), GuardError> {
    let Ok(theirs) = witness.shown(replayed.verifier()) else { return Ok(()) };
    let (size, witness, evidence) = (theirs.size, witness.name().to_owned(), signed(theirs));
    if size > replayed.size() {
        return Err(GuardError::OldCopy { witness, theirs: size, ours: replayed.size(), evidence });
    }
    if size > shown.size && replayed.root(size)? != theirs.root {
        return Err(GuardError::OtherHistory { witness, size, evidence });
    }
    Ok(())
}

/// Evidence behind the word of a witness. Without evidence the node does not start either: a refused start loses
/// nothing.
fn evidence(replayed: &Replayed, witness: &Witness) -> String {
    witness.shown(replayed.verifier()).map_or_else(|reason| format!("its word alone ({reason})"), signed)
}

fn signed(head: TreeHead) -> String {
    format!("a checkpoint of {} entries that this ledger's key signed", head.size)
}

//! `touchmark consistency`: proof that one checkpoint of a ledger is a beginning of another.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Server,
    failure::{EXIT_PROOF_INVALID, Failure},
    output::{self, clean, count},
    trust::{self, Trust},
};
use crate::{
    client::Client,
    tlog::{
        merkle::is_consistent,
        note::VerifiedCheckpoint,
        policy::{Policy, PolicyRefusal},
        tlog_proof::PROOF_BYTES_MAX,
        witness::AddCheckpoint,
    },
};

/// Checks that a ledger only grew between two checkpoints: nothing was changed, taken out or put in between.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark consistency monday.checkpoint --key id.test/ledger+4f2a91c3+ATr… -o grown.consistency
  touchmark consistency monday.checkpoint friday.tlog-proof --key id.test/ledger+4f2a91c3+ATr…
  touchmark consistency monday.checkpoint grown.consistency --policy auditors.policy

OLD and NEW are checkpoints (as in a receipt, or from /log/checkpoint) or proofs, whose checkpoints are taken. Without NEW it is the
newest checkpoint of the node. The node is asked for the proof alone, which is checked here; `-o` writes it with the new
checkpoint, and such a file as NEW is checked offline.

Exit code 11: it is not shown that OLD is a beginning of NEW. A signature, the quorum or the proof may be wrong; ask again, or
elsewhere. Only two checkpoints that verify and have one size and different roots prove two histories: keep both files then.")]
pub struct Args {
    /// The older checkpoint
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The newer one, or a file that `-o` wrote
    #[arg(value_name = "NEW")]
    new: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// Write the proof and the newer checkpoint to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// First bytes of a file written by `-o`.
const WRITTEN: &[u8] = b"old ";

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if a file or a key is malformed, a checkpoint is not signed as it should be, or the node gives no proof.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let policy = args.trust.policy()?;
    let old_note = trust::read_checkpoint(&args.old)?;
    let old = accepted(&policy, &old_note, &args.old.display().to_string())?;
    let grown = grown(args, old.head.size)?;
    if grown.old_size != old.head.size {
        return Err(Failure::usage(format!(
            "the proof in NEW leads from {} entries, and OLD has {}: give the OLD that it was written for",
            count(grown.old_size),
            count(old.head.size)
        )));
    }
    let place = args.new.as_ref().map_or_else(|| args.server.server.clone(), |path| path.display().to_string());
    let new = accepted(&policy, grown.checkpoint.as_bytes(), &place)?;
    if old.origin != new.origin {
        return Err(Failure::usage(format!("the checkpoints are of two ledgers, {} and {}", old.origin, new.origin)));
    }
    if let Some(path) = &args.output {
        trust::write(Some(path), &grown.write())?;
    }
    let is_grown = is_consistent(old.head, new.head, &grown.proof);
    let is_forked = old.head.size == new.head.size && old.head.root != new.head.root;
    let origin = clean(&old.origin);
    let from = old.head.size;
    let to = new.head.size;
    match (args.json, is_grown) {
        (true, _) => output::line(json!({
            "consistent": is_grown, "two_histories": is_forked, "ledger": old.origin, "old_entries": from, "new_entries": to
        }))?,
        (false, true) => output::line(format_args!(
            "consistent: {origin} with {} entries is a beginning of {origin} with {} entries",
            count(from),
            count(to)
        ))?,
        (false, false) => {
            let old_note = String::from_utf8_lossy(&old_note);
            let new_note = &grown.checkpoint;
            let from = count(from);
            let to = count(to);
            let said = if is_forked {
                format!("two histories: {origin} signed two different trees of {to} entries; keep both checkpoints")
            } else {
                format!("not shown: that {origin} with {from} entries is a beginning of {origin} with {to} entries")
            };
            output::line(format_args!("{said}\n\n{old_note}\n{new_note}"))?;
        }
    }
    Ok(if is_grown { 0 } else { EXIT_PROOF_INVALID })
}

fn accepted(policy: &Policy, note: &[u8], place: &str) -> Result<VerifiedCheckpoint, Failure> {
    let refused =
        |refusal: PolicyRefusal| Failure { exit: EXIT_PROOF_INVALID, message: Some(format!("{place}: {refusal}")) };
    Ok(policy.check(note).map_err(refused)?.checkpoint)
}

/// The newer checkpoint with its proof, from a file or from the node.
fn grown(args: &Args, old_size: u64) -> Result<AddCheckpoint, Failure> {
    let note = match &args.new {
        Some(path) => {
            let bytes = trust::read(path, PROOF_BYTES_MAX)?;
            if bytes.starts_with(WRITTEN) {
                return AddCheckpoint::parse(&bytes)
                    .map_err(|error| Failure::usage(format!("{}: {error}", path.display())));
            }
            let note = String::from_utf8(trust::read_checkpoint(path)?);
            Some(note.map_err(|_| Failure::usage(format!("{} is no checkpoint", path.display())))?)
        }
        None => None,
    };
    // The size is not verified yet; a wrong one gives a proof that fails below.
    let new_size = match &note {
        Some(note) => {
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            Some(size.ok_or_else(|| Failure::usage("NEW is no checkpoint: its second line is no size"))?)
        }
        None => None,
    };
    if let Some(new_size) = new_size.filter(|&new_size| new_size < old_size) {
        return Err(Failure::usage(format!(
            "OLD has {} entries and NEW has {}: give the older one first",
            count(old_size),
            count(new_size)
        )));
    }
    let asked = super::block_on(async {
        Ok(Client::connect(&args.server.server).await?.consistency(old_size, new_size).await?)
    });
    let (proof, newest) = asked?;
    Ok(AddCheckpoint { old_size, proof, checkpoint: note.unwrap_or(newest) })
}

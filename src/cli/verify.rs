//! `touchmark verify`: checks a proof file, offline.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde_json::{Value as Json, json};

use super::{
    failure::{EXIT_PROOF_INVALID, EXIT_WITHHELD, Failure},
    output::{self, Out, clean, count},
    trust::{self, Trust},
};
use crate::{
    proof::{Outcome, Proven, verify},
    protocol::{grpc::value_to_pb, json::time_text},
    record::Value,
    tlog::{note::VerifierKey, tlog_proof::PROOF_BYTES_MAX},
};

/// Checks a proof and prints the facts that it proves. No node is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark verify gearbox.tlog-proof --key id.test/ledger+4f2a91c3+ATr…
  touchmark verify gearbox.tlog-proof --policy auditors.policy --json

Three things can come of it: the entry stands in the ledger and all its values are shown (exit code 0); it does, and some values
were withheld or erased (10); the file proves nothing, and why (11). A policy can ask for cosignatures of witnesses:

  log <verifier key of the ledger>
  witness <name> <verifier key of the witness>
  group <name> <number|any|all> <names>
  quorum <name of a witness or group, or none>")]
pub struct Args {
    /// The proof
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    trust: Trust,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if files cannot be read or a key is malformed; the result of the check shows in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let policy = args.trust.policy()?;
    let outcome = verify(&trust::read(&args.file, PROOF_BYTES_MAX)?, &policy);
    let mut out = Out::stdout();
    if args.json {
        out.line(to_json(&outcome))?
    } else {
        show(&mut out, &outcome)?
    }
    out.flush()?;
    Ok(match outcome {
        Outcome::Disclosed(_) => 0,
        Outcome::Withheld { .. } => EXIT_WITHHELD,
        Outcome::Invalid(_) => EXIT_PROOF_INVALID,
    })
}

fn show(out: &mut Out, outcome: &Outcome) -> Result<(), Failure> {
    match outcome {
        Outcome::Disclosed(proven) => {
            out.line("valid, and all values are shown")?;
            show_proven(out, proven)
        }
        Outcome::Withheld { proven, indexes } => {
            let list: Vec<String> = indexes.iter().map(u32::to_string).collect();
            out.line("valid, and values were withheld or erased")?;
            show_proven(out, proven)?;
            out.line(format_args!("  not shown     {}", list.join(", ")))
        }
        Outcome::Invalid(defect) => out.line(format_args!("invalid: {}", clean(&defect.to_string()))),
    }
}

fn show_proven(out: &mut Out, proven: &Proven) -> Result<(), Failure> {
    let checkpoint = &proven.accepted.checkpoint;
    let kind = proven.kind.as_str();
    let time = time_text(proven.time_ms);
    out.line(format_args!("  identifier    {}", clean(&proven.identifier)))?;
    out.line(format_args!("  entry         {kind}, {time}, by {}", clean(&proven.principal)))?;
    if let Some(previous) = proven.previous {
        out.line(format_args!("  follows on    ledger index {}", count(previous)))?;
    }
    let index = count(proven.index);
    let size = count(checkpoint.head.size);
    out.line(format_args!("  ledger        {}, index {index} of {size} entries", clean(&checkpoint.origin)))?;
    for key in &checkpoint.log_keys {
        out.line(format_args!("  signed with   {}", clean(&key.to_string())))?;
    }
    for (name, time) in &proven.accepted.witnesses {
        out.line(format_args!("  cosigned by   {}, {}", clean(name), time_text(time.saturating_mul(1_000))))?;
    }
    let values: Vec<_> = proven.values.iter().map(value_to_pb).collect();
    output::values(out, &values, |_| ' ')?;
    for keyword in ["edge", "output", "balance", "erased"] {
        for line in proven.lines_of(keyword) {
            out.line(format_args!("    {keyword} {}", clean(line)))?;
        }
    }
    if let Some(erasure) = &proven.erasure {
        out.line(format_args!("    reason {}", clean(erasure.reason.as_str())))?;
    }
    Ok(())
}

fn to_json(outcome: &Outcome) -> Json {
    match outcome {
        Outcome::Disclosed(proven) => proven_to_json("disclosed", proven, &[]),
        Outcome::Withheld { proven, indexes } => proven_to_json("withheld", proven, indexes),
        Outcome::Invalid(defect) => json!({ "outcome": "invalid", "reason": defect.to_string() }),
    }
}

fn proven_to_json(outcome: &str, proven: &Proven, withheld: &[u32]) -> Json {
    let checkpoint = &proven.accepted.checkpoint;
    let witnesses = proven.accepted.witnesses.iter();
    let witnesses: Vec<Json> =
        witnesses.map(|(name, time)| json!({ "name": name, "time": time_text(time.saturating_mul(1_000)) })).collect();
    json!({
        "outcome": outcome,
        "identifier": proven.identifier,
        "change": proven.kind.as_str(),
        "time": time_text(proven.time_ms),
        "by": proven.principal,
        "ledger_index": proven.index,
        "previous_index": proven.previous,
        "values": proven.values.iter().map(value_to_json).collect::<Vec<_>>(),
        "withheld": withheld,
        "edges": proven.lines_of("edge").collect::<Vec<_>>(),
        "outputs": proven.lines_of("output").collect::<Vec<_>>(),
        "balance": proven.lines_of("balance").next(),
        "erased": proven.lines_of("erased").next(),
        "reason": proven.erasure.as_ref().map(|erasure| erasure.reason.as_str()),
        "ledger": checkpoint.origin,
        "entries": checkpoint.head.size,
        "root": BASE64.encode(&checkpoint.head.root.0),
        "signed_with": checkpoint.log_keys.iter().map(VerifierKey::to_string).collect::<Vec<_>>(),
        "cosigned_by": witnesses,
    })
}

fn value_to_json(value: &Value) -> Json {
    let mut shown = json!({
        "index": value.index,
        "type": value.kind.as_str(),
        "ttl": value.ttl,
        "permissions": value.permissions.to_string(),
        "timestamp": time_text(value.timestamp.saturating_mul(1_000)),
    });
    match std::str::from_utf8(&value.data) {
        Ok(text) => shown["data"] = text.into(),
        Err(_) => shown["data_base64"] = BASE64.encode(&value.data).into(),
    }
    if !value.references.is_empty() {
        let reference = |reference: &crate::record::Reference| json!({ "identifier": reference.identifier.as_str(), "index": reference.index });
        shown["references"] = value.references.iter().map(reference).collect();
    }
    shown
}

//! `touchmark lookup`: all ledger entries of an identifier, or none, with proof that the list is complete.

use std::{fs, path::PathBuf};

use data_encoding::HEXLOWER;
use serde_json::json;

use super::{
    Server,
    failure::Failure,
    output::{self, Out, clean, count},
};
use crate::{
    client::Client,
    id::Identifier,
    protocol::{
        grpc::{lookup_from_pb, lookup_kind_to_pb, pb},
        json::{lookup_from_json, lookup_to_json},
        outcome::Outcome,
    },
    tlog::note::VerifierKey,
    vindex::{Lookup, LookupKind, Verified},
};

/// Maximum number of ledger indices printed for people.
const SHOWN_MAX: usize = 20;

/// Asks the verifiable index for all ledger entries of an identifier, and verifies the answer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark lookup 88.1000.LSN/GB120-3169 --key id.test/ledger+…
  touchmark lookup 88.1000.LSN/GB120-3169 --kind out --key id.test/ledger+… -o children.json
  touchmark lookup 88.1000.LSN/GB120-3169 --kind out --key id.test/ledger+… --file children.json

The answer is verified here, with the ledger's verifier key alone: signatures, the output log, the map proof. It holds up to a
size of the ledger, which is said; that nothing stands there is an answer, too (exit code 3).")]
pub struct Args {
    /// The identifier, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// The entries to look for: about the identifier (id), with edges from it (out), with edges to it (in)
    #[arg(long, value_name = "KIND", default_value = "id", value_parser = kind)]
    kind: LookupKind,
    /// The ledger's verifier key, which `touchmark serve` prints
    #[arg(long, value_name = "VKEY")]
    key: String,
    #[command(flatten)]
    server: Server,
    /// Verify this file, and ask no node
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    file: Option<PathBuf>,
    /// Write the answer with its proofs to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    output: Option<PathBuf>,
    /// Print the proven facts as JSON
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<LookupKind, String> {
    let found = LookupKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| "a kind is id, out or in".into())
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if there is no answer, or its proof is invalid; an empty answer shows in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let identifier = Identifier::parse(&args.identifier).map_err(|error| Failure::usage(error.to_string()))?;
    let verifier = VerifierKey::of_log(&args.key).map_err(|error| Failure::usage(error.to_string()))?;
    let lookup = match &args.file {
        Some(path) => read(path)?,
        None => ask(args)?,
    };
    let verified = lookup.verify(&args.kind.key(&identifier), &verifier);
    let verified = verified.map_err(|error| Failure::new(format!("the answer proves nothing: {error}")))?;
    if let Some(path) = &args.output {
        let written = fs::write(path, lookup_to_json(&lookup) + "\n");
        written.map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    if args.json {
        show_json(args, &verified)?
    } else {
        show(args, &verified)?
    }
    let outcome = if verified.indices.is_empty() { Outcome::NotFound } else { Outcome::Success };
    Ok(outcome.spelling().exit)
}

fn read(path: &PathBuf) -> Result<Lookup, Failure> {
    let json = fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    lookup_from_json(&json).map_err(|error| Failure::usage(format!("{} is no lookup: {error}", path.display())))
}

fn ask(args: &Args) -> Result<Lookup, Failure> {
    let kind = lookup_kind_to_pb(args.kind).into();
    let request = pb::LookupRequest { identifier: args.identifier.clone(), kind };
    let asked = super::block_on(async { Ok(Client::connect(&args.server.server).await?.lookup(request).await?) });
    lookup_from_pb(asked?).ok_or_else(|| Failure::new("the answer holds a hash that has not 32 bytes"))
}

fn show(args: &Args, verified: &Verified) -> Result<(), Failure> {
    let mut out = Out::stdout();
    let Verified { indices, covers, output } = verified;
    let identifier = clean(&args.identifier);
    let latest = indices.last().copied().unwrap_or_default();
    match (args.kind, indices.len() as u64) {
        (LookupKind::Id, 0) => out.line(format_args!("{identifier}: never registered"))?,
        (LookupKind::Out, 0) => out.line(format_args!("{identifier}: no entry has edges from it"))?,
        (LookupKind::In, 0) => out.line(format_args!("{identifier}: no entry has edges to it"))?,
        (LookupKind::Id, versions) => out.line(format_args!(
            "{identifier}: {} ledger entries are about it, these and no others; the latest is {}",
            count(versions),
            count(latest)
        ))?,
        (kind, entries) => {
            let way = if kind == LookupKind::Out { "from" } else { "to" };
            out.line(format_args!(
                "{identifier}: {} ledger entries have edges {way} it, these and no others",
                count(entries)
            ))?;
        }
    }
    if !indices.is_empty() {
        let first = indices.len().saturating_sub(SHOWN_MAX);
        let shown: Vec<String> = indices[first..].iter().map(u64::to_string).collect();
        let more = if first > 0 { "… " } else { "" };
        out.line(format_args!("  entries  {more}{}", shown.join(" ")))?;
    }
    let size = count(covers.size);
    let root = HEXLOWER.encode(&covers.root.0);
    out.line(format_args!(
        "  proved   as of {size} ledger entries, root {root}, leaf {} of the output log",
        output.size - 1
    ))?;
    out.flush()
}

fn show_json(args: &Args, verified: &Verified) -> Result<(), Failure> {
    output::line(json!({
        "identifier": args.identifier,
        "kind": args.kind.as_str(),
        "indices": verified.indices,
        "latest": verified.indices.last(),
        "covers_size": verified.covers.size,
        "covers_root": HEXLOWER.encode(&verified.covers.root.0),
        "output_log_size": verified.output.size,
    }))
}

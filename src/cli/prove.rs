//! `touchmark prove`: writes a proof of a ledger entry.

use std::path::PathBuf;

use super::{Server, failure::Failure, output::count, trust};
use crate::{
    client::Client,
    protocol::grpc::pb::{self, prove_request::Entry},
};

/// Writes a proof of an entry: its text, its place in the ledger, and the values to be shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark prove 88.1000.LSN/GB120-3169 -o gearbox.tlog-proof
  touchmark prove 88.1000.LSN/GB120-3169 --value 1 --value 10 -o name-and-noise.tlog-proof
  touchmark prove 4711 --none -o entry.tlog-proof

The file is a C2SP tlog-proof. Whoever has the ledger's verifier key checks it offline with `touchmark verify`; values that are not
shown stay secret, the entry holds salted commitments to them only. Cosignatures of witnesses come along once a checkpoint
that covers the entry has them, which takes a second.")]
pub struct Args {
    /// The identifier, in any written form, for its newest entry; or a ledger index
    #[arg(value_name = "ID|INDEX")]
    entry: String,
    /// Show only the value with this index; can be given several times
    #[arg(long, value_name = "N")]
    value: Vec<u32>,
    /// Show no value
    #[arg(long, conflicts_with = "value")]
    none: bool,
    /// The file to write [default: the standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if no node answers, the node refuses, or the file cannot be written.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let entry = match args.entry.parse() {
        Ok(index) if args.entry.bytes().all(|byte| byte.is_ascii_digit()) => Entry::LedgerIndex(index),
        _ => Entry::Identifier(args.entry.clone()),
    };
    let disclosure = if args.value.is_empty() && !args.none {
        pb::prove_request::Disclosure::Public
    } else {
        pb::prove_request::Disclosure::Listed
    };
    let request =
        pb::ProveRequest { entry: Some(entry), disclosure: disclosure.into(), value_indexes: args.value.clone() };
    let proof = super::block_on(async { Ok(Client::connect(&args.server.server).await?.prove(request).await?) })?;
    trust::write(args.output.as_deref(), &proof.write())?;
    if let Some(path) = &args.output {
        let signatures = proof.checkpoint.lines().filter(|line| line.starts_with('\u{2014}')).count();
        let entries =
            proof.checkpoint.lines().nth(1).and_then(|size| size.parse().ok()).map_or_else(String::new, count);
        super::output::line(format_args!(
            "{}: ledger index {}, checkpoint of {entries} entries with {signatures} signatures",
            path.display(),
            count(proof.index)
        ))?;
    }
    Ok(0)
}

//! `touchmark erase`: destroys values for good.

use super::{
    failure::Failure,
    parts::{self, WriteOptions},
};
use crate::protocol::grpc::pb;

/// Erases values of an identifier, in every version.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark erase 88.1000.LSN/C1-1 --index 3 --reason 'data subject request 2026-17'
  touchmark erase 88.1000.LSN/C1-1 --reason 'registered by mistake'

There is no way back. Without --index every value of every version goes, and the identifier is never given to anything else.
Everything that was signed stays valid: the ledger keeps the commitments, and destroys values and salts.

The reason stands in the ledger, public and for good: put nothing personal into it. Identifiers, types of values, edges and
times stay, too. Backups, exports and copies that others hold are out of reach: destroy those yourself.")]
pub struct Args {
    /// The identifier, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// Erase the value with this index alone, from every version that has it
    #[arg(long, value_name = "INDEX")]
    index: Option<u32>,
    /// The reason, in 1 to 200 bytes; public for good
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    options: WriteOptions,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let erase = pb::Erase { index: args.index, reason: args.reason.clone() };
    parts::apply(&args.identifier, pb::command::Operation::Erase(erase), &args.options, "erased")
}

//! `touchmark retire`: retires an identifier.

use super::{
    failure::Failure,
    parts::{self, WriteOptions},
};
use crate::protocol::grpc::pb;

/// Retires an identifier.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark retire 88.1000.LSN/C1-1
  touchmark retire 88.1000.LSN/C1-1 --expect-version 3

There is no way back: its history stays in the ledger, and the identifier is never given to anything else.")]
pub struct Args {
    /// The identifier, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    #[command(flatten)]
    options: WriteOptions,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn run(args: &Args) -> Result<u8, Failure> {
    parts::apply(&args.identifier, pb::command::Operation::Retire(pb::Retire {}), &args.options, "retired")
}

//! `touchmark register`: registers an identifier.

use super::{
    failure::Failure,
    parts::{self, ValueOptions, WriteOptions},
};
use crate::protocol::grpc::pb;

/// Registers an identifier.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark register 88.1000.LSN/C1-1 --value NAME=Carrier --value 'MASS=0.4 kg'
  touchmark register '(01)09506000134352(21)7' --value NAME=Pump \\
      --edge made-of=88.1000.LSN/C1-1,quantity=2,unit=unit:piece,from=2026-03-14T12:10:00Z
  touchmark register urn:oid:2.999.1 --value-file CERTIFICATE=cert.pem --request-id order-4711

Without indexes the values are numbered from 1. The receipt says where the ledger keeps the change.")]
pub struct Args {
    /// The identifier, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    #[command(flatten)]
    values: ValueOptions,
    /// A relation to another identifier: made-of, derived-from, packed-in, transferred-to, replaces
    #[arg(long = "edge", value_name = "TYPE=ID[,quantity=N][,unit=UNIT][,from=TIME]", value_parser = parts::edge)]
    edges: Vec<pb::Edge>,
    #[command(flatten)]
    options: WriteOptions,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let create = pb::Create { values: args.values.messages(), edges: args.edges.clone() };
    parts::apply(&args.identifier, pb::command::Operation::Create(create), &args.options, "registered")
}

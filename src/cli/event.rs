//! `touchmark event`: registers a transformation of inputs into outputs.

use super::{
    failure::Failure,
    parts::{self, ValueOptions, WriteOptions},
};
use crate::protocol::grpc::pb::{self, command::Operation};

/// Registers a transformation of inputs into outputs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark event 88.1000.LSN/MELT-7 --input 88.1000.LSN/COIL-1=10.5:unit:kilogram \\
      --output 88.1000.LSN/SHEET-1=6:unit:kilogram --output 88.1000.LSN/SHEET-2=4.5:unit:kilogram \\
      --balance unit:kilogram
  touchmark event 88.1000.LSN/REPACK-3 --input 88.1000.LSN/LOT-1 --output 88.1000.LSN/LOT-1A \\
      --output 88.1000.LSN/LOT-1B --value 'NAME=Repacked in Rotterdam'

The event is derived from every input, and every output is derived from the event: `touchmark trace` follows both. With
--balance the quantities in that unit have to come to the same on both sides, digit for digit. An event is never changed; one
that is wrong is retired, which withdraws it.")]
pub struct Args {
    /// The identifier of the event, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// An input, with its quantity
    #[arg(long = "input", value_name = "ID[=QUANTITY[:UNIT]]", required = true, value_parser = parts::flow)]
    inputs: Vec<pb::Flow>,
    /// An output, with its quantity
    #[arg(long = "output", value_name = "ID[=QUANTITY[:UNIT]]", required = true, value_parser = parts::flow)]
    outputs: Vec<pb::Flow>,
    /// Refuse unless the outputs sum up to as much as the inputs, in this unit
    #[arg(long, value_name = "UNIT")]
    balance: Option<String>,
    /// Start of validity of every input and output
    #[arg(long, value_name = "TIME", value_parser = crate::protocol::json::time_ms)]
    from: Option<i64>,
    #[command(flatten)]
    values: ValueOptions,
    #[command(flatten)]
    options: WriteOptions,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`], with the exit code of the refusal.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let dated = |flow: &pb::Flow| pb::Flow { valid_from: args.from, ..flow.clone() };
    let event = pb::Event {
        values: args.values.messages(),
        inputs: args.inputs.iter().map(dated).collect(),
        outputs: args.outputs.iter().map(dated).collect(),
        balance: args.balance.clone().unwrap_or_default(),
    };
    parts::apply(&args.identifier, Operation::Event(event), &args.options, "registered the event")
}

//! `touchmark rebuild`: a new index from the ledger.

use serde_json::json;

use super::{
    Data,
    failure::Failure,
    output::{self, count},
};
use crate::app;

/// Deletes the index and rebuilds it from the ledger, while no node runs on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark rebuild
  touchmark rebuild --data /var/lib/touchmark

The ledger is the truth: nothing is lost with the index. When this is broken off, run it again.")]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if the ledger cannot be read or the index cannot be written.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let config = args.data.config()?;
    super::start_logging(&config)?;
    let bar = output::bytes_bar(0);
    let report = app::rebuild(&config.data, &mut output::show_progress(&bar));
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        output::line(json!({ "entries": report.entries }))?;
    } else {
        output::line(format_args!("made the index again from {} ledger entries", count(report.entries)))?;
    }
    Ok(0)
}

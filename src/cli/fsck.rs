//! `touchmark fsck`: checks a data directory.

use serde::Serialize;

use super::{
    Data,
    failure::Failure,
    output::{self, Out, count},
};
use crate::app::{self, FsckReport};

/// Checks a data directory while no node runs on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark fsck
  touchmark fsck --data /var/lib/touchmark --json

Every ledger entry, the tree against the entries, the signatures, and the index against the ledger. The first bad entry
or file is named, and the exit code is 1 then.")]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    entries: u64,
    identifiers: u64,
    signed: u64,
    root: &'a str,
    torn_bytes: u64,
    index_entries: u64,
    index_sealed: bool,
    output_leaves: u64,
    verifier_key: &'a str,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] names the first bad entry or file.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let config = args.data.config()?;
    super::start_logging(&config)?;
    let bar = output::bytes_bar(0);
    let report = app::fsck(&config.data, &mut output::show_progress(&bar));
    bar.finish_and_clear();
    let FsckReport {
        entries,
        identifiers,
        signed,
        root,
        torn_bytes,
        index_entries,
        verifier_key,
        output_leaves,
        sealed,
    } = &report?;
    if args.json {
        let report = JsonReport {
            entries: *entries,
            identifiers: *identifiers,
            signed: *signed,
            root,
            torn_bytes: *torn_bytes,
            index_entries: *index_entries,
            index_sealed: *sealed,
            output_leaves: *output_leaves,
            verifier_key,
        };
        output::line(serde_json::to_string(&report).unwrap_or_default())?;
        return Ok(0);
    }
    let mut out = Out::stdout();
    out.line(format_args!("{} is sound", config.data.display()))?;
    out.line(format_args!("  ledger entries  {}, of which {} are signed for", count(*entries), count(*signed)))?;
    out.line(format_args!("  ledger key      {verifier_key}"))?;
    out.line(format_args!("  tree root       {root}"))?;
    out.line(format_args!("  identifiers     {}, and {} in the index", count(*identifiers), count(*index_entries)))?;
    out.line(format_args!("  output log      {} leaves of the verifiable index", count(*output_leaves)))?;
    if !sealed {
        out.line("  The index was not closed cleanly; what it says was compared, its files have no checksums.")?;
    }
    if *torn_bytes > 0 {
        out.line(format_args!(
            "  torn tail       {} bytes of a write that was cut off and never acknowledged; the next start cuts them",
            count(*torn_bytes)
        ))?;
    }
    out.flush()?;
    Ok(0)
}

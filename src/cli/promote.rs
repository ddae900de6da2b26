//! `touchmark promote`: turns a stopped mirror into a primary.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{
    failure::Failure,
    output::{self, Out, count},
};
use crate::{
    app::{self, Loss, PromoteReport},
    config::Config,
};

/// Turns the data directory of a stopped mirror into that of a primary.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark promote /var/lib/touchmark-mirror --key escrow/ledger-key
  touchmark promote /var/lib/touchmark-mirror --new-key --at-least newest-checkpoint

Everything is read and hashed again first: the mirror has to hold all that its primary signed, as far as it ever saw a checkpoint,
and every value that nobody erased. A checkpoint given with --at-least, from a receipt or from the primary, has to be covered, too.
What the primary acknowledged after all of these checkpoints cannot be known here, and is lost. With --accept-loss the mirror need
not hold what it saw a checkpoint of; how many entries are missing is printed. Make sure that the primary is stopped for
good: two nodes under one key are two histories. With --key the node has no verifiable index until the primary's `vindex` is copied into
the directory; until then nobody with `verify = latest` takes its answers. With --new-key the parent has to delegate to the key that
is printed. Start the node without --mirror-of.")]
#[command(group = clap::ArgGroup::new("signs").required(true).args(["key", "new_key"]))]
pub struct Args {
    /// The data directory of the mirror
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Go on under the primary's own key, from this file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Go on under a new key of the same name
    #[arg(long)]
    new_key: bool,
    /// A checkpoint that the mirror has to cover
    #[arg(long, value_name = "FILE")]
    at_least: Option<PathBuf>,
    /// Go on without entries that the primary signed and this mirror never received
    #[arg(long)]
    accept_loss: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] names the missing part; nothing is changed then.
pub fn run(args: &Args) -> Result<u8, Failure> {
    super::start_logging(&Config::default())?;
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
    };
    let at_least = args.at_least.as_ref().map(read).transpose()?;
    let bar = output::bytes_bar(0);
    let progress = &mut output::show_progress(&bar);
    let loss = if args.accept_loss { Loss::Accepted } else { Loss::Refused };
    let report = app::promote(&args.directory, args.key.as_deref(), at_least.as_deref(), loss, progress);
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        let PromoteReport { entries, signed, root, known, missing, at_least, old_key, verifier_key } = report;
        output::line(json!({
            "entries": entries,
            "signed": signed,
            "root": root,
            "known": known,
            "missing": missing,
            "at_least": at_least,
            "old_key": old_key,
            "verifier_key": verifier_key,
        }))?;
        return Ok(0);
    }
    print(args, &report)?;
    Ok(0)
}

fn print(args: &Args, report: &PromoteReport) -> Result<(), Failure> {
    let PromoteReport { entries, signed, root, known, missing, at_least, old_key, verifier_key } = report;
    let mut out = Out::stdout();
    out.line(format_args!("{} is a primary now", args.directory.display()))?;
    out.line(format_args!("  ledger entries  {}, each read and hashed again", count(*entries)))?;
    match missing {
        0 => {
            out.line(format_args!("  proved          all {} that its primary signed last are here", count(*signed)))?
        }
        missing => out.line(format_args!(
            "  LOST            {} of the {} that its primary signed are missing, which was accepted",
            count(*missing),
            count(*known)
        ))?,
    }
    out.line(format_args!(
        "  unknown         what the primary acknowledged after the checkpoint of {}",
        count(*known)
    ))?;
    out.line(format_args!("  tree root       {root}"))?;
    if let Some(size) = at_least {
        out.line(format_args!("  at least        the {} of the checkpoint given, and the same", count(*size)))?;
    }
    out.line(format_args!("  ledger key      {verifier_key}"))?;
    if verifier_key == old_key {
        out.line("  The key is the primary's: if that signed more than is known here, one key signs two histories.")?;
        out.line(format_args!(
            "  There is no verifiable index: its output log would contradict the primary's. Copy the primary's `vindex` to\n  {} before \
             the start; without it nobody with `verify = latest` takes the answers.",
            args.directory.join("vindex").display()
        ))?;
    } else {
        out.line(format_args!("  before          {old_key}"))?;
        out.line("  The key is new: the parent has to delegate to it, and witnesses and auditors have to know it.")?;
    }
    out.line(format_args!(
        "\n`touchmark serve --data {}`, without `--mirror-of`, starts it.",
        args.directory.display()
    ))?;
    out.flush()
}

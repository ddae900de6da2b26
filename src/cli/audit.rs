//! `touchmark audit`: a whole log, recomputed from its entries.

use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;

use super::{
    failure::Failure,
    output::{self, Out, clean, count},
};
use crate::{
    app::{self, AuditReport, Audited, Content, IndexReport},
    tlog::note::VerifierKey,
};

/// Audits a log: tree, signatures, entries, and the verifiable index against every leaf of its output log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark audit touchmark-data
  touchmark audit http://127.0.0.1:8000/log --index http://127.0.0.1:8000/vindex --key id.test/ledger+…
  touchmark audit https://log.example/2026 --key log.example/2026+… --json

A directory is a data directory on which no node runs; its own key counts when none is given. A URL is the base of a log's
tiles (C2SP tlog-tiles); of a log whose entries are not ours, tree and signature are checked. The first difference is named with
its index, and the exit code is 1 then.")]
pub struct Args {
    /// A data directory, or the URL of a log
    #[arg(value_name = "URL|DIR")]
    target: String,
    /// The log's verifier key
    #[arg(long, value_name = "VKEY")]
    key: Option<String>,
    /// The URL of the output log of the log's verifiable index
    #[arg(long, value_name = "URL")]
    index: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] names the first difference.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let verifier = args.key.as_deref().map(VerifierKey::of_log).transpose();
    let verifier = verifier.map_err(|error| Failure::usage(error.to_string()))?;
    let is_url = ["http://", "https://"].iter().any(|scheme| args.target.starts_with(scheme));
    if args.index.is_some() && !is_url {
        return Err(Failure::usage("--index goes with a URL; a directory's own index is audited anyway"));
    }
    let bar = output::bytes_bar(0);
    let mut progress = |Audited { done, total }| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(format!("{} of {} entries", count(done), count(total)));
    };
    let report = if is_url {
        app::audit_url(&args.target, args.index.as_deref(), verifier.as_ref(), &mut progress)
    } else {
        app::audit_directory(Path::new(&args.target), verifier.as_ref(), &mut progress)
    };
    bar.finish_and_clear();
    let report = report?;
    // A directory contains its own key, so its signatures are always checked.
    let signature = if verifier.is_some() || !is_url { Signature::Checked } else { Signature::NotChecked };
    if args.json {
        show_json(&report, signature)?
    } else {
        show(&args.target, &report, signature)?
    }
    Ok(0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signature {
    Checked,
    NotChecked,
}

fn show(target: &str, report: &AuditReport, signature: Signature) -> Result<(), Failure> {
    let AuditReport { origin, entries, root, content, index } = report;
    let mut out = Out::stdout();
    out.line(format_args!("{} is sound", clean(target)))?;
    out.line(format_args!("  log          {}", clean(origin)))?;
    out.line(format_args!("  entries      {}, root {}", count(*entries), BASE64.encode(&root.0)))?;
    out.line(match signature {
        Signature::Checked => "  signatures   checked",
        Signature::NotChecked => "  signatures   not checked: no --key was given",
    })?;
    match content {
        Content::Ours { identifiers } => {
            out.line(format_args!("  identifiers  {}, each entry well-formed and in its place", count(*identifiers)))?;
        }
        Content::Foreign => {
            out.line("  content      of another program: tree and signature were checked, nothing else")?
        }
    }
    match index {
        Some(IndexReport { leaves, covers, keys }) => out.line(format_args!(
            "  index        {} keys over {} entries, as all {} leaves of the output log say",
            count(*keys),
            count(*covers),
            count(*leaves)
        ))?,
        None => out.line("  index        not audited")?,
    }
    out.flush()
}

fn show_json(report: &AuditReport, signature: Signature) -> Result<(), Failure> {
    let identifiers = match report.content {
        Content::Ours { identifiers } => Some(identifiers),
        Content::Foreign => None,
    };
    let index =
        report.index.map(|index| json!({ "leaves": index.leaves, "covers_size": index.covers, "keys": index.keys }));
    output::line(json!({
        "origin": report.origin,
        "entries": report.entries,
        "root": HEXLOWER.encode(&report.root.0),
        "signatures_checked": signature == Signature::Checked,
        "identifiers": identifiers,
        "index": index,
    }))
}

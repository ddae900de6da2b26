//! `touchmark history`: every version of an identifier, and the differences that each change made.

use super::{
    Server,
    failure::Failure,
    output::{self, Out, clean, count},
};
use crate::{
    client::Client,
    protocol::{
        grpc::{
            HISTORY_LIMIT_DEFAULT,
            pb::{self, value_difference, version_change},
        },
        json::{change_to_json, time_text},
        outcome::Outcome,
    },
};

/// Shows the versions of an identifier, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark history 88.1000.LSN/GB120-3169
  touchmark history 88.1000.LSN/GB120-3169 --limit 1000 --json
  touchmark history 88.1000.LSN/GB120-3169 --before 4711

A version says what the record held then (`touchmark resolve --as-of INDEX` shows one alone), which values came (+), changed
(~) and went (-) with it, and which edges. Of values that were erased later on it says that they were there.")]
pub struct Args {
    /// The identifier, in any written form
    #[arg(value_name = "ID")]
    identifier: String,
    /// The most versions to show, 1 to 1,000
    #[arg(long, value_name = "N", default_value_t = HISTORY_LIMIT_DEFAULT)]
    limit: u32,
    /// Only versions before this ledger index
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    #[command(flatten)]
    server: Server,
    /// Print one JSON object for each version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if no node answers or the node refuses; an identifier without versions shows in the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let request =
        pb::HistoryRequest { identifier: args.identifier.clone(), limit: Some(args.limit), before: args.before };
    let asked = super::block_on(async { Ok(Client::connect(&args.server.server).await?.history(request).await?) });
    let pb::HistoryResponse { versions, next_before } = asked?;
    let mut out = Out::stdout();
    for change in &versions {
        if args.json { out.line(change_to_json(change))? } else { show(&mut out, change)? }
    }
    out.flush()?;
    match (versions.is_empty(), next_before) {
        (true, _) => {
            let word = Outcome::NotFound.spelling().word;
            eprintln!("{}: {word}", clean(&args.identifier));
            Ok(Outcome::NotFound.spelling().exit)
        }
        (false, Some(before)) => {
            eprintln!("there are earlier versions: --before {before}");
            Ok(0)
        }
        (false, None) => Ok(0),
    }
}

fn show(out: &mut Out, change: &pb::VersionChange) -> Result<(), Failure> {
    let record = change.record.clone().unwrap_or_default();
    let kind = word(change.kind());
    let version = record.version;
    let index = count(record.ledger_index);
    let time = time_text(record.time);
    out.line(format_args!("version {version}: {kind}, ledger index {index}, {time}, by {}", clean(&change.by)))?;
    output::values(out, &record.values, |index| mark(change, index))?;
    if let Some(pb::Erasure { index, reason }) = &change.erasure {
        let what =
            index.map_or("every value of every version".into(), |index| format!("value {index} of every version"));
        out.line(format_args!("    {what} was erased: {}", clean(reason)))?;
    }
    for gone in differences(change, value_difference::Kind::Removed) {
        out.line(format_args!("  - {gone:>4}"))?;
    }
    for (sign, edges) in [('+', &change.edges_added), ('-', &change.edges_removed)] {
        for edge in edges {
            out.line(format_args!("  {sign} {}", output::edge(edge)))?;
        }
    }
    output::outputs(out, &record)?;
    if !record.values_erased.is_empty() {
        out.line(format_args!("    {}", output::erased(&record.values_erased)))?;
    }
    if change.values_withheld > 0 {
        out.line(format_args!("    and {} values that are not public", change.values_withheld))?;
    }
    Ok(())
}

fn word(kind: version_change::Kind) -> &'static str {
    match kind {
        version_change::Kind::Create => "created",
        version_change::Kind::Update => "updated",
        version_change::Kind::Retire => "retired",
        version_change::Kind::Event => "registered as an event",
        version_change::Kind::Erase => "erased",
        version_change::Kind::Unspecified => "changed",
    }
}

fn differences(change: &pb::VersionChange, kind: value_difference::Kind) -> impl Iterator<Item = u32> {
    change.differences.iter().filter(move |difference| difference.kind() == kind).map(|difference| difference.index)
}

/// The mark of a value in a version: added, changed or unchanged.
fn mark(change: &pb::VersionChange, index: u32) -> char {
    let is = |kind| differences(change, kind).any(|changed| changed == index);
    if is(value_difference::Kind::Added) {
        '+'
    } else if is(value_difference::Kind::Changed) {
        '~'
    } else {
        ' '
    }
}

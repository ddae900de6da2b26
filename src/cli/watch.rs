//! `touchmark watch`: shows changes as they are made.

use std::time::Duration;

use super::{
    Server,
    failure::Failure,
    output::{Out, clean, count},
};
use crate::{
    client::Client,
    protocol::{
        grpc::pb::{self, change_event::Event},
        json::{change_to_json, change_word, prefix_to_json, prefix_word, time_text},
    },
};

/// Maximum time that lines wait for more before they are flushed.
const FLUSH_AFTER: Duration = Duration::from_millis(20);

/// Shows every change from a ledger index on, then every new one, until it is stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark watch
  touchmark watch --from 0 --json > changes.jsonl
  touchmark watch --from 4711 --prefix 88.118

A prefix covers what is below it label by label: `88.118` (or `hdl:88.118`) the Handles of 88.118 and 88.118.8, and not those of
88.1180; an OID the arcs below it; a GS1 key its lots and serial numbers; a URI what stands behind it.
When the node goes away, the last line says where to go on.")]
pub struct Args {
    /// The first ledger index to show [default: the next one]
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Only identifiers below this prefix
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    server: Server,
    /// Print one JSON object for each change
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if no node answers, the node refuses, or the connection ends: a feed has no end of its own.
pub fn run(args: &Args) -> Result<u8, Failure> {
    super::block_on(watch(args))
}

async fn watch(args: &Args) -> Result<u8, Failure> {
    let request = pb::WatchRequest { from_index: args.from, prefix: args.prefix.clone() };
    let client = Client::connect(&args.server.server).await?;
    let mut changes = client.watch(request).await?;
    let mut out = Out::stdout();
    let mut next = args.from;
    loop {
        // A timeout loses nothing: a message that has arrived in part stays in the stream.
        let waited = tokio::time::timeout(FLUSH_AFTER, changes.next()).await;
        let event = match waited {
            Ok(event) => event,
            Err(_) => {
                out.flush()?;
                changes.next().await
            }
        };
        match event {
            Ok(Some(pb::ChangeEvent { event: Some(Event::Change(change)) })) => {
                next = change.record.as_ref().map(|record| record.ledger_index + 1).or(next);
                out.line(if args.json { change_to_json(&change) } else { shown(&change) })?;
            }
            Ok(Some(pb::ChangeEvent { event: Some(Event::Progress(progress)) })) => next = Some(progress.next_index),
            Ok(Some(pb::ChangeEvent { event: Some(Event::Prefix(state)) })) => {
                next = Some(state.ledger_index + 1);
                out.line(if args.json { prefix_to_json(&state) } else { shown_prefix(&state) })?;
            }
            // An event of a kind unknown to this version is skipped.
            Ok(Some(pb::ChangeEvent { event: None })) => {}
            Ok(None) => return Err(ended(&mut out, next, Failure::new("the node ended the feed"))),
            Err(error) => return Err(ended(&mut out, next, error.into())),
        }
    }
}

/// Prints the remaining lines, and adds the index to continue from to the failure.
fn ended(out: &mut Out, next: Option<u64>, failure: Failure) -> Failure {
    if let Err(failure) = out.flush() {
        return failure;
    }
    let Some(next) = next else { return failure };
    let message = failure.message.map(|message| format!("{message}; go on with --from {next}"));
    Failure { message, ..failure }
}

fn shown_prefix(state: &pb::PrefixState) -> String {
    let index = count(state.ledger_index);
    let time = time_text(state.time);
    let word = prefix_word(state);
    let prefix = clean(&state.prefix);
    let by = clean(&state.by);
    format!("{index:>12}  {time}  {word:<6}  {prefix}, version {}, by {by}", state.version)
}

fn shown(change: &pb::VersionChange) -> String {
    let record = change.record.clone().unwrap_or_default();
    let index = count(record.ledger_index);
    let time = time_text(record.time);
    let word = change_word(change);
    let identifier = clean(&record.identifier);
    let by = clean(&change.by);
    format!("{index:>12}  {time}  {word:<6}  {identifier}, version {}, by {by}", record.version)
}

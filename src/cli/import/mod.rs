//! `touchmark import`: registers many records from files.
//!
//! ```text
//! thread: lines -> commands, encoded --(bounded)--> tasks: ApplyBatch, 4 under way --> results, line by line
//! ```
//!
//! Registration is idempotent: a record that is registered already with the same content counts as done. So an
//! interrupted import is continued by running it again. With `--all-or-nothing` everything goes in one batch
//! ([`whole`]).

mod send;
mod source;
mod whole;

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    Server,
    failure::Failure,
    output::{self, Out, count},
};
use crate::{
    client::{Client, ClientError},
    protocol::outcome::Outcome,
    registry::BATCH_COMMANDS_MAX,
};
use source::Chunk;
pub use source::{Format, Input, Source};

/// Maximum number of chunks that wait between reading and sending.
const CHUNKS_AHEAD: usize = 2;
/// Maximum number of failed lines printed for people; the others are counted.
const FAILURES_SHOWN_MAX: u64 = 100;
/// Commands in a batch, unless the arguments give another number.
pub const BATCH_COMMANDS_DEFAULT: usize = 2_000;

/// Registers the records of files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark import parts.jsonl lots.csv
  zcat parts.jsonl.gz | touchmark import -
  touchmark export | touchmark import - --server 127.0.0.1:50052

A line: {\"identifier\":\"88.1000.LSN/GB120-3169\",\"values\":[{\"type\":\"NAME\",\"data\":\"Gearbox\"}]}
A CSV file begins with its columns: identifier,NAME,MASS

A line that fails is named on the standard error output, and the others are registered; the exit code is 2 then.
What is registered already with the same content is left as it is: run an import again to continue it.

With --all-or-nothing no line is registered when one fails, and all of them are in one ledger batch otherwise; that takes
up to 10,000 records of 16 MiB. Running such an import again registers nothing twice.")]
pub struct Args {
    /// Files to read; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// The format of the records [default: csv for files that end in .csv, else jsonl]
    #[arg(long)]
    format: Option<Format>,
    /// Records to send at once, 1 to 10,000
    #[arg(long, value_name = "N", default_value_t = BATCH_COMMANDS_DEFAULT, value_parser = batch)]
    batch: usize,
    /// Register all records or, when a line fails, none of them
    #[arg(long, conflicts_with = "batch")]
    all_or_nothing: bool,
    /// Print every failed line and the summary as one JSON object each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

fn batch(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=BATCH_COMMANDS_MAX).contains(number));
    number.ok_or_else(|| format!("not a number from 1 to {BATCH_COMMANDS_MAX}"))
}

/// A line whose record could not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedLine {
    /// The name of the file.
    pub source: String,
    /// The line, from 1; 0 for a failure of the whole file.
    pub line: u64,
    /// The identifier, if it could be read.
    pub identifier: Option<String>,
    /// The outcome.
    pub outcome: Outcome,
    /// A sentence with the identifier, the rule and the limit.
    pub reason: String,
}

impl fmt::Display for FailedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, reason, .. } = self;
        let reason = output::clean(reason);
        if *line == 0 { write!(f, "{source}: {reason}") } else { write!(f, "{source}:{line}: {reason}") }
    }
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    file: &'a str,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<&'a str>,
    status: &'static str,
    reason: &'a str,
}

#[derive(Serialize)]
struct JsonSummary {
    registered: u64,
    already_registered: u64,
    failed: u64,
    #[serde(skip_serializing_if = "is_none")]
    withdrawn: u64,
    seconds: f64,
    records_per_second: u64,
}

/// True if a count is left out of the JSON.
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Progress, and failures for people.
    People,
    /// Failures as JSON on the standard output.
    Json,
    /// Failures only.
    Quiet,
}

/// Counters of an import, and its output.
#[derive(Debug)]
pub struct Report {
    show: Show,
    bar: ProgressBar,
    started: Instant,
    registered: u64,
    already: u64,
    failed: u64,
    /// Records that could have been registered, and were not because others failed.
    withdrawn: u64,
    /// The failure of the standard output, if it takes no more.
    broken: Option<Failure>,
}

impl Report {
    fn new(show: Show, bytes: Option<u64>) -> Self {
        let bar = match (show, bytes) {
            (Show::People, Some(bytes)) => output::bytes_bar(bytes),
            (Show::People, None) => ProgressBar::new_spinner(),
            (Show::Json | Show::Quiet, _) => ProgressBar::hidden(),
        };
        Self { show, bar, started: Instant::now(), registered: 0, already: 0, failed: 0, withdrawn: 0, broken: None }
    }

    /// Adds the result of a chunk.
    fn add(&mut self, sent: send::ChunkResult) {
        self.registered += sent.registered;
        self.already += sent.already;
        self.withdrawn += sent.withdrawn;
        for failure in &sent.failed {
            self.failed += 1;
            self.show_failure(failure);
        }
        self.bar.inc(sent.bytes);
        self.bar.set_message(format!(
            "{} records, {}/s, {} failed",
            count(self.registered + self.already),
            count(self.per_second()),
            count(self.failed)
        ));
    }

    fn show_failure(&mut self, failure: &FailedLine) {
        if self.show == Show::Json {
            let FailedLine { source, line, identifier, outcome, reason } = failure;
            let status = outcome.spelling().word;
            let failure = JsonFailure { file: source, line: *line, identifier: identifier.as_deref(), status, reason };
            let printed = output::line(serde_json::to_string(&failure).unwrap_or_default());
            self.broken = self.broken.take().or(printed.err());
        } else if self.failed <= FAILURES_SHOWN_MAX {
            self.bar.suspend(|| eprintln!("{failure}"));
        }
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().max(Duration::from_millis(1)).as_secs_f64()
    }

    fn per_second(&self) -> u64 {
        ((self.registered + self.already) as f64 / self.seconds()) as u64
    }

    /// The totals, for people.
    fn summary(&self) -> String {
        let mut text = format!("registered {} records", count(self.registered));
        if self.already > 0 {
            text += &format!(", resumed: {} were already registered", count(self.already));
        }
        if self.failed > 0 {
            text += &format!(", {} failed", count(self.failed));
        }
        if self.withdrawn > 0 {
            text += &format!(", and the other {} are left out with them", count(self.withdrawn));
        }
        text + &format!(", in {:.1} s ({} a second)", self.seconds(), count(self.per_second()))
    }

    fn print(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        if self.show == Show::People && self.failed > FAILURES_SHOWN_MAX {
            eprintln!("… and {} more lines failed", count(self.failed - FAILURES_SHOWN_MAX));
        }
        let mut out = Out::stdout();
        match self.show {
            Show::People => out.line(self.summary())?,
            Show::Quiet => {}
            Show::Json => out.line(
                serde_json::to_string(&JsonSummary {
                    registered: self.registered,
                    already_registered: self.already,
                    failed: self.failed,
                    withdrawn: self.withdrawn,
                    seconds: self.seconds(),
                    records_per_second: self.per_second(),
                })
                .unwrap_or_default(),
            )?,
        }
        out.flush()?;
        self.broken.map_or(Ok(()), Err)
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if a file cannot be opened or the node cannot be reached; failed lines are no error, and show in the
/// exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let sources: Vec<Source> = args.files.iter().map(|name| Source::named(name, args.format)).collect();
    let show = if args.json { Show::Json } else { Show::People };
    super::block_on(async {
        let client = Client::connect(&args.server.server).await?;
        let failed = match args.all_or_nothing {
            true => whole::import(&client, sources, show).await?,
            false => import(&client, sources, args.batch, show).await?,
        };
        Ok(if failed == 0 { 0 } else { Outcome::Invalid.spelling().exit })
    })
}

/// Registers the records of sources; returns the number of failed lines.
///
/// # Errors
///
/// [`Failure`] if a file cannot be opened or the node cannot be reached.
pub async fn import(client: &Client, sources: Vec<Source>, batch: usize, show: Show) -> Result<u64, Failure> {
    let mut report = Report::new(show, total_bytes(&sources)?);
    let (reader, chunks) = read(sources, batch)?;
    if let Err(error) = send::send_all(client, chunks, &mut report).await {
        // The reader may wait for an input that never comes; it ends with the process, or when it next sends a chunk.
        report.print()?;
        return Err(with_advice(error).into());
    }
    // All chunks were taken, so the reader is at its end.
    let _ = reader.join();
    let failed = report.failed;
    report.print()?;
    Ok(failed)
}

/// Number of bytes in all sources together, if it is known in advance.
fn total_bytes(sources: &[Source]) -> Result<Option<u64>, Failure> {
    let mut bytes = Some(0);
    for source in sources {
        let size = source.bytes().map_err(|error| Failure::new(format!("cannot read {}: {error}", source.name)))?;
        bytes = bytes.zip(size).map(|(sum, size)| sum + size);
    }
    Ok(bytes)
}

/// Reads sources on a thread of its own, in chunks of up to `batch` commands.
fn read(sources: Vec<Source>, batch: usize) -> Result<(thread::JoinHandle<()>, mpsc::Receiver<Chunk>), Failure> {
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let reader = thread::Builder::new().name("import".into()).spawn(move || source::read_all(sources, batch, sender));
    Ok((reader.map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?, chunks))
}

/// Adds advice to an error: how to continue.
fn with_advice(error: ClientError) -> ClientError {
    let advice = |reason: &str| format!("{reason}; running the import again continues it");
    match error {
        ClientError::Unreachable { server, reason } => {
            ClientError::Unreachable { server, reason: advice(&format!("the connection was lost: {reason}")) }
        }
        ClientError::Refused { code, message } => ClientError::Refused { code, message: advice(&message) },
        ClientError::Address { .. } | ClientError::Protocol { .. } | ClientError::Log { .. } => error,
    }
}

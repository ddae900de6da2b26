//! `touchmark export`: writes every record as a line.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{Server, failure::Failure};
use crate::{
    client::Client,
    id::Scheme,
    protocol::{grpc::pb, json::record_to_json},
};

/// Bytes written to a file at a time.
const WRITE_BYTES: usize = 256 << 10;

/// Writes all records as JSON lines, in the order of their keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark export > records.jsonl
  touchmark export --scheme gs1 -o gs1.jsonl
  touchmark export | jq -r .identifier

A line is what `touchmark import` reads.")]
pub struct Args {
    /// Only records of this scheme: handle, oid, gs1, uri
    #[arg(long)]
    scheme: Option<Scheme>,
    /// Write retired records, too; they say so in their status, and `import` refuses them
    #[arg(long)]
    retired: bool,
    /// Write to this file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`]; the records written so far are incomplete then.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let scheme = args.scheme.map_or("", Scheme::as_str);
    super::block_on(async {
        let client = Client::connect(&args.server.server).await?;
        let mut records = client.export(scheme).await?;
        let mut output = Output::open(args.output.as_deref())?;
        while let Some(record) = records.next().await? {
            if args.retired || record.status() == pb::Status::Active {
                output.line(&record_to_json(&record))?;
            }
        }
        output.finish()?;
        Ok(0)
    })
}

/// A file or the standard output.
struct Output<'a> {
    writer: BufWriter<Box<dyn Write>>,
    path: Option<&'a Path>,
}

impl<'a> Output<'a> {
    fn open(path: Option<&'a Path>) -> Result<Self, Failure> {
        let writer: Box<dyn Write> = match path {
            Some(path) => Box::new(File::create(path).map_err(|error| failed(Some(path), &error))?),
            None => Box::new(io::stdout().lock()),
        };
        Ok(Self { writer: BufWriter::with_capacity(WRITE_BYTES, writer), path })
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let written = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| failed(self.path, &error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| failed(self.path, &error))
    }
}

fn failed(path: Option<&Path>, error: &io::Error) -> Failure {
    match path {
        Some(path) => Failure::new(format!("cannot write {}: {error}", path.display())),
        None => Failure::stdout(error),
    }
}

//! Reads files into batches of commands, on a thread of its own, so that reading overlaps with sending.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use tokio::sync::mpsc;

use super::FailedLine;
use crate::protocol::{
    csv::CsvRows,
    grpc::CommandBatch,
    json::{LINE_BYTES_MAX, create_from_line},
    outcome::Outcome,
};

/// Length at which a batch is complete, in bytes, however few commands it has; with one more line it still fits a
/// request.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes read from a file at a time.
const READ_BYTES: usize = 256 << 10;
/// Length of a record that most files stay below, in bytes; batches are allocated for that.
const RECORD_BYTES_USUAL: usize = 384;

/// Format of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values; the first line names the columns: `identifier`, then value types.
    Csv,
}

/// A source of records.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name of the source in failures.
    pub name: String,
    /// Format of the records.
    pub format: Format,
    /// The input with its bytes.
    pub input: Input,
}

/// Input of a source.
#[derive(Clone, Debug)]
pub enum Input {
    /// The standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A text in memory.
    Text(&'static str),
}

/// Commands of one source, with their lines.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The name of the source.
    pub source: String,
    /// The commands.
    pub batch: CommandBatch,
    /// The line of each command, from 1.
    pub lines: Vec<u64>,
    /// Lines that gave no command.
    pub refused: Vec<FailedLine>,
    /// Bytes of the source that the chunk covers.
    pub bytes: u64,
}

impl Source {
    /// A file as named on the command line; `-` is the standard input. Without a format, the file's extension tells it.
    pub fn named(name: &str, format: Option<Format>) -> Self {
        let csv = Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let format = format.unwrap_or(if csv { Format::Csv } else { Format::Jsonl });
        let input = if name == "-" { Input::Stdin } else { Input::File(name.into()) };
        Self { name: if name == "-" { "stdin".into() } else { name.into() }, format, input }
    }

    /// Length of the source in bytes; `None` if it is unknown in advance.
    ///
    /// # Errors
    ///
    /// The system's error about the file.
    pub fn bytes(&self) -> io::Result<Option<u64>> {
        match &self.input {
            Input::Stdin => Ok(None),
            Input::Text(text) => Ok(Some(text.len() as u64)),
            // Opened, so that an unreadable file is found before anything is registered.
            Input::File(path) => {
                let metadata = File::open(path)?.metadata()?;
                if metadata.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok(metadata.is_file().then_some(metadata.len()))
            }
        }
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match &self.input {
            Input::Stdin => Box::new(io::stdin()),
            Input::Text(text) => Box::new(text.as_bytes()),
            Input::File(path) => Box::new(File::open(path)?),
        })
    }
}

/// Reads sources one after the other and sends chunks of up to `commands_max` commands, until all is read or the
/// receiver is gone.
pub fn read_all(sources: Vec<Source>, commands_max: usize, chunks: mpsc::Sender<Chunk>) {
    let mut output = Output { chunks, commands_max, gone: false, chunk: Chunk::default(), chunk_start: 0 };
    for source in &sources {
        output.begin(&source.name);
        let read = source.open().map_err(|error| error.to_string());
        let read = read.and_then(|input| match source.format {
            Format::Jsonl => read_json(input, &mut output),
            Format::Csv => read_csv(input, &mut output),
        });
        if let Err(reason) = read {
            output.refuse(0, None, format!("the file cannot be read on: {reason}"));
        }
        output.hand_out(None);
        if output.gone {
            return;
        }
    }
}

fn read_json(input: Box<dyn Read>, output: &mut Output) -> Result<(), String> {
    let mut reader = BufReader::with_capacity(READ_BYTES, input);
    let mut line = Vec::new();
    let mut number = 0;
    let mut position = 0;
    while !output.gone {
        line.clear();
        // One byte over the limit tells a longer line from one at the limit.
        let limit = LINE_BYTES_MAX as u64 + 1;
        let taken = reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if taken == 0 {
            break;
        }
        number += 1;
        position += taken as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if taken > LINE_BYTES_MAX {
            position += reader.skip_until(b'\n').map_err(|error| error.to_string())? as u64;
            output.refuse(number, None, format!("the line is longer than the limit of {LINE_BYTES_MAX} bytes"));
            continue;
        }
        let mut text = line.as_slice();
        if number == 1 {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        match create_from_line(text, &mut output.chunk.batch) {
            Ok(()) => output.added(number, position),
            Err(error) => output.refuse(number, error.identifier.clone(), error.to_string()),
        }
    }
    output.chunk.bytes = position - output.chunk_start;
    Ok(())
}

fn read_csv(input: Box<dyn Read>, output: &mut Output) -> Result<(), String> {
    let mut rows = CsvRows::new(input).map_err(|error| error.to_string())?;
    while !output.gone {
        let row = rows.next_row(&mut output.chunk.batch).map_err(|error| error.to_string())?;
        match row {
            None => break,
            Some(row) => match row.refused {
                None => output.added(row.line, rows.bytes_read()),
                Some(reason) => output.refuse(row.line, None, reason),
            },
        }
    }
    output.chunk.bytes = rows.bytes_read().saturating_sub(output.chunk_start);
    Ok(())
}

/// Fills chunks and sends them.
struct Output {
    chunks: mpsc::Sender<Chunk>,
    commands_max: usize,
    /// True once the receiver of chunks is gone.
    gone: bool,
    chunk: Chunk,
    /// Offset in the source where the chunk starts, in bytes.
    chunk_start: u64,
}

impl Output {
    fn begin(&mut self, source: &str) {
        self.chunk = self.empty(source.to_owned());
        self.chunk_start = 0;
    }

    fn empty(&self, source: String) -> Chunk {
        let batch = CommandBatch::with_capacity((self.commands_max * RECORD_BYTES_USUAL).min(BATCH_BYTES));
        Chunk { source, batch, lines: Vec::with_capacity(self.commands_max), ..Chunk::default() }
    }

    /// Records a command from the line that ends at `position`.
    fn added(&mut self, line: u64, position: u64) {
        self.chunk.lines.push(line);
        if self.chunk.lines.len() >= self.commands_max || self.chunk.batch.bytes_len() >= BATCH_BYTES {
            self.hand_out(Some(position));
        }
    }

    fn refuse(&mut self, line: u64, identifier: Option<String>, reason: String) {
        let source = self.chunk.source.clone();
        self.chunk.refused.push(FailedLine { source, line, identifier, outcome: Outcome::Invalid, reason });
        // Failures are bounded, too, in a file that holds nothing else.
        if self.chunk.refused.len() >= self.commands_max {
            self.hand_out(None);
        }
    }

    /// Sends the chunk and begins another, at `position` if that is given.
    fn hand_out(&mut self, position: Option<u64>) {
        if let Some(position) = position {
            self.chunk.bytes = position - self.chunk_start;
            self.chunk_start = position;
        }
        let next = self.empty(self.chunk.source.clone());
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.gone |= self.chunks.blocking_send(chunk).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a text: `lines` of each chunk, refusals, and the bytes of all chunks.
    fn read(format: Format, commands_max: usize, text: &'static str) -> (Vec<Vec<u64>>, Vec<String>, u64) {
        let (sender, mut receiver) = mpsc::channel(100);
        let source = Source { name: "t".into(), format, input: Input::Text(text) };
        read_all(vec![source], commands_max, sender);
        let (mut lines, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Ok(chunk) = receiver.try_recv() {
            assert_eq!(chunk.batch.len(), chunk.lines.len());
            refused.extend(chunk.refused.iter().map(FailedLine::to_string));
            bytes += chunk.bytes;
            lines.push(chunk.lines);
        }
        (lines, refused, bytes)
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = concat!(
            "\u{feff}{\"identifier\":\"88.1/a\",\"values\":[]}\n",
            "\n",
            "{\"identifier\":\"88.1/b\",\"val\n",
            "{\"identifier\":\"88.1/c\",\"values\":[]}\r\n",
            "{\"identifier\":\"88.1/d\",\"values\":[{\"type\":\"T\"}]}\n",
            "{\"identifier\":\"88.1/e\",\"values\":[]}",
        );
        let (lines, refused, bytes) = read(Format::Jsonl, 2, text);
        assert_eq!(lines, [vec![1, 4], vec![6]]);
        assert_eq!(
            refused,
            [
                "t:3: column 27: the line is cut off: EOF while parsing a string",
                "t:5: `88.1/d`: value `T` has neither data nor data_base64",
            ]
        );
        assert_eq!(bytes, text.len() as u64);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let text = format!("{}\n{{\"identifier\":\"88.1/b\",\"values\":[]}}\n", "x".repeat(LINE_BYTES_MAX + 1));
        let bytes = text.len() as u64;
        let (lines, refused, read_bytes) = read(Format::Jsonl, 10, text.leak());
        assert_eq!((lines, read_bytes), (vec![vec![2]], bytes));
        assert_eq!(refused, ["t:1: the line is longer than the limit of 4194304 bytes"]);
    }

    #[test]
    fn rows_and_what_ends_a_file() {
        let (lines, refused, bytes) = read(Format::Csv, 1, "identifier,N\n88.1/a,x\n88.1/b\n88.1/c,y\n");
        assert_eq!((lines, bytes), (vec![vec![2], vec![], vec![4], vec![]], 38));
        assert_eq!(refused, ["t:3: the row has 1 fields; the header has 2"]);
        let (_, refused, _) = read(Format::Csv, 1, "id,N\n88.1/a,x\n");
        assert_eq!(
            refused,
            ["t: the file cannot be read on: line 1: the first column is `id`; it must be `identifier`"]
        );
    }

    #[test]
    fn formats_by_ending() {
        let format = |name| Source::named(name, None).format;
        assert_eq!([format("a.CSV"), format("a.jsonl"), format("-")], [Format::Csv, Format::Jsonl, Format::Jsonl]);
        assert_eq!(Source::named("a.csv", Some(Format::Jsonl)).format, Format::Jsonl);
    }
}

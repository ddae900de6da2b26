//! Records as comma-separated values (RFC 4180), for data from spreadsheets.
//!
//! ```csv
//! identifier,NAME,MASS
//! 88.1000.LSN/GB120-3169,Gearbox,0.4 kg
//! ```
//!
//! The column `identifier` stands first; every other column is named by a value type. A cell becomes a value with the
//! number of its column, from 1, as index, so that a column has the same index in every record; an empty cell becomes
//! none. Edges, TTLs and permissions have no column: use JSON lines.

use std::io::{self, Read};

use csv::ByteRecord;

use super::grpc::{CommandBatch, ValueParts};
use crate::{
    id::excerpt,
    record::{ValueType, Values},
};

/// Maximum length of a row, in bytes (4 MiB).
pub const ROW_BYTES_MAX: usize = super::json::LINE_BYTES_MAX;

/// Error that ends the reading of a file.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The header is missing, or a column in it is wrong.
    #[error("line 1: {0}")]
    Header(String),
    /// A row does not end.
    #[error("line {line}: the row is longer than {ROW_BYTES_MAX} bytes (a quote that is not closed?)")]
    RowTooLong {
        /// Line on which the row starts, from 1.
        line: u64,
    },
    /// I/O error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A row of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which the row starts, from 1.
    pub line: u64,
    /// Reason of the refusal; `None` if the command of the row was added.
    pub refused: Option<String>,
}

/// Reads rows and turns them into commands.
pub struct CsvRows<R> {
    reader: csv::Reader<Bounded<R>>,
    kinds: Vec<String>,
    row: ByteRecord,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`CsvError`]: no header, no column `identifier`, or a column that is not named by a value type of its own.
    pub fn new(input: R) -> Result<Self, CsvError> {
        let input = Bounded { input, left: ROW_BYTES_MAX, taken: 0, last: 0 };
        // With CR LF as one terminator, the library would count the LF to the next row, and report every line one too
        // low.
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(input);
        let mut row = ByteRecord::new();
        if !read_row(&mut reader, &mut row, 1)? {
            return Err(CsvError::Header("the file is empty; its header is `identifier,TYPE,…`".into()));
        }
        let kinds = header(&row).map_err(CsvError::Header)?;
        Ok(Self { reader, kinds, row })
    }

    /// Reads the next row and adds its command; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`CsvError`] when the rest of the file cannot be read.
    pub fn next_row(&mut self, batch: &mut CommandBatch) -> Result<Option<Row>, CsvError> {
        loop {
            let line = self.reader.position().line();
            if !read_row(&mut self.reader, &mut self.row, line)? {
                return Ok(None);
            }
            let empty = fields(&self.row).all(<[u8]>::is_empty) && self.row.len() == 1;
            if !empty {
                return Ok(Some(Row { line: self.line(), refused: self.create(batch).err() }));
            }
        }
    }

    /// Number of bytes of the file read so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Line on which the row starts. The library reports the line where its search began, which may be an empty line
    /// before the row.
    fn line(&self) -> u64 {
        let input = self.reader.get_ref();
        let cut_off = self.reader.position().byte() == input.taken && input.last != b'\n';
        let within = self.row.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        self.reader.position().line().saturating_sub(within + u64::from(!cut_off))
    }

    fn create(&self, batch: &mut CommandBatch) -> Result<(), String> {
        let (found, expected) = (self.row.len(), self.kinds.len() + 1);
        if found != expected {
            return Err(format!("the row has {found} fields; the header has {expected}"));
        }
        let utf8 =
            |(column, field)| std::str::from_utf8(field).map_err(|_| format!("field {column} is not valid UTF-8"));
        let fields = (1..).zip(fields(&self.row)).map(utf8).collect::<Result<Vec<&str>, _>>()?;
        let Some((identifier, cells)) = fields.split_first() else { return Ok(()) };
        let values = (1..).zip(self.kinds.iter().zip(cells)).filter(|(_, (_, cell))| !cell.is_empty());
        let values = values.map(|(index, (kind, cell))| {
            let data = cell.as_bytes();
            (ValueParts { index, kind, data, ttl: None, permissions: None }, std::iter::empty())
        });
        batch.create(identifier, values, std::iter::empty());
        Ok(())
    }
}

/// Reads a row that starts on `line`; false at the end.
fn read_row<R: Read>(reader: &mut csv::Reader<Bounded<R>>, row: &mut ByteRecord, line: u64) -> Result<bool, CsvError> {
    reader.get_mut().left = ROW_BYTES_MAX;
    reader.read_byte_record(row).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => CsvError::RowTooLong { line },
        csv::ErrorKind::Io(error) => error.into(),
        kind => io::Error::other(format!("{kind:?}")).into(),
    })
}

/// The fields of a row, without the CR of its end.
fn fields(row: &ByteRecord) -> impl Iterator<Item = &[u8]> {
    let last = row.len().saturating_sub(1);
    let field = move |(place, field)| if place == last { strip_cr(field) } else { field };
    row.iter().enumerate().map(field)
}

fn strip_cr(field: &[u8]) -> &[u8] {
    field.strip_suffix(b"\r").unwrap_or(field)
}

/// Returns the value types that the header names.
fn header(row: &ByteRecord) -> Result<Vec<String>, String> {
    let mut names = fields(row);
    match names.next() {
        Some(name) if name == b"identifier" => {}
        name => {
            let name = excerpt(&String::from_utf8_lossy(name.unwrap_or_default()));
            return Err(format!("the first column is `{name}`; it must be `identifier`"));
        }
    }
    let mut kinds: Vec<String> = Vec::new();
    for (column, name) in (2..).zip(names) {
        let name = String::from_utf8_lossy(name);
        let kind: ValueType = name.parse().map_err(|error| format!("column {column}: {error}"))?;
        if kinds.iter().any(|known| known.eq_ignore_ascii_case(kind.as_str())) {
            return Err(format!("column {column}: the type `{kind}` names two columns"));
        }
        kinds.push(kind.as_str().to_owned());
    }
    if kinds.len() > Values::COUNT_MAX {
        return Err(format!("{} value columns; the limit of a record is {}", kinds.len(), Values::COUNT_MAX));
    }
    Ok(kinds)
}

/// A reader that fails once a single row has taken more than its limit.
struct Bounded<R> {
    input: R,
    left: usize,
    /// Number of bytes read in all.
    taken: u64,
    /// The last byte read.
    last: u8,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.input.read(buffer)?;
        self.left = self.left.saturating_sub(count);
        self.taken += count as u64;
        self.last = buffer.get(..count).and_then(<[u8]>::last).copied().unwrap_or(self.last);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::grpc::pb;
    use prost::Message;

    /// Each row as `line: outcome`, then the error that ended the file early.
    fn rows(text: impl AsRef<[u8]>) -> Vec<String> {
        let mut batch = CommandBatch::default();
        let mut rows = match CsvRows::new(text.as_ref()) {
            Ok(rows) => rows,
            Err(error) => return vec![error.to_string()],
        };
        let mut said = Vec::new();
        loop {
            let before = batch.len();
            match rows.next_row(&mut batch) {
                Ok(Some(Row { line, refused: Some(reason) })) => said.push(format!("{line}: {reason}")),
                Ok(Some(Row { line, refused: None })) => {
                    let request = pb::ApplyBatchRequest::decode(batch.message().encode_to_vec().as_slice()).unwrap();
                    let command = &request.commands[before];
                    let Some(pb::command::Operation::Create(create)) = &command.operation else { panic!() };
                    let values = create.values.iter().map(|value| {
                        format!(" {}={}={}", value.index, value.r#type, String::from_utf8_lossy(&value.data))
                    });
                    said.push(format!("{line}: {}{}", command.identifier, values.collect::<String>()));
                }
                Ok(None) => return said,
                Err(error) => {
                    said.push(error.to_string());
                    return said;
                }
            }
        }
    }

    #[test]
    fn rows_become_records() {
        let table: [(&[u8], &[&str]); 9] = [
            (
                b"identifier,NAME,MASS\n88.1/a,Gear,1 kg\n88.1/b,,2 kg\n",
                &["2: 88.1/a 1=NAME=Gear 2=MASS=1 kg", "3: 88.1/b 2=MASS=2 kg"],
            ),
            (
                b"\xef\xbb\xbfidentifier,NAME\r\n\"88.1/a,b\",\"two\nlines\"\r\n\r\n88.1/c,\"x\"\r\n\n\n88.1/d,y",
                &["2: 88.1/a,b 1=NAME=two\nlines", "5: 88.1/c 1=NAME=x", "8: 88.1/d 1=NAME=y"],
            ),
            (
                b"identifier,NAME\n88.1/a\n88.1/b,x,y\n88.1/c,\xff\n88.1/d,ok",
                &[
                    "2: the row has 1 fields; the header has 2",
                    "3: the row has 3 fields; the header has 2",
                    "4: field 2 is not valid UTF-8",
                    "5: 88.1/d 1=NAME=ok",
                ],
            ),
            (b"", &["line 1: the file is empty; its header is `identifier,TYPE,…`"]),
            (b"id,NAME\n", &["line 1: the first column is `id`; it must be `identifier`"]),
            (b"identifier,NAME,name\n", &["line 1: column 3: the type `name` names two columns"]),
            (
                b"identifier,A B\n",
                &["line 1: column 2: value type `A B` is not 1 to 64 printable ASCII characters without spaces"],
            ),
            (b"identifier\n88.1/a\n", &["2: 88.1/a"]),
            (
                b"identifier,\n",
                &["line 1: column 2: value type `` is not 1 to 64 printable ASCII characters without spaces"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(rows(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_does_not_eat_the_memory() {
        let mut text = b"identifier,NAME\n88.1/a,ok\n88.1/b,\"".to_vec();
        text.extend(std::iter::repeat_n(b'x', ROW_BYTES_MAX + 100_000));
        assert_eq!(
            rows(text),
            ["2: 88.1/a 1=NAME=ok", "line 3: the row is longer than 4194304 bytes (a quote that is not closed?)",]
        );
    }
}

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

mod rows;

use std::io::{self, Read};

use rows::{RowFields, RowRead, RowReader};

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
    /// A line is longer than a row may be.
    #[error("line {line}: the row is longer than {ROW_BYTES_MAX} bytes (a quote that is not closed?)")]
    RowTooLong {
        /// Number of the line, from 1.
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
    reader: RowReader<R>,
    kinds: Vec<String>,
    row: RowFields,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`CsvError`]: no header, no column `identifier`, or a column that is not named by a value type of its own.
    pub fn new(input: R) -> Result<Self, CsvError> {
        let mut rows =
            Self { reader: RowReader::new(input, ROW_BYTES_MAX), kinds: Vec::new(), row: RowFields::default() };
        match rows.read()? {
            None => Err(CsvError::Header("the file is empty; its header is `identifier,TYPE,…`".into())),
            Some(Err(reason)) => Err(CsvError::Header(reason)),
            Some(Ok(())) => {
                rows.kinds = header(&rows.row).map_err(CsvError::Header)?;
                Ok(rows)
            }
        }
    }

    /// Reads the next row and adds its command; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`CsvError`] when the rest of the file cannot be read.
    pub fn next_row(&mut self, batch: &mut CommandBatch) -> Result<Option<Row>, CsvError> {
        let Some(read) = self.read()? else { return Ok(None) };
        let refused = read.and_then(|()| self.create(batch)).err();
        Ok(Some(Row { line: self.reader.line(), refused }))
    }

    /// Reads a row into its fields; the inner error is the reason why the line is no row.
    fn read(&mut self) -> Result<Option<Result<(), String>>, CsvError> {
        match self.reader.read(&mut self.row)? {
            RowRead::End => Ok(None),
            RowRead::Row(row) => Ok(Some(row.map_err(|malformed| malformed.to_string()))),
            RowRead::TooLong => Err(CsvError::RowTooLong { line: self.reader.line() }),
        }
    }

    /// Number of bytes of the file read so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_taken()
    }

    fn create(&self, batch: &mut CommandBatch) -> Result<(), String> {
        let (found, expected) = (self.row.len(), self.kinds.len() + 1);
        if found != expected {
            return Err(format!("the row has {found} fields; the header has {expected}"));
        }
        let utf8 =
            |(column, field)| std::str::from_utf8(field).map_err(|_| format!("field {column} is not valid UTF-8"));
        let fields = (1..).zip(self.row.iter()).map(utf8).collect::<Result<Vec<&str>, _>>()?;
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

/// Returns the value types that the header names.
fn header(row: &RowFields) -> Result<Vec<String>, String> {
    let mut names = row.iter();
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

    #[test]
    fn quotation_marks_enclose_a_field_as_a_whole_or_the_line_is_refused() {
        let inside = "field 2 has a quotation mark inside: enclose the field in quotation marks, and double those inside (RFC 4180)";
        let behind =
            "field 2 goes on behind its closing quotation mark: a quotation mark inside a field is doubled (RFC 4180)";
        let open = "field 2 begins with a quotation mark and is never closed";
        let table: [(&str, &[&str]); 9] = [
            ("88.1/a,\"6\"\" bolt\"\n", &["2: 88.1/a 1=NAME=6\" bolt"]),
            ("88.1/a,\"\"\r\n88.1/b,\"\"\"\"\r\n", &["2: 88.1/a", "3: 88.1/b 1=NAME=\""]),
            ("88.1/a,6\" bolt\n88.1/b,ok\n", &[&format!("2: {inside}"), "3: 88.1/b 1=NAME=ok"]),
            ("88.1/a,\"6\" bolt\n88.1/b,ok\n", &[&format!("2: {behind}"), "3: 88.1/b 1=NAME=ok"]),
            ("88.1/a,\"ok\" \n88.1/b,ok", &[&format!("2: {behind}"), "3: 88.1/b 1=NAME=ok"]),
            ("88.1/a, \"ok\"\n", &[&format!("2: {inside}")]),
            // Whatever seemed to be enclosed is read as what it is: lines.
            (
                "88.1/a,\"abc\n88.1/b,d\n\n88.1/c,e",
                &[&format!("2: {open}"), "3: 88.1/b 1=NAME=d", "5: 88.1/c 1=NAME=e"],
            ),
            (
                "88.1/a,\"abc\n88.1/b,d\n88.1/c,\"e\"\n",
                &[&format!("2: {behind}"), "3: 88.1/b 1=NAME=d", "4: 88.1/c 1=NAME=e"],
            ),
            ("88.1/a,\"one\n88.1/b,two\"\n", &["2: 88.1/a 1=NAME=one\n88.1/b,two"]),
        ];
        for (text, expected) in table {
            assert_eq!(rows(format!("identifier,NAME\n{text}")), expected, "{text}");
        }
        assert_eq!(rows("identifier,\"NAME\n88.1/a,x\n"), [format!("line 1: {open}")]);
    }

    #[test]
    fn a_field_that_is_not_closed_is_looked_for_in_one_row_and_not_in_the_whole_file() {
        let line = format!("88.1/b,{}\n", "x".repeat(1_000));
        let count = ROW_BYTES_MAX / line.len() + 10;
        let said = rows(format!("identifier,NAME\n88.1/a,\"x\n{}", line.repeat(count)));
        assert_eq!(said[0], "2: field 2 begins with a quotation mark and is never closed");
        assert_eq!(said.len(), 1 + count);
    }
}

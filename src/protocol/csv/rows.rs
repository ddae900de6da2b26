//! Rows of a CSV file, read strictly by RFC 4180 section 2: a field is enclosed in quotation marks as a whole or not at
//! all, and a quotation mark inside is doubled.
//!
//! Libraries for CSV read a malformed field somehow, and a wrong value could never be taken back from the ledger. Here
//! only the line on which a malformed row begins is lost: the reader goes on with the next line, which may be one that
//! a stray quotation mark seemed to enclose. Lines end with LF or CR LF; a byte order mark before the first is skipped.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Size of the buffer of the input, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Error of a row that is not well-formed. RowFields are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A quotation mark stands inside a field that is not enclosed.
    #[error(
        "field {0} has a quotation mark inside: enclose the field in quotation marks, and double those inside (RFC 4180)"
    )]
    MarkInside(usize),
    /// Text stands behind the closing quotation mark of a field.
    #[error(
        "field {0} goes on behind its closing quotation mark: a quotation mark inside a field is doubled (RFC 4180)"
    )]
    TextBehind(usize),
    /// An enclosed field does not end.
    #[error("field {0} begins with a quotation mark and is never closed")]
    NotClosed(usize),
}

/// Outcome of reading a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowRead {
    /// The end of the file.
    End,
    /// A row, or the reason why the line is none.
    Row(Result<(), Malformed>),
    /// A line is longer than a row may be.
    TooLong,
}

/// Place within a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FieldState {
    /// At the beginning of a field.
    #[default]
    Begin,
    /// In a field that is not enclosed.
    Plain,
    /// In an enclosed field.
    Enclosed,
    /// Behind a quotation mark in an enclosed field: the closing one, or the first of two.
    Quote,
}

/// RowFields of a row.
#[derive(Debug, Default)]
pub(super) struct RowFields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    state: FieldState,
}

impl RowFields {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.state = FieldState::Begin;
    }

    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// True for an empty line.
    fn is_blank(&self) -> bool {
        self.ends.len() == 1 && self.bytes.is_empty()
    }

    /// The fields, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }

    fn end_field(&mut self) {
        self.ends.push(self.bytes.len());
        self.state = FieldState::Begin;
    }

    /// Adds a line; false if an enclosed field goes on in the next one.
    fn add_line(&mut self, line: &[u8]) -> Result<bool, Malformed> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let field = |fields: &Self| fields.ends.len() + 1;
        for (at, &byte) in text.iter().enumerate() {
            let is_end_of_line = byte == b'\r' && at + 1 == text.len();
            self.state = match (self.state, byte) {
                (FieldState::Begin | FieldState::Plain | FieldState::Quote, b'\r') if is_end_of_line => self.state,
                (FieldState::Begin, b'"') => FieldState::Enclosed,
                (FieldState::Begin | FieldState::Plain | FieldState::Quote, b',') => {
                    self.end_field();
                    FieldState::Begin
                }
                (FieldState::Plain, b'"') => return Err(Malformed::MarkInside(field(self))),
                (FieldState::Enclosed, b'"') => FieldState::Quote,
                (FieldState::Quote, b'"') => {
                    self.bytes.push(byte);
                    FieldState::Enclosed
                }
                (FieldState::Quote, _) => return Err(Malformed::TextBehind(field(self))),
                (FieldState::Begin | FieldState::Plain, _) => {
                    self.bytes.push(byte);
                    FieldState::Plain
                }
                (FieldState::Enclosed, _) => {
                    self.bytes.push(byte);
                    FieldState::Enclosed
                }
            };
        }
        if self.state == FieldState::Enclosed {
            self.bytes.extend_from_slice(line.get(text.len()..).unwrap_or_default());
            return Ok(false);
        }
        self.end_field();
        Ok(true)
    }
}

/// Reader of rows.
#[derive(Debug)]
pub(super) struct RowReader<R> {
    input: BufReader<R>,
    row_bytes_max: usize,
    /// Lines that were read and belong to no row yet.
    ahead: VecDeque<Vec<u8>>,
    /// Number of the line on which the last row began, from 1.
    line: u64,
    /// Number of the next line that no row took.
    next_line: u64,
    bytes_taken: u64,
}

impl<R: Read> RowReader<R> {
    /// A reader that takes rows of at most `row_bytes_max` bytes.
    pub(super) fn new(input: R, row_bytes_max: usize) -> Self {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        Self { input, row_bytes_max, ahead: VecDeque::new(), line: 0, next_line: 1, bytes_taken: 0 }
    }

    /// Line on which the last row began, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Number of bytes of the rows read so far.
    pub(super) fn bytes_taken(&self) -> u64 {
        self.bytes_taken
    }

    /// Reads the next row that is no empty line. Of a malformed row only the first line is taken.
    ///
    /// # Errors
    ///
    /// Any error of the input.
    pub(super) fn read(&mut self, fields: &mut RowFields) -> io::Result<RowRead> {
        loop {
            fields.clear();
            self.line = self.next_line;
            let (read, lines) = self.read_row(fields)?;
            self.take(lines);
            if read != RowRead::Row(Ok(())) || !fields.is_blank() {
                return Ok(read);
            }
        }
    }

    /// Reads a row; returns the number of lines that it takes.
    fn read_row(&mut self, fields: &mut RowFields) -> io::Result<(RowRead, usize)> {
        let (mut bytes, mut lines) = (0, 0);
        loop {
            if lines == self.ahead.len() && !self.read_line()? {
                return Ok(match lines {
                    0 => (RowRead::End, 0),
                    _ => (RowRead::Row(Err(Malformed::NotClosed(fields.len() + 1))), 1),
                });
            }
            let Some(line) = self.ahead.get(lines) else { return Ok((RowRead::End, 0)) };
            (bytes, lines) = (bytes + line.len(), lines + 1);
            match (line.len() > self.row_bytes_max, lines) {
                (false, _) => {}
                (true, 1) => return Ok((RowRead::TooLong, 1)),
                (true, _) => return Ok((RowRead::Row(Err(Malformed::NotClosed(fields.len() + 1))), 1)),
            }
            match fields.add_line(line) {
                Ok(true) => return Ok((RowRead::Row(Ok(())), lines)),
                Ok(false) if bytes > self.row_bytes_max => {
                    return Ok((RowRead::Row(Err(Malformed::NotClosed(fields.len() + 1))), 1));
                }
                Ok(false) => {}
                Err(malformed) => return Ok((RowRead::Row(Err(malformed)), 1)),
            }
        }
    }

    /// Reads one more line ahead, and of a longer one than a row may be only as much as shows it; false at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        let is_first = self.next_line == 1 && self.ahead.is_empty();
        let mut line = Vec::new();
        let limit = (self.row_bytes_max + BYTE_ORDER_MARK.len()) as u64 + 1;
        self.input.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if is_first && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
            self.bytes_taken += BYTE_ORDER_MARK.len() as u64;
        }
        let is_there = !line.is_empty();
        if is_there {
            self.ahead.push_back(line);
        }
        Ok(is_there)
    }

    fn take(&mut self, lines: usize) {
        let taken = self.ahead.drain(..lines.min(self.ahead.len()));
        self.bytes_taken += taken.map(|line| line.len() as u64).sum::<u64>();
        self.next_line += lines as u64;
    }
}

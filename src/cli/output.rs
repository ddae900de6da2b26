//! Output in the forms that commands share.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, BufWriter, StdoutLock, Write as _},
};

use data_encoding::{BASE64, HEXLOWER};
use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;
use crate::{
    app::Progress,
    protocol::{
        grpc::pb,
        json::{signed_time_text, time_text},
    },
    record::{EdgeType, Permissions, Value},
};

/// The standard output, buffered.
pub struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// Locks the standard output.
    pub fn stdout() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// [`Failure::stdout`].
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.0, "{text}").map_err(|error| Failure::stdout(&error))
    }

    /// Flushes the buffer.
    ///
    /// # Errors
    ///
    /// [`Failure::stdout`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| Failure::stdout(&error))
    }
}

/// Writes a line to the standard output, and flushes.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = Out::stdout();
    out.line(text)?;
    out.flush()
}

/// A text that is safe on a terminal: control characters are escaped.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if letter.is_control() { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    Cow::Owned(shown)
}

/// A number with commas between its thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Prints a record, for people.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn record(out: &mut Out, record: &pb::Record) -> Result<(), Failure> {
    let version = record.version;
    let index = record.ledger_index;
    out.line(clean(&record.identifier))?;
    out.line(format_args!("  version {version}, ledger index {index}, {}", time_text(record.time)))?;
    let width = type_width(&record.values);
    for value in &record.values {
        out.line(format_args!("  {}", self::value(value, width)))?;
    }
    if !record.values_erased.is_empty() {
        out.line(format_args!("  {}", erased(&record.values_erased)))?;
    }
    for edge in &record.edges {
        out.line(format_args!("  {}", self::edge(edge)))?;
    }
    outputs(out, record)?;
    if record.edges_truncated {
        out.line(format_args!("  and more edges than the {} shown", record.edges.len()))?;
    }
    Ok(())
}

/// Prints the outputs of an event, for people.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn outputs(out: &mut Out, record: &pb::Record) -> Result<(), Failure> {
    let Some(event) = &record.event else { return Ok(()) };
    for output in &event.outputs {
        let details = details(&output.quantity, &output.unit, output.valid_from);
        out.line(format_args!("  output {}{details}", clean(&output.identifier)))?;
    }
    if !event.balance.is_empty() {
        out.line(format_args!("  balances in {}", clean(&event.balance)))?;
    }
    Ok(())
}

/// Prints values, for people, each behind a mark.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn values(out: &mut Out, values: &[pb::Value], mark: impl Fn(u32) -> char) -> Result<(), Failure> {
    let width = type_width(values);
    values.iter().try_for_each(|value| out.line(format_args!("  {} {}", mark(value.index), self::value(value, width))))
}

/// The erased values of a version, for people.
pub fn erased(indexes: &[u32]) -> String {
    let indexes: Vec<String> = indexes.iter().map(u32::to_string).collect();
    format!("erased since: {}", indexes.join(", "))
}

fn type_width(values: &[pb::Value]) -> usize {
    values.iter().map(|value| value.r#type.chars().count()).max().unwrap_or(0)
}

fn value(value: &pb::Value, type_width: usize) -> String {
    let kind = clean(&value.r#type);
    format!("{:>4}  {kind:type_width$}  {}{}", value.index, data(&value.data), remarks(value))
}

/// The text of an edge, for people.
pub fn edge(edge: &pb::Edge) -> String {
    let kind = u8::try_from(edge.r#type).ok().and_then(EdgeType::from_code);
    let kind = kind.map_or("unknown", EdgeType::as_str);
    format!("{kind} -> {}{}", clean(&edge.to), details(&edge.quantity, &edge.unit, edge.valid_from))
}

/// Data as text, or in Base64 with its length if it is not UTF-8.
fn data(data: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(data) {
        Ok(text) => clean(text),
        Err(_) => Cow::Owned(format!("{} ({} bytes, Base64)", BASE64.encode(data), data.len())),
    }
}

/// The properties of a value that are not the default.
fn remarks(value: &pb::Value) -> String {
    let mut remarks = Vec::new();
    if let Some(ttl) = value.ttl.filter(|ttl| *ttl != Value::TTL_SECONDS_DEFAULT) {
        remarks.push(format!("ttl {ttl} s"));
    }
    if let Some(bits) = value.permissions.filter(|bits| *bits != u32::from(Permissions::DEFAULT.bits())) {
        remarks.push(format!("permissions {bits:04b}"));
    }
    for reference in &value.references {
        remarks.push(format!("refers to {}:{}", reference.index, clean(&reference.identifier)));
    }
    if remarks.is_empty() { String::new() } else { format!("  ({})", remarks.join(", ")) }
}

/// Quantity, unit and start of validity.
pub fn details(quantity: &str, unit: &str, valid_from: Option<i64>) -> String {
    let mut text = String::new();
    for part in [quantity, unit] {
        if !part.is_empty() {
            text.push_str(", ");
            text.push_str(&clean(part));
        }
    }
    if let Some(ms) = valid_from {
        text.push_str(", from ");
        text.push_str(&signed_time_text(ms));
    }
    text
}

/// Prints a receipt, for people; `done` is the word for the change.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn receipt(out: &mut Out, done: &str, receipt: &pb::Receipt) -> Result<(), Failure> {
    let again = if receipt.replayed { " before, under the same request id; this is its first receipt" } else { "" };
    out.line(format_args!("{done} {}{again}", clean(&receipt.identifier)))?;
    out.line(format_args!("  version       {}", receipt.version))?;
    out.line(format_args!("  ledger index  {}", receipt.ledger_index))?;
    out.line(format_args!("  time          {}", time_text(receipt.time)))?;
    out.line(format_args!("  leaf hash     {}", HEXLOWER.encode(&receipt.leaf_hash)))?;
    // A checkpoint is its origin, its size, its root, an empty line and the signatures.
    let mut lines = receipt.checkpoint.lines();
    if let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) {
        out.line(format_args!("  checkpoint    {}, {} entries, root {}", clean(origin), clean(size), clean(root)))?;
    }
    Ok(())
}

/// A progress bar over a number of bytes, on the standard error output if that is a terminal.
pub fn bytes_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    // A malformed template would leave the default one.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Shows the progress of a job over the ledger on a bar.
pub fn show_progress(bar: &ProgressBar) -> impl FnMut(Progress) + '_ {
    move |Progress { done, total }| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(format!("{} of {} MiB", count(done >> 20), count(total >> 20)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts() {
        let numbers = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(clean("a\u{1b}[31m\nü"), "a\\u{1b}[31m\\nü");
        assert_eq!(data(b"\xff"), "/w== (1 bytes, Base64)");
    }
}

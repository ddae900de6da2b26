//! Reader of an entry's text: for auditors, who have entry bundles or a proof, but no segment.
//!
//! Only canonical text is accepted: writing what was read gives the same bytes. So equal meaning has one leaf hash, and
//! nothing hides in another spelling. Identifiers are accepted as they stand; callers check whether they are
//! well-formed.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::{
    EntryKind, Erasure, Principal, TEXT_BYTES_MAX,
    grammar::{hash, number, unescape},
};
use crate::{
    record::{Delegation, Edge, EdgeType, Quantity, Unit, ValueType},
    tlog::Hash,
};

/// Keyword before the time of an edge.
const FROM: &str = "from";

/// Text of an entry, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryText<'a> {
    /// Kind of change.
    pub kind: EntryKind,
    /// The identifier; the prefix, for a statement about one.
    pub identifier: Cow<'a, str>,
    /// Time of the entry, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Principal of the change.
    pub principal: &'a str,
    /// Index and leaf hash of the previous entry of the same identifier.
    pub previous: Option<(u64, Hash)>,
    /// Commitments to values, in order of index.
    pub values: Vec<ValueLine<'a>>,
    /// Edges that the entry adds and removes; for an event its inputs.
    pub edges: Vec<EdgeLine<'a>>,
    /// Identifiers of an event's outputs.
    pub outputs: Vec<Cow<'a, str>>,
    /// Unit in which an event balances.
    pub balance: Option<&'a str>,
    /// Erasure; `None` for every kind but an erase.
    pub erasure: Option<Erasure>,
    /// Delegation of the prefix from now on; `None` for every kind but a delegate.
    pub delegation: Option<Delegation>,
}

/// Commitment to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueLine<'a> {
    /// Index of the value.
    pub index: u32,
    /// Type of the value.
    pub kind: &'a str,
    /// The commitment.
    pub commitment: [u8; 32],
}

/// A change of one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLine<'a> {
    /// The change.
    pub op: EdgeLineOp,
    /// Type of the edge, as written.
    pub kind: &'a str,
    /// Identifier at the other end.
    pub to: Cow<'a, str>,
}

/// Kind of change of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeLineOp {
    /// The edge exists from now on.
    Add,
    /// The edge is removed.
    Remove,
}

/// Reason why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryTextError {
    /// The text is longer than an entry may be.
    #[error("the entry has {bytes} bytes; the limit is {TEXT_BYTES_MAX}")]
    TooLong {
        /// Length of the text, in bytes.
        bytes: usize,
    },
    /// The text is not UTF-8.
    #[error("the entry is not UTF-8")]
    NotText,
    /// A line breaks a rule.
    #[error("line {line} of the entry: {what}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The broken rule.
        what: &'static str,
    },
}

impl<'a> EntryText<'a> {
    /// Parses an entry's text.
    ///
    /// # Errors
    ///
    /// [`EntryTextError`] names the line and the rule.
    pub fn parse(text: &'a [u8]) -> Result<Self, EntryTextError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(EntryTextError::TooLong { bytes: text.len() });
        }
        let text = std::str::from_utf8(text).map_err(|_| EntryTextError::NotText)?;
        let mut lines = Lines { rest: text, number: 0 };
        let (kind, identifier) = read_head(&mut lines)?;
        let time = lines.required("at ", "there is no `at`")?;
        let time_ms = number(time).ok_or_else(|| lines.bad("the time is not a number"))?;
        let principal = lines.required("by ", "there is no `by`")?;
        if !Principal::is_well_formed(principal) {
            return Err(lines.bad("who made the change is not written <kind>[:<name>]"));
        }
        let previous = lines.optional("prev ")?;
        let previous =
            previous.map(|line| read_previous(line).ok_or_else(|| lines.bad("`prev` is not an index and a hash")));
        let previous = previous.transpose()?;
        let mut values: Vec<ValueLine<'a>> = Vec::new();
        while let Some(line) = lines.optional("value ")? {
            let value =
                read_value(line).ok_or_else(|| lines.bad("`value` is not an index, a type and a commitment"))?;
            if values.last().is_some_and(|before| before.index >= value.index) {
                return Err(lines.bad("the values are not in order of index"));
            }
            values.push(value);
        }
        let mut edges = Vec::new();
        while let Some(line) = lines.optional("edge ")? {
            edges.push(
                read_edge(line).ok_or_else(|| lines.bad("`edge` is not an operation, a type and an identifier"))?,
            );
        }
        let (outputs, balance) = match kind {
            EntryKind::Event => read_event(&mut lines, previous, &edges)?,
            _ => (Vec::new(), None),
        };
        let erasure = read_erasure(&mut lines)?;
        check_lines(kind, erasure.as_ref(), |what| lines.bad(what))?;
        if kind.is_about_prefix() && !(values.is_empty() && edges.is_empty()) {
            return Err(lines.bad("what is said of a prefix has no values and no edges"));
        }
        let delegation = (kind == EntryKind::Delegate).then(|| read_delegation(&mut lines)).transpose()?;
        if let Some(line) = lines.optional("request ")? {
            BASE64.decode(line.as_bytes()).map_err(|_| lines.bad("`request` is not base64"))?;
        }
        if !lines.rest.is_empty() {
            lines.number += 1;
            return Err(lines.bad("this keyword does not stand here"));
        }
        Ok(Self {
            kind,
            identifier,
            time_ms,
            principal,
            previous,
            values,
            edges,
            outputs,
            balance,
            erasure,
            delegation,
        })
    }
}

/// The lines of a text, one after the other.
struct Lines<'a> {
    rest: &'a str,
    /// Number of the line that was read last, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn bad(&self, what: &'static str) -> EntryTextError {
        EntryTextError::Line { line: self.number, what }
    }

    /// Arguments of a keyword that must be next.
    fn required(&mut self, keyword: &str, missing: &'static str) -> Result<&'a str, EntryTextError> {
        let found = self.optional(keyword)?;
        found.ok_or(EntryTextError::Line { line: self.number + 1, what: missing })
    }

    /// Arguments of a keyword, if it is next.
    fn optional(&mut self, keyword: &str) -> Result<Option<&'a str>, EntryTextError> {
        let Some(rest) = self.rest.strip_prefix(keyword) else { return Ok(None) };
        self.number += 1;
        let (line, behind) = rest.split_once('\n').ok_or_else(|| self.bad("it has no end"))?;
        if line.is_empty() || line.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(self.bad("it is empty or holds control characters"));
        }
        self.rest = behind;
        Ok(Some(line))
    }
}

fn read_previous(line: &str) -> Option<(u64, Hash)> {
    let (index, leaf) = line.split_once(' ')?;
    Some((number(index)?, Hash(hash(leaf)?)))
}

fn read_value(line: &str) -> Option<ValueLine<'_>> {
    let (index, rest) = line.split_once(' ')?;
    let (kind, commitment) = rest.split_once(' ')?;
    kind.parse::<ValueType>().ok()?;
    Some(ValueLine { index: number(index)?, kind, commitment: hash(commitment)? })
}

fn read_erasure(lines: &mut Lines<'_>) -> Result<Option<Erasure>, EntryTextError> {
    let Some(erased) = lines.optional("erased ")? else { return Ok(None) };
    let reason = lines.required("reason ", "there is no `reason`")?;
    let erasure = unescape(reason).and_then(|reason| Erasure::from_lines(erased, &reason));
    erasure.map(Some).ok_or_else(|| lines.bad(BAD_LINES))
}

/// The rule for the lines of an erasure.
const BAD_LINES: &str = "`erased` and `reason` do not say what was erased and why";

/// Checks that an erase, and no other kind, has the lines of an erasure.
fn check_lines(
    kind: EntryKind,
    erasure: Option<&Erasure>,
    bad: impl Fn(&'static str) -> EntryTextError,
) -> Result<(), EntryTextError> {
    match (kind == EntryKind::Erase, erasure) {
        (true, Some(_)) | (false, None) => Ok(()),
        (true, None) => Err(bad("an `erase` does not say what was erased and why")),
        (false, Some(_)) => Err(bad("only an `erase` says what was erased")),
    }
}

/// Reads the kind, and the identifier or prefix.
fn read_head<'a>(lines: &mut Lines<'a>) -> Result<(EntryKind, Cow<'a, str>), EntryTextError> {
    let kind = lines.required("touchmark/1 ", "it does not begin with `touchmark/1 `")?;
    let kind = EntryKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let kind = kind.ok_or_else(|| lines.bad("this kind of entry is unknown to this version"))?;
    let subject = match kind.is_about_prefix() {
        true => lines.required("ns ", "there is no `ns`")?,
        false => lines.required("id ", "there is no `id`")?,
    };
    let subject = unescape(subject).ok_or_else(|| lines.bad("the identifier is not escaped as it should be"))?;
    Ok((kind, subject))
}

/// Reads the lines of a delegation, which stand together.
fn read_delegation(lines: &mut Lines<'_>) -> Result<Delegation, EntryTextError> {
    let start = lines.rest;
    lines.required("ttl ", "there is no `ttl`")?;
    while lines.optional("site ")?.is_some() {}
    while lines.optional("ds ")?.is_some() {}
    let text = &start[..start.len() - lines.rest.len()];
    Delegation::from_text(text).ok_or_else(|| lines.bad("the delegation is not written as it should be"))
}

fn read_edge(line: &str) -> Option<EdgeLine<'_>> {
    let mut words = line.split(' ');
    let op = match words.next()? {
        "add" => EdgeLineOp::Add,
        "remove" => EdgeLineOp::Remove,
        _ => return None,
    };
    let (kind, to) = (words.next()?, unescape(words.next()?)?);
    kind.parse::<EdgeType>().ok()?;
    let well_formed = match op {
        EdgeLineOp::Add => is_details(words),
        EdgeLineOp::Remove => words.next().is_none(),
    };
    well_formed.then_some(EdgeLine { op, kind, to })
}

/// True if the words are a quantity with its unit, a time with its keyword, both in this order, or nothing.
fn is_details<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let mut first = words.next();
    if let Some(quantity) = first.filter(|first| *first != FROM) {
        let is_unit = words.next().is_some_and(|unit| unit == "-" || unit.parse::<Unit>().is_ok());
        if quantity.parse::<Quantity>().is_err() || !is_unit {
            return false;
        }
        first = words.next();
    }
    match first {
        None => true,
        Some(FROM) => words.next().is_some_and(|time| Edge::read_valid_from(time).is_some()) && words.next().is_none(),
        Some(_) => false,
    }
}

/// Reads outputs and balance, which only an event has, after a check of its inputs.
fn read_event<'a>(
    lines: &mut Lines<'a>,
    previous: Option<(u64, Hash)>,
    inputs: &[EdgeLine<'a>],
) -> Result<(Vec<Cow<'a, str>>, Option<&'a str>), EntryTextError> {
    let is_input = |edge: &EdgeLine<'_>| edge.op == EdgeLineOp::Add && edge.kind == EdgeType::DerivedFrom.as_str();
    if previous.is_some() || inputs.is_empty() || !inputs.iter().all(is_input) {
        return Err(lines.bad("an event has no `prev`, and inputs that it is derived from, and no other edges"));
    }
    let mut outputs = Vec::new();
    while let Some(line) = lines.optional("output ")? {
        let mut words = line.split(' ');
        let identifier = words.next().and_then(unescape).filter(|_| is_details(words));
        outputs.push(identifier.ok_or_else(|| lines.bad("`output` is not an identifier"))?);
    }
    if outputs.is_empty() {
        lines.number += 1;
        return Err(lines.bad("an event has outputs"));
    }
    let balance = lines.optional("balance ")?;
    if balance.is_some_and(|unit| unit.parse::<Unit>().is_err()) {
        return Err(lines.bad("`balance` is not a unit"));
    }
    Ok((outputs, balance))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "touchmark/1 update\nid 88.118.8/Pump%207%25\nat 1763820000123\nby loopback\n\
        prev 4 q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n\
        value 1 NAME q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n\
        edge add made-of urn:oid:2.999.1 0.25 unit:kg from 1969-12-31T23:59:59.999Z\n\
        edge add packed-in 88.118.8/Box 1 -\nedge remove replaces 88.118.8/Pump-6\nrequest cmV0cnkgbWU=\n";

    #[test]
    fn takes_apart_what_the_writer_makes() {
        let text = EntryText::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(
            (text.kind, &*text.identifier, text.time_ms),
            (EntryKind::Update, "88.118.8/Pump 7%", 1_763_820_000_123)
        );
        assert_eq!(text.previous, Some((4, Hash([0xab; 32]))));
        assert_eq!(text.values, [ValueLine { index: 1, kind: "NAME", commitment: [0xab; 32] }]);
        let edges: Vec<_> = text.edges.iter().map(|edge| (edge.op, edge.kind, &*edge.to)).collect();
        assert_eq!(
            edges,
            [
                (EdgeLineOp::Add, "made-of", "urn:oid:2.999.1"),
                (EdgeLineOp::Add, "packed-in", "88.118.8/Box"),
                (EdgeLineOp::Remove, "replaces", "88.118.8/Pump-6")
            ]
        );
    }

    #[test]
    fn refuses_the_rest_and_says_where() {
        for (from, to, line) in [
            ("touchmark/1", "touchmark/2", 1),
            ("update", "upgrade", 1),
            ("%20", "%2e", 2),
            ("%25", "%2", 2),
            ("Pump%20", "Pump ", 2),
            ("at 1763820000123", "at 01763820000123", 3),
            ("by loopback\n", "", 4),
            ("prev 4 q6", "prev 4 q", 5),
            ("value 1", "value +1", 6),
            ("value 1 NAME", "value 1  NAME", 6),
            ("add made-of", "put made-of", 7),
            (" from 1969", " 1969", 7),
            ("made-of urn", "made-out-of urn", 7),
            ("0.25 unit", "00.25 unit", 7),
            ("0.25 unit:kg from", "from unit:kg 0.25", 7),
            ("59.999Z", "59.9990Z", 7),
            ("1969-12-31T", "1969-12-32T", 7),
            ("Box 1 -", "Box 1", 8),
            ("request cmV0cnkgbWU=", "request cmV0cnkgbWU", 10),
            ("request", "\nrequest", 10),
            ("request cm", "erased 1\nreason a\nrequest cm", 11),
            ("request cm", "erased 1\nrequest cm", 11),
            ("request cm", "erased 01\nreason a\nrequest cm", 11),
            ("request cm", "erased 1 gone\nreason a\nrequest cm", 11),
            ("request cm", "erased 1\nreason a b\nrequest cm", 11),
            ("update", "erase", 9),
        ] {
            assert!(TEXT.contains(from), "{from}");
            match EntryText::parse(TEXT.replacen(from, to, 1).as_bytes()) {
                Err(EntryTextError::Line { line: found, .. }) => assert_eq!(found, line, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
        assert_eq!(EntryText::parse(&[0xff]), Err(EntryTextError::NotText));
        assert_eq!(EntryText::parse(&[b'x'; 70_000]), Err(EntryTextError::TooLong { bytes: 70_000 }));
    }
}

//! Decoding of a line into the command that registers its record.

use std::borrow::Cow;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{LineError, object::Object};
use crate::{
    id::excerpt,
    protocol::grpc::{CommandBatch, EdgeParts, EventParts, FlowParts, ValueParts},
    record::{EdgeType, Permissions, Quantity},
};

/// The refusal of a line that is a JSON array.
const ARRAY_RULE: &str = "the line is an array; each line is one object, {\"identifier\":…,\"values\":[…]}: write the records of an array as lines";

/// A line as written; texts without escapes are borrowed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    identifier: Cow<'a, str>,
    #[serde(borrow)]
    values: Vec<Object<LineValue<'a>>>,
    #[serde(borrow, default)]
    edges: Vec<Object<LineEdge<'a>>>,
    #[serde(borrow, default)]
    inputs: Vec<Object<LineFlow<'a>>>,
    #[serde(borrow, default)]
    outputs: Vec<Object<LineFlow<'a>>>,
    #[serde(borrow, default)]
    balance: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    edges_truncated: bool,
    #[serde(rename = "values_erased", default)]
    _values_erased: IgnoredAny,
    #[serde(rename = "version", default)]
    _version: IgnoredAny,
    #[serde(rename = "ledger_index", default)]
    _ledger_index: IgnoredAny,
    #[serde(rename = "time", default)]
    _time: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineValue<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    ttl: Option<u32>,
    #[serde(borrow, default)]
    permissions: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    references: Vec<Object<LineReference<'a>>>,
    #[serde(rename = "timestamp", default)]
    _timestamp: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineReference<'a> {
    #[serde(borrow)]
    identifier: Cow<'a, str>,
    index: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineEdge<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow, default)]
    quantity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    unit: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    valid_from: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineFlow<'a> {
    #[serde(borrow)]
    identifier: Cow<'a, str>,
    #[serde(borrow, default)]
    quantity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    unit: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    valid_from: Option<Cow<'a, str>>,
}

impl Line<'_> {
    fn is_event(&self) -> bool {
        !self.inputs.is_empty() || !self.outputs.is_empty() || self.balance.is_some()
    }
}

/// Reads a line and adds the command that registers its record.
///
/// # Errors
///
/// [`LineError`] with the column or the field, and the rule; the batch is unchanged then.
pub fn create_from_line(line: &[u8], batch: &mut CommandBatch) -> Result<(), LineError> {
    let text = std::str::from_utf8(line).map_err(|error| LineError {
        column: Some(error.valid_up_to() + 1),
        identifier: None,
        rule: "the line is not valid UTF-8".into(),
    })?;
    let Object(line): Object<Line<'_>> =
        serde_json::from_str(text).map_err(|error| match text.trim_start().starts_with('[') {
            true => LineError { column: None, identifier: None, rule: ARRAY_RULE.into() },
            false => syntax(&error),
        })?;
    let refused = |rule| LineError { column: None, identifier: Some(line.identifier.clone().into_owned()), rule };
    whole(&line).map_err(refused)?;
    let values = line.values.iter().map(|value| Checked::new(value)).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let edges = line.edges.iter().map(|edge| CheckedEdge::new(edge)).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let values = values.iter().map(|value| {
        let references = value.line.references.iter();
        (value.parts(), references.map(|reference| (&*reference.identifier, reference.index)))
    });
    if !line.is_event() {
        batch.create(&line.identifier, values, edges.iter().map(CheckedEdge::parts));
        return Ok(());
    }
    let (inputs, outputs) =
        (checked_flows(&line.inputs).map_err(refused)?, checked_flows(&line.outputs).map_err(refused)?);
    let [inputs, outputs] = [&inputs, &outputs].map(|flows| flows.iter().map(CheckedFlow::parts).collect::<Vec<_>>());
    let balance = line.balance.as_deref().unwrap_or("");
    batch.event(&line.identifier, values, &EventParts { inputs: &inputs, outputs: &outputs, balance });
    Ok(())
}

/// The message of the JSON library, without its wording of the position.
fn syntax(error: &serde_json::Error) -> LineError {
    let said = error.to_string();
    let rule = said.rsplit_once(" at line ").map_or(said.as_str(), |(rule, _)| rule);
    let rule = if error.is_eof() { format!("the line is cut off: {rule}") } else { rule.to_owned() };
    LineError { column: Some(error.column()), identifier: None, rule }
}

/// Refuses lines whose record cannot be registered from them.
fn whole(line: &Line<'_>) -> Result<(), String> {
    match line.status.as_deref() {
        None | Some("active") => {}
        Some(status) => {
            return Err(format!(
                "status is `{}`; only active records can be registered, and a retired identifier never again",
                excerpt(status)
            ));
        }
    }
    if line.is_event() && !line.edges.is_empty() {
        return Err("the line has both edges and what only an event has: inputs, outputs or balance".into());
    }
    if line.edges_truncated {
        return Err("edges_truncated is true: the line holds only some of the record's edges".into());
    }
    Ok(())
}

/// A value whose fields were checked.
struct Checked<'a> {
    line: &'a LineValue<'a>,
    data: Cow<'a, [u8]>,
    permissions: Option<u8>,
}

impl<'a> Checked<'a> {
    fn new(line: &'a LineValue<'a>) -> Result<Self, String> {
        let kind = || excerpt(&line.kind);
        let data = match (&line.data, &line.data_base64) {
            (Some(data), None) => Cow::Borrowed(data.as_bytes()),
            (None, Some(data)) => {
                let decoded = BASE64.decode(data.as_bytes());
                let wrong = |error| format!("value `{}`: data_base64 is not Base64 (RFC 4648): {error}", kind());
                Cow::Owned(decoded.map_err(wrong)?)
            }
            (None, None) => return Err(format!("value `{}` has neither data nor data_base64", kind())),
            (Some(_), Some(_)) => return Err(format!("value `{}` has both data and data_base64; give one", kind())),
        };
        let permissions = line.permissions.as_deref().map(str::parse::<Permissions>).transpose();
        let permissions = permissions.map_err(|error| format!("value `{}`: {error}", kind()))?;
        Ok(Self { line, data, permissions: permissions.map(Permissions::bits) })
    }

    fn parts(&self) -> ValueParts<'_> {
        let LineValue { index, kind, ttl, .. } = self.line;
        ValueParts { index: *index, kind, data: &self.data, ttl: *ttl, permissions: self.permissions }
    }
}

/// An edge whose fields were checked.
struct CheckedEdge<'a> {
    line: &'a LineEdge<'a>,
    kind: EdgeType,
    quantity: Cow<'a, str>,
    valid_from_ms: Option<i64>,
}

impl<'a> CheckedEdge<'a> {
    fn new(line: &'a LineEdge<'a>) -> Result<Self, String> {
        let to = |rule: String| format!("edge to `{}`: {rule}", excerpt(&line.to));
        let kind: EdgeType = line.kind.parse().map_err(|error: crate::record::RecordError| to(error.to_string()))?;
        let quantity = line.quantity.map_or(Ok(Cow::Borrowed("")), quantity).map_err(to)?;
        let valid_from_ms = line.valid_from.as_deref().map(time_ms).transpose();
        let valid_from_ms = valid_from_ms.map_err(|rule| to(format!("valid_from {rule}")))?;
        Ok(Self { line, kind, quantity, valid_from_ms })
    }

    fn parts(&self) -> EdgeParts<'_> {
        EdgeParts {
            kind: self.kind,
            to: &self.line.to,
            quantity: &self.quantity,
            unit: self.line.unit.as_deref().unwrap_or(""),
            valid_from_ms: self.valid_from_ms,
        }
    }
}

/// An input or output whose fields were checked.
struct CheckedFlow<'a> {
    line: &'a LineFlow<'a>,
    quantity: Cow<'a, str>,
    valid_from_ms: Option<i64>,
}

impl<'a> CheckedFlow<'a> {
    fn new(line: &'a LineFlow<'a>) -> Result<Self, String> {
        let of = |rule: String| format!("input or output `{}`: {rule}", excerpt(&line.identifier));
        let quantity = line.quantity.map_or(Ok(Cow::Borrowed("")), quantity).map_err(of)?;
        let valid_from_ms = line.valid_from.as_deref().map(time_ms).transpose();
        let valid_from_ms = valid_from_ms.map_err(|rule| of(format!("valid_from {rule}")))?;
        Ok(Self { line, quantity, valid_from_ms })
    }

    fn parts(&self) -> FlowParts<'_> {
        FlowParts {
            identifier: &self.line.identifier,
            quantity: &self.quantity,
            unit: self.line.unit.as_deref().unwrap_or(""),
            valid_from_ms: self.valid_from_ms,
        }
    }
}

fn checked_flows<'a>(flows: &'a [Object<LineFlow<'a>>]) -> Result<Vec<CheckedFlow<'a>>, String> {
    flows.iter().map(|flow| CheckedFlow::new(flow)).collect()
}

/// The decimal text of a JSON number or string; empty for null.
fn quantity(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    let text = match raw.get() {
        "null" => return Ok(Cow::Borrowed("")),
        quoted if quoted.starts_with('"') => {
            Cow::Owned(serde_json::from_str::<String>(quoted).map_err(|error| error.to_string())?)
        }
        plain => Cow::Borrowed(plain),
    };
    // The node keeps the digits as written: neither an exponent nor a sign is allowed.
    text.parse::<Quantity>().map_err(|error| error.to_string())?;
    Ok(text)
}

/// Milliseconds since 1970 of an RFC 3339 time, truncated.
///
/// # Errors
///
/// A sentence, if the text is not a time or has no offset.
pub fn time_ms(text: &str) -> Result<i64, String> {
    let time = text.parse::<Timestamp>().map_err(|_| {
        format!("`{}` is not an RFC 3339 time with its offset, such as 2026-03-14T12:10:00Z", excerpt(text))
    })?;
    Ok(time.as_millisecond())
}

/// A point of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The state after the entry with this index.
    Index(u64),
    /// The state at this time, milliseconds since 1970 UTC.
    Time(u64),
}

/// Reads a point of the ledger: an index, or a time in the form of [`time_ms`].
///
/// # Errors
///
/// A sentence, if the text is neither.
pub fn point(text: &str) -> Result<Point, String> {
    match text.parse::<u64>() {
        Ok(index) => Ok(Point::Index(index)),
        Err(_) => {
            let time = time_ms(text).map_err(|rule| format!("neither a ledger index nor a time: {rule}"))?;
            // The ledger began long after 1970.
            Ok(Point::Time(u64::try_from(time).unwrap_or(0)))
        }
    }
}

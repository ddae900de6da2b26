//! Encoding of messages as lines.

use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::prefix::{LineDelegation, line_delegation};
use crate::{
    protocol::{
        grpc::pb::{self, answer::Outcome as Found},
        outcome::Outcome,
    },
    record::{EdgeType, Permissions, Quantity, Value},
};

#[derive(Serialize)]
struct LineRecord<'a> {
    identifier: &'a str,
    status: &'static str,
    version: u64,
    ledger_index: u64,
    time: String,
    values: Vec<LineValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges: Vec<LineEdge<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    edges_truncated: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<LineFlow<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<LineFlow<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    balance: &'a str,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    values_erased: &'a [u32],
}

#[derive(Serialize)]
struct LineValue<'a> {
    index: u32,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    references: Vec<LineReference<'a>>,
    timestamp: String,
}

#[derive(Serialize)]
struct LineReference<'a> {
    identifier: &'a str,
    index: u32,
}

#[derive(Serialize)]
struct LineEdge<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<String>,
}

/// An input or output of an event.
#[derive(Serialize)]
struct LineFlow<'a> {
    identifier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<String>,
}

/// The outcome for an identifier without a record to show.
#[derive(Default, Serialize)]
struct LineOutcome<'a> {
    identifier: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<&'a str>,
    #[serde(flatten)]
    delegation: Option<LineDelegation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct LineReceipt<'a> {
    identifier: &'a str,
    version: u64,
    ledger_index: u64,
    time: String,
    leaf_hash: String,
    replayed: bool,
    checkpoint: &'a str,
}

/// A record as one line, without the line's end.
pub fn record_to_json(record: &pb::Record) -> String {
    to_json(&line_record(record))
}

fn line_record(record: &pb::Record) -> LineRecord<'_> {
    let is_event = record.event.is_some();
    LineRecord {
        identifier: &record.identifier,
        status: match record.status() {
            pb::Status::Retired => Outcome::Retired.spelling().word,
            pb::Status::Erased => Outcome::Erased.spelling().word,
            _ => "active",
        },
        version: record.version,
        ledger_index: record.ledger_index,
        time: time_text(record.time),
        values: record.values.iter().map(value).collect(),
        edges: if is_event { Vec::new() } else { record.edges.iter().map(edge).collect() },
        edges_truncated: record.edges_truncated,
        inputs: if is_event { record.edges.iter().map(input).collect() } else { Vec::new() },
        outputs: record.event.iter().flat_map(|event| &event.outputs).map(output).collect(),
        balance: record.event.as_ref().map_or("", |event| &event.balance),
        values_erased: &record.values_erased,
    }
}

/// An answer as one line, without the line's end: the record, or its `status` (`not found`, `retired`, `erased`,
/// `delegated`, `not responsible`, `denied`, `invalid`, or the error of a recursive node) with the known fields.
pub fn answer_to_json(answer: &Found) -> String {
    let said = |outcome: Outcome, identifier| LineOutcome {
        identifier,
        status: outcome.spelling().word,
        ..LineOutcome::default()
    };
    to_json(&match answer {
        Found::Found(record) => return record_to_json(record),
        Found::Retired(retired) => LineOutcome {
            // DNS tells only that the record was retired; versions count from 1.
            version: (retired.version > 0).then_some(retired.version),
            ledger_index: (retired.version > 0).then_some(retired.ledger_index),
            time: (retired.version > 0).then(|| time_text(retired.time)),
            ..said(if retired.erased { Outcome::Erased } else { Outcome::Retired }, &retired.identifier)
        },
        Found::NotFound(not_found) => said(Outcome::NotFound, &not_found.identifier),
        Found::Delegated(delegated) => LineOutcome {
            prefix: Some(&delegated.prefix),
            delegation: delegated.delegation.as_ref().map(line_delegation),
            ..said(Outcome::Delegated, &delegated.identifier)
        },
        Found::NotResponsible(elsewhere) => said(Outcome::NotResponsible, &elsewhere.identifier),
        Found::Failed(failed) => {
            let outcome = Outcome::of_grpc_code(failed.code).unwrap_or(Outcome::Unavailable);
            LineOutcome { reason: Some(&failed.reason), ..said(outcome, &failed.identifier) }
        }
        Found::Denied(denied) => said(Outcome::Denied, &denied.identifier),
        Found::Invalid(invalid) => {
            LineOutcome { reason: Some(&invalid.reason), ..said(Outcome::Invalid, &invalid.identifier) }
        }
    })
}

#[derive(Serialize)]
struct LineChange<'a> {
    change: &'static str,
    by: &'a str,
    #[serde(flatten)]
    record: LineRecord<'a>,
    #[serde(skip_serializing_if = "is_none")]
    values_withheld: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values_added: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values_changed: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values_removed: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges_added: Vec<LineEdge<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges_removed: Vec<LineEdge<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erasure: Option<LineErasure<'a>>,
}

#[derive(Serialize)]
struct LineErasure<'a> {
    /// Absent if everything was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    reason: &'a str,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// The kind of a change: `create`, `update`, `retire`, `event`, `erase`; `unknown` for another.
pub fn change_word(change: &pb::VersionChange) -> &'static str {
    use pb::version_change::Kind;
    match change.kind() {
        Kind::Create => "create",
        Kind::Update => "update",
        Kind::Retire => "retire",
        Kind::Event => "event",
        Kind::Erase => "erase",
        Kind::Unspecified => "unknown",
    }
}

/// A version and the change that made it as one line, without the line's end.
pub fn change_to_json(change: &pb::VersionChange) -> String {
    use pb::value_difference::Kind;
    let indexes = |kind| {
        let differences = change.differences.iter().filter(move |difference| difference.kind() == kind);
        differences.map(|difference| difference.index).collect()
    };
    let record = change.record.clone().unwrap_or_default();
    to_json(&LineChange {
        change: change_word(change),
        by: &change.by,
        record: line_record(&record),
        values_withheld: change.values_withheld,
        values_added: indexes(Kind::Added),
        values_changed: indexes(Kind::Changed),
        values_removed: indexes(Kind::Removed),
        edges_added: change.edges_added.iter().map(edge).collect(),
        edges_removed: change.edges_removed.iter().map(edge).collect(),
        erasure: change.erasure.as_ref().map(|erasure| LineErasure { index: erasure.index, reason: &erasure.reason }),
    })
}

#[derive(Serialize)]
struct LinePage<'a> {
    versions: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<u64>,
}

/// A page of a history: `versions`, each in the form of [`change_to_json`], and `next_before` if there are earlier
/// ones.
pub fn history_to_json(page: &pb::HistoryResponse) -> String {
    let lines = page.versions.iter().filter_map(|change| RawValue::from_string(change_to_json(change)).ok());
    let lines: Vec<Box<RawValue>> = lines.collect();
    to_json(&LinePage { versions: lines.iter().map(|line| &**line).collect(), next_before: page.next_before })
}

#[derive(Serialize)]
struct LineProblem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// A problem with a request over HTTP (RFC 9457 section 3).
pub fn problem_to_json(title: &str, status: u16, detail: &str) -> String {
    to_json(&LineProblem { title, status, detail })
}

/// A receipt as one line, without the line's end; hashes in hexadecimal.
pub fn receipt_to_json(receipt: &pb::Receipt) -> String {
    to_json(&LineReceipt {
        identifier: &receipt.identifier,
        version: receipt.version,
        ledger_index: receipt.ledger_index,
        time: time_text(receipt.time),
        leaf_hash: HEXLOWER.encode(&receipt.leaf_hash),
        replayed: receipt.replayed,
        checkpoint: &receipt.checkpoint,
    })
}

/// A time as RFC 3339 in UTC with milliseconds, from milliseconds since 1970; as the plain number if no calendar date
/// exists for it.
pub fn time_text(ms: u64) -> String {
    match i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(time) => format!("{time:.3}"),
        None => ms.to_string(),
    }
}

fn value(value: &pb::Value) -> LineValue<'_> {
    let data = std::str::from_utf8(&value.data).ok();
    let permissions = value.permissions.filter(|bits| *bits != u32::from(Permissions::DEFAULT.bits()));
    let seconds = i64::try_from(value.timestamp).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    LineValue {
        index: value.index,
        kind: &value.r#type,
        data,
        data_base64: data.is_none().then(|| BASE64.encode(&value.data)),
        ttl: value.ttl.filter(|ttl| *ttl != Value::TTL_SECONDS_DEFAULT),
        permissions: permissions.map(|bits| format!("{bits:04b}")),
        references: value
            .references
            .iter()
            .map(|reference| LineReference { identifier: &reference.identifier, index: reference.index })
            .collect(),
        timestamp: seconds.map_or_else(|| value.timestamp.to_string(), |time| time.to_string()),
    }
}

fn edge(edge: &pb::Edge) -> LineEdge<'_> {
    LineEdge {
        kind: edge_type_text(edge.r#type),
        to: &edge.to,
        quantity: number(&edge.quantity),
        unit: &edge.unit,
        valid_from: edge.valid_from.map(signed_time_text),
    }
}

/// The word for an edge's type.
pub fn edge_type_text(code: i32) -> &'static str {
    let kind = u8::try_from(code).ok().and_then(EdgeType::from_code);
    kind.map_or("unknown", EdgeType::as_str)
}

fn input(edge: &pb::Edge) -> LineFlow<'_> {
    LineFlow {
        identifier: &edge.to,
        quantity: number(&edge.quantity),
        unit: &edge.unit,
        valid_from: edge.valid_from.map(signed_time_text),
    }
}

fn output(flow: &pb::Flow) -> LineFlow<'_> {
    LineFlow {
        identifier: &flow.identifier,
        quantity: number(&flow.quantity),
        unit: &flow.unit,
        valid_from: flow.valid_from.map(signed_time_text),
    }
}

/// A quantity as a JSON number, digit for digit; `None` if it is no valid quantity.
pub(super) fn number(quantity: &str) -> Option<Box<RawValue>> {
    let quantity = quantity.parse::<Quantity>().ok()?;
    RawValue::from_string(quantity.as_str().to_owned()).ok()
}

/// A time before or after 1970 as RFC 3339 in UTC with milliseconds; as the plain number if no calendar date exists for
/// it.
pub fn signed_time_text(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => ms.to_string(),
    }
}

pub(super) fn to_json(line: &impl Serialize) -> String {
    // None of these types can fail: their keys are texts, and they hold no floating-point numbers.
    serde_json::to_string(line).unwrap_or_default()
}

//! Traces and recalls: one object a line.

use serde::Serialize;
use serde_json::value::RawValue;

use super::write::{edge_type_text, number, signed_time_text, to_json};
use crate::protocol::grpc::pb::{self, trace_node::State, trace_summary::Truncation};

#[derive(Serialize)]
struct LineNode<'a> {
    node: &'a str,
    depth: u32,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_index: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    delegated_prefix: &'a str,
}

#[derive(Serialize)]
struct LineTraced<'a> {
    edge: &'static str,
    from: &'a str,
    to: &'a str,
    depth: u32,
    ledger_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    said_by_event: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated_node: bool,
}

#[derive(Serialize)]
struct LineTotal<'a> {
    total: &'a str,
    amounts: Vec<LineAmount<'a>>,
}

#[derive(Serialize)]
struct LineAmount<'a> {
    /// Absent if it has too many digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'a str,
}

#[derive(Serialize)]
struct LineSummary<'a> {
    as_of: Option<u64>,
    nodes: u32,
    edges: u32,
    missing: u32,
    retired: u32,
    out_of_time: u32,
    /// Edges that close a cycle, each by its two ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    cycles: Option<Vec<[&'a str; 2]>>,
    truncated: Vec<&'static str>,
}

#[derive(Serialize)]
struct LineProduct<'a> {
    product: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    depth: u32,
    amounts: Vec<LineAmount<'a>>,
    packages: &'a [String],
    holder: Option<LineHolder<'a>>,
}

#[derive(Serialize)]
struct LineHolder<'a> {
    party: &'a str,
    transferred: &'a str,
    ledger_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<String>,
}

/// A node as one line, without the line's end.
pub fn trace_node_to_json(node: &pb::TraceNode) -> String {
    let registered = node.version > 0;
    to_json(&LineNode {
        node: &node.identifier,
        depth: node.depth,
        state: trace_state_text(node.state()),
        version: registered.then_some(node.version),
        ledger_index: registered.then_some(node.ledger_index),
        name: &node.name,
        delegated_prefix: &node.delegated_prefix,
    })
}

/// An edge between two identifiers as one line, without the line's end.
pub fn trace_edge_to_json(edge: &pb::TraceEdge, from: &str, to: &str) -> String {
    to_json(&LineTraced {
        edge: edge_type_text(edge.r#type),
        from,
        to,
        depth: edge.depth,
        ledger_index: edge.ledger_index,
        quantity: number(&edge.quantity),
        unit: &edge.unit,
        valid_from: edge.valid_from.map(signed_time_text),
        said_by_event: edge.said_by_event,
        repeated_node: edge.repeated_node,
    })
}

/// The totals of an identifier as one line, without the line's end.
pub fn trace_total_to_json(total: &pb::TraceTotal, identifier: &str) -> String {
    to_json(&LineTotal { total: identifier, amounts: amounts(&total.amounts) })
}

/// The summary of a trace or a recall as one line, without the line's end; `cycles` are the ends of the edges that
/// close a cycle, if they are known.
pub fn trace_summary_to_json(summary: &pb::TraceSummary, cycles: Option<Vec<[&str; 2]>>) -> String {
    to_json(&LineSummary {
        as_of: summary.as_of,
        nodes: summary.nodes,
        edges: summary.edges,
        missing: summary.missing,
        retired: summary.retired,
        out_of_time: summary.out_of_time,
        cycles,
        truncated: summary.truncated().map(truncation_text).collect(),
    })
}

/// A recalled product as one line, without the line's end.
pub fn recalled_to_json(recalled: &pb::RecalledProduct) -> String {
    let product = recalled.product.clone().unwrap_or_default();
    to_json(&LineProduct {
        product: &product.identifier,
        state: trace_state_text(product.state()),
        name: &product.name,
        depth: product.depth,
        amounts: amounts(&recalled.amounts),
        packages: &recalled.packages,
        holder: recalled.holder.as_ref().map(|holder| LineHolder {
            party: &holder.party,
            transferred: &holder.transferred,
            ledger_index: holder.ledger_index,
            valid_from: holder.valid_from.map(signed_time_text),
        }),
    })
}

/// The state of a node in one word.
pub fn trace_state_text(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Event => "event",
        State::Retired => "retired",
        State::Withdrawn => "withdrawn",
        State::Missing => "missing",
        State::Erased => "erased",
        State::Delegated => "delegated",
        State::Unspecified => "unknown",
    }
}

/// The limit that truncated a trace, in one word.
pub fn truncation_text(truncation: Truncation) -> &'static str {
    match truncation {
        Truncation::Depth => "depth",
        Truncation::Nodes => "nodes",
        Truncation::FanOut => "fan-out",
        Truncation::Edges => "edges",
        Truncation::Time => "time",
        Truncation::Unspecified => "unknown",
    }
}

fn amounts(amounts: &[pb::TraceAmount]) -> Vec<LineAmount<'_>> {
    let amount = |amount: &pb::TraceAmount| RawValue::from_string(amount.quantity.clone()).ok();
    amounts.iter().map(|each| LineAmount { quantity: amount(each), unit: &each.unit }).collect()
}

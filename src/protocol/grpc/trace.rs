//! Traces and recalls: checked requests, and steps gathered into messages.

use std::time::Duration;

use super::{
    pb,
    to_pb::{edge_type_to_pb, quantity_to_pb},
};
use crate::{
    id::Identifier,
    record::EdgeType,
    resolver::{
        Moment, Names, NodeState, RecallRequest, RecallStep, Sum, TimeRule, TraceDirection, TraceLimits, TraceRequest,
        TraceStep, TraceSummary, TracedEdge, TracedNode, Truncation,
    },
    store::EdgeOrigin,
};

/// Reads a request for a trace.
///
/// # Errors
///
/// A sentence with the rule that is broken.
pub fn trace_request(message: &pb::TraceRequest) -> Result<TraceRequest, String> {
    use pb::trace_request::{At, Direction};
    let direction = match message.direction() {
        Direction::Up => TraceDirection::Up,
        Direction::Down => TraceDirection::Down,
        Direction::Unspecified => return Err("no direction is given: up or down".into()),
    };
    let kind = |code: &i32| {
        let kind = u8::try_from(*code).ok().and_then(EdgeType::from_code);
        kind.ok_or_else(|| format!("edge type {code} is unknown"))
    };
    let types = match message.types.as_slice() {
        [] => TraceRequest::types_default(),
        types => types.iter().map(kind).collect::<Result<_, _>>()?,
    };
    Ok(TraceRequest {
        start: start(&message.identifier)?,
        direction,
        types,
        as_of: message.at.map(|at| match at {
            At::LedgerIndex(index) => Moment::Index(index),
            At::Time(time_ms) => Moment::Time(time_ms),
        }),
        limits: limits(message.limits.as_ref(), TraceLimits::default())?,
        time_rule: if message.respect_time { TimeRule::Respected } else { TimeRule::Ignored },
        names: if message.names { Names::Included } else { Names::Omitted },
    })
}

/// Reads a request for a recall.
///
/// # Errors
///
/// A sentence with the rule that is broken.
pub fn recall_request(message: &pb::RecallRequest) -> Result<RecallRequest, String> {
    use pb::recall_request::At;
    Ok(RecallRequest {
        start: start(&message.identifier)?,
        as_of: message.at.map(|at| match at {
            At::LedgerIndex(index) => Moment::Index(index),
            At::Time(time_ms) => Moment::Time(time_ms),
        }),
        limits: limits(message.limits.as_ref(), TraceLimits::WIDEST)?,
    })
}

fn start(identifier: &str) -> Result<Identifier, String> {
    Identifier::parse(identifier).map_err(|error| error.to_string())
}

fn limits(message: Option<&pb::TraceLimits>, default: TraceLimits) -> Result<TraceLimits, String> {
    let Some(message) = message else { return Ok(default) };
    let within = |what: &str, asked: Option<u32>, default: u32, max: u32| match asked {
        None => Ok(default),
        Some(asked) if (1..=max).contains(&asked) => Ok(asked),
        Some(asked) => Err(format!("{what} of {asked}; ask for 1 to {max}")),
    };
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let time_ms = within("a time", message.time_ms, ms(default.time_max), ms(TraceLimits::TIME_MAX))?;
    Ok(TraceLimits {
        depth_max: within("a depth", message.depth, default.depth_max, TraceLimits::DEPTH_MAX)?,
        nodes_max: within("a number of nodes", message.nodes, default.nodes_max, TraceLimits::NODES_MAX)?,
        fan_out_max: within("a fan-out", message.fan_out, default.fan_out_max, TraceLimits::FAN_OUT_MAX)?,
        time_max: Duration::from_millis(time_ms.into()),
    })
}

/// Adds a step to a message; returns about how many bytes the step takes.
pub fn trace_step_to_pb(step: TraceStep, message: &mut pb::TraceResponse) -> usize {
    match step {
        TraceStep::Node(node) => {
            message.nodes.push(node_to_pb(&node));
            64 + node.identifier.as_str().len() + node.name.as_ref().map_or(0, |name| name.len())
        }
        TraceStep::Edge(edge) => {
            message.edges.push(edge_to_pb(&edge));
            128
        }
        TraceStep::Total(total) => {
            let amounts = amounts_to_pb(&total.amounts);
            let bytes = 16 + 128 * amounts.len();
            message.totals.push(pb::TraceTotal { node: total.number, amounts });
            bytes
        }
        TraceStep::Summary(summary) => {
            message.summary = Some(summary_to_pb(summary));
            128
        }
    }
}

/// Adds a step to a message; returns about how many bytes the step takes.
pub fn recall_step_to_pb(step: RecallStep, message: &mut pb::RecallResponse) -> usize {
    match step {
        RecallStep::Product(product) => {
            let packages: Vec<String> = product.packages.iter().map(ToString::to_string).collect();
            let holder = product.holder.map(|holder| pb::Holder {
                party: holder.party.to_string(),
                transferred: holder.transferred.to_string(),
                ledger_index: holder.ledger_index,
                valid_from: holder.valid_from_ms,
            });
            let names =
                [Some(product.node.identifier.as_str().len()), product.node.name.as_ref().map(|name| name.len())];
            let held = holder.iter().map(|holder| holder.party.len() + holder.transferred.len());
            let bytes = packages.iter().map(String::len).chain(names.into_iter().flatten()).chain(held).sum::<usize>();
            let amounts = amounts_to_pb(&product.amounts);
            let bytes = 128 + bytes + 128 * amounts.len();
            let product = Some(node_to_pb(&product.node));
            message.products.push(pb::RecalledProduct { product, amounts, packages, holder });
            bytes
        }
        RecallStep::Summary(summary) => {
            message.summary = Some(summary_to_pb(summary));
            128
        }
    }
}

fn node_to_pb(node: &TracedNode) -> pb::TraceNode {
    use pb::trace_node::State;
    let (state, prefix) = match &node.state {
        NodeState::Active => (State::Active, ""),
        NodeState::Event => (State::Event, ""),
        NodeState::Retired => (State::Retired, ""),
        NodeState::Withdrawn => (State::Withdrawn, ""),
        NodeState::Missing => (State::Missing, ""),
        NodeState::Erased => (State::Erased, ""),
        NodeState::Delegated(prefix) => (State::Delegated, prefix.as_str()),
    };
    let (version, ledger_index) = node.version.unwrap_or_default();
    pb::TraceNode {
        number: node.number,
        identifier: node.identifier.to_string(),
        depth: node.depth,
        state: state.into(),
        version,
        ledger_index,
        name: node.name.as_deref().unwrap_or("").to_owned(),
        delegated_prefix: prefix.to_owned(),
    }
}

fn edge_to_pb(edge: &TracedEdge) -> pb::TraceEdge {
    let (quantity, unit) = quantity_to_pb(edge.quantity.as_ref());
    pb::TraceEdge {
        number: edge.number,
        from: edge.from,
        to: edge.to,
        r#type: edge_type_to_pb(edge.kind).into(),
        said_by_event: edge.origin == EdgeOrigin::Event,
        depth: edge.depth,
        ledger_index: edge.ledger_index,
        quantity,
        unit,
        valid_from: edge.valid_from_ms,
        repeated_node: edge.repeated,
    }
}

fn amounts_to_pb(amounts: &[(Box<str>, Sum)]) -> Vec<pb::TraceAmount> {
    let amount = |(unit, sum): &(Box<str>, Sum)| {
        let quantity = match sum {
            Sum::Exact(amount) => amount.to_string(),
            Sum::TooLong => String::new(),
        };
        pb::TraceAmount { quantity, unit: unit.to_string() }
    };
    amounts.iter().map(amount).collect()
}

fn summary_to_pb(summary: TraceSummary) -> pb::TraceSummary {
    use pb::trace_summary::Truncation as Cut;
    let cut = |truncation: Truncation| match truncation {
        Truncation::Depth => Cut::Depth,
        Truncation::Nodes => Cut::Nodes,
        Truncation::FanOut => Cut::FanOut,
        Truncation::Edges => Cut::Edges,
        Truncation::Time => Cut::Time,
    };
    pb::TraceSummary {
        as_of: summary.as_of,
        nodes: summary.nodes,
        edges: summary.edges,
        missing: summary.missing,
        retired: summary.retired,
        out_of_time: summary.out_of_time,
        cycles: summary.cycles,
        truncated: summary.truncated.into_iter().map(|truncation| cut(truncation).into()).collect(),
    }
}

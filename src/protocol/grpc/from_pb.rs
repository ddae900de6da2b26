//! Conversion of messages to the cores' types, with checks.

use bytes::Bytes;
use prost::Message;

use super::pb;
use crate::{
    entry::{BadReason, ErasedValues, REQUEST_ID_BYTES_MAX, Reason, RequestId},
    id::Identifier,
    record::{
        Edge, EdgeChange, EdgeType, Event, Flow, Outputs, Permissions, Quantity, Record, RecordError, Reference,
        Status, Unit, Value, Values, Version,
    },
    registry::{Command, Merging, Operation, Refusal, ValueChange},
};

/// Error of a part of a message; the caller adds the identifier.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{part} {source}")]
    Identifier { part: &'static str, source: crate::id::ParseError },
    #[error(transparent)]
    Reason(#[from] BadReason),
    #[error("{count} {what}; the limit of a record is {limit}")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("{0}")]
    Rule(&'static str),
}

/// Reads an encoded command.
///
/// # Errors
///
/// [`Refusal::Unreadable`] if the bytes are no message, else as for [`command`].
pub fn decode_command(message: Bytes) -> Result<Command, Refusal> {
    let message = pb::Command::decode(message);
    command(message.map_err(|error| Refusal::Unreadable { reason: error.to_string() })?)
}

/// Reads a command.
///
/// # Errors
///
/// [`Refusal::Invalid`] with the first rule that is broken.
pub fn command(message: pb::Command) -> Result<Command, Refusal> {
    let identifier = Identifier::parse(&message.identifier)
        .map_err(|error| Refusal::Invalid { identifier: error.excerpt.clone(), reason: error.rule_at() })?;
    let (expected_version, request_id) = (message.expected_version, message.request_id);
    match parts(message.operation, &request_id) {
        Ok((operation, request)) => Ok(Command { identifier, operation, expected_version, request }),
        Err(fault) => Err(Refusal::Invalid { identifier: identifier.to_string(), reason: fault.to_string() }),
    }
}

fn parts(
    operation: Option<pb::command::Operation>,
    request_id: &[u8],
) -> Result<(Operation, Option<RequestId>), Fault> {
    let request = self::request_id(request_id).map_err(Fault::Rule)?;
    let operation = match operation {
        Some(pb::command::Operation::Create(create)) => {
            let edges = create.edges.into_iter().map(edge).collect::<Result<_, _>>()?;
            Operation::Create { values: values(create.values)?, edges }
        }
        Some(pb::command::Operation::Event(message)) => event(message)?,
        Some(pb::command::Operation::Update(message)) => update(message)?,
        Some(pb::command::Operation::Retire(pb::Retire {})) => Operation::Retire,
        Some(pb::command::Operation::Erase(pb::Erase { index, reason })) => {
            let values = match index {
                None => ErasedValues::All,
                Some(0) => return Err(Fault::Rule("no value has index 0: give the index of a value, or none")),
                Some(index) => ErasedValues::One(index),
            };
            Operation::Erase { values, reason: Reason::new(&reason)? }
        }
        None => return Err(Fault::Rule("the command has no operation: give create, event, update, retire or erase")),
    };
    Ok((operation, request))
}

/// Reads a request id; `None` if it is empty.
pub(super) fn request_id(bytes: &[u8]) -> Result<Option<RequestId>, &'static str> {
    const { assert!(REQUEST_ID_BYTES_MAX == 64) };
    match bytes {
        [] => Ok(None),
        bytes => match RequestId::new(bytes) {
            Some(request) => Ok(Some(request)),
            None => Err("the request id is longer than the limit of 64 bytes"),
        },
    }
}

fn event(message: pb::Event) -> Result<Operation, Fault> {
    let values = values(message.values)?;
    let event = Event { inputs: flows(message.inputs)?, outputs: outputs(message.outputs, &message.balance)? };
    Ok(Operation::Event { values, event })
}

fn outputs(messages: Vec<pb::Flow>, balance: &str) -> Result<Outputs, Fault> {
    let balance = if balance.is_empty() { None } else { Some(balance.parse()?) };
    Ok(Outputs { flows: flows(messages)?, balance })
}

fn flows(messages: Vec<pb::Flow>) -> Result<Vec<Flow>, Fault> {
    let flow = |message: pb::Flow| {
        let part = "input or output";
        let identifier = Identifier::parse(&message.identifier).map_err(|source| Fault::Identifier { part, source })?;
        let quantity = quantity(&message.quantity, &message.unit)?;
        let flow = Flow { identifier, quantity, valid_from_ms: message.valid_from };
        flow.edge().check()?;
        Ok(flow)
    };
    messages.into_iter().map(flow).collect()
}

fn quantity(quantity: &str, unit: &str) -> Result<Option<(Quantity, Option<Unit>)>, RecordError> {
    Ok(match (quantity, unit) {
        ("", "") => None,
        ("", unit) => return Err(RecordError::UnitWithoutQuantity { unit: unit.into() }),
        (quantity, "") => Some((quantity.parse()?, None)),
        (quantity, unit) => Some((quantity.parse()?, Some(unit.parse()?))),
    })
}

fn update(message: pb::Update) -> Result<Operation, Fault> {
    let mode = message.mode();
    let values = values(message.values)?;
    let values = match mode {
        pb::update::Mode::Replace if message.remove_indexes.is_empty() => ValueChange::Replace(values),
        pb::update::Mode::Replace => return Err(Fault::Rule("remove_indexes goes with MODE_MERGE only")),
        pb::update::Mode::Merge => ValueChange::Merge(Merging { set: values, remove: message.remove_indexes }),
        pb::update::Mode::Unspecified => return Err(Fault::Rule("the update has no mode: give REPLACE or MERGE")),
    };
    let added = message.add_edges.into_iter().map(|message| edge(message).map(EdgeChange::Add));
    let removed = message.remove_edges.into_iter().map(|message| {
        let edge = edge(message)?;
        Ok(EdgeChange::Remove(edge.kind, edge.to))
    });
    Ok(Operation::Update { values, edges: added.chain(removed).collect::<Result<_, Fault>>()? })
}

/// Reads the values of a command.
///
/// # Errors
///
/// A sentence with the rule that is broken.
pub fn values_from_pb(messages: Vec<pb::Value>) -> Result<Values, String> {
    values(messages).map_err(|fault| fault.to_string())
}

fn values(messages: Vec<pb::Value>) -> Result<Values, Fault> {
    let values = messages.into_iter().map(value).collect::<Result<_, _>>()?;
    Ok(Values::new(values)?)
}

/// Reads a value; the node sets its timestamp.
fn value(message: pb::Value) -> Result<Value, Fault> {
    let permissions = message.permissions.map_or(Ok(Permissions::DEFAULT), Permissions::from_bits)?;
    let reference = |message: pb::Reference| {
        let identifier =
            Identifier::parse(&message.identifier).map_err(|source| Fault::Identifier { part: "reference", source })?;
        Ok(Reference { identifier, index: message.index })
    };
    Ok(Value {
        index: message.index,
        kind: message.r#type.parse()?,
        data: message.data,
        ttl: message.ttl.unwrap_or(Value::TTL_SECONDS_DEFAULT),
        timestamp: 0,
        permissions,
        references: message.references.into_iter().map(reference).collect::<Result<_, Fault>>()?,
    })
}

fn edge(message: pb::Edge) -> Result<Edge, Fault> {
    let kind = match message.r#type() {
        pb::EdgeType::MadeOf => EdgeType::MadeOf,
        pb::EdgeType::DerivedFrom => EdgeType::DerivedFrom,
        pb::EdgeType::PackedIn => EdgeType::PackedIn,
        pb::EdgeType::TransferredTo => EdgeType::TransferredTo,
        pb::EdgeType::Replaces => EdgeType::Replaces,
        pb::EdgeType::Unspecified => return Err(Fault::Rule("an edge has no type, or one that is unknown")),
    };
    let to = Identifier::parse(&message.to).map_err(|source| Fault::Identifier { part: "edge to", source })?;
    let quantity = quantity(&message.quantity, &message.unit)?;
    let edge = Edge { kind, to, quantity, valid_from_ms: message.valid_from };
    edge.check()?;
    Ok(edge)
}

fn at_most(limit: usize, count: usize, what: &'static str) -> Result<(), Fault> {
    if count > limit { Err(Fault::TooMany { what, count, limit }) } else { Ok(()) }
}

/// Reads a record from another node, within the limits of what a node shows.
///
/// # Errors
///
/// A sentence with the rule that is broken.
pub fn record_from_pb(message: pb::Record) -> Result<Record, String> {
    let status = match message.status() {
        pb::Status::Retired => Status::Retired,
        pb::Status::Erased => Status::Erased,
        _ => Status::Active,
    };
    let record = || -> Result<Record, Fault> {
        at_most(Record::EDGES_SHOWN_MAX, message.edges.len(), "edges")?;
        at_most(Event::FLOWS_MAX, message.event.as_ref().map_or(0, |event| event.outputs.len()), "outputs")?;
        at_most(Values::COUNT_MAX, message.values_erased.len(), "erased values")?;
        let identifier =
            Identifier::parse(&message.identifier).map_err(|source| Fault::Identifier { part: "record of", source })?;
        let dated = |message: pb::Value| {
            let timestamp = message.timestamp;
            value(message).map(|value| Value { timestamp, ..value })
        };
        let values = message.values.into_iter().map(dated).collect::<Result<_, _>>()?;
        Ok(Record {
            identifier,
            status,
            values: Values::new(values)?,
            edges: message.edges.into_iter().map(edge).collect::<Result<_, _>>()?,
            edges_truncated: message.edges_truncated,
            outputs: message.event.map(|event| outputs(event.outputs, &event.balance)).transpose()?,
            values_erased: message.values_erased,
            version: Version { number: message.version, ledger_index: message.ledger_index, time_ms: message.time },
        })
    };
    record().map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_node_holds_no_more_than_a_node_shows() {
        let flow = || pb::Flow { identifier: "1.3".into(), ..pb::Flow::default() };
        let edge = || pb::Edge { r#type: pb::EdgeType::MadeOf.into(), to: "1.3".into(), ..pb::Edge::default() };
        let record = |outputs: usize, edges: usize, erased: usize| {
            let event = pb::EventOutputs { outputs: vec![flow(); outputs], ..pb::EventOutputs::default() };
            let (edges, values_erased) = (vec![edge(); edges], vec![1; erased]);
            let identifier = "88.1/a".into();
            record_from_pb(pb::Record { identifier, event: Some(event), edges, values_erased, ..pb::Record::default() })
        };
        assert!(record(1_000, 1_000, 256).is_ok());
        for (refused, what) in [
            (record(1_001, 0, 0), "1001 outputs"),
            (record(0, 1_001, 0), "1001 edges"),
            (record(0, 0, 257), "257 erased values"),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.contains(what), "{refused}");
        }
    }
}

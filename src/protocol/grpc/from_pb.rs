//! From messages to the cores' types, checked.

use bytes::Bytes;
use prost::Message;

use super::pb;
use crate::{
    id::Identifier,
    ledger::{BadReason, ErasedValues, REQUEST_ID_BYTES_MAX, Reason, RequestId},
    record::{
        Edge, EdgeChange, EdgeType, Event, Flow, Outputs, Permissions, Quantity, Record, RecordError, Reference,
        Status, Unit, Value, Values, Version,
    },
    registry::{Command, Operation, Refusal, ValueChange},
};

/// What is wrong with a part of a message; the caller adds the identifier.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{part} {source}")]
    Identifier { part: &'static str, source: crate::id::ParseError },
    #[error(transparent)]
    Reason(#[from] BadReason),
    #[error("{0}")]
    Rule(&'static str),
}

/// Reads an encoded command.
///
/// # Errors
///
/// [`Refusal::Unreadable`] when it is no message, else as for [`command`].
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

/// Reads a request id; none when it is empty.
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
        pb::update::Mode::Merge => ValueChange::Merge { set: values, remove: message.remove_indexes },
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
/// The sentence that says which rule is broken.
pub fn values_from_pb(messages: Vec<pb::Value>) -> Result<Values, String> {
    values(messages).map_err(|fault| fault.to_string())
}

fn values(messages: Vec<pb::Value>) -> Result<Values, Fault> {
    let values = messages.into_iter().map(value).collect::<Result<_, _>>()?;
    Ok(Values::new(values)?)
}

/// Reads a value; its timestamp is the node's to set.
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

/// Reads a record that a node sent.
///
/// # Errors
///
/// The sentence that says which rule is broken.
pub fn record_from_pb(message: pb::Record) -> Result<Record, String> {
    let status = match message.status() {
        pb::Status::Retired => Status::Retired,
        pb::Status::Erased => Status::Erased,
        _ => Status::Active,
    };
    let record = || -> Result<Record, Fault> {
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

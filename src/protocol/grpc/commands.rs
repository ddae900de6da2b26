//! Commands that are encoded while they are read, for imports.
//!
//! A bulk import spends its time on turning lines into messages. Here the parts of a line are written straight into the
//! buffer that is sent: no message is built in between, and nothing is allocated for each part.

use std::ops::Range;

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, bool, decode_varint, encode_key, encode_varint, encoded_len_varint, int64, uint32},
};
use sha2::{Digest, Sha256};

use super::{Encoded, pb};
use crate::record::EdgeType;

/// A value to register, borrowed from the input.
#[derive(Clone, Copy, Debug)]
pub struct ValueParts<'a> {
    /// Index from 1; 0 leaves the numbering to the node, for all values of the record or for none.
    pub index: u32,
    /// The type, unchecked.
    pub kind: &'a str,
    /// The data.
    pub data: &'a [u8],
    /// TTL in seconds; `None` for the node's default.
    pub ttl: Option<u32>,
    /// The four permission bits; `None` for the node's default.
    pub permissions: Option<u8>,
}

/// An edge to register, borrowed from the input.
#[derive(Clone, Copy, Debug)]
pub struct EdgeParts<'a> {
    /// Type of the relation.
    pub kind: EdgeType,
    /// The other identifier, unchecked.
    pub to: &'a str,
    /// Decimal number; empty for none.
    pub quantity: &'a str,
    /// Unit of the quantity; empty for none.
    pub unit: &'a str,
    /// Start of validity, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// An input or output of an event, borrowed from the input of the import.
#[derive(Clone, Copy, Debug)]
pub struct FlowParts<'a> {
    /// The identifier, unchecked.
    pub identifier: &'a str,
    /// Decimal number; empty for none.
    pub quantity: &'a str,
    /// Unit of the quantity; empty for none.
    pub unit: &'a str,
    /// Start of validity, milliseconds since 1970 UTC.
    pub valid_from_ms: Option<i64>,
}

/// An event to register, borrowed from the input of the import.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'a> {
    /// The inputs.
    pub inputs: &'a [FlowParts<'a>],
    /// The outputs.
    pub outputs: &'a [FlowParts<'a>],
    /// Unit in which inputs and outputs must balance; empty for none.
    pub balance: &'a str,
}

/// The bytes of an `ApplyBatchRequest` message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandBatch {
    bytes: Vec<u8>,
    /// End of each command's field in `bytes`.
    ends: Vec<usize>,
}

/// Bytes that a request id adds to a command: a key, a length, a hash, and two bytes by which the lengths around it may
/// grow.
const REQUEST_ID_FIELD_BYTES: usize = 1 + 1 + 32 + 2;

/// Field numbers of the messages that are written here.
mod tag {
    pub const BATCH_COMMANDS: u32 = 1;
    pub const BATCH_ATOMIC: u32 = 2;
    pub const COMMAND_IDENTIFIER: u32 = 1;
    pub const COMMAND_CREATE: u32 = 2;
    pub const COMMAND_REQUEST_ID: u32 = 6;
    pub const COMMAND_EVENT: u32 = 7;
    pub const CREATE_VALUES: u32 = 1;
    pub const CREATE_EDGES: u32 = 2;
    pub const VALUE_INDEX: u32 = 1;
    pub const VALUE_TYPE: u32 = 2;
    pub const VALUE_DATA: u32 = 3;
    pub const VALUE_TTL: u32 = 4;
    pub const VALUE_PERMISSIONS: u32 = 6;
    pub const VALUE_REFERENCES: u32 = 7;
    pub const REFERENCE_IDENTIFIER: u32 = 1;
    pub const REFERENCE_INDEX: u32 = 2;
    pub const EDGE_TYPE: u32 = 1;
    pub const EDGE_TO: u32 = 2;
    pub const EDGE_QUANTITY: u32 = 3;
    pub const EDGE_UNIT: u32 = 4;
    pub const EDGE_VALID_FROM: u32 = 5;
    pub const EVENT_VALUES: u32 = 1;
    pub const EVENT_INPUTS: u32 = 2;
    pub const EVENT_OUTPUTS: u32 = 3;
    pub const EVENT_BALANCE: u32 = 4;
    pub const FLOW_IDENTIFIER: u32 = 1;
    pub const FLOW_QUANTITY: u32 = 2;
    pub const FLOW_UNIT: u32 = 3;
    pub const FLOW_VALID_FROM: u32 = 4;
}

impl CommandBatch {
    /// An empty batch with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    /// Adds the command that registers an identifier; each value comes with its references.
    pub fn create<'a, R>(
        &mut self,
        identifier: &str,
        values: impl Iterator<Item = (ValueParts<'a>, R)>,
        edges: impl Iterator<Item = EdgeParts<'a>>,
    ) where
        R: Iterator<Item = (&'a str, u32)>,
    {
        put_message(&mut self.bytes, tag::BATCH_COMMANDS, |out| {
            put_text(out, tag::COMMAND_IDENTIFIER, identifier);
            put_message(out, tag::COMMAND_CREATE, |out| {
                for (value, references) in values {
                    put_message(out, tag::CREATE_VALUES, |out| put_value(out, &value, references));
                }
                for edge in edges {
                    put_message(out, tag::CREATE_EDGES, |out| put_edge(out, &edge));
                }
            });
        });
        self.ends.push(self.bytes.len());
    }

    /// Adds the command that registers an identifier as an event; values as for [`CommandBatch::create`].
    pub fn event<'a, R>(
        &mut self,
        identifier: &str,
        values: impl Iterator<Item = (ValueParts<'a>, R)>,
        event: &EventParts<'_>,
    ) where
        R: Iterator<Item = (&'a str, u32)>,
    {
        put_message(&mut self.bytes, tag::BATCH_COMMANDS, |out| {
            put_text(out, tag::COMMAND_IDENTIFIER, identifier);
            put_message(out, tag::COMMAND_EVENT, |out| {
                for (value, references) in values {
                    put_message(out, tag::EVENT_VALUES, |out| put_value(out, &value, references));
                }
                for (tag, flows) in [(tag::EVENT_INPUTS, event.inputs), (tag::EVENT_OUTPUTS, event.outputs)] {
                    flows.iter().for_each(|flow| put_message(out, tag, |out| put_flow(out, flow)));
                }
                if !event.balance.is_empty() {
                    put_text(out, tag::EVENT_BALANCE, event.balance);
                }
            });
        });
        self.ends.push(self.bytes.len());
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is no command.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The length of the message, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Decodes the identifier of a command; empty if there is no such command.
    pub fn identifier(&self, position: usize) -> String {
        pb::Command::decode(self.command(position)).map_or_else(|_| String::new(), |command| command.identifier)
    }

    /// The bytes of a command; empty if there is no such command.
    fn command(&self, position: usize) -> &[u8] {
        // The field is a key of one byte, a length and the command.
        let field = self.bytes.get(self.range(position)).unwrap_or_default();
        let mut command = field.get(1..).unwrap_or_default();
        if decode_varint(&mut command).is_ok() { command } else { &[] }
    }

    /// The same commands, each with a request id derived from its bytes: the same line always gets the same id, so that
    /// sending it again is recognised as a retry.
    pub fn with_request_ids(&self) -> Self {
        let mut named = Self::with_capacity(self.bytes.len() + self.len() * REQUEST_ID_FIELD_BYTES);
        for position in 0..self.len() {
            let command = self.command(position);
            put_message(&mut named.bytes, tag::BATCH_COMMANDS, |out| {
                out.extend_from_slice(command);
                put_bytes(out, tag::COMMAND_REQUEST_ID, &Sha256::digest(command));
            });
            named.ends.push(named.bytes.len());
        }
        named
    }

    /// Appends the commands of another batch.
    pub fn append(&mut self, more: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&more.bytes);
        self.ends.extend(more.ends.iter().map(|end| start + end));
    }

    /// A batch of some of the commands, in the order given.
    pub fn select(&self, positions: impl IntoIterator<Item = usize>) -> Self {
        let mut selected = Self::default();
        for position in positions {
            selected.bytes.extend_from_slice(self.bytes.get(self.range(position)).unwrap_or_default());
            selected.ends.push(selected.bytes.len());
        }
        selected
    }

    /// The message, ready to be sent.
    pub fn message(&self) -> Encoded {
        Encoded(Bytes::copy_from_slice(&self.bytes))
    }

    /// The message for a batch that is carried out as a whole or not at all.
    pub fn atomic_message(&self) -> Encoded {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 2);
        bytes.extend_from_slice(&self.bytes);
        bool::encode(tag::BATCH_ATOMIC, &true, &mut bytes);
        Encoded(bytes.into())
    }

    fn range(&self, position: usize) -> Range<usize> {
        let start = position.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        start..self.ends.get(position).copied().unwrap_or(start)
    }
}

fn put_value<'a>(out: &mut Vec<u8>, value: &ValueParts<'_>, references: impl Iterator<Item = (&'a str, u32)>) {
    if value.index != 0 {
        uint32::encode(tag::VALUE_INDEX, &value.index, out);
    }
    put_text(out, tag::VALUE_TYPE, value.kind);
    put_bytes(out, tag::VALUE_DATA, value.data);
    if let Some(ttl) = value.ttl {
        uint32::encode(tag::VALUE_TTL, &ttl, out);
    }
    if let Some(permissions) = value.permissions {
        uint32::encode(tag::VALUE_PERMISSIONS, &u32::from(permissions), out);
    }
    for (identifier, index) in references {
        put_message(out, tag::VALUE_REFERENCES, |out| {
            put_text(out, tag::REFERENCE_IDENTIFIER, identifier);
            uint32::encode(tag::REFERENCE_INDEX, &index, out);
        });
    }
}

fn put_edge(out: &mut Vec<u8>, edge: &EdgeParts<'_>) {
    uint32::encode(tag::EDGE_TYPE, &u32::from(edge.kind.code()), out);
    put_text(out, tag::EDGE_TO, edge.to);
    if !edge.quantity.is_empty() {
        put_text(out, tag::EDGE_QUANTITY, edge.quantity);
    }
    if !edge.unit.is_empty() {
        put_text(out, tag::EDGE_UNIT, edge.unit);
    }
    if let Some(ms) = edge.valid_from_ms {
        int64::encode(tag::EDGE_VALID_FROM, &ms, out);
    }
}

fn put_flow(out: &mut Vec<u8>, flow: &FlowParts<'_>) {
    put_text(out, tag::FLOW_IDENTIFIER, flow.identifier);
    if !flow.quantity.is_empty() {
        put_text(out, tag::FLOW_QUANTITY, flow.quantity);
    }
    if !flow.unit.is_empty() {
        put_text(out, tag::FLOW_UNIT, flow.unit);
    }
    if let Some(ms) = flow.valid_from_ms {
        int64::encode(tag::FLOW_VALID_FROM, &ms, out);
    }
}

fn put_text(out: &mut Vec<u8>, tag: u32, text: &str) {
    put_bytes(out, tag, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Writes a nested message. Its length stands before it and is known only after it: one byte is kept free for the
/// length, and the body is moved if the length takes more.
fn put_message(out: &mut Vec<u8>, tag: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    let length_at = out.len();
    out.push(0);
    fill(out);
    let body = length_at + 1..out.len();
    let length = body.len() as u64;
    let more = encoded_len_varint(length) - 1;
    if more > 0 {
        out.resize(out.len() + more, 0);
        out.copy_within(body, length_at + 1 + more);
    }
    encode_varint(length, &mut &mut out[length_at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> CommandBatch {
        let mut batch = CommandBatch::default();
        let value = ValueParts { index: 3, kind: "NAME", data: &[7; 300], ttl: Some(60), permissions: Some(12) };
        let plain = ValueParts { index: 0, kind: "A", data: b"", ttl: None, permissions: None };
        let edge = EdgeParts {
            kind: EdgeType::PackedIn,
            to: "88.1/b",
            quantity: "0.25",
            unit: "unit:piece",
            valid_from_ms: Some(-5),
        };
        let values = [(value, vec![("88.1/r", 9)].into_iter()), (plain, Vec::new().into_iter())];
        batch.create("88.1/a", values.into_iter(), [edge].into_iter());
        batch.create("88.1/ü", std::iter::empty::<(_, std::iter::Empty<_>)>(), std::iter::empty());
        batch
    }

    #[test]
    fn what_is_written_is_what_the_definitions_say() {
        let request = pb::ApplyBatchRequest::decode(batch().message().encode_to_vec().as_slice()).unwrap();
        let value = pb::Value {
            index: 3,
            r#type: "NAME".into(),
            data: vec![7; 300].into(),
            ttl: Some(60),
            timestamp: 0,
            permissions: Some(12),
            references: vec![pb::Reference { identifier: "88.1/r".into(), index: 9 }],
        };
        let edge = pb::Edge {
            r#type: pb::EdgeType::PackedIn.into(),
            to: "88.1/b".into(),
            quantity: "0.25".into(),
            unit: "unit:piece".into(),
            valid_from: Some(-5),
        };
        let plain = pb::Value { r#type: "A".into(), ..Default::default() };
        let command = |identifier: &str, create| pb::Command {
            identifier: identifier.into(),
            operation: Some(pb::command::Operation::Create(create)),
            ..Default::default()
        };
        let first = command("88.1/a", pb::Create { values: vec![value, plain], edges: vec![edge] });
        let second = command("88.1/ü", pb::Create::default());
        assert_eq!(request.commands, [first, second]);
    }

    #[test]
    fn an_event_is_what_the_definitions_say() {
        let mut batch = CommandBatch::default();
        let value = ValueParts { index: 0, kind: "A", data: b"b", ttl: None, permissions: None };
        let bare = FlowParts { identifier: "88.1/in", quantity: "", unit: "", valid_from_ms: None };
        let full = FlowParts { identifier: "88.1/out", quantity: "1.5", unit: "kg", valid_from_ms: Some(-5) };
        let event = EventParts { inputs: &[bare], outputs: &[full, bare], balance: "kg" };
        batch.event("88.1/e", [(value, std::iter::empty())].into_iter(), &event);
        let request = pb::ApplyBatchRequest::decode(batch.message().encode_to_vec().as_slice()).unwrap();
        let bare = pb::Flow { identifier: "88.1/in".into(), ..Default::default() };
        let full =
            pb::Flow { identifier: "88.1/out".into(), quantity: "1.5".into(), unit: "kg".into(), valid_from: Some(-5) };
        let event = pb::Event {
            values: vec![pb::Value { r#type: "A".into(), data: "b".into(), ..Default::default() }],
            inputs: vec![bare.clone()],
            outputs: vec![full, bare],
            balance: "kg".into(),
        };
        assert_eq!(request.commands[0].operation, Some(pb::command::Operation::Event(event)));
    }

    #[test]
    fn commands_can_be_found_again() {
        let batch = batch();
        assert_eq!([batch.identifier(0), batch.identifier(1), batch.identifier(2)], ["88.1/a", "88.1/ü", ""]);
        let second = batch.select([1]);
        assert_eq!((second.len(), second.identifier(0)), (1, "88.1/ü".into()));
        assert_eq!(batch.select([0, 1]), batch);
    }

    #[test]
    fn an_atomic_batch_names_its_requests_by_what_they_say() {
        let named = batch().with_request_ids();
        let request = pb::ApplyBatchRequest::decode(named.atomic_message().encode_to_vec().as_slice()).unwrap();
        let plain = pb::ApplyBatchRequest::decode(batch().message().encode_to_vec().as_slice()).unwrap();
        assert!(request.atomic && !plain.atomic);
        let ids: Vec<_> = request.commands.iter().map(|command| command.request_id.clone()).collect();
        assert!(ids.iter().all(|id| id.len() == 32) && ids[0] != ids[1]);
        let without = |command: &pb::Command| pb::Command { request_id: Vec::new().into(), ..command.clone() };
        assert_eq!(request.commands.iter().map(without).collect::<Vec<_>>(), plain.commands);
        // The same wherever it stands.
        let mut twice = CommandBatch::default();
        twice.append(&batch().select([1]));
        twice.append(&batch());
        let twice = pb::ApplyBatchRequest::decode(twice.with_request_ids().message().0).unwrap();
        assert_eq!(twice.commands, [&request.commands[1..], &request.commands].concat());
        assert!(pb::ApplyBatchRequest::decode(CommandBatch::default().atomic_message().0).unwrap().atomic);
    }

    #[test]
    fn lengths_of_every_size() {
        for size in [0, 1, 127, 128, 16_383, 16_384, 70_000, 3_000_000] {
            let mut batch = CommandBatch::default();
            let data = vec![1; size];
            let value = ValueParts { index: 1, kind: "T", data: &data, ttl: None, permissions: None };
            batch.create("i", [(value, std::iter::empty())].into_iter(), std::iter::empty());
            let request = pb::ApplyBatchRequest::decode(batch.message().encode_to_vec().as_slice()).unwrap();
            let Some(pb::command::Operation::Create(create)) = &request.commands[0].operation else { panic!() };
            assert_eq!(create.values[0].data.len(), size);
        }
    }
}

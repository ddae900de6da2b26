//! Entries: the canonical text that is hashed into the tree, and the stored form that lies in a segment.
//!
//! The text of an entry is UTF-8 lines `keyword SP arguments LF`, keywords in a fixed order, absent ones left out, so
//! that equal meaning gives equal bytes; at most [`TEXT_BYTES_MAX`] bytes, the bound of a C2SP entry bundle:
//!
//! ```text
//! touchmark/1 <create|update|retire|event|erase|delegate|home|revoke>
//! id <canonical identifier; space, control characters and "%" percent-encoded>
//! ns <canonical prefix, in the same way>                  in place of `id`, only in a delegate, home or revoke
//! at <milliseconds since 1970 UTC>
//! by <kind>[:<name>]                                        (`Principal`)
//! prev <index of the previous entry of this identifier> <base64 leaf hash>
//! value <index> <type> <base64 commitment>
//! edge <add|remove> <type> <identifier> [<quantity> <unit, or "-">] [from <RFC 3339>]
//! output <identifier> [<quantity> <unit, or "-">] [from <RFC 3339>]
//! balance <unit>
//! erased <value index, and "retired" if the record had ended before, or "*" for the whole record>  only in an erase
//! reason <reason of the erasure; space, control characters and "%" percent-encoded>                only in an erase
//! ttl <seconds>, site …, ds …                             only in a delegate (`record::Delegation`)
//! request <base64 of the client's request id>
//! ```
//!
//! An `event` states a transformation: it is derived from its inputs (`edge add derived-from`, at least one, and no
//! other edges), and its `output`s (at least one) are derived from it. With `balance`, the quantities in that unit are
//! equal on both sides. Only events have these two keywords, and no event has `prev`. A statement about a prefix has no
//! values and no edges.
//!
//! The text commits to values and does not hold them: a commitment is HMAC-SHA256, keyed with the value's salt, over
//! `type 0x00 canonical bytes` (`record::stored`); the salt of value i is HMAC-SHA256(entry salt, i as 4 bytes,
//! big-endian). Salt and values lie only in the stored form, from which the text of an unredacted entry is derived:
//!
//! ```text
//! kind (1 byte) · flags (1 byte) · index · time ms · version (varints) · [previous index · previous locator (varints)]
//! · identifier · principal (length, bytes) · salt (32 bytes) · value count (varint) · stored values
//! · edge count (varint) · stored edges · [outputs, of an event] · [erasure, of an erase]
//! · [text of the delegation (length, bytes), of a delegate] · request id (length, bytes)
//! stored edge = type code, +128 for a removal (1 byte) · target · quantity · unit (length, bytes)
//!               · 0, or 1 and the time in ms (varint, zigzag)
//! outputs, of events only = count (varint) · stored edges of type derived-from · unit to balance (length, bytes), or empty
//! ```
//!
//! If values of an entry are erased, a redacted form replaces it, which has a flag of its own, and neither the salt nor
//! the erased values (`redacted`).

pub mod chain;
mod edges;
mod erasure;
mod foreign;
mod grammar;
mod opening;
mod parse;
mod prefix;
mod principal;
mod redacted;
mod text;

use edges::{put_stored_edge, put_stored_outputs, read_list, read_stored_edge, read_stored_outputs};
pub use erasure::{BadReason, ErasedValues, Erasure, REASON_BYTES_MAX, Reason};
pub use foreign::{Kept, Outside, with_place, without_place};
use opening::ValueSalts;
pub use opening::{Salts, ValueOpening, commitment};
pub use parse::{EdgeLine, EdgeLineOp, EntryText, EntryTextError, ValueLine};
pub use prefix::{EntrySubject, PrefixStatement};
pub use principal::{BadPrincipal, Principal};
use redacted::StoredValues;
pub use redacted::{ErasedValue, REDACTED_BYTES_MAX};
use text::{put_edge_line, put_erasure_lines, put_head, put_output_lines, put_place, put_request_line, put_value_line};

use crate::{
    codec::{Reader, Torn, put_bytes, put_varint},
    id::Identifier,
    record::{
        Delegation, EdgeChange, Event, Flow, Outputs, Values,
        stored::{self, StoredValue},
    },
    tlog::{Hash, record_hash},
};

/// Maximum length of an entry's text, in bytes (C2SP tlog-tiles: an entry's length is a 16-bit number).
pub const TEXT_BYTES_MAX: usize = 65_535;
/// Maximum length of a request id, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Room for the lines whose content is known only when the entry gets its place: `at`, `by`, `prev`; in bytes.
const TEXT_BYTES_RESERVED: usize = 256;

const FLAG_EDGES: u8 = 1;
const FLAG_REDACTED: u8 = 2;

/// Kind of change that an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An identifier was registered.
    Create = 1,
    /// The record was changed.
    Update = 2,
    /// The record was retired.
    Retire = 3,
    /// An identifier was registered as an event.
    Event = 4,
    /// Values of the record were erased, or the whole record.
    Erase = 5,
    /// Another node answers for a prefix.
    Delegate = 6,
    /// This node answers for a prefix.
    Home = 7,
    /// A delegation or home statement about a prefix was withdrawn.
    Revoke = 8,
}

impl EntryKind {
    const ALL: [Self; 8] =
        [Self::Create, Self::Update, Self::Retire, Self::Event, Self::Erase, Self::Delegate, Self::Home, Self::Revoke];

    fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// True if the entry is about a prefix, not an identifier.
    pub fn is_about_prefix(self) -> bool {
        matches!(self, Self::Delegate | Self::Home | Self::Revoke)
    }

    /// The word in the entry's first line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Retire => "retire",
            Self::Event => "event",
            Self::Erase => "erase",
            Self::Delegate => "delegate",
            Self::Home => "home",
            Self::Revoke => "revoke",
        }
    }
}

/// A client's id of one change, 1 to [`REQUEST_ID_BYTES_MAX`] bytes, by which a retry is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Box<[u8]>);

impl RequestId {
    /// Checks a request id; `None` if it is empty or too long.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// Bytes of the id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The text of an entry would be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ledger entry would take {bytes} bytes of text; the limit is {TEXT_BYTES_MAX}: \
     spread the edges over several commands"
)]
pub struct EntryTooLong {
    /// Length that the text would have, at most, in bytes.
    pub bytes: usize,
}

/// Content of an entry, without its place in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Kind of change.
    pub kind: EntryKind,
    /// The identifier, spelled as it was first registered.
    pub identifier: &'a Identifier,
    /// Principal of the change.
    pub principal: &'a Principal,
    /// All values of the record from now on.
    pub values: &'a Values,
    /// Edges that are added and removed; for an event its inputs.
    pub edges: &'a [EdgeChange],
    /// Outputs of an event; `None` for every other kind.
    pub outputs: Option<&'a Outputs>,
    /// The client's id of the change.
    pub request: Option<&'a RequestId>,
    /// Erasure, for an erase entry; `None` for every other kind.
    pub erasure: Option<&'a Erasure>,
}

/// Place of an entry in the ledger, known once the sequencer has ordered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index in the ledger, from 0.
    pub index: u64,
    /// Time, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Version of the record that the entry makes, from 1.
    pub version: u64,
    /// The previous entry of the same identifier.
    pub previous: Option<Previous>,
    /// True if any edge may leave the record after this entry.
    pub has_edges: bool,
}

/// Locator of another entry, in the terms of the storage: a number that the stored form carries for its reader. This
/// module gives it no meaning, and no text and no hash covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Locator(pub u64);

/// The previous entry of the same identifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Previous {
    /// Index in the ledger.
    pub index: u64,
    /// Locator of the entry.
    pub locator: Locator,
    /// Leaf hash of the entry.
    pub leaf_hash: Hash,
}

impl Eq for Previous {}

/// A statement with everything computed that does not depend on its place: salts, commitments, stored bytes.
#[derive(Clone, Debug)]
pub struct Draft {
    kind: EntryKind,
    principal: Principal,
    text_head: Vec<u8>,
    text_tail: Vec<u8>,
    stored_tail: Vec<u8>,
}

impl Draft {
    /// Computes commitments and stored bytes, with a fresh random salt.
    ///
    /// # Errors
    ///
    /// [`EntryTooLong`] if the text would pass [`TEXT_BYTES_MAX`].
    pub fn new(statement: &Statement<'_>, salt: [u8; 32]) -> Result<Self, EntryTooLong> {
        let Statement { kind, identifier, principal, values, edges, outputs, request, erasure } = *statement;
        let mut text_head = Vec::with_capacity(64 + identifier.as_str().len());
        put_head(&mut text_head, kind, identifier.as_str());
        let mut text_tail = Vec::with_capacity(72 * values.len() + 128 * edges.len());
        let data_len: usize = values.iter().map(stored::value_len_max).sum();
        let mut stored_tail = Vec::with_capacity(96 + identifier.as_str().len() + data_len + 128 * edges.len());

        put_bytes(&mut stored_tail, identifier.as_str().as_bytes());
        put_bytes(&mut stored_tail, principal.as_str().as_bytes());
        stored_tail.extend_from_slice(&salt);
        put_varint(&mut stored_tail, values.len() as u64);
        let salts = ValueSalts::new(&salt);
        let mut canonical = Vec::new();
        for value in values.iter() {
            canonical.clear();
            stored::put_canonical(&mut canonical, value);
            let value = StoredValue { index: value.index, kind: value.kind.as_str(), canonical: &canonical };
            value.put(&mut stored_tail);
            put_value_line(&mut text_tail, value.index, value.kind, &salts.commitment(&value));
        }
        edges.iter().for_each(|change| put_edge_line(&mut text_tail, change));
        if let Some(outputs) = outputs {
            put_output_lines(&mut text_tail, outputs);
        }
        if let Some(erasure) = erasure {
            put_erasure_lines(&mut text_tail, erasure);
        }
        let request = request.map_or(&[][..], RequestId::as_bytes);
        put_request_line(&mut text_tail, request);
        put_stored_tail(&mut stored_tail, edges, outputs, erasure, request);
        Self::checked(kind, principal.clone(), text_head, text_tail, stored_tail)
    }

    /// Checks the length of the text.
    fn checked(
        kind: EntryKind,
        principal: Principal,
        text_head: Vec<u8>,
        text_tail: Vec<u8>,
        stored_tail: Vec<u8>,
    ) -> Result<Self, EntryTooLong> {
        let bytes = text_head.len() + text_tail.len() + TEXT_BYTES_RESERVED;
        if bytes > TEXT_BYTES_MAX {
            return Err(EntryTooLong { bytes });
        }
        Ok(Self { kind, principal, text_head, text_tail, stored_tail })
    }

    /// Appends the text that the leaf hash covers.
    pub fn put_text(&self, out: &mut Vec<u8>, place: &Place) {
        out.extend_from_slice(&self.text_head);
        put_place(out, place.time_ms, &self.principal, place.previous.map(|prev| (prev.index, prev.leaf_hash)));
        out.extend_from_slice(&self.text_tail);
    }

    /// Appends the stored form.
    pub fn put_stored(&self, out: &mut Vec<u8>, place: &Place) {
        out.push(self.kind.code());
        out.push(if place.has_edges { FLAG_EDGES } else { 0 });
        put_varint(out, place.index);
        put_varint(out, place.time_ms);
        put_varint(out, place.version);
        if let Some(previous) = place.previous {
            put_varint(out, previous.index);
            put_varint(out, previous.locator.0);
        }
        out.extend_from_slice(&self.stored_tail);
    }

    /// Maximum number of bytes that [`Draft::put_stored`] appends.
    pub fn stored_len_max(&self) -> usize {
        self.stored_tail.len() + 64
    }
}

/// Appends the part of the stored form behind the values, of a whole or a redacted entry.
fn put_stored_tail(
    out: &mut Vec<u8>,
    edges: &[EdgeChange],
    outputs: Option<&Outputs>,
    erasure: Option<&Erasure>,
    request: &[u8],
) {
    put_varint(out, edges.len() as u64);
    edges.iter().for_each(|change| put_stored_edge(out, change));
    if let Some(outputs) = outputs {
        put_stored_outputs(out, outputs);
    }
    if let Some(erasure) = erasure {
        erasure.put(out);
    }
    put_bytes(out, request);
}

/// An entry as it lies in a segment; borrowed where possible.
#[derive(Clone, Debug)]
pub struct StoredEntry<'a> {
    /// Kind of change.
    pub kind: EntryKind,
    /// True if any edge may leave the record after this entry.
    pub has_edges: bool,
    /// Index in the ledger.
    pub index: u64,
    /// Time of the entry, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Version of the record, from 1.
    pub version: u64,
    /// Index and locator of the previous entry of the same identifier.
    pub previous: Option<(u64, Locator)>,
    /// The identifier as it was first registered, or the prefix if the entry is about one ([`StoredEntry::subject`]).
    pub identifier: &'a str,
    /// Principal of the change.
    pub principal: Principal,
    /// Salts of the commitments.
    pub salts: Salts,
    /// All values of the record that are not erased.
    pub values: Vec<StoredValue<'a>>,
    /// Index, type and commitment of the erased values, in order of index.
    pub erased: Vec<ErasedValue<'a>>,
    /// Edges that the entry adds and removes.
    pub edges: Vec<EdgeChange>,
    /// Outputs of an event; `None` for every other kind.
    pub outputs: Option<Outputs>,
    /// Erasure of values in the versions before this entry; `None` for every kind but an erase.
    pub erasure: Option<Erasure>,
    /// Delegation of the prefix from now on; `None` for every kind but a delegate.
    pub delegation: Option<Delegation>,
    /// The client's request id; empty if it gave none.
    pub request: &'a [u8],
}

impl<'a> StoredEntry<'a> {
    /// Ledger index of an entry, read from the head of its stored form.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the bytes end before it.
    pub fn index_of(stored: &[u8]) -> Result<u64, Torn> {
        let mut reader = Reader::new(stored);
        let _kind_and_flags: [u8; 2] = reader.array()?;
        reader.varint()
    }

    /// Ledger index of the entry before, of the same identifier or prefix.
    pub fn previous_index(&self) -> Option<u64> {
        self.previous.map(|(index, _)| index)
    }

    /// Reads an entry from exactly these bytes.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the bytes are not an entry.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Torn> {
        let mut reader = Reader::new(bytes);
        let kind = EntryKind::from_code(reader.byte()?).ok_or(Torn)?;
        let flags = reader.byte()?;
        if flags & !(FLAG_EDGES | FLAG_REDACTED) != 0 {
            return Err(Torn);
        }
        let (index, time_ms, version) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let previous = match version {
            0 => return Err(Torn),
            1 => None,
            _ => Some((reader.varint()?, Locator(reader.varint()?))),
        };
        let identifier = reader.text()?;
        let principal = Principal::parse(reader.text()?).map_err(|_| Torn)?;
        let StoredValues { values, salts, erased } = match flags & FLAG_REDACTED {
            0 => {
                let salts = Salts::Entry(reader.array()?);
                let values = read_list(&mut reader, Values::COUNT_MAX, StoredValue::read)?;
                StoredValues { values, salts, erased: Vec::new() }
            }
            _ => redacted::read_redacted(&mut reader, Values::COUNT_MAX)?,
        };
        let edges = read_list(&mut reader, TEXT_BYTES_MAX, read_stored_edge)?;
        let outputs = if kind == EntryKind::Event { Some(read_stored_outputs(&mut reader)?) } else { None };
        let erasure = (kind == EntryKind::Erase).then(|| Erasure::read(&mut reader)).transpose()?;
        let delegation = (kind == EntryKind::Delegate).then(|| prefix::read_delegation(&mut reader)).transpose()?;
        let request = reader.bytes()?;
        if !reader.is_empty() || request.len() > REQUEST_ID_BYTES_MAX {
            return Err(Torn);
        }
        let has_edges = flags & FLAG_EDGES != 0;
        Ok(Self {
            kind,
            has_edges,
            index,
            time_ms,
            version,
            previous,
            identifier,
            principal,
            salts,
            values,
            erased,
            edges,
            outputs,
            erasure,
            delegation,
            request,
        })
    }

    /// Derives the text that the leaf hash covers. `previous_leaf` is the leaf hash of the previous entry, if there is
    /// one.
    pub fn put_text(&self, out: &mut Vec<u8>, previous_leaf: Option<Hash>) {
        put_head(out, self.kind, self.identifier);
        let previous = self.previous.zip(previous_leaf).map(|((index, _), leaf)| (index, leaf));
        put_place(out, self.time_ms, &self.principal, previous);
        self.put_value_lines(out);
        for change in &self.edges {
            put_edge_line(out, change);
        }
        if let Some(outputs) = &self.outputs {
            put_output_lines(out, outputs);
        }
        if let Some(erasure) = &self.erasure {
            put_erasure_lines(out, erasure);
        }
        if let Some(delegation) = &self.delegation {
            out.extend_from_slice(delegation.to_text().as_bytes());
        }
        put_request_line(out, self.request);
    }

    /// Decodes the values that are not erased; a value without a time of its own gets that of the entry.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the values break a rule of records.
    pub fn decode_values(&self) -> Result<Values, Torn> {
        stored::decode_values(&self.values, self.time_ms)
    }

    /// The event, if the entry is one.
    pub fn event(&self) -> Option<Event> {
        let inputs = self.edges.iter().filter_map(|change| match change {
            EdgeChange::Add(edge) => Some(Flow::from(edge.clone())),
            EdgeChange::Remove(..) => None,
        });
        self.outputs.clone().map(|outputs| Event { inputs: inputs.collect(), outputs })
    }
}

/// Leaf hash of an entry's text (RFC 6962 section 2.1).
pub fn leaf_hash(text: &[u8]) -> Hash {
    record_hash(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use super::*;
    use crate::record::{Edge, EdgeType, Permissions, Value};

    fn value(index: u32, kind: &str, data: &[u8]) -> Value {
        Value {
            index,
            kind: kind.parse().unwrap(),
            data: Bytes::copy_from_slice(data),
            ttl: 3_600,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        }
    }

    fn edge(kind: EdgeType, to: &str, quantity: Option<(&str, Option<&str>)>, valid_from_ms: Option<i64>) -> Edge {
        let quantity = quantity.map(|(number, unit)| (number.parse().unwrap(), unit.map(|unit| unit.parse().unwrap())));
        Edge { kind, to: Identifier::parse(to).unwrap(), quantity, valid_from_ms }
    }

    /// An update with everything that an entry can contain.
    fn draft() -> (Draft, Place) {
        let identifier = Identifier::parse("88.118.8/Pump 7%").unwrap();
        let values = Values::new(vec![value(1, "NAME", b"Pump"), value(300, "URL", b"https://example.com/")]).unwrap();
        let edges = [
            EdgeChange::Add(edge(EdgeType::MadeOf, "urn:oid:2.999.1", Some(("0.25", Some("unit:kg"))), Some(-1))),
            EdgeChange::Add(edge(EdgeType::PackedIn, "88.118.8/Box", Some(("1", None)), None)),
            EdgeChange::Remove(EdgeType::Replaces, Identifier::parse("88.118.8/Pump-6").unwrap()),
        ];
        let request = RequestId::new(b"retry me");
        let statement = Statement {
            kind: EntryKind::Update,
            identifier: &identifier,
            principal: &Principal::LOOPBACK,
            values: &values,
            edges: &edges,
            outputs: None,
            request: request.as_ref(),
            erasure: None,
        };
        let previous = Some(Previous { index: 4, locator: Locator(77), leaf_hash: Hash([0xab; 32]) });
        let place = Place { index: 9, time_ms: 1_763_820_000_123, version: 2, previous, has_edges: true };
        (Draft::new(&statement, [5; 32]).unwrap(), place)
    }

    #[test]
    fn the_text_is_canonical() {
        let (draft, place) = draft();
        let mut text = Vec::new();
        draft.put_text(&mut text, &place);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "touchmark/1 update\n\
             id 88.118.8/Pump%207%25\n\
             at 1763820000123\n\
             by loopback\n\
             prev 4 q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n\
             value 1 NAME COMMITMENT-1\n\
             value 300 URL COMMITMENT-300\n\
             edge add made-of urn:oid:2.999.1 0.25 unit:kg from 1969-12-31T23:59:59.999Z\n\
             edge add packed-in 88.118.8/Box 1 -\n\
             edge remove replaces 88.118.8/Pump-6\n\
             request cmV0cnkgbWU=\n"
                .replace("COMMITMENT-1\n", &format!("{}\n", commitment(1, "NAME", b"Pump")))
                .replace("COMMITMENT-300", &commitment(300, "URL", b"https://example.com/"))
        );
    }

    /// The commitment by its definition, over the values' canonical bytes: permissions 14, TTL 3,600 as a varint, no
    /// time, no references, the data.
    fn commitment(index: u32, kind: &str, data: &[u8]) -> String {
        let mac = |key: &[u8], message: &[u8]| {
            Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes()
        };
        let salt = mac(&[5; 32], &index.to_be_bytes());
        let message = [kind.as_bytes(), &[0, 14, 0x90, 0x1c, 0, 0], data].concat();
        BASE64.encode(&mac(&salt, &message))
    }

    #[test]
    fn the_stored_form_gives_the_same_text() {
        let (draft, place) = draft();
        let (mut stored, mut text, mut derived) = (Vec::new(), Vec::new(), Vec::new());
        draft.put_stored(&mut stored, &place);
        draft.put_text(&mut text, &place);
        assert!(stored.len() <= draft.stored_len_max());
        let entry = StoredEntry::read(&stored).unwrap();
        entry.put_text(&mut derived, Some(Hash([0xab; 32])));
        assert_eq!(String::from_utf8(text), String::from_utf8(derived));
        assert_eq!((entry.index, entry.version, entry.previous), (9, 2, Some((4, Locator(77)))));
        assert_eq!(entry.decode_values().unwrap()[1].data, "https://example.com/");
        assert_eq!(entry.decode_values().unwrap()[1].timestamp, 1_763_820_000);
        assert!(entry.has_edges && entry.request == b"retry me");
    }

    /// An event with everything that an event can contain.
    fn event_draft() -> (Draft, Place) {
        let identifier = Identifier::parse("88.118.8/Melt 7").unwrap();
        let flow = |to: &str, quantity| Flow::from(edge(EdgeType::DerivedFrom, to, quantity, Some(0)));
        let kg = |quantity| Some((quantity, Some("unit:kg")));
        let event = Event {
            inputs: vec![flow("88.118.8/Coil", kg("2.50"))],
            outputs: Outputs {
                flows: vec![flow("88.118.8/Sheet 1", kg("2")), flow("urn:oid:2.999.1", Some(("0.5", None)))],
                balance: Some("unit:kg".parse().unwrap()),
            },
        };
        let edges: Vec<_> = event.inputs.iter().map(|input| EdgeChange::Add(input.edge())).collect();
        let request = RequestId::new(b"r");
        let statement = Statement {
            kind: EntryKind::Event,
            identifier: &identifier,
            principal: &Principal::LOOPBACK,
            values: &Values::new(vec![value(1, "NAME", b"Melt")]).unwrap(),
            edges: &edges,
            outputs: Some(&event.outputs),
            request: request.as_ref(),
            erasure: None,
        };
        let place = Place { index: 3, time_ms: 1_763_820_000_123, version: 1, previous: None, has_edges: true };
        (Draft::new(&statement, [5; 32]).unwrap(), place)
    }

    #[test]
    fn an_event_is_written_stored_and_read() {
        let (draft, place) = event_draft();
        let (mut stored, mut text, mut derived) = (Vec::new(), Vec::new(), Vec::new());
        draft.put_stored(&mut stored, &place);
        draft.put_text(&mut text, &place);
        let entry = StoredEntry::read(&stored).unwrap();
        entry.put_text(&mut derived, None);
        assert_eq!(text, derived);
        let written = String::from_utf8(text).unwrap();
        let tail = "edge add derived-from 88.118.8/Coil 2.50 unit:kg from 1970-01-01T00:00:00Z\n\
             output 88.118.8/Sheet%201 2 unit:kg from 1970-01-01T00:00:00Z\n\
             output urn:oid:2.999.1 0.5 - from 1970-01-01T00:00:00Z\n\
             balance unit:kg\nrequest cg==\n";
        assert!(
            written.starts_with("touchmark/1 event\nid 88.118.8/Melt%207\n") && written.ends_with(tail),
            "{written}"
        );
        let event = entry.event().unwrap();
        assert_eq!((event.inputs.len(), event.outputs.flows.len()), (1, 2));
        let read = EntryText::parse(written.as_bytes()).unwrap();
        assert_eq!(
            (read.kind, &*read.outputs, read.balance),
            (EntryKind::Event, &["88.118.8/Sheet 1".into(), "urn:oid:2.999.1".into()][..], Some("unit:kg"),)
        );
        for (from, to) in [
            ("event", "create"),
            ("edge add derived-from", "edge add made-of"),
            ("edge add derived-from", "edge remove derived-from"),
            ("by loopback\n", "by loopback\nprev 4 q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n"),
            ("output 88.118.8/Sheet%201 2 unit:kg", "output 88.118.8/Sheet%201 2"),
            ("balance unit:kg", "balance unit kg"),
            ("balance unit:kg\n", "balance unit:kg\nbalance unit:kg\n"),
        ] {
            assert!(EntryText::parse(written.replacen(from, to, 1).as_bytes()).is_err(), "{from} -> {to}");
        }
        let without = written.lines().filter(|line| !line.starts_with("output")).map(|line| format!("{line}\n"));
        assert!(EntryText::parse(without.collect::<String>().as_bytes()).is_err());
        for end in 0..stored.len() {
            assert!(StoredEntry::read(&stored[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused_or_says_something_else() {
        let (draft, place) = draft();
        let (mut stored, mut text) = (Vec::new(), Vec::new());
        draft.put_stored(&mut stored, &place);
        draft.put_text(&mut text, &place);
        for end in 0..stored.len() {
            assert!(StoredEntry::read(&stored[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..stored.len() * 8 {
            stored[bit / 8] ^= 1 << (bit % 8);
            if let Ok(entry) = StoredEntry::read(&stored) {
                let mut derived = Vec::new();
                entry.put_text(&mut derived, entry.previous.map(|_| Hash([0xab; 32])));
                let same_place = (entry.index, entry.version, entry.previous, entry.has_edges)
                    == (9, 2, Some((4, Locator(77))), true);
                assert!(derived != text || !same_place, "bit {bit}");
            }
            stored[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn too_much_text_is_refused_with_the_limit() {
        let identifier = Identifier::parse("88.118.8/a").unwrap();
        let to = |number: u32| format!("88.118.8/{number:0>240}");
        let edges: Vec<_> =
            (0..300).map(|number| EdgeChange::Add(edge(EdgeType::MadeOf, &to(number), None, None))).collect();
        let statement = Statement {
            kind: EntryKind::Create,
            identifier: &identifier,
            principal: &Principal::LOOPBACK,
            values: &Values::default(),
            edges: &edges,
            outputs: None,
            request: None,
            erasure: None,
        };
        let refused = Draft::new(&statement, [0; 32]).unwrap_err().to_string();
        assert!(refused.contains("65535"), "{refused}");
    }
}

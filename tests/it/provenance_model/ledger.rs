//! The plain model: a list of all entries. Each question is answered by going through the list.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};
use tonic::Code;
use touchmark::{
    id::Identifier,
    protocol::grpc::pb::{
        self, EdgeType, Status, answer::Outcome as Answer, command::Operation, trace_node::State,
        value_difference::Kind as Difference, version_change::Kind,
    },
    tlog::Hash,
    vindex::LookupKind,
};

/// Start of every payload, followed by 16 hexadecimal digits that no other payload has.
pub const TOKEN: &str = "payload-";
pub const TOKEN_DIGITS: usize = 16;

/// An entry, with the version that it made.
pub struct Entry {
    /// The identifier in its first spelling.
    pub identifier: Identifier,
    pub kind: Kind,
    pub receipt: pb::Receipt,
    /// Values of the record at this version, without those erased since.
    pub values: BTreeMap<u32, pb::Value>,
    /// Types of the values erased since, by index.
    pub erased: BTreeMap<u32, String>,
    pub added: Vec<pb::Edge>,
    pub removed: Vec<pb::Edge>,
    pub event: Option<pb::EventOutputs>,
    pub erasure: Option<pb::Erasure>,
    pub status: Status,
    pub request: Vec<u8>,
}

/// An edge, as of some entry.
#[derive(Clone, Debug)]
pub struct Said {
    pub from: Identifier,
    pub to: Identifier,
    pub kind: i32,
    pub by_event: bool,
    pub index: u64,
    pub edge: pb::Edge,
}

/// Expected result of a command.
#[derive(Debug, PartialEq)]
pub enum Expected {
    New,
    Replayed(u64),
    Refused(Code),
}

#[derive(Default)]
pub struct Model {
    pub entries: Vec<Entry>,
    /// Commands that were carried out, by identifier and request id.
    pub requests: BTreeMap<(Identifier, Vec<u8>), (u64, pb::Command)>,
}

pub fn parse(text: &str) -> Identifier {
    Identifier::parse(text).unwrap()
}

fn canonical(edges: &[pb::Edge]) -> Vec<pb::Edge> {
    edges.iter().map(|edge| pb::Edge { to: parse(&edge.to).to_string(), ..edge.clone() }).collect()
}

/// An input of an event, as an edge.
fn input(flow: &pb::Flow) -> pb::Edge {
    let pb::Flow { identifier, quantity, unit, valid_from } = flow.clone();
    pb::Edge { r#type: EdgeType::DerivedFrom.into(), to: identifier, quantity, unit, valid_from }
}

pub fn is_public(value: &pb::Value) -> bool {
    value.permissions.unwrap() & 0b0010 != 0
}

/// True if two values have the same content, whatever their timestamps.
fn same_content(one: &pb::Value, other: &pb::Value) -> bool {
    pb::Value { timestamp: 0, ..one.clone() } == pb::Value { timestamp: 0, ..other.clone() }
}

/// True if edges are the same, in any order and spelling.
fn same_edges(these: &[pb::Edge], those: &[pb::Edge]) -> bool {
    let sorted = |edges: &[pb::Edge]| {
        let plain = |edge: &pb::Edge| {
            let details = (edge.quantity.clone(), edge.unit.clone(), edge.valid_from);
            (edge.r#type, parse(&edge.to), details)
        };
        edges.iter().map(plain).collect::<BTreeSet<_>>()
    };
    sorted(these) == sorted(those)
}

impl Entry {
    fn put(&mut self, values: &[pb::Value]) {
        for value in values {
            let (ttl, permissions) = (value.ttl.or(Some(3_600)), value.permissions.or(Some(0b1110)));
            let timestamp = self.receipt.time / 1_000;
            self.values.insert(value.index, pb::Value { ttl, permissions, timestamp, ..value.clone() });
        }
    }

    fn erase(&mut self, index: u32) {
        if let Some(value) = self.values.remove(&index) {
            self.erased.insert(index, value.r#type);
        }
    }

    fn public(&self) -> impl Iterator<Item = &pb::Value> {
        self.values.values().filter(|value| is_public(value))
    }

    /// The public record, without its edges.
    fn record(&self) -> pb::Record {
        pb::Record {
            identifier: self.identifier.to_string(),
            status: self.status.into(),
            values: self.public().cloned().collect(),
            edges: Vec::new(),
            version: self.receipt.version,
            ledger_index: self.receipt.ledger_index,
            time: self.receipt.time,
            edges_truncated: false,
            event: self.event.clone(),
            values_erased: self.erased.keys().copied().collect(),
        }
    }

    /// The change in the form of a feed.
    pub fn change(&self) -> pb::VersionChange {
        pb::VersionChange {
            kind: self.kind.into(),
            record: Some(self.record()),
            by: "loopback".into(),
            values_withheld: (self.values.len() - self.public().count()) as u32,
            differences: Vec::new(),
            edges_added: self.added.clone(),
            edges_removed: self.removed.clone(),
            erasure: self.erasure.clone(),
        }
    }

    fn differences(&self, before: Option<&Self>) -> Vec<pb::ValueDifference> {
        let now: BTreeMap<u32, _> = self.public().map(|value| (value.index, value)).collect();
        let then: BTreeMap<u32, _> =
            before.into_iter().flat_map(Self::public).map(|value| (value.index, value)).collect();
        let indexes: BTreeSet<u32> = now.keys().chain(then.keys()).copied().collect();
        let difference = |index: u32| {
            let kind = match (now.get(&index), then.get(&index)) {
                (Some(_), None) => Difference::Added,
                (None, _) => Difference::Removed,
                (Some(now), Some(then)) if same_content(now, then) => return None,
                _ => Difference::Changed,
            };
            Some(pb::ValueDifference { index, kind: kind.into() })
        };
        indexes.into_iter().filter_map(difference).collect()
    }
}

/// A text, escaped for a line.
fn escaped(text: &str) -> String {
    let escape = |character: char| match character {
        '\0'..=' ' | '%' | '\x7f' => format!("%{:02X}", u32::from(character)),
        _ => character.to_string(),
    };
    text.chars().map(escape).collect()
}

fn details(quantity: &str, unit: &str, valid_from: Option<i64>) -> String {
    let unit = if unit.is_empty() { "-" } else { unit };
    let quantity = if quantity.is_empty() { String::new() } else { format!(" {quantity} {unit}") };
    let time = valid_from.map(|time| format!(" from {}", jiff::Timestamp::from_millisecond(time).unwrap()));
    quantity + &time.unwrap_or_default()
}

fn edge_kind(kind: i32) -> &'static str {
    ["made-of", "derived-from", "packed-in", "transferred-to", "replaces"][kind as usize - 1]
}

impl Model {
    /// Versions among the first `end` entries, oldest first.
    pub fn versions(&self, of: &Identifier, end: usize) -> Vec<&Entry> {
        self.entries[..end].iter().filter(|entry| entry.identifier == *of).collect()
    }

    pub fn identifiers(&self) -> BTreeSet<&Identifier> {
        self.entries.iter().map(|entry| &entry.identifier).collect()
    }

    /// Number of entries at a time.
    pub fn end_at(&self, time: u64) -> usize {
        self.entries.iter().filter(|entry| entry.receipt.time <= time).count()
    }

    /// Expected result of a well-formed command.
    pub fn decide(&self, command: &pb::Command) -> Expected {
        let identifier = parse(&command.identifier);
        if let Some((index, first)) = self.requests.get(&(identifier.clone(), command.request_id.to_vec())) {
            let same = first.operation == command.operation && first.expected_version == command.expected_version;
            return if same { Expected::Replayed(*index) } else { Expected::Refused(Code::FailedPrecondition) };
        }
        let operation = command.operation.as_ref().unwrap();
        let registers = matches!(operation, Operation::Create(_) | Operation::Event(_));
        let versions = self.versions(&identifier, self.entries.len());
        let (Some(first), Some(last)) = (versions.first(), versions.last()) else {
            return match command.expected_version {
                _ if !registers => Expected::Refused(Code::NotFound),
                None | Some(0) => Expected::New,
                Some(_) => Expected::Refused(Code::FailedPrecondition),
            };
        };
        let other_version = command.expected_version.is_some_and(|expected| expected != last.receipt.version);
        let has = |index: &u32| versions.iter().any(|version| version.values.contains_key(index));
        let may_change =
            |update: &pb::Update| update.remove_indexes.iter().all(|index| last.values.contains_key(index));
        match operation {
            Operation::Erase(_) if last.status == Status::Erased => Expected::Refused(Code::FailedPrecondition),
            Operation::Erase(_) if other_version => Expected::Refused(Code::FailedPrecondition),
            Operation::Erase(pb::Erase { index: Some(index), .. }) if !has(index) => {
                Expected::Refused(Code::InvalidArgument)
            }
            Operation::Erase(_) => Expected::New,
            _ if last.status != Status::Active => Expected::Refused(Code::FailedPrecondition),
            _ if registers => Expected::Refused(Code::AlreadyExists),
            _ if other_version => Expected::Refused(Code::FailedPrecondition),
            Operation::Update(_) if first.event.is_some() => Expected::Refused(Code::FailedPrecondition),
            Operation::Update(update) if !may_change(update) => Expected::Refused(Code::InvalidArgument),
            _ => Expected::New,
        }
    }

    /// Registered version that a refusal names; `None` if the refusal has another reason.
    pub fn existing(&self, command: &pb::Command, refused: Code) -> Option<pb::Existing> {
        let identifier = parse(&command.identifier);
        let versions = self.versions(&identifier, self.entries.len());
        let (first, last) = (versions.first()?, versions.last()?);
        let own = |said: &Said| said.from == identifier && !said.by_event;
        let edges = self.edges(self.entries.len()).into_iter().filter(own).map(|said| said.edge).collect::<Vec<_>>();
        let mut written = Self::default();
        written.append(command, &last.receipt);
        let written = &written.entries[0];
        let same_values = written.values.len() == last.values.len()
            && written.values.values().zip(last.values.values()).all(|(one, other)| same_content(one, other));
        let same_event = format!("{:?}", first.event) == format!("{:?}", written.event);
        let same_content = same_values && same_event && same_edges(&edges, &written.added);
        let pb::Receipt { version, ledger_index, .. } = last.receipt;
        (refused == Code::AlreadyExists).then_some(pb::Existing { version, ledger_index, same_content })
    }

    /// Appends an accepted command.
    pub fn append(&mut self, command: &pb::Command, receipt: &pb::Receipt) {
        let asked = parse(&command.identifier);
        let before = self.versions(&asked, self.entries.len()).pop();
        let mut entry = Entry {
            identifier: before.map_or_else(|| asked.clone(), |before| before.identifier.clone()),
            kind: Kind::Unspecified,
            receipt: receipt.clone(),
            values: before.map(|before| before.values.clone()).unwrap_or_default(),
            erased: BTreeMap::new(),
            added: Vec::new(),
            removed: Vec::new(),
            event: None,
            erasure: None,
            status: before.map_or(Status::Active, |before| before.status),
            request: command.request_id.to_vec(),
        };
        match command.operation.as_ref().unwrap() {
            Operation::Create(create) => {
                entry.kind = Kind::Create;
                entry.put(&create.values);
                entry.added = canonical(&create.edges);
            }
            Operation::Event(event) => {
                entry.kind = Kind::Event;
                entry.put(&event.values);
                let output =
                    |flow: &pb::Flow| pb::Flow { identifier: parse(&flow.identifier).to_string(), ..flow.clone() };
                entry.added = canonical(&event.inputs.iter().map(input).collect::<Vec<_>>());
                let outputs = event.outputs.iter().map(output).collect();
                entry.event = Some(pb::EventOutputs { outputs, balance: event.balance.clone() });
            }
            Operation::Update(update) => {
                entry.kind = Kind::Update;
                match update.mode() {
                    pb::update::Mode::Replace => entry.values.clear(),
                    _ => entry.values.retain(|index, _| !update.remove_indexes.contains(index)),
                }
                entry.put(&update.values);
                entry.added = canonical(&update.add_edges);
                let subject = |edge: pb::Edge| pb::Edge { r#type: edge.r#type, to: edge.to, ..pb::Edge::default() };
                entry.removed = canonical(&update.remove_edges).into_iter().map(subject).collect();
            }
            Operation::Retire(_) => {
                (entry.kind, entry.status) = (Kind::Retire, Status::Retired);
                entry.values.clear();
            }
            Operation::Erase(erase) => {
                entry.kind = Kind::Erase;
                entry.erasure = Some(pb::Erasure { index: erase.index, reason: erase.reason.clone() });
                entry.values.retain(|index, _| erase.index.is_some_and(|erased| erased != *index));
                if erase.index.is_none() {
                    entry.status = Status::Erased;
                }
                for version in self.entries.iter_mut().filter(|version| version.identifier == asked) {
                    let gone: Vec<u32> = version.values.keys().copied().collect();
                    let is_gone = |index: &u32| erase.index.is_none_or(|erased| erased == *index);
                    gone.into_iter().filter(is_gone).for_each(|index| version.erase(index));
                }
            }
        }
        if !command.request_id.is_empty() {
            self.requests.insert((asked, command.request_id.to_vec()), (receipt.ledger_index, command.clone()));
        }
        self.entries.push(entry);
    }

    /// Answer for an identifier as of the first `end` entries.
    pub fn answer(&self, asked: &str, end: usize) -> Answer {
        let identifier = parse(asked);
        let versions = self.versions(&identifier, end);
        let (Some(first), Some(last)) = (versions.first(), versions.last()) else {
            return Answer::NotFound(pb::NotFound { identifier: asked.into() });
        };
        if last.status != Status::Active {
            return Answer::Retired(pb::Retired {
                identifier: last.identifier.to_string(),
                version: last.receipt.version,
                ledger_index: last.receipt.ledger_index,
                time: last.receipt.time,
                erased: last.status == Status::Erased,
            });
        }
        if !last.values.is_empty() && last.public().next().is_none() {
            return Answer::Denied(pb::Denied { identifier: asked.into() });
        }
        let own = |said: &Said| said.from == identifier && !said.by_event;
        let edges = self.edges(end).into_iter().filter(own).map(|said| said.edge).collect();
        Answer::Found(pb::Record { edges, event: first.event.clone(), ..last.record() })
    }

    /// All versions with their differences, newest first.
    pub fn history(&self, of: &Identifier) -> Vec<pb::VersionChange> {
        let versions = self.versions(of, self.entries.len());
        let mut before = None;
        let mut changes = Vec::new();
        for version in versions {
            changes.push(pb::VersionChange { differences: version.differences(before), ..version.change() });
            before = Some(version);
        }
        changes.reverse();
        changes
    }

    /// Edges as of the first `end` entries, ordered by type, source and target.
    pub fn edges(&self, end: usize) -> Vec<Said> {
        let mut edges = BTreeMap::new();
        for entry in &self.entries[..end] {
            let index = entry.receipt.ledger_index;
            for edge in &entry.added {
                let (from, to, kind) = (entry.identifier.clone(), parse(&edge.to), edge.r#type);
                let said =
                    Said { from: from.clone(), to: to.clone(), kind, by_event: false, index, edge: edge.clone() };
                edges.insert((kind, from, to, false), said);
            }
            for edge in &entry.removed {
                edges.remove(&(edge.r#type, entry.identifier.clone(), parse(&edge.to), false));
            }
            for flow in entry.event.iter().flat_map(|event| &event.outputs) {
                let (from, to, edge) = (parse(&flow.identifier), entry.identifier.clone(), input(flow));
                let kind = edge.r#type;
                let said = Said { from: from.clone(), to: to.clone(), kind, by_event: true, index, edge };
                edges.insert((kind, from, to, true), said);
            }
        }
        edges.into_values().collect()
    }

    /// State of an identifier as of the first `end` entries.
    pub fn state(&self, of: &Identifier, end: usize) -> State {
        let versions = self.versions(of, end);
        let was_retired = versions.iter().any(|version| version.kind == Kind::Retire);
        let is_event = versions.first().is_some_and(|first| first.event.is_some());
        match versions.last().map(|last| last.status) {
            None => State::Missing,
            Some(_) if is_event && was_retired => State::Withdrawn,
            Some(_) if is_event => State::Event,
            Some(Status::Retired) => State::Retired,
            Some(Status::Erased) => State::Erased,
            Some(_) => State::Active,
        }
    }

    /// First public value of type NAME as of the first `end` entries.
    pub fn name(&self, of: &Identifier, end: usize) -> String {
        let last = self.versions(of, end).pop();
        let name = last.and_then(|last| last.public().find(|value| value.r#type == "NAME"));
        name.map(|value| String::from_utf8(value.data.to_vec()).unwrap()).unwrap_or_default()
    }

    /// Ledger indexes that a lookup must return.
    pub fn indices(&self, of: &Identifier, kind: LookupKind) -> Vec<u64> {
        let concerns = |entry: &&Entry| {
            let outputs: Vec<_> =
                entry.event.iter().flat_map(|event| &event.outputs).map(|flow| parse(&flow.identifier)).collect();
            let own: Vec<_> = entry.added.iter().chain(&entry.removed).map(|edge| parse(&edge.to)).collect();
            let is_own = entry.identifier == *of;
            match kind {
                LookupKind::Id => is_own,
                LookupKind::Out => is_own && !own.is_empty() || outputs.contains(of),
                LookupKind::In => own.contains(of) || is_own && !outputs.is_empty(),
            }
        };
        self.entries.iter().filter(concerns).map(|entry| entry.receipt.ledger_index).collect()
    }

    /// Text of an entry without its commitments.
    pub fn text(&self, index: u64) -> String {
        let entry = &self.entries[index as usize];
        let kind = entry.kind.as_str_name().trim_start_matches("KIND_").to_lowercase();
        let mut lines = vec![format!("touchmark/1 {kind}"), format!("id {}", escaped(&entry.identifier.to_string()))];
        lines.push(format!("at {}\nby loopback", entry.receipt.time));
        if let Some(before) = self.versions(&entry.identifier, index as usize).pop() {
            lines.push(format!("prev {} {}", before.receipt.ledger_index, BASE64.encode(&before.receipt.leaf_hash)));
        }
        let types: BTreeMap<u32, &String> = entry.values.iter().map(|(index, value)| (*index, &value.r#type)).collect();
        let erased = entry.erased.iter().map(|(index, kind)| (*index, kind));
        let types: BTreeMap<_, _> = types.into_iter().chain(erased).collect();
        lines.extend(types.into_iter().map(|(index, kind)| format!("value {index} {kind}")));
        for edge in &entry.added {
            let details = details(&edge.quantity, &edge.unit, edge.valid_from);
            lines.push(format!("edge add {} {}{details}", edge_kind(edge.r#type), escaped(&edge.to)));
        }
        let removed = entry.removed.iter();
        lines.extend(removed.map(|edge| format!("edge remove {} {}", edge_kind(edge.r#type), escaped(&edge.to))));
        if let Some(event) = &entry.event {
            for flow in &event.outputs {
                let details = details(&flow.quantity, &flow.unit, flow.valid_from);
                lines.push(format!("output {}{details}", escaped(&flow.identifier)));
            }
            lines.extend((!event.balance.is_empty()).then(|| format!("balance {}", event.balance)));
        }
        if let Some(erasure) = &entry.erasure {
            lines.push(match erasure.index {
                None => "erased *".into(),
                Some(index) if entry.status == Status::Retired => format!("erased {index} retired"),
                Some(index) => format!("erased {index}"),
            });
            lines.push(format!("reason {}", escaped(&erasure.reason)));
        }
        if !entry.request.is_empty() {
            lines.push(format!("request {}", BASE64.encode(&entry.request)));
        }
        lines.join("\n") + "\n"
    }

    /// Root of the tree over the first `size` entries (RFC 6962 section 2.1).
    pub fn root(&self, size: u64) -> Hash {
        fn root(leaves: &[&[u8]]) -> [u8; 32] {
            match leaves {
                [] => Sha256::digest([]).into(),
                [leaf] => (*leaf).try_into().unwrap(),
                leaves => {
                    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                    Sha256::new().chain_update([1]).chain_update(root(left)).chain_update(root(right)).finalize().into()
                }
            }
        }
        let leaves: Vec<&[u8]> =
            self.entries[..size as usize].iter().map(|entry| entry.receipt.leaf_hash.as_ref()).collect();
        Hash(root(&leaves))
    }

    /// Tokens of all payloads that were not erased.
    pub fn tokens(&self) -> BTreeSet<String> {
        let data = self.entries.iter().flat_map(|entry| entry.values.values()).map(|value| &value.data);
        data.flat_map(|data| tokens(std::str::from_utf8(data).unwrap())).collect()
    }
}

/// Tokens in a text.
pub fn tokens(text: &str) -> BTreeSet<String> {
    let behind = text.match_indices(TOKEN).map(|(at, _)| &text[at + TOKEN.len()..]);
    let digits = behind.filter_map(|rest| rest.get(..TOKEN_DIGITS));
    digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())).map(str::to_owned).collect()
}

//! The answer: the result of resolving an identifier, from this node or another.
//!
//! The node's own record, a cached answer and the reply of another node's site are all an [`Answer`]; its origin stands
//! beside it ([`super::How`]). [`AnswerView`] is the borrowed form: its values lie in the ledger's entry or in the
//! cache. Both have an [`AnswerKind`], which the table of outcomes maps.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::PackedRecord;
use crate::{
    id::{Identifier, Prefix},
    record::{Delegation, Record, Reference, Status, Value, ValueView, Version},
    rights::{self, Rights},
    store::PrefixVersion,
};

/// Result of resolving an identifier.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An active record, with the values that may be read.
    Found(Found),
    /// The record was retired, or erased.
    Retired(Arc<Tombstone>),
    /// Nothing was ever registered under the identifier.
    NotFound,
    /// Other nodes answer for the identifier.
    Delegated(Arc<Referral>),
    /// No prefix that covers the identifier is homed on the node, or delegated from it.
    NotResponsible,
    /// The record exists, and none of its values may be read.
    Denied,
}

/// The kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// [`Answer::Found`].
    Found,
    /// [`Answer::Retired`] of a record that was retired.
    Retired,
    /// [`Answer::Retired`] of a record that was erased.
    Erased,
    /// [`Answer::NotFound`].
    NotFound,
    /// [`Answer::Delegated`].
    Delegated,
    /// [`Answer::NotResponsible`].
    NotResponsible,
    /// [`Answer::Denied`].
    Denied,
}

/// Borrowed form of an [`Answer`]: the values lie in the bytes that they were read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerView<'a> {
    /// [`Answer::Found`]: the values that may be read.
    Found(Vec<ValueView<'a>>),
    /// [`Answer::Retired`] of a record that was retired.
    Retired,
    /// [`Answer::Retired`] of a record that was erased.
    Erased,
    /// [`Answer::NotFound`].
    NotFound,
    /// [`Answer::Delegated`].
    Delegated(&'a Referral),
    /// [`Answer::NotResponsible`].
    NotResponsible,
    /// [`Answer::Denied`].
    Denied,
}

/// An active record with the values that may be read. Most records are nothing but values, and are held packed, in one
/// allocation: front ends copy the packed bytes or read them in place.
#[derive(Clone, Debug)]
pub struct Found(Holding);

#[derive(Clone, Debug)]
enum Holding {
    Packed(PackedRecord),
    Whole(Arc<WholeRecord>),
}

/// A record with edges, outputs or erased values.
#[derive(Debug)]
pub struct WholeRecord {
    record: Record,
    rendered: OnceLock<Bytes>,
}

/// The form in which a found record is held.
#[derive(Clone, Copy, Debug)]
pub enum FoundForm<'a> {
    /// Values alone.
    Packed(&'a PackedRecord),
    /// A record that has more.
    Whole(&'a WholeRecord),
}

/// Remains of a record that was retired or erased.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// The identifier, as first registered.
    pub identifier: Identifier,
    /// The version that ended the record; its number is 0 if only the end is known, as over DNS.
    pub version: Version,
    /// True if the record was erased, false if it was retired.
    pub erased: bool,
}

/// A referral: the sites that answer for a prefix, as stated by the node that delegates the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// The prefix.
    pub prefix: Prefix,
    /// Its sites.
    pub delegation: Delegation,
    /// Index of the ledger entry that delegates the prefix; `None` if only NS records state it.
    pub ledger_index: Option<u64>,
}

impl Answer {
    /// The answer about a record under these rights.
    pub fn of_record(record: Option<Record>, rights: Rights) -> Self {
        match record {
            None => Self::NotFound,
            Some(record) if record.status != Status::Active => {
                let erased = record.status == Status::Erased;
                Self::Retired(Arc::new(Tombstone { identifier: record.identifier, version: record.version, erased }))
            }
            Some(record) => {
                let view = rights::view(record.values, rights);
                match view.is_denied() {
                    true => Self::Denied,
                    false => Self::found(Record { values: view.values, ..record }),
                }
            }
        }
    }

    /// The answer for a record all of whose values may be read.
    pub fn found(record: Record) -> Self {
        let held = match PackedRecord::of(&record) {
            Some(packed) => Holding::Packed(packed),
            None => Holding::Whole(Arc::new(WholeRecord { record, rendered: OnceLock::new() })),
        };
        Self::Found(Found(held))
    }

    /// Kind of the answer.
    pub fn kind(&self) -> AnswerKind {
        match self {
            Self::Found(_) => AnswerKind::Found,
            Self::Retired(tombstone) if tombstone.erased => AnswerKind::Erased,
            Self::Retired(_) => AnswerKind::Retired,
            Self::NotFound => AnswerKind::NotFound,
            Self::Delegated(_) => AnswerKind::Delegated,
            Self::NotResponsible => AnswerKind::NotResponsible,
            Self::Denied => AnswerKind::Denied,
        }
    }

    /// The record of an [`Answer::Found`].
    pub fn record(&self) -> Option<Cow<'_, Record>> {
        match self {
            Self::Found(found) => Some(found.record()),
            _ => None,
        }
    }

    /// True if only other nodes can answer.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Delegated(_) | Self::NotResponsible)
    }

    /// The borrowed form of the answer.
    pub fn view(&self) -> AnswerView<'_> {
        match self {
            Self::Found(found) => AnswerView::Found(found.values()),
            Self::Retired(tombstone) if tombstone.erased => AnswerView::Erased,
            Self::Retired(_) => AnswerView::Retired,
            Self::NotFound => AnswerView::NotFound,
            Self::Delegated(referral) => AnswerView::Delegated(referral),
            Self::NotResponsible => AnswerView::NotResponsible,
            Self::Denied => AnswerView::Denied,
        }
    }

    /// Approximate size of the answer in memory, in bytes, its rendered form included.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Found(found) => found.bytes(),
            Self::Retired(tombstone) => 160 + 2 * tombstone.identifier.as_str().len(),
            // The sites are shared with every copy of the delegation.
            Self::Delegated(referral) => 128 + 2 * referral.prefix.as_str().len(),
            Self::NotFound | Self::NotResponsible | Self::Denied => 0,
        }
    }
}

impl AnswerKind {
    /// Name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Retired => "retired",
            Self::Erased => "erased",
            Self::NotFound => "not found",
            Self::Delegated => "referral",
            Self::NotResponsible => "not responsible",
            Self::Denied => "denied",
        }
    }
}

impl AnswerView<'_> {
    /// Kind of the answer.
    pub fn kind(&self) -> AnswerKind {
        match self {
            Self::Found(_) => AnswerKind::Found,
            Self::Retired => AnswerKind::Retired,
            Self::Erased => AnswerKind::Erased,
            Self::NotFound => AnswerKind::NotFound,
            Self::Delegated(_) => AnswerKind::Delegated,
            Self::NotResponsible => AnswerKind::NotResponsible,
            Self::Denied => AnswerKind::Denied,
        }
    }
}

impl Found {
    /// The record.
    pub fn record(&self) -> Cow<'_, Record> {
        match &self.0 {
            Holding::Packed(packed) => Cow::Owned(packed.unpack()),
            Holding::Whole(whole) => Cow::Borrowed(&whole.record),
        }
    }

    /// The form in which the record is held.
    pub fn form(&self) -> FoundForm<'_> {
        match &self.0 {
            Holding::Packed(packed) => FoundForm::Packed(packed),
            Holding::Whole(whole) => FoundForm::Whole(whole),
        }
    }

    /// The values.
    pub fn values(&self) -> Vec<ValueView<'_>> {
        match &self.0 {
            Holding::Packed(packed) => packed.values().map(|value| value.view).collect(),
            Holding::Whole(whole) => whole.record.values.iter().map(Value::view).collect(),
        }
    }

    /// The version.
    pub fn version(&self) -> Version {
        match &self.0 {
            Holding::Packed(packed) => packed.head().version,
            Holding::Whole(whole) => whole.record.version,
        }
    }

    /// Approximate size of the answer in memory, in bytes, its rendered form included.
    fn bytes(&self) -> usize {
        match &self.0 {
            // The counts of the shared bytes, and what the allocator rounds up to.
            Holding::Packed(packed) => {
                let len = packed.as_message().len();
                len + len / 8 + 16
            }
            Holding::Whole(whole) => whole.bytes(),
        }
    }
}

impl WholeRecord {
    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record as encoded by one front end, encoded once and kept with the answer. Only one front end may use this.
    pub fn rendered(&self, render: impl FnOnce(&Record) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(&self.record)).clone()
    }

    /// Approximate size in memory, in bytes, the rendered form included.
    fn bytes(&self) -> usize {
        let reference = |reference: &Reference| 64 + 3 * reference.identifier.as_str().len();
        let value = |value: &Value| 2 * value.data.len() + 160 + value.references.iter().map(reference).sum::<usize>();
        let related = |to: &Identifier| 256 + 3 * to.as_str().len();
        let record = &self.record;
        let values: usize = record.values.iter().map(value).sum();
        let edges: usize = record.edges.iter().map(|edge| related(&edge.to)).sum();
        let flows = record.outputs.iter().flat_map(|outputs| &outputs.flows);
        let outputs: usize = flows.map(|flow| related(&flow.identifier)).sum();
        values + 3 * record.identifier.as_str().len() + edges + outputs + 8 * record.values_erased.len() + 256
    }
}

impl Referral {
    /// The referral stated by the newest entry about a prefix; `None` if the entry delegates nothing.
    pub fn of(version: &PrefixVersion) -> Option<Self> {
        let (prefix, delegation) = (version.prefix.clone(), version.delegation()?.clone());
        Some(Self { prefix, delegation, ledger_index: Some(version.version.ledger_index) })
    }
}

//! Commands: what a client wants changed.

use super::Refusal;
use crate::{
    entry::{ErasedValues, Reason, RequestId},
    id::Identifier,
    record::{Edge, EdgeChange, Event, RecordError, Value, Values},
};

/// A change of one identifier.
#[derive(Clone, Debug)]
pub struct Command {
    /// Which identifier.
    pub identifier: Identifier,
    /// What to do with it.
    pub operation: Operation,
    /// Refuse unless this is the record's version now; 0 stands for "never registered".
    pub expected_version: Option<u64>,
    /// The client's name for this change.
    pub request: Option<RequestId>,
}

/// What to do with an identifier.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Register it.
    Create {
        /// What the record says.
        values: Values,
        /// Edges that leave it.
        edges: Vec<Edge>,
    },
    /// Register it as an event: a transformation of some things into others. It is never changed.
    Event {
        /// What the record says.
        values: Values,
        /// What was made of what.
        event: Event,
    },
    /// Change its record.
    Update {
        /// What happens to the values.
        values: ValueChange,
        /// What happens to the edges.
        edges: Vec<EdgeChange>,
    },
    /// Retire its record for good.
    Retire,
    /// Destroy values of it, in every version, for good.
    Erase {
        /// Which.
        values: ErasedValues,
        /// Why, for everyone.
        reason: Reason,
    },
}

/// What an update does to the values.
#[derive(Clone, Debug)]
pub enum ValueChange {
    /// These are all values from now on.
    Replace(Values),
    /// Some come, some go, the others stay.
    Merge(Merging),
}

/// Values that are merged with those of a record: those with the same index are replaced, new ones added, the others kept.
#[derive(Clone, Debug)]
pub struct Merging {
    /// Values that replace or join.
    pub set: Values,
    /// Indexes of values that go.
    pub remove: Vec<u32>,
}

impl Merging {
    /// The values after the change.
    ///
    /// # Errors
    ///
    /// [`MergeError`] when an index to remove is not there, or the result would break a rule of records.
    pub(super) fn apply(&self, current: Values) -> Result<Values, MergeError> {
        let Self { set, remove } = self;
        if let Some(&index) = remove.iter().find(|&&index| !current.iter().any(|value| value.index == index)) {
            return Err(MergeError::NoSuchValue { index });
        }
        let stays = |value: &Value| !remove.contains(&value.index) && !set.iter().any(|new| new.index == value.index);
        let mut values: Vec<Value> = current.into_vec().into_iter().filter(stays).collect();
        values.extend(set.iter().cloned());
        Ok(Values::new(values)?)
    }
}

/// Why values cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeError {
    /// A value to remove is not there.
    #[error("there is no value with index {index} to remove")]
    NoSuchValue {
        /// Its index.
        index: u32,
    },
    /// The result would break a rule.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Command {
    /// Checks what the parts alone do not show.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for an edge to the identifier itself, two changes of one edge, or an event that is none.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let invalid = |reason| Err(Refusal::Invalid { identifier: self.identifier.to_string(), reason });
        let subjects: Vec<_> = match &self.operation {
            Operation::Create { edges, .. } => edges.iter().map(|edge| (edge.kind, &edge.to)).collect(),
            Operation::Update { edges, .. } => edges.iter().map(EdgeChange::subject).collect(),
            Operation::Event { event, .. } => {
                return event.check(&self.identifier).or_else(|error| invalid(error.to_string()));
            }
            Operation::Retire | Operation::Erase { .. } => return Ok(()),
        };
        if subjects.iter().any(|(_, to)| **to == self.identifier) {
            return invalid("an edge leads from the identifier to itself".into());
        }
        let mut sorted = subjects;
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                invalid(format!("the edge {} to `{}` is given twice in one command", pair[0].0.as_str(), pair[0].1))
            }
            None => Ok(()),
        }
    }
}

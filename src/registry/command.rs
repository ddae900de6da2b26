//! Commands: changes that a client asks for.

use super::Refusal;
use crate::{
    entry::{ErasedValues, Reason, RequestId},
    id::Identifier,
    record::{Edge, EdgeChange, Event, RecordError, Value, Values},
};

/// A change of one identifier.
#[derive(Clone, Debug)]
pub struct Command {
    /// The identifier to change.
    pub identifier: Identifier,
    /// The change.
    pub operation: Operation,
    /// Version that the record must have now, else the command is refused; 0: never registered.
    pub expected_version: Option<u64>,
    /// The client's id of this change, by which a retry is recognised.
    pub request: Option<RequestId>,
}

/// Change of an identifier.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Register the identifier.
    Create {
        /// Values of the record.
        values: Values,
        /// Edges that leave the record.
        edges: Vec<Edge>,
    },
    /// Register the identifier as an event: a transformation of some things into others. An event is never changed.
    Event {
        /// Values of the record.
        values: Values,
        /// Inputs and outputs.
        event: Event,
    },
    /// Change the record.
    Update {
        /// Change of the values.
        values: ValueChange,
        /// Changes of edges.
        edges: Vec<EdgeChange>,
    },
    /// Retire the record for good.
    Retire,
    /// Destroy values of the record, in every version, for good.
    Erase {
        /// The values to destroy.
        values: ErasedValues,
        /// The reason, public.
        reason: Reason,
    },
}

/// Change of a record's values by an update.
#[derive(Clone, Debug)]
pub enum ValueChange {
    /// These are all values from now on.
    Replace(Values),
    /// Some values are set, some removed, the others stay.
    Merge(Merging),
}

/// Merge with the values of a record: values with an index that is there are replaced, new ones added, the others kept.
#[derive(Clone, Debug)]
pub struct Merging {
    /// Values that replace others or are added.
    pub set: Values,
    /// Indexes of values to remove.
    pub remove: Vec<u32>,
}

impl Merging {
    /// The values after the merge.
    ///
    /// # Errors
    ///
    /// [`MergeError`] if there is no value with an index to remove, or if the result would break a rule of records.
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

/// Failure to merge values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeError {
    /// There is no value with an index to remove.
    #[error("there is no value with index {index} to remove")]
    NoSuchValue {
        /// The index.
        index: u32,
    },
    /// The result would break a rule of records.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Command {
    /// Checks the rules that concern the command as a whole, not one part.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for an edge to the identifier itself, two changes of one edge, or an event that breaks a
    /// rule of events.
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

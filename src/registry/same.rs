//! Whether a command says what the ledger says already: for retries, and for registering again what is there.

use super::{Command, Operation, ValueChange};
use crate::{
    codec::Torn,
    entry::{EntryKind, StoredEntry},
    record::{Edge, EdgeChange, Values},
    store::ReadError,
};

/// Whether an entry is what a command would have become.
///
/// # Errors
///
/// [`Torn`] when the entry's values cannot be read.
pub(super) fn says_the_same(command: &Command, entry: &StoredEntry<'_>) -> Result<bool, Torn> {
    let values = entry.decode_values()?;
    let gone = |index: u32| entry.erased.iter().any(|erased| erased.index == index);
    let same_values = |wanted: &Values| {
        // Of what was erased since, nobody can tell any more.
        let mut left = wanted.iter().filter(|value| !gone(value.index)).zip(values.iter());
        wanted.len() == values.len() + entry.erased.len() && left.all(|(a, b)| a.same_content(b))
    };
    let same_version = command.expected_version.is_none_or(|expected| expected.checked_add(1) == Some(entry.version));
    Ok(same_version
        && match (&command.operation, entry.kind) {
            (Operation::Create { values: wanted, edges }, EntryKind::Create) => {
                same_values(wanted) && same_edges(edges, &entry.edges)
            }
            (Operation::Event { values: wanted, event }, EntryKind::Event) => {
                same_values(wanted) && entry.event().is_some_and(|there| there.same(event))
            }
            (Operation::Update { values: change, edges }, EntryKind::Update) => {
                let same_values = match change {
                    ValueChange::Replace(wanted) => same_values(wanted),
                    ValueChange::Merge { set, remove } => {
                        let has = |index: u32| values.iter().find(|value| value.index == index);
                        let given = |index: u32| set.iter().any(|new| new.index == index);
                        set.iter()
                            .all(|new| gone(new.index) || has(new.index).is_some_and(|value| value.same_content(new)))
                            && remove.iter().all(|&index| given(index) || has(index).is_none())
                    }
                };
                same_values && *edges == entry.edges
            }
            (Operation::Retire, EntryKind::Retire) => true,
            (Operation::Erase { values, reason }, EntryKind::Erase) => {
                entry.erasure.as_ref().is_some_and(|said| said.values == *values && said.reason == *reason)
            }
            _ => false,
        })
}

/// Whether what is registered says what a command would have registered. `edges_now` gives the edges of a record that was
/// changed since it was registered.
///
/// # Errors
///
/// When the entry or the edges cannot be read.
pub(super) fn same_content<E: From<Torn>>(
    operation: &Operation,
    entry: &StoredEntry<'_>,
    edges_now: impl FnOnce() -> Result<Vec<Edge>, E>,
) -> Result<bool, E> {
    let same_values = |values: &Values| Ok::<_, Torn>(values.same_content(&entry.decode_values()?));
    match operation {
        Operation::Event { values, event } => {
            Ok(entry.event().is_some_and(|there| there.same(event)) && same_values(values)?)
        }
        Operation::Create { values, edges } if entry.kind != EntryKind::Event => {
            if !same_values(values)? {
                return Ok(false);
            }
            if entry.version == 1 {
                return Ok(same_edges(edges, &entry.edges));
            }
            let now: Vec<_> = edges_now()?.into_iter().map(EdgeChange::Add).collect();
            Ok(same_edges(edges, &now))
        }
        _ => Ok(false),
    }
}

/// Whether the edges of a create are those of its entry. An edge is known by its type and target; their order says nothing.
fn same_edges(wanted: &[Edge], there: &[EdgeChange]) -> bool {
    let mut wanted: Vec<&Edge> = wanted.iter().collect();
    let mut there: Vec<&EdgeChange> = there.iter().collect();
    wanted.sort_unstable_by(|a, b| (a.kind, &a.to).cmp(&(b.kind, &b.to)));
    there.sort_unstable_by(|a, b| a.subject().cmp(&b.subject()));
    let same = |(edge, change): (_, &&EdgeChange)| matches!(change, EdgeChange::Add(there) if there == edge);
    wanted.len() == there.len() && wanted.into_iter().zip(&there).all(same)
}

/// What could not be read of what is there.
pub(super) enum Unreadable {
    Entry,
    Record(ReadError),
}

impl From<Torn> for Unreadable {
    fn from(_: Torn) -> Self {
        Self::Entry
    }
}

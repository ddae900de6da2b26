//! Comparison of a command with entries in the ledger: for retries, and for registering again what is there.

use super::prepared::{Content, Drafted, Erase, Merge};
use crate::{
    codec::Torn,
    entry::{EntryKind, Erasure, StoredEntry},
    record::{Edge, EdgeChange, Values},
    store::ReadError,
};

impl Drafted {
    /// True if the entry is the one that this command would have made.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the entry's values cannot be read.
    pub(super) fn is_said_by(&self, entry: &StoredEntry<'_>) -> Result<bool, Torn> {
        let Content { kind, values, edges, .. } = &self.content;
        if *kind != entry.kind || !self.asked.follows(entry) {
            return Ok(false);
        }
        Ok(match kind {
            EntryKind::Create => same_values(values, entry)? && same_edges(edges, &entry.edges),
            EntryKind::Event => same_values(values, entry)? && self.content.is_event_of(entry),
            EntryKind::Update => same_values(values, entry)? && *edges == entry.edges,
            _ => true,
        })
    }
}

impl Merge {
    /// As [`Drafted::is_said_by`].
    ///
    /// # Errors
    ///
    /// As for [`Drafted::is_said_by`].
    pub(super) fn is_said_by(&self, entry: &StoredEntry<'_>) -> Result<bool, Torn> {
        if entry.kind != EntryKind::Update || !self.asked.follows(entry) || self.edges != entry.edges {
            return Ok(false);
        }
        let (set, values) = (&self.values.set, entry.decode_values()?);
        let has = |index: u32| values.iter().find(|value| value.index == index);
        let given = |index: u32| set.iter().any(|new| new.index == index);
        Ok(set
            .iter()
            .all(|new| is_gone(entry, new.index) || has(new.index).is_some_and(|value| value.same_content(new)))
            && self.values.remove.iter().all(|&index| given(index) || has(index).is_none()))
    }
}

impl Erase {
    /// True if the entry is the one that this command would have made.
    pub(super) fn is_said_by(&self, entry: &StoredEntry<'_>) -> bool {
        let same = |said: &Erasure| said.values == self.values && said.reason == self.reason;
        entry.kind == EntryKind::Erase && self.asked.follows(entry) && entry.erasure.as_ref().is_some_and(same)
    }
}

impl Content {
    /// True if the registered record says what this content would have registered. `edges_now` returns the edges of a
    /// record that was changed since it was registered.
    ///
    /// # Errors
    ///
    /// If the entry or the edges cannot be read.
    pub(super) fn is_registered_by<E: From<Torn>>(
        &self,
        entry: &StoredEntry<'_>,
        edges_now: impl FnOnce() -> Result<Vec<Edge>, E>,
    ) -> Result<bool, E> {
        let same_values = |values: &Values| Ok::<_, Torn>(values.same_content(&entry.decode_values()?));
        match self.kind {
            EntryKind::Event => Ok(self.is_event_of(entry) && same_values(&self.values)?),
            EntryKind::Create if entry.kind != EntryKind::Event => {
                if !same_values(&self.values)? {
                    return Ok(false);
                }
                if entry.version == 1 {
                    return Ok(same_edges(&self.edges, &entry.edges));
                }
                let now: Vec<_> = edges_now()?.into_iter().map(EdgeChange::Add).collect();
                Ok(same_edges(&self.edges, &now))
            }
            _ => Ok(false),
        }
    }

    fn is_event_of(&self, entry: &StoredEntry<'_>) -> bool {
        entry.event().zip(self.event()).is_some_and(|(there, wanted)| there.same(&wanted))
    }
}

/// True if an entry has these values. Erased values are not compared: their content is gone.
fn same_values(wanted: &Values, entry: &StoredEntry<'_>) -> Result<bool, Torn> {
    let values = entry.decode_values()?;
    let mut left = wanted.iter().filter(|value| !is_gone(entry, value.index)).zip(values.iter());
    Ok(wanted.len() == values.len() + entry.erased.len() && left.all(|(a, b)| a.same_content(b)))
}

fn is_gone(entry: &StoredEntry<'_>, index: u32) -> bool {
    entry.erased.iter().any(|erased| erased.index == index)
}

/// True if the edges of a create command are those of its entry, in any order. An edge is identified by type and
/// target.
fn same_edges(wanted: &[EdgeChange], there: &[EdgeChange]) -> bool {
    let is_same = |(wanted, there): (&EdgeChange, &EdgeChange)| match (wanted, there) {
        (EdgeChange::Add(wanted), EdgeChange::Add(there)) => wanted == there,
        _ => false,
    };
    wanted.len() == there.len() && by_subject(wanted).into_iter().zip(by_subject(there)).all(is_same)
}

fn by_subject(edges: &[EdgeChange]) -> Vec<&EdgeChange> {
    let mut edges: Vec<&EdgeChange> = edges.iter().collect();
    edges.sort_unstable_by(|a, b| a.subject().cmp(&b.subject()));
    edges
}

/// The part of the registered record that could not be read.
pub(super) enum Unreadable {
    Entry,
    Record(ReadError),
}

impl From<Torn> for Unreadable {
    fn from(_: Torn) -> Self {
        Self::Entry
    }
}

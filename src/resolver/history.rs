//! History of an identifier: its answer at a point of the ledger, and all its versions.

use std::sync::atomic::Ordering;

use super::{Answer, Resolver, feed::Shown, is_public};
use crate::{
    id::Identifier,
    record::{Record, Value},
    rights::Rights,
    store::{PastVersion, ReadError},
};

/// A point of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the entry with this index.
    Index(u64),
    /// After every entry that the ledger had taken by this time, in milliseconds since 1970 UTC.
    Time(u64),
}

/// Error of a question about the past.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The index has not applied this entry yet.
    #[error("ledger index {index} is still to come; the ledger has {entries} entries")]
    ToCome {
        /// The requested index.
        index: u64,
        /// Number of entries that the index has applied.
        entries: u64,
    },
    /// Index or ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Some versions of an identifier, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The versions.
    pub versions: Vec<Change>,
    /// Ledger index before which there are older versions; `None` if the first version is among them.
    pub before: Option<u64>,
}

/// A version of a record under public rights, and its differences from the version before.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The version; its record holds only values that anyone may read.
    pub past: PastVersion,
    /// Number of values of the version that are not public.
    pub withheld: usize,
    /// Values that were added, changed and removed, by index.
    pub differences: Vec<(u32, Difference)>,
}

/// Change of a value between two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The version before has no such value.
    Added,
    /// The value differs from the version before.
    Changed,
    /// The version has no such value any more.
    Removed,
}

impl Resolver {
    /// Resolves an identifier as of a moment, with the edges of that time.
    ///
    /// # Errors
    ///
    /// [`HistoryError`].
    pub fn resolve_at(&self, identifier: &Identifier, moment: Moment) -> Result<Answer, HistoryError> {
        let Some(upto) = self.last_entry(moment)? else { return Ok(Answer::NotFound) };
        Ok(Answer::of_record(self.records.as_of(identifier.key(), upto)?, Rights::PUBLIC))
    }

    /// Returns versions of an identifier, newest first: at most `limit`, and only those before the ledger index
    /// `before`.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Read`].
    pub fn history(&self, identifier: &Identifier, before: Option<u64>, limit: usize) -> Result<History, HistoryError> {
        let upto = match before {
            Some(before) => match before.checked_sub(1) {
                Some(upto) => upto,
                None => return Ok(History::default()),
            },
            None => u64::MAX,
        };
        // One more than is shown: the oldest one shown is compared with it.
        let mut versions = self.records.versions(identifier.key(), upto, limit.saturating_add(1))?;
        let mut history = History::default();
        let is_cut = versions.len() > 1 && versions.last().is_some_and(|past| past.record.version.number > 1);
        let mut further = if is_cut || versions.len() > limit { versions.pop() } else { None };
        for past in versions.into_iter().rev() {
            let change = change(past, further.take());
            further = Some(change.1);
            history.versions.push(change.0);
        }
        history.versions.reverse();
        let oldest = history.versions.last().map(|change| change.past.record.version);
        history.before = oldest.filter(|version| version.number > 1).map(|version| version.ledger_index);
        Ok(history)
    }

    /// Index of the last entry at a moment; `None` before the first. A batch that the index has not applied does not
    /// count: a reader would see half of it.
    pub(super) fn last_entry(&self, moment: Moment) -> Result<Option<u64>, HistoryError> {
        let entries = self.applied.load(Ordering::Acquire);
        match moment {
            Moment::Index(index) => {
                if index < entries {
                    Ok(Some(index))
                } else {
                    Err(HistoryError::ToCome { index, entries })
                }
            }
            Moment::Time(time_ms) => {
                let until = self.records.ledger().entries_until(time_ms).map_err(ReadError::from)?;
                Ok(until.min(entries).checked_sub(1))
            }
        }
    }
}

/// The public form of a version with its differences from the one before, and the whole version for the next
/// comparison.
fn change(past: PastVersion, before: Option<PastVersion>) -> (Change, PastVersion) {
    let whole = past.clone();
    let Shown { past, withheld } = Shown::new(past);
    let differences = differences(&past.record, before.as_ref().map(|before| &before.record));
    (Change { past, withheld, differences }, whole)
}

fn differences(now: &Record, before: Option<&Record>) -> Vec<(u32, Difference)> {
    let is_seen = |value: &&Value| is_public(value.permissions);
    let earlier: Vec<&Value> = before.map(|before| before.values.iter().filter(is_seen).collect()).unwrap_or_default();
    let same_index = |value: &Value, other: &&Value| value.index == other.index;
    let mut differences = Vec::new();
    for value in now.values.iter() {
        match earlier.iter().find(|other| same_index(value, other)) {
            None => differences.push((value.index, Difference::Added)),
            Some(other) if !value.same_content(other) => differences.push((value.index, Difference::Changed)),
            Some(_) => {}
        }
    }
    let gone = earlier.iter().filter(|other| !now.values.iter().any(|value| same_index(value, other)));
    differences.extend(gone.map(|value| (value.index, Difference::Removed)));
    differences.sort_by_key(|(index, _)| *index);
    differences
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::Runtime;

    use super::*;
    use crate::{
        entry::Principal,
        ledger::{DataDir, KeySource, LedgerError, Mark, Opening},
        record::Values,
        registry::{Atomicity, Command, Operation, Sequencer, WhenFull},
        store::{ImplicitHome, Prefixes, Records, memory::MemoryEntries},
    };

    #[test]
    fn a_batch_counts_when_the_index_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let entries = Arc::new(MemoryEntries::new(Arc::clone(&recovered.ledger)));
        let records = Records::new(entries, recovered.ledger);
        let prefixes = Arc::new(Prefixes::load(&records, ImplicitHome::UntilHomed).unwrap());
        let resolver = Resolver::new(records.clone(), Arc::clone(&prefixes), 1_usize << 20);
        let sequencer = Sequencer {
            appender: recovered.appender,
            records: records.clone(),
            prefixes,
            // The committer does not report that the index has the batch.
            committer: Box::new(|_| {}),
            clock: Arc::new(|| 1_700_000_000_000),
            entropy: Arc::new(|| [7; 32]),
        };
        let (registry, _sequencer) = sequencer.spawn().unwrap();
        let identifier = Identifier::parse("20.500.1/a").unwrap();
        let operation = Operation::Create { values: Values::default(), edges: Vec::new() };
        let command = Command { identifier: identifier.clone(), operation, expected_version: None, request: None };
        let prepared = registry.prepare(command, Principal::LOOPBACK).unwrap();
        let results =
            Runtime::new().unwrap().block_on(registry.submit(vec![Ok(prepared)], Atomicity::Each, WhenFull::Wait));
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(records.ledger().size(), 1);

        let early = resolver.resolve_at(&identifier, Moment::Index(0));
        assert!(matches!(early, Err(HistoryError::ToCome { index: 0, entries: 0 })), "{early:?}");
        assert!(matches!(resolver.last_entry(Moment::Time(u64::MAX)), Ok(None)));

        resolver.outdate([identifier.key()]);
        assert!(matches!(resolver.resolve_at(&identifier, Moment::Index(0)), Ok(Answer::Found(_))));
        assert!(matches!(resolver.last_entry(Moment::Time(u64::MAX)), Ok(Some(0))));
        let early = resolver.last_entry(Moment::Index(1));
        assert!(matches!(early, Err(HistoryError::ToCome { index: 1, entries: 1 })), "{early:?}");
    }
}

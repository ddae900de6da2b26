//! Values that entries lack, and the `erase` entries that explain them.
//!
//! A redacted entry has the same text, and so the same leaf hash, as before: nothing in the tree tells an erased value
//! from a withheld one. The proof of an erasure is an `erase` entry of the same identifier behind the redacted entry;
//! that one is in the tree. So for every value that an entry lacks, such an `erase` entry has to be there, or to come
//! ([`Unexplained`]).
//!
//! Entries are read in the order of the ledger. The number of values remembered at once is bounded; if more are
//! missing, another pass checks the rest. Deliberately absent: the decision that an `erase` entry is late (`mirror`).

use std::collections::HashMap;

use super::{Ledger, LedgerError};
use crate::{
    entry::{ErasedValues, StoredEntry},
    id::Key,
};

/// Maximum number of missing values remembered at once; about 100 bytes each, and the identifiers.
const MISSING_VALUES_MAX: usize = 1 << 20;
/// Entries that are read at once.
const ENTRIES_AT_ONCE: usize = 1_024;

/// A value that an entry lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The entry's index in the ledger.
    pub entry: u64,
    /// The value's index in the record.
    pub value: u32,
}

/// Statements of an entry about erased values: the values it lacks, and those that it erases from the versions before
/// it.
#[derive(Clone, Debug)]
pub struct Erasures {
    entry: u64,
    key: Key,
    missing: Vec<u32>,
    erases: Option<ErasedValues>,
}

impl Erasures {
    /// Reads the statements of an entry; `None` for most entries, which make none.
    pub fn of(entry: &StoredEntry<'_>) -> Option<Self> {
        let erases = entry.erasure.as_ref().map(|erasure| erasure.values);
        if entry.erased.is_empty() && erases.is_none() {
            return None;
        }
        let missing = entry.erased.iter().map(|erased| erased.index).collect();
        Some(Self { entry: entry.index, key: entry.subject()?.key(), missing, erases })
    }
}

/// Values that entries lack and that no `erase` entry has explained so far.
#[derive(Debug, Default)]
pub struct Unexplained {
    /// By identifier: each missing value, with the first entry that lacks it.
    missing: HashMap<Key, Vec<Missing>>,
    count: usize,
    /// The first entry whose missing values found no room.
    rest: Option<u64>,
}

impl Unexplained {
    /// Takes the next entry into account.
    pub fn see(&mut self, erasures: &Erasures) {
        let Erasures { entry, key, missing, erases } = erasures;
        if let Some(values) = erases
            && let Some(known) = self.missing.get_mut(key)
        {
            let before = known.len();
            known.retain(|known| !values.has(known.value));
            self.count -= before - known.len();
            if known.is_empty() {
                self.missing.remove(key);
            }
        }
        if missing.is_empty() {
            return;
        }
        if self.rest.is_some() || self.count + missing.len() > MISSING_VALUES_MAX {
            self.rest.get_or_insert(*entry);
            return;
        }
        let known = self.missing.entry(key.clone()).or_default();
        for &value in missing {
            if known.iter().all(|known| known.value != value) {
                known.push(Missing { entry: *entry, value });
                self.count += 1;
            }
        }
    }

    /// The first unexplained value, in the order of entries.
    pub fn first(&self) -> Option<Missing> {
        self.missing.values().flatten().min().copied()
    }

    /// True if every missing value is explained.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.rest.is_none()
    }

    /// Index of the entry from which another pass has to start, once all remembered values are explained and more were
    /// missing.
    pub fn next_pass(&self) -> Option<u64> {
        self.rest.filter(|_| self.missing.is_empty())
    }
}

impl Ledger {
    /// Values that the entries from index `from` on lack and that no `erase` entry explains.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::at`].
    pub fn unexplained(&self, from: u64) -> Result<Unexplained, LedgerError> {
        let mut pass = from;
        loop {
            let found = self.unexplained_pass(pass)?;
            match found.next_pass() {
                // A later pass starts behind the entries that this one remembered.
                Some(next) if next > pass => pass = next,
                _ => return Ok(found),
            }
        }
    }

    fn unexplained_pass(&self, from: u64) -> Result<Unexplained, LedgerError> {
        let (mut found, mut next) = (Unexplained::default(), from);
        while next < self.size() {
            let page = self.entries(next, ENTRIES_AT_ONCE)?;
            if page.is_empty() {
                break;
            }
            for bytes in &page {
                if bytes.outside()?.is_none()
                    && let Some(erasures) = Erasures::of(&bytes.decode()?)
                {
                    found.see(&erasures);
                }
            }
            next += page.len() as u64;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasures(entry: u64, key: &str, missing: &[u32], erases: Option<ErasedValues>) -> Erasures {
        Erasures { entry, key: Key::from_bytes(key.as_bytes()), missing: missing.into(), erases }
    }

    #[test]
    fn what_is_missing_is_explained_by_an_erasure_behind_it() {
        use ErasedValues::{All, One};
        let first = |entry, value| Some(Missing { entry, value });
        type Case<'a> = (&'a str, Vec<(u64, &'a str, &'a [u32], Option<ErasedValues>)>, Option<Missing>);
        let table: [Case<'_>; 8] = [
            ("nothing", vec![], None),
            ("erased", vec![(0, "a", &[1], None), (1, "a", &[], Some(One(1)))], None),
            ("erased with all", vec![(0, "a", &[1, 2], None), (1, "a", &[3], None), (2, "a", &[], Some(All))], None),
            ("withheld", vec![(0, "a", &[1], None)], first(0, 1)),
            ("another value", vec![(0, "a", &[1, 2], None), (1, "a", &[], Some(One(1)))], first(0, 2)),
            ("another's", vec![(0, "a", &[1], None), (1, "b", &[], Some(All))], first(0, 1)),
            ("an erasure before", vec![(0, "a", &[], Some(All)), (1, "a", &[1], None)], first(1, 1)),
            ("an erasure itself", vec![(3, "a", &[2], Some(One(1)))], first(3, 2)),
        ];
        for (name, entries, expected) in table {
            let mut found = Unexplained::default();
            for (entry, key, missing, erases) in entries {
                found.see(&erasures(entry, key, missing, erases));
            }
            assert_eq!((found.first(), found.is_empty()), (expected, expected.is_none()), "{name}");
        }
    }

    #[test]
    fn what_finds_no_room_is_for_another_pass() {
        let mut found = Unexplained::default();
        let values: Vec<u32> = (0..1_000).collect();
        let fit = (MISSING_VALUES_MAX / values.len()) as u64;
        let name = |entry: u64| format!("k{entry}");
        for entry in 0..fit + 5 {
            found.see(&erasures(entry, &name(entry), &values, None));
        }
        assert_eq!((found.next_pass(), found.first().map(|first| first.entry)), (None, Some(0)));
        for entry in 0..fit {
            found.see(&erasures(fit + 5 + entry, &name(entry), &[], Some(ErasedValues::All)));
        }
        assert_eq!((found.next_pass(), found.is_empty(), found.count), (Some(fit), false, 0));
    }
}

//! The chain of a log: rules that hold from each entry to the next, for recovery, audit and mirrors.
//!
//! ```text
//! index     counts up from 0                                             [`Chain::place`]
//! time      never decreases                                              [`Chain::place`]
//! previous  an entry names the newest entry of its identifier, and that
//!           entry's leaf hash                                            [`check_previous`], [`check_previous_leaf`]
//! version   is one more than that of the entry it names                  [`check_version`]
//! leaf      follows from the entry and from the leaf hash that it names  [`Chain::leaf_of`]
//! root      follows from the leaves                                      [`Chain::root`]
//! ```
//!
//! Nothing is allocated for an entry that keeps the rules, beside the room for the longest text. Deliberately absent:
//! reading entries and leaf hashes, and finding the newest entry of an identifier, which is up to each caller.

use super::{StoredEntry, leaf_hash};
use crate::tlog::{Frontier, Hash};

/// State of a chain: the part of all earlier entries that the next one must fit.
#[derive(Debug, Default)]
pub struct Chain {
    frontier: Frontier,
    time_ms: u64,
    /// Buffer for the text of an entry.
    text: Vec<u8>,
}

/// A rule that an entry breaks; the message completes the sentence "entry … ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The index is not the next one.
    #[error("bears the index {found}")]
    Index {
        /// Index found.
        found: u64,
    },
    /// The time is before that of the entry before.
    #[error("is older than the entry before it")]
    Time,
    /// The entry does not name the newest entry of its identifier.
    #[error("follows on entry {named}, and the newest entry of its identifier is {newest}")]
    NotNewest {
        /// Index of the named entry.
        named: u64,
        /// Index of the newest entry of the identifier.
        newest: u64,
    },
    /// The entry names a previous one, but is the first of its identifier.
    #[error("follows on entry {named}, and none is about its identifier")]
    First {
        /// Index of the named entry.
        named: u64,
    },
    /// The entry names no previous one, but is not the first of its identifier.
    #[error("follows on none, and entry {newest} is about its identifier")]
    NotFirst {
        /// Index of the newest entry of the identifier.
        newest: u64,
    },
    /// The entry names the right previous entry with a wrong leaf hash.
    #[error("names another leaf hash for entry {named}")]
    PreviousLeaf {
        /// Index of the named entry.
        named: u64,
    },
    /// The version is not one more than the version before.
    #[error("bears another version than the one that it makes")]
    Version,
}

impl Chain {
    /// Continues behind the entries of a tree; `time_ms` is the time of the last one, in milliseconds since 1970 UTC.
    pub fn new(frontier: Frontier, time_ms: u64) -> Self {
        Self { frontier, time_ms, text: Vec::new() }
    }

    /// Number of entries, which is the index of the next one.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Time of the last entry, in milliseconds since 1970 UTC.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Root of the tree of all entries.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Right edge of the tree of all entries.
    pub fn into_frontier(self) -> Frontier {
        self.frontier
    }

    /// Checks index and time of the next entry.
    ///
    /// # Errors
    ///
    /// [`Broken::Index`], [`Broken::Time`].
    pub fn place(&mut self, index: u64, time_ms: u64) -> Result<(), Broken> {
        if index != self.size() {
            return Err(Broken::Index { found: index });
        }
        if time_ms < self.time_ms {
            return Err(Broken::Time);
        }
        self.time_ms = time_ms;
        Ok(())
    }

    /// Leaf hash of an entry: the hash of its text, which names the leaf hash of the previous entry of the same
    /// identifier.
    pub fn leaf_of(&mut self, entry: &StoredEntry<'_>, previous: Option<Hash>) -> Hash {
        self.text.clear();
        entry.put_text(&mut self.text, previous);
        leaf_hash(&self.text)
    }

    /// Adds the leaf hash of the next entry. `full_tile` is called as by [`Frontier::push`].
    pub fn push(&mut self, leaf: Hash, full_tile: impl FnMut(usize, Hash)) {
        self.frontier.push(leaf, full_tile);
    }
}

/// Checks that an entry names the newest entry of its identifier, if there is one.
///
/// # Errors
///
/// [`Broken::NotNewest`], [`Broken::First`], [`Broken::NotFirst`].
pub fn check_previous(named: Option<u64>, newest: Option<u64>) -> Result<(), Broken> {
    match (named, newest) {
        (None, None) => Ok(()),
        (Some(named), Some(newest)) if named == newest => Ok(()),
        (Some(named), Some(newest)) => Err(Broken::NotNewest { named, newest }),
        (Some(named), None) => Err(Broken::First { named }),
        (None, Some(newest)) => Err(Broken::NotFirst { newest }),
    }
}

/// Checks the leaf hash `said` that an entry names for entry `named`, whose leaf hash is `leaf`; `None`: there is no
/// such entry.
///
/// # Errors
///
/// [`Broken::PreviousLeaf`].
pub fn check_previous_leaf(named: u64, said: Hash, leaf: Option<Hash>) -> Result<(), Broken> {
    if leaf == Some(said) { Ok(()) } else { Err(Broken::PreviousLeaf { named }) }
}

/// Checks the version of an entry against the version of the previous entry.
///
/// # Errors
///
/// [`Broken::Version`].
pub fn check_version(version: u64, before: Option<u64>) -> Result<(), Broken> {
    if before.unwrap_or(0).checked_add(1) == Some(version) { Ok(()) } else { Err(Broken::Version) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Draft, EntryKind, Locator, Place, Previous, Principal, Statement},
        id::Identifier,
        record::Values,
        tlog::{definition, record_hash},
    };

    #[test]
    fn indexes_count_up_and_times_do_not_decrease() {
        // Index and time of an entry, time of the entry before, and the expected result behind two entries.
        let table = [
            (2, 7, Ok(())),
            (2, 8, Ok(())),
            (2, u64::MAX, Ok(())),
            (2, 6, Err(Broken::Time)),
            (1, 7, Err(Broken::Index { found: 1 })),
            (3, 6, Err(Broken::Index { found: 3 })),
        ];
        for (index, time_ms, expected) in table {
            let mut chain = Chain::new(Frontier::default(), 5);
            for time_ms in [5, 7] {
                chain.place(chain.size(), time_ms).unwrap();
                chain.push(Hash([1; 32]), |_, _| {});
            }
            assert_eq!(chain.place(index, time_ms), expected, "{index} {time_ms}");
            // An entry that breaks a rule leaves the chain as it was.
            assert_eq!(chain.time_ms(), if expected.is_ok() { time_ms } else { 7 });
        }
    }

    #[test]
    fn an_entry_names_the_newest_of_its_identifier() {
        let table = [
            (None, None, Ok(())),
            (Some(4), Some(4), Ok(())),
            (Some(3), Some(4), Err(Broken::NotNewest { named: 3, newest: 4 })),
            (Some(5), Some(4), Err(Broken::NotNewest { named: 5, newest: 4 })),
            (Some(0), None, Err(Broken::First { named: 0 })),
            (None, Some(0), Err(Broken::NotFirst { newest: 0 })),
        ];
        for (named, newest, expected) in table {
            assert_eq!(check_previous(named, newest), expected, "{named:?} {newest:?}");
        }
        let (one, other) = (Hash([1; 32]), Hash([2; 32]));
        for (said, leaf, is_right) in [(one, Some(one), true), (one, Some(other), false), (one, None, false)] {
            let expected = if is_right { Ok(()) } else { Err(Broken::PreviousLeaf { named: 9 }) };
            assert_eq!(check_previous_leaf(9, said, leaf), expected);
        }
        let table = [
            (1, None, true),
            (2, Some(1), true),
            (0, None, false),
            (2, None, false),
            (1, Some(1), false),
            (3, Some(1), false),
            (0, Some(u64::MAX), false),
        ];
        for (version, before, is_right) in table {
            assert_eq!(check_version(version, before).is_ok(), is_right, "{version} {before:?}");
        }
    }

    #[test]
    fn leaves_and_roots_are_those_of_the_texts() {
        let identifier = Identifier::parse("88.118.8/a").unwrap();
        let values = Values::new(Vec::new()).unwrap();
        let (mut chain, mut leaves) = (Chain::default(), Vec::<Hash>::new());
        for index in 0..5 {
            let statement = Statement {
                kind: if index == 0 { EntryKind::Create } else { EntryKind::Update },
                identifier: &identifier,
                principal: &Principal::LOOPBACK,
                values: &values,
                edges: &[],
                outputs: None,
                request: None,
                erasure: None,
            };
            let draft = Draft::new(&statement, [index as u8; 32]).unwrap();
            let previous =
                leaves.last().map(|&leaf_hash| Previous { index: index - 1, locator: Locator(0), leaf_hash });
            let place = Place { index, time_ms: 7, version: index + 1, previous, has_edges: false };
            let (mut stored, mut text) = (Vec::new(), Vec::new());
            draft.put_stored(&mut stored, &place);
            draft.put_text(&mut text, &place);
            let leaf = chain.leaf_of(&StoredEntry::read(&stored).unwrap(), leaves.last().copied());
            assert_eq!(leaf, record_hash(&text));
            chain.push(leaf, |_, _| {});
            leaves.push(leaf);
            assert_eq!((chain.size(), chain.root()), (index + 1, definition::root(&leaves)));
        }
    }
}

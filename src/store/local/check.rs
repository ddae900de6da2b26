//! Comparison of an index with the ledger, entry by entry: the index says what the entries say, and nothing beyond
//! them.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use super::{EdgeStateAt, LocalIndex};
use crate::{
    entry::StoredEntry,
    id::KeyPrefix,
    ledger::{LedgerError, Position},
    store::{Direction, EdgeEnd, EdgeMove, EdgeOrigin, IndexChange, PlacedChange, PositionIndex, StoreError},
};

/// Keys that are read in one page when the index is counted.
const SCAN_KEYS: usize = 10_000;

/// Failure of the check of an index.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The index could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry of the ledger says nothing that can be indexed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Index and ledger disagree.
    #[error("{what}")]
    Differs {
        /// The difference, in words.
        what: String,
    },
}

/// Compares the index with the ledger while the ledger is checked, entry by entry.
pub struct IndexCheck {
    store: LocalIndex,
    /// Entries that were applied when the index was opened.
    applied: u64,
    identifiers: u64,
    newest: u64,
    /// Every state of every edge, from the ledger.
    edges: Tally,
}

impl IndexCheck {
    /// Checks an index that was just opened. Entries that the index has not applied yet go through
    /// [`IndexCheck::catch_up`] first.
    pub fn new(store: LocalIndex) -> Self {
        let applied = store.durable().entries;
        Self { store, applied, identifiers: 0, newest: 0, edges: Tally::default() }
    }

    /// Applies an entry that the index did not hold durably when the node stopped; does nothing for any other entry.
    ///
    /// # Errors
    ///
    /// [`CheckError::Store`], [`CheckError::Ledger`].
    pub fn catch_up(&self, position: Position, entry: &StoredEntry<'_>, change: IndexChange) -> Result<(), CheckError> {
        if entry.index >= self.applied {
            let upto = self.store.durable();
            self.store.apply(vec![PlacedChange::of(position, entry, change)], upto)?;
        }
        Ok(())
    }

    /// Compares the index with the next entry and the change that is derived from the entry.
    ///
    /// # Errors
    ///
    /// [`CheckError`]
    pub fn entry(
        &mut self,
        position: Position,
        entry: &StoredEntry<'_>,
        change: IndexChange,
    ) -> Result<(), CheckError> {
        let bad =
            |what: &str| CheckError::Differs { what: format!("the index {what} of ledger entry {}", entry.index) };
        let latest = self.store.latest(&change.key)?.ok_or_else(|| bad("does not know the identifier"))?;
        if latest < position {
            return Err(bad("has an older entry for the identifier"));
        }
        if latest == position {
            self.newest += 1;
            if let Some(hash) = &change.name_hash
                && self.store.by_name_hash(hash)? != Some(position)
            {
                return Err(bad("does not know the name hash"));
            }
        }
        if let Some(request) = &change.request
            && self.store.by_request(request)? != Some(position)
        {
            return Err(bad("does not know the request"));
        }
        if entry.version == 1 {
            self.identifiers += 1;
        }
        self.edges.add_all(change, position);
        Ok(())
    }

    /// Checks all that only the whole shows: the index knows no identifier beyond the ledger, and every edge. Returns
    /// the number of identifiers that the ledger registered, and the number that the index knows.
    ///
    /// # Errors
    ///
    /// [`CheckError`]
    pub fn finish(self) -> Result<(u64, u64), CheckError> {
        let everything = KeyPrefix::from_bytes([]);
        let (mut known, mut after) = (0, None);
        loop {
            let page = self.store.scan(&everything, after.as_ref(), SCAN_KEYS)?;
            known += page.len() as u64;
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        if known != self.identifiers || self.newest != self.identifiers {
            return Err(CheckError::Differs {
                what: format!(
                    "the index knows {known} identifiers, {} of them by their newest entry; the ledger registered {}",
                    self.newest, self.identifiers
                ),
            });
        }
        let mut indexed = Tally::default();
        self.store.each_edge_state(|state| indexed.add(&state))?;
        if indexed != self.edges {
            return Err(CheckError::Differs {
                what: format!(
                    "the index knows {} states of edges, the ledger {}, and they are not the same",
                    indexed.count, self.edges.count
                ),
            });
        }
        Ok((self.identifiers, known))
    }
}

/// Digest of a set of edge states that does not depend on their order: their number, and the sum of their hashes. (A
/// ledger may hold more states than fit in memory.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u128,
}

impl Tally {
    fn add(&mut self, state: &EdgeStateAt) {
        let half = |nth: u8| {
            let mut hasher = DefaultHasher::new();
            (nth, state).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        self.count += 1;
        self.sum = self.sum.wrapping_add(half(0) << 64 | half(1));
    }

    /// Adds the changes of edges by an entry, each in both directions, as the index holds them.
    fn add_all(&mut self, change: IndexChange, position: Position) {
        let IndexChange { index, key, edges, .. } = change;
        for EdgeMove { kind, origin, other, op } in edges {
            let (from, to) = match origin {
                EdgeOrigin::Record => (key.clone(), other),
                EdgeOrigin::Event => (other, key.clone()),
            };
            for (direction, key, other) in [(Direction::Out, from.clone(), to.clone()), (Direction::In, to, from)] {
                let end = EdgeEnd { origin, kind, other };
                self.add(&EdgeStateAt { direction, key, end, index, op, position });
            }
        }
    }
}

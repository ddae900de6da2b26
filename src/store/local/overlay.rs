//! The overlay: changes that are not in the blocks yet.
//!
//! An active map takes them in; once full or old it is frozen and merged into the blocks, while a new active map fills.
//! A lookup asks the active map, then the frozen one, then the blocks; a filter over each map ends most lookups of keys
//! that the map does not have, which is what a registration asks for. The frozen map is dropped only after all of it
//! is in the blocks, so a reader that asks in this order misses nothing.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use super::{
    filter::{Filter, KeyHash, KeyHasher},
    keys::IndexKey,
};
use crate::{ledger::Position, store::Applied};

/// Index entries in order: the position under each key, or `None` for a removed key.
pub(super) type Changes = BTreeMap<IndexKey, Option<Position>>;

/// A map that takes no more changes, and the extent of the ledger once it is merged.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) changes: Changes,
    filter: Filter,
    pub(super) mark: Applied,
}

#[derive(Debug)]
struct Layers {
    active: Changes,
    /// The keys of `active`.
    filter: Filter,
    /// Time of the first change in `active`.
    since: Option<Instant>,
    frozen: Option<Arc<Frozen>>,
    /// Extent of the ledger applied by complete calls.
    applied: Applied,
}

/// The active and the frozen map.
#[derive(Debug)]
pub(super) struct Overlay {
    layers: RwLock<Layers>,
    hasher: KeyHasher,
    /// Number of changes after which a map is meant to be frozen: the capacity of its filter.
    entries_max: usize,
}

/// A copied range of the overlay.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) changes: Changes,
    /// The last key that the copy covers; `None` if it covers the whole range.
    pub(super) covers: Option<IndexKey>,
}

impl Overlay {
    /// An empty overlay over blocks that hold the ledger up to `applied`, with maps of about `entries_max` changes.
    pub(super) fn new(applied: Applied, entries_max: usize, hasher: KeyHasher) -> Self {
        let (active, filter) = (Changes::new(), Filter::new(entries_max));
        let layers = Layers { active, filter, since: None, frozen: None, applied };
        Self { layers: RwLock::new(layers), hasher, entries_max }
    }

    /// The change of a key, given with its hash; `None` if the overlay has none.
    pub(super) fn get(&self, key: &[u8], hash: KeyHash) -> Option<Option<Position>> {
        let layers = self.read();
        let within = |changes: &Changes, filter: &Filter| match filter.may_hold(hash) {
            true => changes.get(key).copied(),
            false => None,
        };
        let frozen = || layers.frozen.as_ref().and_then(|frozen| within(&frozen.changes, &frozen.filter));
        within(&layers.active, &layers.filter).or_else(frozen)
    }

    /// A copy of the changes within `bounds`, at least the first `count_max` of them.
    pub(super) fn stretch(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>), count_max: usize) -> Stretch {
        let layers = self.read();
        let mut stretch = Stretch { changes: Changes::new(), covers: None };
        let maps = [layers.frozen.as_ref().map(|frozen| &frozen.changes), Some(&layers.active)];
        for map in maps.into_iter().flatten() {
            let mut rest = map.range::<[u8], _>(bounds);
            let mut last = None;
            for (key, position) in rest.by_ref().take(count_max) {
                stretch.changes.insert(key.clone(), *position);
                last = Some(key);
            }
            if let (Some(last), Some(_)) = (last, rest.next())
                && stretch.covers.as_ref().is_none_or(|covers| last < covers)
            {
                stretch.covers = Some(last.clone());
            }
        }
        // Beyond the shorter of both copies, the other map may have changes that were not copied.
        if let Some(covers) = &stretch.covers {
            stretch.changes.retain(|key, _| key <= covers);
        }
        stretch
    }

    /// Inserts changes, one after the other.
    pub(super) fn insert(&self, changes: impl Iterator<Item = (IndexKey, Option<Position>)>) {
        let mut layers = self.write();
        let Layers { active, filter, .. } = &mut *layers;
        for (key, position) in changes {
            filter.insert(self.hasher.hash(&key));
            active.insert(key, position);
        }
        layers.since.get_or_insert_with(Instant::now);
    }

    /// Records that everything inserted so far is the ledger up to `upto`.
    pub(super) fn set_applied(&self, upto: Applied) {
        self.write().applied = upto;
    }

    /// Number of changes in the active map, and the time of the first one.
    pub(super) fn active(&self) -> (usize, Option<Instant>) {
        let layers = self.read();
        (layers.active.len(), layers.since)
    }

    /// Freezes the active map, if no other is frozen and there are changes to merge, or a newer mark than `durable` to
    /// write.
    pub(super) fn freeze(&self, durable: Applied) -> Option<Arc<Frozen>> {
        let mut layers = self.write();
        if layers.frozen.is_some() || (layers.active.is_empty() && layers.applied == durable) {
            return None;
        }
        let changes = std::mem::take(&mut layers.active);
        let filter = std::mem::replace(&mut layers.filter, Filter::new(self.entries_max));
        let frozen = Arc::new(Frozen { changes, filter, mark: layers.applied });
        layers.since = None;
        layers.frozen = Some(Arc::clone(&frozen));
        Some(frozen)
    }

    /// The frozen map, if there is one.
    pub(super) fn frozen(&self) -> Option<Arc<Frozen>> {
        self.read().frozen.clone()
    }

    /// Drops the frozen map; all of it is in the blocks.
    pub(super) fn thaw(&self) {
        // A large map: its memory is freed after the lock.
        let frozen = self.write().frozen.take();
        drop(frozen);
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &[u8], position: u64) -> (IndexKey, Option<Position>) {
        (key.into(), Some(Position(position)))
    }

    #[test]
    fn newer_layers_win_and_a_stretch_ends_where_a_layer_was_cut() {
        let hasher = KeyHasher::default();
        let overlay = Overlay::new(Applied::default(), 10, hasher.clone());
        let get = |key: &[u8]| overlay.get(key, hasher.hash(key));
        overlay.insert([change(b"a", 1), change(b"b", 2), change(b"d", 3)].into_iter());
        assert!(overlay.freeze(Applied::default()).is_some());
        overlay.insert([change(b"b", 4), change(b"c", 5), (b"d"[..].into(), None)].into_iter());
        assert!(overlay.freeze(Applied::default()).is_none(), "one frozen map at a time");

        assert_eq!(get(b"a"), Some(Some(Position(1))));
        assert_eq!(get(b"b"), Some(Some(Position(4))));
        assert_eq!(get(b"d"), Some(None));
        assert_eq!(get(b"e"), None);

        let all = overlay.stretch((Bound::Unbounded, Bound::Unbounded), 10);
        assert_eq!(all.covers, None);
        assert_eq!(all.changes.len(), 4);
        let cut = overlay.stretch((Bound::Unbounded, Bound::Unbounded), 2);
        assert_eq!(cut.covers.as_deref(), Some(&b"b"[..]), "the frozen map was cut after b");
        assert_eq!(cut.changes, Changes::from([change(b"a", 1), change(b"b", 4)]));

        overlay.thaw();
        assert_eq!(get(b"a"), None);
        assert_eq!(get(b"b"), Some(Some(Position(4))));
    }
}

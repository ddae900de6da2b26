//! The reference model: the contract of engines over ordered maps, simple enough to be evidently right.
//!
//! [`MemoryIndex`] is the model of an index of positions. [`MemoryEntries`] is an engine over it: its positions are ledger
//! indexes, and it reads entries from the ledger by their index. All in memory, empty at start.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Applied, Direction, EdgeEnd, EdgeMove, EdgeOp, EdgeOrigin, EdgeQuery, Entries, IndexChange, IndexedEdge, PastPage,
    PlacedChange, PositionIndex, ReadError, RequestKey, StoreError,
};
use crate::{
    entry::Locator,
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::{EntryBytes, Ledger, Position, Resident},
};

/// An index that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    model: RwLock<Model>,
}

/// States of an edge by ledger index, newest first.
type EdgeStates = BTreeMap<Reverse<u64>, (EdgeOp, Position)>;

#[derive(Debug, Default)]
struct Model {
    latest: BTreeMap<Key, Position>,
    superseded: BTreeMap<Key, BTreeMap<Reverse<u64>, Position>>,
    edges: BTreeMap<(Direction, Key), BTreeMap<EdgeEnd, EdgeStates>>,
    by_name_hash: BTreeMap<NameHash, Position>,
    by_request: BTreeMap<RequestKey, Position>,
}

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    fn model(&self) -> RwLockReadGuard<'_, Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    fn apply(&mut self, change: PlacedChange) {
        let PlacedChange { change, position, superseded: place_before } = change;
        let IndexChange { index, key, superseded, name_hash, request, edges } = change;
        if let (Some(index), Some(position)) = (superseded, place_before) {
            self.superseded.entry(key.clone()).or_default().insert(Reverse(index), position);
        }
        for EdgeMove { kind, origin, other, op } in edges {
            let (from, to) = match origin {
                EdgeOrigin::Record => (key.clone(), other),
                EdgeOrigin::Event => (other, key.clone()),
            };
            for (direction, here, other) in [(Direction::Out, from.clone(), to.clone()), (Direction::In, to, from)] {
                let edges = self.edges.entry((direction, here)).or_default();
                let states = edges.entry(EdgeEnd { origin, kind, other }).or_default();
                states.insert(Reverse(index), (op, position));
            }
        }
        if let Some(hash) = name_hash {
            self.by_name_hash.insert(hash, position);
        }
        if let Some(request) = request {
            self.by_request.insert(request, position);
        }
        self.latest.insert(key, position);
    }
}

impl PositionIndex for MemoryIndex {
    fn latest(&self, key: &Key) -> Result<Option<Position>, StoreError> {
        Ok(self.model().latest.get(key).copied())
    }

    fn latest_resident(&self, key: &Key) -> Result<Resident<Option<Position>>, StoreError> {
        self.latest(key).map(Resident::Here)
    }

    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Position>, StoreError> {
        Ok(self.model().by_name_hash.get(hash).copied())
    }

    fn superseded(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<(u64, Position)>, StoreError> {
        let model = self.model();
        let versions = model.superseded.get(key).into_iter().flat_map(|versions| versions.range(Reverse(upto)..));
        Ok(versions.map(|(Reverse(index), position)| (*index, *position)).take(limit).collect())
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<Position>, StoreError> {
        Ok(self.model().by_request.get(request).copied())
    }

    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, StoreError> {
        let model = self.model();
        let edges = model.edges.get(&(direction, key.clone())).into_iter().flatten();
        let asked =
            edges.filter(|(end, _)| query.takes(end.origin, end.kind) && query.after.is_none_or(|at| *end > at));
        let there = asked.filter_map(|(end, states)| match states.range(Reverse(query.upto)..).next()? {
            (Reverse(index), (EdgeOp::Add, position)) => {
                Some(IndexedEdge { end: end.clone(), index: *index, locator: (*position).into() })
            }
            (_, (EdgeOp::Remove, _)) => None,
        });
        Ok(there.take(query.limit).collect())
    }

    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, StoreError> {
        let prefix = prefix.as_bytes();
        let longer = (Bound::Excluded(prefix), Bound::Unbounded);
        let next =
            self.model().latest.range::<[u8], _>(longer).next().map(|(key, _)| key.as_bytes().starts_with(prefix));
        Ok(next.unwrap_or(false))
    }

    fn any_name_hash(&self) -> Result<bool, StoreError> {
        Ok(!self.model().by_name_hash.is_empty())
    }

    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Position)>, StoreError> {
        let model = self.model();
        let keys = model.latest.range::<[u8], _>((Bound::Included(prefix.as_bytes()), Bound::Unbounded));
        let below = keys.take_while(|(key, _)| key.as_bytes().starts_with(prefix.as_bytes()));
        let wanted = below.filter(|(key, _)| after.is_none_or(|after| *key > after));
        Ok(wanted.take(limit).map(|(key, position)| (key.clone(), *position)).collect())
    }

    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn apply(&self, changes: Vec<PlacedChange>, _upto: Applied) -> Result<(), StoreError> {
        let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|change| model.apply(change));
        Ok(())
    }

    /// Always the default: memory is lost in a crash.
    fn durable(&self) -> Applied {
        Applied::default()
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// An engine whose index lives as long as its process, over a ledger.
#[derive(Debug)]
pub struct MemoryEntries {
    index: MemoryIndex,
    ledger: Arc<Ledger>,
    closed: AtomicBool,
}

impl MemoryEntries {
    /// An engine without any entry.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { index: MemoryIndex::new(), ledger, closed: AtomicBool::new(false) }
    }

    /// The entry at what the index calls a position: the ledger index itself.
    fn entry(&self, position: Position) -> Result<EntryBytes, ReadError> {
        Ok(self.ledger.at(position.0)?)
    }

    fn found(&self, position: Option<Position>) -> Result<Option<EntryBytes>, ReadError> {
        position.map(|position| self.entry(position)).transpose()
    }
}

impl Entries for MemoryEntries {
    fn newest(&self, key: &Key) -> Result<Option<EntryBytes>, ReadError> {
        self.found(self.index.latest(key)?)
    }

    fn newest_resident(&self, key: &Key) -> Result<Resident<Option<EntryBytes>>, ReadError> {
        self.newest(key).map(Resident::Here)
    }

    fn newest_locator(&self, key: &Key) -> Result<Option<Locator>, ReadError> {
        Ok(self.index.latest(key)?.map(Into::into))
    }

    fn by_locator(&self, locator: Locator) -> Result<EntryBytes, ReadError> {
        self.entry(locator.into())
    }

    fn at(&self, index: u64) -> Result<EntryBytes, ReadError> {
        self.entry(Position(index))
    }

    fn past(&self, key: &Key, page: PastPage) -> Result<Vec<EntryBytes>, ReadError> {
        let found = self.index.superseded(key, page.upto, page.entries_max)?;
        page.read(found.into_iter().map(|(index, _)| self.at(index)))
    }

    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<EntryBytes>, ReadError> {
        self.found(self.index.by_name_hash(hash)?)
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<EntryBytes>, ReadError> {
        self.found(self.index.by_request(request)?)
    }

    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, ReadError> {
        Ok(self.index.edges(key, direction, query)?)
    }

    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        Ok(self.index.any_below(prefix)?)
    }

    fn any_name_hash(&self) -> Result<bool, ReadError> {
        Ok(self.index.any_name_hash()?)
    }

    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, EntryBytes)>, ReadError> {
        let found = self.index.scan(prefix, after, limit)?;
        found.into_iter().map(|(key, position)| Ok((key, self.entry(position)?))).collect()
    }

    fn ready(&self) -> Result<(), StoreError> {
        match self.closed.load(Ordering::Acquire) {
            false => self.index.ready(),
            true => Err(StoreError::Engine { path: "in memory".into(), reason: "it is closed".into() }),
        }
    }

    fn apply(&self, changes: Vec<IndexChange>, batch: Range<u64>) -> Result<(), ReadError> {
        self.ready()?;
        let placed = |change: IndexChange| {
            let (position, superseded) = (Position(change.index), change.superseded.map(Position));
            PlacedChange { change, position, superseded }
        };
        let upto = Applied { entries: batch.end, next: Position(batch.end) };
        Ok(self.index.apply(changes.into_iter().map(placed).collect(), upto)?)
    }

    fn durable(&self) -> u64 {
        self.index.durable().entries
    }

    fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.index.close()
    }
}

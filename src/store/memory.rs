//! The reference model: the [`Store`] contract over ordered maps, obvious enough to be believed.
//!
//! For tests, and for nodes that keep nothing: it holds everything in memory and starts empty.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{Applied, EdgeOp, IndexChange, IndexedEdge, RequestKey, Store, StoreError};
use crate::{
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::{Position, Resident},
    record::EdgeType,
};

/// An index that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    model: RwLock<Model>,
}

#[derive(Debug, Default)]
struct Model {
    latest: BTreeMap<Key, Position>,
    superseded: BTreeMap<Key, BTreeMap<Reverse<u64>, Position>>,
    edges_out: BTreeMap<Key, BTreeMap<(EdgeType, Key), Position>>,
    by_name_hash: BTreeMap<NameHash, Position>,
    by_request: BTreeMap<RequestKey, Position>,
}

impl MemoryStore {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    fn model(&self) -> RwLockReadGuard<'_, Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    fn apply(&mut self, change: IndexChange) {
        let IndexChange { key, position, superseded, name_hash, request, edges } = change;
        if let Some((index, position)) = superseded {
            self.superseded.entry(key.clone()).or_default().insert(Reverse(index), position);
        }
        for (kind, to, op) in edges {
            let out = self.edges_out.entry(key.clone()).or_default();
            match op {
                EdgeOp::Add => out.insert((kind, to), position),
                EdgeOp::Remove => out.remove(&(kind, to)),
            };
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

impl Store for MemoryStore {
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

    fn edges_out(&self, from: &Key, limit: usize) -> Result<Vec<IndexedEdge>, StoreError> {
        let model = self.model();
        let edges = model.edges_out.get(from).into_iter().flatten();
        let indexed = |((kind, to), position): (&(EdgeType, Key), &Position)| IndexedEdge {
            kind: *kind,
            to: to.clone(),
            position: *position,
        };
        Ok(edges.map(indexed).take(limit).collect())
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

    fn apply(&self, changes: Vec<IndexChange>, _upto: Applied) -> Result<(), StoreError> {
        let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|change| model.apply(change));
        Ok(())
    }

    /// Nothing: memory is gone after a crash.
    fn durable(&self) -> Applied {
        Applied::default()
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

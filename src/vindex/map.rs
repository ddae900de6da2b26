//! The map in memory: every key with its ledger indices, and the root of the trie over them.
//!
//! 38 bytes a key with one index, and about 20 of hashes and pointers. The first bits of a key choose its shard
//! ([`super::shard`]); several threads change different shards at once. Above the shards a small tree of hashes leads
//! to the root.
//!
//! A map that serves lookups is changed in two steps: [`Map::prepare`] reads it and computes all changes,
//! [`Map::apply`] swaps pointers. So lookups wait for the second step alone, and see the whole state before or after
//! it. A map that does not serve yet is changed in place ([`Map::update`]), and hashed once at the end.

use std::{num::NonZero, thread};

pub use super::shard::{Hashing, Update};
use super::{
    shard::{Change, NOTHING, SHARD_BITS, SHARDS, Shard, climb, descend, shard_of},
    trie::{Bytes32, Path, empty_hash},
};

/// Minimum number of updates for each thread; fewer are not worth a second one.
const UPDATES_PER_THREAD_MIN: usize = 2_048;
/// Maximum number of threads that change a map.
const THREADS_MAX: usize = 16;

/// Keys, indices and hashes.
#[derive(Debug)]
pub struct Map {
    shards: Vec<Shard>,
    /// Hashes of the tree above the shards: node 1 is the root, the shards begin at [`SHARDS`].
    hashes: Vec<Bytes32>,
    /// True if some hashes are stale, until [`Map::rehash`].
    is_behind: bool,
}

/// Changes to a map, computed and not applied yet.
#[derive(Debug)]
pub struct Prepared {
    changes: Vec<(usize, Change)>,
    hashes: Vec<(usize, Bytes32)>,
    root: Bytes32,
}

impl Prepared {
    /// The root of the map after the change.
    pub fn root(&self) -> Bytes32 {
        self.root
    }
}

/// Result of a lookup in the map, with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Exactly these entries are under the key.
    Present {
        /// Ledger indices of the entries, ascending.
        indices: Vec<u64>,
        /// The proof of presence.
        proof: Vec<u8>,
    },
    /// No entry is under the key.
    Absent {
        /// The proof of absence.
        proof: Vec<u8>,
    },
    /// More entries are under the key than were asked for.
    TooMany {
        /// Number of entries.
        count: u64,
    },
}

impl Default for Map {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(Shard::new).collect(), hashes: vec![NOTHING; 2 * SHARDS], is_behind: false }
    }
}

impl Map {
    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.shards.iter().map(Shard::keys).sum()
    }

    /// The root of the trie. After changes with [`Hashing::Later`], call [`Map::rehash`] first.
    pub fn root(&self) -> Bytes32 {
        root_of(self.hashes[1])
    }

    /// The entries under a key, with the proof, unless there are more than `count_max`.
    pub fn prove(&self, key: &Bytes32, count_max: u64) -> Found {
        let found = self.shards[shard_of(key)].find(key);
        if let Some(count) = found.map(|value| value.count()).filter(|count| *count > count_max) {
            return Found::TooMany { count };
        }
        let mut path = Path::default();
        let shard = descend(&self.hashes, SHARD_BITS, 0, key, &mut path).map(|node| node - SHARDS);
        let end = shard.and_then(|shard| self.shards[shard].descend(key, &mut path));
        match (found, end) {
            (Some(value), _) => Found::Present { indices: value.indices(), proof: path.presence() },
            (None, Some((other, value))) => Found::Absent { proof: path.absence(&other, &value) },
            (None, None) => Found::Absent { proof: Vec::new() },
        }
    }

    /// Computes the changes that updates make, without applying them. After changes with [`Hashing::Later`], call
    /// [`Map::rehash`] first.
    pub fn prepare(&self, mut updates: Vec<Update>) -> Prepared {
        updates.sort_unstable();
        let groups = groups(&updates);
        let prepare = |groups: &[&[Update]]| -> Vec<(usize, Change)> {
            let prepare = |updates: &&[Update]| {
                let shard = shard_of(&updates[0].key);
                (shard, self.shards[shard].prepare(updates, Hashing::Now))
            };
            groups.iter().map(prepare).collect()
        };
        let per_thread = groups.len().div_ceil(threads(updates.len())).max(1);
        let changes: Vec<_> = if groups.len() <= per_thread {
            prepare(&groups)
        } else {
            thread::scope(|scope| {
                let parts: Vec<_> = groups.chunks(per_thread).map(|part| scope.spawn(move || prepare(part))).collect();
                parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
            })
        };
        let level = changes.iter().map(|(shard, change)| (SHARDS + shard, change.root())).collect();
        let hashes = climb(level, SHARD_BITS, 0, &|node| self.hashes[node]);
        let root = hashes.last().map_or_else(|| self.hashes[1], |(_, root)| *root);
        Prepared { changes, hashes, root: root_of(root) }
    }

    /// Applies changes that were prepared from this state.
    pub fn apply(&mut self, prepared: Prepared) {
        for (shard, change) in prepared.changes {
            self.shards[shard].apply(change);
        }
        for (node, hash) in prepared.hashes {
            self.hashes[node] = hash;
        }
    }

    /// Changes the map in place. [`Hashing::Now`] first brings stale hashes up to date.
    pub fn update(&mut self, mut updates: Vec<Update>, hashing: Hashing) {
        if hashing == Hashing::Now {
            self.rehash();
        }
        self.is_behind |= hashing == Hashing::Later && !updates.is_empty();
        updates.sort_unstable();
        let per_thread = SHARDS.div_ceil(threads(updates.len()));
        let update = |first: usize, shards: &mut [Shard], updates: &[Update]| {
            for updates in updates.chunk_by(|a, b| shard_of(&a.key) == shard_of(&b.key)) {
                let shard = &mut shards[shard_of(&updates[0].key) - first];
                shard.apply(shard.prepare(updates, hashing));
            }
        };
        if per_thread == SHARDS {
            update(0, &mut self.shards, &updates);
        } else {
            thread::scope(|scope| {
                // Updates are sorted by key, hence by shard: each thread takes the run of its shards.
                let mut rest = updates.as_slice();
                for (part, shards) in self.shards.chunks_mut(per_thread).enumerate() {
                    let first = part * per_thread;
                    let end = rest.partition_point(|update| shard_of(&update.key) < first + per_thread);
                    let (here, behind) = rest.split_at(end);
                    rest = behind;
                    scope.spawn(move || update(first, shards, here));
                }
            });
        }
        if hashing == Hashing::Now {
            let shards = groups(&updates).into_iter().map(|updates| shard_of(&updates[0].key));
            let level = shards.map(|shard| (SHARDS + shard, self.shards[shard].root())).collect();
            self.climb(level);
        }
    }

    /// Brings all stale hashes up to date.
    pub fn rehash(&mut self) {
        if !std::mem::take(&mut self.is_behind) {
            return;
        }
        let per_thread = SHARDS.div_ceil(threads(self.keys()));
        thread::scope(|scope| {
            for shards in self.shards.chunks_mut(per_thread) {
                scope.spawn(move || shards.iter_mut().for_each(Shard::rehash));
            }
        });
        let level = self.shards.iter().enumerate().map(|(shard, content)| (SHARDS + shard, content.root())).collect();
        self.climb(level);
    }

    fn climb(&mut self, level: Vec<(usize, Bytes32)>) {
        for (node, hash) in climb(level, SHARD_BITS, 0, &|node| self.hashes[node]) {
            self.hashes[node] = hash;
        }
    }
}

/// Splits sorted updates by their shards.
fn groups(updates: &[Update]) -> Vec<&[Update]> {
    updates.chunk_by(|a, b| shard_of(&a.key) == shard_of(&b.key)).collect()
}

/// Number of threads for a number of updates.
fn threads(updates: usize) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    processors.min(THREADS_MAX).min(updates / UPDATES_PER_THREAD_MIN).max(1)
}

fn root_of(hash: Bytes32) -> Bytes32 {
    if hash == NOTHING { empty_hash() } else { hash }
}

#[cfg(test)]
mod tests;

//! A shard of the map: the keys with the same first [`SHARD_BITS`] bits.
//!
//! The keys lie in 2^depth buckets by the bits that follow; a bucket is one allocation of sorted records of 38 bytes:
//! the key, and its one ledger index or the place of its list. For every bucket, and every node of the binary tree
//! above the buckets, the hash of the keys below is kept; zeros stand for no key. Where one half of a node is empty,
//! the trie has no node (its shape depends on the keys alone), and the hash of the other half takes its place. Hashes
//! within a bucket are recomputed on demand.
//!
//! A change is prepared while readers still use the shard ([`Shard::prepare`]), and then applied ([`Shard::apply`]),
//! which hashes nothing and moves pointers.

use super::{
    list::{List, Tail},
    trie::{Bytes32, Path, first_difference, inner_hash, is_right, leaf_hash, value_of},
};

/// Number of leading bits of a key that choose its shard.
pub(super) const SHARD_BITS: u8 = 10;
/// Number of shards of a map.
pub(super) const SHARDS: usize = 1 << SHARD_BITS;
/// Average number of keys in a bucket at which a shard doubles its buckets; half of that for the last shard, so that
/// not all of them grow at the same time. With a quarter of that, allocations would cost what a change saves in hashes.
const BUCKET_KEYS_MAX: usize = 12;
/// Hash of a subtree without keys.
pub(super) const NOTHING: Bytes32 = [0; 32];

const KEY_BYTES: usize = 32;
/// Length of the word behind a key, in bytes: an index, or the place of a list.
const WORD_BYTES: usize = 6;
const RECORD_BYTES: usize = KEY_BYTES + WORD_BYTES;
/// Flag of a word that is the place of a list; ledger indices are smaller, for 2^47 entries fit on no disk.
const LIST_FLAG: u64 = 1 << 47;

/// One more ledger entry under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Update {
    /// The key.
    pub key: Bytes32,
    /// The entry's index.
    pub index: u64,
}

/// Time at which hashes follow a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// With the change.
    Now,
    /// Later, all at once, after many changes.
    Later,
}

type Record = [u8; RECORD_BYTES];

/// A shard of the map.
#[derive(Debug)]
pub(super) struct Shard {
    /// Number of the shard.
    number: usize,
    /// Number of bits behind those of the shard that choose a bucket.
    depth: u8,
    buckets: Vec<Box<[u8]>>,
    /// Hashes of the tree: node 1 is the root, the children of node n are 2n and 2n + 1, the buckets begin at 2^depth.
    hashes: Vec<Bytes32>,
    lists: Vec<List>,
    keys: usize,
    hashed: Hashing,
}

/// Changes to a shard, computed and not applied yet.
#[derive(Debug)]
pub(super) struct Change {
    depth: u8,
    keys: usize,
    buckets: Vec<(usize, Box<[u8]>)>,
    hashes: Vec<(usize, Bytes32)>,
    tails: Vec<(usize, Tail)>,
    lists: Vec<List>,
    hashed: Hashing,
}

impl Change {
    /// The hash of the whole shard after the change; only with [`Hashing::Now`].
    pub(super) fn root(&self) -> Bytes32 {
        self.hashes.last().map_or(NOTHING, |(_, root)| *root)
    }
}

/// The indices under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    One(u64),
    Many(&'a List),
}

impl Value<'_> {
    pub(super) fn count(self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(list) => list.count(),
        }
    }

    pub(super) fn indices(self) -> Vec<u64> {
        match self {
            Self::One(index) => vec![index],
            Self::Many(list) => list.indices(),
        }
    }

    fn value(self) -> Bytes32 {
        match self {
            Self::One(index) => value_of(&[index]),
            Self::Many(list) => list.value(),
        }
    }
}

impl Shard {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            depth: 0,
            buckets: vec![Box::default()],
            hashes: vec![NOTHING; 2],
            lists: Vec::new(),
            keys: 0,
            hashed: Hashing::Now,
        }
    }

    /// Number of keys.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// The hash of the whole shard; stale after a change with [`Hashing::Later`].
    pub(super) fn root(&self) -> Bytes32 {
        self.hashes[1]
    }

    /// The indices under a key.
    pub(super) fn find(&self, key: &Bytes32) -> Option<Value<'_>> {
        let (records, _) = self.buckets[bucket_of(key, self.depth)].as_chunks::<RECORD_BYTES>();
        let at = records.binary_search_by(|record| key_of(record).cmp(key)).ok()?;
        Some(self.value(&records[at]))
    }

    /// Descends to the leaf where a search for a key ends, and records the path; `None` if the shard is empty. A half
    /// without keys has no node in the trie: the search continues in the other half.
    pub(super) fn descend(&self, key: &Bytes32, path: &mut Path) -> Option<(Bytes32, Bytes32)> {
        let node = descend(&self.hashes, self.depth, SHARD_BITS, key, path)?;
        let (mut records, _) = self.buckets[node - (1 << self.depth)].as_chunks::<RECORD_BYTES>();
        loop {
            let first = records.first()?;
            let last = records.last()?;
            let Some(bit) = first_difference(key_of(first), key_of(last)) else {
                return Some((*key_of(first), self.value(first).value()));
            };
            let split = records.partition_point(|record| !is_right(key_of(record), bit));
            let (left, right) = records.split_at(split);
            let (here, other) = if is_right(key, bit) { (right, left) } else { (left, right) };
            path.down(bit, subtree_hash(other, &|record| self.value(record).value()));
            records = here;
        }
    }

    /// Computes the changes that updates, sorted by key and index, make. With [`Hashing::Now`] the shard's hashes have
    /// to be up to date.
    pub(super) fn prepare(&self, updates: &[Update], hashing: Hashing) -> Change {
        let mut change = Change {
            depth: self.depth_for(self.keys + updates.chunk_by(|a, b| a.key == b.key).count()),
            keys: self.keys,
            buckets: Vec::new(),
            hashes: Vec::new(),
            tails: Vec::new(),
            lists: Vec::new(),
            hashed: hashing,
        };
        let mut level = Vec::new();
        let more_bits = change.depth - self.depth;
        let mut rest = updates;
        let mut next = if more_bits == 0 { None } else { Some(0) };
        loop {
            // A shard that grows rebuilds every bucket; otherwise only the buckets with updates are rebuilt.
            let bucket = match (next, rest.first()) {
                (Some(bucket), _) if bucket < self.buckets.len() => bucket,
                (None, Some(update)) => bucket_of(&update.key, self.depth),
                _ => break,
            };
            next = next.map(|bucket| bucket + 1);
            let here = rest.partition_point(|update| bucket_of(&update.key, self.depth) <= bucket);
            let (here, behind) = rest.split_at(here);
            rest = behind;
            let (records, fresh) = self.merge(bucket, here, &mut change);
            let mut records = records.as_slice();
            for bucket in bucket << more_bits..(bucket + 1) << more_bits {
                let split = records.partition_point(|record| bucket_of(key_of(record), change.depth) <= bucket);
                let (inside, behind) = records.split_at(split);
                records = behind;
                if hashing == Hashing::Now {
                    let value = |record: &Record| self.fresh_value(record, &fresh);
                    let hash = if inside.is_empty() { NOTHING } else { subtree_hash(inside, &value) };
                    level.push(((1 << change.depth) + bucket, hash));
                }
                change.buckets.push((bucket, inside.as_flattened().into()));
            }
        }
        if hashing == Hashing::Now {
            let old = |node: usize| self.hashes[node];
            change.hashes = climb(level, change.depth, SHARD_BITS, &old);
        }
        change
    }

    /// Applies a change that was prepared from this state.
    pub(super) fn apply(&mut self, change: Change) {
        let Change { depth, keys, buckets, hashes, tails, lists, hashed } = change;
        if depth != self.depth {
            self.depth = depth;
            self.hashes = vec![NOTHING; 2 << depth];
            self.buckets = Vec::new();
            self.buckets.resize_with(1 << depth, Box::default);
        }
        for (bucket, records) in buckets {
            self.buckets[bucket] = records;
        }
        for (node, hash) in hashes {
            self.hashes[node] = hash;
        }
        for (place, tail) in tails {
            self.lists[place].extend(tail);
        }
        self.lists.extend(lists);
        self.keys = keys;
        if hashed == Hashing::Later {
            self.hashed = Hashing::Later;
        }
    }

    /// Recomputes all hashes, if they are stale.
    pub(super) fn rehash(&mut self) {
        if self.hashed == Hashing::Now {
            return;
        }
        let hash = |bucket: &[u8]| match bucket.as_chunks::<RECORD_BYTES>().0 {
            [] => NOTHING,
            records => subtree_hash(records, &|record| self.value(record).value()),
        };
        let first = 1 << self.depth;
        let level = self.buckets.iter().enumerate().map(|(bucket, records)| (first + bucket, hash(records))).collect();
        for (node, hash) in climb(level, self.depth, SHARD_BITS, &|_| NOTHING) {
            self.hashes[node] = hash;
        }
        self.hashed = Hashing::Now;
    }

    /// The least depth, not below the current one, with room for `keys` keys.
    fn depth_for(&self, keys: usize) -> u8 {
        let mut depth = self.depth;
        while keys * 2 * SHARDS > (BUCKET_KEYS_MAX * (2 * SHARDS - self.number)) << depth {
            depth += 1;
        }
        depth
    }

    /// The records of a bucket with updates applied, and the values of lists that are new or longer.
    fn merge(&self, bucket: usize, updates: &[Update], change: &mut Change) -> (Vec<Record>, Vec<(u64, Bytes32)>) {
        let (old, _) = self.buckets[bucket].as_chunks::<RECORD_BYTES>();
        let mut merged = Vec::with_capacity(old.len() + updates.len());
        let mut fresh = Vec::new();
        let mut old = old.iter().peekable();
        for run in updates.chunk_by(|a, b| a.key == b.key) {
            let key = &run[0].key;
            // Both runs are sorted by key: older keys below this one come first.
            while let Some(before) = old.next_if(|record| key_of(record) < key) {
                merged.push(*before);
            }
            let mut indices: Vec<u64> = run.iter().map(|update| update.index).collect();
            indices.dedup();
            let word = match old.next_if(|record| key_of(record) == key).map(word_of) {
                Some(word) if word & LIST_FLAG != 0 => {
                    let place = (word & !LIST_FLAG) as usize;
                    let (tail, value) = self.lists[place].tail(&indices);
                    change.tails.push((place, tail));
                    fresh.push((word, value));
                    word
                }
                before => {
                    let new_key = before.is_none();
                    change.keys += usize::from(new_key);
                    indices.extend(before);
                    indices.sort_unstable();
                    indices.dedup();
                    match indices.as_slice() {
                        [index] => *index,
                        indices => {
                            let word = LIST_FLAG | (self.lists.len() + change.lists.len()) as u64;
                            fresh.push((word, value_of(indices)));
                            change.lists.push(List::new(indices));
                            word
                        }
                    }
                }
            };
            merged.push(record(key, word));
        }
        merged.extend(old);
        (merged, fresh)
    }

    fn value(&self, record: &Record) -> Value<'_> {
        match word_of(record) {
            word if word & LIST_FLAG != 0 => Value::Many(&self.lists[(word & !LIST_FLAG) as usize]),
            index => Value::One(index),
        }
    }

    fn fresh_value(&self, record: &Record, fresh: &[(u64, Bytes32)]) -> Bytes32 {
        let word = word_of(record);
        match fresh.iter().find(|(changed, _)| *changed == word).filter(|_| word & LIST_FLAG != 0) {
            Some((_, value)) => *value,
            None => self.value(record).value(),
        }
    }
}

/// Descends from the root of a tree of hashes to the node `depth` levels below where the search for a key ends, and
/// records the path; `None` if the tree is empty. The root is a node at bit `first_bit`.
pub(super) fn descend(hashes: &[Bytes32], depth: u8, first_bit: u8, key: &Bytes32, path: &mut Path) -> Option<usize> {
    let mut node = 1;
    for bit in first_bit..first_bit + depth {
        let left = &hashes[2 * node];
        let right = &hashes[2 * node + 1];
        node = match (*left == NOTHING, *right == NOTHING) {
            (true, true) => return None,
            (true, false) => 2 * node + 1,
            (false, true) => 2 * node,
            (false, false) if is_right(key, bit) => {
                path.down(bit, *left);
                2 * node + 1
            }
            (false, false) => {
                path.down(bit, *right);
                2 * node
            }
        };
    }
    (hashes[node] != NOTHING).then_some(node)
}

/// Recomputes every node above changed nodes at one depth of a tree of hashes, in ascending order; `old` gives the
/// other hashes.
pub(super) fn climb(
    mut level: Vec<(usize, Bytes32)>,
    depth: u8,
    first_bit: u8,
    old: &impl Fn(usize) -> Bytes32,
) -> Vec<(usize, Bytes32)> {
    let mut changed = Vec::with_capacity(2 * level.len());
    for bit in (first_bit..first_bit + depth).rev() {
        let mut above = Vec::with_capacity(level.len());
        let mut nodes = level.iter().peekable();
        while let Some(&(node, hash)) = nodes.next() {
            let sibling = match nodes.next_if(|(next, _)| node % 2 == 0 && *next == node + 1) {
                Some((_, sibling)) => *sibling,
                None => old(node ^ 1),
            };
            let [left, right] = if node % 2 == 0 { [hash, sibling] } else { [sibling, hash] };
            above.push((node / 2, join(&left, &right, bit)));
        }
        changed.append(&mut level);
        level = above;
    }
    changed.append(&mut level);
    changed
}

/// The hash over two halves; a half without keys makes no node.
fn join(left: &Bytes32, right: &Bytes32, bit: u8) -> Bytes32 {
    match (*left == NOTHING, *right == NOTHING) {
        (true, _) => *right,
        (false, true) => *left,
        (false, false) => inner_hash(left, right, bit),
    }
}

/// The hash of sorted records, at least one. The recursion is bounded by the bits of a key.
fn subtree_hash(records: &[Record], value: &impl Fn(&Record) -> Bytes32) -> Bytes32 {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return NOTHING };
    let Some(bit) = first_difference(key_of(first), key_of(last)) else {
        return leaf_hash(key_of(first), &value(first));
    };
    let (left, right) = records.split_at(records.partition_point(|record| !is_right(key_of(record), bit)));
    inner_hash(&subtree_hash(left, value), &subtree_hash(right, value), bit)
}

/// The shard of a key.
pub(super) fn shard_of(key: &Bytes32) -> usize {
    (head(key) >> (64 - SHARD_BITS)) as usize
}

fn bucket_of(key: &Bytes32, depth: u8) -> usize {
    // In 128 bits, for a shard without depth shifts by all 64.
    ((head(key) << SHARD_BITS) as u128 >> (64 - u32::from(depth))) as usize
}

fn head(key: &Bytes32) -> u64 {
    key.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

fn record(key: &Bytes32, word: u64) -> Record {
    let mut record = [0; RECORD_BYTES];
    record[..KEY_BYTES].copy_from_slice(key);
    record[KEY_BYTES..].copy_from_slice(&word.to_le_bytes()[..WORD_BYTES]);
    record
}

fn key_of(record: &Record) -> &Bytes32 {
    const { assert!(RECORD_BYTES > KEY_BYTES) };
    record.first_chunk().unwrap_or(&NOTHING)
}

fn word_of(record: &Record) -> u64 {
    let mut word = [0; 8];
    word[..WORD_BYTES].copy_from_slice(&record[KEY_BYTES..]);
    u64::from_le_bytes(word)
}

//! Index keys: one ordered key space for everything the index knows, told apart by the first byte.
//!
//! | first byte | rest of the key | what it leads to |
//! |---|---|---|
//! | `00` | – | the index's own record (never in a block) |
//! | `01` | identifier key | its newest entry |
//! | `02` | length of the identifier key (u16), identifier key, all ones minus a ledger index (u64) | the entry with this index, which another one superseded |
//! | `03`, `05` | – | reserved: prefixes and delegations, edges in |
//! | `04` | length of the from key (u16), from key, edge type code, to key | the entry that says the edge |
//! | `06` | hash of an identifier key (20 bytes) | the identifier's newest entry |
//! | `07` | request key (20 bytes) | the entry that the request became |

use crate::{
    id::{Key, dns_name::NameHash},
    ledger::Position,
    record::EdgeType,
    store::{EdgeOp, IndexChange, RequestKey},
};

/// The record of the index about itself.
pub(super) const META: &[u8] = &[0x00];
/// Not above any key that a block may hold.
pub(super) const LOWEST: &[u8] = &[LATEST];
/// All name hashes start with this.
pub(super) const NAME_HASHES: &[u8] = &[NAME_HASH];

const LATEST: u8 = 0x01;
const SUPERSEDED: u8 = 0x02;
const EDGE_OUT: u8 = 0x04;
const NAME_HASH: u8 = 0x06;
const REQUEST: u8 = 0x07;

/// The index key of an identifier; also of every prefix of identifier keys.
pub(super) fn latest(key: &[u8]) -> Box<[u8]> {
    joined(LATEST, key)
}

/// The identifier key in an index key that [`latest`] made.
pub(super) fn identifier(index_key: &[u8]) -> &[u8] {
    index_key.get(1..).unwrap_or_default()
}

/// The index key of a name hash.
pub(super) fn name_hash(hash: &NameHash) -> Box<[u8]> {
    joined(NAME_HASH, hash)
}

/// The index key of a request.
pub(super) fn request(request: &RequestKey) -> Box<[u8]> {
    joined(REQUEST, request)
}

/// What the index keys of all superseded entries of an identifier start with, and of no other; newer ones come first.
pub(super) fn superseded_all(key: &Key) -> Vec<u8> {
    with_length(SUPERSEDED, key, size_of::<u64>())
}

/// The index key of one superseded entry.
pub(super) fn superseded(key: &Key, ledger_index: u64) -> Box<[u8]> {
    let mut key = superseded_all(key);
    key.extend_from_slice(&(!ledger_index).to_be_bytes());
    key.into()
}

/// The ledger index in an index key that [`superseded`] made.
pub(super) fn superseded_index(index_key: &[u8]) -> Option<u64> {
    index_key.last_chunk().map(|bytes| !u64::from_be_bytes(*bytes))
}

/// What the index keys of all edges that leave `from` start with, and of no other.
pub(super) fn edges_out(from: &Key) -> Vec<u8> {
    with_length(EDGE_OUT, from, 64)
}

/// The index key of one edge.
pub(super) fn edge(from: &Key, kind: EdgeType, to: &Key) -> Box<[u8]> {
    let mut key = edges_out(from);
    key.push(kind.code());
    key.extend_from_slice(to.as_bytes());
    key.into()
}

/// Type and target of an edge, from what its index key holds after [`edges_out`]; `None` when the type is unknown.
pub(super) fn edge_end(rest: &[u8]) -> Option<(EdgeType, Key)> {
    let (code, to) = rest.split_first()?;
    Some((EdgeType::from_code(*code)?, Key::from_bytes(to)))
}

/// The index entries that a change sets (`Some`) and removes (`None`).
pub(super) fn entries(change: IndexChange) -> impl Iterator<Item = (Box<[u8]>, Option<Position>)> {
    let IndexChange { key, position, superseded: before, name_hash: hash, request: retry, edges } = change;
    let own = (latest(key.as_bytes()), Some(position));
    let before = before.map(|(index, position)| (superseded(&key, index), Some(position)));
    let hash = hash.map(|hash| (name_hash(&hash), Some(position)));
    let retry = retry.map(|key| (request(&key), Some(position)));
    let edges = edges.into_iter().map(move |(kind, to, op)| match op {
        EdgeOp::Add => (edge(&key, kind, &to), Some(position)),
        EdgeOp::Remove => (edge(&key, kind, &to), None),
    });
    std::iter::once(own).chain(before).chain(hash).chain(retry).chain(edges)
}

/// A key space and an identifier key that ends where its length says, with room for more.
fn with_length(space: u8, key: &Key, more: usize) -> Vec<u8> {
    let key = key.as_bytes();
    // Keys have at most `Key::BYTES_MAX` bytes, so their length fits.
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let mut index_key = Vec::with_capacity(3 + key.len() + more);
    index_key.push(space);
    index_key.extend_from_slice(&len.to_be_bytes());
    index_key.extend_from_slice(key);
    index_key
}

fn joined(space: u8, rest: &[u8]) -> Box<[u8]> {
    let mut key = Vec::with_capacity(rest.len() + 1);
    key.push(space);
    key.extend_from_slice(rest);
    key.into()
}

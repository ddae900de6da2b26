//! Index keys: one ordered key space for the whole index, split by the first byte.
//!
//! | first byte | rest of the key | leads to |
//! |---|---|---|
//! | `00` | – | the index's own record (never in a block) |
//! | `01` | identifier key, or key of a prefix | its newest entry |
//! | `02` | length of the identifier key (u16), identifier key, all ones minus a ledger index (u64) | the superseded entry with this index |
//! | `04` | length of the from key (u16), from key, edge, all ones minus a ledger index (u64), 1 for "added", 0 for "removed" | the entry with this index, which added or removed the edge |
//! | `05` | the same with the to key, and the from key in the edge | the same |
//! | `06` | hash of an identifier key (20 bytes) | the identifier's newest entry |
//! | `07` | request key (20 bytes) | the entry that the request became |
//!
//! An edge is its type's code, +64 if an event states it, and the key at the other end, with `00 FF` for each `00` and
//! `00 01` behind it, so that edges lie in the order of these keys and each has its newest state first.

use smallvec::SmallVec;

use crate::{
    id::{Key, dns_name::NameHash},
    ledger::Position,
    record::EdgeType,
    store::{Direction, EdgeEnd, EdgeMove, EdgeOp, EdgeOrigin, IndexChange, PlacedChange, RequestKey},
};

/// A key of the index. Most are short, and lie in the nodes of the overlay's maps themselves: a search compares them
/// without a further cache miss for each.
pub(super) type IndexKey = SmallVec<[u8; INLINE_KEY_BYTES]>;

/// Maximum length of a key that needs no memory of its own, in bytes.
const INLINE_KEY_BYTES: usize = 40;

/// Key of the index's record about itself.
pub(super) const META: &[u8] = &[0x00];
/// A key not above any key in a block.
pub(super) const LOWEST: &[u8] = &[LATEST];
/// Prefix of all name hashes.
pub(super) const NAME_HASHES: &[u8] = &[NAME_HASH];

const LATEST: u8 = 0x01;
const SUPERSEDED: u8 = 0x02;
const EDGE_OUT: u8 = 0x04;
const EDGE_IN: u8 = 0x05;
const NAME_HASH: u8 = 0x06;
const REQUEST: u8 = 0x07;

/// Added to the type's code of edges that an event states.
const SAID_BY_EVENT: u8 = 0x40;
/// Length of ledger index and operation behind an edge, in bytes.
const EDGE_STATE_BYTES: usize = size_of::<u64>() + 1;

/// The index key of an identifier; also the prefix of index keys for a prefix of identifier keys.
pub(super) fn latest(key: &[u8]) -> IndexKey {
    joined(LATEST, key)
}

/// The identifier key in an index key that [`latest`] made.
pub(super) fn identifier(index_key: &[u8]) -> &[u8] {
    index_key.get(1..).unwrap_or_default()
}

/// The index key of a name hash.
pub(super) fn name_hash(hash: &NameHash) -> IndexKey {
    joined(NAME_HASH, hash)
}

/// The index key of a request.
pub(super) fn request(request: &RequestKey) -> IndexKey {
    joined(REQUEST, request)
}

/// The prefix of the index keys of all superseded entries of an identifier, and of no other; newer ones come first.
pub(super) fn superseded_all(key: &Key) -> Vec<u8> {
    with_length(SUPERSEDED, key, size_of::<u64>())
}

/// The index key of one superseded entry.
pub(super) fn superseded(key: &Key, ledger_index: u64) -> IndexKey {
    let mut key = superseded_all(key);
    key.extend_from_slice(&(!ledger_index).to_be_bytes());
    IndexKey::from_slice(&key)
}

/// The ledger index in an index key that [`superseded`] made.
pub(super) fn superseded_index(index_key: &[u8]) -> Option<u64> {
    index_key.last_chunk().map(|bytes| !u64::from_be_bytes(*bytes))
}

/// The prefix of the index keys of all edges of an identifier in one direction, and of no other.
pub(super) fn edges(key: &Key, direction: Direction) -> Vec<u8> {
    with_length(edge_space(direction), key, 64)
}

/// The first byte of the index keys of all edges in one direction.
pub(super) fn edge_space(direction: Direction) -> u8 {
    match direction {
        Direction::Out => EDGE_OUT,
        Direction::In => EDGE_IN,
    }
}

/// The identifier key in an index key of an edge, and the bytes behind it.
pub(super) fn edge_parts(index_key: &[u8]) -> Option<(Key, &[u8])> {
    let (len, rest) = index_key.get(1..)?.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
    Some((Key::from_bytes(key), rest))
}

/// Appends an edge to a key made by [`edges`].
pub(super) fn put_edge(index_key: &mut Vec<u8>, end: &EdgeEnd) {
    index_key.push(edge_code(end.origin, end.kind));
    for &byte in end.other.as_bytes() {
        index_key.push(byte);
        if byte == 0 {
            index_key.push(0xff);
        }
    }
    index_key.extend_from_slice(&[0, 1]);
}

/// Appends the newest possible state of an edge up to a ledger index: all newer ones lie before it.
pub(super) fn put_newest(index_key: &mut Vec<u8>, upto: u64) {
    index_key.extend_from_slice(&(!upto).to_be_bytes());
}

/// Appends a state that lies behind every state of an edge.
pub(super) fn put_behind_states(index_key: &mut Vec<u8>) {
    index_key.extend_from_slice(&[0xff; EDGE_STATE_BYTES]);
}

/// The first byte of edges of an origin and type.
pub(super) fn edge_code(origin: EdgeOrigin, kind: EdgeType) -> u8 {
    let said_by = if origin == EdgeOrigin::Event { SAID_BY_EVENT } else { 0 };
    kind.code() | said_by
}

/// The part of an index key of an edge behind [`edges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EdgeState<'a> {
    /// The edge as [`put_edge`] writes it.
    pub(super) edge: &'a [u8],
    pub(super) origin: EdgeOrigin,
    pub(super) kind: EdgeType,
    pub(super) index: u64,
    pub(super) op: EdgeOp,
}

impl<'a> EdgeState<'a> {
    /// Decodes the part; `None` if no version of this program writes such a key.
    pub(super) fn read(rest: &'a [u8]) -> Option<Self> {
        let (rest, op) = rest.split_last_chunk::<1>()?;
        let (edge, index) = rest.split_last_chunk::<8>()?;
        let op = match op {
            [1] => EdgeOp::Add,
            [0] => EdgeOp::Remove,
            _ => return None,
        };
        let code = edge.first()?;
        let origin = if code & SAID_BY_EVENT != 0 { EdgeOrigin::Event } else { EdgeOrigin::Record };
        let kind = EdgeType::from_code(code & !SAID_BY_EVENT)?;
        Some(Self { edge, origin, kind, index: !u64::from_be_bytes(*index), op })
    }

    /// Identity of the edge; `None` if no version of this program writes such a key.
    pub(super) fn end(&self) -> Option<EdgeEnd> {
        let mut escaped = self.edge.get(1..)?.strip_suffix(&[0, 1])?.iter();
        let mut other = Vec::with_capacity(escaped.len());
        while let Some(&byte) = escaped.next() {
            if byte == 0 && escaped.next() != Some(&0xff) {
                return None;
            }
            other.push(byte);
        }
        Some(EdgeEnd { origin: self.origin, kind: self.kind, other: Key::from_bytes(other) })
    }
}

/// The index entries that a change sets.
pub(super) fn entries(placed: PlacedChange) -> impl Iterator<Item = (IndexKey, Option<Position>)> {
    let PlacedChange { change, position, superseded: position_before } = placed;
    let IndexChange { index, key, superseded: before, name_hash: hash, request: retry, edges } = change;
    let own = (latest(key.as_bytes()), Some(position));
    let before = before.zip(position_before).map(|(index, position)| (superseded(&key, index), Some(position)));
    let hash = hash.map(|hash| (name_hash(&hash), Some(position)));
    let retry = retry.map(|key| (request(&key), Some(position)));
    let edges = edges.into_iter().flat_map(move |moved| both_ends(&key, index, moved));
    std::iter::once(own).chain(before).chain(hash).chain(retry).chain(edges.map(move |key| (key, Some(position))))
}

/// The two index keys, one for each end, of a change of an edge by the entry `index` about `key`.
fn both_ends(key: &Key, index: u64, moved: EdgeMove) -> [IndexKey; 2] {
    let EdgeMove { kind, origin, other, op } = moved;
    let (from, to) = match origin {
        EdgeOrigin::Record => (key, &other),
        EdgeOrigin::Event => (&other, key),
    };
    [(Direction::Out, from, to), (Direction::In, to, from)].map(|(direction, here, other)| {
        let mut key = edges(here, direction);
        put_edge(&mut key, &EdgeEnd { origin, kind, other: other.clone() });
        put_newest(&mut key, index);
        key.push(u8::from(op == EdgeOp::Add));
        key.into()
    })
}

/// A key space and an identifier key behind its length, which marks its end; with capacity for `more` bytes.
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

fn joined(space: u8, rest: &[u8]) -> IndexKey {
    let mut key = IndexKey::with_capacity(rest.len() + 1);
    key.push(space);
    key.extend_from_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_come_back_and_lie_in_the_order_of_their_ends() {
        let others =
            [&b""[..], b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0b", b"a\x01", b"ab", b"b", b"\xff"];
        let mut before: Option<(Vec<u8>, EdgeEnd)> = None;
        for origin in [EdgeOrigin::Record, EdgeOrigin::Event] {
            for kind in EdgeType::ALL {
                for other in others {
                    let end = EdgeEnd { origin, kind, other: Key::from_bytes(other) };
                    let mut edge = Vec::new();
                    put_edge(&mut edge, &end);
                    let state = [&edge[..], &(!7u64).to_be_bytes(), &[1]].concat();
                    let read = EdgeState::read(&state).unwrap();
                    assert_eq!(
                        (read.edge, read.index, read.op, read.end()),
                        (&edge[..], 7, EdgeOp::Add, Some(end.clone()))
                    );
                    if let Some((key, less)) = before {
                        assert!(key < edge && less < end, "{less:?} {end:?}");
                    }
                    before = Some((edge, end));
                }
            }
        }
        for bad in [&b""[..], b"\x01\0\x01", b"\x01\0\x01\0\0\0\0\0\0\0\0\x02", b"\x09\0\x01\0\0\0\0\0\0\0\0\x01"] {
            assert_eq!(EdgeState::read(bad), None);
        }
        assert_eq!(EdgeState::read(b"\x01\0\x02\0\x01\0\0\0\0\0\0\0\0\x01").and_then(|state| state.end()), None);
    }
}

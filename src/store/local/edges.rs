//! Reading edges: the state of each edge as of one ledger entry, whatever came before and after.

use std::ops::Bound;

use super::{
    LocalIndex, Shared,
    keys::{self, EdgeState},
};
use crate::{
    id::Key,
    ledger::Position,
    record::EdgeType,
    store::{Direction, EdgeEnd, EdgeOp, EdgeOrigin, EdgeQuery, IndexedEdge, StoreError},
};

/// Minimum and maximum index entries read at a time.
const CHUNK_ENTRIES_MIN: usize = 32;
const CHUNK_ENTRIES_MAX: usize = 512;
/// States of one edge that are skipped one by one, before a search jumps to the wanted one.
const PASSED_STATES_MAX: usize = 16;
/// Index entries read at a time by a pass over all states.
const ALL_STATES_CHUNK: usize = 4_096;

/// One past or present state of an edge, as indexed at one of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeStateAt {
    /// Direction of the edge as seen from `key`.
    pub direction: Direction,
    /// The identifier at this end.
    pub key: Key,
    /// Identity of the edge.
    pub end: EdgeEnd,
    /// Ledger index of the entry.
    pub index: u64,
    /// Operation of the entry.
    pub op: EdgeOp,
    /// Position of the entry.
    pub position: Position,
}

impl LocalIndex {
    /// Visits every state of every edge, from both ends.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn each_edge_state(&self, mut visit: impl FnMut(EdgeStateAt)) -> Result<(), StoreError> {
        for direction in [Direction::Out, Direction::In] {
            let space = keys::edge_space(direction);
            let mut after = vec![space];
            loop {
                let entries = self.shared.scan(&[space], Bound::Excluded(&after), ALL_STATES_CHUNK)?;
                let Some((last, _)) = entries.last() else { break };
                after = last.to_vec();
                for (index_key, position) in entries {
                    let read = || {
                        let (key, rest) = keys::edge_parts(&index_key)?;
                        let state = EdgeState::read(rest)?;
                        let end = state.end()?;
                        Some(EdgeStateAt { direction, key, end, index: state.index, op: state.op, position })
                    };
                    visit(read().ok_or_else(|| self.shared.bad_edge(&index_key))?);
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    /// The edges below `prefix` (see [`keys::edges`]) that match a query.
    pub(super) fn edges(&self, prefix: &[u8], query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, StoreError> {
        let mut found = Vec::new();
        let mut start = Bound::Included(prefix.to_vec());
        if let Some(after) = query.after {
            let mut key = prefix.to_vec();
            keys::put_edge(&mut key, after);
            keys::put_behind_states(&mut key);
            start = Bound::Included(key);
        }
        let codes = Codes::of(query);
        let mut cursor = EdgeCursor { prefix, query, codes, decided: Vec::new(), passed: 0 };
        // Twice the rest of the page: some entries are older states, or removals.
        while found.len() < query.limit {
            let chunk = (query.limit - found.len()).saturating_mul(2).clamp(CHUNK_ENTRIES_MIN, CHUNK_ENTRIES_MAX);
            let from = match &start {
                Bound::Included(key) => Bound::Included(&**key),
                Bound::Excluded(key) => Bound::Excluded(&**key),
                Bound::Unbounded => Bound::Unbounded,
            };
            let entries = self.scan(prefix, from, chunk)?;
            let is_last = entries.len() < chunk;
            let mut next = entries.last().map(|(key, _)| Bound::Excluded(key.to_vec()));
            for (key, position) in entries {
                let state = key.get(prefix.len()..).and_then(EdgeState::read);
                let state = state.ok_or_else(|| self.bad_edge(&key))?;
                match cursor.step(&state) {
                    Step::On => {}
                    Step::Here => {
                        let end = state.end().ok_or_else(|| self.bad_edge(&key))?;
                        found.push(IndexedEdge { end, index: state.index, locator: position.into() });
                        if found.len() >= query.limit {
                            return Ok(found);
                        }
                    }
                    Step::To(key) => {
                        next = Some(Bound::Included(key));
                        break;
                    }
                    Step::End => return Ok(found),
                }
            }
            match next {
                Some(next @ Bound::Included(_)) => start = next,
                Some(next) if !is_last => start = next,
                _ => break,
            }
        }
        Ok(found)
    }

    fn bad_edge(&self, index_key: &[u8]) -> StoreError {
        self.blocks.damaged(format!("edge {}: no version of this program writes such a key", index_key.escape_ascii()))
    }
}

/// Cursor over the states of edges; [`EdgeCursor::step`] tells which states count.
struct EdgeCursor<'a> {
    prefix: &'a [u8],
    query: &'a EdgeQuery<'a>,
    codes: Codes,
    /// The edge whose state has been decided; its older states are skipped.
    decided: Vec<u8>,
    /// Number of entries skipped in a row.
    passed: usize,
}

/// Action after an index entry.
enum Step {
    /// Read the next entry.
    On,
    /// Take this edge, and read the next entry.
    Here,
    /// Jump to this key.
    To(Vec<u8>),
    /// Stop: nothing behind matches the query.
    End,
}

impl EdgeCursor<'_> {
    fn step(&mut self, state: &EdgeState<'_>) -> Step {
        let code = keys::edge_code(state.origin, state.kind);
        if !self.codes.contains(code) {
            return self.codes.next_above(code).map_or(Step::End, |code| Step::To([self.prefix, &[code]].concat()));
        }
        // States lie newest first: the first one not above `upto` decides.
        let is_decided = *self.decided == *state.edge;
        if is_decided || state.index > self.query.upto {
            self.passed += 1;
            if self.passed <= PASSED_STATES_MAX {
                return Step::On;
            }
            self.passed = 0;
            let mut key = [self.prefix, state.edge].concat();
            if is_decided {
                keys::put_behind_states(&mut key)
            } else {
                keys::put_newest(&mut key, self.query.upto)
            }
            return Step::To(key);
        }
        self.passed = 0;
        self.decided.clear();
        self.decided.extend_from_slice(state.edge);
        match state.op {
            EdgeOp::Add => Step::Here,
            EdgeOp::Remove => Step::On,
        }
    }
}

/// Set of the first bytes of the edges that match a query.
struct Codes(u128);

impl Codes {
    fn of(query: &EdgeQuery<'_>) -> Self {
        let mut codes = 0;
        for origin in [EdgeOrigin::Record, EdgeOrigin::Event] {
            for kind in EdgeType::ALL.into_iter().filter(|kind| query.takes(origin, *kind)) {
                codes |= 1 << keys::edge_code(origin, kind);
            }
        }
        Self(codes)
    }

    fn contains(&self, code: u8) -> bool {
        1_u128.checked_shl(code.into()).is_some_and(|bit| self.0 & bit != 0)
    }

    fn next_above(&self, code: u8) -> Option<u8> {
        (code..=u8::MAX).skip(1).find(|code| self.contains(*code))
    }
}

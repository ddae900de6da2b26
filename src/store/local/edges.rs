//! Reading edges: of each edge the state at one point of the ledger, whatever came before and after.

use std::ops::Bound;

use super::{
    LocalStore, Shared,
    keys::{self, EdgeState},
};
use crate::{
    id::Key,
    ledger::Position,
    record::EdgeType,
    store::{Direction, EdgeEnd, EdgeOp, EdgeOrigin, EdgeQuery, IndexedEdge, StoreError},
};

/// Least and most index entries that are read at a time.
const CHUNK_ENTRIES_MIN: usize = 32;
const CHUNK_ENTRIES_MAX: usize = 512;
/// States of one edge that are passed over one by one; then a search goes to the one that counts.
const PASSED_STATES_MAX: usize = 16;
/// States that are read at once when all are gone through.
const ALL_STATES_CHUNK: usize = 4_096;

/// A state that an edge has or had, as the index holds it at one end of the edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeStateAt {
    /// From which end.
    pub direction: Direction,
    /// The identifier at that end.
    pub key: Key,
    /// The edge.
    pub end: EdgeEnd,
    /// The ledger index of the entry that made it so.
    pub index: u64,
    /// What the entry did.
    pub op: EdgeOp,
    /// Where the entry lies.
    pub position: Position,
}

impl LocalStore {
    /// Goes through every state of every edge, from both ends.
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
    /// The edges below `prefix` (see [`keys::edges`]) that a query asks for.
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
        let mut walk = Walk { prefix, query, codes, decided: Vec::new(), passed: 0 };
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
                match walk.step(&state) {
                    Step::On => {}
                    Step::Here => {
                        let end = state.end().ok_or_else(|| self.bad_edge(&key))?;
                        found.push(IndexedEdge { end, index: state.index, position });
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

/// Where one pass over the states of edges stands.
struct Walk<'a> {
    prefix: &'a [u8],
    query: &'a EdgeQuery<'a>,
    codes: Codes,
    /// The edge whose state is known.
    decided: Vec<u8>,
    /// How many entries were of no use since one was.
    passed: usize,
}

/// What to do behind an index entry.
enum Step {
    /// Read the next one.
    On,
    /// Take this edge, and read the next entry.
    Here,
    /// Go on at this key.
    To(Vec<u8>),
    /// Nothing that was asked for lies behind it.
    End,
}

impl Walk<'_> {
    fn step(&mut self, state: &EdgeState<'_>) -> Step {
        let code = keys::edge_code(state.origin, state.kind);
        if !self.codes.contains(code) {
            return self.codes.next_above(code).map_or(Step::End, |code| Step::To([self.prefix, &[code]].concat()));
        }
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

/// The first bytes of the edges that are asked for.
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

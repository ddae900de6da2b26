//! The ledger indices of one key that has more than one: compact, append-only.
//!
//! Differences between consecutive indices as varints, and for a long list the hash state over all of them, so that
//! appending hashes only the new indices. A short list is hashed again.

use sha2::{Digest, Sha256};

use super::trie::{Bytes32, value_of};
use crate::codec::{Reader, put_varint};

/// Minimum number of indices for which the hash state is kept.
const MIDSTATE_COUNT_MIN: u64 = 64;

/// Indices in ascending order, at least two.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// The first index, then differences.
    deltas: Vec<u8>,
    count: u64,
    last: u64,
    midstate: Option<Box<Sha256>>,
}

/// Indices to append to a list, computed while readers still use the list.
#[derive(Debug)]
pub(super) struct Tail {
    deltas: Vec<u8>,
    count: u64,
    last: u64,
    midstate: Option<Box<Sha256>>,
}

impl List {
    /// A list of ascending indices.
    pub(super) fn new(indices: &[u64]) -> Self {
        let empty = Self { deltas: Vec::new(), count: 0, last: 0, midstate: None };
        let Tail { mut deltas, count, last, midstate } = empty.tail(indices).0;
        deltas.shrink_to_fit();
        Self { deltas, count, last, midstate }
    }

    /// Number of indices.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The indices.
    pub(super) fn indices(&self) -> Vec<u64> {
        let mut reader = Reader::new(&self.deltas);
        let mut index = 0;
        // The bytes were written here and read back; if they did not, the proof would not verify.
        let next = std::iter::from_fn(|| {
            index += reader.varint().ok()?;
            Some(index)
        });
        next.collect()
    }

    /// The value of the key in the trie.
    pub(super) fn value(&self) -> Bytes32 {
        match &self.midstate {
            Some(hash) => (**hash).clone().finalize().into(),
            None => value_of(&self.indices()),
        }
    }

    /// The tail that appends `more`, in ascending order, and the value of the key then. Indices up to the last one are
    /// skipped: the list has them.
    pub(super) fn tail(&self, more: &[u64]) -> (Tail, Bytes32) {
        let mut deltas = Vec::new();
        let mut last = self.last;
        let mut count = self.count;
        let mut added = Vec::with_capacity(more.len());
        for &index in more.iter().filter(|index| self.count == 0 || **index > self.last) {
            if count == 0 || index > last {
                put_varint(&mut deltas, index - last);
                added.push(index);
                (last, count) = (index, count + 1);
            }
        }
        if count < MIDSTATE_COUNT_MIN {
            let mut all = self.indices();
            all.extend(added);
            return (Tail { deltas, count, last, midstate: None }, value_of(&all));
        }
        let mut hash = match &self.midstate {
            Some(hash) => hash.clone(),
            None => Box::new(hash_of(Sha256::new(), &self.indices())),
        };
        *hash = hash_of(*hash, &added);
        let value = (*hash).clone().finalize().into();
        (Tail { deltas, count, last, midstate: Some(hash) }, value)
    }

    /// Appends a tail computed by [`List::tail`].
    pub(super) fn extend(&mut self, tail: Tail) {
        let Tail { deltas, count, last, midstate } = tail;
        self.deltas.extend_from_slice(&deltas);
        (self.count, self.last, self.midstate) = (count, last, midstate);
    }
}

fn hash_of(mut hash: Sha256, indices: &[u64]) -> Sha256 {
    indices.iter().for_each(|index| hash.update(index.to_be_bytes()));
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_what_it_would_be_at_once() {
        let all: Vec<u64> = (0..300).map(|number: u64| number * number).collect();
        for steps in [1, 7, 63, 64, 200] {
            let mut list = List::new(&all[..2]);
            for piece in all[2..].chunks(steps) {
                let (tail, value) = list.tail(piece);
                list.extend(tail);
                assert_eq!(list.value(), value);
            }
            assert_eq!((list.indices(), list.count(), list.value()), (all.clone(), 300, value_of(&all)));
            let (tail, value) = list.tail(&[5, all[299]]);
            list.extend(tail);
            assert_eq!((list.indices().len(), list.value()), (300, value), "what is there is not added again");
        }
        assert_eq!(List::new(&[0, 0, 3]).indices(), [0, 3]);
    }
}

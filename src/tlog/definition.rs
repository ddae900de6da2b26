//! The Merkle tree and its proofs as RFC 9162 defines them, word for word and slowly: the reference for tests.

use tlog_tiles::{Hash, node_hash};

use super::empty_root;

/// RFC 9162 section 2.1.1, word for word.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(root(left), root(right))
        }
    }
}

/// RFC 9162 section 2.1.3.1, word for word.
pub(crate) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (path(index, left), right),
        Some(index) => (path(index, right), left),
    };
    path.push(root(other));
    path
}

/// RFC 9162 section 2.1.4.1, word for word.
pub(crate) fn sub_proof(old: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if complete { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, other) = match old.checked_sub(left.len()) {
        None | Some(0) => (sub_proof(old, left, complete), right),
        Some(old) => (sub_proof(old, right, false), left),
    };
    proof.push(root(other));
    proof
}

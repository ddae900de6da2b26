//! Verification of inclusion proofs (RFC 9162 section 2.1.3.2) and consistency proofs (section 2.1.4.2).
//!
//! Documents differ on the empty tree. Here every tree, the empty one included, is consistent with the empty tree, by
//! an empty proof (C2SP tlog-witness); the old root has to be that of the empty tree. No leaf is included in the empty
//! tree.

use sha2::{Digest, Sha256};

use super::{Hash, empty_root};

/// Maximum length of a proof, in hashes: one for each bit of a size, and one more for consistency.
pub const PATH_HASHES_MAX: usize = 64;

/// Size and root of a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: u64,
    /// The root.
    pub root: Hash,
}

fn node(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// True if `path` proves that a tree has a leaf at `index` (RFC 9162 section 2.1.3.2).
pub fn includes(tree: TreeHead, index: u64, leaf: Hash, path: &[Hash]) -> bool {
    if index >= tree.size {
        return false;
    }
    let mut walk = Walk { first: index, second: tree.size - 1 };
    let mut root = leaf;
    for &sibling in path {
        match walk.step() {
            Some(Side::Left) => root = node(sibling, root),
            Some(Side::Right) => root = node(root, sibling),
            None => return false,
        }
    }
    walk.second == 0 && root == tree.root
}

/// True if `proof` shows that one tree is a beginning of another (RFC 9162 section 2.1.4.2).
pub fn is_consistent(old: TreeHead, new: TreeHead, proof: &[Hash]) -> bool {
    if old.size > new.size {
        return false;
    }
    if old.size == 0 {
        return proof.is_empty() && old.root == empty_root() && (new.size > 0 || new.root == old.root);
    }
    if old.size == new.size {
        return proof.is_empty() && old.root == new.root;
    }
    let (&first, rest) = match proof.split_first() {
        None => return false,
        // The old root is left out of the proof if it is a node of the new tree.
        Some(_) if old.size.is_power_of_two() => (&old.root, proof),
        Some(split) => split,
    };
    let mut walk = Walk { first: old.size - 1, second: new.size - 1 };
    while walk.first & 1 == 1 {
        walk.up();
    }
    let (mut old_root, mut new_root) = (first, first);
    for &hash in rest {
        match walk.step() {
            Some(Side::Left) => {
                old_root = node(hash, old_root);
                new_root = node(hash, new_root);
            }
            Some(Side::Right) => new_root = node(new_root, hash),
            None => return false,
        }
    }
    walk.second == 0 && old_root == old.root && new_root == new.root
}

/// `fn` and `sn` of the RFC: a node, and the last node of its level.
struct Walk {
    first: u64,
    second: u64,
}

/// Side of a node on which the next hash of a proof stands.
enum Side {
    Left,
    Right,
}

impl Walk {
    fn up(&mut self) {
        self.first >>= 1;
        self.second >>= 1;
    }

    /// Goes on by one hash; `None` above the root.
    fn step(&mut self) -> Option<Side> {
        if self.second == 0 {
            return None;
        }
        let side = if self.first & 1 == 1 || self.first == self.second {
            while self.first & 1 == 0 && self.first != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Some(side)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::definition::{path, root, sub_proof},
        *,
    };

    fn leaf(index: usize) -> Hash {
        Hash(Sha256::digest([[0].as_slice(), &index.to_be_bytes()].concat()).into())
    }

    fn head(leaves: &[Hash]) -> TreeHead {
        TreeHead { size: leaves.len() as u64, root: root(leaves) }
    }

    /// Proofs at one step from a valid one: a bit flipped, a hash dropped, doubled or added, two exchanged.
    fn mutations(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = vec![[proof, &[Hash([7; 32])]].concat(), [&[Hash([7; 32])], proof].concat()];
        for at in 0..proof.len() {
            let changed = |change: &dyn Fn(&mut Vec<Hash>)| {
                let mut mutated = proof.to_vec();
                change(&mut mutated);
                mutated
            };
            all.push(changed(&|proof| proof[at].0[at % 32] ^= 1 << (at % 8)));
            all.push(changed(&|proof| _ = proof.remove(at)));
            all.push(changed(&|proof| proof.insert(at, proof[at])));
            if at > 0 {
                all.push(changed(&|proof| proof.swap(at - 1, at)));
            }
        }
        all.retain(|mutated| mutated != proof);
        all
    }

    #[test]
    fn inclusion_in_all_small_trees() {
        let leaves: Vec<Hash> = (0..33).map(leaf).collect();
        for size in 1..=leaves.len() {
            let tree = head(&leaves[..size]);
            for index in 0..size {
                let path = path(index, &leaves[..size]);
                assert!(includes(tree, index as u64, leaves[index], &path), "{index} of {size}");
                for mutated in mutations(&path) {
                    assert!(!includes(tree, index as u64, leaves[index], &mutated), "{index} of {size}: {mutated:?}");
                }
                for other in (0..=size + 1).filter(|&other| other != index) {
                    assert!(!includes(tree, other as u64, leaves[index], &path), "{index} as {other} of {size}");
                }
                assert!(!includes(tree, index as u64, Hash([9; 32]), &path));
                assert!(!includes(TreeHead { root: Hash([9; 32]), ..tree }, index as u64, leaves[index], &path));
            }
        }
        assert!(!includes(head(&[]), 0, leaves[0], &[]));
    }

    #[test]
    fn consistency_of_all_small_trees() {
        let leaves: Vec<Hash> = (0..33).map(leaf).collect();
        for size in 0..=leaves.len() {
            let new = head(&leaves[..size]);
            for old_size in 0..=size {
                let old = head(&leaves[..old_size]);
                let proof = if old_size == 0 { Vec::new() } else { sub_proof(old_size, &leaves[..size], true) };
                assert!(is_consistent(old, new, &proof), "{old_size} to {size}");
                for mutated in mutations(&proof) {
                    assert!(!is_consistent(old, new, &mutated), "{old_size} to {size}: {mutated:?}");
                }
                assert!(!is_consistent(TreeHead { root: Hash([9; 32]), ..old }, new, &proof));
                if old_size > 0 {
                    assert!(!is_consistent(old, TreeHead { root: Hash([9; 32]), ..new }, &proof));
                }
                if old_size < size {
                    assert!(!is_consistent(new, old, &proof), "{size} to {old_size}");
                }
            }
        }
    }

    #[test]
    fn sizes_at_the_end_of_the_numbers() {
        let tree = TreeHead { size: u64::MAX, root: Hash([1; 32]) };
        assert!(!includes(tree, u64::MAX - 1, Hash([1; 32]), &[Hash([2; 32]); 70]));
        assert!(!is_consistent(TreeHead { size: 3, ..tree }, tree, &[Hash([2; 32]); 70]));
    }
}

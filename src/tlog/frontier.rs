//! The right edge of a Merkle tree (RFC 6962 section 2.1): enough to compute the root and to add leaves.

use tlog_tiles::{Hash, node_hash};

/// Height of a tile (C2SP tlog-tiles): 256 hashes.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// The right edge of a tree: roots of its full subtrees, largest first; one for each bit set in the size of the tree.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The edge of a tree whose full subtrees have these roots.
    pub(crate) fn of_subtrees(size: u64, subtrees: Vec<Hash>) -> Self {
        debug_assert_eq!(subtrees.len(), size.count_ones() as usize, "one subtree for each bit of the size");
        Self { size, subtrees }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. `full_tile(level, hash)` is called for each subtree of 256^level leaves that the leaf completes.
    pub fn push(&mut self, leaf: Hash, mut full_tile: impl FnMut(usize, Hash)) {
        let merges = self.size.trailing_ones();
        let mut hash = leaf;
        for height in 1..=merges {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(left, hash);
            }
            if height % TILE_HEIGHT == 0 {
                full_tile((height / TILE_HEIGHT) as usize, hash);
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The inclusion path of the next leaf while that leaf is the last one (RFC 6962 section 2.1.1): the subtrees on
    /// its left, smallest first.
    pub fn path_of_next(&self) -> Vec<Hash> {
        self.subtrees.iter().rev().copied().collect()
    }

    /// The root (RFC 6962 section 2.1); for the empty tree, SHA-256 of the empty string.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev().copied();
        match subtrees.next() {
            Some(last) => subtrees.fold(last, |right, left| node_hash(left, right)),
            None => empty_root(),
        }
    }
}

/// The root of the empty tree: SHA-256 of the empty string.
pub fn empty_root() -> Hash {
    use sha2::{Digest, Sha256};
    Hash(Sha256::digest([]).into())
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use tlog_tiles::record_hash;

    use super::*;

    /// Leaves and roots published with the reference implementation of RFC 6962.
    const VECTORS: [(&str, &str); 8] = [
        ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];

    #[test]
    fn rfc_6962_vectors() {
        let mut frontier = Frontier::default();
        assert_eq!(
            HEXLOWER.encode(&frontier.root().0),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (leaf, root) in VECTORS {
            frontier.push(record_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap()), |_, _| {});
            assert_eq!(HEXLOWER.encode(&frontier.root().0), root, "after {} leaves", frontier.size());
        }
    }
}

//! The trie of the verifiable index: its hashes, and proofs of presence and absence of a key.
//!
//! A crit-bit (path-compressed binary) trie over 256-bit keys, in the form of VIndex: an inner node stands where keys
//! differ, at bit `b`, counted from the most significant. Its shape depends on the set of keys alone.
//!
//! ```text
//! empty tree = SHA-256("")        leaf = SHA-256(key || value)        inner = SHA-256(left || right || b), b as one byte
//! value = SHA-256 of the key's ledger indices, each as 8 bytes, big-endian, in ascending order
//! proof of presence = { b (1 byte) · sibling (32 bytes) }, from the leaf to the root, b strictly decreasing
//! proof of absence  = another key (32 bytes) · its value (32 bytes) · its proof of presence; nothing for the empty tree
//! ```
//!
//! Another key proves the absence of a key if both have the same bit at every `b` of its path: a search for the key
//! ends at that leaf. Pure: no I/O, no state; a verifier needs this file and SHA-256.

use sha2::{Digest, Sha256};

/// A hash of the trie, a key or a value.
pub type Bytes32 = [u8; 32];

/// Maximum number of steps of a proof: one for each bit of a key.
const STEPS_MAX: usize = 256;
/// Length of a step of a proof, in bytes: the bit, and the sibling.
const STEP_BYTES: usize = 33;
/// Maximum length of a proof, in bytes.
pub const PROOF_BYTES_MAX: usize = 64 + STEPS_MAX * STEP_BYTES;

/// Defect of a map proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The proof is truncated, too long, or its bits do not decrease.
    #[error("the map proof is not well-formed")]
    Malformed,
    /// The other key of a proof of absence is the key itself, or lies off the key's path.
    #[error("the map proof shows another place than that of the key")]
    OtherPlace,
    /// The proof leads to another root.
    #[error("the map proof does not lead to the map root")]
    OtherRoot,
}

/// The hash of the empty trie.
pub fn empty_hash() -> Bytes32 {
    Sha256::digest([]).into()
}

/// The hash of a leaf.
pub fn leaf_hash(key: &Bytes32, value: &Bytes32) -> Bytes32 {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(key);
    bytes[32..].copy_from_slice(value);
    Sha256::digest(bytes).into()
}

/// The hash of an inner node at a bit.
pub fn inner_hash(left: &Bytes32, right: &Bytes32, bit: u8) -> Bytes32 {
    let mut bytes = [0; 65];
    bytes[..32].copy_from_slice(left);
    bytes[32..64].copy_from_slice(right);
    bytes[64] = bit;
    Sha256::digest(bytes).into()
}

/// The value of a key with these ledger indices.
pub fn value_of(indices: &[u64]) -> Bytes32 {
    let mut hash = Sha256::new();
    indices.iter().for_each(|index| hash.update(index.to_be_bytes()));
    hash.finalize().into()
}

/// True if a bit of a key is set; bit 0 is the most significant.
pub fn is_right(key: &Bytes32, bit: u8) -> bool {
    key[usize::from(bit / 8)] >> (7 - bit % 8) & 1 == 1
}

/// The first bit at which two keys differ; `None` if they are equal.
pub fn first_difference(a: &Bytes32, b: &Bytes32) -> Option<u8> {
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    u8::try_from(8 * at + (a[at] ^ b[at]).leading_zeros() as usize).ok()
}

/// The path from a leaf to the root, built from the root down.
#[derive(Clone, Debug, Default)]
pub struct Path(Vec<(u8, Bytes32)>);

impl Path {
    /// Adds the next step down: the bit of an inner node, and the child that is off the path.
    pub fn down(&mut self, bit: u8, sibling: Bytes32) {
        self.0.push((bit, sibling));
    }

    /// The proof that the key at the end of the path is present.
    pub fn presence(&self) -> Vec<u8> {
        self.after(Vec::with_capacity(self.0.len() * STEP_BYTES))
    }

    /// The proof that the key of the search is absent: `key` with `value` is at the end of its path.
    pub fn absence(&self, key: &Bytes32, value: &Bytes32) -> Vec<u8> {
        self.after([key.as_slice(), value].concat())
    }

    fn after(&self, mut proof: Vec<u8>) -> Vec<u8> {
        for (bit, sibling) in self.0.iter().rev() {
            proof.push(*bit);
            proof.extend_from_slice(sibling);
        }
        proof
    }
}

/// Verifies that a key has a value under a root.
///
/// # Errors
///
/// [`ProofError`].
pub fn verify_presence(root: &Bytes32, key: &Bytes32, value: &Bytes32, proof: &[u8]) -> Result<(), ProofError> {
    climb(root, key, leaf_hash(key, value), proof)
}

/// Verifies that a key is absent under a root.
///
/// # Errors
///
/// [`ProofError`].
pub fn verify_absence(root: &Bytes32, key: &Bytes32, proof: &[u8]) -> Result<(), ProofError> {
    if proof.is_empty() {
        return if *root == empty_hash() { Ok(()) } else { Err(ProofError::OtherRoot) };
    }
    let (other, rest) = proof.split_first_chunk::<32>().ok_or(ProofError::Malformed)?;
    let (value, steps) = rest.split_first_chunk::<32>().ok_or(ProofError::Malformed)?;
    if other == key {
        return Err(ProofError::OtherPlace);
    }
    let (pairs, _) = steps.as_chunks::<STEP_BYTES>();
    if pairs.iter().any(|step| is_right(key, step[0]) != is_right(other, step[0])) {
        return Err(ProofError::OtherPlace);
    }
    climb(root, other, leaf_hash(other, value), steps)
}

/// Recomputes the root from a leaf, and compares.
fn climb(root: &Bytes32, key: &Bytes32, leaf: Bytes32, steps: &[u8]) -> Result<(), ProofError> {
    let (steps, rest) = steps.as_chunks::<STEP_BYTES>();
    if !rest.is_empty() || steps.len() > STEPS_MAX {
        return Err(ProofError::Malformed);
    }
    let mut hash = leaf;
    let mut below = STEPS_MAX;
    for [bit, sibling @ ..] in steps {
        // Bits strictly decrease towards the root, as they increase on the way down.
        if usize::from(*bit) >= below {
            return Err(ProofError::Malformed);
        }
        below = usize::from(*bit);
        hash = if is_right(key, *bit) { inner_hash(sibling, &hash, *bit) } else { inner_hash(&hash, sibling, *bit) };
    }
    if hash == *root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

/// The trie by its definition, as a reference for tests.
#[cfg(test)]
pub(super) mod naive {
    use super::*;

    /// The root of a sorted set of keys and values.
    pub fn root(leaves: &[(Bytes32, Bytes32)]) -> Bytes32 {
        from_bit(leaves, 0)
    }

    fn from_bit(leaves: &[(Bytes32, Bytes32)], bit: u8) -> Bytes32 {
        match leaves {
            [] => empty_hash(),
            [(key, value)] => leaf_hash(key, value),
            _ => match leaves.partition_point(|(key, _)| !is_right(key, bit)) {
                split if split == 0 || split == leaves.len() => from_bit(leaves, bit + 1),
                split => inner_hash(&from_bit(&leaves[..split], bit), &from_bit(&leaves[split..], bit), bit),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        HEXLOWER.decode(hex.as_bytes()).unwrap()
    }

    fn hash(hex: &str) -> Bytes32 {
        bytes(hex).try_into().unwrap()
    }

    /// Worked out by hand from the definition, with another implementation of SHA-256.
    #[test]
    fn nodes_are_hashed_as_defined() {
        assert_eq!(empty_hash(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
        let (zero, mut one) = ([0; 32], [0; 32]);
        one[0] = 0x80;
        let leaves = [(zero, value_of(&[0])), (one, value_of(&[1, 258]))];
        let expected = VECTOR_ROOT;
        assert_eq!(naive::root(&leaves), hash(expected));
        assert_eq!(first_difference(&zero, &one), Some(0));
        one[0] = 0;
        one[31] = 1;
        assert_eq!((first_difference(&zero, &one), first_difference(&one, &one)), (Some(255), None));
    }

    const VECTOR_ROOT: &str = "0ca23500e0ca484c568f8bcb61fd9237ee3e16d91bdf986878da64f4a9bf648b";

    #[test]
    fn malformed_proofs_are_refused() {
        let (key, value) = ([0; 32], [7; 32]);
        let root = leaf_hash(&key, &value);
        assert_eq!(verify_presence(&root, &key, &value, &[]), Ok(()));
        assert_eq!(verify_presence(&root, &key, &value, &[0; 32]), Err(ProofError::Malformed));
        assert_eq!(verify_presence(&root, &key, &value, &[0; 66]), Err(ProofError::Malformed));
        assert_eq!(verify_presence(&root, &key, &value, &[0; 33 * 257]), Err(ProofError::Malformed));
        assert_eq!(verify_absence(&root, &key, &[]), Err(ProofError::OtherRoot));
        assert_eq!(verify_absence(&root, &key, &[0; 40]), Err(ProofError::Malformed));
        let itself = [key.as_slice(), &value].concat();
        assert_eq!(verify_absence(&root, &key, &itself), Err(ProofError::OtherPlace));
        assert_eq!(verify_absence(&root, &[1; 32], &itself), Ok(()));
        assert_eq!(verify_absence(&empty_hash(), &key, &[]), Ok(()));
    }
}

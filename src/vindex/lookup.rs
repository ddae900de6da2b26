//! A lookup with everything that proves it, and its verification, which needs a verifier key and nothing else.
//!
//! ```text
//! verifier key of the ledger -> that of the output log (same key, name + "/index/v1")
//! output checkpoint  signed -> its last leaf is the output leaf -> map root, and the ledger's checkpoint, signed
//! map root -> these indices stand under the key, and no others; or none does
//! ```
//!
//! An output leaf is `hex(map root) LF ledger checkpoint, verbatim`. What is proved is as of that checkpoint's size: entries
//! behind it are not looked at. Pure: no I/O.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{
    keys::ORIGIN_SUFFIX,
    trie::{Bytes32, PROOF_BYTES_MAX, ProofError, value_of, verify_absence, verify_presence},
};
use crate::{
    entry::leaf_hash,
    tlog::{CheckpointVerifier, Hash, SignedCheckpoint, VerifierKeyError},
};

/// The most ledger indices that one lookup gives; the client has to take the whole list.
pub const LOOKUP_INDICES_MAX: usize = 100_000;

/// What the index says about a key, with the proofs.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Ledger indices of all entries under the key, ascending; none when there is none.
    pub indices: Vec<u64>,
    /// The map proof of presence or absence ([`super::trie`]).
    pub proof: Vec<u8>,
    /// The last leaf of the output log.
    pub leaf: Arc<[u8]>,
    /// Its inclusion path, from its sibling up (RFC 6962 section 2.1.1).
    pub leaf_path: Arc<[Hash]>,
    /// The checkpoint of the output log, whose last leaf it is.
    pub checkpoint: Arc<str>,
}

/// What a lookup proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Ledger indices of all entries under the key, ascending.
    pub indices: Vec<u64>,
    /// The checkpoint of the ledger up to which this is all.
    pub covers: SignedCheckpoint,
    /// The checkpoint of the output log that says so.
    pub output: SignedCheckpoint,
}

/// Why a lookup proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The key cannot be one.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// The output log's checkpoint is not signed, or by another.
    #[error("the checkpoint of the output log is not signed by `{name}` with the given key")]
    OutputCheckpoint {
        /// Whose signature is missing.
        name: String,
    },
    /// The leaf is not the last one under the output checkpoint.
    #[error("the leaf is not the last one of the output log's tree")]
    OutputLeaf,
    /// The leaf is not a map root and a checkpoint.
    #[error("the leaf of the output log is not a map root and a checkpoint")]
    LeafForm,
    /// The ledger's checkpoint in the leaf is not signed, or by another.
    #[error("the ledger checkpoint in the output log is not signed by `{name}` with the given key")]
    LedgerCheckpoint {
        /// Whose signature is missing.
        name: String,
    },
    /// The indices do not ascend, are too many, or pass the ledger's end.
    #[error("the ledger indices do not ascend, or are not below the {size} entries that the checkpoint covers")]
    Indices {
        /// The size of the ledger.
        size: u64,
    },
    /// The map proof.
    #[error(transparent)]
    Map(#[from] ProofError),
}

/// A leaf of the output log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLeaf<'a> {
    /// The root of the map.
    pub root: Bytes32,
    /// The signed checkpoint of the ledger that the map covers.
    pub checkpoint: &'a str,
}

impl<'a> OutputLeaf<'a> {
    /// Reads a leaf; `None` when it is none.
    pub fn parse(leaf: &'a [u8]) -> Option<Self> {
        let (root, checkpoint) = std::str::from_utf8(leaf).ok()?.split_once('\n')?;
        Some(Self { root: HEXLOWER.decode(root.as_bytes()).ok()?.try_into().ok()?, checkpoint })
    }

    /// The bytes of the leaf.
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{}\n{}", HEXLOWER.encode(&self.root), self.checkpoint).into_bytes()
    }
}

/// The verifier of the output log that belongs to a ledger's.
///
/// # Errors
///
/// [`VerifierKeyError`] when its name cannot name a key.
pub fn output_verifier(ledger: &CheckpointVerifier) -> Result<CheckpointVerifier, VerifierKeyError> {
    ledger.with_suffix(ORIGIN_SUFFIX).ok_or_else(|| VerifierKeyError { text: ledger.text().into() })
}

impl Lookup {
    /// Checks everything, and says what it proves about `key`.
    ///
    /// # Errors
    ///
    /// [`LookupError`] names the first thing that does not hold.
    pub fn verify(&self, key: &Bytes32, ledger: &CheckpointVerifier) -> Result<Verified, LookupError> {
        let output_log = output_verifier(ledger)?;
        let output = output_log.verify(self.checkpoint.as_bytes());
        let output = output.ok_or_else(|| LookupError::OutputCheckpoint { name: output_log.name().into() })?;
        if last_leaf_root(output.size, leaf_hash(&self.leaf), &self.leaf_path) != Some(output.root) {
            return Err(LookupError::OutputLeaf);
        }
        let leaf = OutputLeaf::parse(&self.leaf).ok_or(LookupError::LeafForm)?;
        let covers = ledger.verify(leaf.checkpoint.as_bytes());
        let covers = covers.ok_or_else(|| LookupError::LedgerCheckpoint { name: ledger.name().into() })?;
        let ascend = self.indices.is_sorted_by(|a, b| a < b);
        let count = self.indices.len();
        if count > LOOKUP_INDICES_MAX
            || !ascend
            || self.indices.last().is_some_and(|last| *last >= covers.size)
            || self.proof.len() > PROOF_BYTES_MAX
        {
            return Err(LookupError::Indices { size: covers.size });
        }
        match self.indices.as_slice() {
            [] => verify_absence(&leaf.root, key, &self.proof)?,
            indices => verify_presence(&leaf.root, key, &value_of(indices), &self.proof)?,
        }
        Ok(Verified { indices: self.indices.clone(), covers, output })
    }
}

/// The root of a tree of `size` leaves whose last one has this hash and path: every step has its subtree on the left, one
/// for each bit of `size - 1` (RFC 9162 section 2.1.3.2 with index size - 1). `None` when the path has another length.
fn last_leaf_root(size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    let steps = size.checked_sub(1)?.count_ones() as usize;
    (path.len() == steps).then(|| {
        path.iter().fold(leaf, |hash, left| {
            let node = Sha256::new().chain_update([1]).chain_update(left.0).chain_update(hash.0);
            Hash(node.finalize().into())
        })
    })
}

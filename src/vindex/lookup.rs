//! A lookup with its proofs, and its verification, for which a verifier key is enough.
//!
//! ```text
//! verifier key of the ledger -> that of the output log (same key, name + "/index/v1")
//! output checkpoint  signed -> its last leaf is the output leaf -> map root, and the ledger's checkpoint, signed
//! map root -> exactly these indices, or none, are under the key
//! ```
//!
//! An output leaf is `hex(map root) LF ledger checkpoint, verbatim`. A proof covers the entries up to that checkpoint's
//! size, and no later ones. Pure: no I/O.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{
    keys::ORIGIN_SUFFIX,
    trie::{Bytes32, PROOF_BYTES_MAX, ProofError, value_of, verify_absence, verify_presence},
};
use crate::{
    entry::leaf_hash,
    tlog::{
        Hash, SignedCheckpoint,
        note::{KeyError, VerifierKey},
    },
};

/// Maximum number of ledger indices in one lookup; the client needs the whole list.
pub const LOOKUP_INDICES_MAX: usize = 100_000;

/// The answer of the index for a key, with its proofs.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Ledger indices of all entries under the key, ascending; empty if there are none.
    pub indices: Vec<u64>,
    /// The map proof of presence or absence ([`super::trie`]).
    pub proof: Vec<u8>,
    /// The last leaf of the output log.
    pub leaf: Arc<[u8]>,
    /// The leaf's inclusion path, from its sibling up (RFC 6962 section 2.1.1).
    pub leaf_path: Arc<[Hash]>,
    /// The checkpoint of the output log whose last leaf is `leaf`.
    pub checkpoint: Arc<str>,
}

/// The facts that a lookup proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Ledger indices of all entries under the key, ascending.
    pub indices: Vec<u64>,
    /// The checkpoint of the ledger up to which the indices are complete.
    pub covers: SignedCheckpoint,
    /// The checkpoint of the output log.
    pub output: SignedCheckpoint,
}

/// Defect of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The verifier key cannot have the suffix of an output log.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The output log's checkpoint lacks the signature of the key.
    #[error("the checkpoint of the output log is not signed by `{name}` with the given key")]
    OutputCheckpoint {
        /// Name of the missing signer.
        name: String,
    },
    /// The leaf is not the last one under the output checkpoint.
    #[error("the leaf is not the last one of the output log's tree")]
    OutputLeaf,
    /// The leaf is not a map root and a checkpoint.
    #[error("the leaf of the output log is not a map root and a checkpoint")]
    LeafForm,
    /// The ledger's checkpoint in the leaf lacks the signature of the key.
    #[error("the ledger checkpoint in the output log is not signed by `{name}` with the given key")]
    LedgerCheckpoint {
        /// Name of the missing signer.
        name: String,
    },
    /// The indices do not ascend, are too many, or lie beyond the ledger's end.
    #[error("the ledger indices do not ascend, or are not below the {size} entries that the checkpoint covers")]
    Indices {
        /// The size of the ledger.
        size: u64,
    },
    /// The map proof is wrong.
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
    /// Reads a leaf; `None` if the bytes are none.
    pub fn parse(leaf: &'a [u8]) -> Option<Self> {
        let (root, checkpoint) = std::str::from_utf8(leaf).ok()?.split_once('\n')?;
        Some(Self { root: HEXLOWER.decode(root.as_bytes()).ok()?.try_into().ok()?, checkpoint })
    }

    /// The bytes of the leaf.
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{}\n{}", HEXLOWER.encode(&self.root), self.checkpoint).into_bytes()
    }
}

/// The verifier of the output log of a ledger, from the ledger's own.
///
/// # Errors
///
/// [`KeyError`] if the name with the suffix cannot name a key.
pub fn output_verifier(ledger: &VerifierKey) -> Result<VerifierKey, KeyError> {
    ledger.with_suffix(ORIGIN_SUFFIX).ok_or_else(|| KeyError::Form { text: ledger.text().into() })
}

impl Lookup {
    /// Verifies the whole chain, and returns the facts that it proves about `key`.
    ///
    /// # Errors
    ///
    /// [`LookupError`] names the first link that is wrong.
    pub fn verify(&self, key: &Bytes32, ledger: &VerifierKey) -> Result<Verified, LookupError> {
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

/// The root of a tree of `size` leaves with this last leaf hash and path: every step has its subtree on the left, one
/// for each bit of `size - 1` (RFC 9162 section 2.1.3.2 with index size - 1). `None` if the path has another length.
fn last_leaf_root(size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    let steps = size.checked_sub(1)?.count_ones() as usize;
    (path.len() == steps).then(|| {
        path.iter().fold(leaf, |hash, left| {
            let node = Sha256::new().chain_update([1]).chain_update(left.0).chain_update(hash.0);
            Hash(node.finalize().into())
        })
    })
}

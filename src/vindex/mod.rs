//! The verifiable index: from an identifier to all its ledger entries, with proof that they are all.
//!
//! The ledger proves that an entry is there; it cannot prove that no later one is. The index does: a map from keys
//! ([`keys`]: `id:`, `out:`, `in:`) to the ledger indices of all entries under them, hashed into a trie ([`trie`]), whose root
//! goes into a log of its own together with the ledger's checkpoint it was made of, once a second. So an answer proves that
//! this is the latest version, that this list of edges is complete, or that an identifier was never registered. The form is
//! that of VIndex; anyone who reads the ledger can make the map again and compare it with every leaf of the output log.
//!
//! ```text
//! ledger entries --keys--> map (map, shard, list) --root--> output log (ledger::LeafLog, DIR/vindex/)
//!                             \__ service: follows the ledger, answers lookups __/          lookup: verifies them
//! ```
//!
//! What always holds: a lookup is against the last leaf of the output log and says which size of the ledger that covers; a leaf
//! is durable before its checkpoint is signed, and the checkpoint before anyone sees it; two leaves never contradict each other,
//! for the map follows from the ledger alone. Deliberately absent: what the entries say; who reads them from the ledger proves
//! each with its inclusion.

pub mod keys;
mod list;
mod lookup;
pub mod map;
mod service;
mod shard;
pub mod trie;

/// Verifies the checkpoints of a ledger and, with another name, of its output log.
pub use crate::tlog::CheckpointVerifier;
pub use keys::LookupKind;
pub use lookup::{LOOKUP_INDICES_MAX, Lookup, LookupError, OutputLeaf, Verified, output_verifier};
pub use service::{Lookups, NoLookup, PUBLISH_INTERVAL, VerifiableIndex};

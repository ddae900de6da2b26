//! The verifiable index: all ledger entries of an identifier, with proof that the list is complete.
//!
//! The ledger proves that it holds an entry; it cannot prove that no later one follows. The index does: a map from keys
//! ([`keys`]: `id:`, `out:`, `in:`, `ns:`) to the ledger indices of all entries under them, hashed into a trie
//! ([`trie`]), whose root is logged once a second, with the ledger checkpoint that the map covers, in a log of its own.
//! So an answer proves that a version is the latest, that a list of edges is complete, or that an identifier was never
//! registered. The format is that of VIndex; anyone who reads the ledger can rebuild the map and compare it with every
//! leaf of the output log.
//!
//! ```text
//! ledger entries --keys--> map (map, shard, list) --root--> output log (ledger::LeafLog, DIR/vindex/)
//!                             \__ service: follows the ledger, answers lookups __/          lookup: verifies them
//! ```
//!
//! Always: a lookup is against the last leaf of the output log and names the size of the ledger that it covers; a leaf
//! is durable before its checkpoint is signed, and the checkpoint before anyone sees it; two leaves never contradict
//! each other, for the map follows from the ledger alone. Deliberately absent: the content of the entries; a reader
//! proves each by its inclusion in the ledger.

pub mod keys;
mod list;
mod lookup;
pub mod map;
mod service;
mod shard;
pub mod trie;

pub use keys::LookupKind;
pub use lookup::{LOOKUP_INDICES_MAX, Lookup, LookupError, OutputLeaf, Verified, output_verifier};
pub use service::{Lookups, NoLookup, PUBLISH_INTERVAL, VerifiableIndex};

//! The verifiable index.

pub mod keys;
mod list;
pub mod map;
mod shard;
pub mod trie;

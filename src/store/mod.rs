//! Records behind an engine: the contract of what keeps entries and finds them, and whole records read through it.
//!
//! ```text
//! desk, feed, sequencer ──> Records (whole records, history, edges, prefixes)
//!                              └──> dyn Entries (the contract)
//!                                      ├── local::LocalEntries   sled index over the ledger's segments
//!                                      └── memory::MemoryEntries the reference model
//! ```
//!
//! An engine finds entries by identifier, ledger index, name hash, request and edge. What it derives can be deleted and
//! made again from the ledger at any time. The contract ([`Entries`]) uses the domain's terms: neither an index key nor a
//! byte position of a local file leaves an implementation. One contract suite runs on every implementation.
//!
//! Deliberately absent: decisions (`registry`), and who may see a value (`rights`).

#[cfg(test)]
mod contract;
mod edges;
mod entries;
mod history;
mod index;
#[cfg(test)]
mod index_contract;
mod links;
pub mod local;
pub mod memory;
mod prefixes;
mod records;

pub use edges::{Direction, EdgeEnd, EdgeMove, EdgeOp, EdgeOrigin, EdgeQuery, IndexedEdge};
pub use entries::{Entries, IndexChange, PastPage, ReadError, RequestKey};
pub use history::PastVersion;
pub use index::{Applied, PlacedChange, PositionIndex};
pub use links::{Link, LinkReader, Registered, Standing};
pub use prefixes::{ImplicitHome, PrefixVersion, Prefixes, Responsibility};
pub use records::{Newest, Records};

pub use crate::ledger::Resident;

/// Failure of the index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine failed: disk, permissions, a lock held elsewhere.
    #[error("index {path}: {reason}")]
    Engine {
        /// The index directory.
        path: String,
        /// Reason given by the engine.
        reason: String,
    },
    /// The disk has no room for the index. Changes already applied are answered from memory.
    #[error("index {path}: no space left on its disk")]
    Full {
        /// The index directory.
        path: String,
    },
    /// The index holds data that no version of this program writes: rebuild it (`touchmark rebuild`).
    #[error("index {path} is damaged: {what}; `touchmark rebuild` makes it again from the ledger")]
    Damaged {
        /// The index directory.
        path: String,
        /// The damage, and its place.
        what: String,
    },
}

//! Following the ledger: reading from an index on, page by page, then each new entry.
//!
//! ```text
//! Horizon ─ subscribe ─► Watch    the end up to which followers may read                 (the committer advances it)
//! read(ledger, span, Follower)    the entries in between, in order, each once            (a page at a time)
//! Erasures                        detects that data may have been erased since it was read
//! ```
//!
//! The feed of changes, the verifiable index and the stream of mirrors read the ledger in this way. Always: a follower
//! sees every entry of its span once, in order, and none that the index has not applied. Deliberately absent: the
//! follower's use of an entry, and the thread on which it reads.

mod horizon;
mod reading;

pub use horizon::{Horizon, Watch};
pub use reading::{Erasures, Follower, Span, Taken, read};

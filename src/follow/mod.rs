//! Following the ledger: from an index on, page by page, and then what is new.
//!
//! ```text
//! Horizon ─ subscribe ─► Watch    how far followers may go, and when that changes        (the committer advances it)
//! read(ledger, span, Follower)    the entries in between, in order, each once            (a page at a time)
//! Erasures                        whether what was read may hold what was erased since
//! ```
//!
//! The feed of changes, the verifiable index and the stream of mirrors go through the ledger in this way. What always holds: a
//! follower sees every entry of its span once, in order, and none that the index has not applied. Deliberately absent: what a
//! follower makes of an entry, and on which thread it reads.

mod horizon;
mod reading;

pub use horizon::{Horizon, Watch};
pub use reading::{Erasures, Follower, Span, Taken, read};

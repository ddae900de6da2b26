//! Mirrors: they follow the ledger of another node, and believe nothing of it that does not verify.
//!
//! ```text
//! records --Checker--> verified batch --Applier--> ledger (under the primary's checkpoint) -> index -> caches, feeds
//!          (pure)       (whole or not)  (durable)
//! ```
//!
//! [`Checker`] takes the records of the primary's stream (`protocol::replica`) and returns a batch once a checkpoint
//! that the primary's key signed covers exactly the entries received: every leaf hash is derived again from values and
//! salts. [`Applier`] writes the batch. [`Lag`] measures how far behind the mirror is. A batch that does not verify is
//! dropped as a whole, before any of it was served.
//!
//! [`Following`] is the loop around them: it connects to the primary, retries, and logs what is wrong. [`directory`]
//! checks which ledger a directory mirrors; [`promote`] turns the directory of a mirror into that of a primary.
//!
//! Deliberately absent: connections (`client::replica`), and writes of clients.

mod apply;
mod check;
pub mod directory;
mod follow;
mod lag;
pub mod promote;

pub use apply::{Applier, HeldLedger, MirrorError};
pub use check::{Checked, CheckedEntry, Checker, Held, HeldEntry, Rejected, VerifiedBatch};
pub use directory::DirectoryError;
pub use follow::{Follow, Following};
pub use lag::{Lag, LagNow};

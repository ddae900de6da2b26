//! Mirrors: following the ledger of another node, and believing nothing of it that does not verify.
//!
//! ```text
//! records --Checker--> verified batch --Applier--> ledger (under the primary's checkpoint) -> index -> caches, feeds
//!          (pure)       (whole or not)  (durable)
//! ```
//!
//! [`Checker`] takes the records of the primary's stream (`protocol::replica`) and gives a batch once a checkpoint that the
//! primary's key signed covers exactly what came: every leaf hash is derived again from values and salts. [`Applier`] writes it.
//! [`Lag`] knows how far behind the mirror is. What does not fit is thrown away with its batch, and nothing of it was ever served.
//!
//! [`Following`] is the loop around them: it asks the primary, tries again, and says what is wrong. What a directory mirrors is
//! prepared in [`directory`]; one that becomes a primary's in [`promote`].
//!
//! Deliberately absent: connections (`client::replica`), and writing of its own.

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

//! Publishing: the checkpoints that are shown to the world, with their cosignatures, and the check that the ledger may
//! be continued.
//!
//! ```text
//! at start      guard      asks the witnesses for their size of the ledger, before anything is signed
//! afterwards    publisher  takes the newest checkpoint once a second, has it cosigned, publishes it (`ledger::Publication`)
//!               witnesses  one request each, with a timeout
//! ```
//!
//! A witness that shows another history of the ledger, signed with the ledger's own key, stops the ledger for good.
//! Deliberately absent: the choice of witnesses (`config`), and their connections (`client`).

mod guard;
mod publisher;
mod witnesses;

pub use guard::{GuardError, ask};
pub use publisher::Publisher;
pub use witnesses::Witness;

//! Publishing: which checkpoints the world gets to see, with whose cosignatures, and whether the ledger may be continued at all.
//!
//! ```text
//! at start      guard      asks the witnesses what they hold, before anything is signed
//! afterwards    publisher  takes the newest checkpoint once a second, has it cosigned, publishes it (`ledger::Publication`)
//!               witnesses  one question each, with a bounded time
//! ```
//!
//! A witness that shows another history of the ledger, signed with its own key, stops the ledger for good. Deliberately absent: who
//! the witnesses are (`config`), and how they are reached (`client`).

mod guard;
mod publisher;
mod witnesses;

pub use guard::{GuardError, ask};
pub use publisher::Publisher;
pub use witnesses::Witness;

//! Proofs of entries: what an auditor needs to check the ledger without trusting its node.
//!
//! ```text
//! tlog-proof file ──► tlog_proof  index, path, checkpoint, and what the log adds to them
//!                      │   └────► opening    the entry's text, and values that open its commitments
//!                      ▼
//!                    merkle       leaf ─ path ─► root ◄─ checkpoint ◄─ note   log key, cosignatures
//!                                                                       ▲
//!                                                                    policy   whom the auditor trusts
//! ```
//!
//! The formats of every log stand in `tlog`, the text of an entry in `entry`; here is what is added to a proof ([`opening`]), and
//! the check of the whole ([`verify()`]). Nothing here reads a file, a clock or a socket, and nothing knows how the ledger is
//! stored: whoever verifies has this, a file and a key. Deliberately absent: tiles and entry bundles.

pub mod opening;
mod verify;

pub use verify::{Defect, Outcome, Proven, check, verify};

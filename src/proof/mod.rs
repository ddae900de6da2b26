//! Proofs of entries: the means for an auditor to check the ledger without trusting its node.
//!
//! ```text
//! tlog-proof file ──► tlog_proof  index, path, checkpoint, and `extra`, the addition of the log
//!                      │   └────► opening    the entry's text, and values that open its commitments
//!                      ▼
//!                    merkle       leaf ─ path ─► root ◄─ checkpoint ◄─ note   log key, cosignatures
//!                                                                       ▲
//!                                                                    policy   keys that the auditor trusts
//! ```
//!
//! The formats common to all logs are in `tlog`, the text of an entry in `entry`; this module has this project's
//! addition to a proof ([`opening`]), and the check of the whole ([`verify()`]). Nothing here reads a file, a clock or
//! a socket, or knows how the ledger is stored: a verifier needs this module, a file and a key. Deliberately absent:
//! tiles and entry bundles.

pub mod opening;
mod verify;

pub use verify::{Defect, Outcome, Proven, check, verify};

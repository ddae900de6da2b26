//! Proofs as others give and take them: what an auditor needs to check the ledger without trusting its node.
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
//! Formats: RFC 9162 section 2.1, C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof, tlog-policy, and the requests
//! of tlog-witness. Nothing here reads
//! a file, a clock or a socket, and nothing knows how the ledger is stored: whoever verifies has this, a file and a key.
//! Deliberately absent: keys of ML-DSA; tiles and entry bundles.

pub mod merkle;
pub mod note;
pub mod opening;
pub mod policy;
pub mod tlog_proof;
mod verify;
pub mod witness;

pub use verify::{Defect, Outcome, Proven, check, verify};

/// A decimal number without a sign or leading zeros.
pub(crate) fn number(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| canonical)
}

/// A hash in base64, in its one spelling.
pub(crate) fn hash(text: &str) -> Option<crate::ledger::Hash> {
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(crate::ledger::Hash)
}

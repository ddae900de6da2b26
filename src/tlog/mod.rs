//! Transparency logs as C2SP and RFC 9162 define them: the formats and rules that logs, witnesses and auditors share.
//!
//! ```text
//! checkpoint   size and root of a log, signed; the key that signs        C2SP tlog-checkpoint
//! note         keys of logs and witnesses, signed notes, cosignatures    C2SP signed-note, tlog-cosignature
//! merkle       inclusion and consistency against roots                   RFC 9162 section 2.1
//! frontier     the right edge of a tree that grows                       RFC 6962 section 2.1
//! tiles        paths of tiles and entry bundles                          C2SP tlog-tiles
//! tlog_proof   the file format of a proof                                C2SP tlog-proof
//! policy       whom an auditor trusts                                    C2SP tlog-policy
//! witness      the requests of witnesses, and their answers              C2SP tlog-witness
//! ```
//!
//! Always: nothing here reads a file, a clock or a socket, and nothing knows the meaning or the storage of a log's
//! entries. Deliberately absent: keys of ML-DSA.

mod checkpoint;
#[cfg(test)]
pub(crate) mod definition;
mod frontier;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod tiles;
pub mod tlog_proof;
pub mod witness;

pub use checkpoint::{BadOrigin, LedgerKey, ORIGIN_BYTES_MAX, SignedCheckpoint, read_checkpoint};
pub(crate) use frontier::TILE_HEIGHT;
pub use frontier::{Frontier, empty_root};
pub use tlog_tiles::{Hash, node_hash, record_hash};

/// A decimal number without a sign or leading zeros.
pub(crate) fn number(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| canonical)
}

/// A hash in base64, in its only spelling.
pub(crate) fn hash(text: &str) -> Option<Hash> {
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(Hash)
}

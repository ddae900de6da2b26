//! The replication stream from a primary to a mirror: a sequence of records.
//!
//! ```text
//! record = type (1 byte) · length (4 bytes, big-endian) · bytes
//!   1  entry       an entry in its stored form, its place blank (`ledger::without_place`): values and salts are in it
//!   2  outside     the text alone of an entry outside the prefixes that were asked for
//!   3  checkpoint  a signed note (C2SP tlog-checkpoint) that covers exactly the entries given so far
//!   4  alive       the size of the primary's ledger, and its time in ms since 1970 UTC (8 bytes each, big-endian)
//! ```
//!
//! The first record is a checkpoint of the entries that the mirror has already, or `alive` if the mirror has none. An
//! erase entry stands alone between two checkpoints. Deliberately absent: applying the records (`mirror`).

use crate::{
    entry::TEXT_BYTES_MAX,
    ledger::{CHECKPOINT_BYTES_MAX, ENTRY_BYTES_MAX},
};

/// Length of the head of a record: type and length.
pub const HEAD_BYTES: usize = 5;
/// The path below that of the log, whose checkpoint lies at `<log>/checkpoint`.
pub const PATH: &str = "replica";
/// Maximum number of entries between two checkpoints.
pub const BATCH_ENTRIES_MAX: usize = 4_096;
/// Maximum number of bytes between two checkpoints: a full page, one entry more, and 64 KiB.
pub const BATCH_BYTES_MAX: usize = PAGE_BYTES_MAX + ENTRY_BYTES_MAX + (64 << 10);
/// Number of bytes of entries that a primary reads ahead of a mirror, about.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Interval of the `alive` records of a primary with nothing else to send, in milliseconds.
pub const ALIVE_INTERVAL_MS: u64 = 1_000;

/// A record of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A whole entry in its stored form.
    Entry(Vec<u8>),
    /// The text of an entry outside the prefixes that were asked for.
    Outside(Vec<u8>),
    /// A signed note over all entries so far.
    Checkpoint(Vec<u8>),
    /// Sign of life of the primary.
    Alive {
        /// Number of entries in the primary's ledger.
        size: u64,
        /// Time of the primary, milliseconds since 1970 UTC.
        time_ms: u64,
    },
}

/// Error of a malformed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Unknown type.
    #[error("a record of type {0}, which this version does not know")]
    Type(u8),
    /// Longer than the limit of its type.
    #[error("a record of type {kind} with {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// The type.
        kind: u8,
        /// Length of the record, in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A sign of life whose length is not 16 bytes.
    #[error("a sign of life of {0} bytes; it has 16")]
    Alive(usize),
}

const ENTRY: u8 = 1;
const OUTSIDE: u8 = 2;
const CHECKPOINT: u8 = 3;
const ALIVE: u8 = 4;
const ALIVE_BYTES: usize = 16;

impl Record {
    /// Appends the record to `out`.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry(bytes) => put(out, ENTRY, bytes),
            Self::Outside(text) => put(out, OUTSIDE, text),
            Self::Checkpoint(note) => put(out, CHECKPOINT, note),
            Self::Alive { size, time_ms } => put(out, ALIVE, &[size.to_be_bytes(), time_ms.to_be_bytes()].concat()),
        }
    }

    /// Returns the number of bytes that follow a head.
    ///
    /// # Errors
    ///
    /// [`BadRecord`] for an unknown type or a length above its limit, before any byte behind the head is read.
    pub fn len_of(head: [u8; HEAD_BYTES]) -> Result<usize, BadRecord> {
        let [kind, len @ ..] = head;
        let bytes = u32::from_be_bytes(len) as usize;
        let limit = match kind {
            ENTRY => ENTRY_BYTES_MAX,
            OUTSIDE => TEXT_BYTES_MAX,
            CHECKPOINT => CHECKPOINT_BYTES_MAX,
            ALIVE => ALIVE_BYTES,
            other => return Err(BadRecord::Type(other)),
        };
        if bytes > limit { Err(BadRecord::TooLong { kind, bytes, limit }) } else { Ok(bytes) }
    }

    /// Decodes the record of a head and the bytes behind it.
    ///
    /// # Errors
    ///
    /// [`BadRecord`].
    pub fn of(head: [u8; HEAD_BYTES], bytes: Vec<u8>) -> Result<Self, BadRecord> {
        Ok(match head[0] {
            ENTRY => Self::Entry(bytes),
            OUTSIDE => Self::Outside(bytes),
            CHECKPOINT => Self::Checkpoint(bytes),
            ALIVE => {
                let (numbers, _) = bytes.as_chunks::<8>();
                let [size, time_ms] = numbers else { return Err(BadRecord::Alive(bytes.len())) };
                Self::Alive { size: u64::from_be_bytes(*size), time_ms: u64::from_be_bytes(*time_ms) }
            }
            other => return Err(BadRecord::Type(other)),
        })
    }
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let records = [
            Record::Entry(vec![1, 2, 3]),
            Record::Outside(b"touchmark/1 create\n".to_vec()),
            Record::Checkpoint(b"id.test/ledger\n".to_vec()),
            Record::Alive { size: 7, time_ms: 1 << 41 },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.put(&mut bytes);
            let (head, rest) = bytes.split_first_chunk().unwrap();
            assert_eq!(Record::len_of(*head).unwrap(), rest.len());
            assert_eq!(Record::of(*head, rest.into()).unwrap(), record);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let table = [
            ([0, 0, 0, 0, 0], BadRecord::Type(0)),
            ([9, 0, 0, 0, 1], BadRecord::Type(9)),
            ([2, 0, 1, 0, 0], BadRecord::TooLong { kind: 2, bytes: 65_536, limit: 65_535 }),
            ([3, 0, 0, 2, 1], BadRecord::TooLong { kind: 3, bytes: 513, limit: 512 }),
            ([4, 255, 255, 255, 255], BadRecord::TooLong { kind: 4, bytes: u32::MAX as usize, limit: 16 }),
        ];
        for (head, expected) in table {
            assert_eq!(Record::len_of(head), Err(expected));
        }
        assert_eq!(Record::of([4, 0, 0, 0, 8], vec![0; 8]), Err(BadRecord::Alive(8)));
    }
}

//! The block format: a run of sorted index entries, front coded.
//!
//! ```text
//! block = format (1 byte, 1) · entry … · crc32c of all before (4 bytes, big endian)
//! entry = shared length (varint) · rest length (varint) · rest of the key · position (varint)
//! ```
//!
//! `shared length` counts the leading bytes that the key has in common with the previous key. Keys strictly increase.
//! Reading never panics and never runs past the end, whatever the bytes.

use crate::{
    codec::{Reader, Torn, put_varint},
    ledger::Position,
};

const FORMAT: u8 = 1;
const CRC_BYTES: usize = 4;

/// Refusal of bytes that are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BlockError {
    /// Too short to be a block.
    #[error("{bytes} bytes are too short for a block")]
    Short { bytes: usize },
    /// The checksum does not match.
    #[error("checksum {found:08x} where {computed:08x} is right")]
    Checksum { found: u32, computed: u32 },
    /// The format is that of another version of this program.
    #[error("block format {0} is unknown")]
    Format(u8),
    /// An entry is truncated.
    #[error("an entry is cut")]
    Torn,
    /// Keys do not increase, or share more bytes than the previous key has.
    #[error("keys are out of order")]
    Order,
}

impl From<Torn> for BlockError {
    fn from(_: Torn) -> Self {
        Self::Torn
    }
}

/// A block of the known format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    entries: &'a [u8],
}

/// Verifies the checksum of a block, once after it was read from disk.
pub(super) fn check(bytes: &[u8]) -> Result<(), BlockError> {
    let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(BlockError::Short { bytes: bytes.len() })?;
    let found = u32::from_be_bytes(*crc);
    let computed = crc32c::crc32c(body);
    if found == computed { Ok(()) } else { Err(BlockError::Checksum { found, computed }) }
}

impl<'a> Block<'a> {
    /// Opens a block that has passed [`check`].
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let short = BlockError::Short { bytes: bytes.len() };
        let (body, _) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(short)?;
        match body.split_first() {
            Some((&FORMAT, entries)) => Ok(Self { entries }),
            Some((&format, _)) => Err(BlockError::Format(format)),
            None => Err(short),
        }
    }

    /// The position under a key. Keys are not reassembled for the lookup: the number of bytes that `key` shares with
    /// the previous entry is enough.
    pub(super) fn get(self, key: &[u8]) -> Result<Option<Position>, BlockError> {
        let mut reader = Reader::new(self.entries);
        // Every entry passed so far is smaller than `key` and shares its first `agreed` bytes.
        let mut agreed = 0;
        while !reader.is_empty() {
            let shared = reader.varint_u32()? as usize;
            let rest = reader.bytes()?;
            let position = reader.varint()?;
            if shared < agreed {
                // The entry differs from the previous one within the agreed bytes, upwards: it lies above `key`.
                return Ok(None);
            }
            if shared > agreed {
                // It differs from the previous entry behind the point where that one fell below `key`: still below.
                continue;
            }
            let wanted = key.get(agreed..).ok_or(BlockError::Order)?;
            let more = shared_len(wanted, rest);
            match (wanted.get(more), rest.get(more)) {
                (None, None) => return Ok(Some(Position(position))),
                (Some(wanted), Some(found)) if found > wanted => return Ok(None),
                (None, Some(_)) => return Ok(None),
                _ => agreed += more,
            }
        }
        Ok(None)
    }

    /// The entries in order.
    pub(super) fn entries(self) -> BlockEntries<'a> {
        BlockEntries { reader: Reader::new(self.entries), key: Vec::new(), first: true }
    }
}

/// Iterator over a block's entries; each step reassembles the key in the same buffer.
#[derive(Debug)]
pub(super) struct BlockEntries<'a> {
    reader: Reader<'a>,
    key: Vec<u8>,
    first: bool,
}

impl BlockEntries<'_> {
    /// The next entry; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], Position)>, BlockError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let shared = self.reader.varint_u32()? as usize;
        let rest = self.reader.bytes()?;
        let position = self.reader.varint()?;
        let before = self.key.get(shared..).ok_or(BlockError::Order)?;
        if !self.first && rest <= before {
            return Err(BlockError::Order);
        }
        self.first = false;
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        Ok(Some((&self.key, Position(position))))
    }
}

/// Builder of one block.
#[derive(Debug)]
pub(super) struct BlockWriter {
    bytes: Vec<u8>,
    last_key: Vec<u8>,
    entries: usize,
}

impl BlockWriter {
    /// Starts a block.
    pub(super) fn new() -> Self {
        Self { bytes: vec![FORMAT], last_key: Vec::new(), entries: 0 }
    }

    /// Appends an entry; its key must be above all previous ones.
    pub(super) fn push(&mut self, key: &[u8], position: Position) {
        debug_assert!(self.entries == 0 || key > self.last_key.as_slice(), "keys out of order");
        let shared = if self.entries == 0 { 0 } else { shared_len(&self.last_key, key) };
        let rest = &key[shared..];
        put_varint(&mut self.bytes, shared as u64);
        put_varint(&mut self.bytes, rest.len() as u64);
        self.bytes.extend_from_slice(rest);
        put_varint(&mut self.bytes, position.0);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(rest);
        self.entries += 1;
    }

    /// Number of entries so far.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Length of the block if it ended here, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + CRC_BYTES
    }

    /// The last key appended.
    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Finishes the block with its checksum.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_be_bytes());
        self.bytes
    }
}

/// Number of leading bytes that two strings have in common.
pub(super) fn shared_len(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn written(entries: &BTreeMap<Vec<u8>, u64>) -> Vec<u8> {
        let mut writer = BlockWriter::new();
        for (key, position) in entries {
            writer.push(key, Position(*position));
        }
        assert_eq!(writer.entries(), entries.len());
        let len = writer.len();
        let bytes = writer.finish();
        assert_eq!(bytes.len(), len);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, u64>, BlockError> {
        check(bytes)?;
        let mut entries = Block::open(bytes)?.entries();
        let mut found = BTreeMap::new();
        while let Some((key, position)) = entries.next()? {
            found.insert(key.to_vec(), position.0);
        }
        Ok(found)
    }

    /// Keys over few letters, so that they share much.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![proptest::collection::vec(0u8..3, 0..8), proptest::collection::vec(any::<u8>(), 0..300)]
    }

    fn with_crc(body: &[u8]) -> Vec<u8> {
        [body, &crc32c::crc32c(body).to_be_bytes()].concat()
    }

    proptest! {
        #[test]
        fn a_block_answers_as_a_map(
            entries in proptest::collection::btree_map(key(), any::<u64>(), 0..128),
            others in proptest::collection::vec(key(), 0..50),
        ) {
            let bytes = written(&entries);
            prop_assert_eq!(read(&bytes), Ok(entries.clone()));
            let block = Block::open(&bytes).unwrap();
            for key in entries.keys().chain(&others) {
                prop_assert_eq!(block.get(key), Ok(entries.get(key).copied().map(Position)));
            }
        }

        #[test]
        fn a_flipped_bit_is_found(
            entries in proptest::collection::btree_map(key(), any::<u64>(), 0..20),
            at in any::<proptest::sample::Index>(),
            bit in 0..8,
        ) {
            let mut bytes = written(&entries);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(check(&bytes).is_err());
        }

        #[test]
        fn any_bytes_read_without_panic(body: Vec<u8>, key: Vec<u8>) {
            let framed = with_crc(&[&[FORMAT][..], &body].concat());
            let _ = read(&body);
            let _ = read(&framed);
            let _ = Block::open(&framed).unwrap().get(&key);
        }
    }

    #[test]
    fn what_is_no_block_says_why() {
        for (bytes, error) in [
            (vec![], BlockError::Short { bytes: 0 }),
            (vec![0, 0, 0, 0], BlockError::Short { bytes: 4 }),
            (vec![1, 0, 0, 0, 0], BlockError::Checksum { found: 0, computed: 0xa016_d052 }),
            (with_crc(&[2]), BlockError::Format(2)),
            (with_crc(&[1, 0, 5, b'a']), BlockError::Torn),
            (with_crc(&[1, 1, 1, b'a', 0]), BlockError::Order),
            (with_crc(&[1, 0, 1, b'b', 0, 0, 1, b'a', 0]), BlockError::Order),
            (with_crc(&[1, 0, 1, b'b', 0, 1, 0, 0]), BlockError::Order),
        ] {
            assert_eq!(read(&bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let entries = BTreeMap::from([(b"\x01ab".to_vec(), 5), (b"\x01ac".to_vec(), 300)]);
        let bytes = written(&entries);
        assert_eq!(&bytes[..bytes.len() - 4], b"\x01\x00\x03\x01ab\x05\x02\x01c\xac\x02");
    }
}

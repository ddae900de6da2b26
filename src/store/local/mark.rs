//! The mark: the index's record of the extent of the ledger that its blocks hold.

use super::blocks::Blocks;
use crate::{
    codec::{Reader, put_varint},
    ledger::Position,
    store::{Applied, StoreError},
};

/// Version of the record that [`read_mark`] reads. Indexes of version 1 have no superseded entries, those of version 2
/// only the newest edges, and only from one end.
const MARK_FORMAT: u8 = 3;

/// Reads the mark; in a new index, writes an empty one.
///
/// The record is the format (1 byte, 3), entries and next position (varints), and the crc32c of these (4 bytes).
pub(super) fn read_mark(blocks: &Blocks) -> Result<Applied, StoreError> {
    match blocks.meta()? {
        Some(record) => decode_mark(&record)
            .ok_or_else(|| blocks.damaged(format!("its record `{}` is none of this version", record.escape_ascii()))),
        None if blocks.len() == 0 => {
            write_mark(blocks, Applied::default())?;
            Ok(Applied::default())
        }
        None => Err(blocks.damaged("it has blocks and no record of what they hold")),
    }
}

/// Writes the mark and makes it durable.
pub(super) fn write_mark(blocks: &Blocks, mark: Applied) -> Result<(), StoreError> {
    let mut record = vec![MARK_FORMAT];
    put_varint(&mut record, mark.entries);
    put_varint(&mut record, mark.next.0);
    record.extend_from_slice(&crc32c::crc32c(&record).to_be_bytes());
    blocks.put_meta(record)?;
    blocks.sync()
}

fn decode_mark(record: &[u8]) -> Option<Applied> {
    let (body, crc) = record.split_last_chunk::<4>()?;
    let mut reader = Reader::new(body);
    if crc32c::crc32c(body).to_be_bytes() != *crc || reader.byte().ok()? != MARK_FORMAT {
        return None;
    }
    let mark = Applied { entries: reader.varint().ok()?, next: Position(reader.varint().ok()?) };
    reader.is_empty().then_some(mark)
}

//! Overwriting of erased entries.
//!
//! ```text
//! stub = 255 · offset of the record in `ledger::redactions` (u64, LE) · zeros, as long as the entry was
//! ```
//!
//! Positions and lengths stay; the checksums of the entry and of its frame are computed anew. The rest of the frame is
//! checked before: every other entry must have a right checksum, and the frame's checksum may be wrong only if an
//! earlier overwrite of this frame was cut off.

use std::{collections::BTreeMap, os::unix::fs::FileExt, sync::Arc};

use super::{
    BODY_BYTES_MAX, ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, SEGMENT_HEADER_BYTES, Segment,
    SegmentFiles, entry_header, read_frame,
};
use crate::ledger::{LedgerError, Position};

/// First byte of a stub; no entry begins with it.
const STUB: u8 = 0xff;
/// Minimum length of a stub, in bytes; every entry is longer.
const STUB_BYTES_MIN: usize = 9;

/// An entry that is to be overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Overwritten {
    /// Position of the entry.
    pub(in crate::ledger) position: Position,
    /// Length of the entry, in bytes.
    pub(in crate::ledger) len: u32,
    /// Offset of the record with its redacted form.
    pub(in crate::ledger) record: u64,
}

/// Offset of the record that a stub leads to; `None` for an entry.
pub(super) fn record_of(stored: &[u8]) -> Option<u64> {
    let (first, rest) = stored.split_first()?;
    rest.first_chunk().filter(|_| *first == STUB).map(|offset| u64::from_le_bytes(*offset))
}

impl SegmentFiles {
    /// Overwrites entries of one frame by stubs. Entries overwritten before are overwritten again.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] if anything else in the frame is not as it was written; nothing is changed then.
    /// [`LedgerError::Io`]: some entries may be overwritten; do it again.
    pub(in crate::ledger) fn overwrite(&self, frame: Position, entries: &[Overwritten]) -> Result<(), LedgerError> {
        let (segment, offset, mut bytes) = self.raw_frame(frame)?;
        let damaged = |what: String| LedgerError::damaged(&segment.path, &what);
        let mut wanted: BTreeMap<u64, &Overwritten> = entries.iter().map(|entry| (entry.position.0, entry)).collect();
        let (mut at, mut count, mut begun) = (FRAME_HEADER_BYTES, 0_u32, false);
        let mut edits = Vec::with_capacity(entries.len());
        let checksum = crc32c::crc32c(&bytes[8..]);
        while at < bytes.len() {
            let position = Position(frame.0 + at as u64);
            let bad = || damaged(format!("holds a damaged entry at position {position}: nothing there is overwritten"));
            let word = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            let (len, own) = word(at).zip(word(at + 4)).ok_or_else(bad)?;
            let body = at + ENTRY_HEADER_BYTES..at + ENTRY_HEADER_BYTES + len as usize;
            let stored = bytes.get(body.clone()).ok_or_else(bad)?;
            let right = crc32c::crc32c(stored) == own;
            match wanted.remove(&position.0) {
                Some(entry) if entry.len == len && len as usize >= STUB_BYTES_MIN => {
                    begun |= !right || record_of(stored) == Some(entry.record);
                    let stub = stub(entry.record, len as usize);
                    bytes[body.clone()].copy_from_slice(&stub);
                    bytes[at..body.start].copy_from_slice(&entry_header(stub.len(), crc32c::crc32c(&stub)));
                    edits.push(at..body.end);
                }
                None if right => {}
                _ => return Err(bad()),
            }
            at = body.end;
            count += 1;
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (before, checksum) = (checksum, crc32c::crc32c(&bytes[8..]));
        // A power cut keeps writes in any order: the new checksum of the frame alone shows a begun overwrite, too.
        let begun = begun || word(4) == checksum;
        if !wanted.is_empty() || count != word(12) || (before != word(4) && !begun) {
            return Err(damaged(format!("holds a damaged frame at position {frame}: nothing there is overwritten")));
        }
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        edits.push(4..8);
        // A reader that meets torn bytes reads again under this lock.
        let _alone = self.overwriting.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for edit in edits {
            let written = segment.file.write_all_at(&bytes[edit.clone()], offset + edit.start as u64);
            written.map_err(|error| LedgerError::io("cannot overwrite", &segment.path, error))?;
        }
        Ok(())
    }

    /// Makes the segment of a position durable.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(in crate::ledger) fn sync(&self, position: Position) -> Result<(), LedgerError> {
        let Some((segment, _)) = self.find(position) else { return Ok(()) };
        segment.file.sync_data().map_err(|error| LedgerError::io("cannot sync", &segment.path, error))
    }

    /// Base of the segment of a position.
    pub(in crate::ledger) fn base(&self, position: Position) -> Option<u64> {
        self.find(position).map(|(segment, _)| segment.base)
    }

    /// The whole frame that begins at a position, if there is one; its redacted entries are not looked up.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(in crate::ledger) fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        let Some((segment, _)) = self.find(position) else { return Ok(None) };
        let (offset, len) = (position.0 - segment.base, segment.len()?);
        if offset < SEGMENT_HEADER_BYTES as u64 || offset > len {
            return Ok(None);
        }
        read_frame(&segment, offset, len)
    }

    /// Length in its segment of the entry at a position, and the offset of its record if it was erased.
    ///
    /// # Errors
    ///
    /// As for [`SegmentFiles::read_entry`].
    pub(in crate::ledger) fn read_raw(&self, position: Position) -> Result<(u32, Option<u64>), LedgerError> {
        let bytes = self.read_unresolved(position)?;
        Ok((bytes.len() as u32, record_of(&bytes)))
    }

    /// Position of the frame whose first entry lies at `position`, given the position of the entry before; `None` if
    /// both are in one frame.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the entries neither adjoin nor have a frame header between
    /// them.
    pub(in crate::ledger) fn frame_begins(
        &self,
        position: Position,
        before: Option<Position>,
    ) -> Result<Option<Position>, LedgerError> {
        let frame = Position(position.0.saturating_sub(FRAME_HEADER_BYTES as u64));
        let Some(before) = before.filter(|before| self.base(*before) == self.base(position)) else {
            return Ok(Some(frame));
        };
        let (segment, offset) = self.place(before)?;
        let mut len = [0; 4];
        segment.read_exact(&mut len, offset)?;
        let end = before.0 + ENTRY_HEADER_BYTES as u64 + u64::from(u32::from_le_bytes(len));
        match () {
            () if end == position.0 => Ok(None),
            () if end == frame.0 => Ok(Some(frame)),
            () => Err(LedgerError::damaged(&segment.path, &format!("holds no entry that ends before {position}"))),
        }
    }

    /// Bytes of a frame, unchecked, with its segment and its offset there.
    fn raw_frame(&self, frame: Position) -> Result<(Arc<Segment>, u64, Vec<u8>), LedgerError> {
        let (segment, offset) = self.place(frame)?;
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        segment.read_exact(&mut bytes, offset)?;
        let body_len = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        if &bytes[..4] != FRAME_MAGIC || body_len > BODY_BYTES_MAX {
            return Err(LedgerError::damaged(&segment.path, &format!("holds no frame at position {frame}")));
        }
        bytes.resize(FRAME_HEADER_BYTES + body_len, 0);
        segment.read_exact(&mut bytes[FRAME_HEADER_BYTES..], offset + FRAME_HEADER_BYTES as u64)?;
        Ok((segment, offset, bytes))
    }
}

fn stub(record: u64, len: usize) -> Vec<u8> {
    let mut stub = vec![0; len];
    stub[0] = STUB;
    stub[1..STUB_BYTES_MIN].copy_from_slice(&record.to_le_bytes());
    stub
}

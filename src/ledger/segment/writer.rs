//! The writer of segments: write, commit, cut.

use std::{os::unix::fs::FileExt, sync::Arc};

use super::{PREWRITE_BYTES, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, Segment, SegmentFiles};
use crate::ledger::{LedgerError, Position, segments::Unwritten};

/// The end of the newest segment, where frames are appended; there is only one writer.
#[derive(Debug)]
pub(in crate::ledger) struct SegmentWriter {
    segments: Arc<SegmentFiles>,
    segment: Arc<Segment>,
    /// Offset behind the last good frame.
    end: u64,
    /// Length of the file; all bytes behind `end` are zeros.
    allocated: u64,
    /// Length at which a new segment begins, in bytes.
    pub(super) segment_bytes_max: u64,
}

impl SegmentWriter {
    /// Starts to write at the end of the ledger, and cuts a torn frame behind it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(in crate::ledger) fn new(segments: Arc<SegmentFiles>, end: Position, tail: Tail) -> Result<Self, LedgerError> {
        let Some(segment) = segments.newest() else {
            return Err(LedgerError::damaged(&segments.directory, "hold no segment"));
        };
        let (end, allocated) = (end.0 - segment.base, segment.len()?);
        let mut writer = Self { segments, segment, end, allocated, segment_bytes_max: SEGMENT_BYTES_MAX };
        if tail == Tail::Torn {
            writer.cut()?;
        }
        // The process may have died between writing and syncing the last frame, which is signed next.
        writer.sync()?;
        Ok(writer)
    }

    /// Position of the next frame. Starts a new segment if the newest one is long enough.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`] if a new segment cannot be created; the old one can still be written then.
    pub(in crate::ledger) fn begin(&mut self, first_index: u64) -> Result<Position, LedgerError> {
        if self.end >= self.segment_bytes_max {
            self.cut()?;
            self.sync()?;
            self.segment = self.segments.create(self.segment.base + self.end, first_index)?;
            self.end = SEGMENT_HEADER_BYTES as u64;
            self.allocated = self.end;
        }
        Ok(Position(self.segment.base + self.end))
    }

    /// Writes a frame at the end. The frame does not count before [`SegmentWriter::commit`].
    ///
    /// # Errors
    ///
    /// [`Unwritten`], with [`LedgerError::Io`].
    pub(in crate::ledger) fn write(&mut self, frame: &[u8]) -> Result<(), Unwritten> {
        let needed = self.end + frame.len() as u64;
        if needed > self.allocated && (frame.len() as u64) < PREWRITE_BYTES / 4 {
            let zeros = vec![0; PREWRITE_BYTES as usize];
            // If there is no room for zeros ahead, there may still be room for the frame.
            if self.segment.file.write_all_at(&zeros, self.allocated).is_ok() {
                self.allocated += PREWRITE_BYTES;
            }
        }
        if let Err(error) = self.segment.file.write_all_at(frame, self.end) {
            self.cut().map_err(Unwritten::InDoubt)?;
            return Err(Unwritten::Nothing(LedgerError::io("cannot write", &self.segment.path, error)));
        }
        self.allocated = self.allocated.max(needed);
        Ok(())
    }

    /// Makes the written frame durable: from here on it is in the ledger.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the content of the disk is then unknown, and nothing may be written any more.
    pub(in crate::ledger) fn commit(&mut self, frame_len: usize) -> Result<(), LedgerError> {
        self.sync()?;
        self.end += frame_len as u64;
        Ok(())
    }

    fn cut(&mut self) -> Result<(), LedgerError> {
        let cut = self.segment.file.set_len(self.end);
        cut.map_err(|error| LedgerError::io("cannot cut", &self.segment.path, error))?;
        self.allocated = self.end;
        Ok(())
    }

    fn sync(&self) -> Result<(), LedgerError> {
        self.segment.file.sync_data().map_err(|error| LedgerError::io("cannot sync", &self.segment.path, error))
    }
}

/// State of the bytes behind the last good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Tail {
    /// Zeros or nothing.
    Clean,
    /// The rest of a frame whose write was cut off.
    Torn,
}

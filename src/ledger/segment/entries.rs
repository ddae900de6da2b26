//! Reading of single entries: waiting for the disk, or only from the system's memory.

use std::{
    fs::File,
    io::IoSliceMut,
    sync::{Arc, PoisonError},
};

use rustix::io::{ReadWriteFlags, preadv2};

use super::{
    ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES, Frame, Segment, SegmentFiles, overwrite::record_of, read_up_to, split_entry,
};
use crate::ledger::{LedgerError, Position, Resident};

/// Bytes fetched by the first read of an entry; most entries are shorter.
const ENTRY_READ_BYTES: usize = 512;
/// Maximum number of bytes fetched by one read of consecutive entries.
const ENTRIES_READ_BYTES: usize = 1 << 20;
/// Maximum length of a stored entry that is read without waiting, in bytes: copying and checking a longer one takes as
/// long as a read of the disk.
const RESIDENT_ENTRY_BYTES_MAX: usize = 16 << 10;

impl SegmentFiles {
    /// Reads the stored entry at a position and checks its checksum; for an erased entry, its redacted form.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if no entry lies there.
    pub(in crate::ledger) fn read_entry(&self, position: Position) -> Result<Vec<u8>, LedgerError> {
        let read = || self.resolve(self.read_unresolved(position)?, position);
        match read() {
            // The entry may be in the middle of being overwritten.
            Err(LedgerError::Damaged { .. }) => {
                let _still = self.overwriting.read().unwrap_or_else(PoisonError::into_inner);
                read()
            }
            read => read,
        }
    }

    /// Reads the bytes at a position: an entry, or the stub of an erased one.
    pub(super) fn read_unresolved(&self, position: Position) -> Result<Vec<u8>, LedgerError> {
        let (segment, offset) = self.place(position)?;
        let mut bytes = vec![0; ENTRY_READ_BYTES];
        let read = read_up_to(&segment.file, &mut bytes, offset);
        bytes.truncate(read.map_err(|error| LedgerError::io("cannot read", &segment.path, error))?);
        let end = segment.entry_end(&bytes, offset)?;
        if end > bytes.len() {
            let have = bytes.len();
            bytes.resize(end, 0);
            segment.read_exact(&mut bytes[have..], offset + have as u64)?;
        }
        bytes.truncate(end);
        segment.take_entry(bytes, offset)
    }

    /// Reads entries at consecutive positions, many with one read; stops after about [`ENTRIES_READ_BYTES`].
    ///
    /// # Errors
    ///
    /// As for [`SegmentFiles::read_entry`].
    pub(in crate::ledger) fn read_entries(&self, positions: &[Position]) -> Result<Vec<Vec<u8>>, LedgerError> {
        let Some(first) = positions.first() else { return Ok(Vec::new()) };
        let (segment, offset) = self.place(*first)?;
        let span = positions.last().map_or(0, |last| last.0 - first.0) + ENTRY_READ_BYTES as u64;
        let mut bytes = vec![0; usize::try_from(span).unwrap_or(usize::MAX).min(ENTRIES_READ_BYTES)];
        let read = read_up_to(&segment.file, &mut bytes, offset);
        bytes.truncate(read.map_err(|error| LedgerError::io("cannot read", &segment.path, error))?);
        let mut entries = Vec::with_capacity(positions.len());
        for position in positions {
            // An entry that is not whole in this read lies in the next segment, or is left to the next call.
            let here = usize::try_from(position.0 - first.0).ok().and_then(|start| bytes.get(start..));
            match here.and_then(split_entry).map(|(entry, _)| self.resolve(entry.into(), *position)) {
                Some(Ok(entry)) => entries.push(entry),
                _ if entries.is_empty() => return Ok(vec![self.read_entry(*position)?]),
                _ => break,
            }
        }
        Ok(entries)
    }

    /// As [`SegmentFiles::read_entry`], if the system holds the entry in memory and it is not long.
    ///
    /// # Errors
    ///
    /// As for [`SegmentFiles::read_entry`].
    pub(in crate::ledger) fn read_entry_resident(&self, position: Position) -> Result<Resident<Vec<u8>>, LedgerError> {
        let (segment, offset) = self.place(position)?;
        let mut bytes = vec![0; ENTRY_READ_BYTES];
        let have = read_resident(&segment.file, &mut bytes, offset);
        if have < ENTRY_HEADER_BYTES {
            return Ok(Resident::OnDisk);
        }
        let end = segment.entry_end(&bytes, offset)?;
        if end > RESIDENT_ENTRY_BYTES_MAX {
            return Ok(Resident::OnDisk);
        }
        bytes.resize(end, 0);
        if end > have && read_resident(&segment.file, &mut bytes[have..], offset + have as u64) < end - have {
            return Ok(Resident::OnDisk);
        }
        // An entry that cannot be read may be in the middle of being overwritten, and a redacted entry lies in another
        // file.
        let entry = segment.take_entry(bytes, offset).ok().filter(|entry| record_of(entry).is_none());
        Ok(entry.map_or(Resident::OnDisk, Resident::Here))
    }

    /// The entry, or its redacted form if `stored` is a stub.
    fn resolve(&self, stored: Vec<u8>, position: Position) -> Result<Vec<u8>, LedgerError> {
        match record_of(&stored) {
            None => Ok(stored),
            Some(record) => self.redactions.read(record, position),
        }
    }

    /// Looks up the redacted entries of a frame.
    pub(super) fn resolve_frame(&self, frame: &mut Frame) {
        let stub =
            |item: Result<(Position, &[u8]), _>| item.ok().and_then(|(at, stored)| Some((at, record_of(stored)?)));
        let stubs: Vec<(Position, u64)> = frame.entries().filter_map(stub).collect();
        let redacted = stubs.into_iter().map(|(at, record)| (at.0, self.redactions.read(record, at)));
        frame.redacted = redacted.collect();
    }

    /// Segment of a position, and the offset in its file.
    pub(super) fn place(&self, position: Position) -> Result<(Arc<Segment>, u64), LedgerError> {
        let outside = || LedgerError::damaged(&self.directory, &format!("hold no entry at position {position}"));
        let (segment, _) = self.find(position).ok_or_else(outside)?;
        let offset = position.0 - segment.base;
        Ok((segment, offset))
    }
}

impl Segment {
    /// Length of the stored entry, with its header, at the start of `bytes`; `offset` in the file is for errors.
    fn entry_end(&self, bytes: &[u8], offset: u64) -> Result<usize, LedgerError> {
        let len = bytes.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
        let len = len.filter(|len| *len <= ENTRY_BYTES_MAX).ok_or_else(|| self.no_entry(offset))?;
        Ok(ENTRY_HEADER_BYTES + len)
    }

    /// Removes the header of a stored entry, after a check of its checksum.
    fn take_entry(&self, mut stored: Vec<u8>, offset: u64) -> Result<Vec<u8>, LedgerError> {
        split_entry(&stored).ok_or_else(|| self.no_entry(offset))?;
        stored.drain(..ENTRY_HEADER_BYTES);
        Ok(stored)
    }

    fn no_entry(&self, offset: u64) -> LedgerError {
        LedgerError::damaged(&self.path, &format!("holds no whole entry at offset {offset}"))
    }
}

/// Reads from the system's memory, without waiting for a disk; returns the number of bytes read. Fewer bytes than asked
/// for mean: they are not in memory, or the file system cannot tell, or a read that waits will report the error.
fn read_resident(file: &File, bytes: &mut [u8], offset: u64) -> usize {
    preadv2(file, &mut [IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

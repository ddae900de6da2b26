//! Reading single entries: with a wait for the disk, or what the system holds in memory.

use std::{
    fs::File,
    io::IoSliceMut,
    sync::{Arc, PoisonError},
};

use rustix::io::{ReadWriteFlags, preadv2};

use super::{
    ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES, Frame, Segment, Segments, overwrite::record_of, read_up_to, split_entry,
};
use crate::ledger::{LedgerError, Position, Resident};

/// What one read of an entry fetches at first; most entries are shorter.
const ENTRY_READ_BYTES: usize = 512;
/// The most that one read of consecutive entries fetches, in bytes.
const ENTRIES_READ_BYTES: usize = 1 << 20;
/// The longest stored entry that is read without waiting, in bytes: to copy and check a longer one takes as long as a disk.
const RESIDENT_ENTRY_BYTES_MAX: usize = 16 << 10;

impl Segments {
    /// Reads the stored entry at a position and checks its checksum; of one that was erased, what is left.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], or [`LedgerError::Damaged`] when no entry lies there.
    pub(in crate::ledger) fn read_entry(&self, position: Position) -> Result<Vec<u8>, LedgerError> {
        let read = || self.resolve(self.read_unresolved(position)?, position);
        match read() {
            // It may be overwritten at this moment.
            Err(LedgerError::Damaged { .. }) => {
                let _still = self.overwriting.read().unwrap_or_else(PoisonError::into_inner);
                read()
            }
            read => read,
        }
    }

    /// What lies at a position: an entry, or the stub of one that was erased.
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

    /// Reads entries whose positions follow on each other, many with one read; stops after about [`ENTRIES_READ_BYTES`].
    ///
    /// # Errors
    ///
    /// As for [`Segments::read_entry`].
    pub(in crate::ledger) fn read_entries(&self, positions: &[Position]) -> Result<Vec<Vec<u8>>, LedgerError> {
        let Some(first) = positions.first() else { return Ok(Vec::new()) };
        let (segment, offset) = self.place(*first)?;
        let span = positions.last().map_or(0, |last| last.0 - first.0) + ENTRY_READ_BYTES as u64;
        let mut bytes = vec![0; usize::try_from(span).unwrap_or(usize::MAX).min(ENTRIES_READ_BYTES)];
        let read = read_up_to(&segment.file, &mut bytes, offset);
        bytes.truncate(read.map_err(|error| LedgerError::io("cannot read", &segment.path, error))?);
        let mut entries = Vec::with_capacity(positions.len());
        for position in positions {
            // What the one read does not hold whole lies in the next segment, or waits for the next call.
            let here = usize::try_from(position.0 - first.0).ok().and_then(|start| bytes.get(start..));
            match here.and_then(split_entry).map(|(entry, _)| self.resolve(entry.into(), *position)) {
                Some(Ok(entry)) => entries.push(entry),
                _ if entries.is_empty() => return Ok(vec![self.read_entry(*position)?]),
                _ => break,
            }
        }
        Ok(entries)
    }

    /// As [`Segments::read_entry`], if the system holds the entry in memory and it is not long.
    ///
    /// # Errors
    ///
    /// As for [`Segments::read_entry`].
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
        // What cannot be read may be overwritten at this moment, and what is left of an erased entry lies elsewhere.
        let entry = segment.take_entry(bytes, offset).ok().filter(|entry| record_of(entry).is_none());
        Ok(entry.map_or(Resident::OnDisk, Resident::Here))
    }

    /// The entry, or what is left of it when a stub lies in its place.
    fn resolve(&self, stored: Vec<u8>, position: Position) -> Result<Vec<u8>, LedgerError> {
        match record_of(&stored) {
            None => Ok(stored),
            Some(record) => self.redactions.read(record, position),
        }
    }

    /// Looks up what is left of the erased entries of a frame.
    pub(super) fn resolve_frame(&self, frame: &mut Frame) {
        let stub =
            |item: Result<(Position, &[u8]), _>| item.ok().and_then(|(at, stored)| Some((at, record_of(stored)?)));
        let stubs: Vec<(Position, u64)> = frame.entries().filter_map(stub).collect();
        let redacted = stubs.into_iter().map(|(at, record)| (at.0, self.redactions.read(record, at)));
        frame.redacted = redacted.collect();
    }

    /// The segment that a position lies in, and where in its file.
    pub(super) fn place(&self, position: Position) -> Result<(Arc<Segment>, u64), LedgerError> {
        let outside = || LedgerError::damaged(&self.directory, &format!("hold no entry at position {position}"));
        let (segment, _) = self.find(position).ok_or_else(outside)?;
        let offset = position.0 - segment.base;
        Ok((segment, offset))
    }
}

impl Segment {
    /// Where the stored entry ends that these bytes, from this offset in the file, begin with.
    fn entry_end(&self, bytes: &[u8], offset: u64) -> Result<usize, LedgerError> {
        let len = bytes.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
        let len = len.filter(|len| *len <= ENTRY_BYTES_MAX).ok_or_else(|| self.no_entry(offset))?;
        Ok(ENTRY_HEADER_BYTES + len)
    }

    /// The entry in its stored form, whose checksum has to be right.
    fn take_entry(&self, mut stored: Vec<u8>, offset: u64) -> Result<Vec<u8>, LedgerError> {
        split_entry(&stored).ok_or_else(|| self.no_entry(offset))?;
        stored.drain(..ENTRY_HEADER_BYTES);
        Ok(stored)
    }

    fn no_entry(&self, offset: u64) -> LedgerError {
        LedgerError::damaged(&self.path, &format!("holds no whole entry at offset {offset}"))
    }
}

/// Reads what the system holds in memory, without waiting for a disk; returns how much that was. It may be less than
/// there is: then it is not in memory, or the file system cannot tell, or a read that waits will say what is wrong.
fn read_resident(file: &File, bytes: &mut [u8], offset: u64) -> usize {
    preadv2(file, &mut [IoSliceMut::new(bytes)], offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

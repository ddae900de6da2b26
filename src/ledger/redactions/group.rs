//! Groups: the redactions of one erasure, written before it counts, and read again if it was cut off.

use std::{
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering},
};

use super::{HEADER_BYTES, RecordHead, Redactions, header, long, word};
use crate::ledger::{LedgerError, Position};

pub(super) const GROUP_MAGIC: &[u8; 4] = b"TMRG";
pub(super) const GROUP_HEAD_BYTES: usize = 24;
pub(super) const END_MAGIC: &[u8; 4] = b"TMRE";
pub(super) const END_BYTES: usize = 16;
/// Size at which the buffer is written, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A redacted entry on its way into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Redaction {
    /// Position of the entry.
    pub(in crate::ledger) position: Position,
    /// Position of its frame.
    pub(in crate::ledger) frame: Position,
    /// Offset of the record that this one replaces.
    pub(in crate::ledger) replaced: Option<u64>,
    /// Length of the entry in its segment, in bytes.
    pub(in crate::ledger) entry_len: u32,
    /// The redacted entry in its stored form.
    pub(in crate::ledger) bytes: Vec<u8>,
}

/// The records of one erasure, whole and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Group {
    /// Index of the erase entry.
    pub(in crate::ledger) erase: u64,
    /// Position of the frame that the erase entry begins.
    pub(in crate::ledger) frame: Position,
    start: u64,
    end: u64,
}

impl Group {
    /// Size of the group, in bytes.
    pub(in crate::ledger) fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// State of the file behind the groups that are done.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Pending {
    /// Nothing lies there.
    Nothing,
    /// A whole group: it counts if its erase entry is in the ledger.
    Group(Group),
    /// Bytes of a group that was never finished, or is damaged.
    Torn {
        /// Number of bytes.
        bytes: u64,
        /// Index and frame of the erase entry, if they can be read.
        erase: Option<(u64, Position)>,
    },
}

impl Redactions {
    /// Writes a new header if the old one is damaged: every group is then done again, which changes nothing. Only
    /// allowed if every group is whole and counts; otherwise a group could be cut that counts.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if a group is not whole or does not count; nothing is changed
    /// then.
    pub(in crate::ledger) fn mend_header(
        &self,
        counts: impl Fn(u64, Position) -> Result<bool, LedgerError>,
    ) -> Result<(), LedgerError> {
        if self.noted()?.is_some() {
            return Ok(());
        }
        let (mut at, len) = (HEADER_BYTES, self.len()?);
        while at < len {
            let counted = match self.group_head(at)? {
                Some((erase, frame)) => counts(erase, frame)?,
                None => false,
            };
            let end = if counted { self.group_end(at)? } else { None };
            at = end.ok_or_else(|| {
                self.damaged(&format!("has a wrong header, and no whole group at offset {at}: restore it from a copy"))
            })?;
        }
        self.set_done(HEADER_BYTES)
    }

    /// The first group that is not known to be done.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the header is damaged.
    pub(in crate::ledger) fn pending(&self) -> Result<Pending, LedgerError> {
        let (start, len) = (self.done()?, self.len()?);
        if start >= len {
            return Ok(Pending::Nothing);
        }
        let erase = self.group_head(start)?;
        let end = if erase.is_some() { self.group_end(start)? } else { None };
        Ok(match erase.zip(end) {
            Some(((erase, frame), end)) => Pending::Group(Group { erase, frame, start, end }),
            None => Pending::Torn { bytes: len - start, erase },
        })
    }

    /// Cuts everything behind the groups that are done.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the header is damaged, and nothing is cut then.
    pub(in crate::ledger) fn cut_pending(&self) -> Result<(), LedgerError> {
        self.cut(self.done()?)?;
        if self.len()? > HEADER_BYTES { self.sync() } else { Ok(()) }
    }

    /// The records of a group, in order.
    pub(in crate::ledger) fn records(&self, group: &Group) -> impl Iterator<Item = Result<RecordHead, LedgerError>> {
        let (mut at, end) = (group.start + GROUP_HEAD_BYTES as u64, group.end - END_BYTES as u64);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let head = self
                .head(at)
                .and_then(|head| head.ok_or_else(|| self.damaged(&format!("holds no whole record at offset {at}"))));
            at = head.as_ref().map_or(end, RecordHead::end);
            Some(head)
        })
    }

    /// Destroys the records that those of a group replace, and notes that the group is done.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; the group is not done then.
    pub(in crate::ledger) fn finish(&self, group: &Group) -> Result<(), LedgerError> {
        let mut replaced = 0;
        for record in self.records(group) {
            let record = record?;
            if let Some(before) = record.replaced {
                self.destroy(before, record.position)?;
                replaced += 1;
            }
        }
        if replaced > 0 {
            // The note must not reach the disk before the zeros.
            self.sync()?;
        }
        self.set_done(group.end)?;
        self.finished.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Checks every byte of the file.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] names the first bad place.
    pub(in crate::ledger) fn check(&self) -> Result<(), LedgerError> {
        let Some(file) = self.file.get() else { return Ok(()) };
        let mut head = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut head, 0).map_err(|error| self.io("cannot read", error))?;
        let done = self.done()?;
        if head != header(done) {
            return Err(self.damaged("has a wrong header"));
        }
        let mut at = HEADER_BYTES;
        while at < done {
            let end = if self.group_head(at)?.is_some() { self.group_end(at)? } else { None };
            at = end.ok_or_else(|| self.damaged(&format!("holds no whole group at offset {at}")))?;
        }
        if at == done { Ok(()) } else { Err(self.damaged("has a group that ends elsewhere than its header says")) }
    }

    /// Index and frame of the erase entry of the group at an offset; `None` if no whole head is there.
    fn group_head(&self, at: u64) -> Result<Option<(u64, Position)>, LedgerError> {
        let mut head = [0; GROUP_HEAD_BYTES];
        let whole =
            self.fill(&mut head, at)? && &head[..4] == GROUP_MAGIC && crc32c::crc32c(&head[8..]) == word(&head, 4);
        Ok(whole.then(|| (long(&head, 8), Position(long(&head, 16)))))
    }

    /// Offset of the end of the group at an offset; `None` if the group is not whole.
    fn group_end(&self, start: u64) -> Result<Option<u64>, LedgerError> {
        let (mut at, mut count) = (start + GROUP_HEAD_BYTES as u64, 0);
        loop {
            let mut end = [0; END_BYTES];
            if !self.fill(&mut end, at)? {
                return Ok(None);
            }
            if &end[..4] == END_MAGIC {
                let whole = crc32c::crc32c(&end[8..]) == word(&end, 4) && long(&end, 8) == count;
                return Ok(whole.then_some(at + END_BYTES as u64));
            }
            let Some(head) = self.head(at)? else { return Ok(None) };
            if self.bytes(&head)?.is_none() {
                return Ok(None);
            }
            at = head.end();
            count += 1;
        }
    }
}

/// Writes a group, piece by piece.
#[derive(Debug)]
pub(in crate::ledger) struct GroupWriter {
    redactions: Arc<Redactions>,
    group: Group,
    /// Bytes that are not written yet; they follow on `group.end`.
    buffer: Vec<u8>,
    count: u64,
}

impl GroupWriter {
    /// Begins the group of an erase entry behind the groups that are done; an unfinished group there is cut.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the header is damaged, and nothing is cut then.
    pub(in crate::ledger) fn begin(
        redactions: Arc<Redactions>,
        erase: u64,
        frame: Position,
    ) -> Result<Self, LedgerError> {
        redactions.made()?;
        let start = redactions.done()?;
        redactions.cut(start)?;
        let mut head = [0; GROUP_HEAD_BYTES];
        head[..4].copy_from_slice(GROUP_MAGIC);
        head[8..16].copy_from_slice(&erase.to_le_bytes());
        head[16..24].copy_from_slice(&frame.0.to_le_bytes());
        let checksum = crc32c::crc32c(&head[8..]);
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        let group = Group { erase, frame, start, end: start };
        Ok(Self { redactions, group, buffer: head.into(), count: 0 })
    }

    /// Adds a redaction.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(in crate::ledger) fn push(&mut self, redaction: &Redaction) -> Result<(), LedgerError> {
        let Redaction { position, frame, replaced, entry_len, bytes } = redaction;
        let head = RecordHead {
            at: 0,
            position: *position,
            frame: *frame,
            replaced: *replaced,
            entry_len: *entry_len,
            len: bytes.len(),
            destroyed: false,
            checksum: 0,
        };
        self.buffer.extend_from_slice(&head.encode(bytes));
        self.buffer.extend_from_slice(bytes);
        self.count += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes the rest of the group and its end.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(in crate::ledger) fn end(&mut self) -> Result<Group, LedgerError> {
        let mut end = [0; END_BYTES];
        end[..4].copy_from_slice(END_MAGIC);
        end[8..].copy_from_slice(&self.count.to_le_bytes());
        let checksum = crc32c::crc32c(&end[8..]);
        end[4..8].copy_from_slice(&checksum.to_le_bytes());
        self.buffer.extend_from_slice(&end);
        self.write()?;
        Ok(self.group)
    }

    /// Makes the group durable.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the content of the disk is then unknown.
    pub(in crate::ledger) fn sync(&self) -> Result<(), LedgerError> {
        self.redactions.sync()
    }

    fn write(&mut self) -> Result<(), LedgerError> {
        let written = self.redactions.made()?.write_all_at(&self.buffer, self.group.end);
        written.map_err(|error| self.redactions.io("cannot write", error))?;
        self.group.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(position: u64, replaced: Option<u64>) -> Redaction {
        let bytes = format!("left of {position}").into_bytes();
        Redaction { position: Position(position), frame: Position(32), replaced, entry_len: 60, bytes }
    }

    fn write(redactions: &Arc<Redactions>, erase: u64, list: &[Redaction]) -> Group {
        let mut writer = GroupWriter::begin(Arc::clone(redactions), erase, Position(900 + erase)).unwrap();
        list.iter().for_each(|redaction| writer.push(redaction).unwrap());
        let group = writer.end().unwrap();
        writer.sync().unwrap();
        group
    }

    #[test]
    fn groups_come_back_until_they_are_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redactions");
        let redactions = Arc::new(Redactions::open(&path).unwrap());
        assert_eq!(redactions.pending().unwrap(), Pending::Nothing);
        let first = write(&redactions, 7, &[redaction(96, None), redaction(200, None)]);
        let redactions = Arc::new(Redactions::open(&path).unwrap());
        assert_eq!(redactions.pending().unwrap(), Pending::Group(first));
        let heads: Vec<_> = redactions.records(&first).map(Result::unwrap).collect();
        assert_eq!(heads.iter().map(|head| head.position.0).collect::<Vec<_>>(), [96, 200]);
        redactions.finish(&first).unwrap();
        assert_eq!(redactions.pending().unwrap(), Pending::Nothing);

        let second = write(&redactions, 8, &[redaction(200, Some(heads[1].at))]);
        let newer = redactions.records(&second).next().unwrap().unwrap();
        assert_eq!(redactions.read(heads[1].at, Position(200)).unwrap(), b"left of 200");
        redactions.finish(&second).unwrap();
        assert!(redactions.read(heads[1].at, Position(200)).is_err(), "destroyed");
        assert_eq!(redactions.read(newer.at, Position(200)).unwrap(), b"left of 200");
        assert!(redactions.read(newer.at, Position(96)).is_err(), "another entry's");
        redactions.check().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let copies = bytes.windows(11).filter(|window| window == b"left of 200").count();
        assert_eq!(copies, 1);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let found = Redactions::open(&path).and_then(|redactions| redactions.check());
            assert!(found.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn nothing_is_cut_when_the_header_does_not_say_what_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redactions");
        let redactions = Arc::new(Redactions::open(&path).unwrap());
        for erase in [7, 8] {
            let group = write(&redactions, erase, &[redaction(96 * erase, None)]);
            redactions.finish(&group).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(GroupWriter::begin(Arc::clone(&redactions), 9, Position(909)).is_err());
        assert!(redactions.cut_pending().is_err() && redactions.pending().is_err());
        assert!(redactions.mend_header(|erase, _| Ok(erase == 7)).is_err(), "one does not count");
        let second = HEADER_BYTES as usize + (bytes.len() - HEADER_BYTES as usize) / 2;
        for bad in [HEADER_BYTES as usize, second] {
            let mut bytes = bytes.clone();
            bytes[bad] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(redactions.mend_header(|_, _| Ok(true)).is_err(), "byte {bad}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        std::fs::write(&path, &bytes).unwrap();
        redactions.mend_header(|_, _| Ok(true)).unwrap();
        for erase in [7, 8] {
            let Pending::Group(group) = redactions.pending().unwrap() else { panic!("group {erase} is done again") };
            assert_eq!(group.erase, erase);
            redactions.finish(&group).unwrap();
        }
        bytes[9] ^= 1;
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_group_that_was_cut_off_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redactions");
        let redactions = Arc::new(Redactions::open(&path).unwrap());
        let first = write(&redactions, 7, &[redaction(96, None)]);
        redactions.finish(&first).unwrap();
        let done = std::fs::metadata(&path).unwrap().len();
        write(&redactions, 8, &[redaction(200, None)]);
        let bytes = std::fs::read(&path).unwrap();
        for end in done as usize..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let redactions = Redactions::open(&path).unwrap();
            let erase = (end >= done as usize + GROUP_HEAD_BYTES).then_some((8, Position(908)));
            let expected = match end as u64 - done {
                0 => Pending::Nothing,
                bytes => Pending::Torn { bytes, erase },
            };
            assert_eq!(redactions.pending().unwrap(), expected, "cut at {end}");
            redactions.cut_pending().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), done);
        }
        for end in 0..HEADER_BYTES as usize {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let redactions = Arc::new(Redactions::open(&path).unwrap());
            assert_eq!(redactions.pending().unwrap(), Pending::Nothing, "never used");
            write(&redactions, 9, &[redaction(1, None)]);
        }
    }
}

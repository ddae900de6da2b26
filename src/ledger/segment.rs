//! Segments: the files that hold the ledger's entries, one checksummed frame for each batch.
//!
//! ```text
//! segment = header · frame · frame · … · zeros        file name: base position, 20 digits, `.seg`
//! header  = "TMSEG/1\n" · base position · first entry index · 4 zero bytes · CRC-32C of the 28 bytes before   (u64, LE)
//! frame   = "TMF1" · CRC-32C of everything after this field (u32) · body length (u32) · entry count (u32)
//!           · first entry index (u64) · time of the last entry, ms (u64) · tree root after the frame (32 bytes) · body
//! body    = { entry length (u32) · CRC-32C of the entry (u32) · stored entry (`entry`) }
//! ```
//!
//! A position is the base of a segment plus an offset into it; the base of a segment is the end of the one before, so
//! positions increase through the whole ledger. A frame is written, then synced, then counts. The tail of the newest
//! segment is written with zeros ahead of need, so that a small frame's sync changes no metadata (about half the time
//! on the disks this was measured on).
//!
//! An erased entry is overwritten by a stub of its length, which leads to the redacted entry (`redactions`); reading an
//! entry returns that one.
//!
//! A torn frame can only be the last one: nothing is written behind a frame before its sync returned. Bad bytes with a
//! good frame behind them, or in an older segment, are damage, and nothing is cut.

mod entries;
mod overwrite;
mod writer;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use crate::tlog::Hash;
pub(super) use overwrite::Overwritten;
pub(super) use writer::{SegmentWriter, Tail};

use super::{LedgerError, Position, redactions::Redactions};

/// Length at which a new segment begins, in bytes.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Maximum length of the body of a frame, in bytes: a batch of 16 MiB of commands fits several times.
pub(super) const BODY_BYTES_MAX: usize = 128 << 20;
/// Length of the zeros written ahead, in bytes.
const PREWRITE_BYTES: u64 = 4 << 20;
/// Maximum length of a stored entry, in bytes: a record of 1 MiB, its edges and its overhead.
pub const ENTRY_BYTES_MAX: usize = 2 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"TMSEG/1\n";
const SEGMENT_HEADER_BYTES: usize = 32;
const FRAME_MAGIC: &[u8; 4] = b"TMF1";
/// Bytes before the body of a frame.
pub(super) const FRAME_HEADER_BYTES: usize = 64;
/// Bytes before each entry of a body.
pub(super) const ENTRY_HEADER_BYTES: usize = 8;

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FrameInfo {
    /// Number of entries.
    pub(super) count: u32,
    /// Index of the first entry.
    pub(super) first_index: u64,
    /// Time of the last entry, in milliseconds since 1970 UTC.
    pub(super) last_time_ms: u64,
    /// Root of the tree with these entries.
    pub(super) root: Hash,
}

/// A frame under construction: begin, push entries, finish.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// Starts a new frame; the memory is kept.
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEADER_BYTES, 0);
    }

    /// Offset of the next entry from the frame's start.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the entry that `put` writes.
    pub(super) fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.resize(start + ENTRY_HEADER_BYTES, 0);
        put(&mut self.bytes);
        let entry = &self.bytes[start + ENTRY_HEADER_BYTES..];
        let header = entry_header(entry.len(), crc32c::crc32c(entry));
        self.bytes[start..start + ENTRY_HEADER_BYTES].copy_from_slice(&header);
    }

    /// Takes back the entries behind an offset that [`FrameBuffer::len`] returned before they were pushed.
    pub(super) fn rewind(&mut self, len: usize) {
        self.bytes.truncate(len.max(FRAME_HEADER_BYTES));
    }

    /// The stored entry at an offset that [`FrameBuffer::len`] returned before it was pushed.
    pub(super) fn entry(&self, offset: usize) -> Option<&[u8]> {
        split_entry(self.bytes.get(offset..)?).map(|(entry, _)| entry)
    }

    /// Fills in the header; returns the frame, ready to be written.
    pub(super) fn finish(&mut self, info: &FrameInfo) -> &[u8] {
        let body_len = (self.bytes.len() - FRAME_HEADER_BYTES) as u32;
        let header = &mut self.bytes[..FRAME_HEADER_BYTES];
        header[..4].copy_from_slice(FRAME_MAGIC);
        header[8..12].copy_from_slice(&body_len.to_le_bytes());
        header[12..16].copy_from_slice(&info.count.to_le_bytes());
        header[16..24].copy_from_slice(&info.first_index.to_le_bytes());
        header[24..32].copy_from_slice(&info.last_time_ms.to_le_bytes());
        header[32..64].copy_from_slice(&info.root.0);
        let checksum = crc32c::crc32c(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

fn entry_header(len: usize, checksum: u32) -> [u8; ENTRY_HEADER_BYTES] {
    let mut header = [0; ENTRY_HEADER_BYTES];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Splits the first entry off, if its length and checksum are right.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    (crc32c::crc32c(entry) == u32::from_le_bytes(*checksum)).then_some((entry, rest))
}

/// A frame that was read and whose checksum is right.
#[derive(Debug)]
pub(super) struct Frame {
    /// Header of the frame.
    pub(super) info: FrameInfo,
    /// Position of the frame.
    pub(super) position: Position,
    bytes: Vec<u8>,
    /// Redacted entries of the frame, by position.
    redacted: BTreeMap<u64, Result<Vec<u8>, LedgerError>>,
}

/// Error of reading an entry of a frame.
#[derive(Debug)]
pub(super) enum BadEntry {
    /// The checksum is wrong.
    Checksum,
    /// The entry was erased, and its redacted form cannot be read: in words.
    Redaction(String),
}

impl Frame {
    /// Position of the next frame, if it lies in the same segment.
    pub(super) fn end(&self) -> Position {
        Position(self.position.0 + self.bytes.len() as u64)
    }

    /// The stored entries with their positions. The iterator ends behind an entry whose checksum is wrong.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<(Position, &[u8]), BadEntry>> {
        let mut rest = &self.bytes[FRAME_HEADER_BYTES..];
        let mut failed = false;
        std::iter::from_fn(move || {
            if rest.is_empty() || failed {
                return None;
            }
            let position = Position(self.position.0 + (self.bytes.len() - rest.len()) as u64);
            let Some((entry, behind)) = split_entry(rest) else {
                failed = true;
                return Some(Err(BadEntry::Checksum));
            };
            rest = behind;
            Some(match self.redacted.get(&position.0) {
                None => Ok((position, entry)),
                Some(Ok(redacted)) => Ok((position, redacted)),
                Some(Err(error)) => Err(BadEntry::Redaction(error.to_string())),
            })
        })
    }
}

/// Result of a scan at a position where a frame may begin.
#[derive(Debug)]
pub(super) enum Scanned {
    /// A frame.
    Frame(Frame),
    /// The end of the ledger, at this position.
    End(Position),
    /// Bytes that are no frame, with no good frame behind them, at the very end of the ledger.
    Torn {
        /// Position of the end of the last good frame.
        end: Position,
        /// Number of bytes behind it, without zero padding.
        bytes: u64,
    },
}

#[derive(Debug)]
struct Segment {
    base: u64,
    path: PathBuf,
    file: File,
}

impl Segment {
    fn len(&self) -> Result<u64, LedgerError> {
        Ok(self.file.metadata().map_err(|error| LedgerError::io("cannot read", &self.path, error))?.len())
    }

    fn read_exact(&self, bytes: &mut [u8], offset: u64) -> Result<(), LedgerError> {
        self.file.read_exact_at(bytes, offset).map_err(|error| LedgerError::io("cannot read", &self.path, error))
    }
}

/// All segments of a ledger, for reading; safe to use from any thread while the ledger grows.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    directory: PathBuf,
    list: RwLock<Vec<Arc<Segment>>>,
    redactions: Arc<Redactions>,
    /// Held for writing while entries of a frame are overwritten; a reader that found torn bytes reads again under this
    /// lock.
    overwriting: RwLock<()>,
}

impl SegmentFiles {
    /// Opens the segments in a directory, or creates the first one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if a header is wrong or a segment is missing.
    pub(super) fn open(directory: &Path, redactions: Redactions) -> Result<Self, LedgerError> {
        std::fs::create_dir_all(directory).map_err(|error| LedgerError::io("cannot create", directory, error))?;
        let mut bases = Vec::new();
        for item in std::fs::read_dir(directory).map_err(|error| LedgerError::io("cannot list", directory, error))? {
            let item = item.map_err(|error| LedgerError::io("cannot list", directory, error))?;
            let name = item.file_name();
            let base = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|digits| digits.len() == 20);
            match base.and_then(|digits| digits.parse::<u64>().ok()) {
                Some(base) => bases.push(base),
                None => return Err(LedgerError::damaged(&item.path(), "is not a segment of this ledger")),
            }
        }
        bases.sort_unstable();
        let segments = Self {
            directory: directory.into(),
            list: RwLock::default(),
            redactions: Arc::new(redactions),
            overwriting: RwLock::default(),
        };
        if bases.is_empty() {
            segments.create(0, 0)?;
        }
        for base in bases {
            segments.open_one(base)?;
        }
        Ok(segments)
    }

    fn open_one(&self, base: u64) -> Result<(), LedgerError> {
        let path = self.path(base);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| LedgerError::io("cannot open", &path, error))?;
        let segment = Segment { base, path, file };
        let mut header = [0; SEGMENT_HEADER_BYTES];
        segment.read_exact(&mut header, 0)?;
        let first_index = u64::from_le_bytes([
            header[16], header[17], header[18], header[19], header[20], header[21], header[22], header[23],
        ]);
        if header != segment_header(base, first_index) {
            return Err(LedgerError::damaged(&segment.path, "has a wrong header"));
        }
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = list.last()
            && before.base + before.len()? != base
        {
            return Err(LedgerError::damaged(&segment.path, "does not follow on the segment before"));
        }
        if list.is_empty() && base != 0 {
            return Err(LedgerError::damaged(&segment.path, "is the oldest segment, and the ledger began before it"));
        }
        list.push(Arc::new(segment));
        Ok(())
    }

    fn path(&self, base: u64) -> PathBuf {
        self.directory.join(format!("{base:020}.seg"))
    }

    /// Creates an empty segment and makes it durable: file, header, directory entry.
    fn create(&self, base: u64, first_index: u64) -> Result<Arc<Segment>, LedgerError> {
        let path = self.path(base);
        let create = || -> io::Result<File> {
            // A crash between creating and syncing may have left a file without a header.
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            file.write_all_at(&segment_header(base, first_index), 0)?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|error| {
            // An unfinished segment would be taken for a damaged one at the next start.
            let _ = std::fs::remove_file(&path);
            LedgerError::io("cannot create", &path, error)
        })?;
        let segment = Arc::new(Segment { base, path, file });
        self.list.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&segment));
        Ok(segment)
    }

    fn find(&self, position: Position) -> Option<(Arc<Segment>, bool)> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let after = list.partition_point(|segment| segment.base <= position.0);
        let segment = list.get(after.checked_sub(1)?)?;
        Some((Arc::clone(segment), after == list.len()))
    }

    /// Redacted entries, in place of erased ones.
    pub(super) fn redactions(&self) -> &Arc<Redactions> {
        &self.redactions
    }

    fn newest(&self) -> Option<Arc<Segment>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Size of all segments, in bytes.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(super) fn bytes(&self) -> Result<u64, LedgerError> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.last().map_or(Ok(0), |newest| Ok(newest.base + newest.len()?))
    }

    /// Position of the first frame.
    pub(super) fn first() -> Position {
        Position(SEGMENT_HEADER_BYTES as u64)
    }

    /// Finds the damage at a position where [`SegmentFiles::scan`] finds no whole frame.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(super) fn bad_frame(&self, position: Position) -> Result<BadFrame, LedgerError> {
        let outside = || LedgerError::damaged(&self.directory, &format!("end before position {position}"));
        let (segment, _) = self.find(position).ok_or_else(outside)?;
        let start = position.0 - segment.base + FRAME_HEADER_BYTES as u64;
        let mut bytes = vec![0; segment.len()?.saturating_sub(start).min(BODY_BYTES_MAX as u64) as usize];
        segment.read_exact(&mut bytes, start)?;
        let mut rest = bytes.as_slice();
        for entry in 0.. {
            // Behind the frame there is padding, the next frame, or nothing.
            let ends = rest.is_empty() || rest.starts_with(&[0; ENTRY_HEADER_BYTES]) || rest.starts_with(FRAME_MAGIC);
            match split_entry(rest) {
                _ if ends => break,
                Some((_, behind)) => rest = behind,
                None => return Ok(BadFrame { path: segment.path.clone(), entry: Some(entry) }),
            }
        }
        Ok(BadFrame { path: segment.path.clone(), entry: None })
    }

    /// Reads the frame at a position, which must be that of a frame or of the end.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if bad bytes lie there that cannot be a torn tail.
    pub(super) fn scan(&self, position: Position) -> Result<Scanned, LedgerError> {
        let outside = || LedgerError::damaged(&self.directory, &format!("end before position {position}"));
        let (segment, newest) = self.find(position).ok_or_else(outside)?;
        let offset = position.0 - segment.base;
        let len = segment.len()?;
        if offset < SEGMENT_HEADER_BYTES as u64 {
            return self.scan(Position(segment.base + SEGMENT_HEADER_BYTES as u64));
        }
        if offset > len {
            return Err(outside());
        }
        if let Some(mut frame) = read_frame(&segment, offset, len)? {
            self.resolve_frame(&mut frame);
            return Ok(Scanned::Frame(frame));
        }
        let mut rest = vec![0; (len - offset) as usize];
        segment.read_exact(&mut rest, offset)?;
        let padding = rest.iter().rev().take_while(|&&byte| byte == 0).count();
        let bytes = (rest.len() - padding) as u64;
        match (newest, bytes) {
            (true, 0) => Ok(Scanned::End(position)),
            (true, _) if !holds_frame(&segment, offset + 1, len, &rest)? => Ok(Scanned::Torn { end: position, bytes }),
            _ => Err(LedgerError::damaged(&segment.path, &format!("holds no whole frame at offset {offset}"))),
        }
    }
}

/// Damage in a frame.
#[derive(Debug)]
pub(super) struct BadFrame {
    /// Path of the file.
    pub(super) path: PathBuf,
    /// Number of the first bad entry, counted from 0 in the frame; `None` if only the frame's header is bad.
    pub(super) entry: Option<u64>,
}

/// Reads the frame at an offset; `None` if its header, length or checksum is wrong.
fn read_frame(segment: &Segment, offset: u64, len: u64) -> Result<Option<Frame>, LedgerError> {
    if len - offset < FRAME_HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    segment.read_exact(&mut bytes, offset)?;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let (checksum, body_len, count) = (word(4), word(8) as usize, word(12));
    let fits = body_len <= BODY_BYTES_MAX && (body_len as u64) <= len - offset - FRAME_HEADER_BYTES as u64;
    if &bytes[..4] != FRAME_MAGIC || !fits || count == 0 {
        return Ok(None);
    }
    let mut root = Hash::default();
    root.0.copy_from_slice(&bytes[32..64]);
    let info = FrameInfo { count, first_index: long(16), last_time_ms: long(24), root };
    bytes.resize(FRAME_HEADER_BYTES + body_len, 0);
    segment.read_exact(&mut bytes[FRAME_HEADER_BYTES..], offset + FRAME_HEADER_BYTES as u64)?;
    let right = crc32c::crc32c(&bytes[8..]) == checksum;
    let redacted = BTreeMap::new();
    Ok(right.then_some(Frame { info, position: Position(segment.base + offset), bytes, redacted }))
}

/// True if a whole frame begins anywhere from `from` on; `rest` are the bytes from the one before `from`.
fn holds_frame(segment: &Segment, from: u64, len: u64, rest: &[u8]) -> Result<bool, LedgerError> {
    for (at, _) in rest.windows(4).enumerate().skip(1).filter(|(_, window)| window == FRAME_MAGIC) {
        if read_frame(segment, from - 1 + at as u64, len)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(&mut bytes[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

fn segment_header(base: u64, first_index: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..16].copy_from_slice(&base.to_le_bytes());
    header[16..24].copy_from_slice(&first_index.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&checksum.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Resident;

    fn open(directory: &Path) -> Result<SegmentFiles, LedgerError> {
        SegmentFiles::open(directory, Redactions::open(&directory.with_extension("redactions"))?)
    }

    struct Files {
        directory: tempfile::TempDir,
        segments: Arc<SegmentFiles>,
        writer: SegmentWriter,
        positions: Vec<(Position, Vec<u8>)>,
        next_index: u64,
    }

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let segments = Arc::new(open(directory.path()).unwrap());
            let writer = SegmentWriter::new(Arc::clone(&segments), SegmentFiles::first(), Tail::Clean).unwrap();
            Self { directory, segments, writer, positions: Vec::new(), next_index: 0 }
        }

        fn frame(&self, entries: &[Vec<u8>]) -> FrameBuffer {
            let mut frame = FrameBuffer::default();
            frame.begin();
            entries.iter().for_each(|entry| frame.push(|out| out.extend_from_slice(entry)));
            frame.finish(&FrameInfo {
                count: entries.len() as u32,
                first_index: self.next_index,
                last_time_ms: 7,
                root: Hash([9; 32]),
            });
            frame
        }

        fn append(&mut self, entries: &[Vec<u8>]) {
            let start = self.writer.begin(self.next_index).unwrap();
            let frame = self.frame(entries);
            let mut offset = FRAME_HEADER_BYTES as u64;
            for entry in entries {
                self.positions.push((Position(start.0 + offset), entry.clone()));
                offset += (ENTRY_HEADER_BYTES + entry.len()) as u64;
            }
            self.writer.write(&frame.bytes).unwrap();
            self.writer.commit(frame.bytes.len()).unwrap();
            self.next_index += entries.len() as u64;
        }

        fn newest_path(&self) -> PathBuf {
            self.segments.newest().unwrap().path.clone()
        }

        /// Opens everything again, and compares all entries with those appended.
        fn check(&self) -> Scanned {
            let segments = open(self.directory.path()).unwrap();
            let (mut position, mut found) = (SegmentFiles::first(), Vec::new());
            let end = loop {
                match segments.scan(position).unwrap() {
                    Scanned::Frame(frame) => {
                        found.extend(frame.entries().map(|entry| {
                            let (position, bytes) = entry.unwrap();
                            (position, bytes.to_vec())
                        }));
                        position = frame.end();
                    }
                    end => break end,
                }
            };
            assert!(found == self.positions, "scanned entries are the appended ones");
            for (position, entry) in &self.positions {
                assert!(segments.read_entry(*position).unwrap() == *entry, "entry at {position}");
                // If the file system cannot tell what is in memory, nothing is.
                if let Resident::Here(resident) = segments.read_entry_resident(*position).unwrap() {
                    assert!(resident == *entry, "resident entry at {position}");
                }
            }
            let positions: Vec<Position> = self.positions.iter().map(|(position, _)| *position).collect();
            let mut together = Vec::new();
            while together.len() < positions.len() {
                together.extend(segments.read_entries(&positions[together.len()..]).unwrap());
            }
            assert!(together.iter().eq(self.positions.iter().map(|(_, entry)| entry)), "entries read together");
            end
        }
    }

    fn entries(seed: u8) -> Vec<Vec<u8>> {
        [1, 300, 503, 504, 505, 2_000].iter().map(|&len| vec![seed; len]).collect()
    }

    #[test]
    fn entries_come_back_over_several_segments() {
        let mut files = Files::new();
        files.writer.segment_bytes_max = 10_000;
        for seed in 0..20 {
            files.append(&entries(seed));
        }
        files.append(&[vec![1; 1_500_000]]);
        assert!(files.segments.list.read().unwrap().len() > 5);
        assert!(matches!(files.check(), Scanned::End(_)));
    }

    #[test]
    fn a_torn_frame_is_told_from_damage() {
        let mut files = Files::new();
        files.append(&entries(1));
        let end = files.writer.begin(files.next_index).unwrap();
        let torn = files.frame(&entries(2)).bytes;
        // Any part of a frame may have reached the disk, in any order of its pages.
        for part in [0..torn.len() - 1, 64..torn.len(), 1..10] {
            let file = OpenOptions::new().write(true).open(files.newest_path()).unwrap();
            file.write_all_at(&torn[part.clone()], end.0 + part.start as u64).unwrap();
            assert!(matches!(files.check(), Scanned::Torn { end: found, .. } if found == end), "{part:?}");
            SegmentWriter::new(Arc::clone(&files.segments), end, Tail::Torn).unwrap();
            assert!(matches!(files.check(), Scanned::End(found) if found == end));
        }
        // The same bytes with a good frame behind them are damage.
        files.writer = SegmentWriter::new(Arc::clone(&files.segments), end, Tail::Clean).unwrap();
        files.append(&entries(2));
        files.append(&entries(3));
        let file = OpenOptions::new().write(true).open(files.newest_path()).unwrap();
        file.write_all_at(b"?", end.0 + 100).unwrap();
        assert!(matches!(files.segments.scan(end), Err(LedgerError::Damaged { .. })));
    }

    #[test]
    fn a_missing_or_foreign_segment_is_refused() {
        let mut files = Files::new();
        files.writer.segment_bytes_max = 1_000;
        (0..4).for_each(|seed| files.append(&entries(seed)));
        let second = files.segments.list.read().unwrap()[1].path.clone();
        let aside = files.directory.path().join("aside");
        std::fs::rename(&second, &aside).unwrap();
        assert!(matches!(open(files.directory.path()), Err(LedgerError::Damaged { .. })));
        std::fs::rename(&aside, &second).unwrap();
        open(files.directory.path()).unwrap();
        std::fs::write(files.directory.path().join("notes.txt"), "").unwrap();
        assert!(matches!(open(files.directory.path()), Err(LedgerError::Damaged { .. })));
    }

    #[test]
    fn entries_are_overwritten_and_nothing_else() {
        let mut files = Files::new();
        files.writer.segment_bytes_max = 500;
        files.append(&[vec![1; 50], vec![2; 700], vec![3; 90]]);
        files.append(&[vec![4; 60]]);
        let frame = Position(files.positions[0].0.0 - FRAME_HEADER_BYTES as u64);
        let overwritten = |entry: usize, record| {
            let (position, bytes) = &files.positions[entry];
            Overwritten { position: *position, len: bytes.len() as u32, record }
        };
        let gone = [overwritten(2, 77), overwritten(1, 78)];
        // In a segment that is full, not the newest one.
        let path = files.segments.path(0);
        assert_ne!(path, files.newest_path());
        let before = std::fs::read(&path).unwrap();
        let wrong = Overwritten { len: 49, ..overwritten(0, 1) };
        for refused in [wrong, Overwritten { position: Position(frame.0 + 3), ..wrong }, overwritten(3, 1)] {
            assert!(files.segments.overwrite(frame, &[refused]).is_err(), "{refused:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        files.segments.overwrite(frame, &gone).unwrap();
        let after = std::fs::read(&path).unwrap();
        assert!(!after.windows(20).any(|window| window == [2; 20] || window == [3; 20]));
        assert_eq!(files.segments.read_entry(files.positions[0].0).unwrap(), [1; 50]);
        assert_eq!(files.segments.read_entry(files.positions[3].0).unwrap(), [4; 60]);
        let lost = files.segments.read_entry(files.positions[1].0).unwrap_err().to_string();
        assert!(lost.contains("is missing or altered at offset 78"), "{lost}");
        assert!(matches!(files.segments.read_entry_resident(files.positions[1].0), Ok(Resident::OnDisk)));
        assert_eq!(files.segments.read_raw(files.positions[2].0).unwrap(), (90, Some(77)));
        assert!(matches!(files.segments.scan(frame), Ok(Scanned::Frame(_))), "the frame's checksum is right");

        // An overwrite that was cut off anywhere, in any order of the pages, can be completed.
        let changed: Vec<usize> = (0..before.len()).filter(|&at| before[at] != after[at]).collect();
        for cut in (0..=changed.len()).step_by(7) {
            for backwards in [false, true] {
                let mut torn = before.clone();
                let written = if backwards { &changed[cut..] } else { &changed[..cut] };
                written.iter().for_each(|&at| torn[at] = after[at]);
                std::fs::write(&path, &torn).unwrap();
                let segments = open(files.directory.path()).unwrap();
                segments.overwrite(frame, &gone).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), after, "cut at {cut}");
            }
        }

        // Damage beside the overwritten entries stays damage.
        let (other, in_header) = (files.positions[0].0.0 as usize + 20, frame.0 as usize + 40);
        for (image, at, found) in [(&before, other, true), (&before, in_header, true), (&after, other, true)] {
            let mut damaged = image.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let segments = open(files.directory.path()).unwrap();
            assert_eq!(segments.overwrite(frame, &gone).is_err(), found, "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn the_frame_of_an_entry_is_found_from_the_entry_before() {
        let mut files = Files::new();
        files.append(&[vec![1; 50], vec![2; 70]]);
        files.append(&[vec![3; 60]]);
        let at = |entry: usize| files.positions[entry].0;
        let begins = |entry: usize, before: Option<usize>| {
            files.segments.frame_begins(at(entry), before.map(at)).unwrap().map(|frame| at(entry).0 - frame.0)
        };
        assert_eq!((begins(0, None), begins(1, Some(0)), begins(2, Some(1))), (Some(64), None, Some(64)));
        assert!(files.segments.frame_begins(at(2), Some(at(0))).is_err());
    }
}

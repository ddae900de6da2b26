//! Redacted entries, in place of erased ones: the file `DIR/ledger/redactions`.
//!
//! A redacted entry is longer than the entry that it replaces, so it does not fit in its place in the segment. A stub
//! there leads to its record here (`segment::overwrite`).
//!
//! ```text
//! file   = header · group · group …                       one group an erasure
//! header = "TMRED/1\n" · done up to: offset (u64, LE) · CRC-32C of the offset (u32) · 12 zero bytes
//! group  = "TMRG" · CRC-32C of the rest (u32) · index of the erase entry (u64) · position of its frame (u64)
//!          · record · record … · "TMRE" · CRC-32C of the rest (u32) · count of records (u64)
//! record = "TMRR" · CRC-32C of the rest (u32) · length of the bytes (u32) · 0, or 1 for destroyed (u32)
//!          · position of the entry (u64) · position of its frame (u64) · offset of the record that this one replaces, or 0 (u64)
//!          · length of the entry in its segment (u32) · 4 zero bytes · redacted entry in its stored form
//! ```
//!
//! Offsets never change: nothing is moved, and only the last group is ever cut. The group behind "done up to" is of an
//! erasure that is under way: it counts once its erase entry is in the ledger, and is cut otherwise. An entry that is
//! redacted again gets another record, and the bytes of the record before are overwritten by zeros.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod group;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) use group::{Group, GroupWriter, Pending, Redaction};

use super::{LedgerError, Position};
use crate::entry::REDACTED_BYTES_MAX;

const MAGIC: &[u8; 8] = b"TMRED/1\n";
/// Offset of the first group.
const HEADER_BYTES: u64 = 32;
const RECORD_MAGIC: &[u8; 4] = b"TMRR";
const RECORD_HEAD_BYTES: usize = 48;
const DESTROYED: u32 = 1;
/// Zeros that are written at once over a record.
const ZEROS_BYTES: usize = 64 << 10;

/// The file, for reading from any thread; it is created with the first erasure.
#[derive(Debug)]
pub(super) struct Redactions {
    path: PathBuf,
    file: OnceLock<File>,
    /// Number of erasures finished since the file was opened.
    finished: AtomicU64,
}

/// Head of a record: everything but its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    /// Offset of the record in the file.
    pub(super) at: u64,
    /// Position of the redacted entry.
    pub(super) position: Position,
    /// Position of its frame.
    pub(super) frame: Position,
    /// Offset of the record that this one replaces.
    pub(super) replaced: Option<u64>,
    /// Length of the entry in its segment, in bytes.
    pub(super) entry_len: u32,
    /// Length of the bytes behind the head.
    len: usize,
    destroyed: bool,
    checksum: u32,
}

impl RecordHead {
    fn encode(&self, bytes: &[u8]) -> [u8; RECORD_HEAD_BYTES] {
        let mut head = [0; RECORD_HEAD_BYTES];
        head[..4].copy_from_slice(RECORD_MAGIC);
        head[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        head[12..16].copy_from_slice(&u32::from(self.destroyed).to_le_bytes());
        head[16..24].copy_from_slice(&self.position.0.to_le_bytes());
        head[24..32].copy_from_slice(&self.frame.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.replaced.unwrap_or(0).to_le_bytes());
        head[40..44].copy_from_slice(&self.entry_len.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), bytes);
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    /// Decodes a head; its checksum can only be checked together with the bytes.
    fn decode(at: u64, head: &[u8; RECORD_HEAD_BYTES]) -> Option<Self> {
        let len = word(head, 8) as usize;
        let whole = &head[..4] == RECORD_MAGIC
            && len <= REDACTED_BYTES_MAX
            && word(head, 12) <= DESTROYED
            && word(head, 44) == 0;
        whole.then(|| Self {
            at,
            position: Position(long(head, 16)),
            frame: Position(long(head, 24)),
            replaced: Some(long(head, 32)).filter(|at| *at != 0),
            entry_len: word(head, 40),
            len,
            destroyed: word(head, 12) == DESTROYED,
            checksum: word(head, 4),
        })
    }

    /// Offset of the next item.
    fn end(&self) -> u64 {
        self.at + (RECORD_HEAD_BYTES + self.len) as u64
    }
}

impl Redactions {
    /// Opens the file if there is one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if it is another file.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let redactions = Self { path: path.into(), file: OnceLock::new(), finished: AtomicU64::new(0) };
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                // A file without a whole header was never used.
                let len = file.metadata().map_err(|error| redactions.io("cannot read", error))?.len();
                let mut magic = [0; MAGIC.len()];
                if len >= HEADER_BYTES {
                    file.read_exact_at(&mut magic, 0).map_err(|error| redactions.io("cannot read", error))?;
                    if magic != *MAGIC {
                        return Err(redactions.damaged("has a wrong header"));
                    }
                    redactions.file.get_or_init(|| file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(redactions.io("cannot open", error)),
        }
        Ok(redactions)
    }

    /// The redacted entry that a stub at a position leads to.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if there is no whole record for the position.
    pub(super) fn read(&self, at: u64, position: Position) -> Result<Vec<u8>, LedgerError> {
        let lost = || {
            self.damaged(&format!(
                "is missing or altered at offset {at}, where it has to hold what is left of the erased entry at position \
                 {position}: restore it from a copy"
            ))
        };
        let head = match self.head(at) {
            Ok(Some(head)) if head.position == position && !head.destroyed => head,
            Ok(_) => return Err(lost()),
            Err(error) => return Err(error),
        };
        self.bytes(&head)?.ok_or_else(lost)
    }

    /// Number of erasures finished since the file was opened.
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }

    /// Offset up to which every group is done. A damaged header is an error, never a guess: bytes behind the offset may
    /// be cut.
    fn done(&self) -> Result<u64, LedgerError> {
        self.noted()?.ok_or_else(|| self.damaged("has a wrong header"))
    }

    /// Offset noted as done in the header; `None` if its checksum is wrong.
    fn noted(&self) -> Result<Option<u64>, LedgerError> {
        let Some(file) = self.file.get() else { return Ok(Some(HEADER_BYTES)) };
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0).map_err(|error| self.io("cannot read", error))?;
        let whole = crc32c::crc32c(&header[8..16]) == word(&header, 16);
        Ok(whole.then(|| long(&header, 8)))
    }

    /// Notes that everything before an offset is done.
    fn set_done(&self, done: u64) -> Result<(), LedgerError> {
        let file = self.made()?;
        file.write_all_at(&header(done)[8..], 8).map_err(|error| self.io("cannot write", error))?;
        self.sync()
    }

    /// Destroys the bytes of a record that was replaced. An earlier attempt may have been cut off.
    fn destroy(&self, at: u64, position: Position) -> Result<(), LedgerError> {
        let file = self.made()?;
        let Some(head) = self.head(at)?.filter(|head| head.position == position) else {
            return Err(self.damaged(&format!("holds no record at offset {at} that could be destroyed")));
        };
        let zeros = vec![0; head.len];
        let head = RecordHead { destroyed: true, ..head };
        let write = || {
            file.write_all_at(&head.encode(&zeros), at)?;
            let mut offset = at + RECORD_HEAD_BYTES as u64;
            for chunk in zeros.chunks(ZEROS_BYTES) {
                file.write_all_at(chunk, offset)?;
                offset += chunk.len() as u64;
            }
            Ok(())
        };
        write().map_err(|error| self.io("cannot overwrite", error))
    }

    fn head(&self, at: u64) -> Result<Option<RecordHead>, LedgerError> {
        let mut head = [0; RECORD_HEAD_BYTES];
        Ok(if self.fill(&mut head, at)? { RecordHead::decode(at, &head) } else { None })
    }

    /// Bytes of a record; `None` if the checksum is wrong or the file ends before.
    fn bytes(&self, head: &RecordHead) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut bytes = vec![0; head.len];
        if !self.fill(&mut bytes, head.at + RECORD_HEAD_BYTES as u64)? {
            return Ok(None);
        }
        let encoded = head.encode(&bytes);
        Ok((word(&encoded, 4) == head.checksum).then_some(bytes))
    }

    /// Fills `bytes` from offset `at`; false if the file ends before, or there is none.
    fn fill(&self, bytes: &mut [u8], at: u64) -> Result<bool, LedgerError> {
        let Some(file) = self.file.get() else { return Ok(false) };
        match file.read_exact_at(bytes, at) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(self.io("cannot read", error)),
        }
    }

    fn len(&self) -> Result<u64, LedgerError> {
        let Some(file) = self.file.get() else { return Ok(HEADER_BYTES) };
        Ok(file.metadata().map_err(|error| self.io("cannot read", error))?.len())
    }

    /// The file; created, and made durable, if there is none.
    fn made(&self) -> Result<&File, LedgerError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let make = || -> io::Result<File> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.path)?;
            file.write_all_at(&header(HEADER_BYTES), 0)?;
            file.sync_all()?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|error| self.io("cannot create", error))?;
        Ok(self.file.get_or_init(|| file))
    }

    fn sync(&self) -> Result<(), LedgerError> {
        self.made()?.sync_data().map_err(|error| self.io("cannot sync", error))
    }

    fn cut(&self, end: u64) -> Result<(), LedgerError> {
        let Some(file) = self.file.get() else { return Ok(()) };
        file.set_len(end).map_err(|error| self.io("cannot cut", error))
    }

    fn io(&self, what: &'static str, error: io::Error) -> LedgerError {
        LedgerError::io(what, &self.path, error)
    }

    pub(super) fn damaged(&self, what: &str) -> LedgerError {
        LedgerError::damaged(&self.path, what)
    }
}

fn header(done: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&done.to_le_bytes());
    let checksum = crc32c::crc32c(&header[8..16]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

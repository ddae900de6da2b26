//! A second, small log beside the ledger: leaves are written one at a time, and each is signed before it is published.
//!
//! ```text
//! DIR/leaves       { length (u32, LE) · CRC-32C of the leaf (u32, LE) · leaf }
//! DIR/tree/        hashes of the Merkle tree, as the ledger's (`tree`); `positions` are offsets into `leaves`
//! DIR/signed_head  the last checkpoint signed, as the ledger's (`signed_head`)
//! ```
//!
//! [`LeafLogWriter::append`] writes and syncs the leaf, writes its hashes, signs, and syncs the signed head; only then
//! the leaf counts and is published. Bytes behind the signed head were never published, and are cut at the next start.
//! A log that does not hold what it has signed is refused. The tree files follow from the leaves, and are derived again
//! if they do not fit. Deliberately absent: the content of the leaves.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    LedgerError, Position,
    head::OwnHead,
    signed_head::{SignedHead, read_slots},
    tree::{Levels, NewHashes, TreeHashes as _},
};
use crate::{
    entry::{TEXT_BYTES_MAX, leaf_hash},
    tlog::{Frontier, Hash, LedgerKey, SignedCheckpoint},
};

/// Length and checksum before a leaf, in bytes.
const LEAF_HEADER_BYTES: usize = 8;

/// The newest leaf of a log, with its proof.
#[derive(Clone, Debug)]
pub struct LastLeaf {
    /// The leaf.
    pub leaf: Arc<[u8]>,
    /// Inclusion path of the leaf in the tree of the checkpoint, from its sibling up (RFC 6962 section 2.1.1).
    pub path: Arc<[Hash]>,
    /// The checkpoint whose last leaf this is.
    pub checkpoint: SignedCheckpoint,
}

/// A log for reading, from any thread.
#[derive(Debug)]
pub struct LeafLog {
    path: PathBuf,
    leaves: File,
    levels: Levels,
    key: LedgerKey,
    last: RwLock<Option<LastLeaf>>,
}

/// Findings about a sound log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafLogCheck {
    /// Number of signed leaves.
    pub leaves: u64,
    /// Bytes behind the signed leaves, of a leaf that was never signed.
    pub unsigned_bytes: u64,
}

/// The one writer of a log.
#[derive(Debug)]
pub struct LeafLogWriter {
    log: Arc<LeafLog>,
    frontier: Frontier,
    head: OwnHead,
    end: u64,
    stopped: Option<String>,
}

impl LeafLog {
    /// Opens a log, or creates an empty one, and cuts unsigned bytes.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the log does not hold what it has signed.
    pub fn open(directory: &Path, key: LedgerKey) -> Result<(Arc<Self>, LeafLogWriter), LedgerError> {
        std::fs::create_dir_all(directory).map_err(|error| LedgerError::io("cannot create", directory, error))?;
        let head_path = directory.join("signed_head");
        let log = Self::files(directory, key)?;
        if log.leaves_len()? > 0 && !head_path.exists() {
            return Err(LedgerError::damaged(
                &head_path,
                "is missing beside a log with leaves: restore it from a copy",
            ));
        }
        sync_directories(directory).map_err(|error| LedgerError::io("cannot sync", directory, error))?;
        let head = OwnHead::load(Box::new(SignedHead::open(&head_path, log.key.verifier())?))?;
        let size = head.newest().map_or(0, |signed| signed.size);
        let mut end = log.end_of(head.newest());
        if end.is_none() {
            tracing::warn!(path = %log.path.display(), "the tree files of the log do not fit: computing them again");
            log.derive_tree(size)?;
            end = log.end_of(head.newest());
        }
        let end = end.ok_or_else(|| {
            LedgerError::damaged(&log.path, &format!("does not hold the {size} leaves that were signed for"))
        })?;
        log.levels.cut(size)?;
        if log.leaves_len()? > end {
            log.leaves.set_len(end).map_err(|error| LedgerError::io("cannot cut", &log.path, error))?;
        }
        let frontier = log.levels.frontier(size)?;
        log.publish_signed(head.newest().cloned())?;
        let log = Arc::new(log);
        Ok((Arc::clone(&log), LeafLogWriter { log, frontier, head, end, stopped: None }))
    }

    /// Opens a log for reading only, up to its signed head; `None` if there is no log, or nothing was signed.
    ///
    /// # Errors
    ///
    /// As for [`LeafLog::open`].
    pub fn open_to_read(directory: &Path, key: LedgerKey) -> Result<Option<Self>, LedgerError> {
        let head_path = directory.join("signed_head");
        if !head_path.exists() {
            return Ok(None);
        }
        let log = Self::files(directory, key)?;
        let slots = read_slots(&head_path, log.key.verifier())?;
        match (&slots.newest, slots.unreadable.first()) {
            (None, Some(_)) => return Err(LedgerError::damaged(&head_path, "holds no checkpoint of this log")),
            (None, None) => return Ok(None),
            (Some(_), _) => {}
        }
        log.publish_signed(slots.newest.map(|(_, newest)| newest))?;
        Ok(Some(log))
    }

    /// Reads all of a log, and compares leaves, tree files and both slots of the signed head with each other; `None` if
    /// there is no log.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Damaged`] names the first bad leaf or file.
    pub fn check(directory: &Path, key: LedgerKey) -> Result<Option<LeafLogCheck>, LedgerError> {
        if !directory.exists() {
            return Ok(None);
        }
        let log = Self::files(directory, key)?;
        let slots = read_slots(&directory.join("signed_head"), log.key.verifier())?;
        if let Some(slot) = slots.unreadable.first() {
            let what = format!("slot {slot} holds no checkpoint of this log");
            return Err(LedgerError::damaged(&directory.join("signed_head"), &what));
        }
        let (size, root) = slots.newest.map_or((0, None), |(_, newest)| (newest.size, Some(newest.root)));
        let (mut frontier, mut offset) = (Frontier::default(), 0);
        while frontier.size() < size {
            let index = frontier.size();
            let bad = |what: &str| LedgerError::damaged(&log.path, &format!("leaf {index} {what}"));
            let leaf = log.leaf_at(offset)?.ok_or_else(|| bad("is not there, or fails its checksum"))?;
            let hash = leaf_hash(&leaf);
            let mut hashes = vec![(0, hash)];
            frontier.push(hash, |level, hash| hashes.push((level, hash)));
            for (level, hash) in hashes {
                let number = Levels::width(level, frontier.size()) - 1;
                if log.levels.hashes(level, number, 1)?.first() != Some(&hash) {
                    return Err(bad(&format!("has another hash in level {level} of the tree files")));
                }
            }
            if log.levels.position(index)?.0 != offset {
                return Err(bad("lies elsewhere than the tree files say"));
            }
            offset += (LEAF_HEADER_BYTES + leaf.len()) as u64;
        }
        if root.is_some_and(|root| root != frontier.root()) {
            return Err(LedgerError::damaged(&log.path, "holds leaves with another root than was signed for"));
        }
        let lens = log.levels.file_lens()?;
        let beyond = lens.iter().zip(Levels::file_lens_of(size)).map(|(len, expected)| len.saturating_sub(expected));
        let unsigned_bytes = log.leaves_len()?.saturating_sub(offset) + beyond.sum::<u64>();
        Ok(Some(LeafLogCheck { leaves: size, unsigned_bytes }))
    }

    /// Path of the file of leaves.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Key that signs the log.
    pub fn key(&self) -> &LedgerKey {
        &self.key
    }

    /// The newest leaf; `None` if nothing was ever signed.
    pub fn last(&self) -> Option<LastLeaf> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of signed leaves.
    pub fn size(&self) -> u64 {
        self.last().map_or(0, |last| last.checkpoint.size)
    }

    /// Reads a leaf.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if there is no such leaf or its checksum is wrong.
    pub fn leaf(&self, index: u64) -> Result<Vec<u8>, LedgerError> {
        self.leaf_at(self.levels.position(index)?.0)?
            .ok_or_else(|| LedgerError::damaged(&self.path, &format!("holds no leaf {index}")))
    }

    /// Reads `count` hashes of full subtrees of 256^level leaves, from hash `start` on: a part of a C2SP tile.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there are fewer hashes.
    pub fn hashes(&self, level: usize, start: u64, count: usize) -> Result<Vec<Hash>, LedgerError> {
        self.levels.hashes(level, start, count)
    }

    fn files(directory: &Path, key: LedgerKey) -> Result<Self, LedgerError> {
        let (path, tree) = (directory.join("leaves"), directory.join("tree"));
        let leaves = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let leaves = leaves.map_err(|error| LedgerError::io("cannot open", &path, error))?;
        Ok(Self { path, leaves, levels: Levels::open(&tree)?, key, last: RwLock::default() })
    }

    fn leaves_len(&self) -> Result<u64, LedgerError> {
        Ok(self.leaves.metadata().map_err(|error| LedgerError::io("cannot read", &self.path, error))?.len())
    }

    /// Offset of the end of the last signed leaf; `None` if the tree files do not give the signed root or the leaf is
    /// not there.
    fn end_of(&self, signed: Option<&SignedCheckpoint>) -> Option<u64> {
        let Some(signed) = signed.filter(|signed| signed.size > 0) else { return Some(0) };
        if self.levels.whole().ok()? < signed.size || self.levels.frontier(signed.size).ok()?.root() != signed.root {
            return None;
        }
        let position = self.levels.position(signed.size - 1).ok()?;
        let leaf = self.leaf_at(position.0).ok()??;
        let is_same = self.levels.leaf(signed.size - 1).ok()? == leaf_hash(&leaf);
        is_same.then_some(position.0 + (LEAF_HEADER_BYTES + leaf.len()) as u64)
    }

    /// Derives the tree files again from the first `size` leaves.
    fn derive_tree(&self, size: u64) -> Result<(), LedgerError> {
        self.levels.cut(0)?;
        let (mut frontier, mut offset, mut new) = (Frontier::default(), 0, NewHashes::default());
        while frontier.size() < size {
            let Some(leaf) = self.leaf_at(offset)? else {
                let what = format!("holds {} whole leaves, and {size} were signed for", frontier.size());
                return Err(LedgerError::damaged(&self.path, &what));
            };
            let before = frontier.size();
            stage(&mut frontier, &mut new, &leaf, offset);
            self.levels.append(before, &new)?;
            offset += (LEAF_HEADER_BYTES + leaf.len()) as u64;
        }
        self.levels.sync()
    }

    fn publish_signed(&self, signed: Option<SignedCheckpoint>) -> Result<(), LedgerError> {
        let Some(checkpoint) = signed.filter(|signed| signed.size > 0) else { return Ok(()) };
        let path = self.levels.frontier(checkpoint.size - 1)?.path_of_next();
        self.publish(LastLeaf { leaf: self.leaf(checkpoint.size - 1)?.into(), path: path.into(), checkpoint });
        Ok(())
    }

    fn publish(&self, last: LastLeaf) {
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// The leaf that begins at an offset; `None` if no whole leaf begins there.
    fn leaf_at(&self, offset: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut header = [0; LEAF_HEADER_BYTES];
        let io = |error| LedgerError::io("cannot read", &self.path, error);
        let ended = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
        match self.leaves.read_exact_at(&mut header, offset) {
            Err(error) if ended(&error) => return Ok(None),
            read => read.map_err(io)?,
        }
        let [a, b, c, d, checksum @ ..] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > TEXT_BYTES_MAX {
            return Ok(None);
        }
        let mut leaf = vec![0; len];
        match self.leaves.read_exact_at(&mut leaf, offset + LEAF_HEADER_BYTES as u64) {
            Err(error) if ended(&error) => return Ok(None),
            read => read.map_err(io)?,
        }
        Ok((crc32c::crc32c(&leaf) == u32::from_le_bytes(checksum)).then_some(leaf))
    }
}

impl LeafLogWriter {
    /// Appends a leaf: durable, then signed, then published.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`] if the leaf could not be written: try again later. After a failed sync, or if the signature
    /// could not be kept, every later call is refused with [`LedgerError::Stopped`]; the next start cuts unsigned
    /// bytes.
    pub fn append(&mut self, leaf: &[u8]) -> Result<LastLeaf, LedgerError> {
        if let Some(reason) = &self.stopped {
            return Err(LedgerError::Stopped { reason: reason.clone() });
        }
        let (frame_len, path, frontier) = self.write(leaf)?;
        self.sign(leaf, frame_len, path, frontier).inspect_err(|error| self.stopped = Some(format!("failed: {error}")))
    }

    /// Writes a leaf and its hashes; nothing refers to them yet, and the next leaf may overwrite them.
    fn write(&mut self, leaf: &[u8]) -> Result<(u64, Vec<Hash>, Frontier), LedgerError> {
        let log = &*self.log;
        if leaf.len() > TEXT_BYTES_MAX {
            return Err(LedgerError::damaged(&log.path, &format!("takes leaves of at most {TEXT_BYTES_MAX} bytes")));
        }
        let mut frame = Vec::with_capacity(LEAF_HEADER_BYTES + leaf.len());
        frame.extend_from_slice(&(leaf.len() as u32).to_le_bytes());
        frame.extend_from_slice(&crc32c::crc32c(leaf).to_le_bytes());
        frame.extend_from_slice(leaf);
        let written = log.leaves.write_all_at(&frame, self.end);
        written.map_err(|error| LedgerError::io("cannot write", &log.path, error))?;
        let (before, path) = (self.frontier.size(), self.frontier.path_of_next());
        let (mut frontier, mut new) = (self.frontier.clone(), NewHashes::default());
        stage(&mut frontier, &mut new, leaf, self.end);
        log.levels.append(before, &new)?;
        Ok((frame.len() as u64, path, frontier))
    }

    /// Makes a written leaf durable, signs the log, keeps the signature, and publishes the leaf.
    fn sign(
        &mut self,
        leaf: &[u8],
        frame_len: u64,
        path: Vec<Hash>,
        frontier: Frontier,
    ) -> Result<LastLeaf, LedgerError> {
        let log = &*self.log;
        log.leaves.sync_data().map_err(|error| LedgerError::io("cannot sync", &log.path, error))?;
        let checkpoint = log.key.sign(frontier.size(), frontier.root())?;
        self.head.store(&checkpoint)?;
        self.head.sync()?;
        self.frontier = frontier;
        self.end += frame_len;
        let last = LastLeaf { leaf: leaf.into(), path: path.into(), checkpoint };
        log.publish(last.clone());
        Ok(last)
    }
}

/// Adds a leaf to a frontier, and collects its additions to the tree files.
fn stage(frontier: &mut Frontier, new: &mut NewHashes, leaf: &[u8], offset: u64) {
    let hash = leaf_hash(leaf);
    new.clear();
    new.push(0, hash);
    new.push_position(Position(offset));
    frontier.push(hash, |level, hash| new.push(level, hash));
}

fn sync_directories(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()?;
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use tlog_tiles::check_record;

    use super::*;

    fn key(directory: &Path) -> LedgerKey {
        let key = LedgerKey::open_or_create(&directory.join("key"), "example.test/log", [7; 32]).unwrap();
        key.with_suffix("/index/v1").unwrap()
    }

    fn open(directory: &Path) -> (Arc<LeafLog>, LeafLogWriter) {
        LeafLog::open(&directory.join("log"), key(directory)).unwrap()
    }

    fn leaf(number: u64) -> Vec<u8> {
        format!("leaf {number}").repeat(1 + number as usize % 3).into_bytes()
    }

    #[test]
    fn every_last_leaf_is_proved_and_survives() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, mut writer) = open(directory.path());
        assert!(log.last().is_none());
        for number in 0..300 {
            let last = writer.append(&leaf(number)).unwrap();
            let SignedCheckpoint { size, root, .. } = last.checkpoint;
            assert_eq!(size, number + 1);
            check_record(&last.path.to_vec(), size, root, number, leaf_hash(&last.leaf)).unwrap();
            assert!(log.key().verify(last.checkpoint.note.as_bytes()).is_some());
            if number % 50 == 3 {
                let before = log.last().unwrap();
                (log, writer) = open(directory.path());
                let after = log.last().unwrap();
                assert_eq!((after.leaf, after.path.len()), (before.leaf, before.path.len()));
                assert_eq!(after.checkpoint, before.checkpoint);
            }
        }
        assert_eq!(log.leaf(17).unwrap(), leaf(17));
        assert_eq!(log.hashes(1, 0, 1).unwrap().len(), 1);
        let read = LeafLog::open_to_read(&directory.path().join("log"), key(directory.path())).unwrap().unwrap();
        assert_eq!((read.size(), read.leaf(299).unwrap()), (300, leaf(299)));
    }

    #[test]
    fn what_was_not_signed_is_cut_and_what_was_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        let log_path = directory.path().join("log");
        let (_, mut writer) = open(directory.path());
        (0..5).for_each(|number| drop(writer.append(&leaf(number)).unwrap()));
        let bytes = std::fs::read(log_path.join("leaves")).unwrap();
        // A whole leaf and a torn one behind the signed ones, and a tree file that ran ahead.
        let mut longer = bytes.clone();
        longer.extend_from_slice(&bytes[..20]);
        std::fs::write(log_path.join("leaves"), &longer).unwrap();
        std::fs::OpenOptions::new().append(true).open(log_path.join("tree/0")).unwrap().set_len(192).unwrap();
        let (log, mut writer) = open(directory.path());
        assert_eq!((log.size(), std::fs::read(log_path.join("leaves")).unwrap()), (5, bytes.clone()));
        writer.append(&leaf(5)).unwrap();
        // Tree files that are gone are made again.
        std::fs::remove_dir_all(log_path.join("tree")).unwrap();
        let (log, _) = open(directory.path());
        assert_eq!((log.size(), log.leaf(5).unwrap()), (6, leaf(5)));
        // A leaf that was signed for is gone, or another.
        std::fs::write(log_path.join("leaves"), &bytes).unwrap();
        let refused = LeafLog::open(&log_path, key(directory.path())).unwrap_err().to_string();
        assert!(refused.contains("holds 5 whole leaves, and 6 were signed for"), "{refused}");
        std::fs::remove_file(log_path.join("signed_head")).unwrap();
        let refused = LeafLog::open(&log_path, key(directory.path())).unwrap_err().to_string();
        assert!(refused.contains("is missing beside a log with leaves"), "{refused}");
    }
}

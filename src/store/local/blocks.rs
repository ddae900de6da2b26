//! The block tree: blocks under their lowest key, in one sled tree. The only file that knows sled.
//!
//! The keys of all blocks are also kept in memory ([`Directory`]), so that a lookup is one exact `get`. sled's own way to
//! the key before copies a whole leaf of the tree for it. Every block that leaves this file has had its checksum checked.
//!
//! What sled 0.34.7 does and how it is met here:
//!
//! * It panics on files that it cannot make sense of, at opening and at reading: every call is wrapped, and a panic
//!   becomes [`StoreError::Damaged`].
//! * `apply_batch` turns on a lock over the whole process that makes every reader wait for whole batches, for good. So
//!   there are no batches: blocks are inserted one by one, in an order in which each state on the way answers rightly
//!   (see `merge`). sled recovers what was written up to some point in time, never a later write without an earlier.
//! * `flush` writes and calls `sync_file_range`, which saves neither the length of a file nor what the disk still
//!   caches: [`Blocks::sync`] syncs the files themselves.
//! * Values above a quarter of a segment go to files of their own: a leaf holds at most 16 blocks (and one more before it
//!   splits), so blocks of a few KiB stay inside.
//! * After a write that failed, on a full disk, it writes no more until it is opened anew, and goes on reading:
//!   [`Blocks::reopen`].
//! * The lock on the files is given back when the last of its threads lets go: [`Blocks::close`] waits for that.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::{Duration, Instant},
};

use sled::{Config, Db, IVec, Mode};

use super::{
    block::{self, BlockError},
    directory::{Directory, Missed, Place},
    keys,
};
use crate::store::StoreError;

/// How long to wait for sled's threads to give the files back.
const RELEASE_WAIT_MS_MAX: u64 = 5_000;
/// The unit in which sled writes and reuses its file, in bytes.
const SEGMENT_BYTES: usize = 1 << 19;

/// How much room there has to be before the tree is opened again on a disk that was full, in bytes: opening writes a
/// little, and readers would have nothing to read if it failed.
const ROOM_BYTES_MIN: usize = 8 << 20;

/// Bytes that sled holds in its cache.
#[derive(Clone, Debug)]
pub(super) struct Bytes(IVec);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A stretch of the key space and the block that holds its entries.
#[derive(Debug)]
pub(super) struct Span {
    /// Where the stretch begins, and the key of the block.
    pub(super) key: Box<[u8]>,
    /// `None` in an empty tree, which is one stretch without a block.
    pub(super) block: Option<Bytes>,
    /// Where the next stretch begins; what the block holds from there on is left over from a split.
    pub(super) end: Option<Box<[u8]>>,
}

/// The tree of blocks, and the one record beside them.
#[derive(Debug)]
pub(super) struct Blocks {
    path: PathBuf,
    sled_cache_bytes: u64,
    /// `None` once closed.
    db: RwLock<Option<Db>>,
    directory: Directory<Bytes>,
}

/// How much memory the tree may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBytes {
    /// For sled's pages.
    pub(super) sled: u64,
    /// For blocks.
    pub(super) blocks: usize,
}

impl Blocks {
    /// Opens the tree in a directory, or makes it.
    pub(super) fn open(path: &Path, cache_bytes: CacheBytes) -> Result<Self, StoreError> {
        let blocks = Self {
            path: path.to_owned(),
            sled_cache_bytes: cache_bytes.sled,
            db: RwLock::new(None),
            directory: Directory::new(cache_bytes.blocks),
        };
        blocks.open_tree(&mut blocks.guard_mut())?;
        Ok(blocks)
    }

    /// Opens the tree anew, as after a crash: of what was put since the last [`Blocks::sync`] some may be gone. Readers
    /// wait meanwhile.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        self.check_room()?;
        let mut slot = self.guard_mut();
        self.release(&mut slot)?;
        self.open_tree(&mut slot)
    }

    fn open_tree(&self, slot: &mut Option<Db>) -> Result<(), StoreError> {
        let config = Config::new()
            .path(&self.path)
            .cache_capacity(self.sled_cache_bytes)
            .mode(Mode::HighThroughput)
            .segment_size(SEGMENT_BYTES)
            .use_compression(false)
            .flush_every_ms(None);
        let db = self.caught(|| config.open())?;
        let keys = self.caught(|| read_keys(&db))?;
        self.directory.reset(keys.into_iter());
        *slot = Some(db);
        Ok(())
    }

    /// Finds out whether the disk has some room, by taking it for a moment.
    fn check_room(&self) -> Result<(), StoreError> {
        let path = self.path.join("room");
        let written = fs::write(&path, vec![0; ROOM_BYTES_MIN]);
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|error| self.io_error(&error))
    }

    /// The number of blocks.
    pub(super) fn len(&self) -> usize {
        self.directory.len()
    }

    /// The block that holds a key if any does, when it is in memory.
    pub(super) fn find_resident(&self, key: &[u8]) -> Option<Bytes> {
        self.directory.get(key)
    }

    /// The stretch that a key lies in. Its block stays in memory for the next time.
    pub(super) fn find(&self, key: &[u8]) -> Result<Span, StoreError> {
        self.find_with(key, |place, missed, block| self.directory.fill(place, block, missed))
    }

    /// As [`Blocks::find`], for who passes over all blocks and should not fill the memory.
    pub(super) fn find_in_passing(&self, key: &[u8]) -> Result<Span, StoreError> {
        self.find_with(key, |_, _, _| ())
    }

    fn find_with(&self, key: &[u8], keep: impl Fn(&[u8], Missed, &Bytes)) -> Result<Span, StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        loop {
            let Place { key: place, end, block, known } = self.directory.place(key);
            let Some(place) = place else { return Ok(Span { key: keys::LOWEST.into(), block: None, end }) };
            let missed = match block {
                Ok(block) => return Ok(Span { key: place, block: Some(block), end }),
                Err(missed) => missed,
            };
            let block = self.read(&place, db)?;
            keep(&place, missed, &block);
            // When blocks were added meanwhile, this one may have been cut shorter before it was read.
            if self.directory.len() == known {
                return Ok(Span { key: place, block: Some(block), end });
            }
        }
    }

    fn read(&self, key: &[u8], db: &Db) -> Result<Bytes, StoreError> {
        let Some(block) = self.caught(|| db.get(key))? else {
            return Err(self.damaged(format!("block {} is gone", key.escape_ascii())));
        };
        block::check(&block).map_err(|error| self.bad_block(key, error))?;
        Ok(Bytes(block))
    }

    /// Writes a block, in place of the one that lies there.
    pub(super) fn put(&self, key: &[u8], block: Vec<u8>) -> Result<(), StoreError> {
        let block = IVec::from(block);
        self.write(key, block.clone())?;
        self.directory.write(key, &Bytes(block));
        Ok(())
    }

    /// The index's record about itself.
    pub(super) fn meta(&self) -> Result<Option<Bytes>, StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        self.caught(|| db.get(keys::META)).map(|found| found.map(Bytes))
    }

    /// Replaces the index's record about itself.
    pub(super) fn put_meta(&self, record: Vec<u8>) -> Result<(), StoreError> {
        self.write(keys::META, record.into()).map(drop)
    }

    /// Makes everything that was put so far survive a power cut.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        self.caught(|| db.flush())?;
        sync_tree(&self.path).map_err(|error| self.engine(format!("cannot sync: {error}")))
    }

    /// Closes the tree and waits until its files may be opened again.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.release(&mut self.guard_mut())
    }

    fn release(&self, slot: &mut Option<Db>) -> Result<(), StoreError> {
        let Some(db) = slot.take() else { return Ok(()) };
        self.caught(move || {
            drop(db);
            Ok(())
        })?;
        let deadline = Instant::now() + Duration::from_millis(RELEASE_WAIT_MS_MAX);
        let file = File::open(self.path.join("db")).map_err(|error| self.engine(error))?;
        while let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
            if Instant::now() > deadline {
                return Err(self.engine("its files are still held after closing"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// An error that says that the engine failed.
    pub(super) fn engine(&self, reason: impl ToString) -> StoreError {
        StoreError::Engine { path: self.path.display().to_string(), reason: reason.to_string() }
    }

    fn io_error(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                StoreError::Full { path: self.path.display().to_string() }
            }
            _ => self.engine(error),
        }
    }

    /// The error for the block of a key, when it cannot be read.
    pub(super) fn bad_block(&self, key: &[u8], error: BlockError) -> StoreError {
        self.damaged(format!("block of {}: {error}", key.escape_ascii()))
    }

    /// An error that says that the index has to be made again.
    pub(super) fn damaged(&self, what: impl ToString) -> StoreError {
        StoreError::Damaged { path: self.path.display().to_string(), what: what.to_string() }
    }

    fn write(&self, key: &[u8], value: IVec) -> Result<Option<IVec>, StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        self.caught(|| db.insert(key, value))
    }

    fn guard(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard_mut(&self) -> RwLockWriteGuard<'_, Option<Db>> {
        self.db.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn db<'a>(&self, guard: &'a Option<Db>) -> Result<&'a Db, StoreError> {
        guard.as_ref().ok_or_else(|| self.engine("it is closed"))
    }

    /// Runs a call into sled and sorts what can go wrong.
    fn caught<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        // sled's own state may be half changed after a panic: its callers stop using it, see `StoreError::Damaged`.
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sled::Error::Io(error))) if error.kind() != ErrorKind::UnexpectedEof => Err(self.io_error(&error)),
            Ok(Err(error)) => Err(self.damaged(error)),
            Err(panic) => Err(self.damaged(format!("sled panicked: {}", panic_text(&*panic)))),
        }
    }
}

/// Lists the keys of all blocks. It reads every page of the tree, so that what sled cannot read is found at once.
fn read_keys(db: &Db) -> sled::Result<Vec<Box<[u8]>>> {
    let mut keys = Vec::new();
    for key in db.range(keys::LOWEST..).keys() {
        let key = key?;
        // sled forgets pages only after pages near them (by number) have been used 64 times, and a walk uses each just
        // once: without this, the whole tree would stay in memory.
        db.contains_key(&key)?;
        keys.push(Box::from(&*key));
    }
    Ok(keys)
}

/// Syncs every file of the tree, its directories, and the directory that it lies in.
fn sync_tree(path: &Path) -> io::Result<()> {
    for directory in [path.join("blobs"), path.to_owned()] {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // sled removes files of its own accord.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        File::open(&directory)?.sync_all()?;
    }
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

//! The block tree: blocks under their lowest key, in one sled tree. The only file that knows sled.
//!
//! The keys of all blocks are also kept in memory ([`Directory`]), so that a lookup is one exact `get`: to find the
//! previous key, sled would copy a whole leaf of the tree. Every block that leaves this module has passed its checksum.
//!
//! Behaviour of sled 0.34.7, and the answer to it here:
//!
//! * It panics on files that it cannot make sense of, at opening and at reading: every call is wrapped, and a panic
//!   becomes [`StoreError::Damaged`].
//! * `apply_batch` turns on a lock over the whole process that makes every reader wait for whole batches, for good. So
//!   there are no batches: blocks are inserted one by one, in an order in which each intermediate state answers
//!   correctly (see `merge`). sled recovers a prefix of the writes, never a later write without an earlier one.
//! * `flush` writes and calls `sync_file_range`, which saves neither the length of a file nor data in the disk's own
//!   cache: [`Blocks::sync`] syncs the files themselves.
//! * Values above a quarter of a segment go to files of their own: a leaf holds at most 16 blocks (and one more before
//!   it splits), so blocks of a few KiB stay inside.
//! * After a failed write, as on a full disk, it writes no more until it is reopened, but still reads:
//!   [`Blocks::reopen`].
//! * Its lock on the files is released when the last of its threads ends: [`Blocks::close`] waits for that.

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
    directory::{CacheMiss, Directory, Place},
    keys,
};
use crate::store::StoreError;

/// Maximum wait for sled's threads to release the files, in milliseconds.
const RELEASE_WAIT_MS_MAX: u64 = 5_000;
/// Unit in which sled writes and reuses its file, in bytes.
const SEGMENT_BYTES: usize = 1 << 19;

/// Minimum free space before the tree is reopened on a disk that was full, in bytes: opening writes a little, and if it
/// failed, readers would have no tree.
const ROOM_BYTES_MIN: usize = 8 << 20;

/// Bytes of a value, shared with sled's cache.
#[derive(Clone, Debug)]
pub(super) struct Bytes(IVec);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A range of the key space, and the block with its entries.
#[derive(Debug)]
pub(super) struct Span {
    /// Start of the range, and the key of the block.
    pub(super) key: Box<[u8]>,
    /// The block; `None` in an empty tree, which is one range without a block.
    pub(super) block: Option<Bytes>,
    /// End of the range, where the next one starts; entries of the block from there on are leftovers of a split.
    pub(super) end: Option<Box<[u8]>>,
}

/// The tree of blocks, and the index's record about itself.
#[derive(Debug)]
pub(super) struct Blocks {
    path: PathBuf,
    sled_cache_bytes: u64,
    /// `None` once closed.
    db: RwLock<Option<Db>>,
    directory: Directory<Bytes>,
}

/// Memory budget of the tree, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBytes {
    /// For sled's pages.
    pub(super) sled: u64,
    /// For blocks.
    pub(super) blocks: usize,
}

impl Blocks {
    /// Opens the tree in a directory, or creates it.
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

    /// Reopens the tree. As after a crash, writes since the last [`Blocks::sync`] may be lost. Readers wait meanwhile.
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

    /// Tests for free space on the disk by filling it for a moment.
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

    /// The block that can hold a key, if that block is in memory.
    pub(super) fn find_resident(&self, key: &[u8]) -> Option<Bytes> {
        self.directory.get(key)
    }

    /// The range of a key. Its block is cached.
    pub(super) fn find(&self, key: &[u8]) -> Result<Span, StoreError> {
        self.find_with(key, |place, miss, block| self.directory.fill(place, block, miss))
    }

    /// As [`Blocks::find`], without caching: for a pass over all blocks.
    pub(super) fn find_in_passing(&self, key: &[u8]) -> Result<Span, StoreError> {
        self.find_with(key, |_, _, _| ())
    }

    fn find_with(&self, key: &[u8], keep: impl Fn(&[u8], CacheMiss, &Bytes)) -> Result<Span, StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        loop {
            let Place { key: place, end, block, known } = self.directory.place(key);
            let Some(place) = place else { return Ok(Span { key: keys::LOWEST.into(), block: None, end }) };
            let miss = match block {
                Ok(block) => return Ok(Span { key: place, block: Some(block), end }),
                Err(miss) => miss,
            };
            let block = self.read(&place, db)?;
            keep(&place, miss, &block);
            // A split in the meantime may have cut this block shorter before it was read: then look again.
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

    /// Writes a block, replacing the one under this key.
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

    /// Makes all writes so far durable, against power loss, too.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        self.caught(|| db.flush())?;
        sync_tree(&self.path).map_err(|error| self.engine_error(format!("cannot sync: {error}")))
    }

    /// Closes the tree and waits until its files can be opened again.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.release(&mut self.guard_mut())
    }

    fn release(&self, slot: &mut Option<Db>) -> Result<(), StoreError> {
        let Some(db) = slot.take() else { return Ok(()) };
        self.caught(move || {
            drop(db);
            Ok(())
        })?;
        // Dropping `Db` does not wait for sled's threads; its lock on the file shows when they are gone.
        let deadline = Instant::now() + Duration::from_millis(RELEASE_WAIT_MS_MAX);
        let file = File::open(self.path.join("db")).map_err(|error| self.engine_error(error))?;
        while let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
            if Instant::now() > deadline {
                return Err(self.engine_error("its files are still held after closing"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The error for a failure of the engine.
    pub(super) fn engine_error(&self, reason: impl ToString) -> StoreError {
        StoreError::Engine { path: self.path.display().to_string(), reason: reason.to_string() }
    }

    fn io_error(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                StoreError::Full { path: self.path.display().to_string() }
            }
            _ => self.engine_error(error),
        }
    }

    /// The error for an unreadable block.
    pub(super) fn bad_block(&self, key: &[u8], error: BlockError) -> StoreError {
        self.damaged(format!("block of {}: {error}", key.escape_ascii()))
    }

    /// The error for an index that has to be rebuilt.
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
        guard.as_ref().ok_or_else(|| self.engine_error("it is closed"))
    }

    /// Runs a call into sled; maps its errors and panics.
    fn caught<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        // A panic may leave sled's state half changed: the callers stop using it, see `StoreError::Damaged`.
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sled::Error::Io(error))) if error.kind() != ErrorKind::UnexpectedEof => Err(self.io_error(&error)),
            Ok(Err(error)) => Err(self.damaged(error)),
            Err(panic) => Err(self.damaged(format!("sled panicked: {}", panic_text(&*panic)))),
        }
    }
}

/// Lists the keys of all blocks. Reads every page of the tree, so that an unreadable page is found at opening.
fn read_keys(db: &Db) -> sled::Result<Vec<Box<[u8]>>> {
    let mut keys = Vec::new();
    for key in db.range(keys::LOWEST..).keys() {
        let key = key?;
        // sled evicts pages only after pages near them (by number) have been used 64 times, and a walk uses each just
        // once: without this, the whole tree would stay in memory.
        db.contains_key(&key)?;
        keys.push(Box::from(&*key));
    }
    Ok(keys)
}

/// Syncs every file of the tree, its directories, and the parent directory.
fn sync_tree(path: &Path) -> io::Result<()> {
    for directory in [path.join("blobs"), path.to_owned()] {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // sled removes files in the background.
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

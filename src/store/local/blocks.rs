//! The block tree: blocks under their lowest key, in one sled tree. The only file that knows sled.
//!
//! The keys of all blocks are also kept in memory (a few bytes each, one for about 90 entries), so that a lookup is one
//! exact `get`. sled's own way to the key before copies a whole leaf of the tree for it. Every block that leaves this
//! file has had its checksum checked.
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
//! * The lock on the files is given back when the last of its threads lets go: [`Blocks::close`] waits for that.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind},
    ops::{Bound, Deref},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::{Duration, Instant},
};

use sled::{Config, Db, IVec, Mode};

use super::{
    block::{self, BlockError},
    cache::BlockCache,
    keys,
};
use crate::store::StoreError;

/// How many blocks a walk passes one by one before it looks for its place anew.
const STEPS_MAX: usize = 8;
/// How long to wait for sled's threads to give the files back.
const RELEASE_WAIT_MS_MAX: u64 = 5_000;
/// The unit in which sled writes and reuses its file, in bytes.
const SEGMENT_BYTES: usize = 1 << 19;

/// Bytes that sled holds in its cache.
#[derive(Clone, Debug)]
pub(super) struct Bytes(IVec);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A block and the key under which it lies: not above its first entry, and above all entries of the block before.
pub(super) type Found = (Bytes, Bytes);

/// The tree of blocks, and the one record beside them.
#[derive(Debug)]
pub(super) struct Blocks {
    path: PathBuf,
    /// `None` once closed.
    db: RwLock<Option<Db>>,
    /// The keys of all blocks. A key comes in after its block has been written; none ever leaves.
    directory: RwLock<BTreeSet<Box<[u8]>>>,
    cache: BlockCache<Bytes>,
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
            db: RwLock::new(None),
            directory: RwLock::default(),
            cache: BlockCache::new(cache_bytes.blocks),
        };
        let config = Config::new()
            .path(path)
            .cache_capacity(cache_bytes.sled)
            .mode(Mode::HighThroughput)
            .segment_size(SEGMENT_BYTES)
            .use_compression(false)
            .flush_every_ms(None);
        let db = blocks.caught(|| config.open())?;
        // Reads every page of the tree once: whatever sled cannot read is found now.
        let directory = blocks.caught(|| {
            let keys = db.range(keys::LOWEST..).keys();
            keys.map(|key| Ok(Box::from(&*key?))).collect::<sled::Result<BTreeSet<_>>>()
        })?;
        *blocks.directory.write().unwrap_or_else(PoisonError::into_inner) = directory;
        *blocks.db.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
        Ok(blocks)
    }

    /// The number of blocks.
    pub(super) fn len(&self) -> usize {
        self.directory().len()
    }

    /// The block that holds a key if any does: the last one that lies at or before it.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<Found>, StoreError> {
        let guard = self.guard();
        let db = self.db(&guard)?;
        loop {
            let (block_key, known) = {
                let directory = self.directory();
                (at_or_before(&directory, key).map(Box::<[u8]>::from), directory.len())
            };
            let Some(block_key) = block_key else { return Ok(None) };
            let block = match self.cache.get(&block_key) {
                Ok(block) => block,
                Err(missed) => {
                    let block = self.caught(|| db.get(&block_key))?;
                    let gone = || self.damaged(format!("block {} is gone", block_key.escape_ascii()));
                    let block = self.checked(&block_key, block.ok_or_else(gone)?)?;
                    self.cache.fill(&block_key, &block, missed);
                    block
                }
            };
            // When blocks were added meanwhile, this one may have been cut shorter before it was read.
            if self.directory().len() == known {
                return Ok(Some((Bytes(IVec::from(block_key)), block)));
            }
        }
    }

    /// Walks the blocks upwards.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { blocks: self, guard: self.guard(), here: None, ahead: None }
    }

    /// Writes a block, in place of the one that lies there.
    pub(super) fn put(&self, key: &[u8], block: Vec<u8>) -> Result<(), StoreError> {
        let block = IVec::from(block);
        let is_new = self.write(key, block.clone())?.is_none();
        self.cache.write(key, &Bytes(block));
        if is_new {
            self.directory.write().unwrap_or_else(PoisonError::into_inner).insert(key.into());
        }
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
        let Some(db) = self.db.write().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
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

    /// The error for a block that cannot be read.
    pub(super) fn bad_block(&self, key: &[u8], error: BlockError) -> StoreError {
        self.damaged(format!("block {}: {error}", key.escape_ascii()))
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

    fn directory(&self) -> RwLockReadGuard<'_, BTreeSet<Box<[u8]>>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self, key: &[u8], block: IVec) -> Result<Bytes, StoreError> {
        block::check(&block).map_err(|error| self.bad_block(key, error))?;
        Ok(Bytes(block))
    }

    fn found(&self, pair: Option<(IVec, IVec)>) -> Result<Option<Found>, StoreError> {
        pair.map(|(key, block)| Ok((Bytes(key.clone()), self.checked(&key, block)?))).transpose()
    }

    fn guard(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn db<'a>(&self, guard: &'a Option<Db>) -> Result<&'a Db, StoreError> {
        guard.as_ref().ok_or_else(|| self.engine("it is closed"))
    }

    /// Runs a call into sled and sorts what can go wrong.
    fn caught<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        // sled's own state may be half changed after a panic: its callers stop using it, see `StoreError::Damaged`.
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sled::Error::Io(error))) if error.kind() != ErrorKind::UnexpectedEof => Err(self.engine(error)),
            Ok(Err(error)) => Err(self.damaged(error)),
            Err(panic) => Err(self.damaged(format!("sled panicked: {}", panic_text(&*panic)))),
        }
    }
}

/// A walk over the blocks in ascending order. It sees each block as it is at some moment of the walk.
pub(super) struct Walk<'a> {
    blocks: &'a Blocks,
    guard: RwLockReadGuard<'a, Option<Db>>,
    here: Option<Found>,
    /// What comes after `here`, and how to go on from there; `None` before the walk has a place.
    ahead: Option<(sled::Iter, Option<Found>)>,
}

impl Walk<'_> {
    /// Goes to the block that holds a key if any does. Keys must not decrease from call to call.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<(), StoreError> {
        for _ in 0..STEPS_MAX {
            match &self.ahead {
                None => break,
                Some((_, Some((next, _)))) if &**next <= key => self.step()?,
                Some(_) => return Ok(()),
            }
        }
        let db = self.blocks.db(&self.guard)?;
        let start = at_or_before(&self.blocks.directory(), key).map(Box::<[u8]>::from);
        let mut rest = db.range(start.as_deref().unwrap_or(keys::LOWEST)..);
        self.here = None;
        let next = self.blocks.found(self.blocks.caught(|| rest.next().transpose())?)?;
        self.ahead = Some((rest, next));
        if start.is_some() { self.step() } else { Ok(()) }
    }

    /// Goes to the next block; there is none once [`Walk::end`] is `None`.
    pub(super) fn step(&mut self) -> Result<(), StoreError> {
        if let Some((rest, next)) = &mut self.ahead {
            self.here = next.take();
            *next = self.blocks.found(self.blocks.caught(|| rest.next().transpose())?)?;
        }
        Ok(())
    }

    /// The block at which the walk is; `None` before the first.
    pub(super) fn here(&self) -> Option<&Found> {
        self.here.as_ref()
    }

    /// The key of the block after; the entries of this one are below.
    pub(super) fn end(&self) -> Option<&[u8]> {
        self.ahead.as_ref().and_then(|(_, next)| next.as_ref()).map(|(key, _)| &**key)
    }

    /// Gives up the place: the block at it has been written since.
    pub(super) fn lose_place(&mut self) {
        (self.here, self.ahead) = (None, None);
    }
}

fn at_or_before<'a>(directory: &'a BTreeSet<Box<[u8]>>, key: &[u8]) -> Option<&'a [u8]> {
    directory.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back().map(|key| &**key)
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

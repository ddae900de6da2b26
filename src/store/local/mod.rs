//! The index on the local disk: an overlay in memory over sorted blocks in a tree.
//!
//! ```text
//! apply --> active map --(full or old)--> frozen map --(merge thread)--> blocks on disk --> mark
//! read  --> active map --> frozen map --> filter --> the one block that can hold the key
//! ```
//!
//! A merge rewrites each affected block once, whatever the number of changes, and needs only the frozen map and one
//! block in memory. When its blocks are durable it writes the mark: the extent of the ledger that the blocks hold.
//! After a crash the entries above the mark are replayed, which is idempotent.
//!
//! Invariants: at most one map is active, one frozen, one merge runs; [`LocalIndex::apply`] waits when both maps
//! are full. When the disk is full the frozen map stays, and is merged when there is room again; until then
//! [`LocalIndex::ready`] refuses more than the maps hold. A mark is written only after everything below it, here and in
//! the ledger's own derived files, is durable.
//!
//! [`keys`] lays out the key space, [`block`] is the format of a block, [`blocks`] the tree with its [`directory`],
//! [`filter`] ends most lookups of absent keys, [`merge`] is the merge pass, [`mark`] its record, [`scan`] reads
//! ranges, [`edges`] the edges of an identifier. [`engine`] puts the index and the ledger's segments together to an
//! engine; [`check`] compares the index with the ledger.

mod block;
mod blocks;
mod check;
mod directory;
mod edges;
mod engine;
mod filter;
mod keys;
mod mark;
mod merge;
mod options;
mod overlay;
mod scan;
pub mod seal;

use std::{
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use check::{CheckError, IndexCheck};
pub use edges::EdgeStateAt;
pub use engine::LocalEntries;
pub use options::{BeforeMark, LocalOptions};

use self::{
    block::Block,
    blocks::{Blocks, CacheBytes},
    filter::{Filter, KeyHash, KeyHasher},
    mark::{read_mark, write_mark},
    merge::{BlockLimits, MergeOutcome},
    overlay::{Changes, Frozen, Overlay},
    scan::Entry,
};
use super::{Applied, Direction, EdgeQuery, IndexedEdge, PlacedChange, PositionIndex, RequestKey, StoreError};
use crate::{
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::{Position, Resident},
};

/// Maximum length of a block, in bytes: 17 of them, the most that a leaf of the tree holds for a moment, stay below the
/// size at which the tree would put the leaf into a file of its own.
const BLOCK_BYTES_MAX: usize = 7 << 10;
/// Changes inserted under one hold of the overlay's lock, so that readers never wait long.
const INSERT_CHUNK_CHANGES: usize = 128;
/// Priority of the merge thread, as `nice` has it: a tenth of a processor that others want, too.
const MERGE_NICE: i32 = 10;
/// Delay between two tries on a full disk.
const FULL_DISK_RETRY: Duration = Duration::from_millis(500);

/// The index on the local disk.
pub struct LocalIndex {
    shared: Arc<Shared>,
    /// `None` once closed.
    merger: Mutex<Option<JoinHandle<()>>>,
}

/// State shared by the store and its merge thread.
struct Shared {
    options: LocalOptions,
    blocks: Blocks,
    overlay: Overlay,
    /// Keys in the blocks and in the changes being merged; `None` until the filter has been built.
    filter: RwLock<Option<Filter>>,
    hasher: KeyHasher,
    /// Lock order: taken before the overlay's lock, never while that is held.
    control: Mutex<Control>,
    /// Signals a change in `control` or in the overlay's layers.
    changed: Condvar,
    /// Asks a running merge to stop.
    abandon: AtomicBool,
}

struct Control {
    mode: MergeMode,
    /// The failure that ended merging for good.
    failure: Option<StoreError>,
    /// The full disk that merging waits for.
    full: Option<StoreError>,
    durable: Applied,
}

/// Mode of the merge thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MergeMode {
    /// Merge when the overlay is full or old.
    On,
    /// Merge everything, then end.
    Finish,
    /// End.
    Abandon,
}

impl LocalIndex {
    /// Opens the index in a directory, or creates an empty one, and starts its merge thread.
    ///
    /// # Errors
    ///
    /// [`StoreError::Engine`] if the files cannot be read or written or another process holds them;
    /// [`StoreError::Damaged`] if they are no index that this version understands.
    pub fn open(path: &Path, options: LocalOptions) -> Result<Self, StoreError> {
        let cache_bytes = CacheBytes { sled: options.sled_cache_bytes, blocks: options.block_cache_bytes };
        let blocks = Blocks::open(path, cache_bytes)?;
        let durable = read_mark(&blocks)?;
        let hasher = KeyHasher::default();
        let shared = Arc::new(Shared {
            overlay: Overlay::new(durable, options.overlay_entries_max, hasher.clone()),
            filter: RwLock::new(None),
            hasher,
            control: Mutex::new(Control { mode: MergeMode::On, failure: None, full: None, durable }),
            changed: Condvar::new(),
            abandon: AtomicBool::new(false),
            blocks,
            options,
        });
        let merger = thread::Builder::new().name("touchmark-merge".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.merge_until_told()
        });
        let merger = merger.map_err(|error| shared.blocks.engine_error(error))?;
        Ok(Self { shared, merger: Mutex::new(Some(merger)) })
    }

    /// Error of this index.
    fn engine_error(&self, reason: String) -> StoreError {
        self.shared.blocks.engine_error(reason)
    }

    /// Ends the merge thread; false if it had ended before.
    fn stop(&self, mode: MergeMode) -> bool {
        let merger = self.merger.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(merger) = merger else { return false };
        self.shared.control().mode = mode;
        self.shared.abandon.store(mode == MergeMode::Abandon, Ordering::Relaxed);
        self.shared.changed.notify_all();
        if merger.join().is_err() {
            self.shared.fail(self.shared.blocks.engine_error("the merge thread panicked"));
        }
        true
    }
}

impl Drop for LocalIndex {
    fn drop(&mut self) {
        // Changes above the mark are replayed at the next start.
        self.stop(MergeMode::Abandon);
        if let Err(error) = self.shared.blocks.close() {
            tracing::warn!(%error, "closing the index");
        }
    }
}

impl PositionIndex for LocalIndex {
    fn latest(&self, key: &Key) -> Result<Option<Position>, StoreError> {
        self.shared.get(&keys::latest(key.as_bytes()))
    }

    fn latest_resident(&self, key: &Key) -> Result<Resident<Option<Position>>, StoreError> {
        self.shared.get_resident(&keys::latest(key.as_bytes()))
    }

    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Position>, StoreError> {
        self.shared.get(&keys::name_hash(hash))
    }

    fn superseded(&self, key: &Key, upto: u64, limit: usize) -> Result<Vec<(u64, Position)>, StoreError> {
        let prefix = keys::superseded_all(key);
        let first = keys::superseded(key, upto);
        let found = self.shared.scan(&prefix, Bound::Included(&first), limit)?;
        let with_index = |(key, position): Entry| Some((keys::superseded_index(&key)?, position));
        Ok(found.into_iter().filter_map(with_index).collect())
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<Position>, StoreError> {
        self.shared.get(&keys::request(request))
    }

    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, StoreError> {
        self.shared.edges(&keys::edges(key, direction), query)
    }

    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, StoreError> {
        let prefix = keys::latest(prefix.as_bytes());
        Ok(!self.shared.scan(&prefix, Bound::Excluded(&prefix), 1)?.is_empty())
    }

    fn any_name_hash(&self) -> Result<bool, StoreError> {
        Ok(!self.shared.scan(keys::NAME_HASHES, Bound::Included(keys::NAME_HASHES), 1)?.is_empty())
    }

    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Position)>, StoreError> {
        let prefix = keys::latest(prefix.as_bytes());
        let after = after.map(|after| keys::latest(after.as_bytes()));
        let start = match &after {
            Some(after) if **after >= *prefix => Bound::Excluded(&**after),
            _ => Bound::Included(&*prefix),
        };
        let found = self.shared.scan(&prefix, start, limit)?;
        Ok(found.into_iter().map(|(key, position)| (Key::from_bytes(keys::identifier(&key)), position)).collect())
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.shared.wait_for_room()
    }

    fn apply(&self, changes: Vec<PlacedChange>, upto: Applied) -> Result<(), StoreError> {
        if self.shared.control().mode != MergeMode::On {
            return Err(self.shared.closed());
        }
        let mut entries = changes.into_iter().flat_map(keys::entries);
        loop {
            // Built outside the overlay's lock, which is then held for the inserts alone.
            let chunk: Vec<_> = entries.by_ref().take(INSERT_CHUNK_CHANGES).collect();
            if chunk.is_empty() {
                break;
            }
            // An entry in the ledger must be applied, so the changes go in even without room; `ready` refuses the next
            // ones.
            let _ = self.shared.wait_for_room();
            self.shared.overlay.insert(chunk.into_iter());
        }
        self.shared.overlay.set_applied(upto);
        let (count, since) = self.shared.overlay.active();
        if count >= self.shared.options.overlay_entries_max || self.shared.is_old(since) {
            self.shared.freeze(&self.shared.control());
        }
        Ok(())
    }

    fn durable(&self) -> Applied {
        self.shared.control().durable
    }

    fn close(&self) -> Result<(), StoreError> {
        if self.stop(MergeMode::Finish) {
            let closed = self.shared.blocks.close();
            self.shared.control().failure.clone().map_or(closed, Err)
        } else {
            Ok(())
        }
    }
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position under an index key.
    fn get(&self, key: &[u8]) -> Result<Option<Position>, StoreError> {
        let hash = self.hasher.hash(key);
        if let Some(position) = self.overlay.get(key, hash) {
            return Ok(position);
        }
        if !self.blocks_may_hold(hash) {
            return Ok(None);
        }
        let span = self.blocks.find(key)?;
        let Some(block) = &span.block else { return Ok(None) };
        self.get_in(block, key)
    }

    /// The position under an index key, without waiting for a disk.
    fn get_resident(&self, key: &[u8]) -> Result<Resident<Option<Position>>, StoreError> {
        let hash = self.hasher.hash(key);
        if let Some(position) = self.overlay.get(key, hash) {
            return Ok(Resident::Here(position));
        }
        if !self.blocks_may_hold(hash) {
            return Ok(Resident::Here(None));
        }
        match self.blocks.find_resident(key) {
            Some(block) => self.get_in(&block, key).map(Resident::Here),
            None => Ok(Resident::OnDisk),
        }
    }

    fn get_in(&self, block: &[u8], key: &[u8]) -> Result<Option<Position>, StoreError> {
        let found = Block::open(block).and_then(|block| block.get(key));
        found.map_err(|error| self.blocks.bad_block(key, error))
    }

    /// False if the key is certainly in no block.
    fn blocks_may_hold(&self, key: KeyHash) -> bool {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        filter.as_ref().is_none_or(|filter| filter.may_hold(key))
    }

    /// See [`scan::scan`].
    fn scan(&self, prefix: &[u8], start: Bound<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        scan::scan(&self.blocks, &self.overlay, prefix, start, limit)
    }

    /// The reason why no change can be applied any more, as an error.
    fn check_running(&self, control: &Control) -> Result<(), StoreError> {
        match &control.failure {
            Some(failure) => Err(failure.clone()),
            None if control.mode != MergeMode::On => Err(self.closed()),
            None => Ok(()),
        }
    }

    fn closed(&self) -> StoreError {
        self.blocks.engine_error("it is closed")
    }

    /// Waits until the active map has room.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut control = self.control();
        loop {
            self.check_running(&control)?;
            if self.overlay.active().0 < self.options.overlay_entries_max || self.freeze(&control) {
                return Ok(());
            }
            if let Some(full) = &control.full {
                return Err(full.clone());
            }
            control = self.changed.wait(control).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_old(&self, since: Option<Instant>) -> bool {
        since.is_some_and(|since| since.elapsed() >= self.options.overlay_age_max)
    }

    /// Freezes the active map for the merge thread; false if another map is still being merged.
    fn freeze(&self, control: &Control) -> bool {
        let frozen = self.overlay.freeze(control.durable).is_some();
        self.changed.notify_all();
        frozen
    }

    fn fail(&self, failure: StoreError) {
        self.control().failure.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// Body of the merge thread.
    fn merge_until_told(&self) {
        // Nobody waits for a merge unless it falls far behind: reads go first. A system that refuses the priority does
        // no harm.
        let _ = rustix::process::setpriority_process(None, MERGE_NICE);
        let filled = catch_unwind(AssertUnwindSafe(|| self.make_filter(0)));
        if let Err(failure) = filled.unwrap_or_else(|_| Err(self.blocks.engine_error("filling the filter panicked"))) {
            return self.fail(failure);
        }
        while let Some(frozen) = self.next_frozen() {
            let merged = catch_unwind(AssertUnwindSafe(|| self.merge_and_mark(&frozen)));
            match merged.unwrap_or_else(|_| Err(self.blocks.engine_error("the merge panicked"))) {
                Ok(MergeOutcome::All) => {
                    self.overlay.thaw();
                    let mut control = self.control();
                    control.durable = frozen.mark;
                    if control.full.take().is_some() {
                        tracing::info!("the index is merged again");
                    }
                    drop(control);
                    self.changed.notify_all();
                }
                Ok(MergeOutcome::Stopped) => return,
                Err(full @ StoreError::Full { .. }) if self.wait_for_disk(&full) => {}
                Err(failure) => return self.fail(failure),
            }
        }
    }

    /// Waits until the disk has room, then reopens the blocks. False if merging is to end.
    fn wait_for_disk(&self, full: &StoreError) -> bool {
        let mut control = self.control();
        let had_room = control.full.is_none();
        if had_room {
            tracing::error!(error = %full, "what was registered is merged into the index when there is room again");
            control.full = Some(full.clone());
            self.changed.notify_all();
        }
        // A thread that is to finish tries once more.
        let mut again = had_room || control.mode == MergeMode::On;
        while again {
            let wait =
                self.changed.wait_timeout_while(control, FULL_DISK_RETRY, |control| control.mode == MergeMode::On);
            control = wait.unwrap_or_else(PoisonError::into_inner).0;
            again = control.mode == MergeMode::On;
            if control.mode == MergeMode::Abandon {
                return false;
            }
            drop(control);
            match self.blocks.reopen() {
                Ok(()) => return true,
                Err(StoreError::Full { .. }) => {}
                Err(failure) => {
                    self.fail(failure);
                    return false;
                }
            }
            control = self.control();
        }
        false
    }

    /// Waits for a map to merge; `None` if the thread is to end.
    fn next_frozen(&self) -> Option<Arc<Frozen>> {
        let mut control = self.control();
        loop {
            if control.mode == MergeMode::Abandon {
                return None;
            }
            if let Some(frozen) = self.overlay.frozen() {
                return Some(frozen);
            }
            let (_, since) = self.overlay.active();
            if control.mode == MergeMode::Finish || self.is_old(since) {
                let frozen = self.overlay.freeze(control.durable);
                if frozen.is_some() || control.mode == MergeMode::Finish {
                    return frozen;
                }
            }
            let age_max = self.options.overlay_age_max;
            let wait = since.map_or(age_max, |since| age_max.saturating_sub(since.elapsed()));
            let waited = self.changed.wait_timeout(control, wait.max(Duration::from_millis(1)));
            control = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Builds a filter of all keys in the blocks, with room for `more` keys and for the blocks to fill up.
    fn make_filter(&self, more: usize) -> Result<(), StoreError> {
        let limit = self.options.block_entries_max;
        let filter = Filter::new(self.blocks.len() * limit + 2 * more.max(limit));
        if merge::each_key(&self.blocks, &self.abandon, |key| filter.insert(self.hasher.hash(key)))?
            == MergeOutcome::All
        {
            *self.filter.write().unwrap_or_else(PoisonError::into_inner) = Some(filter);
        }
        Ok(())
    }

    /// Inserts the keys of changes into the filter, before the changes go into the blocks.
    fn filter_changes(&self, changes: &Changes) -> Result<(), StoreError> {
        let has_room =
            |filter: &Option<Filter>| filter.as_ref().is_some_and(|filter| filter.has_room_for(changes.len()));
        if !has_room(&self.filter.read().unwrap_or_else(PoisonError::into_inner)) {
            self.make_filter(changes.len())?;
        }
        if let Some(filter) = &*self.filter.read().unwrap_or_else(PoisonError::into_inner) {
            changes.keys().for_each(|key| filter.insert(self.hasher.hash(key)));
        }
        Ok(())
    }

    /// Makes the frozen changes durable, then the other files that the mark covers, then writes the mark.
    fn merge_and_mark(&self, frozen: &Frozen) -> Result<MergeOutcome, StoreError> {
        let limits = BlockLimits { entries_max: self.options.block_entries_max.max(2), bytes_max: BLOCK_BYTES_MAX };
        self.filter_changes(&frozen.changes)?;
        if merge::merge(&self.blocks, &frozen.changes, limits, &self.abandon)? == MergeOutcome::Stopped {
            return Ok(MergeOutcome::Stopped);
        }
        self.blocks.sync()?;
        (self.options.before_mark)(frozen.mark).map_err(|error| {
            self.blocks.engine_error(format!("before marking ledger entry {}: {error}", frozen.mark.entries))
        })?;
        write_mark(&self.blocks, frozen.mark)?;
        Ok(MergeOutcome::All)
    }
}

#[cfg(test)]
mod tests;

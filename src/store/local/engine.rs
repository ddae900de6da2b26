//! The engine on the local disk: the index of positions, and the ledger's segments to which they lead.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::LocalIndex;
use crate::{
    entry::{Locator, StoredEntry},
    id::{Key, KeyPrefix, dns_name::NameHash},
    ledger::{EntryBytes, LocalSegments, Mark, Position, ReplayedFrame, Resident, Segments as _},
    store::{
        Applied, Direction, EdgeQuery, Entries, IndexChange, IndexedEdge, PastPage, PlacedChange, PositionIndex,
        ReadError, RequestKey, StoreError,
    },
};

/// Entries in the segments of a local ledger, found through a [`LocalIndex`].
pub struct LocalEntries {
    index: Arc<LocalIndex>,
    segments: Arc<LocalSegments>,
    /// Reason why a batch could not be applied: the index lacks it, and takes nothing more.
    gap: OnceLock<String>,
}

impl LocalEntries {
    /// The engine over segments whose entries are all applied to the index ([`LocalIndex::replay`]).
    pub fn new(index: Arc<LocalIndex>, segments: Arc<LocalSegments>) -> Self {
        Self { index, segments, gap: OnceLock::new() }
    }

    fn entry(&self, position: Position) -> Result<EntryBytes, ReadError> {
        Ok(self.segments.entry_at(position)?)
    }

    fn found(&self, position: Option<Position>) -> Result<Option<EntryBytes>, ReadError> {
        position.map(|position| self.entry(position)).transpose()
    }

    /// The changes of a batch whose entries lie at `positions`, with the positions to which they lead.
    fn placed(
        &self,
        changes: Vec<IndexChange>,
        first: u64,
        positions: &[Position],
    ) -> Result<Vec<PlacedChange>, ReadError> {
        let place = |index: u64| -> Result<Position, ReadError> {
            let staged = index.checked_sub(first).and_then(|nth| positions.get(usize::try_from(nth).ok()?));
            Ok(staged.map_or_else(|| self.segments.position(index), |position| Ok(*position))?)
        };
        let placed = |change: IndexChange| {
            let (position, superseded) = (place(change.index)?, change.superseded.map(place).transpose()?);
            Ok(PlacedChange { change, position, superseded })
        };
        changes.into_iter().map(placed).collect()
    }

    fn apply_placed(&self, changes: Vec<IndexChange>, batch: Range<u64>) -> Result<(), ReadError> {
        let first_index = batch.start;
        let positions = self.segments.positions(batch)?;
        let Some(&first) = positions.first() else { return Ok(()) };
        let placed = self.placed(changes, first_index, &positions)?;
        // The mark is the start of the batch's own frame, not its end: the next start reads the ledger's last frame
        // again in any case, and so compares the tree with the root that the frame names.
        let mark = Mark::before_frame_of(first_index, first);
        Ok(self.index.apply(placed, Applied { entries: mark.entries, next: mark.position })?)
    }
}

impl Entries for LocalEntries {
    fn newest(&self, key: &Key) -> Result<Option<EntryBytes>, ReadError> {
        self.found(self.index.latest(key)?)
    }

    fn newest_resident(&self, key: &Key) -> Result<Resident<Option<EntryBytes>>, ReadError> {
        Ok(match self.index.latest_resident(key)? {
            Resident::Here(Some(position)) => self.segments.entry_resident(position)?.map(Some),
            Resident::Here(None) => Resident::Here(None),
            Resident::OnDisk => Resident::OnDisk,
        })
    }

    fn newest_locator(&self, key: &Key) -> Result<Option<Locator>, ReadError> {
        Ok(self.index.latest(key)?.map(Into::into))
    }

    fn by_locator(&self, locator: Locator) -> Result<EntryBytes, ReadError> {
        self.entry(locator.into())
    }

    fn at(&self, index: u64) -> Result<EntryBytes, ReadError> {
        Ok(self.segments.entry(index)?)
    }

    fn past(&self, key: &Key, page: PastPage) -> Result<Vec<EntryBytes>, ReadError> {
        let found = self.index.superseded(key, page.upto, page.entries_max)?;
        page.read(found.into_iter().map(|(_, position)| self.entry(position)))
    }

    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<EntryBytes>, ReadError> {
        self.found(self.index.by_name_hash(hash)?)
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<EntryBytes>, ReadError> {
        self.found(self.index.by_request(request)?)
    }

    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, ReadError> {
        Ok(self.index.edges(key, direction, query)?)
    }

    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        Ok(self.index.any_below(prefix)?)
    }

    fn any_name_hash(&self) -> Result<bool, ReadError> {
        Ok(self.index.any_name_hash()?)
    }

    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, EntryBytes)>, ReadError> {
        let found = self.index.scan(prefix, after, limit)?;
        found.into_iter().map(|(key, position)| Ok((key, self.entry(position)?))).collect()
    }

    fn ready(&self) -> Result<(), StoreError> {
        match self.gap.get() {
            None => self.index.ready(),
            Some(reason) => Err(self.index.engine_error(format!(
                "lacks entries that the ledger has, because earlier it failed ({reason}): start the node again"
            ))),
        }
    }

    fn apply(&self, changes: Vec<IndexChange>, batch: Range<u64>) -> Result<(), ReadError> {
        if self.gap.get().is_some() {
            return Ok(self.ready()?);
        }
        self.apply_placed(changes, batch).inspect_err(|error| {
            // The first reason is the one that counts.
            let _ = self.gap.set(error.to_string());
        })
    }

    fn durable(&self) -> u64 {
        self.index.durable().entries
    }

    fn close(&self) -> Result<(), StoreError> {
        self.index.close()?;
        // An index with a gap must not be taken for one that holds the whole ledger.
        self.gap.get().map_or(Ok(()), |_| self.ready())
    }
}

impl LocalIndex {
    /// Point of the ledger from which an index that was just opened has to be brought up to date.
    pub fn mark(&self) -> Mark {
        let applied = self.durable();
        Mark { entries: applied.entries, position: applied.next }
    }

    /// Applies a frame that is read again from the ledger, once there is room for it; `change_of` derives the change of
    /// an entry.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn replay<E>(
        &self,
        frame: &ReplayedFrame<'_>,
        change_of: impl Fn(&StoredEntry<'_>) -> Result<IndexChange, E>,
    ) -> Result<(), ReadError>
    where
        ReadError: From<E>,
    {
        self.ready()?;
        let mut changes = Vec::new();
        for item in frame.entries() {
            let (position, entry) = item?;
            changes.push(PlacedChange::of(position, &entry, change_of(&entry)?));
        }
        let mark = frame.mark();
        Ok(self.apply(changes, Applied { entries: mark.entries, next: mark.position })?)
    }
}

impl PlacedChange {
    /// The change by an entry that lies at a position of the local ledger: the entry itself leads to the one before.
    pub(super) fn of(position: Position, entry: &StoredEntry<'_>, change: IndexChange) -> Self {
        let superseded = entry.previous.map(|(_, locator)| locator.into());
        Self { change, position, superseded }
    }
}

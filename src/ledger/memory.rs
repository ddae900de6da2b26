//! The model of the segments: everything in memory, behind one lock.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    EntryBytes, LedgerError,
    segments::{Redacted, Redacting, Segments, SegmentsWriter, StagedBatch, Unwritten},
    tree::TreeHashes,
};
use crate::{entry::Locator, tlog::Hash};

/// Redacted entries by ledger index, and the index of the erase entry that makes them count.
#[derive(Clone, Debug)]
struct Redactions {
    erase: u64,
    entries: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Vec<u8>>,
    /// Hashes of each level, 32 bytes each.
    levels: BTreeMap<usize, Vec<u8>>,
    /// Redactions of an erasure that was sealed, and neither finished nor abandoned.
    sealed: Option<Redactions>,
}

impl State {
    fn redact(&mut self) {
        for (index, redacted) in self.sealed.take().map(|sealed| sealed.entries).unwrap_or_default() {
            self.entries[index as usize] = redacted;
        }
    }
}

/// Segments in memory. An entry's locator is its index.
#[derive(Debug, Default)]
pub struct MemorySegments {
    state: Mutex<State>,
    erasures_finished: AtomicU64,
}

impl MemorySegments {
    /// Opens the segments as the files are opened after a crash: an erasure that was cut off is finished or dropped.
    /// Returns the writer and the number of entries.
    pub fn open(self: &Arc<Self>) -> (MemoryWriter, u64) {
        let mut state = self.state();
        let entries = state.entries.len() as u64;
        state.sealed = state.sealed.take().filter(|sealed| sealed.erase < entries);
        state.redact();
        (MemoryWriter { segments: Arc::clone(self), staged: None }, entries)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> LedgerError {
    LedgerError::io("cannot read", Path::new("in memory"), io::ErrorKind::UnexpectedEof.into())
}

impl TreeHashes for MemorySegments {
    fn hash_bytes(&self, level: usize, start: u64, count: usize) -> Result<Vec<u8>, LedgerError> {
        let (state, start) = (self.state(), start as usize * 32);
        let hashes = state.levels.get(&level).and_then(|hashes| hashes.get(start..start + count * 32));
        hashes.map(<[u8]>::to_vec).ok_or_else(missing)
    }

    fn leaf(&self, index: u64) -> Result<Hash, LedgerError> {
        self.hashes(0, index, 1)?.pop().ok_or_else(missing)
    }
}

impl Segments for MemorySegments {
    fn entry(&self, index: u64) -> Result<EntryBytes, LedgerError> {
        let bytes = self.state().entries.get(index as usize).cloned().ok_or_else(missing)?;
        Ok(EntryBytes::new(bytes, self.locator(index)?))
    }

    fn entries(&self, indexes: Range<u64>) -> Result<Vec<EntryBytes>, LedgerError> {
        indexes.map(|index| self.entry(index)).collect()
    }

    fn locator(&self, index: u64) -> Result<Locator, LedgerError> {
        Some(Locator(index)).filter(|_| index < self.state().entries.len() as u64).ok_or_else(missing)
    }

    fn erasures_finished(&self) -> u64 {
        self.erasures_finished.load(Ordering::Acquire)
    }
}

/// Entries and new hashes by level of a batch that was staged.
type Staged = (Vec<Vec<u8>>, Vec<(usize, Vec<u8>)>);

/// The writer of [`MemorySegments`].
#[derive(Debug)]
pub struct MemoryWriter {
    segments: Arc<MemorySegments>,
    staged: Option<Staged>,
}

impl SegmentsWriter for MemoryWriter {
    fn begin(&mut self, first: u64) -> Result<(), LedgerError> {
        assert_eq!(first, self.segments.state().entries.len() as u64, "a batch begins where the ledger ends");
        self.staged = None;
        Ok(())
    }

    fn locator(&self, index: u64, _offset: usize) -> Locator {
        Locator(index)
    }

    fn stage(&mut self, batch: &mut StagedBatch) -> Result<(), Unwritten> {
        let indexes = batch.first()..batch.first() + batch.len() as u64;
        let entries = indexes.filter_map(|index| batch.entry(index).map(<[u8]>::to_vec)).collect();
        let levels = batch.hashes().levels().map(|(level, hashes)| (level, hashes.as_flattened().to_vec()));
        self.staged = Some((entries, levels.collect()));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        let (entries, levels) = self.staged.take().expect("a batch was staged");
        let mut state = self.segments.state();
        state.entries.extend(entries);
        for (level, hashes) in levels {
            state.levels.entry(level).or_default().extend(hashes);
        }
        Ok(())
    }

    fn begin_erasure(&mut self, erase: u64) -> Result<Box<dyn Redacting>, LedgerError> {
        let redactions = Redactions { erase, entries: BTreeMap::new() };
        Ok(Box::new(MemoryRedactions { segments: Arc::clone(&self.segments), redactions }))
    }
}

/// An erasure in memory, prepared or sealed.
#[derive(Debug)]
struct MemoryRedactions {
    segments: Arc<MemorySegments>,
    redactions: Redactions,
}

impl Redacting for MemoryRedactions {
    fn redact(&mut self, index: u64, redacted: Vec<u8>) -> Result<(), LedgerError> {
        self.redactions.entries.insert(index, redacted);
        Ok(())
    }

    fn seal(self: Box<Self>) -> Result<Box<dyn Redacted>, Unwritten> {
        self.segments.state().sealed = Some(self.redactions.clone());
        Ok(self)
    }

    fn abandon(self: Box<Self>) -> Result<(), LedgerError> {
        Ok(())
    }
}

impl Redacted for MemoryRedactions {
    fn finish(self: Box<Self>) -> Result<(), LedgerError> {
        self.segments.state().redact();
        self.segments.erasures_finished.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn abandon(self: Box<Self>) -> Result<(), LedgerError> {
        self.segments.state().sealed = None;
        Ok(())
    }
}

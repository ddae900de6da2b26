//! Reads a log in order, on several threads: workers fetch, parse and hash; one collector gets chunk after chunk.
//!
//! Worker i of n takes every nth chunk and sends it over a bounded channel of its own; the collector takes from the
//! channels in turn. So order costs nothing, and memory is bounded however uneven the workers are. The leaf hashes are
//! compared with the source's tiles of level 0.

use std::{
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use super::{AuditError, LogSource, TILE_WIDTH};
use crate::{entry::leaf_hash, tlog::Hash};

/// Number of bundles in a chunk.
const CHUNK_BUNDLES: u64 = 8;
/// Maximum number of chunks of each worker that wait for the collector.
const CHUNKS_WAITING_MAX: usize = 4;

/// A run of consecutive entries.
pub(super) struct Chunk<T> {
    /// Leaf hashes of the entries.
    pub(super) leaves: Vec<Hash>,
    /// Parsed entries.
    pub(super) items: Vec<T>,
}

/// A log to read from its beginning to a size.
pub(super) struct Stream<'a, Bad> {
    pub(super) source: &'a dyn LogSource,
    pub(super) size: u64,
    pub(super) threads: usize,
    /// Constructor of the error about an entry.
    pub(super) bad: Bad,
}

impl<Bad: Fn(u64, String) -> AuditError + Sync> Stream<'_, Bad> {
    /// Passes every chunk to `collect`, in order.
    ///
    /// # Errors
    ///
    /// The first error, in order, of a worker, `read` or `collect`.
    pub(super) fn run<T: Send>(
        &self,
        read: impl Fn(u64, &[u8]) -> Result<T, AuditError> + Sync,
        mut collect: impl FnMut(Chunk<T>) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        let chunks = self.size.div_ceil(CHUNK_BUNDLES * TILE_WIDTH as u64);
        let threads = (self.threads as u64).min(chunks).max(1);
        let read = &read;
        thread::scope(|scope| {
            let workers: Vec<Receiver<_>> = (0..threads)
                .map(|worker| {
                    let (sender, receiver) = mpsc::sync_channel(CHUNKS_WAITING_MAX);
                    scope.spawn(move || self.work((worker..chunks).step_by(threads as usize), read, &sender));
                    receiver
                })
                .collect();
            for chunk in 0..chunks {
                let received = workers[(chunk % threads) as usize].recv();
                let received = received.map_err(|_| AuditError::Source("a thread of the audit died".into()))?;
                collect(received?)?;
            }
            Ok(())
        })
    }

    /// Reads the chunks of one worker, until there are no more, one fails, or the collector is gone.
    fn work<T>(
        &self,
        chunks: impl Iterator<Item = u64>,
        read: &impl Fn(u64, &[u8]) -> Result<T, AuditError>,
        sender: &SyncSender<Result<Chunk<T>, AuditError>>,
    ) {
        for number in chunks {
            let chunk = self.chunk(number, read);
            let failed = chunk.is_err();
            if sender.send(chunk).is_err() || failed {
                return;
            }
        }
    }

    fn chunk<T>(
        &self,
        number: u64,
        read: &impl Fn(u64, &[u8]) -> Result<T, AuditError>,
    ) -> Result<Chunk<T>, AuditError> {
        let capacity = CHUNK_BUNDLES as usize * TILE_WIDTH;
        let mut chunk = Chunk { leaves: Vec::with_capacity(capacity), items: Vec::with_capacity(capacity) };
        let bundles = self.size.div_ceil(TILE_WIDTH as u64);
        for bundle in (number * CHUNK_BUNDLES..bundles).take(CHUNK_BUNDLES as usize) {
            let first = bundle * TILE_WIDTH as u64;
            let width = usize::try_from(self.size - first).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
            let start = chunk.leaves.len();
            let bytes = self.source.entries(bundle, width).map_err(AuditError::Source)?;
            let mut rest = bytes.as_slice();
            for index in first..first + width as u64 {
                let (entry, behind) =
                    split_entry(rest).ok_or_else(|| (self.bad)(index, "its bundle ends before it".into()))?;
                rest = behind;
                chunk.leaves.push(leaf_hash(entry));
                chunk.items.push(read(index, entry)?);
            }
            if !rest.is_empty() {
                return Err((self.bad)(first + width as u64 - 1, "more bytes follow it in its bundle".into()));
            }
            let tile = self.source.hashes(0, bundle, width).map_err(AuditError::Source)?;
            if let Some(offset) = first_difference(&chunk.leaves[start..], &tile) {
                let what = "it has another leaf hash than the tiles say".to_owned();
                return Err((self.bad)(first + offset, what));
            }
        }
        Ok(chunk)
    }
}

/// Splits the first entry off a bundle.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Offset of the first of `hashes` that a tile lacks or contradicts.
pub(super) fn first_difference(hashes: &[Hash], tile: &[u8]) -> Option<u64> {
    let (tile, rest) = tile.as_chunks::<32>();
    let different = hashes.iter().zip(tile).position(|(hash, stored)| hash.0 != *stored);
    let shorter = (tile.len() != hashes.len() || !rest.is_empty()).then(|| tile.len().min(hashes.len() - 1));
    different.or(shorter).map(|offset| offset as u64)
}

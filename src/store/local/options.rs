//! Options of a [`LocalIndex`](super::LocalIndex).

use std::{io, time::Duration};

use crate::store::Applied;

/// Callback after a merge is durable and before its mark is written: files that must not fall behind the mark are made
/// durable here. An error keeps the mark from being written and ends merging.
pub type BeforeMark = Box<dyn Fn(Applied) -> io::Result<()> + Send + Sync>;

/// Options of a [`LocalIndex`](super::LocalIndex).
pub struct LocalOptions {
    /// Cache of the tree's pages, in bytes as sled counts them. Blocks used again are in the block cache; more here
    /// measured no better.
    pub sled_cache_bytes: u64,
    /// Cache of blocks, in bytes. At 16 (serial numbers) to 30 (random keys) bytes for each identifier it holds them
    /// all; a lookup costs 3 to 5 µs of CPU on a hit, tens of µs on a miss.
    pub block_cache_bytes: usize,
    /// Maximum changes in the overlay before it is merged; while a merge runs there may be twice as many.
    pub overlay_entries_max: usize,
    /// Maximum time that changes wait in the overlay for a merge.
    pub overlay_age_max: Duration,
    /// Maximum entries of one block; more make lookups slower and merges cheaper.
    pub block_entries_max: usize,
    /// See [`BeforeMark`].
    pub before_mark: BeforeMark,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            sled_cache_bytes: 16 << 20,
            block_cache_bytes: 128 << 20,
            overlay_entries_max: 524_288,
            overlay_age_max: Duration::from_secs(60),
            block_entries_max: 128,
            before_mark: Box::new(|_| Ok(())),
        }
    }
}

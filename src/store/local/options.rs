//! How a [`LocalStore`](super::LocalStore) works.

use std::{io, time::Duration};

use crate::store::Applied;

/// Called when a merge is on the disk and before it is marked as applied: whoever keeps files that must not fall behind
/// the mark makes them durable here. An error keeps the mark from being written and stops merging.
pub type BeforeMark = Box<dyn Fn(Applied) -> io::Result<()> + Send + Sync>;

/// How a [`LocalStore`](super::LocalStore) works.
pub struct LocalOptions {
    /// Cache of the tree's pages, as sled counts them. Blocks that are used again are in the block cache; more here
    /// measured no better.
    pub sled_cache_bytes: u64,
    /// Cache of blocks. At 16 (serial numbers) to 30 (random keys) bytes for each identifier it keeps them all; a lookup
    /// in a block that is not in it costs tens of µs of CPU, in one that is 3 to 5.
    pub block_cache_bytes: usize,
    /// Changes that the overlay takes in before it is merged; there may be twice as many while a merge runs.
    pub overlay_entries_max: usize,
    /// The longest time that changes wait in the overlay for a merge.
    pub overlay_age_max: Duration,
    /// Most entries of one block; more make lookups slower and merges cheaper.
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

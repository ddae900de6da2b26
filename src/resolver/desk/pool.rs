//! The read pool: every read that may wait for a disk runs here, never on a thread of the runtime.
//!
//! Each kind of work has its own share ([`ReadShare`]): a maximum of concurrent reads, and a maximum backlog of waiting
//! ones. So long work never takes the places of short queries. A read without a place in the backlog is refused at once
//! ([`Busy`]). A running read keeps its place until it ends, even if its caller is gone; a waiting read ends with its
//! caller.
//!
//! The threads are tokio's blocking threads; the shares bound how many are used. A slow disk shows as waiting reads
//! ([`ReadPool::counts`]).

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent and of waiting reads of single answers about the present.
const ANSWERS_AT_ONCE_MAX: usize = 16;
const ANSWERS_WAITING_MAX: usize = 8_192;
/// Maximum number of concurrent and of waiting reads about the past and for evidence. A page of a history takes some
/// megabytes.
const PAST_AT_ONCE_MAX: usize = 16;
const PAST_WAITING_MAX: usize = 1_024;
/// Maximum number of concurrent and of waiting reads of files.
const FILES_AT_ONCE_MAX: usize = 8;
const FILES_WAITING_MAX: usize = 1_024;
/// Maximum number of concurrent and of waiting reads of export pages.
const SCANS_AT_ONCE_MAX: usize = 4;
const SCANS_WAITING_MAX: usize = 64;
/// Maximum number of concurrent traces and recalls; none waits. Each holds its graph in memory until it ends, some tens
/// of megabytes at most.
const TRACES_AT_ONCE_MAX: usize = 8;

/// Kinds of work in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadShare {
    /// Single answers about the present.
    Answers,
    /// Answers about the past, and evidence: many entries each.
    Past,
    /// Files served as they are: tiles, entry bundles, pages of the replica stream; and documents about the node's
    /// state.
    Files,
    /// Pages of an export.
    Scans,
    /// Traces and recalls: seconds and tens of megabytes each.
    Traces,
}

impl ReadShare {
    /// All shares, in the order of [`ReadPool::counts`].
    pub const ALL: [Self; 5] = [Self::Answers, Self::Past, Self::Files, Self::Scans, Self::Traces];

    /// Maximum number of concurrent reads.
    pub const fn threads_max(self) -> usize {
        match self {
            Self::Answers => ANSWERS_AT_ONCE_MAX,
            Self::Past => PAST_AT_ONCE_MAX,
            Self::Files => FILES_AT_ONCE_MAX,
            Self::Scans => SCANS_AT_ONCE_MAX,
            Self::Traces => TRACES_AT_ONCE_MAX,
        }
    }

    /// Maximum number of waiting reads.
    pub const fn waiting_max(self) -> usize {
        match self {
            Self::Answers => ANSWERS_WAITING_MAX,
            Self::Past => PAST_WAITING_MAX,
            Self::Files => FILES_WAITING_MAX,
            Self::Scans => SCANS_WAITING_MAX,
            // A trace runs for too long for another to wait for its place.
            Self::Traces => 0,
        }
    }

    /// Name of the share, in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Past => "past",
            Self::Files => "files",
            Self::Scans => "scans",
            Self::Traces => "traces",
        }
    }
}

/// Refusal or loss of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The backlog of the share is full.
    #[error(
        "{running} reads of this kind are under way and {waiting} wait for them, which is the limit; try again later"
    )]
    Full {
        /// Maximum number of concurrent reads.
        running: usize,
        /// Maximum number of waiting reads.
        waiting: usize,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// The read pool. A clone is cheap and shares the places.
#[derive(Clone, Debug)]
pub struct ReadPool {
    lanes: Arc<[Lane; ReadShare::ALL.len()]>,
}

#[derive(Debug)]
struct Lane {
    share: ReadShare,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

/// Use of one share of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadCounts {
    /// The share.
    pub share: ReadShare,
    /// Number of running reads.
    pub running: usize,
    /// Number of waiting reads.
    pub waiting: usize,
    /// Number of reads refused since the start.
    pub refused: u64,
}

impl Lane {
    fn new(share: ReadShare) -> Self {
        let places = Arc::new(Semaphore::new(share.threads_max()));
        Self { share, places, waiting: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    fn full(&self) -> Busy {
        self.refused.fetch_add(1, Relaxed);
        Busy::Full { running: self.share.threads_max(), waiting: self.share.waiting_max() }
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit, Busy> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::new(self).ok_or_else(|| self.full())?;
        let permit = Arc::clone(&self.places).acquire_owned().await;
        permit.map_err(|_| Busy::Stopping)
    }
}

/// A waiting read, counted until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(lane: &'a Lane) -> Option<Self> {
        let more = |waiting: usize| (waiting < lane.share.waiting_max()).then_some(waiting + 1);
        lane.waiting.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Self(&lane.waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Default for ReadPool {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadPool {
    /// A pool without reads in progress.
    pub fn new() -> Self {
        Self { lanes: Arc::new(ReadShare::ALL.map(Lane::new)) }
    }

    fn lane(&self, share: ReadShare) -> &Lane {
        &self.lanes[share as usize]
    }

    /// Runs a read on a thread that may wait for the disk. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`Busy`].
    pub async fn run<T: Send + 'static>(
        &self,
        share: ReadShare,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = self.lane(share).enter().await?;
        let read = tokio::task::spawn_blocking(move || {
            let read = read();
            // The place is freed when the read ends, not when its caller goes away.
            drop(place);
            read
        });
        read.await.map_err(|_| Busy::Stopping)
    }

    /// Starts work without a result, or refuses it at once. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`Busy::Full`].
    pub fn start(&self, share: ReadShare, work: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let lane = self.lane(share);
        let permit = Arc::clone(&lane.places).try_acquire_owned().map_err(|_| lane.full())?;
        tokio::task::spawn_blocking(move || {
            work();
            drop(permit);
        });
        Ok(())
    }

    /// Current use of each share.
    pub fn counts(&self) -> [ReadCounts; ReadShare::ALL.len()] {
        ReadShare::ALL.map(|share| {
            let lane = self.lane(share);
            ReadCounts {
                share,
                running: share.threads_max() - lane.places.available_permits().min(share.threads_max()),
                waiting: lane.waiting.load(Relaxed),
                refused: lane.refused.load(Relaxed),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes all places of a share; dropping the result frees them.
    async fn fill(pool: &ReadPool, share: ReadShare) -> Vec<mpsc::Sender<()>> {
        let mut releases = Vec::new();
        for _ in 0..share.threads_max() {
            let (release, released) = mpsc::channel::<()>();
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(share, move || _ = released.recv()).await });
            releases.push(release);
        }
        while pool.counts()[share as usize].running < share.threads_max() {
            tokio::task::yield_now().await;
        }
        releases
    }

    #[tokio::test]
    async fn a_share_that_is_full_takes_nothing_from_the_others() {
        let pool = ReadPool::new();
        let held = fill(&pool, ReadShare::Past).await;
        assert_eq!(pool.run(ReadShare::Answers, || 7).await, Ok(7));
        let counts = pool.counts();
        assert_eq!((counts[0].running, counts[1].running), (0, ReadShare::Past.threads_max()));
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(ReadShare::Past, || 8).await }
        });
        while pool.counts()[1].waiting == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert_eq!(waits.await.unwrap(), Ok(8));
        assert_eq!(pool.counts()[1].waiting, 0);
    }

    #[tokio::test]
    async fn what_finds_no_place_to_wait_is_refused() {
        let pool = ReadPool::new();
        let held = fill(&pool, ReadShare::Traces).await;
        assert_eq!(pool.start(ReadShare::Traces, || ()), Err(Busy::Full { running: 8, waiting: 0 }));
        assert_eq!(pool.run(ReadShare::Traces, || ()).await, Err(Busy::Full { running: 8, waiting: 0 }));
        assert_eq!(pool.counts()[4].refused, 2);
        drop(held);
        while pool.counts()[4].running > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.start(ReadShare::Traces, || ()), Ok(()));
    }

    #[tokio::test]
    async fn one_who_goes_away_gives_its_place_in_the_queue_back() {
        let pool = ReadPool::new();
        let held = fill(&pool, ReadShare::Scans).await;
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(ReadShare::Scans, || ()).await }
        });
        while pool.counts()[3].waiting == 0 {
            tokio::task::yield_now().await;
        }
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert_eq!(pool.counts()[3].waiting, 0);
        drop(held);
    }
}

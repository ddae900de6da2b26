//! Statistics of the write core, and its readiness.
//!
//! Counting costs an addition or two for a batch. Each number is read as it is at that moment; two numbers may differ
//! by a batch.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{QUEUE_COMMANDS_MAX, QUEUE_KIB_MAX, Receipt, Refusal};

/// Upper bounds of the histogram classes of batch sizes, in commands.
pub const BATCH_CLASSES: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 10_000];
/// Upper bounds of the histogram classes of commit times, in microseconds.
pub const COMMIT_CLASSES: [u64; 10] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];
/// Time until a refusal by the ledger lapses, if nothing was tried since.
const REFUSAL_COUNTS: Duration = Duration::from_secs(10);

/// Result of a command, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resulted {
    /// The command was written.
    Written,
    /// The command had been written before, and got its first receipt again.
    Replayed,
    /// As [`Refusal::Invalid`].
    Invalid,
    /// As [`Refusal::Unreadable`].
    Unreadable,
    /// As [`Refusal::TooMany`].
    TooMany,
    /// As [`Refusal::BatchTooLong`].
    BatchTooLong,
    /// As [`Refusal::Withdrawn`].
    Withdrawn,
    /// As [`Refusal::AlreadyExists`].
    AlreadyExists,
    /// As [`Refusal::NotFound`].
    NotFound,
    /// As [`Refusal::Retired`].
    Retired,
    /// As [`Refusal::Immutable`].
    Immutable,
    /// As [`Refusal::Erased`].
    Erased,
    /// As [`Refusal::VersionMismatch`].
    VersionMismatch,
    /// As [`Refusal::RequestReused`].
    RequestReused,
    /// As [`Refusal::Delegated`].
    Delegated,
    /// As [`Refusal::NotResponsible`].
    NotResponsible,
    /// As [`Refusal::SaidAlready`].
    SaidAlready,
    /// As [`Refusal::TryLater`].
    TryLater,
    /// As [`Refusal::Unavailable`].
    Unavailable,
    /// As [`Refusal::Mirror`].
    Mirror,
    /// As [`Refusal::Denied`].
    Denied,
    /// As [`Refusal::Internal`].
    Internal,
}

impl Resulted {
    /// All results, in the order of their counters.
    pub const ALL: [Self; 22] = [
        Self::Written,
        Self::Replayed,
        Self::Invalid,
        Self::Unreadable,
        Self::TooMany,
        Self::BatchTooLong,
        Self::Withdrawn,
        Self::AlreadyExists,
        Self::NotFound,
        Self::Retired,
        Self::Immutable,
        Self::Erased,
        Self::VersionMismatch,
        Self::RequestReused,
        Self::Delegated,
        Self::NotResponsible,
        Self::SaidAlready,
        Self::TryLater,
        Self::Unavailable,
        Self::Mirror,
        Self::Denied,
        Self::Internal,
    ];

    /// One word for the result, as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Replayed => "replayed",
            Self::Invalid => "invalid",
            Self::Unreadable => "unreadable",
            Self::TooMany => "too_many",
            Self::BatchTooLong => "batch_too_long",
            Self::Withdrawn => "withdrawn",
            Self::AlreadyExists => "already_exists",
            Self::NotFound => "not_found",
            Self::Retired => "retired",
            Self::Immutable => "immutable",
            Self::Erased => "erased",
            Self::VersionMismatch => "version_mismatch",
            Self::RequestReused => "request_reused",
            Self::Delegated => "delegated",
            Self::NotResponsible => "not_responsible",
            Self::SaidAlready => "said_already",
            Self::TryLater => "try_later",
            Self::Unavailable => "unavailable",
            Self::Mirror => "mirror",
            Self::Denied => "denied",
            Self::Internal => "internal",
        }
    }

    fn of(result: &Result<Receipt, Refusal>) -> Self {
        match result {
            Ok(receipt) if receipt.replayed => Self::Replayed,
            Ok(_) => Self::Written,
            Err(refusal) => Self::of_refusal(refusal),
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Invalid { .. } => Self::Invalid,
            Refusal::Unreadable { .. } => Self::Unreadable,
            Refusal::TooMany { .. } => Self::TooMany,
            Refusal::BatchTooLong => Self::BatchTooLong,
            Refusal::Withdrawn { .. } => Self::Withdrawn,
            Refusal::AlreadyExists { .. } => Self::AlreadyExists,
            Refusal::NotFound { .. } => Self::NotFound,
            Refusal::Retired { .. } => Self::Retired,
            Refusal::Immutable { .. } => Self::Immutable,
            Refusal::Erased { .. } => Self::Erased,
            Refusal::VersionMismatch { .. } => Self::VersionMismatch,
            Refusal::RequestReused { .. } => Self::RequestReused,
            Refusal::Delegated { .. } => Self::Delegated,
            Refusal::NotResponsible { .. } => Self::NotResponsible,
            Refusal::SaidAlready { .. } => Self::SaidAlready,
            Refusal::TryLater => Self::TryLater,
            Refusal::Unavailable { .. } => Self::Unavailable,
            Refusal::Mirror { .. } => Self::Mirror,
            Refusal::Denied { .. } => Self::Denied,
            Refusal::Internal { .. } => Self::Internal,
        }
    }
}

/// Histogram: numbers counted in classes by size.
#[derive(Debug)]
pub struct Histogram<const CLASSES: usize> {
    bounds: [u64; CLASSES],
    counts: [AtomicU64; CLASSES],
    above: AtomicU64,
    sum: AtomicU64,
}

/// State of a [`Histogram`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Upper bound of each class and the count of numbers in it; last, without a bound, the numbers above all classes.
    pub classes: Vec<(Option<u64>, u64)>,
    /// The sum of all numbers.
    pub sum: u64,
}

impl<const CLASSES: usize> Histogram<CLASSES> {
    fn new(bounds: [u64; CLASSES]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::default());
        Self { bounds, counts, above: AtomicU64::default(), sum: AtomicU64::default() }
    }

    fn add(&self, number: u64) {
        let class = self.bounds.iter().zip(&self.counts).find(|(bound, _)| number <= **bound);
        class.map_or(&self.above, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    /// State of the histogram now.
    pub fn counted(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let classes = self.bounds.iter().zip(&self.counts).map(|(bound, count)| (Some(*bound), read(count)));
        Counted { classes: classes.chain([(None, read(&self.above))]).collect(), sum: read(&self.sum) }
    }
}

/// Commands in the queue before the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Number of commands.
    pub commands: usize,
    /// Their approximate size in memory, in KiB.
    pub kib: usize,
}

/// Statistics of the write core since its start, and its readiness.
#[derive(Debug)]
pub struct Stats {
    results: [AtomicU64; Resulted::ALL.len()],
    /// Sizes of committed batches, in entries.
    pub batch_commands: Histogram<{ BATCH_CLASSES.len() }>,
    /// Times to write, sync and sign a batch, in microseconds.
    pub commit_us: Histogram<{ COMMIT_CLASSES.len() }>,
    pub(super) commands_room: Arc<Semaphore>,
    pub(super) kib_room: Arc<Semaphore>,
    refusal: Mutex<Option<(String, Instant)>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            results: std::array::from_fn(|_| AtomicU64::default()),
            batch_commands: Histogram::new(BATCH_CLASSES),
            commit_us: Histogram::new(COMMIT_CLASSES),
            commands_room: Arc::new(Semaphore::new(QUEUE_COMMANDS_MAX)),
            kib_room: Arc::new(Semaphore::new(QUEUE_KIB_MAX)),
            refusal: Mutex::default(),
        }
    }
}

impl Stats {
    /// Tests readiness as far as is known without trying: a refusal by the ledger or the index counts until a batch is
    /// taken, or for ten seconds when nothing is known against batches any more.
    ///
    /// # Errors
    ///
    /// The reason, in one sentence.
    pub fn ready(&self) -> Result<(), String> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().map_or(Ok(()), |(reason, _)| Err(reason.clone()))
    }

    /// Load of the queue before the ledger.
    pub fn queued(&self) -> Queued {
        Queued {
            commands: QUEUE_COMMANDS_MAX - self.commands_room.available_permits(),
            kib: QUEUE_KIB_MAX - self.kib_room.available_permits(),
        }
    }

    /// Number of commands with a result.
    pub fn results(&self, resulted: Resulted) -> u64 {
        self.results[resulted as usize].load(Ordering::Relaxed)
    }

    /// Closes the queue: nothing more enters, and callers that wait for room are refused.
    pub(super) fn close(&self) {
        self.commands_room.close();
        self.kib_room.close();
    }

    /// Counts a command that was refused before it was submitted.
    pub fn count_refusal(&self, refusal: &Refusal) {
        self.results[Resulted::of_refusal(refusal) as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, results: &[Result<Receipt, Refusal>]) {
        let mut counts = [0u64; Resulted::ALL.len()];
        results.iter().for_each(|result| counts[Resulted::of(result) as usize] += 1);
        for (sum, count) in self.results.iter().zip(counts).filter(|(_, count)| *count > 0) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts a durable batch.
    pub(super) fn committed(&self, commands: usize, took: Duration) {
        self.batch_commands.add(commands as u64);
        self.commit_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes that a batch was committed.
    pub(super) fn accepted(&self) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes that no batch can be committed now.
    pub(super) fn refused(&self, reason: String) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((reason, Instant::now()));
    }

    /// Notes that nothing is known against batches; a recent refusal still counts, for only a batch shows that one is
    /// taken.
    pub(super) fn nothing_against(&self) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if refusal.as_ref().is_some_and(|(_, since)| since.elapsed() >= REFUSAL_COUNTS) {
            *refusal = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_its_place() {
        assert!(Resulted::ALL.iter().enumerate().all(|(place, resulted)| *resulted as usize == place));
    }

    #[test]
    fn numbers_fall_into_their_class() {
        let histogram = Histogram::new([1, 10]);
        [0, 1, 2, 10, 11, 1_000].into_iter().for_each(|number| histogram.add(number));
        let classes = vec![(Some(1), 2), (Some(10), 2), (None, 2)];
        assert_eq!(histogram.counted(), Counted { classes, sum: 1_024 });
    }

    #[test]
    fn a_refusal_counts_until_a_batch_goes_through() {
        let stats = Stats::default();
        assert_eq!(stats.ready(), Ok(()));
        stats.refused("no space".into());
        stats.nothing_against();
        assert_eq!(stats.ready(), Err("no space".into()));
        stats.accepted();
        assert_eq!(stats.ready(), Ok(()));
        stats.count(&[Err(Refusal::TryLater), Err(Refusal::TryLater)]);
        stats.count_refusal(&Refusal::TryLater);
        assert_eq!((stats.results(Resulted::TryLater), stats.results(Resulted::Written)), (3, 0));
        assert_eq!(stats.queued(), Queued { commands: 0, kib: 0 });
    }
}

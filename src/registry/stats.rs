//! What the write core has done, counted, and whether it takes commands now.
//!
//! Counting costs an addition or two for a batch. Whoever reads sees each number as it is at that moment; together they may
//! be apart by a batch.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{QUEUE_COMMANDS_MAX, QUEUE_KIB_MAX, Receipt, Refusal};

/// Upper bounds of the classes that batches are counted in, in commands.
pub const BATCH_CLASSES: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 10_000];
/// Upper bounds of the classes that commits are counted in, in microseconds.
pub const COMMIT_CLASSES: [u64; 10] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];
/// How long a refusal of the ledger counts when nothing was tried since.
const REFUSAL_COUNTS: Duration = Duration::from_secs(10);

/// What came of a command, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resulted {
    /// It was written.
    Written,
    /// It had been written before, and got its first receipt.
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
    /// Everything that is counted, in order.
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

    /// One word for it.
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

/// Numbers sorted into classes by size.
#[derive(Debug)]
pub struct Histogram<const CLASSES: usize> {
    bounds: [u64; CLASSES],
    counts: [AtomicU64; CLASSES],
    above: AtomicU64,
    sum: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Upper bounds of the classes, and how many numbers each holds; those of no class last, with no bound.
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

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let classes = self.bounds.iter().zip(&self.counts).map(|(bound, count)| (Some(*bound), read(count)));
        Counted { classes: classes.chain([(None, read(&self.above))]).collect(), sum: read(&self.sum) }
    }
}

/// What waits for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Commands.
    pub commands: usize,
    /// About how much memory they take, in KiB.
    pub kib: usize,
}

/// What the write core has done since it started, and how it is.
#[derive(Debug)]
pub struct Stats {
    results: [AtomicU64; Resulted::ALL.len()],
    /// Entries of the batches that were committed.
    pub batch_commands: Histogram<{ BATCH_CLASSES.len() }>,
    /// How long it took to write, sync and sign them, in microseconds.
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
    /// Whether commands are taken now, as far as is known without trying. A refusal by the ledger or the index counts
    /// until a batch is taken again, or for ten seconds when nothing is known against it any more.
    ///
    /// # Errors
    ///
    /// The reason, in one sentence.
    pub fn ready(&self) -> Result<(), String> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().map_or(Ok(()), |(reason, _)| Err(reason.clone()))
    }

    /// What waits for the ledger.
    pub fn queued(&self) -> Queued {
        Queued {
            commands: QUEUE_COMMANDS_MAX - self.commands_room.available_permits(),
            kib: QUEUE_KIB_MAX - self.kib_room.available_permits(),
        }
    }

    /// How often something came of a command.
    pub fn results(&self, resulted: Resulted) -> u64 {
        self.results[resulted as usize].load(Ordering::Relaxed)
    }

    /// Takes nothing more into the queue, and lets go who waits for room in it.
    pub(super) fn close(&self) {
        self.commands_room.close();
        self.kib_room.close();
    }

    /// Counts a command that was refused before it was handed in.
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

    /// Counts a batch that is durable.
    pub(super) fn committed(&self, commands: usize, took: Duration) {
        self.batch_commands.add(commands as u64);
        self.commit_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A batch went through.
    pub(super) fn accepted(&self) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// No batch can go through now.
    pub(super) fn refused(&self, reason: String) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((reason, Instant::now()));
    }

    /// Nothing is known against a batch; whether one would go through shows the next one.
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

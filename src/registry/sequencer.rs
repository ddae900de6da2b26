//! The sequencer: the one thread that gives commands their place.
//!
//! It takes whole jobs from the queue until a batch is full or nothing waits, decides each command against the index and
//! what the batch holds already ([`round`]), commits the batch to the ledger, applies it to the index, outdates cached answers,
//! and only then answers ([`batch`]). There is no timer: while one batch is synced, the next one gathers, so batches grow with
//! the load.
//!
//! What an entry changes is derived from the bytes that the batch holds of it ([`staged`]), as whoever replays the ledger derives it.

mod answerer;
mod batch;
mod edges;
mod erasing;
mod prefixes;
mod round;
mod staged;

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use answerer::Answerer;

use self::{
    round::Round,
    staged::{Decided, Staged},
};
use super::{BATCH_COMMANDS_MAX, Changes, Clock, Entropy, Job, Prepared, Refusal, Registry, Work, stats::Stats};
use crate::{
    ledger::{Appender, Committed},
    store::{Prefixes, Records},
};

/// How long a signed checkpoint may wait for its own sync, once nothing else is to be done.
const HEAD_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Told of every batch after it was applied to the index and before its receipts go out: outdates cached answers.
pub type Committer = Box<dyn Fn(&Changes<'_>) + Send>;

/// What the sequencer works with.
pub struct Sequencer {
    /// The ledger's one writer.
    pub appender: Appender,
    /// The engine, for reading what is there and for applying what was committed.
    pub records: Records,
    /// Which identifiers the node answers for.
    pub prefixes: Arc<Prefixes>,
    /// Told what changed before their receipts go out.
    pub committer: Committer,
    /// The time.
    pub clock: Clock,
    /// Salts.
    pub entropy: Entropy,
}

/// The running sequencer thread.
pub struct SequencerHandle {
    thread: thread::JoinHandle<()>,
    registry: Registry,
}

impl SequencerHandle {
    /// Closes the queue ([`Registry::close`]), and waits until it is drained and the last checkpoint is synced. Whoever still
    /// holds a [`Registry`] is refused from then on, and holds nothing up.
    pub fn join(self) {
        self.registry.close();
        if self.thread.join().is_err() {
            tracing::error!("the sequencer died; start the node again");
        }
    }
}

impl Sequencer {
    /// Starts the sequencer thread. It ends when the queue is closed and drained, or when every [`Registry`] and the handle are
    /// dropped.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn(self) -> std::io::Result<(Registry, SequencerHandle)> {
        let (jobs, queue) = mpsc::channel();
        let registry = Registry { jobs, stats: Arc::default(), entropy: Arc::clone(&self.entropy), refusal: None };
        let answerer = Answerer::new(Arc::clone(&registry.stats));
        let thread = thread::Builder::new().name("touchmark-seq".into()).spawn(move || self.run(&queue, &answerer))?;
        Ok((registry.clone(), SequencerHandle { thread, registry }))
    }

    fn run(mut self, queue: &mpsc::Receiver<Work>, answerer: &Answerer) {
        let _ending = Ending(&answerer.stats);
        let mut carried: Option<Work> = None;
        let mut head_synced = Instant::now();
        let mut closed = false;
        loop {
            let first = match carried.take() {
                Some(work) => Ok(work),
                // What was handed in before the queue was closed lies before the word that closed it. What slipped in behind it, because
                // it had its room already, is carried out all the same.
                None if closed => queue.try_recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                None => queue.recv_timeout(HEAD_SYNC_INTERVAL),
            };
            match first {
                Ok(Work::Prefix(job)) => self.prefix_round(*job, answerer),
                Ok(Work::Commands(first)) => {
                    let jobs = gather(first, queue, &mut carried);
                    self.round(jobs, answerer);
                }
                Ok(Work::Close) => closed = true,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if head_synced.elapsed() >= HEAD_SYNC_INTERVAL {
                self.sync_head();
                self.look(&answerer.stats);
                head_synced = Instant::now();
            }
        }
        self.sync_head();
    }

    fn sync_head(&mut self) {
        if let Err(error) = self.appender.sync_head() {
            tracing::error!(%error, "no more writes are accepted; free or replace the disk, then start the node again");
        }
    }

    /// Notes whether a batch would be taken, as far as is known without one.
    fn look(&self, stats: &Stats) {
        let index = self.records.entries().ready().map_err(|error| error.to_string());
        match index.and_then(|()| self.appender.check().map_err(|error| error.to_string())) {
            Ok(()) => stats.nothing_against(),
            Err(reason) => stats.refused(reason),
        }
    }

    /// Makes a committed batch visible: index first, then the caches.
    fn publish(&self, staged: Staged, committed: Committed) -> Result<Arc<str>, Refusal> {
        if staged.is_empty() {
            return Ok(committed.checkpoint.note);
        }
        let changed = staged.changed();
        let Staged { changes, prefix, .. } = staged;
        let applied = self.records.entries().apply(changes, committed.entries);
        match prefix {
            Some(version) => {
                self.prefixes.put(version);
                (self.committer)(&Changes::Prefix);
            }
            None => (self.committer)(&Changes::Identifiers(&changed)),
        }
        match applied {
            Ok(()) => Ok(committed.checkpoint.note),
            Err(error) => Err(Refusal::Unavailable {
                reason: format!(
                    "the ledger took the change (it is applied when the node is started again), but the index failed: {error}"
                ),
            }),
        }
    }
}

/// Says that nothing is taken any more once the thread ends, however it does.
struct Ending<'a>(&'a Stats);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.refused("the sequencer has ended; start the node again".into());
    }
}

impl Job {
    /// True when one of its commands needs a batch of its own.
    fn erases(&self) -> bool {
        self.commands.iter().flatten().any(|prepared| matches!(prepared, Prepared::Erase(_)))
    }
}

/// Takes whole jobs that wait already, as many as a batch holds. A job that erases is alone.
fn gather(first: Job, queue: &mpsc::Receiver<Work>, carried: &mut Option<Work>) -> Vec<Job> {
    let mut count = first.commands.len();
    let is_alone = first.erases();
    let mut jobs = vec![first];
    while count < BATCH_COMMANDS_MAX && !is_alone {
        let job = match queue.try_recv() {
            Ok(Work::Commands(job)) => job,
            Ok(work @ (Work::Prefix(_) | Work::Close)) => {
                *carried = Some(work);
                break;
            }
            Err(_) => break,
        };
        count += job.commands.len();
        if count > BATCH_COMMANDS_MAX || job.erases() {
            *carried = Some(Work::Commands(job));
            break;
        }
        jobs.push(job);
    }
    jobs
}

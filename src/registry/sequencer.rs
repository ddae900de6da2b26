//! The sequencer: the one thread that gives commands their place.
//!
//! The sequencer takes whole jobs from the queue until a batch is full or nothing waits, decides each command against
//! the index and the entries already in the batch ([`round`]), commits the batch to the ledger, applies it to the
//! index, invalidates cached answers, and only then replies ([`batch`]). There is no timer: while one batch is synced,
//! the next one gathers, so batches grow with the load.
//!
//! The effects of an entry are derived from its bytes in the batch ([`staged`]), just as a replay of the ledger derives
//! them.

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

/// Time until a signed checkpoint is synced, when the sequencer is otherwise idle.
const HEAD_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Called for every batch after it was applied to the index and before its receipts go out: invalidates cached answers.
pub type Committer = Box<dyn Fn(&Changes<'_>) + Send>;

/// The sequencer's parts.
pub struct Sequencer {
    /// The one writer of the ledger.
    pub appender: Appender,
    /// The engine, for reading what is there and for applying what was committed.
    pub records: Records,
    /// Responsibility of the node for prefixes.
    pub prefixes: Arc<Prefixes>,
    /// Called with the changes of a batch before its receipts go out.
    pub committer: Committer,
    /// Source of entry times.
    pub clock: Clock,
    /// Source of salts.
    pub entropy: Entropy,
}

/// The running sequencer thread.
pub struct SequencerHandle {
    thread: thread::JoinHandle<()>,
    registry: Registry,
}

impl SequencerHandle {
    /// Closes the queue ([`Registry::close`]), and waits until it is drained and the last checkpoint is synced. Clones
    /// of the [`Registry`] that are left refuse commands from then on and delay nothing.
    pub fn join(self) {
        self.registry.close();
        if self.thread.join().is_err() {
            tracing::error!("the sequencer died; start the node again");
        }
    }
}

impl Sequencer {
    /// Starts the sequencer thread. The thread ends when the queue is closed and drained, or when every [`Registry`]
    /// and the handle are dropped.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
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
                // Jobs handed in before the queue was closed precede the closing message. A job that had its room
                // already and slipped in behind that message is carried out all the same.
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

    /// Records in the statistics whether a batch would be taken, as far as is known without one.
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
        // A failure of the engine is reported only behind the caches: the ledger has the change, so old answers are stale.
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

/// Marks the write core as not ready when the thread ends, even by a panic.
struct Ending<'a>(&'a Stats);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.refused("the sequencer has ended; start the node again".into());
    }
}

impl Job {
    /// True if one of the commands needs a batch of its own.
    fn erases(&self) -> bool {
        self.commands.iter().flatten().any(|prepared| matches!(prepared, Prepared::Erase(_)))
    }
}

/// Takes whole jobs that wait already, up to one batch of commands. A job that erases is taken alone.
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

//! A mirror's connection to its primary: two threads that follow it, retry, and log what is wrong.
//!
//! One thread takes the primary's stream, has every batch verified and written, and opens a new stream when one ends:
//! after 100 ms if there was progress, otherwise with exponential back-off up to 30 s, always with jitter. The other
//! thread takes the primary's published checkpoint once a second, for its cosignatures, and compares it with the tree
//! from the stream. A primary that shows another history is not followed, but asked again with back-off; the verified
//! entries are served meanwhile. A checkpoint of more entries than the mirror holds is remembered, for a promotion
//! after the loss of the primary.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{Applier, Checker, HeldLedger, Lag, MirrorError, Rejected, VerifiedBatch};
use crate::{
    client::replica::{ReplicaClient, ReplicaError},
    ledger::{Ledger, LedgerError, MirrorOf, Missing, Publication, Seen},
    protocol::replica::Record,
    registry::Entropy,
    tlog::note::VerifierKey,
};

/// Shortest and longest pause before a new stream is opened.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Interval at which the published checkpoint is taken.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// Parts of a mirror that follow its primary.
pub struct Follow {
    /// The ledger that is mirrored.
    pub of: MirrorOf,
    /// Writer of the batches.
    pub applier: Applier,
    /// Ledger of the mirror.
    pub ledger: Arc<Ledger>,
    /// Checkpoints that the mirror publishes.
    pub publication: Arc<Publication>,
    /// Lag of the mirror.
    pub lag: Arc<Lag>,
    /// Largest checkpoint seen of the primary.
    pub seen: Arc<Seen>,
    /// Randomness for the jitter of the pauses.
    pub entropy: Entropy,
}

/// The running threads.
pub struct Following {
    stopping: Arc<Stopping>,
    lag: Arc<Lag>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Flag that tells threads to end, and wakes those that pause.
#[derive(Default)]
struct Stopping(Mutex<bool>, Condvar);

impl Stopping {
    fn is_set(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }

    /// Waits; returns true if told to end.
    fn pause(&self, pause: Duration) -> bool {
        let stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.1.wait_timeout_while(stopping, pause, |stopping| !*stopping);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Following {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if a thread cannot be started.
    pub fn start(follow: Follow) -> io::Result<Self> {
        let Follow { of, applier, ledger, publication, lag, seen, entropy } = follow;
        let stopping = Arc::<Stopping>::default();
        let client = ReplicaClient::new(&of.url);
        let published = Published {
            client: client.clone(),
            verifier: of.key.clone(),
            ledger: Arc::clone(&ledger),
            publication,
            lag: Arc::clone(&lag),
            seen: Arc::clone(&seen),
            stopping: Arc::clone(&stopping),
            trouble: None,
        };
        let following_lag = Arc::clone(&lag);
        let trouble = Trouble::default();
        let stopped = Arc::clone(&stopping);
        let stream = Stream { of, client, applier, ledger, lag, seen, entropy, stopping: stopped, trouble };
        // Held from the first thread on: if the second cannot be started, dropping this ends the first.
        let mut following = Self { stopping, lag: following_lag, threads: Vec::new() };
        let spawn = |name: &str| thread::Builder::new().name(name.into());
        following.threads.push(spawn("touchmark-mir").spawn(move || stream.run())?);
        following.threads.push(spawn("touchmark-mirp").spawn(move || published.run())?);
        Ok(following)
    }

    /// Lag of the mirror behind its primary.
    pub fn lag(&self) -> &Arc<Lag> {
        &self.lag
    }

    /// Ends the threads: a batch that is being written is finished, and a request that is under way is awaited.
    pub fn stop(mut self) {
        self.stopping.set();
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread that follows the primary died; start the node again");
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stopping.set();
    }
}

/// Reason for the end of a stream.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Stream(#[from] ReplicaError),
    #[error("nothing of this is kept or served: {0}")]
    Rejected(#[from] Rejected),
    #[error("cannot write what came: {0}")]
    Write(#[from] MirrorError),
    #[error(transparent)]
    Read(#[from] LedgerError),
}

impl Ended {
    fn is_fork(&self) -> bool {
        matches!(self, Self::Stream(ReplicaError::Shorter { .. }) | Self::Rejected(Rejected::Fork { .. }))
    }
}

struct Stream {
    of: MirrorOf,
    client: ReplicaClient,
    applier: Applier,
    ledger: Arc<Ledger>,
    lag: Arc<Lag>,
    seen: Arc<Seen>,
    entropy: Entropy,
    stopping: Arc<Stopping>,
    trouble: Trouble,
}

impl Stream {
    fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while !self.stopping.is_set() {
            let mut progressed = false;
            let ended = self.follow(&mut progressed);
            self.lag.lost();
            if self.stopping.is_set() {
                break;
            }
            if progressed {
                pause = PAUSE_MIN;
            }
            if let Err(ended) = ended {
                self.say(&ended);
            }
            if self.stopping.pause(jittered(pause, (self.entropy)()[0])) {
                break;
            }
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Follows one stream to its end; sets `progressed` once a batch is written.
    fn follow(&mut self, progressed: &mut bool) -> Result<(), Ended> {
        self.applier.look_back(self.seen.explained())?;
        self.lag.lacks(!self.applier.is_explained());
        let frontier = self.ledger.frontier()?;
        let time_ms = self.ledger.last_time_ms()?.unwrap_or(0);
        let subtrees = self.of.subtrees().unwrap_or_default();
        let mut checker = Checker::new(self.of.key.clone(), subtrees, frontier, time_ms);
        let mut stream = self.client.open(checker.next_index(), &self.of.only)?;
        let held = self.applier.held();
        // The stream to an empty mirror does not begin with a checkpoint.
        let (mut fits, mut size) = (checker.next_index() == 0, None);
        loop {
            let record = stream.record()?;
            if self.stopping.is_set() {
                return Ok(());
            }
            if let Record::Alive { size: theirs, time_ms } = record {
                self.applier.heard(theirs);
                self.lag.heard(theirs, time_ms);
                size = Some(theirs);
            } else {
                let Some(batch) = self.take(&mut checker, record, &held)? else { continue };
                self.applier.apply(&batch)?;
                self.lag.lacks(!self.applier.is_explained());
                self.lag.applied();
                fits = true;
                if !batch.entries.is_empty() {
                    *progressed = true;
                    self.followed();
                }
            }
            if fits {
                self.look(size)?;
            }
        }
    }

    /// Takes a record. A checkpoint that does not fit the entries received is remembered: the primary signed so many
    /// entries.
    fn take(
        &mut self,
        checker: &mut Checker,
        record: Record,
        held: &HeldLedger,
    ) -> Result<Option<VerifiedBatch>, Rejected> {
        let taken = checker.take(record, held);
        if let Some(ahead) = checker.ahead().filter(|ahead| ahead.size > self.ledger.size()) {
            self.seen.see(ahead);
        }
        taken
    }

    /// Checks for withheld values, and whether the mirror has caught up; `size` is that of the primary's ledger.
    fn look(&mut self, size: Option<u64>) -> Result<(), Ended> {
        if let Some(Missing { entry, value }) = self.applier.withheld()? {
            return Err(Rejected::Withheld { entry, value }.into());
        }
        let held = self.ledger.size();
        if self.applier.is_explained() {
            self.lag.lacks(false);
            self.seen.explain(held);
        }
        if size.is_some_and(|size| held >= size) {
            self.followed();
        }
        Ok(())
    }

    /// Notes that the primary is followed: the trouble is over, unless values are still missing.
    fn followed(&mut self) {
        if self.applier.is_explained() && self.trouble.end() {
            tracing::info!(primary = self.of.url, entries = self.ledger.size(), "the primary is followed again");
        }
    }

    fn say(&mut self, ended: &Ended) {
        let (primary, entries, what) = (&self.of.url, self.ledger.size(), ended.to_string());
        if ended.is_fork() {
            self.lag.fork();
        } else if matches!(ended, Ended::Rejected(_)) || matches!(ended, Ended::Stream(ReplicaError::Record(_))) {
            self.lag.reject();
        }
        let Some(times) = self.trouble.begin(&what) else { return };
        match ended {
            _ if ended.is_fork() => tracing::error!(
                primary,
                entries,
                times,
                "FORK: {what}. This mirror does not follow any more; it serves what it verified, and asks again now and then. Stop writes at the \
                 primary: if it was restored from an old copy, restore the newest one or promote this mirror"
            ),
            Ended::Rejected(_) => tracing::error!(primary, entries, times, "REJECTED: {what}"),
            Ended::Write(_) | Ended::Read(_) => tracing::error!(primary, entries, times, "{what}"),
            Ended::Stream(_) => tracing::warn!(primary, entries, times, "the primary is not followed for now: {what}"),
        }
    }
}

/// The last trouble, for the log: it is logged when it begins, at every power of two of its repetitions, and when it
/// ends.
#[derive(Debug, Default)]
struct Trouble(Option<(String, u64)>);

impl Trouble {
    /// Notes trouble; returns the number of times in a row if that is to be logged.
    fn begin(&mut self, what: &str) -> Option<u64> {
        let times = match &mut self.0 {
            Some((known, times)) if known == what => {
                *times += 1;
                *times
            }
            other => {
                *other = Some((what.into(), 1));
                1
            }
        };
        times.is_power_of_two().then_some(times)
    }

    /// Notes the end of any trouble; true if there was some.
    fn end(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// A pause of three to five quarters of another, by jitter.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause * 3 / 4 + pause * u32::from(random) / 512
}

/// The thread for the checkpoints that the primary publishes.
struct Published {
    client: ReplicaClient,
    verifier: VerifierKey,
    ledger: Arc<Ledger>,
    publication: Arc<Publication>,
    lag: Arc<Lag>,
    seen: Arc<Seen>,
    stopping: Arc<Stopping>,
    trouble: Option<String>,
}

impl Published {
    fn run(mut self) {
        while !self.stopping.pause(PUBLISH_INTERVAL) {
            let known = self.lag.now().connected && self.take();
            // Without a published checkpoint, the newest of the stream serves.
            let newest = self.ledger.checkpoint();
            if !known && newest.size > self.publication.newest_checkpoint().size {
                self.publication.publish(newest);
            }
            self.keep(self.seen.write());
        }
        self.keep(self.seen.flush());
    }

    fn keep(&self, kept: Result<(), LedgerError>) {
        if let Err(error) = kept {
            tracing::error!(%error, "what was seen of the primary is not kept; it would count when this mirror is promoted");
        }
    }

    /// Takes the published checkpoint; false if there is none that can be used.
    fn take(&mut self) -> bool {
        let Ok(note) = self.client.checkpoint() else { return false };
        let Some(theirs) = self.verifier.verify(&note) else {
            self.lag.reject();
            self.say(format!("its checkpoint is not signed with the key {}", self.verifier.text()));
            return false;
        };
        if theirs.size > self.ledger.size() {
            self.seen.see(&theirs);
            // The next round finds its entries here.
            return true;
        }
        match self.ledger.root(theirs.size) {
            Ok(root) if root == theirs.root => {
                self.publication.publish(theirs);
                self.trouble = None;
                true
            }
            Ok(_) => {
                self.lag.fork();
                self.say(format!(
                    "FORK: it publishes another tree of {} entries than it gave to this mirror",
                    theirs.size
                ));
                false
            }
            Err(error) => {
                self.say(error.to_string());
                false
            }
        }
    }

    fn say(&mut self, what: String) {
        if self.trouble.as_ref() != Some(&what) {
            tracing::error!(primary = self.lag.primary(), "what the primary publishes is not served: {what}");
            self.trouble = Some(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_said_at_powers_of_two() {
        let mut trouble = Trouble::default();
        let said: Vec<u64> = (0..20).filter_map(|_| trouble.begin("a")).collect();
        assert_eq!(said, [1, 2, 4, 8, 16]);
        assert_eq!((trouble.begin("b"), trouble.begin("a")), (Some(1), Some(1)));
        assert_eq!((trouble.end(), trouble.end(), trouble.begin("a")), (true, false, Some(1)));
    }

    #[test]
    fn pauses_differ_and_have_bounds() {
        let pause = Duration::from_secs(8);
        assert_eq!(jittered(pause, 0), Duration::from_secs(6));
        assert!(jittered(pause, 255) < Duration::from_secs(10) && jittered(pause, 255) > Duration::from_secs(9));
    }
}

//! A mirror's connection to its primary: two threads that follow it, try again, and say what is wrong.
//!
//! One takes the primary's stream, has every batch verified and written, and begins anew when it ends: at once after
//! progress, later and later otherwise, each time a little otherwise than other mirrors. The other takes the primary's published
//! checkpoint once a second, for its cosignatures, and compares it with the tree that came over the stream. A primary that shows
//! another history is not followed, and asked again now and then; what was verified is served meanwhile. A checkpoint of more than
//! the mirror holds is kept, for the day on which the primary is gone.

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

/// The shortest and the longest pause before the primary is asked again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often the published checkpoint is looked at.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// What a mirror follows its primary with.
pub struct Follow {
    /// Whose ledger it is.
    pub of: MirrorOf,
    /// What writes the batches.
    pub applier: Applier,
    /// What they are written to.
    pub ledger: Arc<Ledger>,
    /// What the mirror publishes.
    pub publication: Arc<Publication>,
    /// How far behind it is.
    pub lag: Arc<Lag>,
    /// What it remembers of its primary.
    pub seen: Arc<Seen>,
    /// For the jitter of the pauses.
    pub entropy: Entropy,
}

/// The running threads.
pub struct Following {
    stopping: Arc<Stopping>,
    lag: Arc<Lag>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Tells threads to end, and wakes those that pause.
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

    /// Waits; true when it was told to end.
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
    /// When the system gives no thread.
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
        // Held from the first thread on: when the second cannot be had, the first ends.
        let mut following = Self { stopping, lag: following_lag, threads: Vec::new() };
        let spawn = |name: &str| thread::Builder::new().name(name.into());
        following.threads.push(spawn("touchmark-mir").spawn(move || stream.run())?);
        following.threads.push(spawn("touchmark-mirp").spawn(move || published.run())?);
        Ok(following)
    }

    /// How far behind the primary the mirror is.
    pub fn lag(&self) -> &Arc<Lag> {
        &self.lag
    }

    /// Ends the threads: a batch that is being written is finished, and a request that is under way is waited for.
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

/// Why the stream of a primary ended.
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

    /// Follows one stream to its end; `progressed` when anything of it was written.
    fn follow(&mut self, progressed: &mut bool) -> Result<(), Ended> {
        self.applier.look_back(self.seen.explained())?;
        self.lag.lacks(!self.applier.is_explained());
        let frontier = self.ledger.frontier()?;
        let time_ms = self.ledger.last_time_ms()?.unwrap_or(0);
        let subtrees = self.of.subtrees().unwrap_or_default();
        let mut checker = Checker::new(self.of.key.clone(), subtrees, frontier, time_ms);
        let mut stream = self.client.open(checker.next_index(), &self.of.only)?;
        let held = self.applier.held();
        // A mirror that holds nothing is given no checkpoint of it first.
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

    /// Takes a record. A checkpoint that what came does not fit is remembered: the primary has signed so much.
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

    /// Looks whether all is well, the primary having so many entries.
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

    /// The primary is followed: what was the matter is over, unless values are still missing.
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

/// What was the matter last: it is said when it begins, at every power of two of its repetitions, and when it ends.
#[derive(Debug, Default)]
struct Trouble(Option<(String, u64)>);

impl Trouble {
    /// Something is the matter; gives how often it was in a row, when that is to be said.
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

    /// Nothing is the matter; true when something was.
    fn end(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// A pause of three quarters to five quarters of another.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause * 3 / 4 + pause * u32::from(random) / 512
}

/// What the primary publishes.
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
            // Without the published one, the newest of the stream.
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

    /// Takes the published checkpoint; false when there is none that can be used.
    fn take(&mut self) -> bool {
        let Ok(note) = self.client.checkpoint() else { return false };
        let Some(theirs) = self.verifier.verify(&note) else {
            self.lag.reject();
            self.say(format!("its checkpoint is not signed with the key {}", self.verifier.text()));
            return false;
        };
        if theirs.size > self.ledger.size() {
            self.seen.see(&theirs);
            // The next round has it.
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

//! The write core: command in, receipt out.
//!
//! ```text
//! Command --prepare--> Prepared --submit--> queue --sequencer--> ledger batch --commit--> index --> receipt
//!          (any thread: checks,   (bounded)        (one thread: order,       (durable,
//!           salts, commitments)                     version, idempotency)     signed)
//! ```
//!
//! [`Registry::prepare`] does all that needs no knowledge of other commands, on the caller's thread. The [`sequencer`]
//! gives each command its place, one batch at a time: while one batch is being synced the next one gathers, so that one
//! sync serves many commands. A receipt means: durable, in the tree, signed, and visible to every later query on this
//! node.
//!
//! Commands that are submitted together are carried out each on its own, or all or none ([`Atomicity`]).
//!
//! Deliberately absent: transports, and the form of a refusal in each of them (`protocol::outcome`).

pub mod apply;
mod command;
mod prefix;
mod prepared;
mod refusal;
mod same;
mod sequencer;
pub mod stats;

use std::sync::{Arc, mpsc};

use sha2::{Digest, Sha256};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, TryAcquireError, oneshot};

pub use command::{Command, Merging, Operation, ValueChange};
pub use prefix::PrefixCommand;
pub use prepared::Prepared;
pub use refusal::{Existing, Refusal};
pub use sequencer::{Committer, Sequencer, SequencerHandle};
use stats::Stats;

use prefix::PrefixJob;

use crate::{
    entry::Principal,
    id::{Key, dns_name},
    record::Version,
    store::RequestKey,
    tlog::Hash,
};

/// Source of the time: milliseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Source of fresh random bytes, unpredictable to anyone.
pub type Entropy = Arc<dyn Fn() -> [u8; 32] + Send + Sync>;

/// Maximum number of commands in one submission (and in one ledger batch).
pub const BATCH_COMMANDS_MAX: usize = 10_000;
/// Maximum size of the entries of commands that are carried out all or none, in their stored form, in bytes (48 MiB).
/// They have to fit one ledger batch, beside what is in that batch already.
pub const ATOMIC_BYTES_MAX: usize = 48 << 20;
/// Maximum number of commands that wait for the ledger.
pub const QUEUE_COMMANDS_MAX: usize = 65_536;
/// Maximum size of the commands that wait for the ledger, in KiB (64 MiB).
pub const QUEUE_KIB_MAX: usize = 65_536;

/// Proof that a change was kept: it is durable, signed, and in the index.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The identifier, spelled as it was first registered.
    pub identifier: Box<str>,
    /// Version that the change made.
    pub version: Version,
    /// Leaf hash of the entry.
    pub leaf_hash: Hash,
    /// Signed note of a checkpoint that covers the entry.
    pub checkpoint: Arc<str>,
    /// True if the command was carried out before and was sent again; the change is that of the first time.
    pub replayed: bool,
}

/// An identifier that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Key of the identifier.
    pub key: Key,
    /// True if the identifier was registered by this change.
    pub created: bool,
}

/// Changes that a batch made.
#[derive(Clone, Copy, Debug)]
pub enum Changes<'a> {
    /// Changed records.
    Identifiers(&'a [Changed]),
    /// Responsibility for a prefix: every answer given before is stale.
    Prefix,
}

/// Fate of the other commands of a submission if one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atomicity {
    /// Each command is carried out on its own.
    #[default]
    Each,
    /// No command of the submission is in the ledger then, and each one's refusal names the command that was in the way
    /// ([`Refusal::Withdrawn`]). The commands share one ledger batch, so no checkpoint covers some of them alone. A
    /// command whose request id was carried out before counts as carried out. An erasure among others is refused: it
    /// has a batch of its own.
    All,
}

/// Commands on their way to the sequencer.
#[derive(Debug)]
struct Job {
    commands: Vec<Result<Prepared, Refusal>>,
    atomicity: Atomicity,
    reply: oneshot::Sender<Vec<Result<Receipt, Refusal>>>,
    room: Room,
}

/// Room in the queue, released when the job is done.
#[derive(Debug)]
struct Room {
    commands: OwnedSemaphorePermit,
    kib: OwnedSemaphorePermit,
}

impl Room {
    /// Adds more room of the same queue, so that both are released in one step.
    fn merge(&mut self, more: Self) {
        self.commands.merge(more.commands);
        self.kib.merge(more.kib);
    }
}

/// Work for the sequencer.
#[derive(Debug)]
enum Work {
    Commands(Job),
    Prefix(Box<PrefixJob>),
    /// End of the queue: the sequencer waits for nothing more.
    Close,
}

/// The entrance to the write core, for the front ends. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    jobs: mpsc::Sender<Work>,
    stats: Arc<Stats>,
    entropy: Entropy,
    /// Refusal of every command, for good (a mirror).
    refusal: Option<Refusal>,
}

/// Behaviour when the queue before the ledger is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuse with [`Refusal::TryLater`].
    Refuse,
    /// Wait for room; flow control of the client's connection does the rest.
    Wait,
}

impl Registry {
    /// Returns a registry that refuses every command with `refusal`: that of a mirror.
    pub fn refusing(refusal: Refusal, entropy: Entropy) -> Self {
        // No sequencer receives from this channel, and nothing is ever sent.
        let (jobs, _) = mpsc::channel();
        Self { jobs, stats: Arc::default(), entropy, refusal: Some(refusal) }
    }

    /// Statistics of the write core. Holding them keeps no queue open.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Closes the queue: every clone refuses new commands from now on, as on a node that is stopping. Commands already
    /// in the queue are carried out; then the sequencer ends, however many clones are left.
    pub fn close(&self) {
        self.stats.close();
        // The sequencer may have ended already.
        let _ = self.jobs.send(Work::Close);
    }

    /// Checks a command and computes its draft: a few microseconds of hashing for each value, no lock.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] if the command breaks a rule or its entry would be too long; [`Refusal::Mirror`] on a
    /// mirror.
    pub fn prepare(&self, command: Command, principal: Principal) -> Result<Prepared, Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        command.check()?;
        Prepared::new(command, principal, &self.entropy)
    }

    /// Hands prepared commands to the sequencer and waits for their results: one for each command, in order. Commands
    /// that were refused already keep their place.
    pub async fn submit(
        &self,
        commands: Vec<Result<Prepared, Refusal>>,
        atomicity: Atomicity,
        when_full: WhenFull,
    ) -> Vec<Result<Receipt, Refusal>> {
        self.enqueue(commands, atomicity, when_full).await.results().await
    }

    /// Hands prepared commands to the sequencer, behind everything that was enqueued before.
    pub async fn enqueue(
        &self,
        commands: Vec<Result<Prepared, Refusal>>,
        atomicity: Atomicity,
        when_full: WhenFull,
    ) -> Enqueued {
        let count = commands.len();
        if let Some(refusal) = &self.refusal {
            return self.refused(count, refusal.clone());
        }
        if count > BATCH_COMMANDS_MAX {
            return self.refused(count, Refusal::TooMany { count });
        }
        let room = match self.room(&commands, when_full).await {
            Ok(room) => room,
            Err(refusal) => return self.refused(count, refusal),
        };
        let (reply, replied) = oneshot::channel();
        let sent = self.jobs.send(Work::Commands(Job { commands, atomicity, reply, room }));
        let replied = sent.map(|()| replied).map_err(|_| stopping());
        Enqueued { count, replied, stats: Arc::clone(&self.stats) }
    }

    fn refused(&self, count: usize, refusal: Refusal) -> Enqueued {
        Enqueued { count, replied: Err(refusal), stats: Arc::clone(&self.stats) }
    }

    async fn room(&self, commands: &[Result<Prepared, Refusal>], when_full: WhenFull) -> Result<Room, Refusal> {
        let bytes: usize = commands.iter().flatten().map(Prepared::bytes).sum();
        let kib = (bytes / 1_024 + 1).min(QUEUE_KIB_MAX) as u32;
        let (slots, kib_room) = (Arc::clone(&self.stats.commands_room), Arc::clone(&self.stats.kib_room));
        let count = commands.len() as u32;
        let (commands, kib) = match when_full {
            WhenFull::Refuse => (slots.try_acquire_many_owned(count)?, kib_room.try_acquire_many_owned(kib)?),
            WhenFull::Wait => (slots.acquire_many_owned(count).await?, kib_room.acquire_many_owned(kib).await?),
        };
        Ok(Room { commands, kib })
    }
}

impl From<TryAcquireError> for Refusal {
    fn from(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::NoPermits => Self::TryLater,
            TryAcquireError::Closed => stopping(),
        }
    }
}

impl From<AcquireError> for Refusal {
    fn from(_: AcquireError) -> Self {
        stopping()
    }
}

/// Commands that are in the queue.
#[derive(Debug)]
pub struct Enqueued {
    count: usize,
    replied: Result<oneshot::Receiver<Vec<Result<Receipt, Refusal>>>, Refusal>,
    stats: Arc<Stats>,
}

impl Enqueued {
    /// Waits for the results: one for each command, in order.
    pub async fn results(self) -> Vec<Result<Receipt, Refusal>> {
        let results = match self.replied {
            Ok(replied) => replied.await.map_err(|_| stopping()),
            Err(refusal) => Err(refusal),
        };
        let results = results.unwrap_or_else(|refusal| vec![Err(refusal); self.count]);
        self.stats.count(&results);
        results
    }
}

fn stopping() -> Refusal {
    Refusal::Unavailable { reason: "the node is stopping".into() }
}

/// Index key of a client's request id; the id counts for one identifier only.
pub fn request_key(key: &Key, request_id: &[u8]) -> RequestKey {
    let mut hasher = Sha256::new();
    hasher.update((key.as_bytes().len() as u64).to_be_bytes());
    hasher.update(key.as_bytes());
    hasher.update(request_id);
    let digest: [u8; 32] = hasher.finalize().into();
    let mut request = RequestKey::default();
    request.copy_from_slice(&digest[..20]);
    request
}

/// Hash of an identifier, if its DNS name may be the hash form.
pub(crate) use dns_name::may_need_hash;

#[cfg(test)]
mod tests;

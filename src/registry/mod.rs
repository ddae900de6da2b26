//! The write core: command in, receipt out.
//!
//! ```text
//! Command --prepare--> Prepared --submit--> queue --sequencer--> ledger batch --commit--> index --> receipt
//!          (any thread: checks,   (bounded)        (one thread: order,       (durable,
//!           salts, commitments)                     version, idempotency)     signed)
//! ```
//!
//! [`Registry::prepare`] does what needs no knowledge of other commands, on the caller's thread. The [`sequencer`] gives
//! each command its place, one batch at a time: while one batch is being synced the next one gathers, so that one
//! sync serves many. A receipt means durable, in the tree, signed, and visible to every later question on this node.
//!
//! Commands that are submitted together are carried out each on its own, or all or none ([`Atomicity`]).
//!
//! Deliberately absent: transports, and how a refusal is spelled in each of them (`protocol::outcome`).

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

/// Milliseconds since 1970 UTC, as whoever runs the node has it.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Fresh random bytes, unpredictable to anyone.
pub type Entropy = Arc<dyn Fn() -> [u8; 32] + Send + Sync>;

/// The most commands of one submission (and of one ledger batch).
pub const BATCH_COMMANDS_MAX: usize = 10_000;
/// The most bytes that the entries of commands take which are carried out all or none, in their stored form (48 MiB): they have to
/// fit one ledger batch, beside what is in it already.
pub const ATOMIC_BYTES_MAX: usize = 48 << 20;
/// The most commands that wait for the ledger.
pub const QUEUE_COMMANDS_MAX: usize = 65_536;
/// The most bytes of commands that wait for the ledger, in KiB (64 MiB).
pub const QUEUE_KIB_MAX: usize = 65_536;

/// Proof that a change was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The identifier, spelled as it was first registered.
    pub identifier: Box<str>,
    /// The version that the change made.
    pub version: Version,
    /// Leaf hash of its ledger entry.
    pub leaf_hash: Hash,
    /// The signed note of a checkpoint that covers the entry.
    pub checkpoint: Arc<str>,
    /// Whether this is the first receipt of a command that was sent again.
    pub replayed: bool,
}

/// An identifier that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its key.
    pub key: Key,
    /// Whether it was registered just now, and did not exist before.
    pub created: bool,
}

/// What a batch changed.
#[derive(Clone, Copy, Debug)]
pub enum Changes<'a> {
    /// Records.
    Identifiers(&'a [Changed]),
    /// Who answers for a prefix: nothing that was answered before counts any more.
    Prefix,
}

/// What becomes of the other commands of a submission when one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atomicity {
    /// Each is carried out on its own.
    #[default]
    Each,
    /// None of them is in the ledger then, and each says which one was in the way ([`Refusal::Withdrawn`]). They share one ledger
    /// batch, so no checkpoint covers some of them alone. A command whose request id was carried out before counts as carried out.
    /// An erasure among others is refused: it has a batch of its own.
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

/// Room in the queue, given back when the job is done.
#[derive(Debug)]
struct Room {
    commands: OwnedSemaphorePermit,
    kib: OwnedSemaphorePermit,
}

impl Room {
    /// Takes more room, of the same queue, to be given back at once.
    fn merge(&mut self, more: Self) {
        self.commands.merge(more.commands);
        self.kib.merge(more.kib);
    }
}

/// What waits for the sequencer.
#[derive(Debug)]
enum Work {
    Commands(Job),
    Prefix(Box<PrefixJob>),
    /// Nothing more is to be waited for.
    Close,
}

/// Where the front ends hand in commands. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    jobs: mpsc::Sender<Work>,
    stats: Arc<Stats>,
    entropy: Entropy,
    /// Why no command is taken, for good.
    refusal: Option<Refusal>,
}

/// What to do when the queue before the ledger is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuse with [`Refusal::TryLater`].
    Refuse,
    /// Wait for room; the asker's own flow control does the rest.
    Wait,
}

impl Registry {
    /// A registry that takes no command, and says why: that of a mirror.
    pub fn refusing(refusal: Refusal, entropy: Entropy) -> Self {
        // Nobody takes what is handed in; nothing is.
        let (jobs, _) = mpsc::channel();
        Self { jobs, stats: Arc::default(), entropy, refusal: Some(refusal) }
    }

    /// What was done so far, and whether more can be. To keep it keeps no queue open.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Takes nothing more: whatever is handed in from now on is refused as on a node that is stopping, by every clone. What is in
    /// the queue already is carried out, and then the sequencer ends, however many clones are left.
    pub fn close(&self) {
        self.stats.close();
        // A sequencer that has ended needs no word.
        let _ = self.jobs.send(Work::Close);
    }

    /// Checks a command and computes its draft. Costs a few microseconds of hashing a value; needs no lock.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] when the command contradicts itself or its entry would be too long; [`Refusal::Mirror`] on a mirror.
    pub fn prepare(&self, command: Command, principal: Principal) -> Result<Prepared, Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        command.check()?;
        Prepared::new(command, principal, &self.entropy)
    }

    /// Hands prepared commands to the sequencer and waits for their results, one for each, in their order. Commands that
    /// were refused already keep their place.
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

/// Commands that have their place in the queue.
#[derive(Debug)]
pub struct Enqueued {
    count: usize,
    replied: Result<oneshot::Receiver<Vec<Result<Receipt, Refusal>>>, Refusal>,
    stats: Arc<Stats>,
}

impl Enqueued {
    /// Waits for the results, one for each command, in their order.
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

/// Under which key a retry of the same request finds its entry: a client's request id counts for one identifier.
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

/// Under which hash an identifier is found, when its DNS name may be one.
pub(crate) use dns_name::may_need_hash;

#[cfg(test)]
mod tests;

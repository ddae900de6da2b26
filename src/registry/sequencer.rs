//! The sequencer: the one thread that gives commands their place.
//!
//! It takes whole jobs from the queue until a batch is full or nothing waits, decides each command against the index and
//! what the batch holds already, commits the batch to the ledger, applies it to the index, outdates cached answers, and only then
//! answers. There is no timer: while one batch is synced, the next one gathers, so batches grow with the load.

mod answerer;
mod edges;
mod erasing;
mod prefixes;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use answerer::Answerer;

use super::{
    BATCH_COMMANDS_MAX, Changed, Changes, Clock, Command, Entropy, Existing, Job, Operation, Prepared, Receipt,
    Refusal, Registry, ValueChange, Work,
    apply::edge_moves,
    command::Drafted,
    draft, may_need_hash,
    same::{self, Unreadable},
    stats::Stats,
};
use crate::{
    entry::{Draft, EntryKind, StoredEntry},
    id::{Identifier, Key},
    ledger::{Appender, Batch, Committed, EdgesAfter, EntryBytes, LedgerError, Position, Pushed},
    record::{EdgeChange, Status, Version},
    store::{Applied, IndexChange, PrefixVersion, Prefixes, ReadError, Records, RequestKey, Store},
};

/// How long a signed checkpoint may wait for its own sync, once nothing else is to be done.
const HEAD_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Told of every batch after it was applied to the index and before its receipts go out: outdates cached answers.
pub type Committer = Box<dyn Fn(&Changes<'_>) + Send>;

/// What the sequencer works with.
pub struct Sequencer {
    /// The ledger's one writer.
    pub appender: Appender,
    /// Index and ledger, for reading what is there.
    pub records: Records,
    /// Which identifiers the node answers for.
    pub prefixes: Arc<Prefixes>,
    /// The index, for applying what was committed.
    pub store: Arc<dyn Store>,
    /// Told what changed before their receipts go out.
    pub committer: Committer,
    /// The time.
    pub clock: Clock,
    /// Salts.
    pub entropy: Entropy,
}

/// The running sequencer thread.
#[derive(Debug)]
pub struct SequencerHandle {
    thread: thread::JoinHandle<()>,
}

impl SequencerHandle {
    /// Waits until the queue is drained and the last checkpoint is synced. Every [`Registry`] must have been dropped.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the sequencer died; start the node again");
        }
    }
}

impl Sequencer {
    /// Starts the sequencer thread. It ends when every [`Registry`] is dropped and the queue is drained.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn(self) -> std::io::Result<(Registry, SequencerHandle)> {
        let (jobs, queue) = mpsc::channel();
        let registry = Registry { jobs, stats: Arc::default(), entropy: Arc::clone(&self.entropy), refusal: None };
        let answerer = Answerer::new(Arc::clone(&registry.stats));
        let thread = thread::Builder::new().name("touchmark-seq".into()).spawn(move || self.run(&queue, &answerer))?;
        Ok((registry, SequencerHandle { thread }))
    }

    fn run(mut self, queue: &mpsc::Receiver<Work>, answerer: &Answerer) {
        let _ending = Ending(&answerer.stats);
        let mut carried: Option<Work> = None;
        let mut head_synced = Instant::now();
        loop {
            let first = match carried.take() {
                Some(job) => Ok(job),
                None => queue.recv_timeout(HEAD_SYNC_INTERVAL),
            };
            match first {
                Ok(Work::Prefix(job)) => self.prefix_round(*job, answerer),
                Ok(Work::Commands(first)) if first.erases() => self.erasing_round(first, answerer),
                Ok(Work::Commands(first)) => {
                    let jobs = gather(first, queue, &mut carried);
                    self.round(jobs, answerer);
                }
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
        let index = self.store.ready().map_err(|error| error.to_string());
        match index.and_then(|()| self.appender.check().map_err(|error| error.to_string())) {
            Ok(()) => stats.nothing_against(),
            Err(reason) => stats.refused(reason),
        }
    }

    /// One batch: decide, commit, apply, answer.
    fn round(&mut self, jobs: Vec<Job>, answerer: &Answerer) {
        let (replies, commands): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.reply, job._room), job.commands)).unzip();
        let results = self.batch(commands, &answerer.stats);
        let answers = replies.into_iter().zip(results).map(|((reply, room), results)| {
            drop(room);
            (reply, results)
        });
        answerer.send(answers.collect());
    }

    /// Carries out the commands of some jobs as one batch; gives their results, job by job.
    fn batch(
        &mut self,
        jobs: Vec<Vec<Result<Prepared, Refusal>>>,
        stats: &Stats,
    ) -> Vec<Vec<Result<Receipt, Refusal>>> {
        let now_ms = (self.clock)();
        let mut staged = Staged::default();
        let mut all: Vec<Vec<_>> = Vec::with_capacity(jobs.len());
        let ready = self.store.ready().map_err(|error| Refusal::Unavailable { reason: error.to_string() });
        let begun = ready.and_then(|()| self.appender.begin(now_ms).map_err(|error| unavailable(&error)));
        let committed = match begun {
            Ok(batch) => {
                let (records, prefixes, entropy) = (&self.records, &*self.prefixes, &self.entropy);
                let mut round = Round { batch, staged: &mut staged, records, prefixes, entropy };
                for commands in jobs {
                    all.push(commands.into_iter().map(|command| round.decide(command?)).collect());
                }
                let (count, began) = (round.batch.len(), Instant::now());
                let committed = round.batch.commit().map_err(|error| unavailable(&error));
                if committed.is_ok() && count > 0 {
                    stats.committed(count, began.elapsed());
                }
                committed.map(|committed| (committed, count))
            }
            Err(refusal) => {
                let refused = |command: Result<_, Refusal>| Err(command.err().unwrap_or(Refusal::TryLater));
                all.extend(jobs.into_iter().map(|commands| commands.into_iter().map(refused).collect()));
                Err(refusal)
            }
        };
        let outcome = committed.and_then(|(committed, count)| {
            let checkpoint = self.publish(staged, committed)?;
            // A batch without entries tried nothing.
            if count > 0 {
                stats.accepted();
            }
            Ok(checkpoint)
        });
        if let Err(refusal) = &outcome {
            stats.refused(refusal.to_string());
            tracing::error!(%refusal, "a batch was refused; clients may try again");
        }
        let settled = |decided: Vec<_>| decided.into_iter().map(|decided| settle(decided, &outcome)).collect();
        all.into_iter().map(settled).collect()
    }

    /// Makes a committed batch visible: index first, then the caches.
    fn publish(&self, staged: Staged, committed: Committed) -> Result<Arc<str>, Refusal> {
        if staged.changes.is_empty() {
            return Ok(committed.checkpoint.note);
        }
        let upto = Applied { entries: committed.mark.entries, next: committed.mark.position };
        let applied = self.store.apply(staged.changes, upto);
        match staged.prefix {
            Some(version) => {
                self.prefixes.put(version);
                (self.committer)(&Changes::Prefix);
            }
            None => (self.committer)(&Changes::Identifiers(&staged.changed)),
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
        self.commands.iter().flatten().any(|prepared| prepared.command.erases())
    }
}

/// Takes whole jobs that wait already, as many as a batch holds.
fn gather(first: Job, queue: &mpsc::Receiver<Work>, carried: &mut Option<Work>) -> Vec<Job> {
    let mut count = first.commands.len();
    let mut jobs = vec![first];
    while count < BATCH_COMMANDS_MAX {
        let job = match queue.try_recv() {
            Ok(Work::Commands(job)) => job,
            Ok(work @ Work::Prefix(_)) => {
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

/// What this batch holds already, for the commands that follow in it.
#[derive(Debug, Default)]
struct Staged {
    latest: HashMap<Key, Position>,
    requests: HashMap<RequestKey, Position>,
    changes: Vec<IndexChange>,
    changed: Vec<Changed>,
    /// What was said of a prefix; such a batch holds nothing else.
    prefix: Option<PrefixVersion>,
}

impl Staged {
    /// Notes what a pushed entry changes; `before` is the entry that it supersedes.
    fn note(&mut self, prepared: Prepared, pushed: Pushed, before: Option<(Position, &StoredEntry<'_>)>) -> Decided {
        let Prepared { command, request, .. } = prepared;
        let Pushed { position, index, time_ms, leaf_hash } = pushed;
        let edges = match &command.operation {
            Operation::Update { edges, .. } => edge_moves(edges, None),
            _ => command.drafted().map_or_else(Vec::new, |drafted| edge_moves(&drafted.edges, drafted.outputs)),
        };
        let key = command.identifier.key().clone();
        self.latest.insert(key.clone(), position);
        if let Some(request) = request {
            self.requests.insert(request, position);
        }
        self.changed.push(Changed { key: key.clone(), created: before.is_none() });
        let name_hash = may_need_hash(&command.identifier);
        let superseded = before.map(|(position, entry)| (entry.index, position));
        self.changes.push(IndexChange { index, key, position, superseded, name_hash, request, edges });
        let identifier = before.map_or(command.identifier.as_str(), |(_, entry)| entry.identifier).into();
        let number = before.map_or(1, |(_, entry)| entry.version + 1);
        let version = Version { number, ledger_index: index, time_ms };
        Decided { identifier, version, leaf_hash, replayed: false }
    }
}

/// What was decided about a command, waiting for the batch's commit.
#[derive(Debug)]
struct Decided {
    identifier: Box<str>,
    version: Version,
    leaf_hash: crate::tlog::Hash,
    replayed: bool,
}

fn settle(decided: Result<Decided, Refusal>, outcome: &Result<Arc<str>, Refusal>) -> Result<Receipt, Refusal> {
    let decided = match decided {
        // What is wrong with the command itself is wrong whatever happened to the batch.
        Err(refusal @ (Refusal::Invalid { .. } | Refusal::Unreadable { .. } | Refusal::Denied { .. })) => {
            return Err(refusal);
        }
        decided => decided,
    };
    let checkpoint = outcome.as_ref().map_err(Clone::clone)?;
    let Decided { identifier, version, leaf_hash, replayed } = decided?;
    Ok(Receipt { identifier, version, leaf_hash, checkpoint: Arc::clone(checkpoint), replayed })
}

fn unavailable(error: &LedgerError) -> Refusal {
    Refusal::Unavailable { reason: error.to_string() }
}

/// A batch while commands are decided.
struct Round<'a> {
    batch: Batch<'a>,
    staged: &'a mut Staged,
    records: &'a Records,
    prefixes: &'a Prefixes,
    entropy: &'a Entropy,
}

impl Round<'_> {
    fn decide(&mut self, prepared: Prepared) -> Result<Decided, Refusal> {
        if let Some(request) = &prepared.request
            && let Some(position) = self.by_request(request)?
        {
            return self.replay(&prepared.command, position);
        }
        self.refuse_elsewhere(&prepared.command.identifier)?;
        match self.latest(prepared.command.identifier.key())? {
            None => self.create(prepared),
            Some(position) => {
                let bytes = self.entry(position)?;
                let entry = bytes.decode().map_err(|error| unavailable(&error))?;
                self.change(prepared, position, &entry)
            }
        }
    }

    /// A command about an identifier that was never registered.
    fn create(&mut self, prepared: Prepared) -> Result<Decided, Refusal> {
        let Command { identifier, operation, expected_version, .. } = &prepared.command;
        let edges_after = match operation {
            Operation::Create { edges, .. } if edges.is_empty() => EdgesAfter::None,
            Operation::Create { .. } | Operation::Event { .. } => EdgesAfter::Some,
            _ => return Err(Refusal::NotFound { identifier: identifier.to_string() }),
        };
        if let Some(expected) = expected_version.filter(|&expected| expected != 0) {
            return Err(Refusal::VersionMismatch { identifier: identifier.to_string(), expected, found: 0 });
        }
        let Some(draft) = &prepared.draft else { return Err(Refusal::TryLater) };
        let pushed = self.batch.push(draft, 1, None, edges_after).map_err(|error| unavailable(&error))?;
        Ok(self.staged.note(prepared, pushed, None))
    }

    /// A command about an identifier whose newest entry is `entry`.
    fn change(&mut self, prepared: Prepared, position: Position, entry: &StoredEntry<'_>) -> Result<Decided, Refusal> {
        let command = &prepared.command;
        let identifier = || command.identifier.to_string();
        if command.registers() {
            let same_content = self.same_content(entry, &command.operation)?;
            let existing = Existing { version: entry.version, ledger_index: entry.index, same_content };
            refuse_ended(command, entry)?;
            return Err(Refusal::AlreadyExists { identifier: identifier(), existing });
        }
        refuse_ended(command, entry)?;
        if let Some(expected) = command.expected_version.filter(|&expected| expected != entry.version) {
            return Err(Refusal::VersionMismatch { identifier: identifier(), expected, found: entry.version });
        }
        if !matches!(command.operation, Operation::Retire) && self.is_event(entry)? {
            return Err(Refusal::Immutable { identifier: identifier(), ledger_index: entry.index });
        }
        let redrafted = self.redraft(&prepared, entry)?;
        let Some(draft) = redrafted.as_ref().or(prepared.draft.as_ref()) else { return Err(Refusal::TryLater) };
        let adds = |change: &EdgeChange| matches!(change, EdgeChange::Add(_));
        let added = matches!(&command.operation, Operation::Update { edges, .. } if edges.iter().any(adds));
        let edges_after = if entry.has_edges || added { EdgesAfter::Some } else { EdgesAfter::None };
        let version = entry.version + 1;
        let pushed = self.batch.push(draft, version, Some((entry.index, position)), edges_after);
        let pushed = pushed.map_err(|error| unavailable(&error))?;
        Ok(self.staged.note(prepared, pushed, Some((position, entry))))
    }

    /// Whether the identifier is an event, whatever was erased of it. An erasure has a batch of its own, so that what lies
    /// beneath one is in the ledger.
    fn is_event(&self, entry: &StoredEntry<'_>) -> Result<bool, Refusal> {
        let unreadable = |error: ReadError| Refusal::Unavailable { reason: error.to_string() };
        match self.records.beneath_erasures(entry).map_err(unreadable)? {
            None => Ok(entry.kind == EntryKind::Event),
            Some(bytes) => Ok(bytes.decode().map_err(|error| unavailable(&error))?.kind == EntryKind::Event),
        }
    }

    /// A new draft where the prepared one does not fit what is there: a merge, or another spelling of the identifier.
    fn redraft(&self, prepared: &Prepared, entry: &StoredEntry<'_>) -> Result<Option<Draft>, Refusal> {
        let command = &prepared.command;
        let same_spelling = command.identifier.as_str() == entry.identifier;
        if same_spelling && prepared.draft.is_some() {
            return Ok(None);
        }
        let invalid = |reason: String| Refusal::Invalid { identifier: command.identifier.to_string(), reason };
        let drafted = match &command.operation {
            Operation::Update { values: change @ ValueChange::Merge { .. }, edges } => {
                let current = entry.decode_values().map_err(|_| unreadable(entry))?;
                let values = change.apply(current).map_err(|error| invalid(error.to_string()))?;
                let (values, edges) = (Cow::Owned(values), Cow::Borrowed(edges.as_slice()));
                Drafted { kind: EntryKind::Update, values, edges, outputs: None }
            }
            _ => command.drafted().unwrap_or_else(Drafted::retired),
        };
        let identifier = Identifier::parse(entry.identifier).map_err(|error| invalid(error.to_string()))?;
        let as_registered = Command { identifier, ..command.clone() };
        let draft = draft(&as_registered, prepared.principal, &drafted, (self.entropy)());
        draft.map(Some).map_err(|error| invalid(error.to_string()))
    }

    /// The first receipt of a command that was sent again.
    fn replay(&self, command: &Command, position: Position) -> Result<Decided, Refusal> {
        let bytes = self.entry(position)?;
        let entry = bytes.decode().map_err(|error| unavailable(&error))?;
        let same = same::says_the_same(command, &entry);
        if !same.map_err(|_| unreadable(&entry))? {
            let identifier = command.identifier.to_string();
            return Err(Refusal::RequestReused { identifier, ledger_index: entry.index });
        }
        let leaf_hash = self.batch.leaf_hash(entry.index).map_err(|error| unavailable(&error))?;
        let version = Version { number: entry.version, ledger_index: entry.index, time_ms: entry.time_ms };
        Ok(Decided { identifier: entry.identifier.into(), version, leaf_hash, replayed: true })
    }

    /// Whether what is registered says what a command would have registered.
    fn same_content(&self, entry: &StoredEntry<'_>, operation: &Operation) -> Result<bool, Refusal> {
        let same = same::same_content(operation, entry, || self.edges_now(entry));
        same.map_err(|error| match error {
            Unreadable::Entry => unreadable(entry),
            Unreadable::Record(error) => Refusal::Unavailable { reason: error.to_string() },
        })
    }

    fn latest(&self, key: &Key) -> Result<Option<Position>, Refusal> {
        if let Some(&position) = self.staged.latest.get(key) {
            return Ok(Some(position));
        }
        let latest = self.records.store().latest(key);
        latest.map_err(|error| Refusal::Unavailable { reason: error.to_string() })
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<Position>, Refusal> {
        if let Some(&position) = self.staged.requests.get(request) {
            return Ok(Some(position));
        }
        let found = self.records.store().by_request(request);
        found.map_err(|error| Refusal::Unavailable { reason: error.to_string() })
    }

    fn entry(&self, position: Position) -> Result<EntryBytes, Refusal> {
        match self.batch.staged(position) {
            Some(bytes) => Ok(EntryBytes::staged(bytes, position)),
            None => self
                .records
                .entry(position)
                .map_err(|error: ReadError| Refusal::Unavailable { reason: error.to_string() }),
        }
    }
}

fn unreadable(entry: &StoredEntry<'_>) -> Refusal {
    Refusal::Unavailable { reason: format!("ledger entry {} cannot be read", entry.index) }
}

/// Refuses to change a record that has ended.
fn refuse_ended(command: &Command, entry: &StoredEntry<'_>) -> Result<(), Refusal> {
    let (identifier, ledger_index) = (command.identifier.to_string(), entry.index);
    match entry.status() {
        Status::Active => Ok(()),
        Status::Retired => Err(Refusal::Retired { identifier, ledger_index }),
        Status::Erased => Err(Refusal::Erased { identifier, ledger_index }),
    }
}

//! The verifiable index of a running node: a thread that follows the ledger, and lookups from any thread.
//!
//! ```text
//! start: open the output log -> map of all entries up to its last leaf's size -> same root? -> go on
//! then, once a second, when the ledger grew: read what is new -> prepare -> leaf durable and signed -> swap -> lookups see it
//! stop:  the same once more
//! ```
//!
//! The map is in memory and rebuilt at every start, while the node already serves everything else. A lookup is always
//! against the last leaf of the output log. The swap, for which lookups wait, moves pointers; reading, hashing and the
//! disk are outside the lock. One round reads no more than the ledger took since the last one.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    keys::{ORIGIN_SUFFIX, keys_of_stored},
    lookup::{LOOKUP_INDICES_MAX, Lookup, OutputLeaf},
    map::{Found, Hashing, Map, Update},
    trie::Bytes32,
};
use crate::{
    follow::{self, Follower, Span, Taken},
    ledger::{EntryBytes, LastLeaf, LeafLog, LeafLogWriter, Ledger, LedgerError},
};

/// Minimum time between two leaves of the output log.
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of entries read at a time.
const ENTRIES_AT_ONCE: usize = 4_096;
/// Number of updates that are gathered for a map that does not serve yet.
const UPDATES_AT_ONCE: usize = 65_536;

/// The running service. Dropping it asks it to stop, [`VerifiableIndex::stop`] waits for the end.
#[derive(Debug)]
pub struct VerifiableIndex {
    lookups: Lookups,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Handle for lookups; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lookups(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: OnceLock<Arc<LeafLog>>,
    done: AtomicU64,
    total: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    CatchingUp,
    Serving { map: Map, last: LastLeaf },
    Refusing { reason: String },
}

/// Refusal of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLookup {
    /// The map is being rebuilt.
    #[error("the verifiable index is catching up with the ledger: {done} of {total} entries")]
    CatchingUp {
        /// Entries in the map.
        done: u64,
        /// Entries that the map will hold.
        total: u64,
    },
    /// The index is inconsistent with the ledger; an operator has to act.
    #[error("the verifiable index gives no answers: {reason}")]
    Refusing {
        /// The reason, and the remedy.
        reason: String,
    },
    /// The list is too long for one answer.
    #[error("{count} entries stand under the key; a lookup gives at most {LOOKUP_INDICES_MAX}")]
    TooMany {
        /// Number of entries.
        count: u64,
    },
}

/// Failure of the service.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the last leaf of the output log is not a map root and a checkpoint of this ledger")]
    Leaf,
    #[error("the output log covers {covers} entries, and the ledger has {size}")]
    Ahead { covers: u64, size: u64 },
    #[error("the map of the ledger's first {covers} entries has another root than the output log says")]
    OtherRoot { covers: u64 },
    #[error("stopped")]
    Stopped,
}

impl VerifiableIndex {
    /// Starts to follow a ledger; the output log is in `directory`.
    ///
    /// # Errors
    ///
    /// If no thread can be started. Other failures appear in the log, and in refused lookups.
    pub fn start(ledger: Arc<Ledger>, directory: PathBuf, interval: Duration) -> io::Result<Self> {
        let shared = Shared {
            log: OnceLock::new(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(ledger.size()),
            state: RwLock::new(State::CatchingUp),
        };
        let lookups = Lookups(Arc::new(shared));
        let (stop, stopped) = mpsc::channel();
        let keeper = Keeper { ledger, shared: Arc::clone(&lookups.0), stopped };
        let run = move || keeper.run(directory, interval);
        let thread = thread::Builder::new().name("vindex".into()).spawn(run)?;
        Ok(Self { lookups, stop: Some(stop), thread: Some(thread) })
    }

    /// A handle for lookups.
    pub fn lookups(&self) -> Lookups {
        self.lookups.clone()
    }

    /// Publishes the newest state of the ledger once more, and stops. Blocks until then.
    pub fn stop(mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the verifiable index died");
        }
    }
}

impl Lookups {
    /// The entries under a key, as of the last leaf of the output log, with the proofs.
    ///
    /// # Errors
    ///
    /// [`NoLookup`].
    pub fn lookup(&self, key: &Bytes32) -> Result<Lookup, NoLookup> {
        match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::CatchingUp => Err(NoLookup::CatchingUp {
                done: self.0.done.load(Ordering::Relaxed),
                total: self.0.total.load(Ordering::Relaxed),
            }),
            State::Refusing { reason } => Err(NoLookup::Refusing { reason: reason.clone() }),
            State::Serving { map, last } => {
                let (indices, proof) = match map.prove(key, LOOKUP_INDICES_MAX as u64) {
                    Found::Present { indices, proof } => (indices, proof),
                    Found::Absent { proof } => (Vec::new(), proof),
                    Found::TooMany { count } => return Err(NoLookup::TooMany { count }),
                };
                let leaf = Arc::clone(&last.leaf);
                let leaf_path = Arc::clone(&last.path);
                let checkpoint = Arc::clone(&last.checkpoint.note);
                Ok(Lookup { indices, proof, leaf, leaf_path, checkpoint })
            }
        }
    }

    /// The output log, once it is open.
    pub fn output_log(&self) -> Option<&Arc<LeafLog>> {
        self.0.log.get()
    }
}

/// The thread that maintains map and output log.
struct Keeper {
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
    stopped: Receiver<()>,
}

impl Keeper {
    fn run(self, directory: PathBuf, interval: Duration) {
        let mut writer = match self.catch_up(directory) {
            Ok(writer) => writer,
            Err(Failure::Stopped) => return,
            Err(failure) => {
                let reason = format!(
                    "{failure}. Entries and index do not belong together: `touchmark audit` on the data directory names the \
                     first difference; restore `ledger` and `vindex` from one backup"
                );
                tracing::error!(reason, "the verifiable index gives no answers");
                self.set(State::Refusing { reason });
                return;
            }
        };
        let mut failing = false;
        loop {
            let stop = !matches!(self.stopped.recv_timeout(interval), Err(RecvTimeoutError::Timeout));
            match self.publish(&mut writer) {
                Ok(()) => failing = false,
                Err(Failure::Ledger(error @ LedgerError::Stopped { .. })) => {
                    tracing::error!(%error, "the output log takes no more; lookups go on, as of its last leaf");
                    return;
                }
                Err(error) if !failing => {
                    tracing::error!(%error, "the verifiable index does not follow the ledger; trying again");
                    failing = true;
                }
                Err(_) => {}
            }
            if stop {
                return;
            }
        }
    }

    fn set(&self, state: State) {
        *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Opens the output log, rebuilds the map up to its last leaf, compares the roots, and publishes the ledger's
    /// newest state.
    fn catch_up(&self, directory: PathBuf) -> Result<LeafLogWriter, Failure> {
        let key = self.ledger.signer()?.with_suffix(ORIGIN_SUFFIX).map_err(LedgerError::from)?;
        let (log, mut writer) = LeafLog::open(&directory, key)?;
        // Set once, here.
        let _ = self.shared.log.set(Arc::clone(&log));
        let mut map = Map::default();
        let mut read = 0;
        let mut last = log.last();
        if let Some(last) = &last {
            let leaf = OutputLeaf::parse(&last.leaf).ok_or(Failure::Leaf)?;
            let covers = self.ledger.verifier().verify(leaf.checkpoint.as_bytes()).ok_or(Failure::Leaf)?.size;
            let size = self.ledger.size();
            if covers > size {
                return Err(Failure::Ahead { covers, size });
            }
            self.read_into(&mut map, &mut read, covers)?;
            if map.root() != leaf.root {
                return Err(Failure::OtherRoot { covers });
            }
        }
        let checkpoint = self.ledger.checkpoint();
        if last.is_none() || checkpoint.size > read {
            self.read_into(&mut map, &mut read, checkpoint.size)?;
            let leaf = OutputLeaf { root: map.root(), checkpoint: &checkpoint.note };
            last = Some(writer.append(&leaf.to_bytes())?);
        }
        if let Some(last) = last {
            tracing::info!(entries = read, keys = map.keys(), "the verifiable index is up to date");
            self.shared.done.store(read, Ordering::Relaxed);
            self.set(State::Serving { map, last });
        }
        Ok(writer)
    }

    /// Adds entries up to `size` to a map that does not serve yet, and brings its hashes up to date.
    fn read_into(&self, map: &mut Map, read: &mut u64, size: u64) -> Result<(), Failure> {
        let mut updates = Vec::new();
        while *read < size {
            if !matches!(self.stopped.try_recv(), Err(TryRecvError::Empty)) {
                return Err(Failure::Stopped);
            }
            self.read(read, size, &mut updates)?;
            self.shared.done.store(*read, Ordering::Relaxed);
            self.shared.total.store(self.ledger.size(), Ordering::Relaxed);
            if updates.len() >= UPDATES_AT_ONCE {
                map.update(std::mem::take(&mut updates), Hashing::Later);
            }
        }
        map.update(updates, Hashing::Later);
        map.rehash();
        Ok(())
    }

    /// Reads the next entries, at most up to `size`, and collects updates for their keys.
    fn read(&self, read: &mut u64, size: u64, updates: &mut Vec<Update>) -> Result<(), LedgerError> {
        let end = size.min(*read + ENTRIES_AT_ONCE as u64);
        let span = Span { start: *read, end, at_once: ENTRIES_AT_ONCE };
        *read = follow::read(&self.ledger, span, &mut Keys(updates))?;
        Ok(())
    }

    /// Publishes the ledger's new entries: prepares the map, appends and signs a leaf, then lets lookups see both.
    fn publish(&self, writer: &mut LeafLogWriter) -> Result<(), Failure> {
        let mut read = self.shared.done.load(Ordering::Relaxed);
        let checkpoint = self.ledger.checkpoint();
        if checkpoint.size <= read {
            return Ok(());
        }
        let mut updates = Vec::new();
        while read < checkpoint.size {
            self.read(&mut read, checkpoint.size, &mut updates)?;
        }
        let prepared = match &*self.shared.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Serving { map, .. } => map.prepare(updates),
            State::CatchingUp | State::Refusing { .. } => return Ok(()),
        };
        // The leaf is durable and signed before any lookup can refer to it.
        let leaf = OutputLeaf { root: prepared.root(), checkpoint: &checkpoint.note };
        let published = writer.append(&leaf.to_bytes())?;
        if let State::Serving { map, last } = &mut *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) {
            map.apply(prepared);
            *last = published;
        }
        self.shared.done.store(read, Ordering::Relaxed);
        Ok(())
    }
}

/// Collector of the keys of the entries read, as updates of the map.
struct Keys<'a>(&'a mut Vec<Update>);

impl Follower for Keys<'_> {
    type Error = LedgerError;

    fn take(&mut self, index: u64, entry: &EntryBytes) -> Result<Taken, LedgerError> {
        keys_of_stored(&entry.decode()?, |key| self.0.push(Update { key, index }));
        Ok(Taken::More)
    }
}

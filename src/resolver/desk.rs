//! The desk: the single entry point for queries, for all protocols.
//!
//! ```text
//!              front ends (DNS, gRPC, HTTP) hold the desk, and nothing beneath it
//!                    │ ask(Question)                                │ ask_resident(identifier)
//!                    │ async; may wait for a disk or for others     │ never waits: loops over datagrams
//!                    ▼                                              ▼
//!   ┌───────────────────────────── Desk ──────────────────────────────────────────────────────────────┐
//!   │ moment given ──► PAST   entry by entry, in the pool                                             │
//!   │ homed here   ──► HERE   cached? ─► in memory? ─► one read in the pool, shared by all who ask    │
//!   │ elsewhere    ──► WALK   if wanted, and the caller may: cached? ─► room? ─► Recursor             │
//!   │              └─► REFER  otherwise: Answer::Delegated or Answer::NotResponsible                  │
//!   │ then: evidence, in the pool; every record has passed rights::view                               │
//!   └──────┬─────────────────────────┬────────────────────────────┬───────────────────────────────────┘
//!          ▼                         ▼                            ▼
//!     Resolver (cache,          ReadPool (one, bounded;       Walks (bounded in all and for each
//!     index, ledger)            a share for each kind)        client network) ─► Recursor
//! ```
//!
//! A [`Question`] goes in, a [`Reply`] comes out: an [`Answer`], its origin ([`How`]), and its evidence ([`Proofs`]).
//! Without an answer, [`NoAnswer`] says whether a retry helps.
//!
//! Invariants:
//!
//! * No read of index or ledger blocks a thread of the runtime. Data in memory is read at once; the rest is read in the
//!   pool.
//! * Of many callers that miss the same identifier at once, one reads; the others wait for the result without holding a
//!   thread.
//! * Running reads, waiting reads and walks are bounded; a caller beyond the bound is told to try later.
//! * Only answers under public rights are cached. An answer under other [`Rights`](crate::rights::Rights) is made from
//!   the whole record each time.
//! * The same question gets the same answer over every protocol.
//!
//! Deliberately absent: transports and their encodings, the steps of a walk ([`super::recursion`]), and write
//! permissions ([`crate::rights`]).

mod others;
mod pool;
mod question;
mod walks;

use std::sync::Arc;

pub use pool::{Busy, ReadCounts, ReadPool, ReadShare};
pub use question::{FailedWalk, Follow, How, NoAnswer, Question, Reply};
use walks::Walks;
pub use walks::{NoRoom, WalkLimits};

use super::{
    Answer, Depth, Disclosure, EntryProof, Evidence, History, HistoryError, Moment, Proofs, Reading, RecallRequest,
    RecallStep, Resolver, Subject, TraceRequest, TraceSink, evidence::Claimed, recursion::Recursor,
};
use crate::{
    cache::{Boarded, CacheStats},
    id::{Identifier, Key, KeyPrefix, Prefix, dns_name::NameHash},
    ledger::Publication,
    network::Network,
    record::Record,
    store::{Prefixes, ReadError, Resident, Responsibility},
    tlog::{Hash, SignedCheckpoint},
    vindex::{Lookup, Lookups, NoLookup},
};

/// Recursion for clients: the recursor, and its admission.
#[derive(Clone)]
pub struct Recursive {
    /// Walks and caches for clients.
    pub recursor: Recursor,
    /// Networks of clients that may have walks made.
    pub allow: Vec<Network>,
    /// Bounds on concurrent walks.
    pub limits: WalkLimits,
}

/// Parts that a desk is made of.
pub struct DeskParts {
    /// Index, ledger, and cached answers.
    pub resolver: Resolver,
    /// Recursion, on a recursive node.
    pub recursive: Option<Recursive>,
    /// Published checkpoints, against which proofs are made.
    pub publication: Arc<Publication>,
    /// The verifiable index, if the node has one.
    pub lookups: Option<Lookups>,
}

/// Answers all queries of the front ends. A clone is cheap and shares everything.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: Arc<Resolver>,
    recursive: Option<Recursive>,
    walks: Arc<Walks>,
    publication: Arc<Publication>,
    lookups: Option<Lookups>,
    reads: ReadPool,
}

impl Desk {
    /// A desk without reads or walks in progress.
    pub fn new(parts: DeskParts) -> Self {
        let DeskParts { resolver, recursive, publication, lookups } = parts;
        let limits = recursive.as_ref().map(|recursive| recursive.limits.clone()).unwrap_or_default();
        let (resolver, walks, reads) = (Arc::new(resolver), Walks::new(limits), ReadPool::new());
        Self { inner: Arc::new(Inner { resolver, recursive, walks, publication, lookups, reads }) }
    }

    /// Answers a question. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub async fn ask(&self, question: Question) -> Result<Reply, NoAnswer> {
        // Boxing the slow paths keeps this future small: a cache hit does not pay for them.
        if let Some(moment) = question.moment {
            return Box::pin(self.ask_past(question.identifier, moment)).await;
        }
        if self.is_to_walk(&question) {
            return Box::pin(self.ask_others(&question)).await;
        }
        let answer = match self.look(&question.identifier)? {
            Looked::Answer(answer) => answer,
            waiting => Box::pin(self.wait(&question.identifier, waiting)).await?,
        };
        let proofs = match question.evidence {
            Evidence::None => None,
            _ => Some(Box::pin(self.proofs(question, answer.clone())).await?),
        };
        Ok(Reply { answer, how: How::Own, proofs })
    }

    /// Reads what this node has about an identifier, only from memory; never waits.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    pub fn ask_resident(&self, identifier: &Identifier) -> Result<Resident<Reading>, ReadError> {
        self.inner.resolver.read_resident(identifier)
    }

    /// Reads what this node has about an identifier from index and ledger; for a thread that may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn ask_blocking(&self, identifier: &Identifier) -> Result<Reading, ReadError> {
        self.inner.resolver.read_blocking(identifier)
    }

    /// True if the question takes the branch WALK: another node answers, and the caller wants a walk and may have one.
    fn is_to_walk(&self, question: &Question) -> bool {
        question.follow != Follow::Never
            && self.walks_for(&question.caller)
            && self.responsibility(question.identifier.key()) != Responsibility::Home
    }

    fn responsibility(&self, key: &Key) -> Responsibility {
        self.prefixes().responsibility(key)
    }

    /// The answer if it is cached or in memory, else the next step towards it.
    fn look(&self, identifier: &Identifier) -> Result<Looked, ReadError> {
        let (resolver, key) = (&self.inner.resolver, identifier.key());
        Ok(match resolver.board(key) {
            Boarded::Hit(answer) => Looked::Answer(answer),
            Boarded::Joined(seat) => Looked::Join(seat),
            Boarded::First(pilot) => match resolver.answer_resident(key)? {
                Resident::Here(answer) => {
                    pilot.land(answer.clone());
                    Looked::Answer(answer)
                }
                Resident::OnDisk => Looked::Read(pilot),
            },
        })
    }

    /// Waits for the answer of a read in progress, or reads it in the pool.
    async fn wait(&self, identifier: &Identifier, mut looked: Looked) -> Result<Answer, NoAnswer> {
        loop {
            match looked {
                Looked::Answer(answer) => return Ok(answer),
                Looked::Join(seat) => match seat.wait().await {
                    Some(answer) => return Ok(answer),
                    // The reader failed or was cancelled: the next caller reads.
                    None => looked = self.look(identifier)?,
                },
                Looked::Read(pilot) => {
                    let (resolver, key) = (Arc::clone(&self.inner.resolver), identifier.key().clone());
                    let read = move || {
                        let answer = resolver.answer_blocking(&key)?;
                        pilot.land(answer.clone());
                        Ok(answer)
                    };
                    return self.inner.reads.run(ReadShare::Answers, read).await?;
                }
            }
        }
    }

    async fn ask_past(&self, identifier: Identifier, moment: Moment) -> Result<Reply, NoAnswer> {
        let answer = self.past(move |resolver| resolver.resolve_at(&identifier, moment)).await??;
        Ok(Reply { answer, how: How::Own, proofs: None })
    }

    async fn proofs(&self, question: Question, answer: Answer) -> Result<Box<Proofs>, NoAnswer> {
        let desk = self.clone();
        let read = move || {
            let Inner { resolver, publication, lookups, .. } = &*desk.inner;
            let delegated = question.delegated.unwrap_or_else(Prefix::everything);
            let (identifier, evidence) = (&question.identifier, question.evidence);
            let claimed = Claimed { identifier, answer: &answer, evidence, delegated: &delegated };
            resolver.proofs(&claimed, publication, lookups.as_ref())
        };
        Ok(Box::new(self.inner.reads.run(ReadShare::Past, read).await??))
    }

    /// Runs a read of the past in the pool.
    async fn past<T: Send + 'static>(&self, read: impl FnOnce(&Resolver) -> T + Send + 'static) -> Result<T, Busy> {
        let resolver = Arc::clone(&self.inner.resolver);
        self.inner.reads.run(ReadShare::Past, move || read(&resolver)).await
    }
}

/// Progress towards an answer.
enum Looked {
    /// The answer itself.
    Answer(Answer),
    /// Another caller reads; this one waits.
    Join(crate::cache::Seat<Answer>),
    /// This caller reads, from disk.
    Read(crate::cache::Pilot<Key, Answer>),
}

/// The past, proofs, and whole parts of the ledger.
impl Desk {
    /// Returns versions of an identifier, newest first: at most `limit`, and only those before the ledger index
    /// `before`.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Read`], [`NoAnswer::Busy`].
    pub async fn history(
        &self,
        identifier: Identifier,
        before: Option<u64>,
        limit: usize,
    ) -> Result<History, NoAnswer> {
        Ok(self.past(move |resolver| resolver.history(&identifier, before, limit)).await??)
    }

    /// Proves an entry against a published checkpoint if one covers it, else against the newest checkpoint.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Proof`], [`NoAnswer::Busy`].
    pub async fn prove(&self, subject: Subject, disclosure: Disclosure) -> Result<EntryProof, NoAnswer> {
        let publication = Arc::clone(&self.inner.publication);
        Ok(self.past(move |resolver| resolver.prove(&subject, &disclosure, &publication)).await??)
    }

    /// The consistency proof from the first `old` entries to the first `new`; without `new`, to the newest published
    /// checkpoint of at least `old` entries, which is returned beside the proof.
    ///
    /// If no published checkpoint is that large, the ledger's newest takes its place.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Read`], also if `old` is more than `new`, or the ledger has fewer entries than that;
    /// [`NoAnswer::Busy`].
    pub async fn prove_consistency(
        &self,
        old: u64,
        new: Option<u64>,
    ) -> Result<(Vec<Hash>, Option<SignedCheckpoint>), NoAnswer> {
        let publication = Arc::clone(&self.inner.publication);
        Ok(self.past(move |resolver| resolver.prove_consistency(old, new, &publication)).await??)
    }

    /// Looks a key up in the verifiable index; `None` if the node has none.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Busy`]; the inner result is that of the index.
    pub async fn look_up(&self, key: [u8; 32]) -> Result<Option<Result<Lookup, NoLookup>>, NoAnswer> {
        let Some(lookups) = self.inner.lookups.clone() else { return Ok(None) };
        Ok(Some(self.inner.reads.run(ReadShare::Past, move || lookups.lookup(&key)).await?))
    }

    /// Whole records below a prefix in order of their keys, with values that are not public, too: for an export.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Read`], [`NoAnswer::Busy`].
    pub async fn scan(&self, prefix: KeyPrefix, after: Option<Key>, limit: usize) -> Result<Vec<Record>, NoAnswer> {
        let resolver = Arc::clone(&self.inner.resolver);
        let read = move || resolver.scan(&prefix, after.as_ref(), limit);
        Ok(self.inner.reads.run(ReadShare::Scans, read).await??)
    }

    /// Starts a trace or a recall in the pool, or refuses it at once. `run` may block on the receiver of its steps.
    ///
    /// # Errors
    ///
    /// [`Busy::Full`].
    pub fn start_trace(&self, run: impl FnOnce(&Tracer<'_>) + Send + 'static) -> Result<(), Busy> {
        let resolver = Arc::clone(&self.inner.resolver);
        self.inner.reads.start(ReadShare::Traces, move || run(&Tracer(&resolver)))
    }

    /// The read pool, for front ends that serve files.
    pub fn reads(&self) -> &ReadPool {
        &self.inner.reads
    }
}

/// Runs traces and recalls on a thread of the pool.
pub struct Tracer<'a>(&'a Resolver);

impl Tracer<'_> {
    /// As [`Resolver::trace`].
    ///
    /// # Errors
    ///
    /// [`HistoryError`].
    pub fn trace(&self, request: &TraceRequest, sink: TraceSink<'_>) -> Result<(), HistoryError> {
        self.0.trace(request, sink)
    }

    /// As [`Resolver::recall`].
    ///
    /// # Errors
    ///
    /// [`HistoryError`].
    pub fn recall(
        &self,
        request: &RecallRequest,
        sink: &mut dyn FnMut(RecallStep) -> std::ops::ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        self.0.recall(request, sink)
    }
}

/// Reads from memory, and reads for threads that may wait for a disk.
impl Desk {
    /// The name of the node's ledger.
    pub fn origin(&self) -> &str {
        self.inner.resolver.origin()
    }

    /// Verifier key of the checkpoints of the node's ledger (C2SP signed-note vkey).
    pub fn verifier_key(&self) -> &str {
        self.inner.resolver.verifier_key()
    }

    /// Prefixes that decide whether this node answers, refers, or is not responsible.
    pub fn prefixes(&self) -> &Arc<Prefixes> {
        self.inner.resolver.prefixes()
    }

    /// The verifiable index, if the node has one.
    pub fn lookups(&self) -> Option<&Lookups> {
        self.inner.lookups.as_ref()
    }

    /// The whole answer of a reading. If edges leave the record, index and ledger are read again.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn whole(&self, reading: Reading, depth: Depth) -> Result<Resident<Answer>, ReadError> {
        self.inner.resolver.whole(reading, depth)
    }

    /// The identifier whose key has this hash; may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Identifier>, ReadError> {
        self.inner.resolver.by_name_hash(hash)
    }

    /// True if anything is registered below a prefix; may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        self.inner.resolver.any_below(prefix)
    }

    /// True if any identifier has a name hash; may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn any_name_hash(&self) -> Result<bool, ReadError> {
        self.inner.resolver.any_name_hash()
    }

    /// Records that the index has applied the whole ledger, and invalidates the cached answers about these keys.
    pub fn outdate<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        self.inner.resolver.outdate(keys);
    }

    /// As [`Desk::outdate`], after a change of prefixes: invalidates all cached answers, those of walks and cached
    /// delegations included.
    pub fn outdate_all(&self) {
        self.inner.resolver.outdate_all();
        if let Some(recursive) = &self.inner.recursive {
            recursive.recursor.outdate_all();
        }
    }

    /// Counters and size of the cache of own answers.
    pub fn cache_stats(&self) -> CacheStats {
        self.inner.resolver.cache_stats()
    }
}

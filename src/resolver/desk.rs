//! The desk: the one place where questions are asked, for all protocols.
//!
//! ```text
//!              front ends: DNS, gRPC, HTTP (and whoever comes next) hold the desk, and nothing beneath it
//!                    │ ask(Question)                                │ ask_resident(identifier)
//!                    │ async; may wait for a disk or for others     │ never waits: loops over datagrams
//!                    ▼                                              ▼
//!   ┌───────────────────────────── Desk ──────────────────────────────────────────────────────────────┐
//!   │ moment given ──► PAST   entry by entry, in the pool                                             │
//!   │ homed here   ──► HERE   kept? ─► in memory? ─► one read in the pool; others who ask wait for it  │
//!   │ elsewhere    ──► WALK   if wanted, and the caller may: kept? ─► room? ─► Recursor               │
//!   │              └─► REFER  otherwise: Answer::Delegated or Answer::NotResponsible                  │
//!   │ then: evidence, in the pool; what is seen of a record has passed rights::view                   │
//!   └──────┬─────────────────────────┬────────────────────────────┬───────────────────────────────────┘
//!          ▼                         ▼                            ▼
//!     Resolver (cache,          ReadPool (one, bounded;       Walks (bounded in all and for each
//!     index, ledger)            a share for each kind)        client network) ─► Recursor
//! ```
//!
//! [`Question`] in, [`Reply`] out: an [`Answer`], how it was come by ([`How`]), and its evidence ([`Proofs`]). Where there is no answer,
//! [`NoAnswer`] says whether another try helps.
//!
//! What always holds:
//!
//! * No read of index or ledger blocks a thread of the runtime. What lies in memory is read at once; the rest goes to the pool.
//! * Of many callers who miss the same identifier at once one reads, and the others wait for it without holding a thread.
//! * Reads, those who wait for them, and walks are bounded; whoever comes beyond that is told to try later.
//! * Only what everybody may read is kept. An answer under other [`Rights`](crate::rights::Rights) is made from the whole record each
//!   time.
//! * The same question gets the same answer over every protocol.
//!
//! Deliberately absent: transports and their encodings, how a walk goes ([`super::recursion`]), and who may write
//! ([`crate::rights`]).

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

/// How a node follows delegations for its clients.
#[derive(Clone)]
pub struct Recursive {
    /// Walks, and remembers.
    pub recursor: Recursor,
    /// The networks of clients for whom it does.
    pub allow: Vec<Network>,
    /// How many walks may be under way.
    pub limits: WalkLimits,
}

/// What a desk answers from.
pub struct DeskParts {
    /// Index and ledger, and answers that are kept.
    pub resolver: Resolver,
    /// What finds answers of other nodes, on a recursive node.
    pub recursive: Option<Recursive>,
    /// The checkpoints that proofs are made for.
    pub publication: Arc<Publication>,
    /// The verifiable index, when the node has one.
    pub lookups: Option<Lookups>,
}

/// Answers every question that a front end has. Cloning it is cheap, and gives the same one.
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
    /// A desk with nothing under way.
    pub fn new(parts: DeskParts) -> Self {
        let DeskParts { resolver, recursive, publication, lookups } = parts;
        let limits = recursive.as_ref().map(|recursive| recursive.limits.clone()).unwrap_or_default();
        let (resolver, walks, reads) = (Arc::new(resolver), Walks::new(limits), ReadPool::new());
        Self { inner: Arc::new(Inner { resolver, recursive, walks, publication, lookups, reads }) }
    }

    /// Answers a question. It has to be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub async fn ask(&self, question: Question) -> Result<Reply, NoAnswer> {
        // What may take long is boxed, so that a question whose answer lies ready costs no more than that.
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

    /// What this node itself says of an identifier, as far as it lies in memory. It never waits.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when index or ledger cannot be read.
    pub fn ask_resident(&self, identifier: &Identifier) -> Result<Resident<Reading>, ReadError> {
        self.inner.resolver.read_resident(identifier)
    }

    /// The same from index and ledger, for a thread that may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn ask_blocking(&self, identifier: &Identifier) -> Result<Reading, ReadError> {
        self.inner.resolver.read_blocking(identifier)
    }

    /// HERE, REFER or WALK: true for the last.
    fn is_to_walk(&self, question: &Question) -> bool {
        question.follow != Follow::Never
            && self.walks_for(&question.caller)
            && self.responsibility(question.identifier.key()) != Responsibility::Home
    }

    fn responsibility(&self, key: &Key) -> Responsibility {
        self.prefixes().responsibility(key)
    }

    /// The answer as far as it is kept or lies in memory, else what it takes.
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

    /// Waits for an answer that somebody reads, or reads it.
    async fn wait(&self, identifier: &Identifier, mut looked: Looked) -> Result<Answer, NoAnswer> {
        loop {
            match looked {
                Looked::Answer(answer) => return Ok(answer),
                Looked::Join(seat) => match seat.wait().await {
                    Some(answer) => return Ok(answer),
                    // Whoever read has failed, or gone away: the next one reads.
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

    /// Reads about the past, in the pool.
    async fn past<T: Send + 'static>(&self, read: impl FnOnce(&Resolver) -> T + Send + 'static) -> Result<T, Busy> {
        let resolver = Arc::clone(&self.inner.resolver);
        self.inner.reads.run(ReadShare::Past, move || read(&resolver)).await
    }
}

/// How far an answer is.
enum Looked {
    /// Here.
    Answer(Answer),
    /// Somebody else reads it.
    Join(crate::cache::Seat<Answer>),
    /// It takes a disk.
    Read(crate::cache::Pilot<Key, Answer>),
}

/// The past, proofs, and whole parts of the ledger.
impl Desk {
    /// Versions of an identifier, newest first, at most `limit` of those before a ledger index.
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

    /// Proves an entry against a published checkpoint where one covers it, else against the newest one.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Proof`], [`NoAnswer::Busy`].
    pub async fn prove(&self, subject: Subject, disclosure: Disclosure) -> Result<EntryProof, NoAnswer> {
        let publication = Arc::clone(&self.inner.publication);
        Ok(self.past(move |resolver| resolver.prove(&subject, &disclosure, &publication)).await??)
    }

    /// The proof that the first `old` entries are a beginning of the first `new`; without `new`, of the newest published checkpoint
    /// that has as many, which comes along.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Read`], also when `old` is more than `new`, or there are fewer; [`NoAnswer::Busy`].
    pub async fn prove_consistency(
        &self,
        old: u64,
        new: Option<u64>,
    ) -> Result<(Vec<Hash>, Option<SignedCheckpoint>), NoAnswer> {
        let publication = Arc::clone(&self.inner.publication);
        Ok(self.past(move |resolver| resolver.prove_consistency(old, new, &publication)).await??)
    }

    /// Looks a key up in the verifiable index; `None` when the node has none.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Busy`]; within, what the index says.
    pub async fn look_up(&self, key: [u8; 32]) -> Result<Option<Result<Lookup, NoLookup>>, NoAnswer> {
        let Some(lookups) = self.inner.lookups.clone() else { return Ok(None) };
        Ok(Some(self.inner.reads.run(ReadShare::Past, move || lookups.lookup(&key)).await?))
    }

    /// Whole records below a prefix in order of their keys, whoever may read their values: for an export.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Read`], [`NoAnswer::Busy`].
    pub async fn scan(&self, prefix: KeyPrefix, after: Option<Key>, limit: usize) -> Result<Vec<Record>, NoAnswer> {
        let resolver = Arc::clone(&self.inner.resolver);
        let read = move || resolver.scan(&prefix, after.as_ref(), limit);
        Ok(self.inner.reads.run(ReadShare::Scans, read).await??)
    }

    /// Runs a trace or a recall in the pool, at once or not at all. `run` may wait for whoever takes its steps.
    ///
    /// # Errors
    ///
    /// [`Busy::Full`].
    pub fn start_trace(&self, run: impl FnOnce(&Tracer<'_>) + Send + 'static) -> Result<(), Busy> {
        let resolver = Arc::clone(&self.inner.resolver);
        self.inner.reads.start(ReadShare::Traces, move || run(&Tracer(&resolver)))
    }

    /// The pool, for files that are given out as they are.
    pub fn reads(&self) -> &ReadPool {
        &self.inner.reads
    }
}

/// Follows edges, on a thread of the pool.
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

/// What lies in memory, and what is for threads that may wait.
impl Desk {
    /// The name of the node's ledger.
    pub fn origin(&self) -> &str {
        self.inner.resolver.origin()
    }

    /// What verifies the checkpoints of the node's ledger (C2SP signed-note vkey).
    pub fn verifier_key(&self) -> &str {
        self.inner.resolver.verifier_key()
    }

    /// Which identifiers this node answers for.
    pub fn prefixes(&self) -> &Arc<Prefixes> {
        self.inner.resolver.prefixes()
    }

    /// The verifiable index, when the node has one.
    pub fn lookups(&self) -> Option<&Lookups> {
        self.inner.lookups.as_ref()
    }

    /// The whole answer of a reading. It takes more than the reading when edges leave the record.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn whole(&self, reading: Reading, depth: Depth) -> Result<Resident<Answer>, ReadError> {
        self.inner.resolver.whole(reading, depth)
    }

    /// The identifier that is known by a hash of its key; it may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Identifier>, ReadError> {
        self.inner.resolver.by_name_hash(hash)
    }

    /// True when anything is registered below a prefix; it may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        self.inner.resolver.any_below(prefix)
    }

    /// True when any identifier is known by a hash; it may wait for a disk.
    ///
    /// # Errors
    ///
    /// As for [`Desk::ask_resident`].
    pub fn any_name_hash(&self) -> Result<bool, ReadError> {
        self.inner.resolver.any_name_hash()
    }

    /// Takes note that the index has applied the ledger as it is now, and forgets what is kept about identifiers that changed.
    pub fn outdate<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        self.inner.resolver.outdate(keys);
    }

    /// As [`Desk::outdate`], when it changed who answers for a prefix: nothing that is kept counts any more, of this node or of others.
    pub fn outdate_all(&self) {
        self.inner.resolver.outdate_all();
        if let Some(recursive) = &self.inner.recursive {
            recursive.recursor.outdate_all();
        }
    }

    /// What the cache has done and holds.
    pub fn cache_stats(&self) -> CacheStats {
        self.inner.resolver.cache_stats()
    }
}

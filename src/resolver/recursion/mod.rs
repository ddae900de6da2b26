//! Recursion: answers to what other nodes know, by walking down the tree of delegations for a client, and remembering.
//!
//! ```text
//! question ─► answers kept? ─► flights: one walk a key ─► walk ─► contest: sites of one delegation ─► Upstream
//!               │ stale one       others wait                │       health: fastest first, who fails rests
//!               ▼                                            ├─► judge, verify: does what was said count
//!             out after 1.8 s, or when the walk fails        └─► delegations kept
//! ```
//!
//! What always holds:
//!
//! * Every referral leads strictly deeper, within what was delegated to the site that says it. So no walk goes in a circle, and
//!   no site speaks for what is not its own.
//! * A walk is bounded in referrals, in questions and in time; walks and those who wait for them are bounded in number, and
//!   everything that is kept in bytes.
//! * What is kept counts from when it was asked for, for two days at most. Stale is only what was found (RFC 8767), and only while
//!   nothing newer can be had.
//! * With [`Evidence`] asked for, what does not verify is as if it had not been said, and an answer is as much verified as the
//!   weakest link of its chain from a root.
//! * A client that goes away ends nothing; a try at a site ends by itself.
//!
//! Everything outside comes through [`Upstream`] and [`Verifier`]; the clock is tokio's, the randomness comes from a seed.
//! Deliberately absent: sockets and connections; which clients may ask; what this node itself is responsible for.

mod answers;
mod contest;
mod delegations;
mod error;
mod flights;
mod floors;
mod health;
mod judge;
mod options;
mod resolved;
mod stats;
#[cfg(test)]
mod tests;
mod upstream;
mod verify;
mod walk;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use answers::{Answers, Kept};
use delegations::Delegations;
pub use error::{Reason, ReasonKind, Reasons, RecursionError};
use flights::{Boarded, Flights, Pilot, Seat};
use health::HealthTables;
pub use options::{
    CLIENT_RESPONSE_TIMEOUT, FAILURE_RECHECK, FAILURE_TTL, FirstProtocol, HOPS_MAX, RecursionOptions, Roots,
    STALE_TTL_SECONDS, TTL_SECONDS_ENDED, TTL_SECONDS_MAX, TTL_SECONDS_NOT_FOUND,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
pub use resolved::{Hop, HopOutcome, Resolution, Resolved, Source, Verification};
use stats::Counters;
pub use stats::RecursionStats;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};
pub use upstream::{BoxFuture, PrefixEvidence, SiteQuestion, SiteReply, Target, Upstream, UpstreamError};
pub use verify::{Claim, LedgerVerifier, Shown, Unproven, Verifier};
use walk::Begin;
pub use walk::Start;

pub use super::Evidence;
use crate::id::{Identifier, Key};

/// The most walks at once that pass by what is kept: they are for those who look at the tree, and take nothing from the others.
pub const TRACES_MAX: usize = 64;

/// Resolves what other nodes answer for. Cloning it is cheap, and gives the same one.
#[derive(Clone)]
pub struct Recursor {
    inner: Arc<Inner>,
}

struct Inner {
    roots: Roots,
    upstream: Arc<dyn Upstream>,
    verifier: Arc<dyn Verifier>,
    options: RecursionOptions,
    answers: Answers,
    delegations: Delegations,
    health: HealthTables,
    flights: Arc<Flights>,
    walks: Arc<Semaphore>,
    /// Places for walks that pass by what is kept.
    traces: Arc<Semaphore>,
    waiters: Semaphore,
    /// Counts how often everything that was kept was outdated.
    generation: AtomicU64,
    chances: Mutex<StdRng>,
    counters: Counters,
}

/// A walk with its way, for those who want to see it.
#[derive(Clone, Debug)]
pub struct Traced {
    /// What it came to.
    pub result: Result<Resolved, RecursionError>,
    /// The way, in order of time.
    pub hops: Vec<Hop>,
}

impl Recursor {
    /// A recursor that knows its roots and nothing else.
    pub fn new(
        roots: Roots,
        upstream: Arc<dyn Upstream>,
        verifier: Arc<dyn Verifier>,
        options: RecursionOptions,
    ) -> Self {
        let inner = Inner {
            roots,
            upstream,
            verifier,
            answers: Answers::new(options.answer_bytes_max, options.stale_max),
            delegations: Delegations::new(options.delegation_bytes_max),
            health: HealthTables::new(options.endpoints_max),
            flights: Arc::new(Flights::new()),
            walks: Arc::new(Semaphore::new(options.walks_max.min(Semaphore::MAX_PERMITS))),
            traces: Arc::new(Semaphore::new(TRACES_MAX)),
            generation: AtomicU64::new(0),
            waiters: Semaphore::new(options.waiters_max.min(Semaphore::MAX_PERMITS)),
            chances: Mutex::new(StdRng::seed_from_u64(options.seed)),
            counters: Counters::default(),
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is kept, when it still counts: costs two hashes of the key and one short lock, and never waits. `None` says that
    /// [`Recursor::resolve`] is to be asked.
    pub fn kept(&self, key: &Key) -> Option<Resolved> {
        match self.inner.answers.look(key, Instant::now()) {
            Some(Kept::Answer(resolved)) => {
                self.inner.counters.questions.fetch_add(1, Relaxed);
                Some(self.inner.counted(resolved))
            }
            _ => None,
        }
    }

    /// Resolves an identifier: from what is kept, or by a walk from the deepest delegation that is known. It has to be called within
    /// a runtime.
    ///
    /// # Errors
    ///
    /// [`RecursionError`], also for a while after a walk has failed.
    pub async fn resolve(&self, identifier: &Identifier) -> Result<Resolved, RecursionError> {
        self.resolve_from(identifier, || None).await
    }

    /// As [`Recursor::resolve`], when the local node itself has a delegation that covers the identifier: it goes before the roots.
    /// It is asked for here, so that nothing is kept of a walk from one that was changed meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Recursor::resolve`].
    pub async fn resolve_from(
        &self,
        identifier: &Identifier,
        start: impl FnOnce() -> Option<Start>,
    ) -> Result<Resolved, RecursionError> {
        self.inner.counters.questions.fetch_add(1, Relaxed);
        let result = self.answer(Begin::new(&self.inner, identifier, start, true)).await;
        match result {
            Ok(resolved) => Ok(self.inner.counted(resolved)),
            Err(error) => {
                self.inner.counters.failed(&error);
                Err(error)
            }
        }
    }

    /// Walks from the root, or from the local node's own delegation, whatever is kept, and tells the way. What it finds is kept.
    pub async fn trace(&self, identifier: &Identifier, start: impl FnOnce() -> Option<Start>) -> Traced {
        self.inner.counters.questions.fetch_add(1, Relaxed);
        let begin = Begin::new(&self.inner, identifier, start, false);
        let (inner, permit) = (Arc::clone(&self.inner), Arc::clone(&self.inner.traces).try_acquire_owned());
        let (result, hops) = match permit {
            Err(_) => (Err(RecursionError::Overloaded { limit: TRACES_MAX, what: "traces" }), Vec::new()),
            Ok(permit) => {
                let walk = tokio::spawn(async move {
                    let _permit = permit;
                    inner.counters.walks.fetch_add(1, Relaxed);
                    walk::walk(&inner, begin).await
                });
                walk.await.unwrap_or_else(|_| (Err(RecursionError::BrokenOff), Vec::new()))
            }
        };
        if let Err(error) = &result {
            self.inner.counters.failed(error);
        }
        Traced { result, hops }
    }

    /// Forgets everything that is kept: who answers for what was changed by the local node. What walks under way come to is given out,
    /// and neither that nor a delegation they meet is kept.
    pub fn outdate_all(&self) {
        self.inner.generation.fetch_add(1, SeqCst);
        self.inner.answers.clear();
        self.inner.delegations.clear();
    }

    /// What was done, and is held.
    pub fn stats(&self) -> RecursionStats {
        let inner = &self.inner;
        let ((answers, answer_bytes), (delegations, delegation_bytes)) =
            (inner.answers.size(), inner.delegations.size());
        let (breakers_open, flights) = (inner.health.open(), inner.flights.count());
        RecursionStats {
            breakers_open,
            flights,
            answers,
            answer_bytes,
            delegations,
            delegation_bytes,
            ..inner.counters.read()
        }
    }

    async fn answer(&self, begin: Begin) -> Result<Resolved, RecursionError> {
        let inner = &self.inner;
        let stale = match inner.answers.look(begin.identifier.key(), Instant::now()) {
            Some(Kept::Answer(resolved)) => return Ok(resolved),
            Some(Kept::Failure(error)) => return Err(error),
            Some(Kept::Stale(resolved)) => Some(resolved),
            None => None,
        };
        let (seat, _place) = match self.seat(begin) {
            Ok(Seated::Kept(resolved)) => return Ok(resolved),
            Ok(Seated::Waits(seat, place)) => (seat, place),
            Err(error) => return stale.ok_or(error),
        };
        let Some(stale) = stale else { return seat.wait().await };
        // The walk goes on without those who have got the stale answer.
        let landing = timeout(CLIENT_RESPONSE_TIMEOUT, seat.wait()).await;
        Ok(landing.ok().and_then(Result::ok).unwrap_or(stale))
    }

    /// A seat in the flight for an identifier, which begins when there is none.
    fn seat(&self, begin: Begin) -> Result<Seated<'_>, RecursionError> {
        let inner = &self.inner;
        let limit = inner.options.waiters_max;
        let place = inner.waiters.try_acquire();
        let place = place.map_err(|_| RecursionError::Overloaded { limit, what: "questions that wait for a walk" })?;
        let look = || match inner.answers.look(begin.identifier.key(), Instant::now()) {
            Some(Kept::Answer(resolved)) => Some(Ok(resolved)),
            Some(Kept::Failure(error)) => Some(Err(error)),
            _ => None,
        };
        match inner.flights.board(begin.identifier.key(), look) {
            Boarded::Kept(kept) => kept.map(Seated::Kept),
            Boarded::Joined(seat) => {
                inner.counters.flights_joined.fetch_add(1, Relaxed);
                Ok(Seated::Waits(seat, place))
            }
            Boarded::First(pilot, seat) => {
                self.take_off(pilot, begin);
                Ok(Seated::Waits(seat, place))
            }
        }
    }

    fn take_off(&self, pilot: Pilot, begin: Begin) {
        let inner = Arc::clone(&self.inner);
        let Ok(permit) = Arc::clone(&inner.walks).try_acquire_owned() else {
            return pilot.land(Err(inner.too_many_walks()));
        };
        inner.counters.walks.fetch_add(1, Relaxed);
        tokio::spawn(async move {
            let (landing, _) = walk::walk(&inner, begin).await;
            drop(permit);
            pilot.land(landing);
        });
    }
}

/// What becomes of one who has to wait.
enum Seated<'a> {
    /// It was there meanwhile.
    Kept(Resolved),
    /// A flight is under way; the place is given back when it is dropped.
    Waits(Seat, SemaphorePermit<'a>),
}

impl Inner {
    /// A number from 0 up to 1.
    fn chance(&self) -> f64 {
        let bits = self.chances.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn too_many_walks(&self) -> RecursionError {
        RecursionError::Overloaded { limit: self.options.walks_max, what: "walks" }
    }

    /// Counts an answer.
    fn counted(&self, resolved: Resolved) -> Resolved {
        match (resolved.stale, resolved.source) {
            (true, _) => &self.counters.stale,
            (false, Source::Cache) => &self.counters.from_cache,
            (false, Source::Network) => return resolved,
        }
        .fetch_add(1, Relaxed);
        resolved
    }
}

//! Recursion: resolves identifiers of other nodes for clients, by walking down the tree of delegations, with a cache.
//!
//! ```text
//! query ─► answers cached? ─► flights: one walk a key ─► walk ─► contest: sites of one delegation ─► Upstream
//!            │ stale one        others wait                │       health: fastest first, back-off
//!            ▼                                             ├─► judge, verify: is the reply valid
//!          out after 1.8 s, or when the walk fails         └─► delegations cached
//! ```
//!
//! Invariants:
//!
//! * Every referral leads strictly deeper, within the prefix delegated to the site that gives it. So no walk goes in a
//!   circle, and no site speaks for a prefix that is not its own.
//! * A walk is bounded in referrals, in upstream queries and in time; walks and their waiters are bounded in number,
//!   and the caches in bytes.
//! * A cached item is valid from the time of its query, for two days at most. Only found records are served stale (RFC
//!   8767), and only while no newer answer can be had.
//! * With [`Evidence`] required, a reply that does not verify is ignored, and an answer counts as verified only as far
//!   as the weakest link of its chain from a root.
//! * A client that goes away ends no walk; a try at a site ends by itself.
//!
//! All input from outside comes through [`Upstream`] and [`Verifier`]; the clock is tokio's, randomness comes from a
//! seed. Deliberately absent: sockets and connections, admission of clients, and the prefixes of this node itself.

mod answers;
mod contest;
mod delegations;
mod error;
mod flights;
mod floors;
mod health;
mod judge;
mod options;
mod place;
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
pub use error::{Reason, ReasonKind, Reasons, RecursionError, Unproven};
use flights::{Boarded, Flights, Pilot, Seat};
use health::HealthTables;
pub use options::{
    CLIENT_RESPONSE_TIMEOUT, FAILURE_RECHECK, FAILURE_TTL, FirstProtocol, HOPS_MAX, RecursionOptions, Roots,
    STALE_TTL_SECONDS, Start, TTL_SECONDS_ENDED, TTL_SECONDS_MAX, TTL_SECONDS_NOT_FOUND,
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
pub use verify::{Claim, LedgerVerifier, Shown, Verifier};
use walk::Begin;

pub use super::Evidence;
use crate::id::{Identifier, Key};

/// Maximum number of concurrent traces, which bypass the cache. Their places are apart from those of other walks.
pub const TRACES_MAX: usize = 64;

/// Resolves identifiers that other nodes answer for. A clone is cheap and shares everything.
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
    /// Places for traces.
    traces: Arc<Semaphore>,
    waiters: Semaphore,
    /// Number of times that the whole cache was invalidated.
    generation: AtomicU64,
    chances: Mutex<StdRng>,
    counters: Counters,
}

/// Result of a walk with its hops.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Result of the walk.
    pub result: Result<Resolved, RecursionError>,
    /// Hops of the walk, in order of time.
    pub hops: Vec<Hop>,
}

impl Recursor {
    /// A recursor with empty caches.
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

    /// The cached answer, if it is valid; costs two hashes of the key and one short lock, and never waits. On `None`,
    /// ask [`Recursor::resolve`].
    pub fn kept(&self, key: &Key) -> Option<Resolved> {
        match self.inner.answers.look(key, Instant::now()) {
            Some(Kept::Answer(resolved)) => {
                self.inner.counters.questions.fetch_add(1, Relaxed);
                Some(self.inner.counted(resolved))
            }
            _ => None,
        }
    }

    /// Resolves an identifier: from the cache, or by a walk from the deepest known delegation. Must be called within a
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`RecursionError`], also from the cache for a while after a walk has failed.
    pub async fn resolve(&self, identifier: &Identifier) -> Result<Resolved, RecursionError> {
        self.resolve_from(identifier, || None).await
    }

    /// As [`Recursor::resolve`], with a delegation of the local node as `start`, which takes precedence over the roots.
    /// `start` is called after the generation is read: a walk from a delegation that changes meanwhile leaves nothing
    /// in the cache.
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

    /// Walks from a root, or from the local node's own delegation, without reading the cache, and returns the hops. The
    /// results are cached.
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

    /// Invalidates the whole cache, after the local node changed a prefix. Walks in progress still give their results,
    /// and leave neither these nor delegations in the cache.
    pub fn outdate_all(&self) {
        self.inner.generation.fetch_add(1, SeqCst);
        self.inner.answers.clear();
        self.inner.delegations.clear();
    }

    /// Counters, and sizes of the caches.
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
        // On a timeout the client takes the stale answer; the walk goes on and refreshes the cache.
        let landing = timeout(CLIENT_RESPONSE_TIMEOUT, seat.wait()).await;
        Ok(landing.ok().and_then(Result::ok).unwrap_or(stale))
    }

    /// A seat in the walk for a key; starts the walk if there is none.
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

/// Outcome of taking a seat.
enum Seated<'a> {
    /// The cache was filled meanwhile.
    Kept(Resolved),
    /// A walk is in progress; dropping the permit frees the waiter's place.
    Waits(Seat, SemaphorePermit<'a>),
}

impl Inner {
    /// A random number from 0 up to, but not including, 1.
    fn chance(&self) -> f64 {
        let bits = self.chances.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn too_many_walks(&self) -> RecursionError {
        RecursionError::Overloaded { limit: self.options.walks_max, what: "walks" }
    }

    /// Counts an answer by its source.
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

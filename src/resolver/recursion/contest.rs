//! The contest: the sites of one delegation are asked until one gives a valid reply.
//!
//! The fastest known endpoint comes first; an endpoint that was never asked comes before it. If the first exceeds its
//! patience, the next is asked as well, and the first may still win. Now and then a probe goes to another endpoint
//! beside the first: to a resting one that may be tried again, or, for one query in twenty, to any. So an endpoint that
//! became faster is found, and no client waits for it.
//!
//! A try ends by itself, after two seconds at most, and always reports to the health tables: the contest polls its
//! tries, and a task of their own takes over those that outlast it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Evidence, Inner,
    error::{Reason, ReasonKind, Reasons, RecursionError},
    health::{Post, Standing},
    judge::Judged,
    options::FirstProtocol,
    place::{Place, Walk},
    resolved::{Hop, HopOutcome, Source, Verification},
    upstream::{BoxFuture, SiteQuestion, SiteReply, Target, UpstreamError},
};
use crate::{
    id::dns_name,
    record::{Endpoint, Site, SiteProtocol},
};

/// Timeout of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of tries at an endpoint in one contest; only silence leads to a second.
const TRIES_MAX: u32 = 2;
/// Average number of queries per probe.
const PROBE_EVERY: f64 = 20.0;
/// Factor of the first endpoint's patience that must remain for a probe.
const PROBE_PATIENCE: u32 = 2;

/// An endpoint that may be asked.
#[derive(Debug)]
struct Candidate {
    target: Arc<Target>,
    post: Post,
    patience: Duration,
    standing: Standing,
    /// True if another endpoint of the same site, over the preferred protocol, goes first.
    second_choice: bool,
    tries: u32,
}

/// Result of a try.
#[derive(Debug)]
struct Report {
    candidate: usize,
    asked: Instant,
    took: Duration,
    reply: Result<SiteReply, UpstreamError>,
}

/// A contest in progress.
struct Contest<'a> {
    inner: &'a Arc<Inner>,
    walk: &'a mut Walk,
    place: &'a Place,
    candidates: Vec<Candidate>,
    queue: VecDeque<usize>,
    /// Tries without a result, each with the time it began.
    running: Vec<(usize, Instant)>,
    reasons: Vec<Reason>,
    /// Posts that gave invalid replies. A fault of all sites may lie in the query, which any client can send: it counts
    /// against a post only if another site gave a valid reply.
    wrong: Vec<Post>,
    tries: Tries,
}

/// Tries in progress; they outlive the contest.
#[derive(Default)]
struct Tries(FuturesUnordered<BoxFuture<'static, Report>>);

impl Drop for Tries {
    fn drop(&mut self) {
        // Without a runtime no task can take over.
        if let (false, Ok(runtime)) = (self.0.is_empty(), Handle::try_current()) {
            runtime.spawn(std::mem::take(&mut self.0).for_each(async |_| {}));
        }
    }
}

/// Asks the sites of a delegation until one gives a valid reply, or until `until`.
pub(super) async fn ask_sites(
    inner: &Arc<Inner>,
    walk: &mut Walk,
    place: &Place,
    until: Instant,
) -> Result<Judged, RecursionError> {
    let began = Instant::now();
    let (candidates, reasons) = candidates(inner, place, &walk.question, began);
    if candidates.is_empty() && reasons.is_empty() {
        let missing = match walk.question.evidence {
            Evidence::None => "has an endpoint grpc:// or dns://, and a walk speaks nothing else",
            _ => "has a key and an endpoint grpc://, without which nothing verifies",
        };
        return Err(RecursionError::NoSite { prefix: Arc::clone(&place.prefix), missing });
    }
    let queue = (0..candidates.len()).collect();
    let (running, wrong, tries) = (Vec::new(), Vec::new(), Tries::default());
    let contest = Contest { inner, walk, place, candidates, queue, running, reasons, wrong, tries };
    contest.run(began, until).await
}

impl Contest<'_> {
    async fn run(mut self, began: Instant, until: Instant) -> Result<Judged, RecursionError> {
        let mut next = self.ask_first(until);
        while !self.running.is_empty() {
            let wake = next.map_or(until, |next: Instant| next.min(until));
            tokio::select! {
                biased;
                Some(report) = self.tries.0.next() => match self.hear(report) {
                    Some(judged) => {
                        self.tell_of_silent();
                        return Ok(judged);
                    }
                    None => next = self.ask_next(),
                },
                () = sleep_until(wake) => {
                    if wake == until {
                        self.tell_of_silent();
                        let limit = until.saturating_duration_since(began);
                        return Err(RecursionError::Timeout {
                            prefix: Arc::clone(&self.place.prefix),
                            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                            reasons: Reasons::new(&self.reasons),
                        });
                    }
                    self.note_waits();
                    next = self.ask_next();
                }
            }
        }
        Err(self.defeat())
    }

    /// Asks the first candidate, and maybe a probe beside it; returns the time to ask the next.
    fn ask_first(&mut self, until: Instant) -> Option<Instant> {
        let next = self.ask_next()?;
        let first = self.running.first().and_then(|(first, _)| self.candidates.get(*first))?;
        let left = until.saturating_duration_since(Instant::now());
        if first.standing == Standing::Closed && left > first.patience * PROBE_PATIENCE {
            self.ask_beside();
        }
        Some(next)
    }

    fn ask_beside(&mut self) {
        let candidates = &self.candidates;
        let ready = self.queue.iter().position(|&number| candidates[number].standing == Standing::Ready);
        let is_healthy = |candidate: &Candidate| candidate.standing == Standing::Closed && !candidate.second_choice;
        let healthy = self.queue.iter().filter(|&&number| is_healthy(&candidates[number])).count();
        let chosen = ready.or_else(|| {
            // Healthy candidates stand at the front of the queue.
            let probes = healthy > 0 && self.inner.chance() * PROBE_EVERY < 1.0;
            probes.then(|| ((self.inner.chance() * healthy as f64) as usize).min(healthy - 1))
        });
        if let Some(number) = chosen.and_then(|at| self.queue.remove(at)) {
            self.inner.counters.probes.fetch_add(1, Relaxed);
            self.start(number);
        }
    }

    /// Asks the next candidate and returns the time to ask another; with an empty queue, retries a silent one.
    fn ask_next(&mut self) -> Option<Instant> {
        while let Some(number) = self.queue.pop_front() {
            if let Some(next) = self.start(number) {
                return Some(next);
            }
        }
        let mut silent = self.running.iter().map(|(number, _)| *number);
        let again = silent.find(|&number| self.candidates[number].tries < TRIES_MAX)?;
        // A silent candidate is asked again only when its patience is over.
        let waited = self
            .running
            .iter()
            .any(|(number, asked)| *number == again && asked.elapsed() >= self.candidates[again].patience);
        match waited {
            true => self.start(again),
            false => {
                Some(self.running.iter().find(|(number, _)| *number == again)?.1 + self.candidates[again].patience)
            }
        }
    }

    /// Starts a try at a candidate, if it may be asked; returns the end of its patience.
    fn start(&mut self, number: usize) -> Option<Instant> {
        let (now, inner) = (Instant::now(), Arc::clone(self.inner));
        let candidate = self.candidates.get_mut(number)?;
        if self.walk.questions_left == 0 || (candidate.tries == 0 && !inner.health.take(&candidate.post, now)) {
            return None;
        }
        self.walk.questions_left -= 1;
        inner.counters.upstream_questions.fetch_add(1, Relaxed);
        candidate.tries += 1;
        let patience = candidate.patience * candidate.tries;
        let (target, question) = (Arc::clone(&candidate.target), Arc::clone(&self.walk.question));
        self.running.push((number, now));
        self.tries.0.push(Box::pin(async move {
            let reply = inner.ask_one(&target, &question, now).await;
            Report { candidate: number, asked: now, took: now.elapsed(), reply }
        }));
        Some(now + patience)
    }

    /// Handles the result of a try; returns the reply if it is valid.
    fn hear(&mut self, report: Report) -> Option<Judged> {
        let Report { candidate: number, asked, took, reply } = report;
        self.running.retain(|(running, began)| (*running, *began) != (number, asked));
        let candidate = self.candidates.get(number)?;
        let judged = self.inner.judge(&self.walk.question, self.place, &candidate.target, reply, asked);
        let mut hop = Hop {
            prefix: Arc::clone(&self.place.prefix),
            endpoint: candidate.target.endpoint,
            took,
            outcome: HopOutcome::Answer { said: "" },
            ttl_seconds: 0,
            verification: Verification::None,
            source: Source::Network,
        };
        match judged {
            Ok(judged) => {
                self.inner.health.was_right(&candidate.post);
                // Another site gave a valid reply, so the fault did not lie in the query.
                for post in std::mem::take(&mut self.wrong) {
                    self.inner.health.was_wrong(&post, Instant::now(), self.inner.chance());
                }
                (hop.outcome, hop.ttl_seconds, hop.verification) = judged.shown();
                self.walk.tell(hop);
                Some(judged)
            }
            Err((kind, what)) => {
                if matches!(kind, ReasonKind::Lame | ReasonKind::Loop | ReasonKind::Unverified | ReasonKind::Garbled) {
                    self.wrong.push(candidate.post);
                }
                let reason = Reason::new(candidate.target.endpoint, kind, &what);
                hop.outcome = HopOutcome::Failed { reason: reason.what.clone() };
                self.walk.tell(hop);
                self.reasons.push(reason);
                // A repeated try would give the same reply.
                self.running.retain(|(running, _)| *running != number);
                None
            }
        }
    }

    /// Reports slow endpoints to the health tables, so that other walks do not begin with them.
    fn note_waits(&self) {
        for (number, asked) in &self.running {
            let candidate = &self.candidates[*number];
            if asked.elapsed() >= candidate.patience {
                self.inner.health.waits(&candidate.target.endpoint, asked.elapsed());
            }
        }
    }

    /// Adds a hop for each endpoint that exceeded its patience in silence.
    fn tell_of_silent(&mut self) {
        for (number, asked) in std::mem::take(&mut self.running) {
            let candidate = &self.candidates[number];
            if asked.elapsed() < candidate.patience {
                continue;
            }
            let what = format!("has not answered within {} ms", asked.elapsed().as_millis());
            let reason = Reason::new(candidate.target.endpoint, ReasonKind::Silent, &what);
            self.walk.tell(Hop {
                prefix: Arc::clone(&self.place.prefix),
                endpoint: candidate.target.endpoint,
                took: asked.elapsed(),
                outcome: HopOutcome::Failed { reason: reason.what.clone() },
                ttl_seconds: 0,
                verification: Verification::None,
                source: Source::Network,
            });
            self.reasons.push(reason);
        }
    }

    /// The error of a contest without candidates left.
    fn defeat(self) -> RecursionError {
        let (prefix, reasons) = (Arc::clone(&self.place.prefix), Reasons::new(&self.reasons));
        let has = |kind| self.reasons.iter().any(|reason| reason.kind == kind);
        if self.walk.questions_left == 0 {
            let limit = self.inner.options.questions_max;
            RecursionError::TooManyHops { prefix, limit, what: "questions to sites" }
        } else if has(ReasonKind::Unverified) {
            RecursionError::Unverified { prefix, reasons }
        } else if has(ReasonKind::Loop) {
            RecursionError::Loop { prefix, reasons }
        } else {
            RecursionError::AllFailed { prefix, reasons }
        }
    }
}

impl Inner {
    /// Runs one try and reports it to the health tables.
    async fn ask_one(
        &self,
        target: &Target,
        question: &SiteQuestion,
        asked: Instant,
    ) -> Result<SiteReply, UpstreamError> {
        let silent =
            || UpstreamError::Unreachable { reason: format!("no answer within {} ms", TRY_TIMEOUT.as_millis()) };
        let reply = timeout(TRY_TIMEOUT, self.upstream.ask(target, question)).await.unwrap_or_else(|_| Err(silent()));
        match &reply {
            Ok(_) => self.health.answered(&target.endpoint, asked.elapsed()),
            // The endpoint is up but of no use: the report ranks others before it.
            Err(UpstreamError::Refused { .. }) => self.health.waits(&target.endpoint, TRY_TIMEOUT),
            Err(UpstreamError::Unreachable { .. } | UpstreamError::Garbled { .. }) => {
                self.health.failed(&target.endpoint, Instant::now(), self.chance());
            }
        }
        reply
    }
}

/// Candidates in the order to ask them, and reasons for the resting endpoints.
fn candidates(inner: &Inner, place: &Place, question: &SiteQuestion, now: Instant) -> (Vec<Candidate>, Vec<Reason>) {
    let (mut ranked, mut resting) = (Vec::new(), Vec::new());
    let protocols = protocols(inner.options.first, question);
    for site in place.delegation.sites().iter().filter(|site| question.evidence == Evidence::None || site.key.is_some())
    {
        let mut has_first = false;
        for (protocol, endpoint) in endpoints(site, protocols) {
            let target = Target { endpoint, key: site.key.clone(), prefix: Arc::clone(&place.prefix) };
            let post = inner.health.post(&place.prefix, &target);
            let (health, standing) = inner.health.look(&post, now);
            if standing == Standing::Open {
                let what = "rests, because it failed several times in a row";
                resting.push(Reason::new(endpoint, ReasonKind::Resting, what));
                continue;
            }
            let is_first = protocols.first() == Some(&protocol);
            has_first |= is_first && standing == Standing::Closed;
            let second_choice = has_first && !is_first;
            let rank = (standing, second_choice, health.smoothed().unwrap_or_default(), inner.chance());
            let patience = health.patience();
            ranked.push((
                rank,
                Candidate { target: Arc::new(target), post, patience, standing, second_choice, tries: 0 },
            ));
        }
    }
    // The random number is never NaN.
    ranked.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    (ranked.into_iter().map(|(_, candidate)| candidate).collect(), resting)
}

/// Protocols to ask over, in order of preference. Evidence requires gRPC.
fn protocols(first: FirstProtocol, question: &SiteQuestion) -> &'static [SiteProtocol] {
    match first {
        _ if question.evidence != Evidence::None => &[SiteProtocol::Grpc],
        FirstProtocol::Dns if dns_name::may_need_hash(&question.identifier).is_none() => {
            &[SiteProtocol::Dns, SiteProtocol::Grpc]
        }
        FirstProtocol::Dns | FirstProtocol::Grpc => &[SiteProtocol::Grpc, SiteProtocol::Dns],
    }
}

/// Endpoints of a site, in the order of the protocols.
fn endpoints(site: &Site, protocols: &[SiteProtocol]) -> impl Iterator<Item = (SiteProtocol, Endpoint)> {
    protocols.iter().flat_map(|&protocol| {
        let spoken = site.endpoints.iter().filter(move |endpoint| endpoint.protocol == protocol);
        spoken.map(move |endpoint| (protocol, *endpoint))
    })
}

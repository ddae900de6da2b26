//! The walk: from the deepest delegation that is known, down to the one who answers.
//!
//! ```text
//! begin: kept delegation, else that of the local node, else a root ──► ask its sites ──► answer
//!           ▲                                                            │    │
//!           │ no site of a kept one is of use: from above it             │    └► referral, strictly deeper: keep it, go on
//!           └────────────────────────────────────────────────────────────┘
//! ```
//!
//! A kept delegation is forgotten only when its parent says something else: a parent that is silent takes nothing away.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Inner,
    answers::Answers,
    contest::ask_sites,
    delegations::Known,
    error::RecursionError,
    judge::{Final, Judged},
    options::{FAILURE_RECHECK, HOPS_MAX},
    resolved::{Hop, HopOutcome, Resolution, Resolved, Source, Verification},
    upstream::Question,
};
use crate::{
    id::{Identifier, Key, Prefix},
    record::Delegation,
};

/// A delegation from which a walk begins, because the local node itself has it.
pub type Start = (Arc<Prefix>, Arc<Delegation>);

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) question: Arc<Question>,
    pub(super) questions_left: usize,
    deadline: Instant,
    hops: Vec<Hop>,
}

/// Where a walk is: at the sites of a delegation.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) prefix: Arc<Prefix>,
    pub(super) delegation: Arc<Delegation>,
    /// The weakest link of the chain that led here.
    pub(super) verification: Verification,
    /// Until when the delegation counts; nothing when it was configured.
    pub(super) until: Option<Instant>,
    /// Whether it was kept from an earlier walk.
    kept: bool,
}

/// What a walk begins with.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) identifier: Identifier,
    pub(super) start: Option<Start>,
    /// Whether what is kept counts; without it, the way is gone from the root.
    pub(super) use_kept: bool,
}

/// A kept delegation of whose sites none was of use.
struct Dead {
    prefix: Arc<Prefix>,
    delegation: Arc<Delegation>,
    error: RecursionError,
    /// Whether the parent has said it again, with other sites.
    moved: bool,
}

impl Walk {
    /// Adds a hop to the way, as far as it is shown.
    pub(super) fn tell(&mut self, hop: Hop) {
        if self.hops.len() < Hop::SHOWN_MAX {
            self.hops.push(hop);
        }
    }
}

/// Walks to the answer, keeps it, and gives it with the way.
pub(super) async fn walk(inner: &Arc<Inner>, begin: Begin) -> (Result<Resolved, RecursionError>, Vec<Hop>) {
    let question = Question { identifier: begin.identifier.clone(), evidence: inner.options.evidence };
    let generation = inner.generation.load(Relaxed);
    let mut walk = Walk {
        question: Arc::new(question),
        questions_left: inner.options.questions_max,
        deadline: Instant::now() + inner.options.walk_timeout,
        hops: Vec::new(),
    };
    let end = match inner.place(&mut walk, &begin, None) {
        Some(place) => go(inner, &mut walk, &begin, place).await,
        None => Err(RecursionError::NotResponsible { identifier: begin.identifier.to_string() }),
    };
    let key = begin.identifier.key();
    match end {
        Ok((prefix, end)) => {
            let (answer, ttl_seconds, asked) = resolution(prefix, end, &walk.hops);
            // What was outdated meanwhile is not kept.
            if inner.generation.load(Relaxed) != generation {
                return (Ok(Answers::pass(answer, 0)), walk.hops);
            }
            (Ok(inner.answers.keep(key, &Arc::new(answer), ttl_seconds, asked)), walk.hops)
        }
        Err(error) => {
            inner.answers.fail(key, &error, Instant::now());
            (Err(error), walk.hops)
        }
    }
}

async fn go(
    inner: &Arc<Inner>,
    walk: &mut Walk,
    begin: &Begin,
    mut place: Place,
) -> Result<(Arc<Prefix>, Final), RecursionError> {
    // From the deepest one up: each is left once, so there are no more than a tree is deep.
    let mut dead: Vec<Dead> = Vec::new();
    let mut referrals = 0;
    loop {
        let now = Instant::now();
        // What was kept may be out of date: time is left to ask its parent.
        let left = walk.deadline.saturating_duration_since(now);
        let until = if place.kept { now + left / 2 } else { walk.deadline };
        match ask_sites(inner, walk, &place, until).await {
            Ok(Judged::Answer(end)) => {
                dead.iter().filter(|dead| !dead.moved).for_each(|dead| inner.delegations.forget(&dead.prefix));
                return Ok((place.prefix, end));
            }
            Ok(Judged::Referral(lead)) => {
                referrals += 1;
                if referrals > HOPS_MAX {
                    return Err(RecursionError::TooManyHops {
                        prefix: place.prefix,
                        limit: HOPS_MAX,
                        what: "referrals",
                    });
                }
                let before = dead.iter_mut().find(|dead| dead.prefix == lead.known.prefix);
                let known = inner.keep_lead(lead.known, before)?;
                place = Place::of(known, false);
            }
            Err(error) => {
                let recheck = |prefix: &Prefix| inner.delegations.take_recheck(prefix, FAILURE_RECHECK, Instant::now());
                let above = match place.kept && recheck(&place.prefix) {
                    true => inner.place(walk, begin, Some(place.prefix.path().len())),
                    false => None,
                };
                let Some(above) = above else {
                    // What the sites in question did says more than what those above them do.
                    return Err(match dead.into_iter().next() {
                        Some(first) if !first.moved && place.is_above(&first.prefix) => first.error,
                        _ => error,
                    });
                };
                let Place { prefix, delegation, .. } = std::mem::replace(&mut place, above);
                dead.push(Dead { prefix, delegation, error, moved: false });
            }
        }
    }
}

impl Place {
    fn of(known: Known, kept: bool) -> Self {
        let Known { prefix, delegation, verification, until, .. } = known;
        Self { prefix, delegation, verification, until: Some(until), kept }
    }

    fn is_above(&self, prefix: &Prefix) -> bool {
        self.prefix.path().len() < prefix.path().len()
    }
}

impl Inner {
    /// The deepest delegation that covers the identifier: kept, the local node's own, or a root; only above a length, if one is given.
    fn place(&self, walk: &mut Walk, begin: &Begin, above: Option<usize>) -> Option<Place> {
        let (key, now): (&Key, _) = (begin.identifier.key(), Instant::now());
        let is_above = |prefix: &Prefix| above.is_none_or(|length| prefix.path().len() < length);
        let given = begin.start.as_ref().filter(|(prefix, _)| is_above(prefix) && prefix.covers(key));
        let given = given.or_else(|| self.roots.covering(key).filter(|(prefix, _)| is_above(prefix)));
        let given = given.map(|(prefix, delegation)| Place {
            prefix: Arc::clone(prefix),
            delegation: Arc::clone(delegation),
            // It is believed because it was configured, or because the local node says it.
            verification: Verification::Latest,
            until: None,
            kept: false,
        });
        let kept = if begin.use_kept { self.delegations.deepest(key, above, now) } else { None };
        let given_length = given.as_ref().map(|place| place.prefix.path().len());
        match kept {
            Some(known) if given_length.is_none_or(|length| known.prefix.path().len() > length) => {
                walk.tell(Hop {
                    prefix: Arc::clone(&known.said_by.0),
                    endpoint: known.said_by.1,
                    took: Duration::ZERO,
                    outcome: HopOutcome::Referral { prefix: Arc::clone(&known.prefix) },
                    ttl_seconds: u32::try_from((known.until - now).as_secs()).unwrap_or(u32::MAX),
                    verification: known.verification,
                    source: Source::Cache,
                });
                Some(Place::of(known, true))
            }
            _ => given,
        }
    }

    /// Keeps the delegation that a referral says; fails when it leads to the very sites of which none was of use.
    fn keep_lead(&self, mut known: Known, dead: Option<&mut Dead>) -> Result<Known, RecursionError> {
        let now = Instant::now();
        let mut error = None;
        if let Some(dead) = dead {
            dead.moved = dead.delegation != known.delegation;
            error = (!dead.moved).then(|| dead.error.clone());
            known.rechecked = Some(now);
        }
        self.delegations.keep(known.clone(), now);
        error.map_or(Ok(known), Err)
    }
}

fn resolution(prefix: Arc<Prefix>, end: Final, hops: &[Hop]) -> (Resolution, u32, Instant) {
    let Final { said, verification, withheld, endpoint, lag_seconds, ttl_seconds, asked } = end;
    let (hops, rendered) = (hops.into(), OnceLock::new());
    let answer = Resolution { said, verification, withheld, prefix, endpoint, lag_seconds, hops, rendered };
    (answer, ttl_seconds, asked)
}

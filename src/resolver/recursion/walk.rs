//! The walk: from the deepest known delegation down to the site that answers.
//!
//! ```text
//! begin: deepest of cached delegation, that of the local node, root ──► ask its sites ──► answer
//!           ▲                                                            │    │ ▲
//!           │ no site of a cached one is of use: from above it           │    │ │ no parent helps, or repeats the same:
//!           └────────────────────────────────────────────────────────────┘    │ │ back to sites that were only slow
//!                                                                             └─┴─► referral, strictly deeper: cache it
//! ```
//!
//! A cached delegation may be out of date, and its sites silent: after [`KEPT_PATIENCE`] the sites of its parent are
//! asked. One walk asks them; all other walks that found the same sites of no use wait for the result. Sites that were
//! only slow get the remaining time.
//!
//! A cached delegation is forgotten only if its parent contradicts it; a silent parent changes nothing. A parent is
//! left alone for a while after it repeated the delegation ([`FAILURE_RECHECK`]) or said nothing ([`FAILURE_TTL`]).

use std::{
    sync::{Arc, OnceLock, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout_at},
};

use super::{
    Inner,
    answers::Answers,
    contest::ask_sites,
    delegations::Known,
    error::RecursionError,
    judge::{Final, Judged},
    options::{FAILURE_RECHECK, FAILURE_TTL, HOPS_MAX, Start},
    place::{Place, Stage, Walk},
    resolved::{Hop, HopOutcome, Resolution, Resolved, Source, Verification},
    upstream::SiteQuestion,
};
use crate::id::{Identifier, Key, Prefix};

/// Time until a walk leaves the silent sites of a cached delegation and asks those of its parent. Two moved levels and
/// the way from a root then fit into the time that a client with a stale answer waits
/// ([`CLIENT_RESPONSE_TIMEOUT`](super::options::CLIENT_RESPONSE_TIMEOUT)).
const KEPT_PATIENCE: Duration = Duration::from_millis(800);

/// Parameters of a walk.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) identifier: Identifier,
    pub(super) start: Option<Start>,
    /// True if cached delegations count; without them, the walk starts at a root or at `start`.
    pub(super) use_kept: bool,
    /// Generation of the cache before `start` was read.
    generation: u64,
}

impl Begin {
    pub(super) fn new(
        inner: &Inner,
        identifier: &Identifier,
        start: impl FnOnce() -> Option<Start>,
        use_kept: bool,
    ) -> Self {
        let generation = inner.generation.load(SeqCst);
        Self { identifier: identifier.clone(), start: start(), use_kept, generation }
    }
}

/// A place where no site was of use.
struct Dead {
    place: Place,
    error: RecursionError,
    /// True if the walk left the place while its sites might still have answered.
    left_early: bool,
    /// True if the parent returned this delegation with a different site set, or another walk learned so.
    moved: bool,
    turn: Option<OwnedMutexGuard<()>>,
}

/// Right of a walk to ask the parent of a cached delegation.
enum Turn {
    /// Granted; other walks wait until the guard is dropped.
    Mine(Option<OwnedMutexGuard<()>>),
    /// Not needed: another walk learned this newer delegation.
    Moved(Known),
    /// Denied for now: the parent was asked lately, or the deadline has passed.
    Over,
}

/// Walks to an answer, caches it, and returns it with the hops.
pub(super) async fn walk(inner: &Arc<Inner>, begin: Begin) -> (Result<Resolved, RecursionError>, Vec<Hop>) {
    let question = SiteQuestion { identifier: begin.identifier.clone(), evidence: inner.options.evidence };
    let mut walk = Walk {
        question: Arc::new(question),
        questions_left: inner.options.questions_max,
        deadline: Instant::now() + inner.options.walk_timeout,
        hops: Vec::new(),
        generation: begin.generation,
    };
    let mut dead = Vec::new();
    let end = match inner.place(&mut walk, &begin, None) {
        Some(place) => go(inner, &mut walk, &begin, place, &mut dead).await,
        None => Err(RecursionError::NotResponsible { identifier: begin.identifier.to_string() }),
    };
    let key = begin.identifier.key();
    match end {
        Ok((prefix, end)) => {
            let (answer, ttl_seconds, asked) = resolution(prefix, end, &walk.hops);
            let answer = Arc::new(answer);
            let kept = inner.answers.keep(key, &answer, ttl_seconds, asked);
            // The generation is compared after the write: an invalidation during the write counts as well.
            if inner.is_outdated(&walk) {
                inner.answers.forget(key);
                return (Ok(Answers::pass(answer, 0)), walk.hops);
            }
            (Ok(kept), walk.hops)
        }
        Err(error) => {
            inner.leave_parents_alone(&dead);
            inner.answers.fail(key, &error, Instant::now());
            if inner.is_outdated(&walk) {
                inner.answers.forget(key);
            }
            (Err(error), walk.hops)
        }
    }
}

async fn go(
    inner: &Arc<Inner>,
    walk: &mut Walk,
    begin: &Begin,
    mut place: Place,
    // Each level is left upwards once, and one is returned to: no more entries than the tree is deep.
    dead: &mut Vec<Dead>,
) -> Result<(Arc<Prefix>, Final), RecursionError> {
    let mut referrals = 0;
    loop {
        let now = Instant::now();
        let left = walk.deadline.saturating_duration_since(now);
        let until = match place.stage {
            Stage::Kept => now + KEPT_PATIENCE.min(left / 2),
            // If the parents do not help, the slow sites below need time.
            Stage::Quiet | Stage::Fresh if dead.iter().any(Dead::may_be_slow) => now + left / 2,
            Stage::Quiet | Stage::Fresh | Stage::Last => walk.deadline,
        };
        match ask_sites(inner, walk, &place, until).await {
            Ok(Judged::Answer(end)) => {
                let gone = dead.iter().filter(|dead| !dead.moved && place.is_above(&dead.place.prefix));
                gone.for_each(|dead| inner.delegations.forget(&dead.place.prefix));
                return Ok((place.prefix, end));
            }
            Ok(Judged::Referral(lead)) => {
                referrals += 1;
                if referrals > HOPS_MAX {
                    let (prefix, limit) = (place.prefix, HOPS_MAX);
                    return Err(RecursionError::TooManyHops { prefix, limit, what: "referrals" });
                }
                place = inner.follow(walk, lead.known, dead)?;
            }
            Err(error) => {
                let is_late = until < walk.deadline && matches!(error, RecursionError::Timeout { .. });
                let left_early = is_late && place.stage == Stage::Kept;
                let failed = Dead { place, error, left_early, moved: false, turn: None };
                place = inner.leave(walk, begin, failed, dead).await?;
            }
        }
    }
}

impl Dead {
    fn may_be_slow(&self) -> bool {
        self.left_early && !self.moved
    }
}

/// The error of a walk without a useful site: that of the deepest sites, with that of the highest place, which could
/// have pointed elsewhere.
fn dead_end(dead: &[Dead], error: RecursionError) -> RecursionError {
    let length = |dead: &&Dead| dead.place.prefix.path().len();
    let still = || dead.iter().filter(|dead| !dead.moved);
    match (still().max_by_key(length), still().min_by_key(length)) {
        (Some(below), Some(above)) if above.place.is_above(&below.place.prefix) => {
            RecursionError::DeadEnd { below: Box::new(below.error.clone()), above: Box::new(above.error.clone()) }
        }
        _ => error,
    }
}

impl Inner {
    /// The deepest delegation that covers the identifier: cached, the local node's own, or a root. With `above`, only
    /// prefixes whose path is shorter.
    fn place(&self, walk: &mut Walk, begin: &Begin, above: Option<usize>) -> Option<Place> {
        let (key, now): (&Key, _) = (begin.identifier.key(), Instant::now());
        let is_above = |prefix: &Prefix| above.is_none_or(|length| prefix.path().len() < length);
        let given = begin.start.as_ref().filter(|(prefix, _)| is_above(prefix) && prefix.covers(key));
        let given = given.or_else(|| self.roots.covering(key).filter(|(prefix, _)| is_above(prefix)));
        let given = given.map(|(prefix, delegation)| Place {
            prefix: Arc::clone(prefix),
            delegation: Arc::clone(delegation),
            // The start of the chain is trusted: configured, or in the local node's own ledger.
            verification: Verification::Latest,
            until: None,
            stage: Stage::Fresh,
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
                let stage = if known.is_quiet(now) { Stage::Quiet } else { Stage::Kept };
                Some(Place::of(known, stage))
            }
            _ => given,
        }
    }

    /// True if the cache was invalidated after the walk began.
    fn is_outdated(&self, walk: &Walk) -> bool {
        self.generation.load(SeqCst) != walk.generation
    }

    /// Caches a delegation, unless the cache was invalidated after the walk began.
    fn keep(&self, walk: &Walk, known: &Known, now: Instant) {
        self.delegations.keep(known.clone(), now);
        if self.is_outdated(walk) {
            self.delegations.forget(&known.prefix);
        }
    }

    /// Caches the delegation of a referral and moves there, unless its sites are those that were just of no use.
    fn follow(&self, walk: &Walk, mut known: Known, dead: &mut Vec<Dead>) -> Result<Place, RecursionError> {
        let now = Instant::now();
        let before = dead.iter().position(|dead| dead.place.prefix == known.prefix && !dead.moved);
        let Some(before) = before else {
            self.keep(walk, &known, now);
            return Ok(Place::of(known, Stage::Fresh));
        };
        // Waiting walks read the cache: the delegation is stored before the turn is released.
        if dead[before].place.delegation != known.delegation {
            self.keep(walk, &known, now);
            (dead[before].moved, dead[before].turn) = (true, None);
            return Ok(Place::of(known, Stage::Fresh));
        }
        known.quiet_until = Some(now + FAILURE_RECHECK);
        self.keep(walk, &known, now);
        dead[before].turn = None;
        match dead[before].left_early {
            true => {
                dead.remove(before);
                Ok(Place::of(known, Stage::Fresh))
            }
            false => {
                let error = dead[before].error.clone();
                self.come_back(walk, dead, error)
            }
        }
    }

    /// The next place after one where no site was of use: above it, or a place that was left early.
    async fn leave(
        &self,
        walk: &mut Walk,
        begin: &Begin,
        mut failed: Dead,
        dead: &mut Vec<Dead>,
    ) -> Result<Place, RecursionError> {
        let mut above = None;
        if failed.place.stage == Stage::Kept {
            match self.turn(walk, &failed.place).await {
                Turn::Moved(known) => return Ok(Place::of(known, Stage::Fresh)),
                Turn::Mine(turn) => {
                    failed.turn = turn;
                    above = self.place(walk, begin, Some(failed.place.prefix.path().len()));
                }
                Turn::Over => {}
            }
        }
        let (stage, error) = (failed.place.stage, failed.error.clone());
        dead.push(failed);
        if let Some(above) = above {
            return Ok(above);
        }
        if stage == Stage::Last { Err(dead_end(dead, error)) } else { self.come_back(walk, dead, error) }
    }

    /// Returns to the first place that was left early, or fails: no parent helps.
    fn come_back(&self, walk: &Walk, dead: &mut Vec<Dead>, error: RecursionError) -> Result<Place, RecursionError> {
        let slow = dead.iter().position(Dead::may_be_slow);
        match slow.filter(|_| Instant::now() < walk.deadline) {
            Some(slow) => {
                self.leave_parents_alone(dead);
                Ok(Place { stage: Stage::Last, ..dead.remove(slow).place })
            }
            None => Err(dead_end(dead, error)),
        }
    }

    /// Waits for the turn to ask the parent of a place.
    async fn turn(&self, walk: &Walk, place: &Place) -> Turn {
        let kept = || self.delegations.of(&place.prefix, Instant::now());
        let learned = |known: Known| match known.delegation == place.delegation {
            true => known.is_quiet(Instant::now()).then_some(Turn::Over),
            false => Some(Turn::Moved(known)),
        };
        let Some(known) = kept() else { return Turn::Mine(None) };
        let turn = Arc::clone(&known.turn);
        if let Some(learned) = learned(known) {
            return learned;
        }
        match timeout_at(walk.deadline, turn.lock_owned()).await {
            Ok(turn) => kept().and_then(learned).unwrap_or(Turn::Mine(Some(turn))),
            Err(_) => Turn::Over,
        }
    }

    /// Keeps all walks from asking the parents of these places for [`FAILURE_TTL`].
    fn leave_parents_alone(&self, dead: &[Dead]) {
        let until = Instant::now() + FAILURE_TTL;
        for Dead { place, .. } in dead.iter().filter(|dead| !dead.moved && dead.place.stage == Stage::Kept) {
            self.delegations.hush(&place.prefix, until);
        }
    }
}

fn resolution(prefix: Arc<Prefix>, end: Final, hops: &[Hop]) -> (Resolution, u32, Instant) {
    let Final { answer, verification, withheld, endpoint, lag_seconds, ttl_seconds, asked } = end;
    let (hops, rendered) = (hops.into(), OnceLock::new());
    let resolution = Resolution { answer, verification, withheld, prefix, endpoint, lag_seconds, hops, rendered };
    (resolution, ttl_seconds, asked)
}

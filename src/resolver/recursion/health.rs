//! How endpoints did: how fast they answer, and which of them rest.
//!
//! Two tables. That of endpoints knows times and whether they answer at all, whoever asks them and for what. That of posts (an
//! endpoint with a key, for one prefix) knows who gives wrong answers: a delegation that names an endpoint of somebody else, or
//! a wrong key for it, harms that post alone. Both are bounded, what was used longest ago is forgotten.
//!
//! ```text
//!            5 failures in a row          pause over, one try
//!   closed ────────────────────► open ──────────────────────► trying
//!     ▲                            ▲      failed: pause × 2      │
//!     └── any success ──           └─────────────────────────────┤
//!     ▲                                                          │
//!     └────────────────────────── succeeded ─────────────────────┘
//! ```
//!
//! Deliberately absent: what a failure is. The time is given in, and so is the chance that spreads pauses.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use super::upstream::Target;
use crate::{cache::shelf::Shelf, id::Prefix, record::Endpoint};

/// So many failures in a row open a breaker.
const FAILURES_MAX: u32 = 5;
/// How long a breaker stays open the first time, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// When nobody heard of a try that was to decide, another one may.
const TRYING_MAX: Duration = Duration::from_secs(10);
/// How long to wait for an endpoint before the next one is asked, too.
const PATIENCE_MIN: Duration = Duration::from_millis(50);
const PATIENCE_MAX: Duration = Duration::from_secs(1);
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(400);
/// As a multiple of the smoothed time.
const PATIENCE_FACTOR: u32 = 3;
/// An endpoint that failed counts as at least so slow, until it answers.
const FAILED_TIME_MIN: Duration = Duration::from_secs(1);
/// The weight of a new time in the smoothed one, as one part of so many.
const SMOOTHING: u32 = 4;

/// What is known of one endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    smoothed: Option<Duration>,
    /// Whether the smoothed time is a guess, because the last try failed.
    guessed: bool,
    breaker: Breaker,
}

/// Whether someone is asked, after what happened before.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    failures_in_row: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    Trying {
        until: Instant,
        pause: Duration,
    },
}

/// Whether someone may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// By anyone.
    Closed,
    /// By one, whose try decides.
    Ready,
    /// By nobody.
    Open,
}

impl Breaker {
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Closed => Standing::Closed,
            State::Open { until, .. } | State::Trying { until, .. } if now >= until => Standing::Ready,
            State::Open { .. } | State::Trying { .. } => Standing::Open,
        }
    }

    /// Takes the one try; false when another one has it.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        match (self.standing(now), self.state) {
            (Standing::Open, _) => false,
            (Standing::Ready, State::Open { pause, .. } | State::Trying { pause, .. }) => {
                self.state = State::Trying { until: now + TRYING_MAX, pause };
                true
            }
            _ => true,
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// `chance` is between 0 and 1, and makes the pause up to a quarter longer.
    pub(super) fn failed(&mut self, now: Instant, chance: f64) {
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        let pause = match self.state {
            State::Closed if self.failures_in_row < FAILURES_MAX => return,
            State::Closed => PAUSE_MIN,
            State::Trying { pause, .. } => (pause * 2).min(PAUSE_MAX),
            // One that was asked before it opened.
            State::Open { .. } => return,
        };
        self.state = State::Open { until: now + pause.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0), pause };
    }

    fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }
}

impl Health {
    /// How long it takes to answer; `None` when it was never asked.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How long to wait for it before another one is asked, too.
    pub(super) fn patience(&self) -> Duration {
        let smoothed = |time: Duration| (time * PATIENCE_FACTOR).clamp(PATIENCE_MIN, PATIENCE_MAX);
        self.smoothed.map_or(PATIENCE_UNKNOWN, smoothed)
    }

    fn answered(&mut self, took: Duration) {
        self.smoothed = Some(match self.smoothed {
            Some(smoothed) if !self.guessed => (smoothed * (SMOOTHING - 1) + took) / SMOOTHING,
            _ => took,
        });
        self.guessed = false;
        self.breaker.succeeded();
    }

    /// It has been asked for so long, and has not answered yet.
    fn waits(&mut self, since: Duration) {
        if self.smoothed.is_none_or(|smoothed| smoothed < since) {
            self.smoothed = Some(since);
            self.guessed = true;
        }
    }

    fn failed(&mut self, now: Instant, chance: f64) {
        self.waits(FAILED_TIME_MIN);
        self.breaker.failed(now, chance);
    }
}

/// An endpoint with a key, asked about one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Post {
    endpoint: Endpoint,
    scope: u64,
}

/// The two tables.
#[derive(Debug)]
pub(super) struct HealthTables {
    endpoints: Shelf<Endpoint, Health>,
    posts: Shelf<Post, Breaker>,
    scopes: RandomState,
}

impl HealthTables {
    pub(super) fn new(endpoints_max: usize) -> Self {
        Self {
            endpoints: Shelf::new(endpoints_max, |_, _| 1),
            posts: Shelf::new(endpoints_max, |_, _| 1),
            scopes: RandomState::new(),
        }
    }

    pub(super) fn post(&self, prefix: &Prefix, target: &Target) -> Post {
        let scope = self.scopes.hash_one((prefix.path(), target.key.as_deref()));
        Post { endpoint: target.endpoint, scope }
    }

    /// What is known of an endpoint, and whether it may be asked from this post.
    pub(super) fn look(&self, post: &Post, now: Instant) -> (Health, Standing) {
        let health = self.endpoints.read(&post.endpoint, Health::clone).unwrap_or_default();
        let standing = self.posts.read(post, |breaker| breaker.standing(now)).unwrap_or(Standing::Closed);
        let standing = standing.max(health.breaker.standing(now));
        (health, standing)
    }

    /// Takes the right to ask; false when somebody else's try is to decide first.
    pub(super) fn take(&self, post: &Post, now: Instant) -> bool {
        let may_post = self.posts.change(post, |breaker| breaker.take(now)).unwrap_or(true);
        may_post && self.endpoints.change(&post.endpoint, |health| health.breaker.take(now)).unwrap_or(true)
    }

    /// The endpoint answered, whatever it said.
    pub(super) fn answered(&self, endpoint: &Endpoint, took: Duration) {
        self.endpoints.change_or_default(endpoint, |health| health.answered(took));
    }

    /// The endpoint has not answered yet.
    pub(super) fn waits(&self, endpoint: &Endpoint, since: Duration) {
        self.endpoints.change_or_default(endpoint, |health| health.waits(since));
    }

    /// The endpoint did not answer, or nothing that could be read.
    pub(super) fn failed(&self, endpoint: &Endpoint, now: Instant, chance: f64) {
        self.endpoints.change_or_default(endpoint, |health| health.failed(now, chance));
    }

    /// What the endpoint said counted.
    pub(super) fn was_right(&self, post: &Post) {
        self.posts.change(post, Breaker::succeeded);
    }

    /// What the endpoint said was wrong.
    pub(super) fn was_wrong(&self, post: &Post, now: Instant, chance: f64) {
        self.posts.change_or_default(post, |breaker| breaker.failed(now, chance));
    }

    /// How many breakers are not closed.
    pub(super) fn open(&self) -> usize {
        self.endpoints.count(|health| health.breaker.is_open()) + self.posts.count(Breaker::is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_breaker_opens_after_five_failures_in_a_row_and_one_try_decides() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            breaker.failed(now, 0.0);
        }
        breaker.succeeded();
        for _ in 0..4 {
            breaker.failed(now, 0.0);
        }
        assert_eq!(breaker.standing(now), Standing::Closed, "never five in a row");
        breaker.failed(now, 0.0);
        assert_eq!(breaker.standing(now + SECOND * 9 / 10), Standing::Open);
        breaker.failed(now, 0.0);
        let then = now + SECOND;
        assert_eq!(breaker.standing(then), Standing::Ready, "one that was late does not count");
        assert!(breaker.take(then) && !breaker.take(then));
        assert_eq!(breaker.standing(then), Standing::Open);
        assert_eq!(breaker.standing(then + TRYING_MAX), Standing::Ready, "nobody heard of the try");
        breaker.succeeded();
        assert!(breaker.take(then) && breaker.take(then));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| breaker.failed(now, 0.0));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(breaker.standing(now + SECOND * seconds - SECOND / 100), Standing::Open, "{seconds}");
            now += SECOND * seconds;
            assert!(breaker.take(now), "{seconds}");
            breaker.failed(now, 0.0);
        }
        now += PAUSE_MAX;
        assert!(breaker.take(now));
        breaker.failed(now, 1.0);
        assert_eq!(breaker.standing(now + SECOND * 74), Standing::Open, "a quarter longer");
        assert_eq!(breaker.standing(now + SECOND * 75), Standing::Ready);
    }

    #[test]
    fn times_are_smoothed_and_bound_the_patience() {
        let ms = Duration::from_millis;
        let mut health = Health::default();
        assert_eq!((health.smoothed(), health.patience()), (None, PATIENCE_UNKNOWN));
        health.answered(ms(100));
        health.answered(ms(20));
        assert_eq!((health.smoothed(), health.patience()), (Some(ms(80)), ms(240)));
        health.waits(ms(50));
        assert_eq!(health.smoothed(), Some(ms(80)), "not slower than it is");
        health.waits(ms(300));
        assert_eq!((health.smoothed(), health.patience()), (Some(ms(300)), ms(900)));
        health.answered(ms(10));
        assert_eq!((health.smoothed(), health.patience()), (Some(ms(10)), PATIENCE_MIN), "what was guessed is gone");
        health.failed(Instant::now(), 0.0);
        assert_eq!((health.smoothed(), health.patience()), (Some(FAILED_TIME_MIN), PATIENCE_MAX));
    }

    #[test]
    fn a_wrong_answer_harms_one_post_and_silence_all() {
        let (tables, now) = (HealthTables::new(1_000), Instant::now());
        let endpoint: Endpoint = "grpc://192.0.2.1:1".parse().unwrap();
        let [a, b] = ["88", "99"].map(|text| Prefix::parse(text).unwrap());
        let target = Target { endpoint, key: None, prefix: Prefix::everything().into() };
        let keyed = Target { key: Some("k".into()), ..target.clone() };
        let posts = [tables.post(&a, &target), tables.post(&b, &target), tables.post(&a, &keyed)];
        (0..5).for_each(|_| tables.was_wrong(&posts[0], now, 0.0));
        assert_eq!(posts.map(|post| tables.look(&post, now).1), [Standing::Open, Standing::Closed, Standing::Closed]);
        tables.was_right(&posts[0]);
        (0..5).for_each(|_| tables.failed(&endpoint, now, 0.0));
        assert_eq!(posts.map(|post| tables.look(&post, now).1), [Standing::Open; 3]);
        assert_eq!(tables.open(), 1);
        let later = now + SECOND;
        assert_eq!(posts.map(|post| tables.take(&post, later)), [true, false, false], "one try decides for all");
    }
}

//! Health of endpoints: response times, and circuit breakers with back-off.
//!
//! The table of endpoints holds times and silence, whoever asked and for which prefix. The table of posts (an endpoint
//! with a key, for one prefix) holds wrong answers: a delegation that names a foreign endpoint, or a wrong key for it,
//! harms that post alone. Both are bounded, least recently used first out.
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
//! Deliberately absent: the definition of a failure. The caller passes in the time and the random number for jitter.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use super::upstream::Target;
use crate::{cache::shelf::Shelf, id::Prefix, record::Endpoint};

/// Number of failures in a row that open a breaker.
const FAILURES_MAX: u32 = 5;
/// Minimum and maximum back-off of an open breaker, before jitter.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Time until a deciding try without a result makes way for another.
const TRYING_MAX: Duration = Duration::from_secs(10);
/// Bounds and default of the patience: the wait for an endpoint until the next one is asked as well.
const PATIENCE_MIN: Duration = Duration::from_millis(50);
const PATIENCE_MAX: Duration = Duration::from_secs(1);
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(400);
/// Patience as a multiple of the smoothed response time.
const PATIENCE_FACTOR: u32 = 3;
/// Minimum response time assumed for a failed endpoint, until it answers.
const FAILED_TIME_MIN: Duration = Duration::from_secs(1);
/// Divisor of a new time's weight in the smoothed one: 1/4.
const SMOOTHING: u32 = 4;

/// Health of one endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    smoothed: Option<Duration>,
    /// True if the smoothed time is a guess from a wait or failure.
    guessed: bool,
    breaker: Breaker,
}

/// Circuit breaker of an endpoint or a post.
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

/// Permission to ask, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Any caller may ask.
    Closed,
    /// One caller may ask, and its try decides.
    Ready,
    /// No caller may ask.
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

    /// Takes the deciding try if one is due; false if no caller may ask now.
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

    /// Counts a failure. `chance`, from 0 to 1, is the jitter: it lengthens the back-off by up to a quarter.
    pub(super) fn failed(&mut self, now: Instant, chance: f64) {
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        let pause = match self.state {
            State::Closed if self.failures_in_row < FAILURES_MAX => return,
            State::Closed => PAUSE_MIN,
            State::Trying { pause, .. } => (pause * 2).min(PAUSE_MAX),
            // The failed query began before the breaker opened.
            State::Open { .. } => return,
        };
        self.state = State::Open { until: now + pause.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0), pause };
    }

    fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }
}

impl Health {
    /// Smoothed response time; `None` if the endpoint was never asked.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Wait for the endpoint until another one is asked as well.
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

    /// Notes that a query has been without an answer for so long.
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

/// Health of all endpoints and posts.
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

    /// Health of a post's endpoint, and the stricter permission of post and endpoint.
    pub(super) fn look(&self, post: &Post, now: Instant) -> (Health, Standing) {
        let health = self.endpoints.read(&post.endpoint, Health::clone).unwrap_or_default();
        let standing = self.posts.read(post, |breaker| breaker.standing(now)).unwrap_or(Standing::Closed);
        let standing = standing.max(health.breaker.standing(now));
        (health, standing)
    }

    /// Takes the permission to ask; false if another caller's try decides first.
    pub(super) fn take(&self, post: &Post, now: Instant) -> bool {
        let may_post = self.posts.change(post, |breaker| breaker.take(now)).unwrap_or(true);
        may_post && self.endpoints.change(&post.endpoint, |health| health.breaker.take(now)).unwrap_or(true)
    }

    /// Notes an answer of the endpoint, valid or not.
    pub(super) fn answered(&self, endpoint: &Endpoint, took: Duration) {
        self.endpoints.change_or_default(endpoint, |health| health.answered(took));
    }

    /// Notes that the endpoint has not answered yet.
    pub(super) fn waits(&self, endpoint: &Endpoint, since: Duration) {
        self.endpoints.change_or_default(endpoint, |health| health.waits(since));
    }

    /// Notes silence of the endpoint, or an unreadable reply.
    pub(super) fn failed(&self, endpoint: &Endpoint, now: Instant, chance: f64) {
        self.endpoints.change_or_default(endpoint, |health| health.failed(now, chance));
    }

    /// Notes a valid reply.
    pub(super) fn was_right(&self, post: &Post) {
        self.posts.change(post, Breaker::succeeded);
    }

    /// Notes an invalid reply.
    pub(super) fn was_wrong(&self, post: &Post, now: Instant, chance: f64) {
        self.posts.change_or_default(post, |breaker| breaker.failed(now, chance));
    }

    /// Number of breakers that are not closed.
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

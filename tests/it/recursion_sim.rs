//! A seeded simulation of recursion: a tree of zones that change owners, addresses and records; sites that fail in
//! every way that a site can; networks that lose, delay, reorder and cut; and two recursive nodes, one of which accepts
//! nothing without a proof.
//!
//! Proofs are real, and checked by the real verifier. The clock is tokio's paused one, on one thread, so that a seed
//! determines the run. (`turmoil` simulates sockets, which recursion does not have: it asks through one trait.)
//!
//! Checked for every answer: a verified answer, and an answer that involved no forger, was true at a time that TTL, lag
//! and stale rules allow; the verifying node returns nothing unverified; TTLs are bounded and only decrease; walks are
//! bounded in time, referrals and questions; concurrent equal questions share one walk. After all faults have healed,
//! every question gets a true answer within [`HEALED_WITHIN`].
//!
//! Not simulated, because no proof reveals it yet: a site that keeps an old checkpoint of a ledger and shows the whole
//! ledger as of that checkpoint.
//!
//! `TOUCHMARK_SIM_SEED` and `TOUCHMARK_SIM_STEPS` give another run, or a longer one.

mod proofs;
mod prover;
mod world;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use touchmark::resolver::{
    Answer,
    recursion::{
        BoxFuture, Evidence, HOPS_MAX, Hop, HopOutcome, LedgerVerifier, RecursionOptions, Recursor, Resolution,
        Resolved, STALE_TTL_SECONDS, SiteQuestion, SiteReply, Source, TTL_SECONDS_ENDED, TTL_SECONDS_MAX,
        TTL_SECONDS_NOT_FOUND, Target, Upstream, UpstreamError, Verification,
    },
};
use world::{Forgery, LAG_MAX, Mode, Shared, Truth, World};

/// Time after the last fault until every question is answered again: the longest pause of a circuit breaker, and a
/// margin.
const HEALED_WITHIN: Duration = Duration::from_secs(80);
/// Time for which stale answers are served.
const STALE_MAX: Duration = Duration::from_secs(600);
/// Length of a run unless given, in steps of questions and changes.
const STEPS: u64 = 10_000;
/// Number of steps until everything heals.
const STEPS_PER_PHASE: u64 = 1_000;

/// State of the two nodes' networks.
#[derive(Default)]
struct Weather {
    /// Percentage of a node's questions that are lost.
    loss: [u64; 2],
    /// Percentage of a node's questions that take seconds.
    slow: [u64; 2],
    /// Pairs of node and zone that cannot reach each other.
    cut: HashSet<(usize, usize)>,
}

struct Line {
    who: usize,
    world: Shared,
    weather: Arc<Mutex<Weather>>,
    chances: Mutex<StdRng>,
}

impl Line {
    fn below(&self, end: u64) -> u64 {
        self.chances.lock().unwrap().next_u64() % end.max(1)
    }

    fn delay(&self) -> Duration {
        let slow = self.below(100) < self.weather.lock().unwrap().slow[self.who];
        Duration::from_micros(if slow { self.below(3_000_000) } else { 500 + self.below(20_000) })
    }

    fn mode(&self, port: u16) -> Mode {
        self.world.lock().unwrap().ports.get(&port).map_or(Mode::Forger(Forgery::OwnKey), |port| port.mode)
    }

    fn is_lost(&self, port: u16) -> bool {
        let weather = self.weather.lock().unwrap();
        let zone = self.world.lock().unwrap().ports.get(&port).map(|port| port.zone);
        let is_cut = zone.is_some_and(|zone| weather.cut.contains(&(self.who, zone)));
        is_cut || self.below(100) < weather.loss[self.who]
    }
}

impl Upstream for Line {
    fn ask<'a>(
        &'a self,
        to: &'a Target,
        question: &'a SiteQuestion,
    ) -> BoxFuture<'a, Result<SiteReply, UpstreamError>> {
        let port = to.endpoint.address.port();
        Box::pin(async move {
            if self.is_lost(port) {
                sleep(Duration::from_secs(30)).await;
            }
            sleep(self.delay()).await;
            let reply = match self.mode(port) {
                Mode::Down if self.below(2) == 0 => {
                    sleep(Duration::from_secs(30)).await;
                    Err(UpstreamError::Unreachable { reason: "no answer".into() })
                }
                Mode::Down => Err(UpstreamError::Unreachable { reason: "connection refused".into() }),
                Mode::Refusing => Err(UpstreamError::Refused { reason: "too many questions".into() }),
                Mode::Garbage => Err(UpstreamError::Garbled { reason: "no message".into() }),
                _ => {
                    let mut world = self.world.lock().unwrap();
                    world.answer(port, &to.prefix, question).map_err(|reason| UpstreamError::Garbled { reason })
                }
            };
            sleep(self.delay()).await;
            reply
        })
    }
}

/// The last answer that a node gave for an identifier.
struct Seen {
    answer: Arc<Resolution>,
    at: Instant,
    ttl_seconds: u32,
}

struct Simulation {
    world: Shared,
    weather: Arc<Mutex<Weather>>,
    nodes: [Recursor; 2],
    seen: HashMap<(usize, usize), Seen>,
    options: RecursionOptions,
    tally: HashMap<String, u64>,
}

/// Index of the node that accepts nothing without a proof; the other one asks for no proofs.
const STRICT: usize = 1;

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = Arc::new(Mutex::new(World::new(seed)));
        let weather = Arc::new(Mutex::new(Weather::default()));
        let options = RecursionOptions { stale_max: STALE_MAX, seed, ..Default::default() };
        let node = |who: usize| {
            let evidence = if who == STRICT { Evidence::Latest } else { Evidence::None };
            let chances = Mutex::new(StdRng::seed_from_u64(seed ^ (who as u64 + 1)));
            let line = Line { who, world: world.clone(), weather: weather.clone(), chances };
            let options = RecursionOptions { evidence, ..options.clone() };
            let roots = world.lock().unwrap().roots();
            Recursor::new(roots, Arc::new(line), Arc::new(LedgerVerifier::default()), options)
        };
        let nodes = [node(0), node(1)];
        Self { world, weather, nodes, seen: HashMap::new(), options, tally: HashMap::new() }
    }

    fn below(&self, end: u64) -> u64 {
        self.world.lock().unwrap().below(end)
    }

    async fn run(&mut self, steps: u64) {
        let mut done = 0;
        while done < steps {
            let phase_end = (done + STEPS_PER_PHASE).min(steps);
            while done < phase_end {
                done += match self.below(20) {
                    0..=1 => self.change_faults(),
                    2 => {
                        self.world.lock().unwrap().change_delegation();
                        1
                    }
                    3..=5 => {
                        self.world.lock().unwrap().change_record();
                        1
                    }
                    _ => self.ask_some().await,
                };
                sleep(Duration::from_millis(self.below(3_000))).await;
            }
            self.heal_and_check().await;
        }
    }

    /// Asks both nodes some questions at once, more often about identifiers with low numbers.
    async fn ask_some(&mut self) -> u64 {
        let count = 1 + self.below(6);
        let identifiers = self.world.lock().unwrap().identifiers.len() as u64;
        let asks: Vec<(usize, usize)> = (0..count)
            .map(|_| {
                (self.below(2) as usize, (self.below(identifiers) * self.below(identifiers) / identifiers) as usize)
            })
            .collect();
        let traces = self.below(20) == 0;
        self.ask(&asks, traces).await;
        count
    }

    async fn ask(&mut self, asks: &[(usize, usize)], traces: bool) -> Vec<Option<Truth>> {
        let walks = self.nodes.each_ref().map(|node| node.stats().walks);
        let began = Instant::now();
        let running: Vec<_> = asks
            .iter()
            .map(|&(who, number)| {
                let node = self.nodes[who].clone();
                let identifier = self.world.lock().unwrap().identifiers[number].clone();
                tokio::spawn(async move {
                    let result = match traces {
                        true => node.trace(&identifier, || None).await.result,
                        false => match node.kept(identifier.key()) {
                            Some(kept) => Ok(kept),
                            None => node.resolve(&identifier).await,
                        },
                    };
                    (result, Instant::now())
                })
            })
            .collect();
        let mut said = Vec::new();
        for (task, &(who, number)) in running.into_iter().zip(asks) {
            let (result, at) = task.await.unwrap();
            assert!(
                at - began <= self.options.walk_timeout + Duration::from_millis(50),
                "a walk took {:?}",
                at - began
            );
            let word = match &result {
                Ok(resolved) if resolved.stale => "stale".into(),
                Ok(resolved) => {
                    format!("{} from {}", resolved.resolution.answer.kind().as_str(), resolved.source.as_str())
                }
                Err(error) => error.kind().into(),
            };
            *self.tally.entry(format!("node {who}: {word}")).or_default() += 1;
            if let Ok(resolved) = &result {
                let unverified = |hop: &&Hop| hop.outcome.to_string().contains("does not verify");
                let unverified = resolved.resolution.hops.iter().filter(unverified).count() as u64;
                *self.tally.entry(format!("node {who}: passed by a forger")).or_default() += unverified;
            }
            said.push(result.ok().map(|resolved| self.check(who, number, &resolved, at)));
        }
        for (who, walks_before) in walks.into_iter().enumerate() {
            let stats = self.nodes[who].stats();
            let own = asks.iter().filter(|ask| ask.0 == who);
            let distinct = if traces { own.count() } else { own.collect::<HashSet<_>>().len() };
            assert!(stats.walks - walks_before <= distinct as u64, "more walks than questions");
            let questions_max = stats.walks * self.options.questions_max as u64;
            assert!(stats.upstream_questions <= questions_max, "{stats:?}");
            assert!(stats.answer_bytes <= self.options.answer_bytes_max, "{stats:?}");
        }
        said
    }

    fn check(&mut self, who: usize, number: usize, resolved: &Resolved, at: Instant) -> Truth {
        let Resolved { resolution: answer, ttl_seconds, stale, .. } = resolved;
        let truth = match &answer.answer {
            Answer::Found(found) => Truth::Found(String::from_utf8(found.record().values[0].data.to_vec()).unwrap()),
            Answer::Retired(_) => Truth::Retired,
            Answer::NotFound => Truth::NotFound,
            Answer::Denied => Truth::Denied,
            other => panic!("{other:?} is no answer"),
        };
        let ttl_max = match &answer.answer {
            Answer::Found(found) => found.record().values[0].ttl.min(TTL_SECONDS_MAX),
            Answer::NotFound => TTL_SECONDS_NOT_FOUND,
            _ => TTL_SECONDS_ENDED,
        };
        assert!(!stale || (*ttl_seconds == STALE_TTL_SECONDS && matches!(truth, Truth::Found(_))), "{resolved:?}");
        assert!(*stale || *ttl_seconds <= ttl_max, "{resolved:?}");
        let wanted = if who == STRICT { Verification::Latest } else { Verification::None };
        assert_eq!(answer.verification, wanted, "{resolved:?}");
        let referrals =
            |hop: &&Hop| hop.source == Source::Network && matches!(hop.outcome, HopOutcome::Referral { .. });
        assert!(answer.hops.iter().filter(referrals).count() <= HOPS_MAX && answer.hops.len() <= Hop::SHOWN_MAX);

        let world = self.world.lock().unwrap();
        let forged = |hop: &Hop| world.ports.get(&hop.endpoint.address.port()).is_none_or(|port| port.ever_forged);
        if who == STRICT || !answer.hops.iter().any(forged) {
            let age = LAG_MAX + self.options.walk_timeout + Duration::from_secs(u64::from(ttl_max));
            let age = if *stale { age + STALE_MAX } else { age };
            let said = answer.hops.iter().filter(|hop| !matches!(hop.outcome, HopOutcome::Failed { .. }));
            let former: HashMap<&str, Duration> =
                said.map(|hop| (hop.prefix.as_str(), world.outlives(hop.endpoint.address.port()))).collect();
            let age = age + former.values().sum::<Duration>();
            let since = at.checked_sub(age).unwrap_or(at);
            let identifier = &world.identifiers[number];
            let ended = world.ended(number, &truth).map(|ended| at.saturating_duration_since(ended));
            let sites: Vec<String> = answer.hops.iter().map(|hop| world.site(hop.endpoint.address.port())).collect();
            assert!(
                world.was_true_since(number, &truth, since),
                "{identifier} was not {truth:?} within {age:?}; it ended this long ago: {ended:?}; {resolved:#?}; {sites:#?}"
            );
        }
        drop(world);
        let seen = Seen { answer: Arc::clone(answer), at, ttl_seconds: *ttl_seconds };
        if let Some(before) = self.seen.insert((who, number), seen)
            && Arc::ptr_eq(&before.answer, answer)
            && !stale
        {
            let passed = at.saturating_duration_since(before.at).as_secs() as u32;
            assert!(*ttl_seconds <= before.ttl_seconds.saturating_sub(passed) + 1, "{resolved:?} grew");
        }
        truth
    }

    fn change_faults(&mut self) -> u64 {
        let who = self.below(2) as usize;
        let (kind, percent) = (self.below(10), self.below(40));
        match kind {
            0 => self.weather.lock().unwrap().loss[who] = percent,
            1 => self.weather.lock().unwrap().slow[who] = percent,
            2 => {
                let cut = (who, self.world.lock().unwrap().any_zone());
                let mut weather = self.weather.lock().unwrap();
                if !weather.cut.remove(&cut) {
                    weather.cut.insert(cut);
                }
            }
            _ => self.change_port(kind),
        }
        0
    }

    fn change_port(&mut self, kind: u64) {
        let mut world = self.world.lock().unwrap();
        let zone = world.any_zone();
        let ports = world.zones[zone].ports.clone();
        let number = ports[world.below(ports.len() as u64) as usize];
        let modes = [
            Mode::Down,
            Mode::Refusing,
            Mode::Garbage,
            Mode::Mismatch,
            Mode::Loop,
            Mode::Elsewhere,
            Mode::Lame,
            Mode::Forger(Forgery::OwnKey),
            Mode::Forger(Forgery::Nothing),
            Mode::Forger(Forgery::Real),
            Mode::Forger(Forgery::Replay),
            Mode::Forger(Forgery::Absence),
        ];
        let mode = modes[world.below(modes.len() as u64) as usize];
        let port = world.ports.get_mut(&number).unwrap();
        match kind {
            3..=6 => {
                port.mode = mode;
                port.ever_forged |= matches!(mode, Mode::Forger(_));
            }
            7 => port.stuck = Some(Instant::now()),
            _ => (port.mode, port.stuck) = (Mode::Honest, None),
        }
    }

    /// Ends all faults; then every question must be answered.
    async fn heal_and_check(&mut self) {
        *self.weather.lock().unwrap() = Weather::default();
        let identifiers = {
            let mut world = self.world.lock().unwrap();
            let live: Vec<u16> = world.zones.iter().flat_map(|zone| zone.ports.clone()).collect();
            for number in live {
                let port = world.ports.get_mut(&number).unwrap();
                (port.mode, port.stuck) = (Mode::Honest, None);
            }
            world.identifiers.len()
        };
        sleep(HEALED_WITHIN).await;
        let stale = |tally: &HashMap<String, u64>, who: usize| tally.get(&format!("node {who}: stale")).copied();
        for who in 0..2 {
            let stale_before = stale(&self.tally, who);
            for number in 0..identifiers {
                let said = self.ask(&[(who, number)], false).await;
                if said[0].is_none() {
                    let traced = {
                        let identifier = self.world.lock().unwrap().identifiers[number].clone();
                        let again = self.nodes[who].resolve(&identifier).await;
                        (again.map(|_| ()), self.nodes[who].trace(&identifier, || None).await)
                    };
                    panic!("not answered after everything has healed: {traced:#?}");
                }
            }
            assert_eq!(stale(&self.tally, who), stale_before, "stale after everything has healed");
        }
    }
}

/// Prints the variables that repeat a run, if the run fails.
struct Seed(u64, u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this run: TOUCHMARK_SIM_SEED={} TOUCHMARK_SIM_STEPS={}", self.0, self.1);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn nothing_false_is_verified_and_everything_heals() {
    let seed = Seed(number("TOUCHMARK_SIM_SEED").unwrap_or(20_261_123), number("TOUCHMARK_SIM_STEPS").unwrap_or(STEPS));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed.0);
        simulation.run(seed.1).await;
        let mut tally: Vec<_> = simulation.tally.iter().collect();
        tally.sort();
        println!("{tally:#?}\n{:#?}", simulation.nodes.each_ref().map(Recursor::stats));
        // A kind of answer that never occurs was never checked.
        for word in
            ["found from network", "found from cache", "stale", "not found from network", "retired from network"]
        {
            for who in 0..2 {
                assert!(simulation.tally.contains_key(&format!("node {who}: {word}")), "{who} {word}");
            }
        }
        assert!(simulation.tally.contains_key("node 1: unverified"));
        assert!(simulation.tally["node 1: passed by a forger"] > 10);
    });
}

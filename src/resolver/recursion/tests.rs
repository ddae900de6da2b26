//! Tests of the rules of recursion, over scripted sites and a paused clock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::{
    id::Prefix,
    record::{Delegation, Permissions, Record, Status, Value, Values, Version},
    resolver::{Answer, Referral, Tombstone},
    tlog::tlog_proof::TlogProof,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const NOBODY: [u16; 0] = [];

/// Script of an endpoint: duration and result of a query.
type Site = Box<dyn Fn(&SiteQuestion) -> (Duration, Result<SiteReply, UpstreamError>) + Send + Sync>;

/// Scripted sites by port.
#[derive(Default)]
struct Fake {
    sites: Mutex<HashMap<u16, Site>>,
    asked: Mutex<Vec<(u16, Instant)>>,
}

impl Fake {
    fn set(
        &self,
        port: u16,
        site: impl Fn(&SiteQuestion) -> (Duration, Result<SiteReply, UpstreamError>) + Send + Sync + 'static,
    ) {
        self.sites.lock().unwrap().insert(port, Box::new(site));
    }

    fn says(&self, port: u16, took: Duration, said: Answer) {
        self.set(port, move |_| (took, Ok(SiteReply::bare(said.clone()))));
    }

    fn is_down(&self, port: u16, took: Duration) {
        self.set(port, move |_| (took, Err(UpstreamError::Unreachable { reason: "down".into() })));
    }

    /// Scripts a site that finds any record, with a TTL of a minute.
    fn finds(&self, port: u16, took: Duration) {
        self.set(port, move |question| (took, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    }

    /// Ports asked since the last call, in order.
    fn asked(&self) -> Vec<u16> {
        self.asked.lock().unwrap().drain(..).map(|(port, _)| port).collect()
    }
}

impl Upstream for Fake {
    fn ask<'a>(
        &'a self,
        to: &'a Target,
        question: &'a SiteQuestion,
    ) -> BoxFuture<'a, Result<SiteReply, UpstreamError>> {
        let port = to.endpoint.address.port();
        self.asked.lock().unwrap().push((port, Instant::now()));
        let (took, reply) = match self.sites.lock().unwrap().get(&port) {
            Some(site) => site(question),
            None => (Duration::ZERO, Err(UpstreamError::Unreachable { reason: "nobody is there".into() })),
        };
        Box::pin(async move {
            sleep(took).await;
            reply
        })
    }
}

/// A stand-in for a proof by a key.
fn proof_by(key: &str) -> TlogProof {
    TlogProof { checkpoint: format!("by {key}"), ..TlogProof::default() }
}

/// Verifier that accepts a stand-in for a proof by the site's key.
struct Believer;

impl Verifier for Believer {
    fn verify(&self, claim: &Claim<'_>) -> Result<Shown, Unproven> {
        let good = claim.key.map(proof_by);
        match good.is_some() && claim.reply.proof == good {
            true => Ok(Shown { verification: Verification::by(claim.evidence), withheld: Box::default() }),
            false => Err(Unproven { reason: "it is not signed".into() }),
        }
    }
}

fn identifier(text: &str) -> Identifier {
    Identifier::parse(text).unwrap()
}

fn found(text: &str, ttl: u32) -> Answer {
    let value = Value {
        index: 1,
        kind: "NAME".parse().unwrap(),
        data: "x".into(),
        ttl,
        timestamp: 1,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    Answer::found(Record {
        identifier: identifier(text),
        status: Status::Active,
        values: Values::new(vec![value]).unwrap(),
        values_erased: Vec::new(),
        edges: Vec::new(),
        edges_truncated: false,
        outputs: None,
        version: Version { number: 1, ledger_index: 1, time_ms: 1 },
    })
}

fn delegation(ttl_seconds: u32, sites: &[&str]) -> Delegation {
    let sites = sites.iter().map(|site| site.parse().unwrap()).collect();
    Delegation::new(ttl_seconds, sites, Vec::new()).unwrap()
}

/// Sites at loopback ports, one endpoint each, over gRPC.
fn sites(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("1 primary k{port} grpc://127.0.0.1:{port}")).collect()
}

fn at(ttl_seconds: u32, ports: &[u16]) -> Delegation {
    delegation(ttl_seconds, &sites(ports).iter().map(String::as_str).collect::<Vec<_>>())
}

fn referral(prefix: &str, delegation: Delegation) -> Answer {
    Answer::Delegated(Arc::new(Referral { prefix: Prefix::parse(prefix).unwrap(), delegation, ledger_index: Some(1) }))
}

struct Bed {
    fake: Arc<Fake>,
    recursor: Recursor,
}

/// A recursor whose roots have these delegations.
fn bed_with(roots: &[(&str, Delegation)], options: RecursionOptions) -> Bed {
    let fake = Arc::new(Fake::default());
    let roots = roots.iter().map(|(prefix, delegation)| (Prefix::parse(prefix).unwrap(), delegation.clone()));
    let recursor = Recursor::new(Roots::new(roots.collect()), fake.clone(), Arc::new(Believer), options);
    Bed { fake, recursor }
}

fn bed(ports: &[u16]) -> Bed {
    bed_with(&[(".", at(60, ports))], RecursionOptions { seed: 3, ..Default::default() })
}

impl Bed {
    async fn resolve(&self, text: &str) -> Result<Resolved, RecursionError> {
        self.recursor.resolve(&identifier(text)).await
    }

    /// Kind of the answer, staleness, and TTL.
    async fn said(&self, text: &str) -> (&'static str, bool, u32) {
        match self.resolve(text).await {
            Ok(resolved) => (resolved.resolution.answer.kind().as_str(), resolved.stale, resolved.ttl_seconds),
            Err(error) => (error.kind(), false, 0),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_goes_down_the_tree_and_is_remembered() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, referral("88", at(100, &[2])));
    bed.fake.says(2, MS, referral("88.118", at(200, &[3])));
    bed.fake.set(3, |question| (MS, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    assert_eq!(bed.said("88.118/a").await, ("found", false, 59));
    assert_eq!(bed.fake.asked(), [1, 2, 3]);
    let again = bed.resolve("88.118/A").await.unwrap();
    assert_eq!((again.source, again.ttl_seconds), (Source::Cache, 59));
    let way: Vec<String> = again.resolution.hops.iter().map(|hop| format!("{} {}", hop.prefix, hop.outcome)).collect();
    assert_eq!(way, [". referral to hdl:88", "hdl:88 referral to hdl:88.118", "hdl:88.118 found"]);
    assert_eq!(again.resolution.prefix.as_str(), "hdl:88.118");
    assert_eq!(bed.said("88.118/b").await.0, "found");
    assert_eq!(bed.fake.asked(), [3], "from the deepest delegation that is known");
    advance(101 * SECOND).await;
    assert_eq!(bed.said("88.118/c").await.0, "found");
    assert_eq!(bed.fake.asked(), [1, 2, 3], "a delegation counts no longer than the one that it rests on");
    advance(98 * SECOND).await;
    assert_eq!(bed.said("88.118/d").await.0, "found");
    assert_eq!(bed.fake.asked(), [3]);
    let traced = bed.recursor.trace(&identifier("88.118/d"), || None).await;
    assert_eq!((traced.hops.len(), traced.result.unwrap().source), (3, Source::Network));
    assert_eq!(bed.fake.asked(), [1, 2, 3], "a trace passes by what is kept");
}

#[tokio::test(start_paused = true)]
async fn the_longest_of_roots_start_and_kept_counts() {
    let roots = [(".", at(60, &[1])), ("88", at(60, &[2])), ("88", at(60, &[3]))];
    let bed = bed_with(&roots, RecursionOptions::default());
    for port in 1..=4 {
        bed.fake.says(port, MS, Answer::NotFound);
    }
    for (text, port) in [("77/a", 1), ("88.1/a", 3), ("880/a", 1)] {
        assert_eq!(bed.said(text).await.0, "not found");
        assert_eq!(bed.fake.asked(), [port], "{text}");
    }
    let start = |prefix: &str| Some((Arc::new(Prefix::parse(prefix).unwrap()), Arc::new(at(60, &[4]))));
    for (text, start, port) in [("88.1/b", start("88.1"), 4), ("88/b", start("88"), 4), ("88/c", start("."), 4)] {
        assert!(bed.recursor.resolve_from(&identifier(text), || start).await.is_ok());
        assert_eq!(bed.fake.asked(), [port], "{text}");
    }
    let nowhere = bed_with(&[("88", at(60, &[1]))], RecursionOptions::default());
    assert_eq!(nowhere.said("99/a").await.0, "not-responsible");
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_for_their_time_and_no_longer_than_two_days() {
    let bed = bed(&[1]);
    let version = Version { number: 2, ledger_index: 2, time_ms: 2 };
    let gone = Answer::Retired(Arc::new(Tombstone { identifier: identifier("1/a"), version, erased: false }));
    for (said, ttl, kept) in [
        (found("1/a", 60), None, 60),
        (found("1/a", 172_800), None, 172_800),
        (found("1/a", 100), Some(7), 7),
        (found("1/a", 7), Some(100), 7),
        (Answer::NotFound, None, 60),
        (Answer::Denied, None, 300),
        (gone, None, 300),
    ] {
        bed.fake.set(1, move |_| (Duration::ZERO, Ok(SiteReply { ttl_seconds: ttl, ..SiteReply::bare(said.clone()) })));
        let (word, _, first) = bed.said("1/a").await;
        assert_eq!(first, kept, "{word}");
        advance(SECOND * (kept - 1)).await;
        assert_eq!(bed.recursor.kept(identifier("1/a").key()).map(|kept| kept.ttl_seconds), Some(1), "{word}");
        advance(SECOND).await;
        assert!(bed.recursor.kept(identifier("1/a").key()).is_none(), "{word}");
    }
    bed.fake.says(1, Duration::ZERO, found("1/b", 0));
    bed.fake.asked();
    assert_eq!((bed.said("1/b").await.0, bed.said("1/b").await.0), ("found", "found"));
    assert_eq!(bed.fake.asked(), [1, 1], "no time to live: not kept");
}

#[tokio::test(start_paused = true)]
async fn referrals_lead_deeper_within_what_was_delegated() {
    for (prefix, kind) in [
        (".", "loop"),
        ("88", "loop"),
        ("99", "loop"),
        ("88.1180", "loop"),
        ("88.117", "loop"),
        ("88.118", "not found"),
        ("88.118.8", "not found"),
    ] {
        let bed = bed(&[1]);
        bed.fake.says(1, MS, referral("88", at(60, &[2])));
        bed.fake.says(2, MS, referral(prefix, at(60, &[3])));
        bed.fake.says(3, MS, Answer::NotFound);
        assert_eq!(bed.said("88.118.8/a").await.0, kind, "{prefix}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_site_that_fails_gives_way_to_the_next() {
    type Bad = fn(&SiteQuestion) -> Result<SiteReply, UpstreamError>;
    let table: [(Bad, &str); 7] = [
        (|_| Err(UpstreamError::Unreachable { reason: "x".into() }), "all-failed"),
        (|_| Err(UpstreamError::Refused { reason: "x".into() }), "all-failed"),
        (|_| Err(UpstreamError::Garbled { reason: "x".into() }), "all-failed"),
        (|_| Ok(SiteReply::bare(Answer::NotResponsible)), "all-failed"),
        (|_| Ok(SiteReply::bare(found("1/other", 60))), "all-failed"),
        (|_| Ok(SiteReply::bare(referral(".", at(60, &[9])))), "loop"),
        (|_| Ok(SiteReply::bare(referral("2", at(60, &[9])))), "loop"),
    ];
    for (number, (bad, kind)) in table.into_iter().enumerate() {
        let bed = bed(&[1, 2]);
        bed.fake.set(1, move |question| (MS, bad(question)));
        bed.fake.says(2, 2 * MS, found("1/a", 60));
        assert_eq!(bed.said("1/a").await.0, "found", "{number}");
        let bed = self::bed(&[1]);
        bed.fake.set(1, move |question| (MS, bad(question)));
        assert_eq!(bed.said("1/a").await.0, kind, "{number}");
        let error = bed.resolve("1/a").await.unwrap_err().to_string();
        assert!(error.contains("grpc://127.0.0.1:1 "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_site_is_not_waited_for_and_may_still_win() {
    let bed = bed(&[1, 2]);
    bed.fake.says(1, 700 * MS, found("1/a", 60));
    bed.fake.says(2, 700 * MS, found("1/a", 60));
    let began = Instant::now();
    assert_eq!(bed.said("1/a").await.0, "found");
    assert_eq!(began.elapsed(), 700 * MS, "the first one that was asked, after the second was, too");
    assert_eq!(bed.fake.asked().len(), 2);
    let bed = self::bed(&[1, 2]);
    bed.fake.says(1, 100 * SECOND, Answer::NotFound);
    bed.fake.says(2, MS, Answer::NotFound);
    for number in 0..10 {
        let began = Instant::now();
        assert_eq!(bed.said(&format!("1/{number}")).await.0, "not found");
        assert!(began.elapsed() <= 401 * MS, "{:?}", began.elapsed());
        let asked = bed.fake.asked();
        assert!(number < 2 || asked[0] == 2, "{number}: the fastest one first");
        sleep(10 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_question_is_asked_again() {
    let bed = bed(&[1]);
    let asked = Mutex::new(0);
    bed.fake.set(1, move |_| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        (if *asked == 1 { 100 * SECOND } else { MS }, Ok(SiteReply::bare(Answer::NotFound)))
    });
    let began = Instant::now();
    assert_eq!(bed.said("1/a").await.0, "not found");
    assert_eq!((bed.fake.asked(), began.elapsed()), (vec![1, 1], 401 * MS));
}

#[tokio::test(start_paused = true)]
async fn one_question_in_twenty_asks_another_site_beside_the_first() {
    let bed = bed(&[1, 2]);
    for (port, took) in [(1, MS), (2, 5 * MS)] {
        bed.fake.set(port, move |question| (took, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    }
    for number in 0..2_000 {
        let began = Instant::now();
        assert_eq!(bed.said(&format!("1/{number}")).await.0, "found");
        assert!(number < 2 || began.elapsed() == MS, "nobody waits for a probe");
        sleep(10 * MS).await;
    }
    let second = bed.fake.asked().iter().filter(|port| **port == 2).count();
    assert!((60..=140).contains(&second), "{second}");
    bed.fake.set(1, |question| (20 * MS, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    for number in 0..200 {
        assert_eq!(bed.said(&format!("2/{number}")).await.0, "found");
        sleep(100 * MS).await;
    }
    let asked = bed.fake.asked();
    assert_eq!(asked[asked.len() - 1], 2, "the other one is the faster one now");
}

#[tokio::test(start_paused = true)]
async fn grpc_goes_before_dns_of_the_same_site_unless_told_otherwise() {
    let both = delegation(60, &["dns://127.0.0.1:2 grpc://127.0.0.1:1 http://127.0.0.1:3"]);
    let bed = bed_with(&[(".", both.clone())], RecursionOptions::default());
    bed.fake.says(1, MS, Answer::NotFound);
    bed.fake.says(2, Duration::ZERO, Answer::NotFound);
    assert_eq!((bed.said("1/a").await.0, bed.fake.asked()), ("not found", vec![1]));
    bed.fake.is_down(1, MS);
    assert_eq!((bed.said("1/b").await.0, bed.fake.asked()), ("not found", vec![1, 2]));
    let first = FirstProtocol::Dns;
    let bed = bed_with(&[(".", both.clone())], RecursionOptions { first, ..Default::default() });
    bed.fake.says(1, MS, Answer::NotFound);
    bed.fake.says(2, MS, Answer::NotFound);
    // Over DNS, no site on the way can tell the zone of a URI.
    for (text, asked) in [("1/a", 2), ("https://example.com/a", 1)] {
        assert_eq!((bed.said(text).await.0, bed.fake.asked()), ("not found", vec![asked]), "{text}");
    }
    bed.fake.is_down(2, MS);
    assert_eq!((bed.said("1/b").await.0, bed.fake.asked()), ("not found", vec![2, 1]));
    let only_dns = || delegation(60, &["1 primary k dns://127.0.0.1:2"]);
    let no_key = delegation(60, &["grpc://127.0.0.1:1"]);
    let evidence = Evidence::Inclusion;
    for (delegation, kind) in [(only_dns(), "no-site"), (no_key, "no-site"), (both, "no-site")] {
        let bed = bed_with(&[(".", delegation)], RecursionOptions { evidence, first, ..Default::default() });
        assert_eq!((bed.said("1/a").await.0, bed.fake.asked()), (kind, vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_keeps_failing_rests_and_is_tried_now_and_then() {
    let bed = bed(&[1]);
    bed.fake.is_down(1, MS);
    for number in 0..5 {
        assert_eq!(bed.said(&format!("1/{number}")).await.0, "all-failed");
    }
    assert_eq!((bed.fake.asked().len(), bed.recursor.stats().breakers_open), (5, 1));
    let error = bed.resolve("1/x").await.unwrap_err().to_string();
    assert!(error.contains("rests, because it failed"), "{error}");
    assert_eq!(bed.fake.asked(), NOBODY);
    advance(1_300 * MS).await;
    assert_eq!((bed.said("1/y").await.0, bed.fake.asked().len()), ("all-failed", 1));
    advance(1_300 * MS).await;
    assert_eq!((bed.said("1/z").await.0, bed.fake.asked().len()), ("all-failed", 0), "the pause is longer now");
    bed.fake.says(1, MS, Answer::NotFound);
    advance(1_300 * MS).await;
    assert_eq!((bed.said("1/v").await.0, bed.said("1/w").await.0), ("not found", "not found"));
    assert_eq!(bed.recursor.stats().breakers_open, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_for_a_short_time() {
    let bed = bed(&[1]);
    bed.fake.is_down(1, MS);
    for _ in 0..3 {
        assert_eq!(bed.said("1/a").await.0, "all-failed");
    }
    assert_eq!(bed.fake.asked(), [1]);
    bed.fake.says(1, MS, found("1/a", 60));
    advance(5 * SECOND).await;
    assert_eq!(bed.said("1/a").await.0, "found");
    assert_eq!(bed.recursor.stats().failures, [("all-failed", 3)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_outdated_on_the_way_is_not_kept() {
    let bed = bed(&[1]);
    bed.fake.says(1, 10 * MS, referral("88", at(600, &[2])));
    bed.fake.finds(2, 10 * MS);
    // Before the delegation is given, and before the answer is.
    for meanwhile in [5, 15] {
        let recursor = bed.recursor.clone();
        let asked = tokio::spawn(async move { recursor.resolve(&identifier("88/a")).await });
        sleep(meanwhile * MS).await;
        bed.recursor.outdate_all();
        let resolved = asked.await.unwrap().unwrap();
        assert_eq!((resolved.resolution.answer.kind().as_str(), resolved.ttl_seconds), ("found", 0));
        let stats = bed.recursor.stats();
        assert_eq!((stats.answers, stats.delegations), (0, 0), "after {meanwhile} ms");
    }
    // While the start is read.
    let start = || {
        bed.recursor.outdate_all();
        None
    };
    assert_eq!(bed.recursor.resolve_from(&identifier("88/b"), start).await.unwrap().ttl_seconds, 0);
    assert!(bed.recursor.kept(identifier("88/b").key()).is_none());
    // Failures are not kept either.
    bed.fake.is_down(2, 10 * MS);
    assert!(bed.recursor.resolve_from(&identifier("88/c"), start).await.is_err());
    bed.fake.finds(2, 10 * MS);
    assert_eq!(bed.said("88/c").await.0, "found");
}

#[tokio::test(start_paused = true)]
async fn one_walk_for_all_who_ask_the_same() {
    let bed = bed(&[1]);
    bed.fake.says(1, 10 * MS, found("1/a", 0));
    let asks: Vec<_> = (0..100)
        .map(|_| {
            let recursor = bed.recursor.clone();
            tokio::spawn(async move { recursor.resolve(&identifier("1/a")).await })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap().unwrap().resolution.answer.kind().as_str(), "found");
    }
    assert_eq!((bed.fake.asked(), bed.recursor.stats().flights_joined), (vec![1], 99));
    bed.fake.says(1, 10 * MS, found("1/b", 60));
    let gone = tokio::time::timeout(MS, bed.resolve("1/b")).await;
    assert!(gone.is_err());
    sleep(20 * MS).await;
    assert!(bed.recursor.kept(identifier("1/b").key()).is_some(), "the walk goes on for nobody");
}

#[tokio::test(start_paused = true)]
async fn walks_and_waiters_are_bounded() {
    let options = RecursionOptions { walks_max: 1, waiters_max: 2, ..Default::default() };
    let bed = bed_with(&[(".", at(60, &[1]))], options);
    bed.fake.set(1, |question| (10 * MS, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    let (first, second, third, other) =
        tokio::join!(bed.said("1/a"), bed.said("1/a"), bed.said("1/a"), bed.said("1/b"));
    assert_eq!([first.0, second.0, third.0, other.0], ["found", "found", "overloaded", "overloaded"]);
    let (first, other) = tokio::join!(bed.said("1/c"), bed.said("1/d"));
    assert_eq!([first.0, other.0], ["found", "overloaded"]);
    assert_eq!(bed.said("1/d").await.0, "found", "not kept");
}

#[tokio::test(start_paused = true)]
async fn stale_is_given_when_nothing_newer_can_be_had() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, found("1/a", 60));
    assert_eq!(bed.said("1/a").await, ("found", false, 59));
    advance(60 * SECOND).await;
    bed.fake.is_down(1, MS);
    bed.fake.asked();
    assert!(bed.recursor.kept(identifier("1/a").key()).is_none(), "a refresh is due");
    assert_eq!(bed.said("1/a").await, ("found", true, 30));
    assert_eq!(bed.fake.asked(), [1]);
    advance(29 * SECOND).await;
    assert_eq!(bed.said("1/a").await, ("found", true, 30));
    assert!(bed.recursor.kept(identifier("1/a").key()).is_some_and(|kept| kept.stale));
    assert_eq!(bed.fake.asked(), NOBODY, "no refresh for a while after one that failed");
    advance(2 * SECOND).await;
    assert_eq!((bed.said("1/a").await, bed.fake.asked()), (("found", true, 30), vec![1]));
    advance(40 * SECOND).await;
    bed.fake.says(1, 5 * SECOND, found("1/a", 60));
    let began = Instant::now();
    assert_eq!(bed.said("1/a").await, ("found", true, 30));
    assert_eq!(began.elapsed(), CLIENT_RESPONSE_TIMEOUT);
    bed.fake.says(1, MS, Answer::NotFound);
    sleep(4 * SECOND).await;
    advance(FAILURE_RECHECK).await;
    assert_eq!(bed.said("1/a").await, ("not found", false, 59), "which is an answer");
    advance(61 * SECOND).await;
    bed.fake.is_down(1, MS);
    assert_eq!(bed.said("1/a").await.0, "all-failed", "what is gone is never stale");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stale_for_ever() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, found("1/a", 60));
    assert_eq!(bed.said("1/a").await.0, "found");
    bed.fake.is_down(1, MS);
    advance(86_459 * SECOND).await;
    assert_eq!(bed.said("1/a").await, ("found", true, 30));
    advance(2 * SECOND).await;
    assert_eq!(bed.said("1/a").await.0, "all-failed");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_late_still_counts() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, found("1/a", 60));
    assert_eq!(bed.said("1/a").await.0, "found");
    advance(61 * SECOND).await;
    bed.fake.says(1, 1_900 * MS, Answer::Denied);
    assert_eq!(bed.said("1/a").await, ("found", true, 30));
    sleep(200 * MS).await;
    assert_eq!(bed.said("1/a").await.0, "denied");
}

#[tokio::test(start_paused = true)]
async fn a_dead_delegation_is_asked_for_again_at_its_parent_once() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, referral("88", at(1_000, &[2])));
    bed.fake.set(2, |question| (MS, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    assert_eq!(bed.said("88/a").await.0, "found");
    bed.fake.asked();
    bed.fake.says(2, MS, Answer::NotResponsible);
    bed.fake.set(3, |question| (MS, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    bed.fake.says(1, MS, referral("88", at(1_000, &[3])));
    assert_eq!((bed.said("88/b").await.0, bed.fake.asked()), ("found", vec![2, 1, 3]), "moved");
    assert_eq!((bed.said("88/c").await.0, bed.fake.asked()), ("found", vec![3]));
    bed.fake.is_down(3, MS);
    advance(31 * SECOND).await;
    assert_eq!((bed.said("88/d").await.0, bed.fake.asked()), ("all-failed", vec![3, 1]), "the same sites still");
    assert_eq!((bed.said("88/e").await.0, bed.fake.asked()), ("all-failed", vec![3]), "asked not long ago");
    advance(31 * SECOND).await;
    bed.fake.is_down(1, MS);
    assert_eq!((bed.said("88/f").await.0, bed.fake.asked()), ("all-failed", vec![3, 1]));
    bed.fake.set(3, |question| (MS, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    assert_eq!((bed.said("88/g").await.0, bed.fake.asked()), ("found", vec![3]), "a silent parent takes nothing away");
    advance(31 * SECOND).await;
    bed.fake.is_down(3, MS);
    bed.fake.says(1, MS, Answer::NotFound);
    assert_eq!((bed.said("88/h").await.0, bed.fake.asked()), ("not found", vec![3, 1]), "revoked");
    assert_eq!((bed.said("88/i").await.0, bed.fake.asked()), ("not found", vec![1]));
}

#[tokio::test(start_paused = true)]
async fn when_a_whole_branch_has_moved_the_walk_goes_up_as_far_as_it_has_to() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, referral("88", at(1_000, &[2])));
    bed.fake.says(2, MS, referral("88.1", at(1_000, &[3])));
    bed.fake.says(3, MS, Answer::NotFound);
    assert_eq!((bed.said("88.1/a").await.0, bed.fake.asked()), ("not found", vec![1, 2, 3]));
    bed.fake.is_down(2, MS);
    bed.fake.is_down(3, MS);
    bed.fake.says(1, MS, referral("88", at(1_000, &[4])));
    bed.fake.says(4, MS, referral("88.1", at(1_000, &[5])));
    bed.fake.says(5, MS, Answer::NotFound);
    assert_eq!((bed.said("88.1/b").await.0, bed.fake.asked()), ("not found", vec![3, 2, 1, 4, 5]));
    assert_eq!((bed.said("88.1/c").await.0, bed.fake.asked()), ("not found", vec![5]));
    assert_eq!((bed.said("88.2/c").await.0, bed.fake.asked()[0]), ("loop", 4));
}

/// A bed with the delegation of 88 to port 2 in its cache; port 2 finds any record.
async fn bed_below_88() -> Bed {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, referral("88", at(1_000, &[2])));
    bed.fake.finds(2, MS);
    assert_eq!(bed.said("88/a").await.0, "found");
    bed.fake.asked();
    bed
}

#[tokio::test(start_paused = true)]
async fn while_one_asks_above_dead_sites_the_others_wait_for_what_it_learns() {
    for (says, words, asked) in [
        (Some(referral("88", at(1_000, &[3]))), ["found"; 3], [1, 2, 2, 2, 3, 3, 3].as_slice()),
        (Some(referral("88", at(1_000, &[2]))), ["all-failed"; 3], &[1, 2, 2, 2]),
        (None, ["all-failed"; 3], &[1, 2, 2, 2]),
    ] {
        let bed = bed_below_88().await;
        bed.fake.is_down(2, MS);
        bed.fake.finds(3, MS);
        match says {
            Some(says) => bed.fake.says(1, 30 * MS, says),
            None => bed.fake.is_down(1, 30 * MS),
        }
        let said = tokio::join!(bed.said("88/b"), bed.said("88/c"), bed.said("88/d"));
        assert_eq!([said.0.0, said.1.0, said.2.0], words);
        let mut ports = bed.fake.asked();
        ports.sort();
        assert_eq!(ports, asked);
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_above_dead_sites_is_asked_again_soon() {
    let bed = bed_below_88().await;
    (1..=2).for_each(|port| bed.fake.is_down(port, MS));
    let error = bed.resolve("88/b").await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("no site of hdl:88 gave") && words.contains("no site of . gave"), "{words}");
    assert_eq!((error.kind(), bed.fake.asked()), ("all-failed", vec![2, 1]));
    assert_eq!((bed.said("88/c").await.0, bed.fake.asked()), ("all-failed", vec![2]));
    advance(FAILURE_TTL).await;
    bed.fake.finds(3, MS);
    bed.fake.says(1, MS, referral("88", at(1_000, &[3])));
    assert_eq!((bed.said("88/c").await.0, bed.fake.asked()), ("found", vec![2, 1, 3]));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_below_a_branch_that_has_moved_gets_what_is_new() {
    let bed = bed(&[1]);
    bed.fake.says(1, MS, referral("88", at(1_000, &[2])));
    bed.fake.says(2, MS, referral("88.1", at(1_000, &[3])));
    bed.fake.finds(3, MS);
    assert_eq!(bed.said("88.1/a").await, ("found", false, 59));
    advance(61 * SECOND).await;
    bed.fake.says(1, MS, referral("88", at(1_000, &[4])));
    bed.fake.says(4, MS, referral("88.1", at(1_000, &[5])));
    (2..=3).for_each(|port| bed.fake.says(port, 100 * SECOND, Answer::Denied));
    bed.fake.finds(5, MS);
    assert_eq!(bed.said("88.1/a").await, ("found", false, 59), "silence of two levels is shorter than its patience");
}

#[tokio::test(start_paused = true)]
async fn sites_that_are_only_slow_get_the_time_that_is_left() {
    for (says, took) in [(Some(referral("88", at(1_000, &[2]))), MS), (Some(Answer::Denied), 100 * SECOND), (None, MS)]
    {
        let bed = bed_below_88().await;
        bed.fake.finds(2, 1_500 * MS);
        match says {
            Some(says) => bed.fake.says(1, took, says),
            None => bed.fake.is_down(1, took),
        }
        let began = Instant::now();
        assert_eq!(bed.said("88/b").await.0, "found");
        assert!(began.elapsed() < 5 * SECOND && bed.fake.asked().contains(&1));
        let began = Instant::now();
        assert_eq!((bed.said("88/c").await.0, began.elapsed()), ("found", 1_500 * MS), "those above are left alone");
        assert!(!bed.fake.asked().contains(&1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_bounded_in_time_referrals_and_questions() {
    let bed = bed(&[1, 2]);
    bed.fake.says(1, 100 * SECOND, Answer::NotFound);
    bed.fake.says(2, 100 * SECOND, Answer::NotFound);
    let began = Instant::now();
    let error = bed.resolve("1/a").await.unwrap_err();
    assert!(matches!(&error, RecursionError::AllFailed { .. } | RecursionError::Timeout { .. }), "{error}");
    assert!(began.elapsed() <= 5 * SECOND, "{:?}", began.elapsed());
    assert_eq!(bed.fake.asked().len(), 4);

    let bed = self::bed(&[1]);
    bed.fake.set(1, |question| {
        let text = question.identifier.as_str();
        (MS, Ok(SiteReply::bare(referral(&text[..text.find('/').unwrap()], at(60, &[1])))))
    });
    let labels: Vec<String> = (1..=20).map(|length| vec!["1"; length].join(".")).collect();
    let deeper = labels.clone();
    let step = Mutex::new(0);
    bed.fake.set(1, move |_| {
        let mut step = step.lock().unwrap();
        *step += 1;
        (MS, Ok(SiteReply::bare(referral(&format!("hdl:{}", deeper[*step - 1]), at(60, &[1])))))
    });
    let error = bed.resolve(&format!("hdl:{}/a", labels[19])).await.unwrap_err();
    assert_eq!(error.kind(), "too-many-hops", "{error}");
    assert_eq!(bed.fake.asked().len(), HOPS_MAX + 1);

    let ports: Vec<u16> = (1..=16).collect();
    let options = RecursionOptions { questions_max: 5, ..Default::default() };
    let bed = bed_with(&[(".", at(60, &ports))], options);
    let error = bed.resolve("1/a").await.unwrap_err();
    assert_eq!((error.kind(), bed.fake.asked().len()), ("too-many-hops", 5));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_verify_is_as_if_it_had_not_been_said() {
    let options = || RecursionOptions { evidence: Evidence::Latest, ..Default::default() };
    let signed = |said: Answer, key: &str| {
        let proof = Some(proof_by(key));
        move |question: &SiteQuestion| {
            assert_eq!(question.evidence, Evidence::Latest);
            (MS, Ok(SiteReply { proof: proof.clone(), ..SiteReply::bare(said.clone()) }))
        }
    };
    let bed = bed_with(&[(".", at(60, &[1, 2]))], options());
    bed.fake.set(1, signed(found("1/a", 60), "forger"));
    bed.fake.set(2, signed(found("1/a", 60), "k2"));
    let resolved = bed.resolve("1/a").await.unwrap();
    assert_eq!(
        (resolved.resolution.endpoint.address.port(), resolved.resolution.verification),
        (2, Verification::Latest)
    );

    let bed = bed_with(&[(".", at(60, &[1]))], options());
    bed.fake.set(1, signed(found("1/a", 60), "forger"));
    let error = bed.resolve("1/a").await.unwrap_err();
    assert!(error.to_string().contains("does not verify: it is not signed"), "{error}");
    assert_eq!((error.kind(), bed.recursor.stats().answers), ("unverified", 1), "only the failure is kept");
    assert!(bed.recursor.kept(identifier("1/a").key()).is_none());

    let bed = bed_with(&[(".", at(60, &[1]))], options());
    bed.fake.set(1, signed(referral("1", at(60, &[2])), "forger"));
    bed.fake.set(2, signed(found("1/a", 60), "k2"));
    assert_eq!(bed.said("1/a").await.0, "unverified", "a chain is as strong as its weakest link");
    bed.fake.set(1, signed(referral("1", at(60, &[2])), "k1"));
    advance(5 * SECOND).await;
    assert_eq!(bed.resolve("1/a").await.unwrap().resolution.verification, Verification::Latest);

    let bed = self::bed(&[1]);
    bed.fake.says(1, MS, found("1/a", 60));
    assert_eq!(bed.resolve("1/a").await.unwrap().resolution.verification, Verification::None, "not asked for");
}

#[tokio::test(start_paused = true)]
async fn one_who_gives_wrong_answers_rests_for_this_prefix_alone() {
    let bed = bed_with(&[("1", at(60, &[1, 3])), ("2", at(60, &[1]))], RecursionOptions::default());
    bed.fake.set(1, |question| {
        let said =
            if question.identifier.as_str().starts_with('1') { Answer::NotResponsible } else { Answer::NotFound };
        (MS, Ok(SiteReply::bare(said)))
    });
    bed.fake.says(3, 30 * MS, Answer::NotFound);
    for number in 0..20 {
        assert_eq!(bed.said(&format!("1/{number}")).await.0, "not found");
    }
    let asked = bed.fake.asked();
    let wrong = asked.iter().filter(|port| **port == 1).count();
    assert!(wrong < 10 && asked.len() - wrong >= 20, "{asked:?}");
    assert_eq!(bed.said("2/a").await.0, "not found");
}

#[tokio::test(start_paused = true)]
async fn what_every_site_says_is_held_against_none() {
    let bed = bed_with(&[("1", at(60, &[1]))], RecursionOptions::default());
    bed.fake.says(1, MS, Answer::NotResponsible);
    for number in 0..9 {
        assert_eq!(bed.said(&format!("1/{number}")).await.0, "all-failed");
    }
    assert_eq!(bed.fake.asked().len(), 9, "who asks for what is nobody's silences nobody");
}

#[tokio::test(start_paused = true)]
async fn the_caches_hold_their_budgets() {
    let options = RecursionOptions { answer_bytes_max: 1 << 18, endpoints_max: 64, ..Default::default() };
    let bed = bed_with(&[(".", at(60, &[1]))], options);
    bed.fake.set(1, |question| (Duration::ZERO, Ok(SiteReply::bare(found(question.identifier.as_str(), 60)))));
    for number in 0..2_000 {
        assert_eq!(bed.said(&format!("1/{number}")).await.0, "found");
    }
    let stats = bed.recursor.stats();
    assert!(stats.answer_bytes <= 1 << 18 && stats.answers > 100, "{stats:?}");
    assert_eq!((stats.questions, stats.walks, stats.flights), (2_000, 2_000, 0));
}

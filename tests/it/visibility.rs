//! An answer is never older than the last receipt: a writer and readers at full speed, over every protocol.
//!
//! A reader notes the newest acknowledged stage of an identifier before it sends its question; the answer must show
//! that stage or a later one ([`stages`]). Identifiers change all the time, are created under names that were already
//! asked for (so that "no such name" and "no data" were cached), and are retired.
//!
//! A run is short; with `TOUCHMARK_ANSWERS=10000000` it goes on until that number of answers was checked:
//!
//! ```text
//! TOUCHMARK_ANSWERS=10000000 cargo test --release --test it visibility -- --nocapture
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use touchmark::{
    client::dns::{self, Said},
    id::Identifier,
    protocol::grpc::pb::{self, answer::Outcome as Answer, resolver_client::ResolverClient},
};

use self::stages::{Position, RETIRED, SUBJECTS, Seen};
use crate::{
    dns_support::encrypted::{self, Certificate},
    support::*,
};

mod over_dns;
mod over_encrypted;
mod over_http;
mod stages;

/// Duration of a run unless a number of answers is given.
const RUN: Duration = Duration::from_secs(5);
/// Time without any answer after which a long run fails.
const STANDSTILL: Duration = Duration::from_secs(30);
/// Environment variable with the number of answers of a long run.
const ANSWERS_VARIABLE: &str = "TOUCHMARK_ANSWERS";
/// In one of this many turns, the writer sends its commands one by one.
const SINGLY_EVERY: u64 = 8;
/// Number of questions in a batch, and under way on a stream.
const BATCH: usize = 32;
const ZONE: &str = "id.test.";

/// State shared by writer and readers.
struct Shared {
    /// The newest stage of each subject that has a receipt.
    acknowledged: [AtomicU64; SUBJECTS],
    answers: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn new() -> Arc<Self> {
        let acknowledged = std::array::from_fn(|subject| AtomicU64::new(Position::first(subject).packed()));
        Arc::new(Self { acknowledged, answers: AtomicU64::new(0), over: AtomicBool::new(false) })
    }

    /// The oldest stage that the answer to a question asked now may show.
    fn least(&self, subject: usize) -> Position {
        Position::unpacked(subject, self.acknowledged[subject].load(SeqCst))
    }

    fn acknowledge(&self, position: Position) {
        self.acknowledged[position.subject].store(position.packed(), SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Waits for the end of the run.
    async fn end(&self) {
        let wanted = std::env::var(ANSWERS_VARIABLE).ok().map(|text| text.parse::<u64>().unwrap());
        let began = Instant::now();
        let (mut last, mut moved) = (0, began);
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let answers = self.answers.load(Relaxed);
            if self.is_over() || wanted.map_or(began.elapsed() >= RUN, |wanted| answers >= wanted) {
                break;
            }
            if answers > last {
                (last, moved) = (answers, Instant::now());
            }
            assert!(moved.elapsed() < STANDSTILL, "no answers for {STANDSTILL:?} after {answers}");
        }
        self.over.store(true, SeqCst);
    }
}

/// Counts of one reader.
#[derive(Debug, Default)]
struct Tally {
    way: &'static str,
    no_name: u64,
    no_data: u64,
    retired: u64,
    found: u64,
    /// Questions without an answer: datagrams get lost.
    lost: u64,
}

impl Tally {
    fn of(way: &'static str) -> Self {
        Self { way, ..Self::default() }
    }

    /// Checks an answer against the stage acknowledged before its question was sent.
    fn check(&mut self, shared: &Shared, least: Position, seen: Seen) {
        let stage = seen.stage(least.subject);
        if stage < least.stage {
            shared.over.store(true, SeqCst);
            panic!("{}: {} is {seen:?} after the receipt of {least:?}", self.way, least.identifier());
        }
        match seen {
            Seen::NoName | Seen::NotFound => self.no_name += 1,
            _ if stage == RETIRED => self.retired += 1,
            Seen::Version(_) => self.found += 1,
            _ => self.no_data += 1,
        }
        shared.answers.fetch_add(1, Relaxed);
    }

    fn answers(&self) -> u64 {
        self.no_name + self.no_data + self.retired + self.found
    }
}

/// Takes every subject from stage to stage, mostly all in one batch.
async fn write(running: Running, shared: Arc<Shared>) -> (Running, usize) {
    let mut positions: [Position; SUBJECTS] = std::array::from_fn(Position::first);
    let mut written = 0;
    for turn in (0_u64..).take_while(|_| !shared.is_over()) {
        let steps: Vec<_> = positions.iter().map(|position| position.next()).collect();
        let (commands, reached): (Vec<_>, Vec<_>) =
            steps.iter().filter_map(|(command, next)| command.clone().map(|command| (command, *next))).unzip();
        // Batches change more in less time; a single command has a receipt of its own.
        if turn % SINGLY_EVERY == 0 {
            for (command, next) in commands.into_iter().zip(&reached) {
                assert_eq!(running.apply(command).await.unwrap().version, u64::from(next.version()));
                shared.acknowledge(*next);
            }
        } else {
            let outcomes = running.apply_batch(commands).await.unwrap();
            for (outcome, next) in outcomes.iter().zip(&reached) {
                assert_eq!(outcome.receipt().version, u64::from(next.version()));
                shared.acknowledge(*next);
            }
        }
        // An identifier at its end is replaced by another, for which nothing is written yet.
        for (position, (command, next)) in positions.iter_mut().zip(steps) {
            *position = next;
            if command.is_none() {
                shared.acknowledge(next);
            }
        }
        written += reached.len();
    }
    (running, written)
}

fn seen(answer: Answer) -> Seen {
    match answer {
        Answer::Found(record) => {
            let number = String::from_utf8(record.values[0].data.to_vec()).unwrap();
            assert_eq!(number, record.version.to_string(), "values of another version: {record:?}");
            Seen::Version(record.version as u32)
        }
        Answer::Retired(_) => Seen::Retired,
        Answer::NotFound(_) => Seen::NotFound,
        other => panic!("{other:?}"),
    }
}

async fn read_single(mut resolver: ResolverClient<Channel>, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::of("Resolve");
    for subject in (0..SUBJECTS).cycle().take_while(|_| !shared.is_over()) {
        let least = shared.least(subject);
        let answer = resolver.resolve(question(&least.identifier())).await.unwrap().into_inner();
        tally.check(&shared, least, seen(answer.outcome.unwrap()));
    }
    tally
}

async fn read_batch(mut resolver: ResolverClient<Channel>, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::of("ResolveBatch");
    while !shared.is_over() {
        let leasts: Vec<_> = (0..BATCH).map(|number| shared.least(number % SUBJECTS)).collect();
        let requests = leasts.iter().map(|least| question(&least.identifier())).collect();
        let answers = resolver.resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap().into_inner().answers;
        for (answer, least) in answers.into_iter().zip(leasts) {
            tally.check(&shared, least, seen(answer.outcome.unwrap()));
        }
    }
    tally
}

/// Keeps several questions of one stream under way; each answer must be as new as the receipts before its question.
async fn read_stream(mut resolver: ResolverClient<Channel>, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::of("ResolveStream");
    let (questions, asked) = mpsc::channel(8);
    let (leasts, mut expected) = mpsc::channel(BATCH);
    let asking = Arc::clone(&shared);
    let asker = tokio::spawn(async move {
        for subject in (0..SUBJECTS).cycle().take_while(|_| !asking.is_over()) {
            let least = asking.least(subject);
            leasts.send(least).await.unwrap();
            questions.send(question(&least.identifier())).await.unwrap();
        }
    });
    let mut answers = resolver.resolve_stream(ReceiverStream::new(asked)).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        tally.check(&shared, expected.recv().await.unwrap(), seen(answer.outcome.unwrap()));
    }
    asker.await.unwrap();
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_older_than_a_receipt() {
    let (directory, files) = (directory(), directory());
    let certificate = Certificate::make(files.path());
    let mut config = config(directory.path());
    encrypted::listen_anywhere(&mut config, certificate.files());
    // Small, so that the index merges during the run.
    config.index.overlay_entries_max = 64;
    let running = Running::with(&config).await.unwrap();
    let server = running.node.dns_addr();
    let shared = Shared::new();
    let resolver = async || ResolverClient::new(running.another_channel().await);
    let over_grpc = [
        tokio::spawn(read_single(resolver().await, Arc::clone(&shared))),
        tokio::spawn(read_batch(resolver().await, Arc::clone(&shared))),
        tokio::spawn(read_stream(resolver().await, Arc::clone(&shared))),
    ];
    let over_dns = [over_dns::read_udp, over_dns::read_udp_without_edns, over_dns::read_tcp].map(|read| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || read(server, &shared))
    });
    let over_http = {
        let (address, shared) = (running.node.http_addr().unwrap(), Arc::clone(&shared));
        thread::spawn(move || over_http::read(address, &shared))
    };
    let over_encrypted = over_encrypted::start(running.node.dns_encrypted_addrs(), &certificate, &shared);
    let writer = tokio::spawn(write(running, Arc::clone(&shared)));
    shared.end().await;
    let (running, written) = writer.await.unwrap();
    let mut tallies = Vec::new();
    for reader in over_grpc {
        tallies.push(reader.await.unwrap());
    }
    // A failed reader has printed its own message.
    tallies.push(over_http.join().unwrap());
    tallies.extend(over_dns.into_iter().chain(over_encrypted).map(|reader| reader.join().unwrap()));
    let answers: u64 = tallies.iter().map(Tally::answers).sum();
    println!("{written} changes written, {answers} answers checked:");
    for tally in &tallies {
        println!("{tally:?}");
        // A kind of answer that never occurs was never checked.
        assert!(tally.answers() > 20 && tally.no_name > 0 && tally.retired > 0 && tally.found > 0, "{tally:?}");
    }
    assert!(tallies[4..].iter().all(|tally| tally.no_data > 0), "{tallies:?}");
    assert!(written > 20);
    running.stop().await;
}

/// "Not found" is cached and invalidated like any other answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_there_is_found_at_once() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    for number in 0..200 {
        let text = format!("88.118/new-{number}");
        let identifier = Identifier::parse(&text).unwrap();
        let server = running.node.dns_addr();
        for _ in 0..2 {
            assert!(matches!(running.resolve(&text).await, Answer::NotFound(_)));
            let said = dns::resolve(&identifier, ZONE, server).await.unwrap();
            assert!(matches!(said, Said::NoSuchName | Said::NoData), "{said:?}");
        }
        running.apply(create(&text, vec![value(1, "VERSION", "1")])).await.unwrap();
        assert_eq!(running.found(&text).await.version, 1);
        assert!(matches!(dns::resolve(&identifier, ZONE, server).await.unwrap(), Said::Found(_)));
        running.apply(retire(&text)).await.unwrap();
        assert!(matches!(running.resolve(&text).await, Answer::Retired(_)));
        assert!(matches!(dns::resolve(&identifier, ZONE, server).await.unwrap(), Said::Retired));
    }
    running.stop().await;
}

//! An answer is never older than the last receipt: a writer and readers at full speed, over every way of asking.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use touchmark::{
    client::dns::{self, Said},
    id::Identifier,
    protocol::grpc::pb::{self, answer::Outcome as Answer, resolver_client::ResolverClient},
};

use crate::support::*;

/// How long writer and readers go on.
const RUN: Duration = Duration::from_secs(4);
/// Records that change in turn.
const RECORDS: usize = 4;
const ZONE: &str = "id.test.";

/// The newest version of each record that has a receipt.
struct Acknowledged {
    versions: [AtomicU64; RECORDS],
    over: AtomicBool,
}

impl Acknowledged {
    /// The version that an answer to a question asked now must have at least.
    fn least(&self, record: usize) -> u64 {
        self.versions[record].load(SeqCst)
    }

    fn over(&self) -> bool {
        self.over.load(SeqCst)
    }
}

fn identifier(record: usize) -> String {
    format!("88.118/{record}")
}

fn check(way: &str, least: u64, record: &pb::Record) {
    assert!(record.version >= least, "{way}: version {} after the receipt of {least}", record.version);
    let number = String::from_utf8(record.values[0].data.to_vec()).unwrap();
    assert_eq!(number, record.version.to_string(), "{way}: values of another version");
}

fn found(answer: Answer) -> pb::Record {
    match answer {
        Answer::Found(record) => record,
        other => panic!("{other:?}"),
    }
}

fn version(record: usize, number: u64) -> pb::Command {
    replace(&identifier(record), vec![value(1, "VERSION", number.to_string())])
}

async fn write(running: &Running, acknowledged: &Acknowledged) -> u64 {
    let (began, mut written, mut number) = (Instant::now(), 0, 1);
    while began.elapsed() < RUN {
        number += 1;
        // One by one, and all in one batch, in turn.
        if number % 2 == 0 {
            for record in 0..RECORDS {
                let receipt = running.apply(version(record, number)).await.unwrap();
                acknowledged.versions[record].store(receipt.version, SeqCst);
            }
        } else {
            let commands = (0..RECORDS).map(|record| version(record, number)).collect();
            for (record, outcome) in running.apply_batch(commands).await.unwrap().iter().enumerate() {
                acknowledged.versions[record].store(outcome.receipt().version, SeqCst);
            }
        }
        written += RECORDS as u64;
    }
    acknowledged.over.store(true, SeqCst);
    written
}

async fn read_single(mut resolver: ResolverClient<tonic::transport::Channel>, acknowledged: Arc<Acknowledged>) -> u64 {
    let mut read = 0;
    while !acknowledged.over() {
        let record = read as usize % RECORDS;
        let least = acknowledged.least(record);
        let answer = resolver.resolve(question(&identifier(record))).await.unwrap().into_inner();
        check("Resolve", least, &found(answer.outcome.unwrap()));
        read += 1;
    }
    read
}

async fn read_batch(mut resolver: ResolverClient<tonic::transport::Channel>, acknowledged: Arc<Acknowledged>) -> u64 {
    let mut read = 0;
    while !acknowledged.over() {
        let requests = (0..RECORDS).map(|record| question(&identifier(record))).collect();
        let least: Vec<_> = (0..RECORDS).map(|record| acknowledged.least(record)).collect();
        let answers = resolver.resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap().into_inner().answers;
        for (answer, least) in answers.into_iter().zip(least) {
            check("ResolveBatch", least, &found(answer.outcome.unwrap()));
            read += 1;
        }
    }
    read
}

/// Keeps some questions of one stream under way; each must be as new as the receipts before it was sent.
async fn read_stream(mut resolver: ResolverClient<tonic::transport::Channel>, acknowledged: Arc<Acknowledged>) -> u64 {
    let (questions, asked) = mpsc::channel(8);
    let (leasts, mut expected) = mpsc::channel(64);
    let asking = Arc::clone(&acknowledged);
    let asker = tokio::spawn(async move {
        for record in (0..RECORDS).cycle() {
            if asking.over() {
                break;
            }
            leasts.send(asking.least(record)).await.unwrap();
            questions.send(question(&identifier(record))).await.unwrap();
        }
    });
    let mut answers = resolver.resolve_stream(ReceiverStream::new(asked)).await.unwrap().into_inner();
    let mut read = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        check("ResolveStream", expected.recv().await.unwrap(), &found(answer.outcome.unwrap()));
        read += 1;
    }
    asker.await.unwrap();
    read
}

async fn read_dns(server: SocketAddr, acknowledged: Arc<Acknowledged>) -> u64 {
    let identifiers: Vec<_> = (0..RECORDS).map(|record| Identifier::parse(&identifier(record)).unwrap()).collect();
    let mut read = 0;
    while !acknowledged.over() {
        let record = read as usize % RECORDS;
        let least = acknowledged.least(record);
        match dns::resolve(&identifiers[record], ZONE, server).await.unwrap() {
            Said::Found(found) => check("DNS", least, &found),
            other => panic!("{other:?}"),
        }
        read += 1;
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_older_than_a_receipt() {
    let directory = directory();
    // Small, so that the index is merged meanwhile.
    let small = touchmark::config::Config { overlay_entries_max: 64, ..config(directory.path()) };
    let running = Running::with(&small).await.unwrap();
    for record in 0..RECORDS {
        running.apply(create(&identifier(record), vec![value(1, "VERSION", "1")])).await.unwrap();
    }
    let versions = std::array::from_fn(|_| AtomicU64::new(1));
    let acknowledged = Arc::new(Acknowledged { versions, over: AtomicBool::new(false) });
    let (single, batch, stream) =
        (running.another_channel().await, running.another_channel().await, running.another_channel().await);
    let readers = [
        tokio::spawn(read_single(ResolverClient::new(single), Arc::clone(&acknowledged))),
        tokio::spawn(read_batch(ResolverClient::new(batch), Arc::clone(&acknowledged))),
        tokio::spawn(read_stream(ResolverClient::new(stream), Arc::clone(&acknowledged))),
        tokio::spawn(read_dns(running.node.dns_addr(), Arc::clone(&acknowledged))),
    ];
    let written = write(&running, &acknowledged).await;
    let mut read = Vec::new();
    for reader in readers {
        read.push(reader.await.unwrap());
    }
    println!("{written} versions written; read: {read:?} (Resolve, ResolveBatch, ResolveStream, DNS)");
    assert!(written > 20 && read.iter().all(|&count| count > 20));
    running.stop().await;
}

/// "Not found" is kept like any other answer, and forgotten like any other.
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

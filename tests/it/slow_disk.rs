//! A disk that hangs: cached answers are as fast as ever, over every protocol, while a thousand other questions wait
//! for the disk.
//!
//! The index is in memory, with a gate in front of every key but one: behind a closed gate a read waits, as for a disk
//! that does not answer. If a question blocked a thread that other questions need, no answer would come until the gate
//! opens.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tonic::transport::Channel;
use touchmark::{
    entry::{Locator, Principal},
    id::{Identifier, Key, KeyPrefix, dns_name::NameHash},
    ledger::{DataDir, EntryBytes, KeySource, Ledger, LedgerError, Mark, Opening, Publication},
    protocol::{
        dns::{Responder, ResponderOptions, Zone, cookie::CookieSecrets},
        grpc::pb::{self, answer::Outcome, resolver_client::ResolverClient},
    },
    record::{Permissions, Value, Values},
    registry::{Atomicity, Clock, Command, Operation, Registry, Sequencer, SequencerHandle, WhenFull},
    resolver::{Desk, DeskParts, ReadShare, Resolver, feed::Feeds},
    server::{
        admission::{Admission, FEED_SHARES},
        dns::{DnsLimits, DnsParts, DnsServer},
        frontend::{AuditHandles, FollowHandles, Frontend as _, ReadHandles, Services},
        grpc::{GrpcLimits, GrpcServer},
        http::{HttpFrontend, HttpLimits, Replicas},
        metrics::MetricList,
    },
    store::{
        Direction, EdgeQuery, Entries, ImplicitHome, IndexChange, IndexedEdge, PastPage, Prefixes, ReadError, Records,
        RequestKey, Resident, StoreError, memory::MemoryEntries,
    },
};

use crate::{
    dns_support::{Query, Tcp, Udp, framed},
    http_support::get,
    support::{directory, question},
};

/// Number of questions that wait for the disk, by protocol.
const COLD_GRPC: usize = 700;
const COLD_HTTP: usize = 100;
const COLD_DNS_TCP: usize = 100;
const COLD_DNS_UDP: usize = 100;
/// gRPC connections for these questions: the calls of a connection are limited.
const CHANNELS: usize = 4;
/// Number of questions for the cached answer over each protocol; the median counts.
const ASKED: usize = 11;
/// Maximum duration of the median.
const READY_MAX: Duration = Duration::from_millis(50);
/// Time limit for everything else.
const PATIENCE: Duration = Duration::from_secs(60);

const WARM: &str = "88.1/warm";
const WARM_NAME: &str = "warm._.1.88.hdl.id.test.";
const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// An index whose disk hangs until the gate opens, except for one key.
struct SlowStore {
    inner: MemoryEntries,
    warm: Key,
    hangs: AtomicBool,
    open: Mutex<bool>,
    opened: Condvar,
}

impl SlowStore {
    fn new(warm: Key, ledger: Arc<Ledger>) -> Self {
        let (inner, hangs) = (MemoryEntries::new(ledger), AtomicBool::new(false));
        Self { inner, warm, hangs, open: Mutex::new(false), opened: Condvar::new() }
    }

    fn is_cold(&self, key: &[u8]) -> bool {
        self.hangs.load(Ordering::SeqCst) && key != self.warm.as_bytes()
    }

    fn wait(&self, key: &[u8]) {
        if self.is_cold(key) {
            drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        }
    }

    fn go_on(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Entries for SlowStore {
    fn newest(&self, key: &Key) -> Result<Option<EntryBytes>, ReadError> {
        self.wait(key.as_bytes());
        self.inner.newest(key)
    }

    fn newest_resident(&self, key: &Key) -> Result<Resident<Option<EntryBytes>>, ReadError> {
        match self.is_cold(key.as_bytes()) {
            true => Ok(Resident::OnDisk),
            false => self.inner.newest_resident(key),
        }
    }

    fn newest_locator(&self, key: &Key) -> Result<Option<Locator>, ReadError> {
        self.wait(key.as_bytes());
        self.inner.newest_locator(key)
    }

    fn by_locator(&self, locator: Locator) -> Result<EntryBytes, ReadError> {
        self.inner.by_locator(locator)
    }

    fn at(&self, index: u64) -> Result<EntryBytes, ReadError> {
        self.inner.at(index)
    }

    fn past(&self, key: &Key, page: PastPage) -> Result<Vec<EntryBytes>, ReadError> {
        self.inner.past(key, page)
    }

    fn by_name_hash(&self, hash: &NameHash) -> Result<Option<EntryBytes>, ReadError> {
        self.inner.by_name_hash(hash)
    }

    fn by_request(&self, request: &RequestKey) -> Result<Option<EntryBytes>, ReadError> {
        self.inner.by_request(request)
    }

    fn edges(&self, key: &Key, direction: Direction, query: &EdgeQuery<'_>) -> Result<Vec<IndexedEdge>, ReadError> {
        self.inner.edges(key, direction, query)
    }

    fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        self.wait(prefix.as_bytes());
        self.inner.any_below(prefix)
    }

    fn any_name_hash(&self) -> Result<bool, ReadError> {
        self.inner.any_name_hash()
    }

    fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, EntryBytes)>, ReadError> {
        self.inner.scan(prefix, after, limit)
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready()
    }

    fn apply(&self, changes: Vec<IndexChange>, batch: Range<u64>) -> Result<(), ReadError> {
        self.inner.apply(changes, batch)
    }

    fn durable(&self) -> u64 {
        self.inner.durable()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

/// A node over a slow index, with a listener for each protocol.
struct Node {
    store: Arc<SlowStore>,
    desk: Desk,
    grpc: GrpcServer,
    http: HttpFrontend,
    dns: DnsServer,
    _sequencer: SequencerHandle,
    _directory: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = directory();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let ledger: Arc<Ledger> = recovered.ledger;
        let warm = Identifier::parse(WARM).unwrap();
        let store = Arc::new(SlowStore::new(warm.key().clone(), Arc::clone(&ledger)));
        let records = Records::new(store.clone(), Arc::clone(&ledger));
        let prefixes = Arc::new(Prefixes::load(&records, ImplicitHome::UntilHomed).unwrap());
        let resolver = Resolver::new(records.clone(), Arc::clone(&prefixes), 1_usize << 20);
        let publication = Arc::new(Publication::new(ledger.checkpoint()));
        let parts = DeskParts { resolver, recursive: None, publication: Arc::clone(&publication), lookups: None };
        let desk = Desk::new(parts);
        let clock: Clock = Arc::new(|| 1_700_000_000_000);
        let sequencer = Sequencer {
            appender: recovered.appender,
            records: records.clone(),
            prefixes,
            committer: Box::new(|_| {}),
            clock: Arc::clone(&clock),
            entropy: Arc::new(|| [7; 32]),
        };
        let (registry, handle) = sequencer.spawn().unwrap();
        register(&registry, warm).await;

        let feeds = Arc::new(Feeds::new(records));
        let options = ResponderOptions {
            identity: String::new(),
            cache: (1_usize << 20).into(),
            without_cookie_octets_max: 1_232,
            cookies: CookieSecrets::new([3; 16], None),
        };
        let size = Arc::clone(&ledger);
        let responder = Responder::new(desk.clone(), Zone::new("id.test").unwrap(), move || size.size(), options);
        let address: SocketAddr = ANY.into();
        let admission = Admission::default();
        let parts = DnsParts {
            responder: Arc::new(responder),
            limits: DnsLimits::default(),
            seed: [0; 16],
            admission: admission.clone(),
        };
        let dns = DnsServer::start(&[address], parts).await.unwrap();
        let services = Services {
            reads: ReadHandles { desk: desk.clone(), lag: None },
            writes: registry,
            audit: AuditHandles { ledger, publication },
            follow: FollowHandles { feeds, shares: admission.shares(FEED_SHARES) },
            admission,
            metrics: MetricList::default(),
        };
        let replicas = Replicas::Served(Vec::new(), clock);
        let http = HttpFrontend::start(address, HttpLimits::default(), replicas, &services).await.unwrap();
        let grpc = GrpcServer::start(address, GrpcLimits::default(), &services).await.unwrap();
        Self { store, desk, grpc, http, dns, _sequencer: handle, _directory: directory }
    }

    async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.grpc.local_addr());
        address.parse::<tonic::transport::Endpoint>().unwrap().connect().await.unwrap()
    }

    fn dns_addr(&self) -> SocketAddr {
        self.dns.local_addrs()[0]
    }

    /// Number of reads for answers that run, and that wait.
    fn reads(&self) -> (usize, usize) {
        let counts = self.desk.reads().counts();
        let answers = counts.iter().find(|counts| counts.share == ReadShare::Answers).unwrap();
        (answers.running, answers.waiting)
    }
}

async fn register(registry: &Registry, identifier: Identifier) {
    let value = Value {
        index: 1,
        kind: "NAME".parse().unwrap(),
        data: "Warm".into(),
        ttl: 3_600,
        timestamp: 0,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    let operation = Operation::Create { values: Values::new(vec![value]).unwrap(), edges: Vec::new() };
    let command = Command { identifier, operation, expected_version: None, request: None };
    let prepared = registry.prepare(command, Principal::LOOPBACK).unwrap();
    let results = registry.submit(vec![Ok(prepared)], Atomicity::Each, WhenFull::Wait).await;
    assert!(results.iter().all(Result::is_ok));
}

/// Median duration of several questions.
async fn middle<F: Future<Output = ()>>(mut ask: impl FnMut() -> F) -> Duration {
    let mut took = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        timeout(PATIENCE, ask()).await.expect("what lies ready waits for nothing");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[ASKED / 2]
}

/// Asks for the cached answer over every protocol; returns the median durations.
async fn ask_ready(node: &Node, channel: &Channel) -> Vec<(&'static str, Duration)> {
    let found = |outcome: Option<Outcome>| assert!(matches!(outcome, Some(Outcome::Found(_))), "{outcome:?}");
    let unary = middle(|| async {
        found(ResolverClient::new(channel.clone()).resolve(question(WARM)).await.unwrap().into_inner().outcome);
    });
    let unary = unary.await;
    let batch = middle(|| async {
        let requests = vec![question(WARM); 100];
        let batch = ResolverClient::new(channel.clone()).resolve_batch(pb::ResolveBatchRequest { requests }).await;
        batch.unwrap().into_inner().answers.into_iter().for_each(|answer| found(answer.outcome));
    });
    let batch = batch.await;
    let blocking = |ask: fn(SocketAddr), address: SocketAddr| {
        middle(move || async move { tokio::task::spawn_blocking(move || ask(address)).await.unwrap() })
    };
    let http = blocking(
        |address| assert_eq!(get(address, &format!("/v1/records/{WARM}")).status, 200),
        node.http.addresses()[0].address,
    );
    let http = http.await;
    let udp = |address| assert_eq!(Udp::to(address).ask(&Query::new(WARM_NAME, 16)).answers.len(), 1);
    let udp = blocking(udp, node.dns_addr()).await;
    let tcp = |address| assert_eq!(Tcp::to(address).ask(&Query::new(WARM_NAME, 16)).answers.len(), 1);
    let tcp = blocking(tcp, node.dns_addr()).await;
    vec![("gRPC", unary), ("gRPC batch", batch), ("HTTP", http), ("DNS over UDP", udp), ("DNS over TCP", tcp)]
}

/// Asks questions that need the disk, over every protocol; each task returns true if its answer arrived.
async fn ask_cold(node: &Node) -> JoinSet<bool> {
    let mut asked = JoinSet::new();
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        channels.push(node.channel().await);
    }
    for number in 0..COLD_GRPC {
        let mut resolver = ResolverClient::new(channels[number % CHANNELS].clone());
        asked.spawn(async move {
            let answer = resolver.resolve(question(&format!("88.1/grpc-{number}"))).await;
            matches!(answer.unwrap().into_inner().outcome, Some(Outcome::NotFound(_)))
        });
    }
    let http = node.http.addresses()[0].address;
    for number in 0..COLD_HTTP {
        asked.spawn(async move {
            let mut stream = TcpStream::connect(http).await.unwrap();
            let request =
                format!("GET /v1/records/88.1/http-{number} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            reply.starts_with("HTTP/1.1 404")
        });
    }
    let dns = node.dns_addr();
    for number in 0..COLD_DNS_TCP {
        asked.spawn(async move {
            let mut stream = TcpStream::connect(dns).await.unwrap();
            let query = Query::new(&format!("tcp-{number}._.1.88.hdl.id.test."), 16).bytes();
            stream.write_all(&framed(&query)).await.unwrap();
            let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut octets).await.unwrap();
            // NXDOMAIN.
            octets[3] & 0x0f == 3
        });
    }
    // UDP guarantees nothing: datagrams for which there is no room are dropped.
    let socket = Udp::to(dns);
    for number in 0..COLD_DNS_UDP {
        socket.send(&Query::new(&format!("udp-{number}._.1.88.hdl.id.test."), 16).bytes());
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_delays_nobody_who_does_not_need_it() {
    let node = Node::start().await;
    let channel = node.channel().await;
    // From here on every cacheable answer is cached.
    ask_ready(&node, &channel).await;
    node.store.hangs.store(true, Ordering::SeqCst);

    let mut cold = ask_cold(&node).await;
    let all = COLD_GRPC + COLD_HTTP + COLD_DNS_TCP;
    let wait = async {
        loop {
            let (running, waiting) = node.reads();
            if running + waiting == all {
                return assert_eq!(running, ReadShare::Answers.threads_max());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("all of them wait for the disk");

    for (over, took) in ask_ready(&node, &channel).await {
        assert!(took < READY_MAX, "{over}: {took:?} with {all} questions that wait");
    }
    assert_eq!(node.reads(), (ReadShare::Answers.threads_max(), all - ReadShare::Answers.threads_max()));

    node.store.go_on();
    while let Some(answered) = timeout(PATIENCE, cold.join_next()).await.expect("the disk answers") {
        assert!(answered.unwrap());
    }
    let Node { grpc, http, dns, .. } = node;
    drop(channel);
    tokio::join!(Box::new(grpc).drain(), Box::new(http).drain(), Box::new(dns).drain());
}

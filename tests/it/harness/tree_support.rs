//! A tree of real processes on loopback (a national node, two second-level ones, four enterprises, recursive ones), and
//! wires between them that can be cut, delay or corrupt.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt as _;
use serde_json::Value as Json;
use tempfile::TempDir;
use tonic::transport::Channel;
use touchmark::{
    client::dns,
    protocol::grpc::pb::{self, resolver_client::ResolverClient},
};

use super::{
    program::{Program, Ran},
    support::directory,
};

/// Number of identifiers of a tree unless given.
const IDENTIFIERS_DEFAULT: usize = 4_000;
/// Number of questions in one call.
pub const BATCH: usize = 500;

/// Enterprises, and the prefixes homed on each.
pub const ENTERPRISES: [(&str, &[&str]); 4] = [
    ("pci", &["88.1001"]),
    ("usb", &["88.1002"]),
    (
        "goods",
        &[
            "88.1003", "88.1004", "gs1:0", "gs1:1", "gs1:2", "gs1:3", "gs1:4", "gs1:5", "gs1:6", "gs1:7", "gs1:8",
            "gs1:9",
        ],
    ),
    ("oid", &["1.3.6.1.4.1"]),
];

/// A node of the tree.
pub struct Node {
    pub program: Option<Program>,
    pub data: TempDir,
    /// Wire between the node and its gRPC clients.
    pub wire: Wire,
    pub key: String,
}

impl Node {
    pub fn start(arguments: &[&str]) -> Self {
        let data = directory();
        let program = Program::serve(data.path(), arguments);
        let key = key_of(&program);
        let wire = Wire::to(program.grpc.parse().unwrap());
        Self { program: Some(program), data, wire, key }
    }

    pub fn program(&self) -> &Program {
        self.program.as_ref().unwrap()
    }

    /// Site of the node in a delegation: the address is that of the wire.
    pub fn site(&self) -> String {
        self.site_with_key(&self.key)
    }

    pub fn site_with_key(&self, key: &str) -> String {
        let (dns, http) = (self.program().dns, self.program().http);
        format!("1 primary {key} grpc://{} dns://{dns} http://{http}", self.wire.address)
    }

    pub fn delegate(&self, prefix: &str, sites: &[&str], ttl: u32) {
        let ttl = ttl.to_string();
        let mut arguments = vec!["prefix", "delegate", prefix, "--ttl", &ttl];
        sites.iter().for_each(|site| arguments.extend(["--site", site]));
        ok(self.program().run(&arguments));
    }

    pub fn home(&self, prefix: &str) {
        ok(self.program().run(&["prefix", "home", prefix]));
    }
}

/// Key of a node's ledger, as printed at start.
pub fn key_of(program: &Program) -> String {
    let line = program.introduction.lines().find_map(|line| line.trim().strip_prefix("ledger key  "));
    line.expect("a node says its key").to_owned()
}

pub fn ok(ran: Ran) -> String {
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{}", ran.out);
    ran.out
}

/// The whole tree.
pub struct Tree {
    pub national: Node,
    pub second_level: [Node; 2],
    pub enterprises: Vec<Node>,
    /// The first node accepts only answers proven to be the latest; the second and the third accept every answer, and
    /// the third asks over DNS where possible.
    pub recursive: [Node; 3],
    /// Registered values by identifier, as `index type data`.
    pub registered: BTreeMap<String, Vec<String>>,
}

impl Tree {
    /// Starts all nodes and spreads identifiers over them. Delegations have a TTL of `ttl` seconds.
    pub fn start(ttl: u32) -> Self {
        let [national, first, second] = [(); 3].map(|()| Node::start(&[]));
        let enterprises: Vec<Node> = ENTERPRISES.iter().map(|_| Node::start(&[])).collect();
        for (node, (_, prefixes)) in enterprises.iter().zip(ENTERPRISES) {
            prefixes.iter().for_each(|prefix| node.home(prefix));
        }
        // Each delegation is longer than the one above it.
        let digits: Vec<String> = (0..10).map(|digit| format!("gs1:{digit}")).collect();
        let pairs: Vec<String> = (0..100).map(|pair| format!("gs1:{pair:02}")).collect();
        let texts = |prefixes: &[&str]| prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        for (upper, prefixes, lower) in [
            (&national, texts(&["88"]), &first),
            (&national, digits, &second),
            (&national, texts(&["1.3.6.1.4"]), &second),
            (&first, texts(ENTERPRISES[0].1), &enterprises[0]),
            (&first, texts(ENTERPRISES[1].1), &enterprises[1]),
            (&first, texts(&["88.1003", "88.1004"]), &enterprises[2]),
            (&second, pairs, &enterprises[2]),
            (&second, texts(ENTERPRISES[3].1), &enterprises[3]),
        ] {
            let prefixes: Vec<String> = prefixes;
            prefixes.iter().for_each(|prefix| upper.delegate(prefix, &[&lower.site()], ttl));
        }
        let roots = national.data.path().join("roots.json");
        fs::write(&roots, roots_of(&[&national.site()])).unwrap();
        let dns_first = national.data.path().join("dns-first.toml");
        fs::write(&dns_first, "recursion_first = \"dns\"\n").unwrap();
        let [roots, dns_first] = [roots, dns_first].map(|path| path.to_str().unwrap().to_owned());
        let latest = Node::start(&["--recursive", "--roots", &roots, "--verify=latest"]);
        let plain = Node::start(&["--recursive", "--roots", &roots]);
        let over_dns = Node::start(&["--recursive", "--roots", &roots, "--config", &dns_first]);
        let mut tree = Self {
            national,
            second_level: [first, second],
            enterprises,
            recursive: [latest, plain, over_dns],
            registered: BTreeMap::new(),
        };
        tree.fill();
        tree
    }

    fn fill(&mut self) {
        let wanted = std::env::var("TOUCHMARK_TREE_IDENTIFIERS").ok();
        let wanted = wanted.map_or(IDENTIFIERS_DEFAULT, |count| count.parse().unwrap());
        let lines = lines(wanted);
        for (node, (name, _)) in self.enterprises.iter().zip(ENTERPRISES) {
            let own = lines.get(name).unwrap();
            let path = node.data.path().join("own.jsonl");
            fs::write(&path, own.concat()).unwrap();
            let ran = node.program().run(&["import", path.to_str().unwrap(), "--json"]);
            assert_eq!(ran.exit, 0, "{} {}", ran.out, ran.err);
            for line in own {
                let line: Json = serde_json::from_str(line).unwrap();
                let values = line["values"].as_array().unwrap().iter();
                let values =
                    values.map(|value| format!("{} {} {}", value["index"], text(&value["type"]), text(&value["data"])));
                self.registered.insert(text(&line["identifier"]), values.collect());
            }
        }
        assert!(self.registered.len() > wanted / 2, "{}", self.registered.len());
    }

    /// Asks one recursive node for every identifier, a batch at a time, and compares.
    pub async fn check_all(&self, recursive: usize) {
        let mut client = self.client(recursive).await;
        let identifiers: Vec<&String> = self.registered.keys().collect();
        for batch in identifiers.chunks(BATCH) {
            let requests = batch.iter().map(|identifier| question(identifier)).collect();
            let answers =
                client.resolve_batch(pb::ResolveBatchRequest { requests }).await.unwrap().into_inner().answers;
            for (identifier, answer) in batch.iter().zip(answers) {
                self.check(identifier, &answer).unwrap_or_else(|what| panic!("{identifier}: {what}"));
            }
        }
    }

    /// As [`Tree::check_all`], over DNS.
    pub async fn check_all_over_dns(&self, recursive: usize) {
        let server = self.recursive[recursive].program().dns;
        let questions = self.registered.iter().map(|(identifier, values)| async move {
            let parsed = touchmark::id::Identifier::parse(identifier).unwrap();
            let said = dns::resolve(&parsed, "id.test.", server).await;
            let Ok(dns::Said::Found(record)) = &said else { panic!("{identifier} over DNS: {said:?}") };
            assert_eq!(&record.values.iter().map(shown).collect::<Vec<_>>(), values, "{identifier}");
        });
        let mut answers = futures_util::stream::iter(questions).buffer_unordered(32);
        while answers.next().await.is_some() {}
    }

    /// Compares an answer with the registered values; the error describes the difference.
    pub fn check(&self, identifier: &str, answer: &pb::Answer) -> Result<(), String> {
        match &answer.outcome {
            Some(pb::answer::Outcome::Found(record)) => {
                let values: Vec<String> = record.values.iter().map(shown).collect();
                if self.registered.get(identifier) == Some(&values) {
                    Ok(())
                } else {
                    Err(format!("wrong: {values:?}"))
                }
            }
            other => Err(format!("{other:?}")),
        }
    }

    pub async fn client(&self, recursive: usize) -> ResolverClient<Channel> {
        connect(&self.recursive[recursive].program().grpc).await
    }

    /// Identifiers of an enterprise.
    pub fn of(&self, enterprise: usize) -> Vec<String> {
        let prefixes: Vec<_> =
            ENTERPRISES[enterprise].1.iter().map(|prefix| touchmark::id::Prefix::parse(prefix).unwrap()).collect();
        let below = |identifier: &&String| {
            let key = touchmark::id::Identifier::parse(identifier).unwrap().key().clone();
            prefixes.iter().any(|prefix| prefix.covers(&key))
        };
        self.registered.keys().filter(below).cloned().collect()
    }
}

pub fn question(identifier: &str) -> pb::ResolveRequest {
    pb::ResolveRequest { identifier: identifier.into(), ..pb::ResolveRequest::default() }
}

pub async fn connect(server: &str) -> ResolverClient<Channel> {
    let endpoint = format!("http://{server}").parse::<tonic::transport::Endpoint>().unwrap();
    ResolverClient::new(endpoint.connect().await.unwrap()).max_decoding_message_size(64 << 20)
}

/// A root file with these sites for every identifier.
pub fn roots_of(sites: &[&str]) -> String {
    let sites: Vec<String> = sites.iter().map(|site| format!("\"{site}\"")).collect();
    format!(
        "{{\"version\":\"1.0\",\"services\":[],\"sites\":{{\".\":{{\"ttl\":60,\"sites\":[{}]}}}}}}",
        sites.join(",")
    )
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

pub fn shown(value: &pb::Value) -> String {
    format!("{} {} {}", value.index, value.r#type, String::from_utf8_lossy(&value.data))
}

/// Import lines for each enterprise, evenly spread: from ../shared/data where it exists, otherwise made up.
fn lines(wanted: usize) -> BTreeMap<&'static str, Vec<String>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("TOUCHMARK_SHARED").map_or_else(beside, PathBuf::from);
    let files = [
        ("pci", "pci.jsonl"),
        ("usb", "usb.jsonl"),
        ("goods", "hs.jsonl"),
        ("goods", "bom.jsonl"),
        ("goods", "gtin.jsonl"),
        ("oid", "pen.jsonl"),
    ];
    let mut lines: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (name, file) in files {
        let real = fs::read_to_string(shared.join("data").join(file)).ok();
        let text = real.unwrap_or_else(|| made_up(name, file, wanted));
        // Edges lead to other enterprises, and are no subject of these tests.
        let plain = text.lines().filter(|line| !line.contains("\"edges\""));
        lines.entry(name).or_default().extend(plain.map(|line| format!("{line}\n")));
    }
    let all: usize = lines.values().map(Vec::len).sum();
    for own in lines.values_mut() {
        let share = (own.len() * wanted).div_ceil(all).max(50);
        let step = (own.len() / share.min(own.len())).max(1);
        *own = own.iter().step_by(step).take(share).cloned().collect();
    }
    lines
}

fn made_up(name: &str, file: &str, wanted: usize) -> String {
    let identifier = |number: usize| match (name, file) {
        ("pci", _) => format!("88.1001.{:04x}/{:04x}", number % 97, number),
        ("usb", _) => format!("88.1002.{:04x}/{:04x}", number % 89, number),
        ("goods", "hs.jsonl") => format!("88.1003/{number:06}"),
        ("goods", "bom.jsonl") => format!("88.1004/{number}"),
        ("goods", _) => format!("urn:epc:id:sgtin:0614141.{number:06}.1"),
        _ => format!("urn:oid:1.3.6.1.4.1.{number}"),
    };
    let line = |number| {
        let identifier = touchmark::id::Identifier::parse(&identifier(number)).unwrap();
        format!(
            "{{\"identifier\":\"{identifier}\",\"values\":[{{\"index\":1,\"type\":\"NAME\",\"data\":\"{name} {number}\"}}]}}\n"
        )
    };
    (1..=wanted / 6 + 20).map(line).collect()
}

/// Behaviour of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Everything passes.
    Sound,
    /// Nothing passes, and connections stay open.
    Cut,
    /// Connections are closed at once.
    Dead,
    /// Replies are corrupted.
    Garbage,
    /// Replies are delayed by [`LATE`].
    Late,
}

/// A wire to a node.
pub struct Wire {
    pub address: SocketAddr,
    mode: Arc<AtomicU8>,
    target: Arc<AtomicU64>,
}

/// Delay of a late reply.
pub const LATE: Duration = Duration::from_millis(900);

impl Wire {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, to) = (Arc::new(AtomicU8::new(Mode::Sound as u8)), Arc::new(AtomicU64::new(target.port().into())));
        let (modes, targets) = (Arc::clone(&mode), Arc::clone(&to));
        thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { continue };
                if modes.load(Ordering::Relaxed) == Mode::Dead as u8 {
                    continue;
                }
                let target = SocketAddr::from(([127, 0, 0, 1], targets.load(Ordering::Relaxed) as u16));
                let Ok(far) = TcpStream::connect(target) else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (there, back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (one, other) = (Arc::clone(&modes), Arc::clone(&modes));
                thread::spawn(move || carry(there, far, &one, false));
                thread::spawn(move || carry(back, near, &other, true));
            }
        });
        Self { address, mode, target: to }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Redirects new connections to another node.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.store(target.port().into(), Ordering::Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8, is_back: bool) {
    let mut buffer = [0; 65_536];
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    loop {
        let is = |wanted: Mode| mode.load(Ordering::Relaxed) == wanted as u8;
        if is(Mode::Dead) {
            break;
        }
        if is(Mode::Cut) {
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if is_back && is(Mode::Late) {
            thread::sleep(LATE);
        }
        if is_back && is(Mode::Garbage) {
            buffer[..read]
                .iter_mut()
                .enumerate()
                .for_each(|(at, byte)| *byte = byte.wrapping_mul(31).wrapping_add(at as u8));
        }
        // Bytes read before the cut are lost.
        if is(Mode::Cut) {
            continue;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}

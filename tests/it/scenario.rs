//! Scenarios: the same steps over gRPC, HTTP and DNS, from files in `scenarios/`.
//!
//! A file is a list of steps, one per line; each scenario runs on a new node. `#` begins a comment line. Words are
//! separated by spaces; `\s` stands for a space within a word, `[x*300]` for 300 times `x`.
//!
//! ```text
//! register ID [VALUE …] [EDGE …]      writes, which have to be accepted
//! update ID [VALUE …] [EDGE …]        replaces the values that have the same index, adds edges
//! replace ID [VALUE …]                these values, and no others, from then on
//! retire ID
//! ID -> OUTCOME                       resolves over gRPC, in one call, a batch and a stream, and over HTTP and DNS
//! name NAME -> nodata | nxdomain | refused | record [over tcp]
//!                                     asks for the name over DNS only, without the zone; `@` is the zone itself
//! named ID NAME                       the identifier has this name below the zone
//!
//! VALUE    [INDEX:]TYPE=DATA, private ones with ! before; numbered from 1 where no index is given
//! EDGE     made-of:ID and the like, or made-of:ID*QUANTITY
//! OUTCOME  not found | retired | denied | found [VALUE …] [EDGE …]      all that is public, in order
//! ```

use std::fmt::Write as _;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    task::block_in_place,
};
use touchmark::{
    client::{
        Client,
        dns::{self, Said, name_in_zone},
    },
    id::Identifier,
    protocol::{
        grpc::pb::{self, answer::Outcome as Answer},
        json::answer_to_json,
    },
};

use crate::{
    http_support::{Reply, get},
    support::{Running, create_with_edges, directory, edge, question, replace, retire, update, value},
};

/// The zone of the node.
const ZONE: &str = "id.test.";
/// Permissions of private values: `1100`.
const PRIVATE: u32 = 12;
/// Longest answer over UDP, in octets; longer answers use TCP.
const UDP_OCTETS_MAX: usize = 1_232;

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            run(concat!(stringify!($name), ".txt"), include_str!(concat!("scenarios/", stringify!($name), ".txt"))).await;
        }
    )*

    /// Names of the files.
    const FILES: &[&str] = &[$(concat!(stringify!($name), ".txt")),*];
    };
}

scenarios! {
    denied
    edges
    four_schemes
    hashed_names
    long_suffixes
    names_between
    retired
    too_long_for_udp
    updates
    written_forms
}

#[test]
fn every_file_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, FILES);
}

/// Runs the steps of a file; panics with the first step that fails.
async fn run(file: &str, text: &str) {
    let data = directory();
    let node = Running::start(data.path()).await;
    let client = Client::connect(&node.node.grpc_addr().to_string()).await.unwrap();
    let scenario = Scenario { node, client };
    let mut steps = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        steps += 1;
        if let Err(wrong) = scenario.step(line).await {
            panic!("{file}:{number}: {line}\n{wrong}");
        }
    }
    assert!(steps > 3, "{file} holds {steps} steps");
    scenario.node.stop().await;
}

struct Scenario {
    node: Running,
    client: Client,
}

impl Scenario {
    async fn step(&self, line: &str) -> Result<(), String> {
        if let Some((what, expected)) = line.split_once(" -> ") {
            return match what.strip_prefix("name ") {
                Some(name) => self.name(&expand(name), expected).await,
                None => self.resolve(&expand(what), expected).await,
            };
        }
        let words: Vec<String> = line.split(' ').map(expand).collect();
        let ([verb, identifier], parts) = words.split_first_chunk::<2>().ok_or("a step has two words")?;
        let command = match verb.as_str() {
            "named" => return self.named(identifier, parts),
            "register" => {
                let (values, edges) = read(parts)?;
                create_with_edges(identifier, values, edges)
            }
            "replace" => replace(identifier, read(parts)?.0),
            "update" => {
                let (values, add_edges) = read(parts)?;
                let mode = pb::update::Mode::Merge.into();
                update(identifier, pb::Update { mode, values, add_edges, ..pb::Update::default() })
            }
            "retire" => retire(identifier),
            _ => return Err("no such step".into()),
        };
        self.client.apply(command).await.map(drop).map_err(|error| error.to_string())
    }

    fn named(&self, identifier: &str, parts: &[String]) -> Result<(), String> {
        let identifier = Identifier::parse(identifier).map_err(|error| error.to_string())?;
        same("the name", &name_in_zone(&identifier, ZONE), &format!("{}.{ZONE}", parts.join(" ")))
    }

    async fn resolve(&self, identifier: &str, expected: &str) -> Result<(), String> {
        let expected: Vec<String> = expected.split(' ').map(expand).collect();
        let expected = expected.join(" ");
        let answer = self.client.resolve(question(identifier)).await.map_err(|error| error.to_string())?;
        let answer = answer.outcome.ok_or("no answer")?;
        same("Resolve", &said(&answer), &expected)?;
        let reply = self.over_http(identifier);
        same("HTTP", reply.text(), &answer_to_json(&answer))?;
        let status = match answer {
            Answer::Found(_) => 200,
            Answer::NotFound(_) => 404,
            Answer::Retired(_) => 410,
            _ => 403,
        };
        same("HTTP", &reply.status.to_string(), &status.to_string())?;
        let again = [identifier.to_owned(), identifier.to_owned()];
        for answer in self.node.resolve_batch(&again).await {
            same("ResolveBatch", &said(&answer), &expected)?;
        }
        for answer in self.node.resolve_stream(&again).await {
            same("ResolveStream", &said(&answer), &expected)?;
        }
        let identifier = Identifier::parse(identifier).map_err(|error| error.to_string())?;
        let answer = dns::resolve(&identifier, ZONE, self.node.node.dns_addr()).await;
        let over_dns = match answer.map_err(|error| error.to_string())? {
            Said::Found(record) => said(&Answer::Found(*record)),
            // A name between registered ones exists in the DNS, but no record does.
            Said::NoSuchName | Said::NoData => "not found".into(),
            Said::Retired => "retired".into(),
            Said::Refused(text) => text.unwrap_or_default(),
            Said::Delegated | Said::Referral(_) => "delegated".into(),
            Said::NotResponsible => "not responsible".into(),
            Said::Erased => "erased".into(),
        };
        same("DNS", &over_dns, &expected)
    }

    /// Asks for a record, with every octet of the identifier percent-encoded.
    fn over_http(&self, identifier: &str) -> Reply {
        let encoded: String = identifier.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let address = self.node.node.http_addr().unwrap();
        block_in_place(|| get(address, &format!("/v1/records/{encoded}")))
    }

    async fn name(&self, name: &str, expected: &str) -> Result<(), String> {
        let name = if name == "@" { ZONE.to_owned() } else { format!("{name}.{ZONE}") };
        let message = query(&name);
        let server = self.node.node.dns_addr();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&message, server).await.unwrap();
        let mut answer = vec![0; 65_535];
        let octets = socket.recv(&mut answer).await.unwrap();
        answer.truncate(octets);
        let mut found = meaning(&answer);
        if octets > UDP_OCTETS_MAX {
            return Err(format!("{octets} octets over UDP"));
        }
        if answer[2] & 2 != 0 {
            let mut stream = TcpStream::connect(server).await.unwrap();
            stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat()).await.unwrap();
            let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut answer).await.unwrap();
            found = format!("{} over tcp", meaning(&answer));
        }
        same("DNS", &found, expected)
    }
}

fn same(over: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{over} says\n  {found}\nand not\n  {expected}")) }
}

/// A word with its escapes replaced.
fn expand(word: &str) -> String {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('[') {
        let (repeated, behind) = after.split_once(']').expect("a bracket is closed");
        let (text, times) = repeated.split_once('*').expect("brackets hold what to repeat, * and how often");
        expanded += before;
        expanded += &text.repeat(times.parse().unwrap());
        rest = behind;
    }
    (expanded + rest).replace("\\s", " ")
}

/// Parses values and edges of a step.
fn read(parts: &[String]) -> Result<(Vec<pb::Value>, Vec<pb::Edge>), String> {
    let (mut values, mut edges) = (Vec::new(), Vec::new());
    for part in parts {
        let kinds = ["made-of", "derived-from", "packed-in", "transferred-to", "replaces"];
        if let Some((kind, to)) = part.split_once(':').filter(|(kind, _)| kinds.contains(kind)) {
            let kind = format!("EDGE_TYPE_{}", kind.replace('-', "_").to_uppercase());
            let (to, quantity) = to.split_once('*').unwrap_or((to, ""));
            let kind = pb::EdgeType::from_str_name(&kind).unwrap();
            edges.push(pb::Edge { quantity: quantity.into(), ..edge(kind, to) });
            continue;
        }
        let private = part.starts_with('!');
        let (name, data) =
            part.trim_start_matches('!').split_once('=').ok_or(format!("{part}: neither value nor edge"))?;
        let index = name.split_once(':').and_then(|(index, kind)| Some((index.parse().ok()?, kind)));
        let (index, kind) = index.unwrap_or((values.len() as u32 + 1, name));
        let permissions = private.then_some(PRIVATE);
        values.push(pb::Value { permissions, ..value(index, kind, data) });
    }
    Ok((values, edges))
}

/// An answer in the syntax of a step.
fn said(answer: &Answer) -> String {
    let record = match answer {
        Answer::Found(record) => record,
        Answer::NotFound(_) => return "not found".into(),
        Answer::Retired(_) => return "retired".into(),
        Answer::Denied(_) => return "denied".into(),
        other => return format!("{other:?}"),
    };
    let mut text = "found".to_owned();
    for (place, value) in (1..).zip(&record.values) {
        let index = if value.index == place { String::new() } else { format!("{}:", value.index) };
        write!(text, " {index}{}={}", value.r#type, String::from_utf8_lossy(&value.data)).unwrap();
    }
    for edge in &record.edges {
        let kind = edge.r#type().as_str_name().trim_start_matches("EDGE_TYPE_").to_lowercase().replace('_', "-");
        let quantity = if edge.quantity.is_empty() { String::new() } else { format!("*{}", edge.quantity) };
        write!(text, " {kind}:{}{quantity}", edge.to).unwrap();
    }
    text
}

/// A query for the whole record, with EDNS (RFC 1035 section 4.1, RFC 6891 section 6.1.2).
fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&touchmark::protocol::dns::kind::RECORD.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(&[0, 0, 41, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    message
}

/// Response code and number of answers, from the header of a response.
fn meaning(message: &[u8]) -> String {
    let answers = u16::from_be_bytes([message[6], message[7]]);
    match (message[3] & 0x0f, answers) {
        (0, 0) => "nodata".into(),
        (0, _) => "record".into(),
        (3, 0) => "nxdomain".into(),
        (5, 0) => "refused".into(),
        other => format!("{other:?}"),
    }
}

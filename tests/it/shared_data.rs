//! Real input: every line of `../shared/data` is imported, and every identifier resolves over gRPC and over DNS to the
//! values in the file. Skipped without that folder.

use std::{
    collections::HashMap,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message as _;
use serde_json::Value as Json;
use touchmark::{
    id::{Identifier, dns_name},
    protocol::{dns::kind, grpc::pb},
};

use crate::{
    required,
    support::{Outcome, Running, directory},
};

/// Number of identifiers in the files.
const IDENTIFIERS: usize = 138_818;
/// Octets of `id.test.` on the wire.
const ZONE_OCTETS: usize = 9;
/// Number of DNS queries under way at once.
const WINDOW: usize = 64;

/// One line of a file.
struct Line {
    identifier: String,
    values: Vec<(u32, String, String)>,
    edges: Vec<(String, String, String, String, String)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_resolves_over_grpc_and_dns() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("TOUCHMARK_SHARED").map_or_else(beside, PathBuf::from);
    let lines = read(&shared.join("data"));
    if !required::is_met("shared", lines.is_some()) {
        return;
    }
    let lines = lines.unwrap();
    assert_eq!(lines.len(), IDENTIFIERS);
    let data = directory();
    let node = Running::start(data.path()).await;
    for batch in lines.chunks(5_000) {
        let results = node.apply_batch(batch.iter().map(create).collect()).await.unwrap();
        for (result, line) in results.into_iter().zip(batch) {
            assert!(matches!(result, Outcome::Receipt(_)), "{}: {result:?}", line.identifier);
        }
    }
    let mut by_key = HashMap::new();
    for batch in lines.chunks(1_000) {
        let identifiers: Vec<String> = batch.iter().map(|line| line.identifier.clone()).collect();
        for (answer, line) in node.resolve_batch(&identifiers).await.into_iter().zip(batch) {
            let pb::answer::Outcome::Found(record) = answer else { panic!("{}: {answer:?}", line.identifier) };
            compare(&record, line);
            by_key.insert(Identifier::parse(&line.identifier).unwrap().key().clone(), line);
        }
    }
    assert_eq!(by_key.len(), IDENTIFIERS, "all identifiers differ");
    let address = node.node.dns_addr();
    let asked = tokio::task::spawn_blocking(move || ask_all(address, &lines)).await.unwrap();
    assert_eq!(asked, IDENTIFIERS);
    node.stop().await;
    println!("{IDENTIFIERS} identifiers over gRPC and over DNS");
}

fn read(folder: &Path) -> Option<Vec<Line>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).ok()?.map(|item| item.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let texts = files.into_iter().map(|path| fs::read_to_string(path).unwrap());
    Some(texts.flat_map(|text| text.lines().map(line).collect::<Vec<_>>()).collect())
}

fn line(text: &str) -> Line {
    let json: Json = serde_json::from_str(text).unwrap();
    let text = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    let optional = |json: &Json| if json.is_null() { String::new() } else { text(json) };
    let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    let value = |(number, value): (u32, &Json)| {
        let index = value["index"].as_u64().map_or(number, |index| u32::try_from(index).unwrap());
        (index, text(&value["type"]), text(&value["data"]))
    };
    let edge = |edge: &Json| {
        let part = |name: &str| optional(&edge[name]);
        (part("type"), part("to"), part("quantity"), part("unit"), part("valid_from"))
    };
    Line {
        identifier: text(&json["identifier"]),
        values: (1..).zip(&list("values")).map(value).collect(),
        edges: list("edges").iter().map(edge).collect(),
    }
}

fn create(line: &Line) -> pb::Command {
    let values = line.values.iter().map(|(index, kind, data)| pb::Value {
        index: *index,
        r#type: kind.clone(),
        data: data.clone().into(),
        ..pb::Value::default()
    });
    let edges = line.edges.iter().map(|(kind, to, quantity, unit, valid_from)| {
        assert_eq!(kind, "made-of");
        pb::Edge {
            r#type: pb::EdgeType::MadeOf.into(),
            to: to.clone(),
            quantity: quantity.clone(),
            unit: unit.clone(),
            valid_from: valid_from.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
        }
    });
    let create = pb::Create { values: values.collect(), edges: edges.collect() };
    pb::Command {
        identifier: line.identifier.clone(),
        operation: Some(pb::command::Operation::Create(create)),
        ..pb::Command::default()
    }
}

fn compare(record: &pb::Record, line: &Line) {
    assert_eq!(record.identifier, line.identifier);
    let values: Vec<_> = record
        .values
        .iter()
        .map(|value| (value.index, value.r#type.clone(), String::from_utf8(value.data.to_vec()).unwrap()))
        .collect();
    assert_eq!(values, line.values, "{}", line.identifier);
    let written = |ms: Option<i64>| {
        ms.map_or_else(String::new, |ms| format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap()))
    };
    let mut found: Vec<_> = record
        .edges
        .iter()
        .map(|edge| {
            let kind = if edge.r#type() == pb::EdgeType::MadeOf { "made-of" } else { "?" };
            (kind.to_owned(), edge.to.clone(), edge.quantity.clone(), edge.unit.clone(), written(edge.valid_from))
        })
        .collect();
    let mut expected = line.edges.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{}", line.identifier);
}

/// Asks for the whole record of every identifier over UDP, several queries at a time; returns the number of right
/// answers.
fn ask_all(address: std::net::SocketAddr, lines: &[Line]) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut right = 0;
    for window in lines.chunks(WINDOW) {
        let mut open: HashMap<u16, &Line> = (0..).zip(window).collect();
        let mut buffer = [0; 4_096];
        for _attempt in 0..20 {
            for (&id, line) in &open {
                socket.send(&question(id, &line.identifier)).unwrap();
            }
            while !open.is_empty() {
                let Ok(octets) = socket.recv(&mut buffer) else { break };
                let id = u16::from_be_bytes([buffer[0], buffer[1]]);
                if let Some(line) = open.remove(&id) {
                    match record(&buffer[..octets]) {
                        Some(record) => compare(&record, line),
                        // The vehicle with all its parts is too long for UDP.
                        None => assert!(buffer[2] & 2 != 0 && line.edges.len() > 5, "{}", line.identifier),
                    }
                    right += 1;
                }
            }
            if open.is_empty() {
                break;
            }
        }
        assert!(open.is_empty(), "no answer for {}", open.values().next().unwrap().identifier);
    }
    right
}

/// A query for the TYPE65280 record of an identifier, with EDNS.
fn question(id: u16, identifier: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet[..2].copy_from_slice(&id.to_be_bytes());
    let name = dns_name::name_of(&Identifier::parse(identifier).unwrap(), ZONE_OCTETS);
    for label in name.labels().chain(["id", "test", ""]) {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&kind::RECORD.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    // OPT, 1232 octets.
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    packet
}

/// The record in a response; `None` if the response is truncated.
fn record(response: &[u8]) -> Option<pb::Record> {
    assert_eq!(response[3] & 15, 0, "response code");
    if response[2] & 2 != 0 {
        return None;
    }
    // After the question's name, type and class and the answer's name come type, class, TTL and length.
    let data = after_name(response, after_name(response, 12) + 4) + 8 + 2;
    let octets = usize::from(u16::from_be_bytes([response[data - 2], response[data - 1]]));
    Some(pb::Record::decode(&response[data..data + octets]).unwrap())
}

/// End of a name: after the root, or after a pointer (RFC 1035 section 4.1.4).
fn after_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            0xc0.. => return at + 2,
            octets => at += 1 + usize::from(octets),
        }
    }
}

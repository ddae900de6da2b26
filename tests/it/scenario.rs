//! The same steps over every protocol: text files in `scenarios/`, each played on a new node once for each way of asking.
//!
//! ```text
//! register ID | [INDEX ]TYPE=DATA[ !PERMISSIONS] | EDGE-TYPE ID => version 1
//! update   ID | …                 replaces the values          => already exists, not found, failed precondition, invalid
//! merge    ID | … | -INDEX
//! retire   ID
//! resolve  ID => found | 1 NAME=x | made-of ID    what anyone may read
//!             => not found                        nothing there, and nothing below
//!             => only below                       not registered; DNS has names below it (and says no data)
//!             => retired, denied, invalid
//! shown    ID as ID                               the identifier that the record bears
//! restart
//! ```

use std::{fs, path::Path};

use tonic::Code;
use touchmark::{
    client::dns::{self, Said},
    id::Identifier,
    protocol::grpc::pb::{self, EdgeType, answer::Outcome as Answer},
};

use crate::support::*;

const ZONE: &str = "id.test.";
const EDGE_TYPES: [(&str, EdgeType); 5] = [
    ("made-of", EdgeType::MadeOf),
    ("derived-from", EdgeType::DerivedFrom),
    ("packed-in", EdgeType::PackedIn),
    ("transferred-to", EdgeType::TransferredTo),
    ("replaces", EdgeType::Replaces),
];

/// How a scenario asks its questions. It writes over gRPC in any case.
#[derive(Clone, Copy, Debug)]
enum Way {
    Single,
    Batch,
    Stream,
    Dns,
}

/// What a step says behind its identifier.
#[derive(Default)]
struct Items {
    values: Vec<pb::Value>,
    edges: Vec<pb::Edge>,
    removed: Vec<u32>,
}

fn items<'a>(texts: impl Iterator<Item = &'a str>) -> Items {
    let mut items = Items::default();
    for text in texts {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        if let Some((_, kind)) = EDGE_TYPES.iter().find(|(name, _)| *name == first) {
            items.edges.push(edge(*kind, rest));
        } else if let Some(index) = text.strip_prefix('-') {
            items.removed.push(index.parse().unwrap());
        } else {
            items.values.push(self::value_of(text));
        }
    }
    items
}

/// Reads `[INDEX ]TYPE=DATA[ !PERMISSIONS]`.
fn value_of(text: &str) -> pb::Value {
    let (text, permissions) = match text.rsplit_once(" !") {
        Some((text, bits)) => (text, Some(u32::from_str_radix(bits, 2).unwrap())),
        None => (text, None),
    };
    let (head, data) = text.split_once('=').unwrap();
    let (index, kind) = head.split_once(' ').map_or((0, head), |(index, kind)| (index.parse().unwrap(), kind));
    pb::Value { permissions, ..value(index, kind, data) }
}

fn command(verb: &str, identifier: &str, items: Items) -> pb::Command {
    let Items { values, edges, removed } = items;
    match verb {
        "register" => create_with_edges(identifier, values, edges),
        "update" => replace(identifier, values),
        "merge" => {
            let mode = pb::update::Mode::Merge.into();
            let change = pb::Update { mode, values, remove_indexes: removed, add_edges: edges, ..Default::default() };
            update(identifier, change)
        }
        "retire" => retire(identifier),
        other => panic!("`{other}` is no step"),
    }
}

async fn write(running: &Running, command: pb::Command) -> String {
    match running.apply(command).await {
        Ok(receipt) => format!("version {}", receipt.version),
        Err(status) => match status.code() {
            Code::AlreadyExists => "already exists".into(),
            Code::NotFound => "not found".into(),
            Code::FailedPrecondition => "failed precondition".into(),
            Code::InvalidArgument => "invalid".into(),
            _ => status.to_string(),
        },
    }
}

fn found(record: &pb::Record) -> String {
    let content = content(record).replace(" · ", " | ");
    if content.is_empty() { "found".into() } else { format!("found | {content}") }
}

/// What the node says, in the words of the files; `expected` decides where gRPC makes no difference.
async fn resolve(running: &Running, way: Way, identifier: &str, expected: &str) -> (String, Option<pb::Record>) {
    if let Way::Dns = way {
        let Ok(identifier) = Identifier::parse(identifier) else { return ("invalid".into(), None) };
        return match dns::resolve(&identifier, ZONE, running.node.dns_addr()).await.unwrap() {
            Said::Found(record) => (found(&record), Some(*record)),
            Said::NoSuchName => ("not found".into(), None),
            Said::NoData => ("only below".into(), None),
            Said::Retired => ("retired".into(), None),
            Said::Refused(_) => ("denied".into(), None),
            other => panic!("{other:?}"),
        };
    }
    let asked = [identifier.to_owned()];
    let answer = match way {
        Way::Batch => running.resolve_batch(&asked).await.remove(0),
        Way::Stream => running.resolve_stream(&asked).await.remove(0),
        _ => match running.resolver().resolve(question(identifier)).await {
            Ok(answer) => answer.into_inner().outcome.unwrap(),
            Err(status) if status.code() == Code::InvalidArgument => return ("invalid".into(), None),
            Err(status) => panic!("{status}"),
        },
    };
    let word = match answer {
        Answer::Found(record) => return (found(&record), Some(record)),
        Answer::NotFound(_) if expected == "only below" => expected,
        Answer::NotFound(_) => "not found",
        Answer::Retired(_) => "retired",
        Answer::Denied(_) => "denied",
        Answer::Invalid(_) => "invalid",
        Answer::Delegated(_) => "delegated",
    };
    (word.into(), None)
}

/// Plays a file; gives back the number of its steps.
async fn play(name: &str, text: &str, way: Way) -> usize {
    let directory = directory();
    let mut running = Running::start(directory.path()).await;
    let mut steps = 0;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        steps += 1;
        let place = format!("{name}:{number} over {way:?}");
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "restart" => {
                running.stop().await;
                running = Running::start(directory.path()).await;
            }
            "shown" => {
                let (asked, shown) = rest.split_once(" as ").unwrap();
                let (said, record) = resolve(&running, way, asked, "").await;
                assert_eq!(record.map(|record| record.identifier).as_deref(), Some(shown), "{place}: {said}");
            }
            _ => {
                let (step, expected) = rest.rsplit_once(" => ").unwrap_or_else(|| panic!("{place}: no `=>`"));
                let mut parts = step.split(" | ");
                let identifier = parts.next().unwrap();
                let said = match verb {
                    "resolve" => resolve(&running, way, identifier, expected).await.0,
                    _ => write(&running, command(verb, identifier, items(parts))).await,
                };
                assert_eq!(said, expected, "{place}: {line}");
            }
        }
    }
    running.stop().await;
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_over_every_protocol() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6);
    for file in files {
        let (name, text) = (file.file_name().unwrap().to_string_lossy(), fs::read_to_string(&file).unwrap());
        for way in [Way::Single, Way::Batch, Way::Stream, Way::Dns] {
            assert!(play(&name, &text, way).await > 5, "{name} has few steps");
        }
    }
}

/// The player itself notices what is not as the file says.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expectation_is_noticed() {
    for wrong in [
        "resolve 88.1/a => found",
        "register 88.1/a => version 2",
        "register 88.1/a | NAME=x => version 1\nresolve 88.1/a => found | 1 NAME=y",
        "register 88.1/a => version 1\nshown 88.1/a as 88.1/A",
        "register 1.2.3 => version 1\nresolve 1.2 => not found",
    ] {
        let played = tokio::spawn(async move { play("wrong", wrong, Way::Dns).await }).await;
        assert!(played.is_err(), "{wrong}");
    }
}

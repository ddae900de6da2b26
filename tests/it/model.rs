//! Random commands against a model in a `BTreeMap`: after every phase, and after restarts and crashes, the node's
//! answers are those of the model, over every protocol.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use tonic::Code;
use touchmark::{
    id::Identifier,
    protocol::grpc::pb::{self, EdgeType, answer::Outcome as Answer},
};

use crate::support::*;

/// Duration of the run.
const TIME_MAX: Duration = Duration::from_secs(12);
/// Minimum number of phases, however long they take.
const PHASES_MIN: usize = 6;
const COMMANDS_PER_PHASE: usize = 300;

/// All spellings of one identifier.
pub struct Subject {
    pub spellings: Vec<String>,
}

/// About forty identifiers of all schemes, some of them below others.
pub fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    let mut add = |spellings: &[String]| subjects.push(Subject { spellings: spellings.to_vec() });
    for number in 0..10 {
        let (label, suffix) = (number % 3, ["Bolt", "bolt/1", "_", "É", "a b"][number % 5]);
        let handle = format!("88.118{}/{suffix}{number}", ".8".repeat(label));
        add(&[handle.clone(), format!("hdl:{}", handle.to_ascii_uppercase()), handle.to_ascii_lowercase()]);
        let oid = format!("1.3.6.1.4{}", format!(".{}", number + 1).repeat(label + 1));
        add(&[format!("urn:oid:{oid}"), oid.clone(), format!("/{}", oid.replace('.', "/"))]);
        let serial = format!("A{number}");
        add(&[
            format!("https://id.gs1.org/01/09506000134352/21/{serial}"),
            format!("(01)09506000134352(21){serial}"),
            format!("https://example.com/x/01/09506000134352/21/{serial}?17=251231"),
        ]);
        add(&[format!("https://maker.example/{}", "p/".repeat(number * 9))]);
    }
    add(&["(01)09506000134352".into(), "(01)9506000134352".into()]);
    subjects
}

/// State of a record in the model.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    identifier: String,
    version: u64,
    retired: bool,
    values: BTreeMap<u32, (String, Vec<u8>, u32, u32)>,
    edges: BTreeMap<(i32, Identifier), (String, String)>,
}

#[derive(Default)]
struct Model {
    records: BTreeMap<Identifier, Kept>,
    entries: u64,
}

impl Kept {
    fn put(&mut self, values: &[pb::Value]) {
        for value in values {
            let (ttl, permissions) = (value.ttl.unwrap_or(3_600), value.permissions.unwrap_or(0b1110));
            self.values.insert(value.index, (value.r#type.clone(), value.data.to_vec(), ttl, permissions));
        }
    }

    fn add(&mut self, edges: &[pb::Edge]) {
        for edge in edges {
            let to = Identifier::parse(&edge.to).unwrap();
            // The spelling of the last edge counts.
            self.edges.remove(&(edge.r#type, to.clone()));
            self.edges.insert((edge.r#type, to), (edge.quantity.clone(), edge.unit.clone()));
        }
    }

    fn check(&self, record: &pb::Record, private: bool) {
        assert_eq!((&record.identifier, record.version), (&self.identifier, self.version));
        let shown = |(_, value): &(&u32, &(String, Vec<u8>, u32, u32))| private || value.3 & 0b0010 != 0;
        let expected: Vec<_> = self.values.iter().filter(shown).map(|(&index, value)| (index, value.clone())).collect();
        let found = record.values.iter().map(|value| {
            let pb::Value { index, r#type, data, ttl, permissions, .. } = value;
            (*index, (r#type.clone(), data.to_vec(), ttl.unwrap(), permissions.unwrap()))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{}", self.identifier);
        let found = record.edges.iter().map(|edge| {
            ((edge.r#type, Identifier::parse(&edge.to).unwrap()), (edge.quantity.clone(), edge.unit.clone()))
        });
        let expected: Vec<_> = self.edges.iter().map(|(edge, how)| (edge.clone(), how.clone())).collect();
        assert_eq!(found.collect::<Vec<_>>(), expected, "{}", self.identifier);
    }
}

impl Model {
    /// Expected result of a command: the version that it makes, or a status.
    fn apply(&mut self, command: &pb::Command) -> Result<u64, Code> {
        let identifier = Identifier::parse(&command.identifier).unwrap();
        let operation = command.operation.clone().unwrap();
        let found = self.records.get(&identifier);
        if let pb::command::Operation::Create(create) = operation {
            match found {
                Some(kept) if kept.retired => return Err(Code::FailedPrecondition),
                Some(_) => return Err(Code::AlreadyExists),
                None if command.expected_version.unwrap_or(0) != 0 => return Err(Code::FailedPrecondition),
                None => {}
            }
            let mut kept = Kept {
                identifier: identifier.to_string(),
                version: 1,
                retired: false,
                values: BTreeMap::new(),
                edges: BTreeMap::new(),
            };
            kept.put(&create.values);
            kept.add(&create.edges);
            self.records.insert(identifier, kept);
            self.entries += 1;
            return Ok(1);
        }
        let Some(kept) = self.records.get_mut(&identifier) else { return Err(Code::NotFound) };
        if kept.retired || command.expected_version.is_some_and(|expected| expected != kept.version) {
            return Err(Code::FailedPrecondition);
        }
        match operation {
            pb::command::Operation::Update(update) => {
                match update.mode() {
                    pb::update::Mode::Replace => kept.values.clear(),
                    _ if update.remove_indexes.iter().any(|index| !kept.values.contains_key(index)) => {
                        return Err(Code::InvalidArgument);
                    }
                    _ => kept.values.retain(|index, _| !update.remove_indexes.contains(index)),
                }
                kept.put(&update.values);
                kept.add(&update.add_edges);
                for edge in update.remove_edges {
                    kept.edges.remove(&(edge.r#type, Identifier::parse(&edge.to).unwrap()));
                }
            }
            _ => {
                kept.retired = true;
                kept.values.clear();
                kept.edges.clear();
            }
        }
        kept.version += 1;
        self.entries += 1;
        Ok(kept.version)
    }

    fn check(&self, asked: &str, answer: &Answer) {
        let identifier = Identifier::parse(asked).unwrap();
        match (self.records.get(&identifier), answer) {
            (None, Answer::NotFound(not_found)) => assert_eq!(not_found.identifier, asked),
            (Some(kept), Answer::Retired(retired)) if kept.retired => {
                assert_eq!((&retired.identifier, retired.version), (&kept.identifier, kept.version));
            }
            (Some(kept), Answer::Denied(denied)) if !kept.retired && kept.hidden() => {
                assert_eq!(denied.identifier, asked);
            }
            (Some(kept), Answer::Found(record)) if !kept.retired && !kept.hidden() => kept.check(record, false),
            (expected, found) => panic!("{asked}: {expected:?}, found {found:?}"),
        }
    }
}

impl Kept {
    /// True if the record has values, none of which is public.
    fn hidden(&self) -> bool {
        !self.values.is_empty() && self.values.values().all(|value| value.3 & 0b0010 == 0)
    }
}

fn random_values(rng: &mut StdRng) -> Vec<pb::Value> {
    let mut indexes: Vec<u32> = (1..=6).filter(|_| rng.random_bool(0.4)).collect();
    if rng.random_bool(0.05) {
        indexes.push(u32::MAX);
    }
    let value = |index| pb::Value {
        ttl: rng.random_bool(0.3).then(|| rng.random_range(0..=172_800)),
        permissions: rng.random_bool(0.3).then(|| rng.random_range(0..16)),
        ..value(
            index,
            ["NAME", "URL", "SVC:epcis"][rng.random_range(0..3)],
            vec![b'a' ^ index as u8; rng.random_range(0..90)],
        )
    };
    indexes.into_iter().map(value).collect()
}

pub fn random_edges(rng: &mut StdRng, subjects: &[Subject], not: usize) -> Vec<pb::Edge> {
    let mut edges: BTreeMap<(i32, usize), pb::Edge> = BTreeMap::new();
    for _ in 0..rng.random_range(0..3) {
        let (kind, to) = (rng.random_range(1..=5), rng.random_range(0..subjects.len()));
        if to != not {
            let kind = EdgeType::try_from(kind).unwrap();
            let quantity = if rng.random_bool(0.5) { rng.random_range(1..9).to_string() } else { String::new() };
            let unit = if quantity.is_empty() { String::new() } else { "unit:piece".into() };
            edges.insert((kind.into(), to), pb::Edge { quantity, unit, ..edge(kind, spelling(rng, &subjects[to])) });
        }
    }
    edges.into_values().collect()
}

pub fn spelling<'a>(rng: &mut StdRng, subject: &'a Subject) -> &'a str {
    &subject.spellings[rng.random_range(0..subject.spellings.len())]
}

fn random_command(rng: &mut StdRng, subjects: &[Subject]) -> pb::Command {
    let number = rng.random_range(0..subjects.len());
    let identifier = spelling(rng, &subjects[number]).to_owned();
    let values = random_values(rng);
    let command = match rng.random_range(0..100) {
        0..20 => create_with_edges(&identifier, values, random_edges(rng, subjects, number)),
        20..45 => replace(&identifier, values),
        45..98 => {
            let add_edges = random_edges(rng, subjects, number);
            let taken = |edge: &pb::Edge| {
                let subject = |edge: &pb::Edge| (edge.r#type, Identifier::parse(&edge.to).unwrap());
                add_edges.iter().any(|added| subject(added) == subject(edge))
            };
            let remove_edges = random_edges(rng, subjects, number).into_iter().filter(|edge| !taken(edge)).collect();
            let remove_indexes = (1..=6).filter(|_| rng.random_bool(0.08)).collect();
            let mode = pb::update::Mode::Merge.into();
            update(&identifier, pb::Update { mode, values, remove_indexes, add_edges, remove_edges })
        }
        _ => retire(&identifier),
    };
    if rng.random_bool(0.1) { expecting(rng.random_range(0..5), command) } else { command }
}

/// Sends commands one by one, as a batch, or as a stream, and compares each result with the model.
async fn play(running: &Running, model: &mut Model, commands: Vec<pb::Command>, way: u32) {
    let outcomes = running.send(commands.clone(), way).await;
    for (command, outcome) in commands.iter().zip(&outcomes) {
        let before = model.entries;
        match (model.apply(command), outcome) {
            (Ok(version), Outcome::Receipt(receipt)) => {
                assert_eq!((receipt.version, receipt.ledger_index), (version, before), "{command:?}");
            }
            (Err(code), Outcome::Refusal(refusal)) => {
                assert_eq!(Code::from_i32(refusal.code), code, "{command:?}: {refusal:?}");
            }
            (expected, outcome) => panic!("{command:?}: {expected:?}, found {outcome:?}"),
        }
    }
}

/// Asks for every identifier in every way, and compares.
async fn compare(running: &Running, model: &Model, rng: &mut StdRng, subjects: &[Subject]) {
    let mut asked: Vec<String> = subjects.iter().map(|subject| spelling(rng, subject).to_owned()).collect();
    asked.extend((0..10).map(|number| format!("88.118/never-{number}")));
    for identifier in &asked {
        model.check(identifier, &running.resolve(identifier).await);
    }
    for answers in [running.resolve_batch(&asked).await, running.resolve_stream(&asked).await] {
        assert_eq!(answers.len(), asked.len());
        asked.iter().zip(&answers).for_each(|(asked, answer)| model.check(asked, answer));
    }
    let exported = running.export("").await;
    assert_eq!(exported.len(), model.records.len());
    for (record, kept) in exported.iter().zip(model.records.values()) {
        assert_eq!(record.status() == pb::Status::Retired, kept.retired);
        kept.check(record, true);
    }
    let schemes = ["handle", "oid", "gs1", "uri"];
    let mut parts = Vec::new();
    for scheme in schemes {
        parts.extend(running.export(scheme).await);
    }
    assert_eq!(parts, exported);
    assert_eq!(running.entries(), model.entries);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let (item, target) = item.map(|item| (item.path(), to.join(item.file_name()))).unwrap();
        if item.is_dir() {
            copy(&item, &target);
        } else {
            fs::copy(&item, &target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_says_what_the_model_says() {
    let seed = std::env::var("TOUCHMARK_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("seed {seed} (TOUCHMARK_SEED)");
    let mut rng = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let (mut phases, mut refused) = (0, 0);
    while phases < PHASES_MIN || began.elapsed() < TIME_MAX {
        // A new ledger now and then: the more identifiers are retired, the fewer commands succeed.
        let subjects = subjects();
        let mut model = Model::default();
        let mut directory = directory();
        let small = |data: &Path| {
            let mut config = config(data);
            config.index.overlay_entries_max = 32;
            config.cache.answers_bytes_max = (1 << 20).into();
            config
        };
        let mut running = Running::with(&small(directory.path())).await.unwrap();
        for _ in 0..PHASES_MIN {
            let mut left = COMMANDS_PER_PHASE;
            while left > 0 {
                let count = rng.random_range(1..60).min(left);
                left -= count;
                let commands: Vec<_> = (0..count).map(|_| random_command(&mut rng, &subjects)).collect();
                let before = model.entries;
                play(&running, &mut model, commands, rng.random_range(0..3)).await;
                refused += count as u64 - (model.entries - before);
                let number = rng.random_range(0..subjects.len());
                let asked = spelling(&mut rng, &subjects[number]).to_owned();
                model.check(&asked, &running.resolve(&asked).await);
            }
            compare(&running, &model, &mut rng, &subjects).await;
            running = match rng.random_range(0..4) {
                0 => {
                    running.stop().await;
                    Running::with(&small(directory.path())).await.unwrap()
                }
                1 => running.abandon(&small(directory.path())).await,
                2 => {
                    // A killed process leaves the files as they are now.
                    let crashed = self::directory();
                    copy(directory.path(), crashed.path());
                    running.stop().await;
                    directory = crashed;
                    Running::with(&small(directory.path())).await.unwrap()
                }
                _ => running,
            };
            compare(&running, &model, &mut rng, &subjects).await;
            phases += 1;
        }
        running.stop().await;
        let report = touchmark::app::fsck(directory.path(), &mut |_| {}).unwrap();
        assert_eq!((report.entries, report.identifiers), (model.entries, model.records.len() as u64));
    }
    println!("{phases} phases of {COMMANDS_PER_PHASE} commands, {refused} of them refused");
}

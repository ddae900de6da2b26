//! Random commands against a plain model of all entries. After every round, and after restarts, the node's answers to
//! every question of an auditor are compared with the model: latest, as-of, histories, absence, complete lists, traces,
//! the feed, proofs of entries and of growth. Erased values are in no file, and earlier proofs stay valid.
//!
//! `TOUCHMARK_SEED` repeats a run, `TOUCHMARK_ROUNDS` makes it longer.

mod commands;
mod ledger;
mod proofs;
mod questions;

use std::path::Path;

use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use touchmark::{
    app::{self, Content},
    config::Config,
    protocol::grpc::pb,
};

use self::{
    commands::{Sent, random_command},
    ledger::{Expected, Model, tokens},
    proofs::Auditor,
};
use crate::{
    erase,
    model::{Subject, spelling, subjects},
    support::*,
};

const ROUNDS: u64 = 4;
const COMMANDS_PER_ROUND: usize = 240;
/// Number of identifiers added in each round.
const NEWCOMERS: usize = 25;
/// Number of identifiers, and of entries, that are asked for in each round.
const SAMPLE: usize = 14;

/// A configuration with small caches, so that answers come from the disk.
fn small(data: &Path) -> Config {
    let mut config = config(data);
    config.index.overlay_entries_max = 64;
    config.cache.answers_bytes_max = (1 << 20).into();
    config
}

/// Sends commands, and compares each result with the model.
async fn play(running: &Running, model: &mut Model, auditor: &mut Auditor, sent: Vec<Sent>, way: u32) {
    let outcomes = running.send(sent.iter().map(|sent| sent.command.clone()).collect(), way).await;
    assert_eq!(outcomes.len(), sent.len());
    let mut checkpoints = Vec::new();
    for (sent, outcome) in sent.iter().zip(&outcomes) {
        let (command, expected) = (&sent.command, sent.expected(model));
        let receipt = match (expected, outcome) {
            (Expected::New, Outcome::Receipt(receipt)) => {
                assert_eq!((receipt.ledger_index, receipt.replayed), (model.entries.len() as u64, false));
                assert!(model.entries.last().is_none_or(|last| last.receipt.time <= receipt.time));
                model.append(command, receipt);
                let entry = model.entries.last().unwrap();
                let version = model.versions(&entry.identifier, model.entries.len()).len();
                assert_eq!((&receipt.identifier, receipt.version), (&entry.identifier.to_string(), version as u64));
                receipt
            }
            (Expected::Replayed(index), Outcome::Receipt(receipt)) => {
                let first = &model.entries[index as usize].receipt;
                let checkpoint = receipt.checkpoint.clone();
                assert_eq!(*receipt, pb::Receipt { checkpoint, replayed: true, ..first.clone() }, "{command:?}");
                receipt
            }
            (Expected::Refused(code), Outcome::Refusal(refusal)) => {
                assert_eq!(tonic::Code::from_i32(refusal.code), code, "{command:?}: {refusal:?}");
                let existing = if way < 2 { model.existing(command, code) } else { None };
                assert_eq!(refusal.existing, existing, "{command:?}");
                continue;
            }
            (expected, outcome) => panic!("{command:?}: {expected:?}, found {outcome:?}"),
        };
        if !receipt.checkpoint.is_empty() {
            checkpoints.push(receipt.checkpoint.clone());
        }
    }
    // A checkpoint may cover more than the command of its receipt.
    checkpoints.iter().for_each(|checkpoint| auditor.note(model, checkpoint));
}

/// Identifiers of one round: the more identifiers are retired or erased, the fewer commands succeed.
fn newcomers(round: u64) -> impl Iterator<Item = Subject> {
    (0..NEWCOMERS).map(move |number| {
        let handle = format!("88.118.9/Lot {round}/{number}");
        Subject { spellings: vec![handle.to_ascii_uppercase(), format!("hdl:{handle}"), handle] }
    })
}

/// A sample of identifiers in some spelling, with some that were never registered.
fn sample(rng: &mut StdRng, subjects: &[Subject]) -> Vec<String> {
    let some = (0..SAMPLE).map(|_| rng.random_range(0..subjects.len())).collect::<Vec<_>>();
    let mut asked: Vec<String> = some.into_iter().map(|subject| spelling(rng, &subjects[subject]).to_owned()).collect();
    let number = rng.random_range(0..1_000);
    asked.extend([format!("88.118/never-{number}"), format!("urn:oid:2.999.{number}")]);
    asked
}

/// Asks every question, and compares.
async fn compare(running: &Running, model: &Model, auditor: &mut Auditor, rng: &mut StdRng, subjects: &[Subject]) {
    let asked = sample(rng, subjects);
    assert_eq!(running.entries(), model.entries.len() as u64);
    questions::compare_answers(running, model, rng, &asked).await;
    questions::compare_histories(running, model, rng, &asked).await;
    questions::compare_feed(running, model, rng).await;
    for asked in &asked {
        for _ in 0..3 {
            questions::compare_trace(running, model, rng, asked).await;
        }
        auditor.compare_newest(running, model, rng, asked).await;
        auditor.compare_entry(running, model, rng).await;
        auditor.compare_lists(running, model, rng, asked).await;
    }
    auditor.compare_growth(running, rng).await;
}

/// Checks that the files of a directory contain the payloads that were not erased, and no others.
fn compare_files(data: &Path, model: &Model) {
    let (found, expected) = (tokens(&erase::everything(data)), model.tokens());
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&String>::new(), "erased, and still there");
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "lost");
}

/// Checks a directory with the commands that need no node.
fn check_directory(data: &Path, model: &Model, auditor: &Auditor) {
    let (entries, identifiers) = (model.entries.len() as u64, model.identifiers().len() as u64);
    let report = app::fsck(data, &mut |_| {}).unwrap();
    assert_eq!((report.entries, report.identifiers, report.torn_bytes), (entries, identifiers, 0));
    let report = app::audit_directory(data, Some(&auditor.verifier), &mut |_| {}).unwrap();
    assert_eq!((report.entries, report.content), (entries, Content::Ours { identifiers }));
    assert_eq!(report.root, model.root(entries));
    assert!(report.index.is_some_and(|index| index.covers <= entries && index.leaves > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_finds_what_the_model_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("TOUCHMARK_SEED").unwrap_or_else(rand::random);
    println!("seed {seed} (TOUCHMARK_SEED)");
    let mut rng = StdRng::seed_from_u64(seed);
    let rng = &mut rng;
    let (directory, mut subjects) = (directory(), subjects());
    let (data, mut model) = (directory.path(), Model::default());
    let mut running = Running::with(&small(data)).await.unwrap();
    let mut auditor = Auditor::new(&running);
    for round in 0..number("TOUCHMARK_ROUNDS").unwrap_or(ROUNDS) {
        subjects.extend(newcomers(round));
        let mut left = COMMANDS_PER_ROUND;
        while left > 0 {
            let count = rng.random_range(1..50).min(left);
            left -= count;
            let sent = (0..count).map(|_| random_command(rng, &subjects, &model)).collect();
            play(&running, &mut model, &mut auditor, sent, rng.random_range(0..3)).await;
        }
        compare(&running, &model, &mut auditor, rng, &subjects).await;
        compare_files(data, &model);
        if rng.random_bool(0.3) {
            running = running.abandon(&small(data)).await;
        }
    }
    running.stop().await;
    check_directory(data, &model, &auditor);
    let running = Running::with(&small(data)).await.unwrap();
    compare(&running, &model, &mut auditor, rng, &subjects).await;
    let running = running.abandon(&small(data)).await;
    compare(&running, &model, &mut auditor, rng, &subjects).await;
    running.stop().await;
    app::rebuild(data, &mut |_| {}).unwrap();
    let running = Running::with(&small(data)).await.unwrap();
    compare(&running, &model, &mut auditor, rng, &subjects).await;
    running.stop().await;
    check_directory(data, &model, &auditor);
    compare_files(data, &model);
    let (entries, identifiers, files) = (model.entries.len(), model.identifiers().len(), auditor.compare_files());
    println!("{entries} entries about {identifiers} identifiers, {files} proofs kept");
}

//! Random commands: valid, too late, repeated, or always refused.

use rand::{Rng as _, RngExt as _, rngs::StdRng};
use tonic::Code;
use touchmark::protocol::grpc::pb::{self, command::Operation};

use super::ledger::{Expected, Model, TOKEN, TOKEN_DIGITS, parse};
use crate::{
    model::{Subject, random_edges, spelling},
    support::*,
};

/// A command, with the expected refusal if it does not depend on the state.
pub struct Sent {
    pub command: pb::Command,
    pub refused: Option<Code>,
}

impl Sent {
    pub fn expected(&self, model: &Model) -> Expected {
        self.refused.map_or_else(|| model.decide(&self.command), Expected::Refused)
    }
}

fn payload(rng: &mut StdRng) -> Vec<u8> {
    if rng.random_bool(0.03) {
        return Vec::new();
    }
    let filler = if rng.random_bool(0.02) { rng.random_range(0..6_000) } else { rng.random_range(0..80) };
    format!("{TOKEN}{:0width$x}{}", rng.next_u64(), "~".repeat(filler), width = TOKEN_DIGITS).into_bytes()
}

fn random_values(rng: &mut StdRng) -> Vec<pb::Value> {
    let mut indexes: Vec<u32> = (1..=6).filter(|_| rng.random_bool(0.35)).collect();
    if rng.random_bool(0.05) {
        indexes.push(u32::MAX);
    }
    let value = |index| pb::Value {
        ttl: rng.random_bool(0.3).then(|| rng.random_range(0..=172_800)),
        permissions: rng.random_bool(0.4).then(|| rng.random_range(0..16)),
        ..value(index, ["NAME", "URL", "SVC:epcis"][rng.random_range(0..3)], payload(rng))
    };
    indexes.into_iter().map(value).collect()
}

/// A time in seconds or milliseconds, before or after 1970, or none.
fn random_time(rng: &mut StdRng) -> Option<i64> {
    match rng.random_range(0..6) {
        0 => Some(1_700_000_000_000 + 1_000 * rng.random_range(0..1_000)),
        1 => Some(rng.random_range(-9_000_000_000..9_000_000_000)),
        _ => None,
    }
}

fn edges(rng: &mut StdRng, subjects: &[Subject], not: usize) -> Vec<pb::Edge> {
    let edges = random_edges(rng, subjects, not);
    edges.into_iter().map(|edge| pb::Edge { valid_from: random_time(rng), ..edge }).collect()
}

/// One to four flows with a quantity, each of another identifier.
fn flows(rng: &mut StdRng, subjects: &[Subject], not: usize) -> Vec<pb::Flow> {
    let mut flows = Vec::new();
    let (start, step) = (rng.random_range(1..subjects.len()), rng.random_range(1..5));
    for number in 0..rng.random_range(1..5_usize) {
        let subject = (not + start + number * step) % subjects.len();
        if subject != not {
            let (identifier, quantity) = (spelling(rng, &subjects[subject]).to_owned(), rng.random_range(1..9));
            let (quantity, unit, valid_from) = (format!("{quantity}.50"), "kg".into(), random_time(rng));
            flows.push(pb::Flow { identifier, quantity, unit, valid_from });
        }
    }
    if flows.is_empty() { self::flows(rng, subjects, not) } else { flows }
}

/// An event that balances, or declares no balance.
fn event(rng: &mut StdRng, subjects: &[Subject], number: usize) -> pb::Event {
    let (inputs, mut outputs) = (flows(rng, subjects, number), flows(rng, subjects, number));
    if rng.random_bool(0.5) {
        let pieces = |flow: &mut pb::Flow| (flow.quantity, flow.unit) = ("3".into(), String::new());
        outputs.iter_mut().for_each(pieces);
        return pb::Event { values: random_values(rng), inputs, outputs, balance: String::new() };
    }
    // The first output is the sum of all inputs; the other outputs have other units.
    let tenths = |flow: &pb::Flow| flow.quantity.replace(".50", "5").parse::<u64>().unwrap();
    let sum: u64 = inputs.iter().map(tenths).sum();
    outputs.iter_mut().skip(1).for_each(|flow| flow.unit = "kWh".into());
    outputs[0].quantity = format!("{}.{}", sum / 10, sum % 10);
    pb::Event { values: random_values(rng), inputs, outputs, balance: "kg".into() }
}

fn change(rng: &mut StdRng, subjects: &[Subject], number: usize) -> pb::Update {
    let add_edges = edges(rng, subjects, number);
    let subject = |edge: &pb::Edge| (edge.r#type, parse(&edge.to));
    let taken = |edge: &pb::Edge| add_edges.iter().any(|added| subject(added) == subject(edge));
    let remove_edges = edges(rng, subjects, number).into_iter().filter(|edge| !taken(edge)).collect();
    let is_merge = rng.random_bool(0.6);
    let remove_indexes = if is_merge { (1..=6).filter(|_| rng.random_bool(0.06)).collect() } else { Vec::new() };
    let mode = if is_merge { pb::update::Mode::Merge } else { pb::update::Mode::Replace };
    let values = if rng.random_bool(0.7) { random_values(rng) } else { Vec::new() };
    pb::Update { mode: mode.into(), values, remove_indexes, add_edges, remove_edges }
}

/// A command that is refused in every state.
fn ill(rng: &mut StdRng, subjects: &[Subject], number: usize) -> pb::Command {
    let identifier = spelling(rng, &subjects[number]).to_owned();
    let to_itself = edge(pb::EdgeType::MadeOf, spelling(rng, &subjects[number]));
    match rng.random_range(0..5) {
        0 => create_with_edges(&identifier, random_values(rng), vec![to_itself]),
        1 => {
            let mut event = event(rng, subjects, number);
            (event.balance, event.outputs[0].quantity) = ("kg".into(), "0.001".into());
            event.outputs[0].unit = "kg".into();
            pb::Command { operation: Some(Operation::Event(event)), ..retire(&identifier) }
        }
        2 => erase(&identifier, ""),
        3 => erase_value(&identifier, 0, "index 0"),
        _ => create(&identifier, vec![pb::Value { ttl: Some(172_801), ..value(1, "NAME", payload(rng)) }]),
    }
}

/// An earlier command again: unchanged, in another spelling, with other content, or as a new request.
fn again(rng: &mut StdRng, subjects: &[Subject], model: &Model) -> Option<pb::Command> {
    let (_, first) = model.requests.values().nth(rng.random_range(0..model.requests.len().max(1)))?;
    let identifier = parse(&first.identifier);
    let same = |subject: &&Subject| parse(&subject.spellings[0]) == identifier;
    let spelled = spelling(rng, subjects.iter().find(same)?).to_owned();
    let operation = match (rng.random_range(0..4), &first.operation) {
        (0, Some(Operation::Retire(_))) => Some(Operation::Erase(pb::Erase { index: None, reason: "other".into() })),
        (0, _) => Some(Operation::Retire(pb::Retire {})),
        (_, operation) => operation.clone(),
    };
    let mut command = pb::Command { identifier: spelled, operation, ..first.clone() };
    if rng.random_bool(0.3) {
        command.request_id.clear();
    }
    Some(command)
}

/// The next command.
pub fn random_command(rng: &mut StdRng, subjects: &[Subject], model: &Model) -> Sent {
    if rng.random_bool(0.08)
        && let Some(command) = again(rng, subjects, model)
    {
        return Sent { command, refused: None };
    }
    let number = rng.random_range(0..subjects.len());
    if rng.random_bool(0.04) {
        return Sent { command: ill(rng, subjects, number), refused: Some(Code::InvalidArgument) };
    }
    let identifier = spelling(rng, &subjects[number]).to_owned();
    let versions = model.versions(&parse(&identifier), model.entries.len());
    // Mostly commands that can succeed.
    let draw = match (rng.random_bool(0.85), versions.is_empty()) {
        (true, true) => rng.random_range(0..260),
        (true, false) => rng.random_range(260..1_000),
        (false, _) => rng.random_range(0..1_000),
    };
    let operation = match draw {
        0..200 => create_with_edges(&identifier, random_values(rng), edges(rng, subjects, number)).operation,
        200..260 => Some(Operation::Event(event(rng, subjects, number))),
        260..890 => Some(Operation::Update(change(rng, subjects, number))),
        890..905 => Some(Operation::Retire(pb::Retire {})),
        905..990 => erase_value(&identifier, rng.random_range(1..=6), "asked for, 100 %").operation,
        _ => erase(&identifier, "all of it").operation,
    };
    let request_id = match rng.random_bool(0.25) {
        true => (0..rng.random_range(9..=64)).map(|_| rng.random()).collect::<Vec<u8>>(),
        false => Vec::new(),
    };
    let expected_version = match rng.random_range(0..20) {
        0 => Some(rng.random_range(0..9)),
        1..4 => Some(versions.len() as u64),
        _ => None,
    };
    let command = pb::Command { identifier, operation, expected_version, request_id: request_id.into() };
    Sent { command, refused: None }
}

//! Erasures: each has a batch of its own, and its receipt goes out after everything was overwritten.
//!
//! ```text
//! decide -> redactions synced -> entry committed -> index, caches -> segments overwritten and synced -> receipt
//! ```
//!
//! The sequencer is the ledger's one writer, so the overwriting happens here, on its thread: other commands wait meanwhile
//! (each frame that holds a version is read and checked as a whole, once an erasure). What fails behind the commit leaves an
//! erasure that counts; the ledger then takes nothing more, and the next start finishes it (`ledger::append::erase`).

use std::time::Instant;

use super::{Answerer, Decided, Refusal, Round, Sequencer, Staged, settle, unavailable};
use crate::{
    entry::{Draft, EntryKind, ErasedValues, Erasure, Statement, StoredEntry},
    id::Identifier,
    ledger::{EdgesAfter, Position},
    record::{Status, Values},
    registry::{Command, Job, Operation, Prepared, Receipt, stats::Stats},
};

/// What comes of an erase command.
enum Plan {
    /// It was carried out before.
    Replayed(Decided),
    /// It goes on from the newest entry.
    Erase { newest: Position, values: ErasedValues, draft: Draft, edges: EdgesAfter },
}

impl Sequencer {
    /// The commands of a job that erases, in their order: what is erased has to be in the ledger before.
    pub(super) fn erasing_round(&mut self, job: Job, answerer: &Answerer) {
        let Job { commands, reply, _room } = job;
        let (mut results, mut run) = (Vec::with_capacity(commands.len()), Vec::new());
        for command in commands {
            match command {
                Ok(prepared) if prepared.command.erases() => {
                    results.extend(self.run_before(&mut run, &answerer.stats));
                    results.push(self.erase(prepared, &answerer.stats));
                }
                command => run.push(command),
            }
        }
        results.extend(self.run_before(&mut run, &answerer.stats));
        drop(_room);
        answerer.send(vec![(reply, results)]);
    }

    /// The commands that stand before an erasure, as a batch.
    fn run_before(&mut self, run: &mut Vec<Result<Prepared, Refusal>>, stats: &Stats) -> Vec<Result<Receipt, Refusal>> {
        match run.is_empty() {
            true => Vec::new(),
            false => self.batch(vec![std::mem::take(run)], stats).into_iter().flatten().collect(),
        }
    }

    fn erase(&mut self, prepared: Prepared, stats: &Stats) -> Result<Receipt, Refusal> {
        let now_ms = (self.clock)();
        self.store.ready().map_err(|error| Refusal::Unavailable { reason: error.to_string() })?;
        let mut staged = Staged::default();
        let batch = self.appender.begin(now_ms).map_err(|error| unavailable(&error))?;
        let (records, prefixes, entropy) = (&self.records, &*self.prefixes, &self.entropy);
        let round = Round { batch, staged: &mut staged, records, prefixes, entropy };
        let (newest, values, draft, edges) = match round.plan(&prepared)? {
            Plan::Replayed(decided) => {
                drop(round);
                return settle(Ok(decided), &Ok(self.records.ledger().checkpoint().note));
            }
            Plan::Erase { newest, values, draft, edges } => (newest, values, draft, edges),
        };
        drop(round);
        let before = self.records.entry(newest);
        let before = before.map_err(|error| Refusal::Unavailable { reason: error.to_string() })?;
        let entry = before.decode().map_err(|error| unavailable(&error))?;
        let mut erasing = self.appender.begin_erasing(now_ms, values).map_err(|error| unavailable(&error))?;
        let redacted = erasing.redact_all(newest).map_err(|error| unavailable(&error));
        let found = redacted.and_then(|()| match (values, erasing.redacted()) {
            (ErasedValues::One(index), 0) => Err(no_such_value(&prepared.command, index)),
            _ => Ok(()),
        });
        if let Err(refusal) = found {
            erasing.abandon().map_err(|error| unavailable(&error))?;
            return Err(refusal);
        }
        let began = Instant::now();
        let committed = erasing.commit(&draft, entry.version + 1, (entry.index, newest), edges);
        let (pushed, committed) = committed.map_err(|error| unavailable(&error))?;
        stats.committed(1, began.elapsed());
        let decided = staged.note(prepared, pushed, Some((newest, &entry)));
        let outcome = self.publish(staged, committed);
        self.appender.finish_erasing().map_err(|error| Refusal::Unavailable {
            reason: format!(
                "the ledger took the erasure, but not everything could be overwritten; the next start of the node goes on with \
                 it: {error}"
            ),
        })?;
        settle(Ok(decided), &outcome)
    }
}

impl Round<'_> {
    /// Decides an erase command as far as the newest entry tells.
    fn plan(&self, prepared: &Prepared) -> Result<Plan, Refusal> {
        let command = &prepared.command;
        if let Some(request) = &prepared.request
            && let Some(position) = self.by_request(request)?
        {
            return self.replay(command, position).map(Plan::Replayed);
        }
        let identifier = || command.identifier.to_string();
        let newest = self.latest(command.identifier.key())?;
        let newest = newest.ok_or_else(|| Refusal::NotFound { identifier: identifier() })?;
        let bytes = self.entry(newest)?;
        let entry = bytes.decode().map_err(|error| unavailable(&error))?;
        if entry.status() == Status::Erased {
            return Err(Refusal::Erased { identifier: identifier(), ledger_index: entry.index });
        }
        if let Some(expected) = command.expected_version.filter(|&expected| expected != entry.version) {
            return Err(Refusal::VersionMismatch { identifier: identifier(), expected, found: entry.version });
        }
        let Operation::Erase { values, .. } = command.operation else { return Err(Refusal::TryLater) };
        let edges = if entry.has_edges { EdgesAfter::Some } else { EdgesAfter::None };
        Ok(Plan::Erase { newest, values, draft: self.erase_draft(prepared, &entry)?, edges })
    }

    /// The entry that says what was erased, with the values that stay.
    fn erase_draft(&self, prepared: &Prepared, entry: &StoredEntry<'_>) -> Result<Draft, Refusal> {
        let command = &prepared.command;
        let invalid = |reason: String| Refusal::Invalid { identifier: command.identifier.to_string(), reason };
        let Operation::Erase { values: gone, reason } = &command.operation else { return Err(Refusal::TryLater) };
        let erasure = match gone {
            ErasedValues::All => Some(Erasure::of_record(reason.clone())),
            ErasedValues::One(index) => Erasure::of_value(*index, entry.status(), reason.clone()),
        };
        let erasure = erasure.ok_or(Refusal::TryLater)?;
        let damaged = |_| Refusal::Unavailable { reason: format!("ledger entry {} cannot be read", entry.index) };
        let mut values = entry.decode_values().map_err(damaged)?.into_vec();
        values.retain(|value| !gone.has(value.index));
        let values = Values::new(values).map_err(|error| invalid(error.to_string()))?;
        let identifier = Identifier::parse(entry.identifier).map_err(|error| invalid(error.to_string()))?;
        let statement = Statement {
            kind: EntryKind::Erase,
            identifier: &identifier,
            principal: prepared.principal,
            values: &values,
            edges: &[],
            outputs: None,
            request: command.request.as_ref(),
            erasure: Some(&erasure),
        };
        Draft::new(&statement, (self.entropy)()).map_err(|error| invalid(error.to_string()))
    }
}

fn no_such_value(command: &Command, index: u32) -> Refusal {
    let reason = format!("no version has a value with index {index} that could be erased");
    Refusal::Invalid { identifier: command.identifier.to_string(), reason }
}

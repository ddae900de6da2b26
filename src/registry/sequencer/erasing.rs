//! Erasures: each has a batch of its own, and its receipt goes out after everything was overwritten.
//!
//! ```text
//! decide -> redactions synced -> entry committed -> index, caches -> segments overwritten and synced -> receipt
//! ```
//!
//! The sequencer is the one writer of the ledger, so the overwriting runs on its thread, and other commands wait
//! meanwhile (each frame that holds a version is read and checked as a whole, once for an erasure). A failure behind
//! the commit leaves an erasure that counts; the ledger then takes nothing more, and the next start finishes it
//! (`ledger::append::erase`).

use std::time::Instant;

use super::{
    Decided, Sequencer, Staged,
    batch::settle,
    round::{Round, unreadable},
};
use crate::{
    entry::{Draft, EntryKind, ErasedValues, Erasure, Statement, StoredEntry},
    id::Identifier,
    ledger::EdgesAfter,
    record::{Status, Values},
    registry::{Receipt, Refusal, prepared::Erase, stats::Stats},
};

/// Decision about an erase command.
enum Plan {
    /// The command was carried out before.
    Replayed(Decided),
    /// The erasure starts at the newest entry.
    Erase(Going),
}

/// An erasure that can be carried out.
struct Going {
    /// Index of the newest entry of the identifier.
    newest: u64,
    /// Version that the erasure makes.
    version: u64,
    /// Draft of the erase entry.
    draft: Draft,
    edges: EdgesAfter,
}

impl Sequencer {
    /// Carries out one erase command.
    pub(super) fn erase(&mut self, erase: &Erase, stats: &Stats) -> Result<Receipt, Refusal> {
        let plan = self.begin()?.plan(erase)?;
        let going = match plan {
            Plan::Replayed(decided) => return settle(Ok(decided), &Ok(self.records.ledger().checkpoint().note)),
            Plan::Erase(going) => going,
        };
        let now_ms = (self.clock)();
        let mut erasing = self.appender.begin_erasing(now_ms, erase.values)?;
        let redacted = erasing.redact_all(going.newest).map_err(Refusal::from);
        let found = redacted.and_then(|()| match (erase.values, erasing.redacted()) {
            (ErasedValues::One(index), 0) => Err(no_such_value(erase, index)),
            _ => Ok(()),
        });
        if let Err(refusal) = found {
            erasing.abandon()?;
            return Err(refusal);
        }
        let began = Instant::now();
        let staged_entry = erasing.push(&going.draft, going.version, going.newest, going.edges)?;
        let mut staged = Staged::default();
        let noted = staged.note(staged_entry.stored(), staged_entry.leaf_hash());
        let decided = match noted {
            Ok(decided) => decided,
            Err(refusal) => {
                staged_entry.abandon()?;
                return Err(refusal);
            }
        };
        let committed = staged_entry.commit()?;
        stats.committed(1, began.elapsed());
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
    /// Decides an erase command against the newest entry of the identifier.
    fn plan(self, erase: &Erase) -> Result<Plan, Refusal> {
        let asked = &erase.asked;
        if let Some(request) = &asked.request_key
            && let Some(bytes) = self.by_request(request)?
        {
            return self.replay(asked, &bytes, |entry| Ok(erase.is_said_by(entry))).map(Plan::Replayed);
        }
        let identifier = || asked.identifier.to_string();
        let newest = self.newest(asked.identifier.key())?;
        let bytes = newest.ok_or_else(|| Refusal::NotFound { identifier: identifier() })?;
        let entry = bytes.decode()?;
        if entry.status() == Status::Erased {
            return Err(Refusal::Erased { identifier: identifier(), ledger_index: entry.index });
        }
        if let Some(expected) = asked.expected_version.filter(|&expected| expected != entry.version) {
            return Err(Refusal::VersionMismatch { identifier: identifier(), expected, found: entry.version });
        }
        let edges = if entry.has_edges { EdgesAfter::Some } else { EdgesAfter::None };
        let (newest, version) = (entry.index, entry.version + 1);
        Ok(Plan::Erase(Going { newest, version, draft: self.erase_draft(erase, &entry)?, edges }))
    }

    /// Draft of the erase entry, with the values that stay.
    fn erase_draft(&self, erase: &Erase, entry: &StoredEntry<'_>) -> Result<Draft, Refusal> {
        let Erase { asked, values: gone, reason } = erase;
        let erasure = match gone {
            ErasedValues::All => Erasure::of_record(reason.clone()),
            ErasedValues::One(index) => {
                let erasure = Erasure::of_value(*index, entry.status(), reason.clone());
                let what = || format!("a value of `{}` was to be erased behind its end", asked.identifier);
                erasure.ok_or_else(|| Refusal::Internal { what: what() })?
            }
        };
        let mut values = entry.decode_values().map_err(|_| unreadable(entry))?.into_vec();
        values.retain(|value| !gone.has(value.index));
        let values = Values::new(values).map_err(|error| asked.invalid(error.to_string()))?;
        let identifier = Identifier::parse(entry.identifier).map_err(|error| asked.invalid(error.to_string()))?;
        let statement = Statement {
            kind: EntryKind::Erase,
            identifier: &identifier,
            principal: &asked.principal,
            values: &values,
            edges: &[],
            outputs: None,
            request: asked.request.as_ref(),
            erasure: Some(&erasure),
        };
        Draft::new(&statement, (self.entropy)()).map_err(|error| asked.invalid(error.to_string()))
    }
}

fn no_such_value(erase: &Erase, index: u32) -> Refusal {
    erase.asked.invalid(format!("no version has a value with index {index} that could be erased"))
}

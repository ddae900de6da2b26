//! Commands about prefixes: one entry, one batch; then every cached answer is invalidated.

use super::{Answerer, Decided, Sequencer, batch::settle, round::Round};
use crate::{
    id::Identifier,
    ledger::{EdgesAfter, EntryBytes},
    record::{Delegation, Endpoint, PrefixChange},
    registry::{Receipt, Refusal, prefix::PrefixJob, stats::Stats},
    store::Responsibility,
};

impl Sequencer {
    /// Carries out a command about a prefix.
    pub(super) fn prefix_round(&mut self, job: PrefixJob, answerer: &Answerer) {
        let result = self.say_of_prefix(&job, &answerer.stats);
        match &result {
            Ok(_) => answerer.stats.accepted(),
            Err(refusal @ Refusal::Unavailable { .. }) => {
                answerer.stats.refused(refusal.to_string());
                tracing::error!(%refusal, "a command about a prefix was refused; clients may try again");
            }
            // A refusal of the command itself says nothing about the ledger's health.
            Err(_) => {}
        }
        let PrefixJob { reply, _room, .. } = job;
        drop(_room);
        // The caller may have gone; what was written stays written.
        let _ = reply.send(result);
    }

    fn say_of_prefix(&mut self, job: &PrefixJob, stats: &Stats) -> Result<Receipt, Refusal> {
        let mut round = self.begin()?;
        let decided = round.decide_prefix(job)?;
        let (staged, committed) = round.commit(stats)?;
        let outcome = self.publish(staged, committed);
        settle(Ok(decided), &outcome)
    }
}

impl Round<'_> {
    /// Refuses an identifier that another node answers for.
    pub(super) fn refuse_elsewhere(&self, identifier: &Identifier) -> Result<(), Refusal> {
        match self.prefixes.responsibility(identifier.key()) {
            Responsibility::Home => Ok(()),
            Responsibility::Elsewhere => Err(Refusal::NotResponsible { identifier: identifier.to_string() }),
            Responsibility::Delegated(version) => {
                let endpoints = version.delegation().into_iter().flat_map(Delegation::sites);
                let endpoints: Vec<_> = endpoints.flat_map(|site| &site.endpoints).map(Endpoint::to_string).collect();
                let (identifier, prefix) = (identifier.to_string(), version.prefix.to_string());
                Err(Refusal::Delegated { identifier, prefix, sites: endpoints.join(" ") })
            }
        }
    }

    fn decide_prefix(&mut self, job: &PrefixJob) -> Result<Decided, Refusal> {
        let (command, key) = (&job.command, job.command.prefix.key());
        let text = || command.prefix.to_string();
        if let Some(request) = &job.request
            && let Some(bytes) = self.by_request(request)?
        {
            return self.replay_prefix(job, &bytes);
        }
        let before = self.newest(&key)?;
        let entry = before.as_ref().map(EntryBytes::decode).transpose()?;
        let (found, said) = entry.as_ref().map_or((0, None), |entry| (entry.version, entry.prefix_change()));
        if let Some(expected) = command.expected_version.filter(|&expected| expected != found) {
            return Err(Refusal::VersionMismatch { identifier: text(), expected, found });
        }
        if said.as_ref().unwrap_or(&PrefixChange::Revoke) == &command.change {
            return Err(Refusal::SaidAlready { prefix: text(), version: found });
        }
        let previous = entry.as_ref().map(|entry| entry.index);
        self.push(&job.draft, found + 1, previous, EdgesAfter::None)
    }

    /// Decision about a command that was carried out before: its first receipt.
    fn replay_prefix(&self, job: &PrefixJob, bytes: &EntryBytes) -> Result<Decided, Refusal> {
        let entry = bytes.decode()?;
        let command = &job.command;
        let same_version =
            command.expected_version.is_none_or(|expected| expected.checked_add(1) == Some(entry.version));
        if entry.prefix_change().as_ref() != Some(&command.change) || !same_version {
            let identifier = command.prefix.to_string();
            return Err(Refusal::RequestReused { identifier, ledger_index: entry.index });
        }
        Ok(Decided::before(&entry, self.batch.leaf_hash(entry.index)?))
    }
}

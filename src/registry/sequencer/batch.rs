//! One round of the sequencer: the commands of some jobs, in as many ledger batches as they need.
//!
//! ```text
//! begin -> stage: decide each command, push its entry -> commit: durable and signed -> publish: index, caches -> settle: receipts
//! ```
//!
//! A batch ends when all commands are decided, when it is full, or before an erasure, which has a batch of its own. A
//! job that is carried out whole or not at all ([`Atomicity::All`]) is never divided: it begins only where the batch
//! has room for the largest such job, and is taken back if one of its commands is refused.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Answerer, Decided, Sequencer,
    answerer::Settled,
    round::{Round, Write},
};
use crate::{
    ledger::{BATCH_BYTES_MAX, BatchMark, ENTRY_BYTES_MAX},
    registry::{ATOMIC_BYTES_MAX, Atomicity, Job, Prepared, Receipt, Refusal, Room, stats::Stats},
};

/// Size at which a batch takes no further command, in bytes: one more job or command of any size still fits a frame.
const BATCH_BYTES_FULL: usize = BATCH_BYTES_MAX / 2;

const _: () = assert!(BATCH_BYTES_FULL + ATOMIC_BYTES_MAX + 2 * ENTRY_BYTES_MAX <= BATCH_BYTES_MAX);

/// A job whose commands are being carried out.
struct OpenJob {
    commands: Vec<Result<Prepared, Refusal>>,
    atomicity: Atomicity,
    /// Results of the first commands: those that were carried out or refused.
    results: Vec<Result<Receipt, Refusal>>,
    reply: oneshot::Sender<Vec<Result<Receipt, Refusal>>>,
}

impl OpenJob {
    /// Commands that are still to be carried out.
    fn rest(&self) -> &[Result<Prepared, Refusal>] {
        self.commands.get(self.results.len()..).unwrap_or_default()
    }

    /// True if the job is carried out whole or not at all.
    fn is_whole(&self) -> bool {
        self.atomicity == Atomicity::All && self.commands.len() > 1
    }
}

/// Decisions about the commands of one batch.
#[derive(Default)]
struct Attempt {
    /// Decisions, job after job; for each job from its first undecided command on.
    decided: Vec<Result<Decided, Refusal>>,
    /// Number of decisions for each job; jobs behind the last one are left for a later batch.
    counts: Vec<usize>,
}

impl Sequencer {
    /// Carries out jobs and replies to their callers.
    pub(super) fn round(&mut self, jobs: Vec<Job>, answerer: &Answerer) {
        let mut room: Option<Room> = None;
        let mut open: Vec<OpenJob> = Vec::with_capacity(jobs.len());
        for Job { commands, atomicity, reply, room: more } in jobs {
            let results = Vec::with_capacity(commands.len());
            open.push(OpenJob { commands, atomicity, results, reply });
            // Released in one step at the end: job by job costs a lock each.
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
        while let Some(job) = open.iter_mut().find(|job| !job.rest().is_empty()) {
            match job.rest().first() {
                Some(Ok(Prepared::Erase(erase))) if !job.is_whole() => {
                    let result = self.erase(erase, &answerer.stats);
                    job.results.push(result);
                }
                _ => self.batch(&mut open, &answerer.stats),
            }
        }
        drop(room);
        let settled = |OpenJob { reply, results, commands, .. }| Settled { reply, results, commands };
        answerer.send(open.into_iter().map(settled).collect());
    }

    /// Carries out the next commands of the jobs as one batch, at least one command.
    fn batch(&mut self, jobs: &mut [OpenJob], stats: &Stats) {
        let mut attempt = Attempt::default();
        let committed = match self.begin() {
            Ok(mut round) => {
                attempt.stage(jobs, &mut round);
                round.commit(stats)
            }
            Err(refusal) => {
                attempt.refuse(jobs, &refusal);
                Err(refusal)
            }
        };
        let outcome = committed.and_then(|(staged, committed)| {
            // A batch without entries wrote nothing, so it shows nothing about the ledger's health.
            let is_tried = !staged.is_empty();
            let checkpoint = self.publish(staged, committed)?;
            if is_tried {
                stats.accepted();
            }
            Ok(checkpoint)
        });
        if let Err(refusal) = &outcome {
            stats.refused(refusal.to_string());
            tracing::error!(%refusal, "a batch was refused; clients may try again");
        }
        attempt.settle(jobs, &outcome);
    }
}

impl Attempt {
    /// Decides commands of the jobs in order until the batch is full.
    fn stage(&mut self, jobs: &[OpenJob], round: &mut Round<'_>) {
        let count = jobs.iter().map(|job| job.rest().len()).sum();
        self.decided.reserve(count);
        round.staged.reserve(count);
        for job in jobs {
            let before = self.decided.len();
            match job.is_whole() {
                true => round.stage_whole(job.rest(), &mut self.decided),
                false => round.stage_each(job.rest(), &mut self.decided),
            }
            let count = self.decided.len() - before;
            self.counts.push(count);
            // The order of the queue is the order of the ledger: no later job may overtake the rest of this one.
            if count < job.rest().len() {
                break;
            }
        }
    }

    /// Refuses every command of the jobs.
    fn refuse(&mut self, jobs: &[OpenJob], refusal: &Refusal) {
        for job in jobs {
            let refused = |command: &Result<Prepared, Refusal>| command.as_ref().err().unwrap_or(refusal).clone();
            self.decided.extend(job.rest().iter().map(|command| Err(refused(command))));
            self.counts.push(job.rest().len());
        }
    }

    /// Gives each command its receipt or its refusal.
    fn settle(self, jobs: &mut [OpenJob], outcome: &Result<Arc<str>, Refusal>) {
        let mut decided = self.decided.into_iter();
        for (job, count) in jobs.iter_mut().zip(self.counts) {
            job.results.extend(decided.by_ref().take(count).map(|decided| settle(decided, outcome)));
        }
    }
}

/// Result of a command, once the outcome of its batch is known.
pub(super) fn settle(
    decided: Result<Decided, Refusal>,
    outcome: &Result<Arc<str>, Refusal>,
) -> Result<Receipt, Refusal> {
    let decided = match decided {
        // A refusal of the command itself stands whatever happened to the batch.
        Err(refusal @ (Refusal::Invalid { .. } | Refusal::Unreadable { .. } | Refusal::Denied { .. })) => {
            return Err(refusal);
        }
        decided => decided,
    };
    let checkpoint = outcome.as_ref().map_err(Clone::clone)?;
    Ok(decided?.receipt(checkpoint))
}

/// A point of a round, for [`Round::rewind`].
struct RoundMark {
    batch: BatchMark,
    staged: usize,
}

impl Round<'_> {
    /// Decides commands one by one, each on its own, until the batch is full or an erasure is next.
    fn stage_each(&mut self, commands: &[Result<Prepared, Refusal>], decided: &mut Vec<Result<Decided, Refusal>>) {
        for command in commands {
            if self.is_full() {
                break;
            }
            decided.push(match command {
                Ok(Prepared::Drafted(drafted)) => self.decide(Write::Drafted(drafted)),
                Ok(Prepared::Merge(merge)) => self.decide(Write::Merge(merge)),
                Ok(Prepared::Erase(_)) => break,
                Err(refusal) => Err(refusal.clone()),
            });
        }
    }

    /// Decides all commands of a job, or refuses all of them and takes back their entries. Decides nothing if the batch
    /// is full.
    fn stage_whole(&mut self, commands: &[Result<Prepared, Refusal>], decided: &mut Vec<Result<Decided, Refusal>>) {
        if self.is_full() {
            return;
        }
        let (mark, already) = (self.mark(), decided.len());
        let refused_before =
            commands.iter().enumerate().find_map(|(at, command)| Some((at, command.as_ref().err()?.clone())));
        let in_the_way = refused_before.or_else(|| {
            let bytes_before = self.batch.bytes();
            commands.iter().enumerate().find_map(|(at, command)| {
                let one = match command {
                    Ok(Prepared::Drafted(drafted)) => self.decide(Write::Drafted(drafted)),
                    Ok(Prepared::Merge(merge)) => self.decide(Write::Merge(merge)),
                    Ok(Prepared::Erase(erase)) => Err(erase.asked.invalid(NOT_TAKEN_BACK.into())),
                    Err(refusal) => Err(refusal.clone()),
                };
                match one {
                    Ok(_) if self.batch.bytes() - bytes_before > ATOMIC_BYTES_MAX => Some((at, Refusal::BatchTooLong)),
                    Ok(one) => {
                        decided.push(Ok(one));
                        None
                    }
                    Err(refusal) => Some((at, refusal)),
                }
            })
        });
        let Some((at, refusal)) = in_the_way else { return };
        self.rewind(mark);
        decided.truncate(already);
        let withdrawn = Refusal::Withdrawn { number: at + 1, reason: refusal.to_string() };
        decided.extend(commands.iter().enumerate().map(|(nth, command)| {
            Err(match command {
                _ if nth == at => refusal.clone(),
                Err(own) => own.clone(),
                Ok(_) => withdrawn.clone(),
            })
        }));
    }

    /// True if the batch takes no further command.
    fn is_full(&self) -> bool {
        self.batch.bytes() >= BATCH_BYTES_FULL || self.broken.is_some()
    }

    fn mark(&self) -> RoundMark {
        RoundMark { batch: self.batch.mark(), staged: self.staged.mark() }
    }

    /// Takes back all entries since the mark, from the ledger's batch and from the staged state.
    fn rewind(&mut self, mark: RoundMark) {
        self.staged.rewind(mark.staged, &self.batch);
        self.batch.rewind(mark.batch);
        // Nothing was broken when the mark was set, and all entries behind the mark are gone.
        self.broken = None;
    }
}

/// Reason why an erasure cannot be part of an atomic job.
const NOT_TAKEN_BACK: &str =
    "an erasure has a batch of its own and is never taken back: send it in a call of its own, not in an atomic batch";

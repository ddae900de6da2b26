//! Commands about prefixes: rare, each with a batch of its own.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Receipt, Refusal, Registry, Work, request_key, stopping};
use crate::{
    entry::{Draft, PrefixStatement, Principal, RequestId},
    id::Prefix,
    record::PrefixChange,
    store::RequestKey,
};

/// A statement about a prefix that a client asks for.
#[derive(Clone, Debug)]
pub struct PrefixCommand {
    /// The prefix.
    pub prefix: Prefix,
    /// The statement.
    pub change: PrefixChange,
    /// Number of statements about the prefix so far, else the command is refused; 0: none.
    pub expected_version: Option<u64>,
    /// The client's id of this change, by which a retry is recognised.
    pub request: Option<RequestId>,
}

/// A command about a prefix on its way to the sequencer.
#[derive(Debug)]
pub(super) struct PrefixJob {
    pub(super) command: PrefixCommand,
    pub(super) draft: Draft,
    pub(super) request: Option<RequestKey>,
    pub(super) reply: oneshot::Sender<Result<Receipt, Refusal>>,
    /// Room in the queue, released when the job is done.
    pub(super) _room: OwnedSemaphorePermit,
}

impl PrefixCommand {
    fn check(&self) -> Result<(), Refusal> {
        let invalid =
            |reason: &str| Err(Refusal::Invalid { identifier: self.prefix.to_string(), reason: reason.into() });
        match &self.change {
            PrefixChange::Delegate(_) if self.prefix.is_everything() => invalid(
                "every identifier together cannot be delegated: a node with nothing of its own is a recursive one",
            ),
            _ => Ok(()),
        }
    }
}

impl Registry {
    /// Homes, delegates or revokes a prefix. Takes its place in the queue as every command does, but never waits for
    /// room.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing was written then.
    pub async fn apply_prefix(&self, command: PrefixCommand, principal: Principal) -> Result<Receipt, Refusal> {
        let result = self.ask_prefix(command, principal).await;
        self.stats.count(std::slice::from_ref(&result));
        result
    }

    async fn ask_prefix(&self, command: PrefixCommand, principal: Principal) -> Result<Receipt, Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        command.check()?;
        let PrefixCommand { prefix, change, request, .. } = &command;
        let statement = PrefixStatement { prefix, change, principal: &principal, request: request.as_ref() };
        let draft = Draft::of_prefix(&statement, (self.entropy)())
            .map_err(|error| Refusal::Invalid { identifier: prefix.to_string(), reason: error.to_string() })?;
        let request = request.as_ref().map(|id| request_key(&prefix.key(), id.as_bytes()));
        let room = Arc::clone(&self.stats.commands_room).try_acquire_owned()?;
        let (reply, replied) = oneshot::channel();
        let job = PrefixJob { command, draft, request, reply, _room: room };
        self.jobs.send(Work::Prefix(Box::new(job))).map_err(|_| stopping())?;
        replied.await.map_err(|_| stopping())?
    }
}

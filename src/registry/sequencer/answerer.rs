//! The way of results back to the callers.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::oneshot};

use crate::registry::{Prepared, Receipt, Refusal, stats::Stats};

/// A job that is done, on its way to its caller.
pub(super) struct Settled {
    pub(super) reply: oneshot::Sender<Vec<Result<Receipt, Refusal>>>,
    pub(super) results: Vec<Result<Receipt, Refusal>>,
    /// Freed by the runtime, whose threads made them: the sequencer has better things to do.
    pub(super) commands: Vec<Result<Prepared, Refusal>>,
}

/// Sends the results of a batch, from a task of the runtime if there is one: waking waiting tasks from another thread
/// costs a lock and often a system call each, from within the runtime next to nothing.
pub(super) struct Answerer {
    runtime: Option<Handle>,
    pub(super) stats: Arc<Stats>,
}

impl Answerer {
    /// Returns an answerer that sends from the current runtime, if there is one.
    pub(super) fn new(stats: Arc<Stats>) -> Self {
        Self { runtime: Handle::try_current().ok(), stats }
    }

    /// Sends results to the callers.
    pub(super) fn send(&self, answers: Vec<Settled>) {
        let send = move || {
            for Settled { reply, results, commands } in answers {
                // The caller may have gone; what was written stays written.
                let _ = reply.send(results);
                drop(commands);
            }
        };
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(async move { send() })),
            None => send(),
        }
    }
}

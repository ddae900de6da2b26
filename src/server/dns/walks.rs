//! Walks for datagrams: tasks that nobody waits for.
//!
//! A connection waits for its walk itself. A datagram has nobody who could wait: its walk is a task of its own, which sends the
//! response when it is over. How many walks there may be is for the [`Desk`] to say; a client that finds no room is told so at once,
//! for a client that waits asks again. A stopping server breaks off the walks of datagrams.
//!
//! Deliberately absent: how one walks, and for how long (`resolver::recursion`), and what is kept (`protocol::dns`).

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    id::Identifier,
    protocol::dns::WalkFailure,
    resolver::{Desk, NoAnswer, ReadShare, recursion::Resolved},
    rights::Caller,
};

/// The walks of a server.
pub(super) struct Walks {
    desk: Desk,
    runtime: Handle,
    /// Those that nobody waits for.
    tasks: Mutex<JoinSet<()>>,
}

impl Walks {
    /// Walks that the desk makes. It has to be called within a runtime.
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, runtime: Handle::current(), tasks: Mutex::default() }
    }

    /// Asks other nodes about an identifier.
    pub(super) async fn walk(&self, identifier: Identifier, client: IpAddr) -> Result<Resolved, WalkFailure> {
        let walk = self.desk.begin_walk(identifier, &Caller::anonymous(Some(client))).map_err(NoAnswer::from)?;
        Ok(walk.await?)
    }

    /// The same on a task; `then` is called with what came of it on a thread that may wait for a disk, at once when there is no room.
    pub(super) fn spawn(
        &self,
        identifier: Identifier,
        client: IpAddr,
        then: impl FnOnce(Result<Resolved, WalkFailure>) + Send + 'static,
    ) {
        let walk = match self.desk.begin_walk(identifier, &Caller::anonymous(Some(client))) {
            Ok(walk) => walk,
            Err(none) => return then(Err(NoAnswer::from(none).into())),
        };
        let reads = self.desk.reads().clone();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are over leave with the next one that comes.
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(
            async move {
                let walked = walk.await.map_err(WalkFailure::from);
                // A pool without a place drops the datagram, as a full queue does: its client asks again.
                let _ = reads.run(ReadShare::Answers, move || then(walked)).await;
            },
            &self.runtime,
        );
    }

    /// Breaks off the walks that nobody waits for, and waits until they are gone.
    pub(super) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

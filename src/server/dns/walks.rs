//! Walks for DNS requests.
//!
//! A connection waits for its walk. A datagram has no task that could wait: its walk is a task of its own, which sends
//! the response at the end. The [`Desk`] bounds the number of walks; a client that finds no room is told so at once,
//! since a client without a response would ask again. A stopping server aborts the walks of datagrams.
//!
//! Deliberately absent: the walk itself and its timeouts (`resolver::recursion`), and the cache (`protocol::dns`).

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    id::Identifier,
    protocol::dns::WalkFailure,
    resolver::{Desk, NoAnswer, ReadShare, Resolved},
    rights::Caller,
};

/// Walks of a server.
pub(super) struct Walks {
    desk: Desk,
    runtime: Handle,
    /// Walks for datagrams.
    tasks: Mutex<JoinSet<()>>,
}

impl Walks {
    /// Walks through the desk. Must be called within a runtime.
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk, runtime: Handle::current(), tasks: Mutex::default() }
    }

    /// Walks for an identifier and returns the result.
    pub(super) async fn walk(&self, identifier: Identifier, client: IpAddr) -> Result<Resolved, WalkFailure> {
        let walk = self.desk.begin_walk(identifier, &Caller::anonymous(Some(client))).map_err(NoAnswer::from)?;
        Ok(walk.await?)
    }

    /// Walks on a task. `then` gets the result on a thread that may wait for a disk; if there is no room for the walk,
    /// it is called at once on this thread.
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
        // Reaps the tasks that ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(
            async move {
                let walked = walk.await.map_err(WalkFailure::from);
                // If the pool is full, the datagram is dropped, as when the reader's queue is full: its client asks
                // again.
                let _ = reads.run(ReadShare::Answers, move || then(walked)).await;
            },
            &self.runtime,
        );
    }

    /// Aborts the walks for datagrams, and waits for their end.
    pub(super) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

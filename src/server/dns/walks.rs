//! Walks down the tree for clients over DNS: how many at once, and who waits for them.
//!
//! A connection waits for its walk itself. A datagram has nobody who could wait: its walk is a task of its own, which sends the
//! response when it is over. All walks together are bounded; who comes beyond that is told so at once, for a client that waits asks
//! again. A stopping server breaks off those of datagrams.
//!
//! Deliberately absent: how one walks, and for how long (`resolver::recursion`), and what is kept (`protocol::dns`).

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

use crate::{
    id::Identifier,
    protocol::dns::{WalkFailure, Walked},
};

/// The most walks at once, over all protocols.
pub const WALKS_MAX: usize = 4_096;

/// What comes of a walk, later.
pub type WalkFuture = Pin<Box<dyn Future<Output = Result<Walked, WalkFailure>> + Send>>;

/// Asks other nodes.
pub trait AsyncWalker: Send + Sync {
    /// Asks them about an identifier. It ends by itself, in some seconds at most.
    fn walk(&self, identifier: Identifier) -> WalkFuture;
}

/// The walks of a server.
pub(super) struct Walks {
    walker: Option<Arc<dyn AsyncWalker>>,
    room: Arc<Semaphore>,
    runtime: Handle,
    /// Those that nobody waits for.
    tasks: Mutex<JoinSet<()>>,
}

impl Walks {
    /// Walks by this walker; without one, each fails. It has to be called within a runtime.
    pub(super) fn new(walker: Option<Arc<dyn AsyncWalker>>) -> Self {
        Self { walker, room: Arc::new(Semaphore::new(WALKS_MAX)), runtime: Handle::current(), tasks: Mutex::default() }
    }

    /// Asks other nodes about an identifier.
    pub(super) async fn walk(&self, identifier: Identifier) -> Result<Walked, WalkFailure> {
        let Ok(_room) = self.room.try_acquire() else { return Err(overloaded()) };
        match &self.walker {
            Some(walker) => walker.walk(identifier).await,
            None => Err(nobody()),
        }
    }

    /// The same on a task; `then` is called with what came of it, at once when there is no room.
    pub(super) fn spawn(
        &self,
        identifier: Identifier,
        then: impl FnOnce(Result<Walked, WalkFailure>) + Send + 'static,
    ) {
        let Some(walker) = &self.walker else { return then(Err(nobody())) };
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return then(Err(overloaded())) };
        let walk = walker.walk(identifier);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are over leave with the next one that comes.
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(
            async move {
                then(walk.await);
                drop(room);
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

fn overloaded() -> WalkFailure {
    WalkFailure::Other(format!("{WALKS_MAX} walks are under way, the limit; ask again"))
}

fn nobody() -> WalkFailure {
    WalkFailure::Other("nobody walks here".into())
}

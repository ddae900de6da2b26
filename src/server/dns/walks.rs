//! Walks down the tree for clients over DNS: how many at once, and who waits for them.
//!
//! A connection waits for its walk itself. A datagram has nobody who could wait: its walk is a task of its own, which sends the
//! response when it is over. All walks together are bounded, and those of a client network ([`Shares`]), so that none takes them all;
//! who comes beyond that is told so at once, for a client that waits asks again. A stopping server breaks off those of datagrams.
//!
//! Deliberately absent: how one walks, and for how long (`resolver::recursion`), and what is kept (`protocol::dns`).

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{
    id::Identifier,
    protocol::dns::{WalkFailure, Walked},
    server::admission::{Admission, Share, ShareBounds, Shares},
};

/// The most walks at once, over all protocols.
pub const WALKS_MAX: usize = 4_096;
/// The most walks at once of a client network, over all protocols.
pub const WALKS_PER_SOURCE_MAX: usize = 256;

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
    shares: Arc<Shares>,
    runtime: Handle,
    /// Those that nobody waits for.
    tasks: Mutex<JoinSet<()>>,
}

impl Walks {
    /// Walks by this walker; without one, each fails. It has to be called within a runtime.
    pub(super) fn new(walker: Option<Arc<dyn AsyncWalker>>, admission: &Admission) -> Self {
        let bounds = ShareBounds { what: "walks", share_max: WALKS_PER_SOURCE_MAX, networks_max: WALKS_MAX };
        let (room, shares) = (Arc::new(Semaphore::new(WALKS_MAX)), admission.shares(bounds));
        Self { walker, room, shares, runtime: Handle::current(), tasks: Mutex::default() }
    }

    /// Asks other nodes about an identifier.
    pub(super) async fn walk(&self, identifier: Identifier, client: IpAddr) -> Result<Walked, WalkFailure> {
        let _room = self.admit(client)?;
        match &self.walker {
            Some(walker) => walker.walk(identifier).await,
            None => Err(nobody()),
        }
    }

    /// Room for one more walk, until it is dropped.
    fn admit(&self, client: IpAddr) -> Result<(Share, OwnedSemaphorePermit), WalkFailure> {
        let share = self.shares.enter(Some(client));
        let share = share.map_err(|_| overloaded(WALKS_PER_SOURCE_MAX, " for your network"))?;
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| overloaded(WALKS_MAX, ""))?;
        Ok((share, room))
    }

    /// The same on a task; `then` is called with what came of it, at once when there is no room.
    pub(super) fn spawn(
        &self,
        identifier: Identifier,
        client: IpAddr,
        then: impl FnOnce(Result<Walked, WalkFailure>) + Send + 'static,
    ) {
        let Some(walker) = &self.walker else { return then(Err(nobody())) };
        let room = match self.admit(client) {
            Ok(room) => room,
            Err(failure) => return then(Err(failure)),
        };
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

fn overloaded(limit: usize, whose: &str) -> WalkFailure {
    WalkFailure::Other(format!("{limit} walks are under way{whose}, the limit; ask again"))
}

fn nobody() -> WalkFailure {
    WalkFailure::Other("nobody walks here".into())
}

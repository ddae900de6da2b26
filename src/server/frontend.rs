//! What every front end is to the node that runs it, and what the node gives every front end.
//!
//! A front end is one protocol with all its listeners. The node keeps a list of them and knows no more of each than
//! [`Frontend`] says; a new one is a type that implements it, and one more line where the list is made.
//!
//! Deliberately absent: ways from one front end to another.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use super::{
    admission::{Admission, Shares},
    metrics::{Metered, MetricList},
};
use crate::{
    ledger::{Ledger, Publication},
    mirror::Lag,
    registry::Registry,
    resolver::{Desk, feed::Feeds},
};

/// A running front end.
pub trait Frontend: Send + Sync {
    /// What log lines call it.
    fn name(&self) -> &'static str;

    /// Where it listens.
    fn addresses(&self) -> Vec<Listening>;

    /// What it counts.
    fn metrics(&self) -> Arc<dyn Metered>;

    /// Takes no new connections and requests, finishes those under way as far as that can be waited for, and cuts the rest.
    fn drain(self: Box<Self>) -> Draining;
}

/// The end of a front end, to be waited for.
pub type Draining = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One address, and what is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The protocol.
    pub protocol: &'static str,
    /// The address that was bound.
    pub address: SocketAddr,
}

/// What front ends answer from. Clones are of the same services; each front end takes the handles that it needs.
#[derive(Clone)]
pub struct Services {
    /// Questions.
    pub reads: ReadHandles,
    /// Commands.
    pub writes: Registry,
    /// What shows that answers are true.
    pub audit: AuditHandles,
    /// News.
    pub follow: FollowHandles,
    /// Who is let in.
    pub admission: Admission,
    /// What is counted.
    pub metrics: MetricList,
}

/// Where questions are answered.
#[derive(Clone)]
pub struct ReadHandles {
    /// The read core.
    pub desk: Desk,
    /// How far behind its primary the node is, when it is a mirror.
    pub lag: Option<Arc<Lag>>,
}

/// Where proofs come from.
#[derive(Clone)]
pub struct AuditHandles {
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The checkpoint that is handed out.
    pub publication: Arc<Publication>,
}

/// Where changes are followed.
#[derive(Clone)]
pub struct FollowHandles {
    /// The feed of changes.
    pub feeds: Arc<Feeds>,
    /// What client networks have of it, over all front ends.
    pub shares: Arc<Shares>,
}

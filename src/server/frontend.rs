//! The interface between front ends and the node: [`Frontend`] and [`Services`].
//!
//! A front end is one protocol with all its listeners. The node keeps a list of front ends and knows only [`Frontend`];
//! a new front end is a type that implements it, and one more line where the list is made.
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
    /// Name in log lines.
    fn name(&self) -> &'static str;

    /// Addresses that the front end listens on.
    fn addresses(&self) -> Vec<Listening>;

    /// Counters of the front end.
    fn metrics(&self) -> Arc<dyn Metered>;

    /// Takes no new connections and requests, waits for those under way up to the drain timeout, and cuts the rest.
    fn drain(self: Box<Self>) -> Draining;
}

/// Future that ends when the front end has drained.
pub type Draining = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A bound address and its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The protocol.
    pub protocol: &'static str,
    /// The address that was bound.
    pub address: SocketAddr,
}

/// Services of the node that front ends use. Clones share the services; each front end takes the handles that it needs.
#[derive(Clone)]
pub struct Services {
    /// The read core.
    pub reads: ReadHandles,
    /// The write core.
    pub writes: Registry,
    /// Ledger and checkpoints, the base of proofs.
    pub audit: AuditHandles,
    /// Feeds of changes.
    pub follow: FollowHandles,
    /// Admission control.
    pub admission: Admission,
    /// Counters of the node.
    pub metrics: MetricList,
}

/// Handles of the read core.
#[derive(Clone)]
pub struct ReadHandles {
    /// The desk, which decides whether to answer here, to refer, or to walk.
    pub desk: Desk,
    /// Lag behind the primary, if the node is a mirror.
    pub lag: Option<Arc<Lag>>,
}

/// Handles for proofs.
#[derive(Clone)]
pub struct AuditHandles {
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Published checkpoints, to which proofs lead.
    pub publication: Arc<Publication>,
}

/// Handles for followers of changes.
#[derive(Clone)]
pub struct FollowHandles {
    /// The feed of changes.
    pub feeds: Arc<Feeds>,
    /// Shares of client networks in the feeds, over all front ends.
    pub shares: Arc<Shares>,
}

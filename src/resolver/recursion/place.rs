//! The state of a walk in progress, and the places that it comes to.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    delegations::Known,
    resolved::{Hop, Verification},
    upstream::SiteQuestion,
};
use crate::{id::Prefix, record::Delegation};

/// A walk in progress.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) question: Arc<SiteQuestion>,
    pub(super) questions_left: usize,
    pub(super) deadline: Instant,
    pub(super) hops: Vec<Hop>,
    /// Generation of the cache at the start of the walk; the results of an older generation are not cached.
    pub(super) generation: u64,
}

/// Position of a walk: the sites of a delegation.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) prefix: Arc<Prefix>,
    pub(super) delegation: Arc<Delegation>,
    /// Weakest verification of the chain that led here.
    pub(super) verification: Verification,
    /// End of the delegation's validity; `None` for a configured root or a delegation of the local node.
    pub(super) until: Option<Instant>,
    pub(super) stage: Stage,
}

/// Origin of a place, which decides if the walk may go up to the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// From the cache: the parent may know better, and may be asked.
    Kept,
    /// From the cache, and the parent is not to be asked now.
    Quiet,
    /// From a referral in this walk, or the place where the walk began without the cache.
    Fresh,
    /// The last try at sites that were left early; no other place is left.
    Last,
}

impl Walk {
    /// Adds a hop, up to [`Hop::SHOWN_MAX`].
    pub(super) fn tell(&mut self, hop: Hop) {
        if self.hops.len() < Hop::SHOWN_MAX {
            self.hops.push(hop);
        }
    }
}

impl Place {
    pub(super) fn of(known: Known, stage: Stage) -> Self {
        let Known { prefix, delegation, verification, until, .. } = known;
        Self { prefix, delegation, verification, until: Some(until), stage }
    }

    pub(super) fn is_above(&self, prefix: &Prefix) -> bool {
        self.prefix.path().len() < prefix.path().len()
    }
}

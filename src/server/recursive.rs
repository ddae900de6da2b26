//! What a recursive node has beside a plain one: a recursor, and the clients that may use it.

use std::net::IpAddr;

use crate::network::Network;
use crate::{
    resolver::{
        Answer,
        recursion::{Recursor, Start},
    },
    store::Responsibility,
};

/// A recursor, and for whom it walks.
#[derive(Clone)]
pub struct Recursive {
    /// Walks, and remembers.
    pub recursor: Recursor,
    /// Networks of clients for whom it does; others get the referral.
    pub allow: Vec<Network>,
}

impl Recursive {
    /// True when it walks for a client; one whose address is unknown is nobody's.
    pub fn allows(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.allow.iter().any(|network| network.contains(client)))
    }
}

/// Whether an answer of the node itself is none, and others have to be asked.
pub(crate) fn is_elsewhere(answer: &Answer) -> bool {
    matches!(answer, Answer::NotResponsible | Answer::Delegated(_))
}

/// Where a walk begins when the node itself delegates; nothing when a root has to tell.
pub(crate) fn start_of(responsibility: &Responsibility) -> Option<Start> {
    let Responsibility::Delegated(version) = responsibility else { return None };
    let delegation = version.delegation()?.clone();
    Some((version.prefix.clone().into(), delegation.into()))
}

//! What a recursive node has beside a plain one: a recursor, and the clients that may use it.

use std::net::IpAddr;

use super::dns::network::Network;
use crate::{
    resolver::{
        Answer,
        recursion::{Recursor, Start},
    },
    store::{PrefixVersion, Responsibility},
};

/// A recursor, and for whom it walks.
#[derive(Clone)]
pub struct Recursive {
    /// Walks, and remembers.
    pub recursor: Recursor,
    /// Networks of clients for whom it does; others get the referral.
    pub allow: Vec<Network>,
}

/// An answer that has to be looked for elsewhere.
pub(crate) struct Elsewhere {
    /// Where to begin, when the node itself delegates the identifier.
    pub(crate) start: Option<Start>,
}

impl Recursive {
    /// True when it walks for a client; one whose address is unknown is nobody's.
    pub fn allows(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.allow.iter().any(|network| network.contains(client)))
    }
}

impl Elsewhere {
    /// Where an answer of the node itself leads; `None` when it is one.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::NotResponsible => Some(Self { start: None }),
            Answer::Delegated(version) => Some(Self { start: start(version) }),
            Answer::Found(_) | Answer::Retired(_) | Answer::NotFound | Answer::Denied => None,
        }
    }
}

/// Where a walk begins when the node itself delegates; nothing when a root has to tell.
pub(crate) fn start_of(responsibility: &Responsibility) -> Option<Start> {
    match responsibility {
        Responsibility::Delegated(version) => start(version),
        Responsibility::Home | Responsibility::Elsewhere => None,
    }
}

fn start(version: &PrefixVersion) -> Option<Start> {
    let delegation = version.delegation()?.clone();
    Some((version.prefix.clone().into(), delegation.into()))
}

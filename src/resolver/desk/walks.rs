//! Admission of walks: bounds on concurrent walks in all and per client network, over all protocols.
//!
//! A walk costs this node and others many times as much as a query. A caller without room is refused at once and may
//! retry.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::network::Network;

/// Bounds on concurrent walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkLimits {
    /// Maximum number of concurrent walks, over all protocols.
    pub walks_max: usize,
    /// Maximum number of concurrent walks per client network, over all protocols.
    pub walks_per_network_max: usize,
    /// Prefix length of an IPv4 client network, in bits: 0 to 32.
    pub ipv4_prefix_length: u8,
    /// Prefix length of an IPv6 client network, in bits: 0 to 128.
    pub ipv6_prefix_length: u8,
    /// Client networks that are exempt from the limit per network.
    pub exempt: Vec<Network>,
}

impl Default for WalkLimits {
    fn default() -> Self {
        Self {
            walks_max: 4_096,
            walks_per_network_max: 256,
            ipv4_prefix_length: 24,
            ipv6_prefix_length: 56,
            exempt: Vec::new(),
        }
    }
}

/// Refusal of a walk: a bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} walks are under way{whose}, the limit; ask again", whose = if *of_network { " for your network" } else { "" })]
pub struct NoRoom {
    limit: usize,
    of_network: bool,
}

/// Count of walks in progress.
#[derive(Debug)]
pub(super) struct Walks {
    limits: WalkLimits,
    room: Arc<Semaphore>,
    by_network: Mutex<HashMap<Network, usize>>,
}

/// Place of one walk; dropping it frees the place.
#[derive(Debug)]
pub(super) struct WalkPlace {
    walks: Arc<Walks>,
    network: Option<Network>,
    _permit: OwnedSemaphorePermit,
}

impl Walks {
    pub(super) fn new(limits: WalkLimits) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(limits.walks_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { limits, room, by_network: Mutex::default() })
    }

    /// Takes a place for a walk of a caller.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if the network of the caller, or the node, has reached its limit.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<WalkPlace, NoRoom> {
        let WalkLimits { walks_max, walks_per_network_max, .. } = self.limits;
        let network = address.and_then(|address| self.network_of(address));
        // The lock is held until the count is taken: two callers of a network must not both take its last place.
        let mut open = network.map(|network| (network, self.by_network()));
        if let Some((network, open)) = &open
            && open.get(network).is_some_and(|count| *count >= walks_per_network_max)
        {
            return Err(NoRoom { limit: walks_per_network_max, of_network: true });
        }
        let permit = Arc::clone(&self.room).try_acquire_owned();
        let permit = permit.map_err(|_| NoRoom { limit: walks_max, of_network: false })?;
        if let Some((network, open)) = &mut open {
            *open.entry(*network).or_default() += 1;
        }
        drop(open);
        Ok(WalkPlace { walks: Arc::clone(self), network, _permit: permit })
    }

    /// The network under which a caller's walks are counted; `None` for an exempt network.
    fn network_of(&self, address: IpAddr) -> Option<Network> {
        let address = address.to_canonical();
        if self.limits.exempt.iter().any(|network| network.contains(address)) {
            return None;
        }
        let length = if address.is_ipv4() { self.limits.ipv4_prefix_length } else { self.limits.ipv6_prefix_length };
        Some(Network::of(address, length))
    }

    fn by_network(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        // No code panics under the lock, and the counts are valid after every step.
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WalkPlace {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut open = self.walks.by_network();
        match open.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = open.remove(&network),
        }
    }
}

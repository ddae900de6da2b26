//! Admission: the definition of a client, and the bounds on the resources that one client holds at a time.
//!
//! A client is a network, since one host can use any number of addresses within its network: by default the /24 of an
//! IPv4 address and the /56 of an IPv6 one ([`ClientNetworks`]). All front ends use the same [`Admission`], which is
//! configured once:
//!
//! | bounded | by |
//! |---|---|
//! | connections in all, of each listener, of each network over a front end | [`places`](super::places) |
//! | walks down the tree, feeds of changes: of each network | [`Shares`] |
//!
//! Exempt networks (the loopback networks by default) have no share limit, since a proxy stands for many clients.
//! Bounds in all apply to them, too.
//!
//! Deliberately absent: rates. `server::datagram::rate` limits answers over UDP, where client addresses may be forged.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use super::clients::{AdmissionLimits, ClientNetworks};
use super::{
    metrics::{Metered, Out},
    places::{FrontendPlaces, ListenerCounts, Places},
};
use crate::{network::Network, resolver::feed::FEEDS_MAX};

/// Admission control of the node. Clones share all state.
#[derive(Clone, Debug)]
pub struct Admission {
    clients: Arc<ClientNetworks>,
    places: Arc<Places>,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(AdmissionLimits::default())
    }
}

impl Admission {
    /// Admission with no connection open.
    pub fn new(limits: AdmissionLimits) -> Self {
        let clients = Arc::new(limits.clients.clone());
        Self { places: Places::new(&limits, Arc::clone(&clients)), clients }
    }

    /// Places for the connections of one more front end. A client network gets at most `per_network_max` over all its
    /// listeners (0: no limit), and never more than an eighth of all places.
    pub fn frontend(&self, per_network_max: usize) -> FrontendPlaces {
        self.places.frontend(per_network_max)
    }

    /// Shares of another resource that clients hold for a while.
    pub fn shares(&self, bounds: ShareBounds) -> Arc<Shares> {
        Arc::new(Shares { clients: Arc::clone(&self.clients), bounds, held: Mutex::default() })
    }

    /// Maximum number of connections at once, over all listeners.
    pub fn connections_max(&self) -> usize {
        self.places.connections_max()
    }

    /// Counts of each listener: open, evicted and refused connections.
    pub fn counted(&self) -> Vec<ListenerCounts> {
        self.places.counted()
    }
}

impl Metered for Admission {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        let counted = self.counted();
        let by_listener = |number: fn(&ListenerCounts) -> u64| {
            // Several listeners of one name, on different addresses, are shown as one.
            let mut sums: Vec<([(&str, &str); 1], u64)> = Vec::new();
            for counts in &counted {
                let label = [("listener", counts.name)];
                match sums.iter_mut().find(|(known, _)| *known == label) {
                    Some((_, sum)) => *sum += number(counts),
                    None => sums.push((label, number(counts))),
                }
            }
            sums
        };
        let help = "Connections that are open";
        out.gauges("touchmark_connections", help, by_listener(|counts| counts.open as u64))?;
        let help = "The most connections that there may be";
        out.gauges("touchmark_connections_max", help, by_listener(|counts| counts.connections_max as u64))?;
        let help = "Connections without a request under way that were ended to make room for others";
        out.counters("touchmark_connections_evicted", help, by_listener(|counts| counts.evicted))?;
        let help = "Connections that were turned away, for their network had all that it may have";
        out.counters("touchmark_connections_refused", help, by_listener(|counts| counts.turned_away))
    }
}

/// Bounds of a resource that client networks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareBounds {
    /// Name of the resource, in the plural.
    pub what: &'static str,
    /// Maximum number that one network holds at once.
    pub share_max: usize,
    /// Maximum number of networks that hold any at once.
    pub networks_max: usize,
}

/// Maximum number of feeds of one client network, over all front ends: no network takes all.
pub const FEEDS_PER_NETWORK_MAX: usize = FEEDS_MAX / 4;
/// Bounds of feeds of changes.
pub const FEED_SHARES: ShareBounds =
    ShareBounds { what: "feeds", share_max: FEEDS_PER_NETWORK_MAX, networks_max: FEEDS_MAX };

/// Resource counts of client networks. Only networks that hold something take memory.
#[derive(Debug)]
pub struct Shares {
    clients: Arc<ClientNetworks>,
    bounds: ShareBounds,
    held: Mutex<HashMap<Network, usize>>,
}

/// One unit of a resource that a client holds, until dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    /// `None` for a client without a share limit.
    network: Option<Network>,
}

/// Refusal: the client's network holds its maximum, or the maximum number of networks hold something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} {} are open from {network}, which is the limit for one client network; end one of them",
    bounds.share_max,
    bounds.what
)]
pub struct ShareTaken {
    /// The bounds.
    pub bounds: ShareBounds,
    /// The client's network.
    pub network: Network,
}

impl Shares {
    /// Takes one unit for a client; a client of unknown address has no share limit.
    ///
    /// # Errors
    ///
    /// [`ShareTaken`] if the client's network, or the table of networks, is full.
    pub fn enter(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Share, ShareTaken> {
        let client = client.filter(|client| !self.clients.is_exempt(*client));
        let network = client.map(|client| self.clients.network(client));
        if let Some(network) = network {
            let bounds = self.bounds;
            let mut held = self.held();
            let networks = held.len();
            match held.get_mut(&network) {
                Some(count) if *count < bounds.share_max => *count += 1,
                None if networks < bounds.networks_max => _ = held.insert(network, 1),
                _ => return Err(ShareTaken { bounds, network }),
            }
        }
        Ok(Share { shares: Arc::clone(self), network })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        // A poisoned lock is safe to use: nothing panics while it is held, and every step leaves the counts right.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut held = self.shares.held();
        match held.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = held.remove(&network),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(share_max: usize, networks_max: usize) -> Arc<Shares> {
        Admission::default().shares(ShareBounds { what: "feeds", share_max, networks_max })
    }

    fn enter(shares: &Arc<Shares>, client: &str) -> Option<Share> {
        shares.enter(Some(client.parse().unwrap())).ok()
    }

    #[test]
    fn a_network_has_so_many() {
        let table = [
            ("192.0.2.1", "192.0.2.1", "192.0.3.2"),
            ("192.0.2.1", "192.0.2.255", "2001:db8::1"),
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.3.2"),
            ("2001:db8::1", "2001:db8:0:ff:ffff::2", "2001:db8:0:100::1"),
        ];
        for (address, same, other) in table {
            let shares = shares(3, 10);
            let mut held: Vec<_> = (0..3).map(|_| enter(&shares, address).unwrap()).collect();
            let refused = shares.enter(Some(same.parse().unwrap())).unwrap_err().to_string();
            assert!(refused.starts_with("3 feeds are open from "), "{refused}");
            assert!(enter(&shares, other).is_some(), "{other}");
            held.pop();
            held.push(enter(&shares, same).unwrap());
            assert!(enter(&shares, address).is_none(), "{address}");
            drop(held);
            assert!(shares.held().is_empty(), "what is free is forgotten");
        }
    }

    #[test]
    fn so_many_networks_hold_something() {
        let shares = shares(2, 2);
        let _first = enter(&shares, "192.0.2.1").unwrap();
        let second = enter(&shares, "192.0.3.1").unwrap();
        assert!(enter(&shares, "192.0.4.1").is_none());
        assert!(enter(&shares, "192.0.2.2").is_some(), "a network that is there");
        drop(second);
        assert!(enter(&shares, "192.0.4.1").is_some());
    }

    #[test]
    fn this_host_speaks_for_many() {
        let shares = shares(1, 1);
        for address in [None, Some("127.0.0.1"), Some("127.8.9.10"), Some("::1"), Some("::ffff:127.0.0.1")] {
            let address = address.map(|text| text.parse().unwrap());
            let held: Vec<_> = (0..100).map(|_| shares.enter(address)).collect();
            assert!(held.iter().all(Result::is_ok), "{address:?}");
            assert!(shares.held().is_empty(), "{address:?}");
        }
    }

    proptest! {
        // The table is what is held, whatever came and went.
        #[test]
        fn the_table_holds_what_is_open(steps in proptest::collection::vec((0u8..6, any::<bool>()), 0..200)) {
            let shares = shares(3, 4);
            let mut held: Vec<(u8, Share)> = Vec::new();
            for (network, comes) in steps {
                let own = held.iter().position(|(other, _)| *other == network);
                match (comes, own) {
                    (false, Some(at)) => drop(held.swap_remove(at)),
                    (false, None) => {}
                    (true, _) => {
                        let count = held.iter().filter(|(other, _)| *other == network).count();
                        let expected = if count == 0 { shares.held().len() < 4 } else { count < 3 };
                        let share = shares.enter(Some([192, 0, network, 1].into()));
                        prop_assert_eq!(share.is_ok(), expected);
                        held.extend(share.ok().map(|share| (network, share)));
                    }
                }
                prop_assert_eq!(shares.held().values().sum::<usize>(), held.len());
                prop_assert!(shares.held().len() <= 4);
            }
            held.clear();
            prop_assert!(shares.held().is_empty());
        }
    }
}

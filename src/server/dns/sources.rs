//! How many connections a client network may have open at once, over TCP, TLS and QUIC together, so that one client cannot
//! take them all (RFC 9210 section 4.2).
//!
//! A connection counts from [`Sources::admit`] until its [`SourceGuard`] is dropped, however that comes about. The table
//! holds only networks with open connections, and no more than a fixed number of them: beyond that, a network that has
//! none open yet is turned away. The caller bounds connections as a whole.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::rate::loopback;
use crate::network::Network;

/// Bounds of the connections of client networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLimits {
    /// The most connections of a client network at once; 0 limits nothing.
    pub connections_per_source_max: usize,
    /// The most client networks with connections at once.
    pub sources_max: usize,
    /// How many bits of an IPv4 address are the client network: 0 to 32.
    pub ipv4_prefix_length: u8,
    /// How many bits of an IPv6 address are the client network: 0 to 128.
    pub ipv6_prefix_length: u8,
    /// Networks without limits.
    pub exempt: Vec<Network>,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            connections_per_source_max: 64,
            sources_max: 65_536,
            ipv4_prefix_length: 24,
            ipv6_prefix_length: 56,
            exempt: loopback().into(),
        }
    }
}

/// The client networks that have connections open.
#[derive(Debug)]
pub struct Sources {
    limits: SourceLimits,
    open: Mutex<HashMap<Network, usize>>,
}

/// One open connection; dropping it gives its place back.
#[derive(Debug)]
pub struct SourceGuard {
    sources: Arc<Sources>,
    /// `None` for a client without limits.
    network: Option<Network>,
}

impl Sources {
    /// No connections yet.
    pub fn new(limits: SourceLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Takes a place for a connection from `client`; `None` when its network has all that it may have, or when too many
    /// networks have connections open.
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Option<SourceGuard> {
        let client = client.to_canonical();
        let limits = &self.limits;
        let unlimited = limits.connections_per_source_max == 0;
        if unlimited || limits.exempt.iter().any(|network| network.contains(client)) {
            return Some(SourceGuard { sources: self.clone(), network: None });
        }
        let prefix_length = if client.is_ipv4() { limits.ipv4_prefix_length } else { limits.ipv6_prefix_length };
        let network = Network::of(client, prefix_length);
        let mut open = self.open();
        let sources = open.len();
        match open.get_mut(&network) {
            Some(count) if *count < limits.connections_per_source_max => *count += 1,
            None if sources < limits.sources_max => _ = open.insert(network, 1),
            _ => return None,
        }
        Some(SourceGuard { sources: self.clone(), network: Some(network) })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        // Nothing panics while the lock is held, and the counts are right after every step.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SourceGuard {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut open = self.sources.open();
        match open.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = open.remove(&network),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sources(connections_per_source_max: usize, sources_max: usize) -> Arc<Sources> {
        Sources::new(SourceLimits { connections_per_source_max, sources_max, ..SourceLimits::default() })
    }

    fn admit(sources: &Arc<Sources>, client: &str) -> Option<SourceGuard> {
        sources.admit(client.parse().unwrap())
    }

    #[test]
    fn a_network_has_so_many_connections() {
        let sources = sources(2, 10);
        let first = admit(&sources, "192.0.2.1").unwrap();
        let _second = admit(&sources, "::ffff:192.0.2.2").unwrap();
        assert!(admit(&sources, "192.0.2.3").is_none());
        assert!(admit(&sources, "192.0.3.1").is_some());
        assert!(admit(&sources, "2001:db8::1").is_some());
        drop(first);
        assert!(admit(&sources, "192.0.2.3").is_some());
    }

    #[test]
    fn so_many_networks_have_connections() {
        let sources = sources(2, 2);
        let _first = admit(&sources, "192.0.2.1").unwrap();
        let second = admit(&sources, "192.0.3.1").unwrap();
        assert!(admit(&sources, "192.0.4.1").is_none());
        assert!(admit(&sources, "192.0.2.2").is_some(), "a network that is there");
        drop(second);
        assert!(admit(&sources, "192.0.4.1").is_some());
    }

    #[test]
    fn who_is_not_limited() {
        for (limit, client) in [(1, "127.0.0.1"), (1, "::1"), (0, "192.0.2.1")] {
            let sources = sources(limit, 1);
            let guards: Vec<_> = (0..100).map(|_| admit(&sources, client).unwrap()).collect();
            assert!(sources.open().is_empty(), "{client}");
            drop(guards);
        }
    }

    proptest! {
        // The table is what is open, whatever came and went.
        #[test]
        fn the_table_holds_what_is_open(steps in proptest::collection::vec((0u8..6, any::<bool>()), 0..200)) {
            let sources = sources(3, 4);
            let mut guards: Vec<(u8, SourceGuard)> = Vec::new();
            for (network, comes) in steps {
                let own = guards.iter().position(|(other, _)| *other == network);
                match (comes, own) {
                    (false, Some(at)) => drop(guards.swap_remove(at)),
                    (false, None) => {}
                    (true, _) => {
                        let count = guards.iter().filter(|(other, _)| *other == network).count();
                        let expected = if count == 0 { sources.open().len() < 4 } else { count < 3 };
                        let guard = sources.admit([192, 0, network, 1].into());
                        prop_assert_eq!(guard.is_some(), expected);
                        guards.extend(guard.map(|guard| (network, guard)));
                    }
                }
                prop_assert_eq!(sources.open().values().sum::<usize>(), guards.len());
                prop_assert!(sources.open().len() <= 4);
            }
            guards.clear();
            prop_assert!(sources.open().is_empty());
        }
    }
}

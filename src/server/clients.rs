//! The definition of a client, and the bounds on connections that all front ends share.

use std::net::IpAddr;

use crate::network::{Network, loopback};

/// Definition of a client: the prefix lengths of its network, and the exempt networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNetworks {
    /// Prefix length of a client network over IPv4: 0 to 32.
    pub ipv4_prefix_length: u8,
    /// Prefix length of a client network over IPv6: 0 to 128.
    pub ipv6_prefix_length: u8,
    /// Networks without a share limit.
    pub exempt: Vec<Network>,
}

impl Default for ClientNetworks {
    fn default() -> Self {
        Self { ipv4_prefix_length: 24, ipv6_prefix_length: 56, exempt: loopback().into() }
    }
}

impl ClientNetworks {
    /// Client network of an address.
    pub fn network(&self, client: IpAddr) -> Network {
        let client = client.to_canonical();
        Network::of(client, if client.is_ipv4() { self.ipv4_prefix_length } else { self.ipv6_prefix_length })
    }

    /// True if the address has no share limit.
    pub fn is_exempt(&self, client: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(client))
    }
}

/// Bounds that all front ends share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Maximum number of connections at once, over all listeners. Each takes a file descriptor.
    pub connections_max: usize,
    /// Minimum silence, in milliseconds, before a connection without a request under way has to make room for a new
    /// one: time enough for a first request to arrive.
    pub room_after_ms: u64,
    /// Minimum time without any part of a response, in milliseconds, before a connection with requests under way has to
    /// make room.
    pub stalled_after_ms: u64,
    /// Definition of a client.
    pub clients: ClientNetworks,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            room_after_ms: 500,
            stalled_after_ms: 60_000,
            clients: ClientNetworks::default(),
        }
    }
}

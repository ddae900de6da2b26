//! How much one peer may have open at a time.
//!
//! A peer is an IPv4 address or an IPv6 network of 64 bits: within one a client has as many addresses as it likes. This host
//! is no peer: a proxy on it speaks for many.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::resolver::feed::FEEDS_MAX;

/// The most feeds of one peer over one front end: nobody takes all.
const FEEDS_PER_PEER_MAX: usize = FEEDS_MAX / 4;

/// Who has how many feeds open.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// A feed of a peer; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Arc<Peers>,
    /// `None` where nobody counts.
    peer: Option<IpAddr>,
}

/// The peer has as many feeds open as it may have.
#[derive(Debug, thiserror::Error)]
#[error("{FEEDS_PER_PEER_MAX} feeds are open from {peer}, which is the limit for one peer; end one of them")]
pub(super) struct TooManyOfPeer {
    peer: IpAddr,
}

impl Peers {
    /// A place for one more feed of whoever has this address.
    ///
    /// # Errors
    ///
    /// [`TooManyOfPeer`].
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, TooManyOfPeer> {
        let peer = address.map(|address| address.to_canonical()).filter(|address| !address.is_loopback()).map(network);
        if let Some(peer) = peer {
            let mut counts = self.counts();
            let count = counts.entry(peer).or_default();
            if *count >= FEEDS_PER_PEER_MAX {
                return Err(TooManyOfPeer { peer });
            }
            *count += 1;
        }
        Ok(Place { peers: Arc::clone(self), peer })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut counts = self.peers.counts();
        let left = counts.get(&peer).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            counts.remove(&peer);
        } else {
            counts.insert(peer, left);
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_does_not_take_all() {
        let table = [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"),
        ];
        for (address, same, other) in table {
            let [address, same, other] = [address, same, other].map(|text| Some(text.parse().unwrap()));
            let peers = Arc::<Peers>::default();
            let mut places: Vec<_> = (0..FEEDS_PER_PEER_MAX).map(|_| peers.enter(address).unwrap()).collect();
            assert!(peers.enter(same).is_err(), "{same:?}");
            assert!(peers.enter(other).is_ok(), "{other:?}");
            places.pop();
            places.push(peers.enter(same).unwrap());
            assert!(peers.enter(address).is_err(), "{address:?}");
            drop(places);
            assert!(peers.counts().is_empty(), "what is free is forgotten");
        }
    }

    #[test]
    fn this_host_speaks_for_many() {
        let peers = Arc::<Peers>::default();
        for address in [None, Some("127.0.0.1"), Some("::1"), Some("::ffff:127.0.0.1")] {
            let address = address.map(|text| text.parse().unwrap());
            let places: Vec<_> = (0..FEEDS_MAX).map(|_| peers.enter(address)).collect();
            assert!(places.iter().all(Result::is_ok), "{address:?}");
        }
    }
}

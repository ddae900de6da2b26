//! UDP sockets: how they are bound, and the way of a datagram through one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::{
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, SockFlag, SockType, SockaddrStorage, bind, setsockopt,
            socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

/// How much may wait in the system for a socket to be read, in bytes, as far as the system allows it.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// How often an idle loop looks whether it is to stop, in milliseconds.
const STOP_CHECK_MS: i64 = 200;

/// Binds a socket. When it is to share its port, every other one on the port has to say so, too.
///
/// # Errors
///
/// When the system gives no socket, or the address cannot be bound.
pub fn open(address: SocketAddr, shares_port: bool) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &shares_port)?;
    if address.is_ipv6() {
        // So that `[::]` and `0.0.0.0` can be listened on side by side.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    // Less than wanted is no reason not to serve.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(STOP_CHECK_MS))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(fd))
}

/// Who sent a datagram, and to which of the node's addresses, where that has to be said when it is answered.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) peer: SockaddrStorage,
    pub(super) local: Option<LocalAddress>,
}

impl Path {
    /// The address of the client; `None` for families that nothing listens on.
    pub(super) fn client(&self) -> Option<IpAddr> {
        let v4 = self.peer.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| self.peer.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    }
}

/// One of the node's addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalAddress {
    address: IpAddr,
    /// Matters for addresses that count on one link only.
    interface: u32,
}

impl LocalAddress {
    /// Where a datagram arrived.
    pub(super) fn of(message: &ControlMessageOwned) -> Option<Self> {
        match *message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                Some(Self { address: address.into(), interface: 0 })
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                Some(Self { address: address.into(), interface: info.ipi6_ifindex })
            }
            _ => None,
        }
    }
}

/// Sends with what says from which of the node's addresses.
pub(super) fn with_control<T>(local: Option<LocalAddress>, send: impl FnOnce(&[ControlMessage<'_>]) -> T) -> T {
    match local {
        None => send(&[]),
        Some(LocalAddress { address: IpAddr::V4(address), .. }) => {
            // The interface is left to the routes: an answer may have to leave through another one.
            send(&[ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            })])
        }
        Some(LocalAddress { address: IpAddr::V6(address), interface }) => {
            let source = in6_addr { s6_addr: address.octets() };
            send(&[ControlMessage::Ipv6PacketInfo(&in6_pktinfo { ipi6_addr: source, ipi6_ifindex: interface })])
        }
    }
}

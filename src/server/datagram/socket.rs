//! UDP sockets: binding, and the addresses of a datagram.

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

/// Size of a socket's receive buffer, in bytes, as far as the system allows it.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Interval at which an idle loop checks for its stop, in milliseconds.
const STOP_CHECK_MS: i64 = 200;

/// Binds a socket. To share a port, every socket on the port must ask for it.
///
/// # Errors
///
/// If the system gives no socket, or the address cannot be bound.
pub fn open(address: SocketAddr, shares_port: bool) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &shares_port)?;
    if address.is_ipv6() {
        // Lets `[::]` and `0.0.0.0` be listened on side by side.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    // A smaller buffer is no reason not to serve.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(STOP_CHECK_MS))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(fd))
}

/// Addresses of a datagram: its source, and the node's address if the response must name it.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) peer: SockaddrStorage,
    pub(super) local: Option<LocalAddress>,
}

impl Path {
    /// Address of the client; `None` for other families than IPv4 and IPv6.
    pub(super) fn client(&self) -> Option<IpAddr> {
        let v4 = self.peer.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| self.peer.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    }
}

/// One of the node's addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalAddress {
    address: IpAddr,
    /// Interface; matters for link-local addresses.
    interface: u32,
}

impl LocalAddress {
    /// The local address at which a datagram arrived.
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

/// Calls `send` with the control message that sets the source address.
pub(super) fn with_control<T>(local: Option<LocalAddress>, send: impl FnOnce(&[ControlMessage<'_>]) -> T) -> T {
    match local {
        None => send(&[]),
        Some(LocalAddress { address: IpAddr::V4(address), .. }) => {
            // The route decides about the interface: a response may have to leave through another one.
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

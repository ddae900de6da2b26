//! Batches of responses, sent with one system call.

use std::{io::IoSlice, net::UdpSocket, os::fd::AsRawFd as _};

use nix::{
    cmsg_space,
    libc::{in_pktinfo, in6_pktinfo},
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
};

use super::socket::{Path, with_control};

/// Maximum number of datagrams that are received and answered together.
pub(super) const BATCH_DATAGRAMS: usize = 64;
/// Usual maximum length of a response, in octets: what passes every path in one piece.
pub(super) const RESPONSE_OCTETS_USUAL: usize = 1_232;

/// A batch of responses.
pub(super) struct Sender {
    pub(super) socket: UdpSocket,
    /// True if the socket is bound to the unspecified address, so that each response must name its source address.
    pub(super) is_unbound: bool,
    headers: MultiHeaders<SockaddrStorage>,
    responses: Vec<Vec<u8>>,
    paths: Vec<Path>,
}

impl Sender {
    pub(super) fn new(socket: UdpSocket, is_unbound: bool) -> Self {
        let is_ipv4 = socket.local_addr().is_ok_and(|local| local.is_ipv4());
        let control = is_unbound.then(|| if is_ipv4 { cmsg_space!(in_pktinfo) } else { cmsg_space!(in6_pktinfo) });
        Self {
            socket,
            is_unbound,
            headers: MultiHeaders::preallocate(BATCH_DATAGRAMS, control),
            responses: (0..BATCH_DATAGRAMS).map(|_| Vec::with_capacity(RESPONSE_OCTETS_USUAL)).collect(),
            paths: Vec::with_capacity(BATCH_DATAGRAMS),
        }
    }

    /// Buffer for the next response; the response is sent if [`Sender::keep`] is called.
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        if self.paths.len() == BATCH_DATAGRAMS {
            self.flush();
        }
        &mut self.responses[self.paths.len()]
    }

    pub(super) fn keep(&mut self, path: Path) {
        self.paths.push(path);
    }

    /// Sends the batch, in runs of responses from the same local address.
    pub(super) fn flush(&mut self) {
        let mut start = 0;
        while let Some(first) = self.paths.get(start) {
            let count = self.paths[start..].iter().take_while(|path| path.local == first.local).count();
            start += self.send(start, count);
        }
        self.paths.clear();
    }

    /// Sends as many of these responses as the system takes at once; returns the number sent or dropped. A response
    /// that cannot be sent is dropped: the client asks again.
    fn send(&mut self, start: usize, count: usize) -> usize {
        let responses = self.responses.iter().skip(start).take(count);
        let slices: Vec<_> = responses.map(|response| [IoSlice::new(response)]).collect();
        let peers: Vec<_> = self.paths[start..start + count].iter().map(|path| Some(path.peer)).collect();
        let fd = self.socket.as_raw_fd();
        let sent = with_control(self.paths[start].local, |control| {
            let flags = MsgFlags::MSG_DONTWAIT;
            sendmmsg(fd, &mut self.headers, slices.iter(), peers, control, flags).map(Iterator::count)
        });
        // If even the first one failed, drop that one: the loop must make progress.
        sent.unwrap_or(0).max(1)
    }
}

//! One socket of the client, with its window.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};

use super::{Figures, names::Queries};
use crate::Outcome;

/// Datagrams in a batch.
const BATCH: usize = 64;
/// Octets of a buffer, more than any answer over UDP has.
const BUFFER_OCTETS: usize = 4_096;
/// Number of ids of queries.
const IDS: usize = 1 << 16;

/// Buffers for a batch, shared by all sockets.
pub struct Batch {
    buffers: Box<[[u8; BUFFER_OCTETS]; BATCH]>,
    received: MultiHeaders<SockaddrIn>,
    sent: MultiHeaders<SockaddrIn>,
}

impl Batch {
    pub fn new() -> Self {
        let headers = || MultiHeaders::preallocate(BATCH, None);
        Self { buffers: Box::new([[0; BUFFER_OCTETS]; BATCH]), received: headers(), sent: headers() }
    }
}

/// A connected socket, with the time at which each unanswered query was sent.
pub struct Lane {
    socket: UdpSocket,
    /// Times by id, since the start of the client; `None` if no answer is awaited.
    sent_at: Box<[Option<Duration>]>,
    /// Id of the next query.
    next: u16,
    /// Id of the oldest query that may still be answered, or `next`.
    oldest: u16,
    waiting: usize,
}

impl Lane {
    /// Connects to a server.
    pub fn connect(server: SocketAddrV4) -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(server)?;
        Ok(Self { socket, sent_at: vec![None; IDS].into(), next: 0, oldest: 0, waiting: 0 })
    }

    /// Number of unanswered queries.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Receives the datagrams that have arrived; returns their number.
    pub fn receive(&mut self, batch: &mut Batch, began: Instant, figures: &mut Figures) -> Outcome<usize> {
        let mut slices = batch.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let socket = self.socket.as_raw_fd();
        let messages = recvmmsg(socket, &mut batch.received, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let messages = match messages {
            Ok(messages) => messages,
            Err(error) => return is_nothing(error).map(|()| 0),
        };
        let now = began.elapsed();
        let mut count = 0;
        for message in messages {
            count += 1;
            let Some(head) = message.iovs().next().and_then(<[u8]>::first_chunk::<4>) else { continue };
            let id = usize::from(u16::from_be_bytes([head[0], head[1]]));
            // Not an answer to a query of this client, or to one that was given up.
            let Some(sent_at) = self.sent_at[id].take() else { continue };
            self.waiting -= 1;
            figures.answered(*head, message.bytes, (now - sent_at).as_nanos() as u64);
        }
        Ok(count)
    }

    /// Gives up queries sent before `before`.
    pub fn give_up(&mut self, before: Duration, figures: &mut Figures) {
        while self.oldest != self.next {
            let sent_at = &mut self.sent_at[usize::from(self.oldest)];
            match sent_at {
                Some(time) if *time >= before => return,
                Some(_) => {
                    *sent_at = None;
                    self.waiting -= 1;
                    figures.lost += 1;
                }
                None => {}
            }
            self.oldest = self.oldest.wrapping_add(1);
        }
    }

    /// Sends up to `room` queries; returns the number sent.
    pub fn send(
        &mut self,
        batch: &mut Batch,
        queries: &Queries,
        began: Instant,
        room: usize,
        figures: &mut Figures,
    ) -> Outcome<usize> {
        // One id stays free, so that `oldest` and `next` are equal only when no query is unanswered.
        let used = usize::from(self.next.wrapping_sub(self.oldest));
        let count = room.min(BATCH).min(IDS - 1 - used);
        if count == 0 {
            return Ok(0);
        }
        let ids: [[u8; 2]; BATCH] = std::array::from_fn(|at| self.next.wrapping_add(at as u16).to_be_bytes());
        let slices: [_; BATCH] = std::array::from_fn(|at| {
            let query = if at < count { queries.get(figures.sent + at as u64) } else { &[] };
            [IoSlice::new(&ids[at]), IoSlice::new(query)]
        });
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let now = began.elapsed();
        // The socket is connected, so no addresses are needed.
        let done = sendmmsg(socket, &mut batch.sent, &slices[..count], [None; BATCH], [], flags);
        let sent = match done {
            Ok(messages) => messages.count(),
            Err(error) => return is_nothing(error).map(|()| 0),
        };
        for _ in 0..sent {
            self.sent_at[usize::from(self.next)] = Some(now);
            self.next = self.next.wrapping_add(1);
        }
        self.waiting += sent;
        figures.sent += sent as u64;
        Ok(sent)
    }
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Ignores transient errors: nothing to receive, no room, a server that does not listen yet.
fn is_nothing(error: Errno) -> Outcome<()> {
    match error {
        Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED | Errno::ENOBUFS => Ok(()),
        error => Err(error.into()),
    }
}

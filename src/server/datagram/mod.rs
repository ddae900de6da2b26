//! UDP transport of any protocol: a loop that answers datagrams in batches.
//!
//! ```text
//!             +-> service: what is in memory -> sendmmsg ------------------------> client
//! recvmmsg ---+
//!  (a batch)  +-> takes a disk, a signature -> bounded queue -> reader -> sendmmsg -> client
//!             +-> waits for others -> LateReply -> sendmsg -> client
//! ```
//!
//! A protocol is a [`DatagramService`]. The loop is generic over the service and compiled for each one, so that a
//! datagram costs no indirect call.
//!
//! Each worker is two threads over one socket; several workers share the port (SO_REUSEPORT), and the system divides
//! the clients among them. The loop takes the datagrams that have arrived, answers those that need no disk, sends all
//! responses with one call, and hands the other requests to the reader, which may wait. When the reader falls behind,
//! its new requests are dropped, and the loop goes on. A socket bound to the unspecified address answers from the
//! address that the client asked.
//!
//! Source addresses over UDP can be forged. So a response is written first, then the service names the bucket that it
//! counts against ([`DatagramService::rate_key`]), and the verdict of the [`RateLimiter`] decides how much of it is
//! sent.
//!
//! Deliberately absent: the content of responses, and the exemption of clients with a proven address: both are the
//! service's.

pub mod rate;
mod sender;
mod socket;
mod worker;

use std::{
    io, mem,
    net::{IpAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread::{self, JoinHandle},
};

use rate::{RateKey, RateLimiter, Verdict};
use sender::Sender;
use socket::Path;
pub use socket::open;
use worker::{Desk, LateDesk, READING_BATCHES_MAX, Reader, Worker};

use crate::resolver::Depth;

/// A protocol that answers datagrams.
///
/// For each datagram, `answer`, `rate_key`, `within` and `conclude` are called in this order; `rate_key` and `within`
/// only for a client with limits.
pub trait DatagramService: Send + Sync + Sized + 'static {
    /// Result of answering a request.
    type Answer;

    /// A further instance of the service; with a single user its counters can be plain additions.
    fn instance(&self, users: Users) -> Self;

    /// Answers a request within `depth`; replaces the content of `out` with the response, if there is one.
    fn answer(&self, request: &[u8], client: &DatagramClient, depth: Depth, out: &mut Vec<u8>) -> Self::Answer;

    /// Rate-limit key of an answer; `None` if the answer is not limited.
    fn rate_key(&self, answer: &Self::Answer) -> Option<RateKey>;

    /// Applies the verdict of the rate limit to an answer; cuts a response that slips in place.
    fn within(&self, answer: Self::Answer, verdict: Verdict, response: &mut Vec<u8>) -> Self::Answer;

    /// Counts an answer, starts the work that the client has to wait for, and decides about the response.
    fn conclude(&self, answer: Self::Answer, request: &[u8], path: &ReplyPath<'_, Self>) -> Sent;

    /// Counts datagrams that cannot be requests: too long, or without a source address.
    fn ignored(&self, datagrams: u64);

    /// Counts requests that were dropped because the reader has fallen behind.
    fn shed(&self, requests: u64);
}

/// Users of an instance of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// One thread.
    OneThread,
    /// Any number of threads at once.
    AnyThread,
}

/// Decision about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Send the response.
    Response,
    /// Send nothing, at least not now.
    Nothing,
    /// Send nothing yet: answer the request again with [`Depth::Whole`], on a thread that may wait.
    Deferred,
}

/// Sender of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct DatagramClient {
    /// Source address.
    pub address: IpAddr,
    /// Time of receipt, in seconds since 1970 UTC.
    pub now_unix: u64,
    /// True if responses to the address are rate-limited.
    pub has_limits: bool,
}

/// Return path to a client while its request is processed.
pub struct ReplyPath<'a, S> {
    path: Path,
    client: IpAddr,
    late: Option<&'a Arc<LateDesk<S>>>,
}

impl<S: DatagramService> ReplyPath<'_, S> {
    /// The address of the client.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Return path for a late response; `None` if the response is already late.
    pub fn later(&self) -> Option<LateReply<S>> {
        Some(LateReply { desk: Arc::clone(self.late?), path: self.path })
    }
}

/// Return path to a client that waits for a late response.
pub struct LateReply<S> {
    desk: Arc<LateDesk<S>>,
    path: Path,
}

impl<S: DatagramService> LateReply<S> {
    /// Answers the request now, and sends the response within the client's limits. A response that cannot be sent is
    /// dropped: the client asks again.
    pub fn respond(self, request: &[u8], answer: impl FnOnce(&S, &DatagramClient, &mut Vec<u8>) -> S::Answer) {
        self.desk.respond(request, self.path, answer);
    }
}

/// The running workers of one address.
pub struct DatagramListener {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl DatagramListener {
    /// Starts a worker with this service on each socket.
    ///
    /// # Errors
    ///
    /// If the system gives no thread or no second handle of a socket.
    pub fn run<S: DatagramService>(
        sockets: Vec<UdpSocket>,
        service: &S,
        limiter: &Arc<RateLimiter>,
    ) -> io::Result<Self> {
        let mut listener = Self { stop: Arc::default(), threads: Vec::new() };
        for socket in sockets {
            let (queue, queued) = sync_channel(READING_BATCHES_MAX);
            let is_unbound = socket.local_addr()?.ip().is_unspecified();
            let late = LateDesk::new(service, Arc::clone(limiter), socket.try_clone()?);
            let late = Arc::new(late);
            let reading = Desk::new(service, Arc::clone(limiter), Some(Arc::clone(&late)));
            let answering = Desk::new(service, Arc::clone(limiter), Some(late));
            let reading_socket = socket.try_clone()?;
            // A sender holds pointers and so is created on its own thread.
            listener.spawn("touchmark-read", move || {
                Reader::new(reading, Sender::new(reading_socket, is_unbound), queued).run();
            })?;
            let stop = Arc::clone(&listener.stop);
            listener.spawn("touchmark-udp", move || {
                Worker::new(answering, Sender::new(socket, is_unbound), queue, stop).run();
            })?;
        }
        Ok(listener)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.into()).spawn(run)?);
        Ok(())
    }

    /// Stops after the received requests have been answered. Datagrams still in the system's queue are dropped; clients
    /// ask again.
    pub fn shutdown(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of a UDP listener died");
            }
        }
    }
}

impl Drop for DatagramListener {
    /// Stops the threads without waiting for them.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

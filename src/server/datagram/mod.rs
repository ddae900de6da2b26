//! Protocols over UDP: a loop that answers a batch of datagrams at a time, whatever they say.
//!
//! ```text
//!             +-> service: what is in memory -> sendmmsg ------------------------> client
//! recvmmsg ---+
//!  (a batch)  +-> takes a disk, a signature -> bounded queue -> reader -> sendmmsg -> client
//!             +-> waits for others -> LateReply -> sendmsg -> client
//! ```
//!
//! A protocol is a [`DatagramService`]. The loop knows nothing of it; it is compiled for each service, so that a datagram costs no
//! indirect call.
//!
//! Each worker is two threads over one socket; several workers share the port (SO_REUSEPORT), and the system divides the clients
//! among them. The loop takes what has arrived, has answered what takes no disk, sends all of it with one call, and hands the rest
//! to the reader, which may wait. When that one falls behind, what it would read is dropped, and the others are answered as before.
//! A socket that is bound to no particular address answers from the one that was asked.
//!
//! A client over UDP may not be who it says. So a response is written first, then the service says on which account it counts
//! ([`DatagramService::rate_key`]), and the verdict of the [`RateLimiter`] decides how much of it leaves.
//!
//! Deliberately absent: what the answers are, and who is exempt from limits because it proved where it is: the service says so.

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

/// What answers the datagrams of a protocol.
///
/// For each datagram, `answer`, `rate_key`, `within` and `conclude` are called in this order; `rate_key` and `within` only for a client
/// that has limits.
pub trait DatagramService: Send + Sync + Sized + 'static {
    /// What came of a request.
    type Answer;

    /// The same service for others who use it; counters of a single thread can be plain additions.
    fn instance(&self, users: Users) -> Self;

    /// Answers a request as far as `depth` goes; writes the response, if there is one, in place of what `out` held.
    fn answer(&self, request: &[u8], client: &DatagramClient, depth: Depth, out: &mut Vec<u8>) -> Self::Answer;

    /// The account that an answer counts on; `None` for what limits do not count.
    fn rate_key(&self, answer: &Self::Answer) -> Option<RateKey>;

    /// What becomes of an answer by the verdict of the limits; a response that slips is cut down where it stands.
    fn within(&self, answer: Self::Answer, verdict: Verdict, response: &mut Vec<u8>) -> Self::Answer;

    /// Counts an answer, begins what has to be waited for, and says what is done with the response.
    fn conclude(&self, answer: Self::Answer, request: &[u8], path: &ReplyPath<'_, Self>) -> Sent;

    /// Counts datagrams that cannot be requests: they are too long, or come from nobody.
    fn ignored(&self, datagrams: u64);

    /// Counts requests that are dropped because the reader has fallen behind.
    fn shed(&self, requests: u64);
}

/// Who uses an instance of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// One thread.
    OneThread,
    /// Any number of threads at once.
    AnyThread,
}

/// What is done with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It leaves.
    Response,
    /// Nothing leaves, at least not now.
    Nothing,
    /// Nothing yet: the request is answered again with [`Depth::Whole`], by a thread that may wait.
    Deferred,
}

/// Who sent a datagram.
#[derive(Clone, Copy, Debug)]
pub struct DatagramClient {
    /// The address.
    pub address: IpAddr,
    /// When, in seconds since 1970 UTC.
    pub now_unix: u64,
    /// Whether there are limits on what goes to the address.
    pub has_limits: bool,
}

/// The way back to a client, as long as its request is looked at.
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

    /// A way back that stays, for a response that has to be waited for; `None` for what is a late response itself.
    pub fn later(&self) -> Option<LateReply<S>> {
        Some(LateReply { desk: Arc::clone(self.late?), path: self.path })
    }
}

/// The way back to a client that waits for a response.
pub struct LateReply<S> {
    desk: Arc<LateDesk<S>>,
    path: Path,
}

impl<S: DatagramService> LateReply<S> {
    /// Answers the request now, and sends the response within the limits of the client. What cannot be sent is dropped: the client
    /// asks again.
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
    /// Starts a worker on each socket, which answers with the service.
    ///
    /// # Errors
    ///
    /// When the system gives no thread or no second handle of a socket.
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
            // What a thread sends with holds pointers, and so is made on the thread itself.
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

    /// Stops after what was taken has been answered. Datagrams that still wait in the system are dropped; a client
    /// asks again.
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
    /// Whoever does not wait for the threads does not keep them either.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

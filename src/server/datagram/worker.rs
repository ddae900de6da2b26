//! The threads of a socket: the loop, which answers from memory, and the reader, which may wait.

use std::{
    io::{IoSlice, IoSliceMut},
    net::UdpSocket,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::in6_pktinfo,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmsg},
};

use super::{
    DatagramClient, DatagramService, ReplyPath, Sent, Users,
    rate::RateLimiter,
    sender::{BATCH_DATAGRAMS, RESPONSE_OCTETS_USUAL, Sender},
    socket::{LocalAddress, Path, with_control},
};
use crate::resolver::Depth;

/// Maximum number of batches that wait for the reader.
pub(super) const READING_BATCHES_MAX: usize = 64;
/// Maximum length of a request, in octets. A longer one is dropped.
const REQUEST_OCTETS_MAX: usize = 1_232;
/// Pause after a socket failed, in milliseconds.
const RECEIVE_PAUSE_MS: u64 = 50;

/// Time at which a batch is answered.
#[derive(Clone, Copy)]
pub(super) struct Now {
    /// Seconds since 1970 UTC.
    unix: u64,
    /// Milliseconds since an arbitrary time.
    ms: u64,
}

impl Now {
    fn get() -> Self {
        // A clock before 1970 counts as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix: since.as_secs(), ms: since.as_millis() as u64 }
    }
}

/// A service and its rate limiter, as one thread uses them.
pub(super) struct Desk<S> {
    service: S,
    limiter: Arc<RateLimiter>,
    /// Sender of late responses; `None` in that sender itself.
    late: Option<Arc<LateDesk<S>>>,
}

impl<S: DatagramService> Desk<S> {
    pub(super) fn new(service: &S, limiter: Arc<RateLimiter>, late: Option<Arc<LateDesk<S>>>) -> Self {
        let users = if late.is_some() { Users::OneThread } else { Users::AnyThread };
        Self { service: service.instance(users), limiter, late }
    }

    /// Answers a request within the limits of its client, into `out`.
    fn answer(
        &self,
        request: &[u8],
        path: Path,
        now: Now,
        out: &mut Vec<u8>,
        answer: impl FnOnce(&S, &DatagramClient, &mut Vec<u8>) -> S::Answer,
    ) -> Sent {
        let Some(address) = path.client() else { return Sent::Nothing };
        let has_limits = self.limiter.limits(address);
        let client = DatagramClient { address, now_unix: now.unix, has_limits };
        let mut answered = answer(&self.service, &client, out);
        if has_limits && let Some(key) = self.service.rate_key(&answered) {
            let verdict = self.limiter.check(address, key.class, key.name_hash, now.ms);
            answered = self.service.within(answered, verdict, out);
        }
        let path = ReplyPath { path, client: address, late: self.late.as_ref() };
        self.service.conclude(answered, request, &path)
    }

    /// Answers a request within `depth`, into the next batch; true if the request must be deferred.
    fn serve(&self, request: &[u8], path: Path, depth: Depth, now: Now, sender: &mut Sender) -> bool {
        let sent = self.answer(request, path, now, sender.next(), |service, client, out| {
            service.answer(request, client, depth, out)
        });
        if sent == Sent::Response {
            sender.keep(path);
        }
        sent == Sent::Deferred
    }
}

/// Sender of late responses, one by one, from any thread.
pub(super) struct LateDesk<S> {
    desk: Desk<S>,
    socket: UdpSocket,
}

impl<S: DatagramService> LateDesk<S> {
    pub(super) fn new(service: &S, limiter: Arc<RateLimiter>, socket: UdpSocket) -> Self {
        Self { desk: Desk::new(service, limiter, None), socket }
    }

    pub(super) fn respond(
        &self,
        request: &[u8],
        path: Path,
        answer: impl FnOnce(&S, &DatagramClient, &mut Vec<u8>) -> S::Answer,
    ) {
        let mut response = Vec::with_capacity(RESPONSE_OCTETS_USUAL);
        if self.desk.answer(request, path, Now::get(), &mut response, answer) == Sent::Response {
            let slices = [IoSlice::new(&response)];
            // A response that cannot be sent is dropped: the client asks again.
            let _ = with_control(path.local, |control| {
                sendmsg(self.socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, Some(&path.peer))
            });
        }
    }
}

/// A request that waits for the reader.
pub(super) struct DeferredRequest {
    request: Box<[u8]>,
    path: Path,
}

/// A datagram of a batch: its length and its addresses.
#[derive(Clone, Copy)]
struct Datagram {
    octets: usize,
    path: Path,
}

/// The loop of one socket.
pub(super) struct Worker<S> {
    desk: Desk<S>,
    sender: Sender,
    queue: SyncSender<Vec<DeferredRequest>>,
    stop: Arc<AtomicBool>,
    headers: MultiHeaders<SockaddrStorage>,
    requests: Vec<[u8; REQUEST_OCTETS_MAX]>,
    /// The datagrams of the batch; `None` for one that is ignored.
    received: Vec<Option<Datagram>>,
}

impl<S: DatagramService> Worker<S> {
    pub(super) fn new(
        desk: Desk<S>,
        sender: Sender,
        queue: SyncSender<Vec<DeferredRequest>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let control = sender.is_unbound.then(|| cmsg_space!(in6_pktinfo));
        Self {
            desk,
            sender,
            queue,
            stop,
            headers: MultiHeaders::preallocate(BATCH_DATAGRAMS, control),
            requests: vec![[0; REQUEST_OCTETS_MAX]; BATCH_DATAGRAMS],
            received: Vec::with_capacity(BATCH_DATAGRAMS),
        }
    }

    /// Runs until the listener stops.
    pub(super) fn run(mut self) {
        let mut failing = false;
        while !self.stop.load(Ordering::Relaxed) {
            match self.receive() {
                Ok(()) => {
                    failing = false;
                    self.answer();
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => {
                    // Logged once until the socket works again; the pause keeps a broken socket from taking the
                    // processor.
                    if !failing {
                        tracing::error!(%error, "datagrams cannot be received; trying again");
                    }
                    failing = true;
                    thread::sleep(Duration::from_millis(RECEIVE_PAUSE_MS));
                }
            }
        }
    }

    /// Receives the datagrams that have arrived; waits for the first one if there are none.
    fn receive(&mut self) -> Result<(), Errno> {
        self.received.clear();
        let mut slices: Vec<_> = self.requests.iter_mut().map(|request| [IoSliceMut::new(request)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let messages = recvmmsg(self.sender.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)?;
        for message in messages {
            let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            let local = match self.sender.is_unbound {
                true => message.cmsgs().ok().and_then(|mut messages| messages.find_map(|item| LocalAddress::of(&item))),
                false => None,
            };
            let peer = message.address.filter(|_| whole);
            self.received.push(peer.map(|peer| Datagram { octets: message.bytes, path: Path { peer, local } }));
        }
        Ok(())
    }

    /// Answers a batch from memory, and hands the other requests to the reader.
    fn answer(&mut self) {
        let now = Now::get();
        let mut waiting = Vec::new();
        for (request, received) in self.requests.iter().zip(&self.received) {
            let Some(Datagram { octets, path }) = *received else {
                self.desk.service.ignored(1);
                continue;
            };
            let Some(request) = request.get(..octets) else { continue };
            if self.desk.serve(request, path, Depth::Resident, now, &mut self.sender) {
                waiting.push(DeferredRequest { request: request.into(), path });
            }
        }
        self.sender.flush();
        if waiting.is_empty() {
            return;
        }
        // A full queue means that the disk does not keep up: clients ask again, and answers from memory go on.
        if let Err(TrySendError::Full(shed) | TrySendError::Disconnected(shed)) = self.queue.try_send(waiting) {
            self.desk.service.shed(shed.len() as u64);
        }
    }
}

/// The thread that answers requests that take a disk or a signature.
pub(super) struct Reader<S> {
    desk: Desk<S>,
    sender: Sender,
    queued: Receiver<Vec<DeferredRequest>>,
}

impl<S: DatagramService> Reader<S> {
    pub(super) fn new(desk: Desk<S>, sender: Sender, queued: Receiver<Vec<DeferredRequest>>) -> Self {
        Self { desk, sender, queued }
    }

    /// Runs until the worker is gone.
    pub(super) fn run(mut self) {
        while let Ok(waiting) = self.queued.recv() {
            let now = Now::get();
            for DeferredRequest { request, path } in waiting {
                self.desk.serve(&request, path, Depth::Whole, now, &mut self.sender);
            }
            self.sender.flush();
        }
    }
}

//! DNS over UDP: a loop that answers a batch of datagrams at a time.
//!
//! ```text
//!             +-> Responder: what is in memory -> sendmmsg -----------------------> client
//! recvmmsg ---+
//!  (a batch)  +-> on disk, to be signed -> bounded queue -> reading thread -> sendmmsg -> client
//!             +-> others have to be asked -> task -> sendmsg -> client
//! ```
//!
//! Each worker is two threads over one socket; several workers share the port (SO_REUSEPORT), and the system divides the clients
//! among them. The loop takes what has arrived, answers what takes no disk (answers that lie ready, and what those blocks of
//! the index and pages of the ledger say that are in memory), sends all of it with one call, and hands the rest to the thread
//! that may wait. When that one falls behind, what it would read is dropped, and the others are answered as before. A
//! socket that is bound to no particular address answers from the one that was asked.
//!
//! Deliberately absent: what the answers are (`protocol::dns`).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::{
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag, SockType,
            SockaddrStorage, bind, recvmmsg, sendmmsg, sendmsg, setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use super::{
    Context,
    counters::{Adders, Count, Counters},
    limits::Limits,
    rate::RateLimiter,
    since_1970,
    walks::Walks,
};
use crate::{
    protocol::dns::{Client, Responded, Responder, Transport, UDP_PAYLOAD_OCTETS_MAX, WalkFailure},
    resolver::{Depth, recursion::Resolved},
};

/// Datagrams that are taken and answered together.
const BATCH_DATAGRAMS: usize = 64;
/// The longest request, in octets: a question and EDNS options with padding. A longer one is dropped.
const REQUEST_OCTETS_MAX: usize = 1_232;
/// How many batches may wait for the disk.
const READING_BATCHES_MAX: usize = 64;
/// How much may wait in the system for a socket to be read, in bytes, as far as the system allows it.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// How long to wait after a socket failed, in milliseconds.
const RECEIVE_PAUSE_MS: u64 = 50;
/// How often an idle loop looks whether it is to stop, in milliseconds.
const STOP_CHECK_MS: i64 = 200;

/// The workers of one address.
pub(super) struct UdpListener {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpListener {
    /// Starts a worker on each socket.
    ///
    /// # Errors
    ///
    /// When the system gives no thread or no second handle of a socket.
    pub(super) fn start(sockets: Vec<UdpSocket>, context: &Context) -> io::Result<Self> {
        let mut listener = Self { stop: Arc::default(), threads: Vec::new() };
        for socket in sockets {
            let (queue, queued) = sync_channel(READING_BATCHES_MAX);
            let is_unbound = socket.local_addr()?.ip().is_unspecified();
            let afterwards =
                Arc::new(Afterwards { socket: socket.try_clone()?, answering: Answering::new(context, None) });
            let answering = || Answering::new(context, Some(&afterwards));
            let (second, reading, answering) = (socket.try_clone()?, answering(), answering());
            // What a thread sends with holds pointers, and so is made on the thread itself.
            listener.spawn("touchmark-read", move || {
                Reader { answering: reading, sender: Sender::new(second, is_unbound), queued }.run();
            })?;
            let stop = Arc::clone(&listener.stop);
            listener.spawn("touchmark-udp", move || {
                Worker::new(Sender::new(socket, is_unbound), answering, queue, stop).run();
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
    pub(super) fn shutdown(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of the UDP listener for DNS died");
            }
        }
    }
}

impl Drop for UdpListener {
    /// Whoever does not wait for the threads does not keep them either.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Binds a socket. When it is to share its port, every other one on the port has to say so, too.
pub(super) fn open(address: SocketAddr, shares_port: bool) -> io::Result<UdpSocket> {
    let (family, is_v4) = match address {
        SocketAddr::V4(_) => (AddressFamily::Inet, true),
        SocketAddr::V6(_) => (AddressFamily::Inet6, false),
    };
    let fd: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &shares_port)?;
    if !is_v4 {
        // So that `[::]` and `0.0.0.0` can be listened on side by side.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if address.ip().is_unspecified() {
        match is_v4 {
            true => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
            false => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
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
struct Path {
    peer: SockaddrStorage,
    local: Option<Local>,
}

/// One of the node's addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Local {
    address: IpAddr,
    /// Matters for addresses that count on one link only.
    interface: u32,
}

impl Local {
    /// Where a datagram arrived.
    fn of(message: &ControlMessageOwned) -> Option<Self> {
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

impl Path {
    /// The address of the client; `None` for families that nothing listens on.
    fn address(&self) -> Option<IpAddr> {
        let v4 = self.peer.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| self.peer.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    }
}

/// What a thread answers with.
struct Answering {
    responder: Arc<Responder>,
    limiter: Arc<RateLimiter>,
    counters: Arc<Counters>,
    /// Where walks are made, and what answers when one is over; nothing where that is itself.
    walks: Option<(Arc<Walks>, Arc<Afterwards>)>,
}

impl Answering {
    fn new(context: &Context, afterwards: Option<&Arc<Afterwards>>) -> Self {
        let (responder, limiter) = (Arc::clone(&context.responder), Arc::clone(&context.limiter));
        let walks = afterwards.map(|afterwards| (Arc::clone(&context.walks), Arc::clone(afterwards)));
        // What answers when walks are over does so on any thread.
        let adders = if walks.is_some() { Adders::One } else { Adders::Several };
        Self { responder, limiter, counters: context.counters(adders), walks }
    }

    /// Answers a request as far as `depth` goes, into what leaves next; says whether it takes more.
    fn answer(&self, request: &[u8], path: Path, depth: Depth, now: Now, sender: &mut Sender) -> bool {
        let respond = |client: &Client, out: &mut Vec<u8>| self.responder.respond(request, client, depth, out);
        let Some(responded) = self.with_client(path, now, sender.next(), respond) else { return false };
        match responded {
            Responded::Written(_) => sender.keep(path),
            Responded::Walk { identifier, .. } => {
                if let (Some((walks, afterwards)), Some(client)) = (&self.walks, path.address()) {
                    let (afterwards, request) = (Arc::clone(afterwards), Box::<[u8]>::from(request));
                    walks.spawn(*identifier, client, move |walked| afterwards.answer(&request, path, walked.as_ref()));
                }
            }
            Responded::Deferred => return true,
            Responded::Silent | Responded::Withheld(_) => {}
        }
        false
    }

    /// Responds to the client that sent a datagram, within its limits, and counts what came of it; `None` for whom nothing can be sent
    /// to.
    fn with_client(
        &self,
        path: Path,
        now: Now,
        response: &mut Vec<u8>,
        respond: impl FnOnce(&Client, &mut Vec<u8>) -> Responded,
    ) -> Option<Responded> {
        let address = path.address()?;
        let has_limits = self.limiter.limits(address);
        let client = Client { address, transport: Transport::Datagram, now_unix: now.unix, has_limits };
        let mut responded = respond(&client, response);
        if has_limits {
            let limits = Limits { limiter: &self.limiter, now_ms: now.ms };
            responded = {
                let allowance = limits.allowance(address, &responded);
                responded.within(allowance, response)
            };
        }
        self.counters.count(&responded);
        Some(responded)
    }
}

/// What answers datagrams whose walk is over, one by one.
struct Afterwards {
    answering: Answering,
    socket: UdpSocket,
}

impl Afterwards {
    fn answer(&self, request: &[u8], path: Path, walked: Result<&Resolved, &WalkFailure>) {
        let mut response = Vec::with_capacity(UDP_PAYLOAD_OCTETS_MAX.into());
        let respond =
            |client: &Client, out: &mut Vec<u8>| self.answering.responder.respond_walked(request, client, walked, out);
        if let Some(Responded::Written(_)) = self.answering.with_client(path, Now::get(), &mut response, respond) {
            let (fd, slices) = (self.socket.as_raw_fd(), [IoSlice::new(&response)]);
            // What cannot be sent is dropped: the client asks again.
            let _ = with_control(path.local, |control| {
                sendmsg(fd, &slices, control, MsgFlags::MSG_DONTWAIT, Some(&path.peer))
            });
        }
    }
}

/// The time at which a batch is answered.
#[derive(Clone, Copy)]
struct Now {
    /// Seconds since 1970 UTC.
    unix: u64,
    /// Milliseconds since some time.
    ms: u64,
}

impl Now {
    fn get() -> Self {
        let since = since_1970();
        Self { unix: since.as_secs(), ms: since.as_millis() as u64 }
    }
}

/// A question that is not answered from the cache.
struct Waiting {
    request: Box<[u8]>,
    path: Path,
}

/// The loop of one socket.
struct Worker {
    answering: Answering,
    queue: SyncSender<Vec<Waiting>>,
    stop: Arc<AtomicBool>,
    headers: MultiHeaders<SockaddrStorage>,
    requests: Vec<[u8; REQUEST_OCTETS_MAX]>,
    /// Length and way of each request of the batch; nothing for what is not looked at.
    received: Vec<Option<(usize, Path)>>,
    sender: Sender,
}

impl Worker {
    fn new(sender: Sender, answering: Answering, queue: SyncSender<Vec<Waiting>>, stop: Arc<AtomicBool>) -> Self {
        let control = sender.is_unbound.then(|| cmsg_space!(in6_pktinfo));
        Self {
            answering,
            queue,
            stop,
            headers: MultiHeaders::preallocate(BATCH_DATAGRAMS, control),
            requests: vec![[0; REQUEST_OCTETS_MAX]; BATCH_DATAGRAMS],
            received: Vec::with_capacity(BATCH_DATAGRAMS),
            sender,
        }
    }

    fn run(mut self) {
        let mut failing = false;
        while !self.stop.load(Ordering::Relaxed) {
            match self.receive() {
                Ok(()) => {
                    failing = false;
                    self.answer();
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => {
                    // Told once until it works again; a pause keeps a broken socket from taking the processor.
                    if !failing {
                        tracing::error!(%error, "datagrams cannot be received; trying again");
                    }
                    failing = true;
                    thread::sleep(Duration::from_millis(RECEIVE_PAUSE_MS));
                }
            }
        }
    }

    /// Takes what has arrived, and waits for the first datagram when nothing has.
    fn receive(&mut self) -> Result<(), Errno> {
        self.received.clear();
        let mut slices: Vec<_> = self.requests.iter_mut().map(|request| [IoSliceMut::new(request)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let messages = recvmmsg(self.sender.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)?;
        for message in messages {
            let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            let local = match self.sender.is_unbound {
                true => message.cmsgs().ok().and_then(|mut messages| messages.find_map(|item| Local::of(&item))),
                false => None,
            };
            let peer = message.address.filter(|_| whole);
            self.received.push(peer.map(|peer| (message.bytes, Path { peer, local })));
        }
        Ok(())
    }

    /// Answers a batch as far as the cache goes, and hands on the rest.
    fn answer(&mut self) {
        let now = Now::get();
        let mut waiting = Vec::new();
        for (request, received) in self.requests.iter().zip(&self.received) {
            let Some((octets, path)) = *received else {
                self.answering.counters.add(Count::Ignored, 1);
                continue;
            };
            let Some(request) = request.get(..octets) else { continue };
            if self.answering.answer(request, path, Depth::Resident, now, &mut self.sender) {
                waiting.push(Waiting { request: request.into(), path });
            }
        }
        self.sender.flush();
        if waiting.is_empty() {
            return;
        }
        // A full queue means that the disk does not keep up: clients ask again, and what is in memory goes on.
        if let Err(TrySendError::Full(shed) | TrySendError::Disconnected(shed)) = self.queue.try_send(waiting) {
            self.answering.counters.add(Count::Shed, shed.len() as u64);
        }
    }
}

/// The thread that answers what takes a disk or a signature.
struct Reader {
    answering: Answering,
    queued: Receiver<Vec<Waiting>>,
    sender: Sender,
}

impl Reader {
    /// Goes on until the worker is gone.
    fn run(mut self) {
        while let Ok(waiting) = self.queued.recv() {
            let now = Now::get();
            for Waiting { request, path } in waiting {
                self.answering.answer(&request, path, Depth::Whole, now, &mut self.sender);
            }
            self.sender.flush();
        }
    }
}

/// Responses that leave together.
struct Sender {
    socket: UdpSocket,
    /// Whether the socket is bound to no particular address, so that each answer has to say where it comes from.
    is_unbound: bool,
    headers: MultiHeaders<SockaddrStorage>,
    responses: Vec<Vec<u8>>,
    paths: Vec<Path>,
}

impl Sender {
    fn new(socket: UdpSocket, is_unbound: bool) -> Self {
        let is_ipv4 = socket.local_addr().is_ok_and(|local| local.is_ipv4());
        let control = is_unbound.then(|| if is_ipv4 { cmsg_space!(in_pktinfo) } else { cmsg_space!(in6_pktinfo) });
        Self {
            socket,
            is_unbound,
            headers: MultiHeaders::preallocate(BATCH_DATAGRAMS, control),
            responses: (0..BATCH_DATAGRAMS).map(|_| Vec::with_capacity(UDP_PAYLOAD_OCTETS_MAX.into())).collect(),
            paths: Vec::with_capacity(BATCH_DATAGRAMS),
        }
    }

    /// Where to write the next response; it leaves once [`Sender::keep`] was called.
    fn next(&mut self) -> &mut Vec<u8> {
        if self.paths.len() == BATCH_DATAGRAMS {
            self.flush();
        }
        &mut self.responses[self.paths.len()]
    }

    fn keep(&mut self, path: Path) {
        self.paths.push(path);
    }

    /// Sends everything, answers from one of the node's addresses at a time.
    fn flush(&mut self) {
        let mut start = 0;
        while let Some(first) = self.paths.get(start) {
            let count = self.paths[start..].iter().take_while(|path| path.local == first.local).count();
            start += self.send(start, count);
        }
        self.paths.clear();
    }

    /// Sends as many of these responses as the system takes at once; says how many are done with. One that cannot be sent
    /// is dropped: the client asks again.
    fn send(&mut self, start: usize, count: usize) -> usize {
        let responses = self.responses.iter().skip(start).take(count);
        let slices: Vec<_> = responses.map(|response| [IoSlice::new(response)]).collect();
        let peers: Vec<_> = self.paths[start..start + count].iter().map(|path| Some(path.peer)).collect();
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let sent = with_control(self.paths[start].local, |control| {
            sendmmsg(fd, &mut self.headers, slices.iter(), peers, control, flags).map(Iterator::count)
        });
        // When even the first one failed, it is that one which is left out.
        sent.unwrap_or(0).max(1)
    }
}

/// Sends with what says from which of the node's addresses.
fn with_control<T>(local: Option<Local>, send: impl FnOnce(&[ControlMessage<'_>]) -> T) -> T {
    match local {
        None => send(&[]),
        Some(Local { address: IpAddr::V4(address), .. }) => {
            let (source, zero) = (in_addr { s_addr: u32::from_ne_bytes(address.octets()) }, in_addr { s_addr: 0 });
            // The interface is left to the routes: an answer may have to leave through another one.
            send(&[ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: source,
                ipi_addr: zero,
            })])
        }
        Some(Local { address: IpAddr::V6(address), interface }) => {
            let source = in6_addr { s6_addr: address.octets() };
            send(&[ControlMessage::Ipv6PacketInfo(&in6_pktinfo { ipi6_addr: source, ipi6_ifindex: interface })])
        }
    }
}

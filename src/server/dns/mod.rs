//! The DNS listeners: UDP and TCP on the same addresses, answered by one [`Responder`].
//!
//! ```text
//! UDP: recvmmsg, a batch ---+
//!                           +-- Responder -- bytes
//! TCP: accept, frame -------+
//! TLS: as TCP --------------+
//! QUIC: stream, frame ------+
//! HTTPS: stream, body ------+
//! ```
//!
//! A client over UDP may not be who it says: without a valid cookie (`protocol::dns::cookie`) its answers are limited
//! ([`rate`]). Connections are limited by client network, over all listeners together ([`crate::server::admission`]). What was
//! asked is counted ([`counters`]).
//!
//! [`udp`] answers what the loop of [`crate::server::datagram`] takes, on threads of its own: most of what the node is asked comes that
//! way. [`tcp`] is for
//! what does not fit a datagram, and for clients that prove where they are (RFC 7766). [`encrypted`] is TLS, HTTPS and QUIC,
//! with the certificate of [`crate::server::tls`].
//!
//! On a node that walks for its clients, what takes a walk ([`walks`]) is answered when that is over, on a task where nobody waits
//! for it. Who may be forged is limited before that, too.
//!
//! Deliberately absent: zone transfers, updates.

pub mod cookie_file;
pub mod counters;
pub mod encrypted;
pub mod keys;
mod limits;
pub mod signing;
mod tcp;
mod udp;
mod walks;

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use tcp::TCP_REQUEST_OCTETS_MAX;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use self::{
    counters::{Adders, AllCounters, Counted, Counters},
    encrypted::{EncryptedAddresses, EncryptedParts, EncryptedServer},
    rate::{RateLimiter, RateLimits},
    tcp::Streams,
    udp::UdpListener,
    walks::Walks,
};
pub use crate::server::datagram::rate;
use crate::{
    protocol::dns::{Client, Responded, Responder, Transport, WalkFailure},
    resolver::{Depth, ReadPool, ReadShare, recursion::Resolved},
    server::{
        accept::{self, Listener, Timeouts},
        admission::Admission,
        frontend::{Draining, Frontend, Listening},
        metrics::Metered,
        places::FrontendPlaces,
        tls::Certificate,
    },
};

/// Log directives that keep the lines of libraries about single requests and packets out of the log.
pub const LOG_DIRECTIVES: &str = "hickory_server=error,hickory_net=error,hickory_proto=error,quinn_proto=error";
/// What the front end is called; over UDP and TCP, it listens on the same addresses.
pub const DNS: &str = "DNS";
/// What the listeners for TCP are called.
const TCP: &str = "DNS over TCP";
/// How often a pair of ports is tried, when the system chooses it.
const BIND_ATTEMPTS_MAX: u32 = 16;

/// Bounds of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsLimits {
    /// Threads that answer over UDP, for each address; each has another beside it that reads what is not in memory.
    pub udp_workers: usize,
    /// The most connections at once of each address, over TCP, TLS, HTTPS and QUIC each; more wait for one to end or to make
    /// room, over QUIC they are refused when none does. A connection costs some KiB, with TLS some tens of KiB.
    pub connections_max: usize,
    /// The most connections of one client network at once, over TCP, TLS, HTTPS and QUIC together (RFC 9210 section 4.2);
    /// 0 limits nothing.
    pub connections_per_network_max: usize,
    /// The most requests that are answered at once on one connection over QUIC and HTTPS.
    pub streams_max: u32,
    /// How long a handshake may take over TLS, HTTPS and QUIC, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// How long a client may take to send a request or to take a response over a connection, in milliseconds: a few
    /// seconds (RFC 7766 section 6.2.3).
    pub idle_timeout_ms: u64,
    /// How long connections may go on when the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Answers over UDP to one client network.
    pub rate: RateLimits,
}

impl Default for DnsLimits {
    fn default() -> Self {
        Self {
            udp_workers: 1,
            connections_max: 1_024,
            connections_per_network_max: 64,
            streams_max: 32,
            handshake_timeout_ms: 5_000,
            idle_timeout_ms: 10_000,
            drain_timeout_ms: 2_000,
            rate: RateLimits::default(),
        }
    }
}

impl DnsLimits {
    fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts {
            handshake: self.handshake_timeout(),
            first_request: self.idle_timeout(),
            idle: self.idle_timeout(),
            drain: Duration::from_millis(self.drain_timeout_ms),
        }
    }
}

/// How a request over a connection is to be answered.
#[derive(Clone, Copy)]
enum Answering<'a> {
    /// As far as this goes.
    Read(Depth),
    /// With what a walk came to.
    Walked(Result<&'a Resolved, &'a WalkFailure>),
}

/// Writes the response to a request that a client sent over a connection, in place of what the buffer held.
type RespondFn = dyn Fn(&[u8], IpAddr, Answering<'_>, &mut Vec<u8>) -> Responded + Send + Sync;

/// What answers over the connections of a listener.
struct Respond {
    answer: Arc<RespondFn>,
    walks: Arc<Walks>,
    reads: ReadPool,
}

impl Respond {
    /// Writes the response to a request, in place of what the buffer held; false for what gets none. What lies in memory is answered at
    /// once, and what may wait for a disk or a signature on a thread of the read pool.
    async fn respond(&self, request: &[u8], client: IpAddr, response: &mut Vec<u8>) -> bool {
        let mut responded = (self.answer)(request, client, Answering::Read(Depth::Resident), response);
        if responded == Responded::Deferred {
            responded = self.read(request, client, None, response).await;
        }
        if let Responded::Walk { identifier, .. } = responded {
            let walked = self.walks.walk(*identifier, client).await;
            responded = self.read(request, client, Some(walked), response).await;
        }
        matches!(responded, Responded::Written(_))
    }

    /// Answers in the pool; a client for which there is no place there is told so.
    async fn read(
        &self,
        request: &[u8],
        client: IpAddr,
        walked: Option<Result<Resolved, WalkFailure>>,
        response: &mut Vec<u8>,
    ) -> Responded {
        let (answer, asked, mut written) = (Arc::clone(&self.answer), Box::<[u8]>::from(request), mem::take(response));
        let read = move || {
            let answering = match &walked {
                None => Answering::Read(Depth::Whole),
                Some(walked) => Answering::Walked(walked.as_ref()),
            };
            let responded = answer(&asked, client, answering, &mut written);
            (responded, written)
        };
        match self.reads.run(ReadShare::Answers, read).await {
            Ok((responded, written)) => {
                *response = written;
                responded
            }
            Err(busy) => {
                let failure = WalkFailure::Other(busy.to_string());
                (self.answer)(request, client, Answering::Walked(Err(&failure)), response)
            }
        }
    }
}

/// What all listeners share.
struct Context {
    responder: Arc<Responder>,
    limiter: Arc<RateLimiter>,
    places: FrontendPlaces,
    limits: DnsLimits,
    counters: Arc<AllCounters>,
    walks: Arc<Walks>,
}

impl Context {
    /// Counters for one more thread, or for several that share them.
    fn counters(&self, adders: Adders) -> Arc<Counters> {
        self.counters.add(adders)
    }

    /// What answers on one more listener for connections.
    fn respond(&self, transport: Transport) -> Arc<Respond> {
        let (responder, counters) = (Arc::clone(&self.responder), self.counters(Adders::Several));
        let answer = move |request: &[u8], client: IpAddr, answering: Answering<'_>, response: &mut Vec<u8>| {
            let now_unix = since_1970().as_secs();
            let client = Client { address: client.to_canonical(), transport, now_unix, has_limits: false };
            let responded = match answering {
                Answering::Read(depth) => responder.respond(request, &client, depth, response),
                Answering::Walked(walked) => responder.respond_walked(request, &client, walked, response),
            };
            counters.count(&responded);
            responded
        };
        let reads = self.responder.desk().reads().clone();
        Arc::new(Respond { answer: Arc::new(answer), walks: Arc::clone(&self.walks), reads })
    }
}

/// What DNS listeners answer from.
pub struct DnsParts {
    /// Writes the responses.
    pub responder: Arc<Responder>,
    /// Bounds.
    pub limits: DnsLimits,
    /// Decides where the limits of a client over UDP are kept: random octets that nobody else knows.
    pub seed: [u8; 16],
    /// Who is let in.
    pub admission: Admission,
}

/// Running DNS listeners.
pub struct DnsServer {
    context: Context,
    encrypted: Option<EncryptedServer>,
    report: Option<JoinHandle<()>>,
    udp: Vec<UdpListener>,
    tcp: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    addresses: Vec<SocketAddr>,
}

impl DnsServer {
    /// Binds UDP and TCP on each of the addresses and starts to answer. With port 0 the system chooses a port for both.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound; the error says which.
    pub async fn start(addresses: &[SocketAddr], parts: DnsParts) -> Result<Self, ListenError> {
        let DnsParts { responder, limits, seed, admission } = parts;
        let (stop, stopping) = watch::channel(false);
        let limiter = Arc::new(RateLimiter::new(limits.rate.clone(), seed));
        let places = admission.frontend(limits.connections_per_network_max);
        let walks = Arc::new(Walks::new(responder.desk().clone()));
        let context = Context { responder, limiter, places, limits, counters: Arc::default(), walks };
        let mut server = Self {
            context,
            encrypted: None,
            report: None,
            udp: Vec::new(),
            tcp: Vec::new(),
            stop,
            addresses: Vec::new(),
        };
        for &address in addresses {
            let failed = |source| ListenError { protocol: "DNS", address, source };
            let Bound { sockets, listener: socket } =
                bind(address, server.context.limits.udp_workers).await.map_err(failed)?;
            server.addresses.push(socket.local_addr().map_err(failed)?);
            server.udp.push(UdpListener::start(sockets, &server.context).map_err(failed)?);
            let Context { places, limits, .. } = &server.context;
            let gate = places.listener(TCP, limits.connections_max);
            let listener = Listener { name: TCP, socket, tls: None, gate, timeouts: limits.timeouts() };
            let streams = Streams::new(server.context.respond(Transport::Stream), limits);
            let attend = move |accepted| tcp::attend(accepted, streams.clone());
            server.tcp.push(tokio::spawn(accept::serve(listener, stopping.clone(), attend)));
        }
        server.report = Some(tokio::spawn(report(Arc::clone(&server.context.counters), stopping)));
        Ok(server)
    }

    /// Listens for TLS, HTTPS and QUIC, too.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be bound.
    pub async fn listen_encrypted(
        &mut self,
        addresses: EncryptedAddresses,
        certificate: Arc<Certificate>,
    ) -> Result<(), ListenError> {
        let parts = EncryptedParts {
            respond: self.context.respond(Transport::EncryptedStream),
            respond_https: self.context.respond(Transport::Stream),
            certificate,
            places: self.context.places.clone(),
            limits: self.context.limits.clone(),
        };
        self.encrypted = Some(EncryptedServer::start(addresses, &parts).await?);
        Ok(())
    }

    /// Where the server listens, in the order in which it was told to.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<AllCounters> {
        &self.context.counters
    }

    /// Where TLS, HTTPS and QUIC listen, those that do.
    pub fn encrypted_addrs(&self) -> EncryptedAddresses {
        self.encrypted.as_ref().map(EncryptedServer::addresses).unwrap_or_default()
    }

    /// Stops listening, answers the requests that were read from connections, and waits for that. Datagrams that were not taken yet
    /// are dropped; a client asks again.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Some(encrypted) = self.encrypted {
            encrypted.shutdown().await;
        }
        for task in self.tcp.into_iter().chain(self.report) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task of the DNS listeners did not stop cleanly");
            }
        }
        let udp = self.udp;
        let stopped = tokio::task::spawn_blocking(move || udp.into_iter().for_each(UdpListener::shutdown)).await;
        if let Err(error) = stopped {
            tracing::warn!(%error, "the UDP listeners for DNS did not stop cleanly");
        }
        self.context.walks.stop().await;
    }
}

impl Frontend for DnsServer {
    fn name(&self) -> &'static str {
        DNS
    }

    fn addresses(&self) -> Vec<Listening> {
        let EncryptedAddresses { tls, https, quic } = self.encrypted_addrs();
        let encrypted = [(encrypted::TLS, tls), (encrypted::HTTPS, https), (encrypted::QUIC, quic)];
        let encrypted = encrypted.into_iter().filter_map(|(protocol, address)| Some((protocol, address?)));
        let plain = self.addresses.iter().map(|address| (DNS, *address));
        plain.chain(encrypted).map(|(protocol, address)| Listening { protocol, address }).collect()
    }

    fn metrics(&self) -> Arc<dyn Metered> {
        Arc::clone(&self.context.counters) as Arc<dyn Metered>
    }

    fn drain(self: Box<Self>) -> Draining {
        Box::pin(self.shutdown())
    }
}

/// How often the log says what was asked.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Writes a line to the log for every minute in which something was asked, until the server stops.
async fn report(counters: Arc<AllCounters>, mut stopping: watch::Receiver<bool>) {
    let mut before = Counted::default();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(REPORT_INTERVAL) => {}
        }
        let now = counters.counted();
        let counted = now.since(&before);
        before = now;
        if counted != Counted::default() {
            tracing::info!("DNS in the last minute: {counted}");
        }
    }
}

/// The time since 1970 UTC; a clock before that counts as 1970.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({protocol}): {source}")]
pub struct ListenError {
    /// What was to be spoken there.
    pub protocol: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// The sockets of one address.
struct Bound {
    /// One for each worker.
    sockets: Vec<std::net::UdpSocket>,
    listener: TcpListener,
}

/// Binds all sockets of an address. A port that the system chose for UDP may be taken for TCP.
async fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let mut attempts = 1;
    let shares_port = workers > 1;
    loop {
        let socket = udp::open(address, shares_port)?;
        let chosen = socket.local_addr()?;
        match TcpListener::bind(chosen).await {
            Ok(listener) => {
                let mut sockets = vec![socket];
                for _ in 1..workers {
                    sockets.push(udp::open(chosen, shares_port)?);
                }
                return Ok(Bound { sockets, listener });
            }
            Err(error)
                if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && attempts < BIND_ATTEMPTS_MAX =>
            {
                attempts += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;

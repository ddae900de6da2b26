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
//! Source addresses over UDP can be forged: without a valid cookie (`protocol::dns::cookie`) a client's answers are
//! rate-limited ([`rate`]). Connections are limited by client network, over all listeners together
//! ([`crate::server::admission`]). Requests are counted ([`counters`]).
//!
//! [`udp`] answers the datagrams of [`crate::server::datagram`], on threads of its own: most requests come that way.
//! [`tcp`] is for responses that do not fit a datagram, and for clients that prove their address (RFC 7766).
//! [`encrypted`] is TLS, HTTPS and QUIC, with the certificate of [`crate::server::tls`].
//!
//! On a recursive node, a request that needs a walk ([`walks`]) is answered when the walk ends, on a task of its own
//! for datagrams. Clients without a valid cookie are rate-limited before a walk is started.
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
    resolver::{Depth, ReadPool, ReadShare, Resolved},
    server::{
        accept::{self, Listener, Timeouts},
        admission::Admission,
        frontend::{Draining, Frontend, Listening},
        metrics::Metered,
        places::FrontendPlaces,
        tls::Certificate,
    },
};

/// Log directives that keep libraries' lines about single requests and packets out of the log.
pub const LOG_DIRECTIVES: &str = "hickory_server=error,hickory_net=error,hickory_proto=error,quinn_proto=error";
/// Name of the front end; UDP and TCP listen on the same addresses.
pub const DNS: &str = "DNS";
/// Name of the listeners for TCP.
const TCP: &str = "DNS over TCP";
/// Maximum number of attempts to bind a pair of ports, if the system chooses the port.
const BIND_ATTEMPTS_MAX: u32 = 16;

/// Bounds of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsLimits {
    /// Threads that answer over UDP, for each address; each has a reader thread beside it for requests that may wait
    /// for a disk.
    pub udp_workers: usize,
    /// Maximum number of connections at once of each address, over TCP, TLS, HTTPS and QUIC each. More wait until one
    /// ends or is evicted; over QUIC they are refused if none can be evicted. A connection takes some KiB, with TLS
    /// some tens of KiB.
    pub connections_max: usize,
    /// Maximum number of connections of one client network at once, over TCP, TLS, HTTPS and QUIC together (RFC 9210
    /// section 4.2); 0: no limit.
    pub connections_per_network_max: usize,
    /// Maximum number of requests answered at once on one connection over QUIC and HTTPS.
    pub streams_max: u32,
    /// Timeout of a handshake over TLS, HTTPS and QUIC, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Timeout for a client to send a request, and to take a response, over a connection, in milliseconds: a few
    /// seconds (RFC 7766 section 6.2.3).
    pub idle_timeout_ms: u64,
    /// Timeout for connections when the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Limits of answers over UDP to one client network.
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

/// Basis of an answer over a connection.
#[derive(Clone, Copy)]
enum Answering<'a> {
    /// Index, ledger and cache, within this depth.
    Read(Depth),
    /// The result of a walk.
    Walked(Result<&'a Resolved, &'a WalkFailure>),
}

/// Function that answers a request over a connection; it replaces the content of the buffer with the response.
type RespondFn = dyn Fn(&[u8], IpAddr, Answering<'_>, &mut Vec<u8>) -> Responded + Send + Sync;

/// Responder of the connections of a listener.
struct Respond {
    answer: Arc<RespondFn>,
    walks: Arc<Walks>,
    reads: ReadPool,
}

impl Respond {
    /// Replaces the content of the buffer with the response to a request; false if the request gets none. Requests are
    /// answered inline from memory; one that may wait for a disk or a signature is answered on a thread of the read
    /// pool.
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

    /// Answers in the read pool; if the pool has no room, the response reports the failure.
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

/// State shared by all listeners.
struct Context {
    responder: Arc<Responder>,
    limiter: Arc<RateLimiter>,
    places: FrontendPlaces,
    limits: DnsLimits,
    counters: Arc<AllCounters>,
    walks: Arc<Walks>,
}

impl Context {
    /// Adds counters for one more thread, or for several that share them.
    fn counters(&self, adders: Adders) -> Arc<Counters> {
        self.counters.add(adders)
    }

    /// Responder of one more listener for connections.
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

/// Parts of the DNS listeners.
pub struct DnsParts {
    /// Writer of responses.
    pub responder: Arc<Responder>,
    /// Bounds of the listeners.
    pub limits: DnsLimits,
    /// Seed of the rate limiter's table: random octets, secret.
    pub seed: [u8; 16],
    /// Admission control of the node.
    pub admission: Admission,
}

/// The running DNS listeners.
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
    /// Binds UDP and TCP on each of the addresses and starts to answer. With port 0 the system chooses one port for
    /// both.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound; the error names it.
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
    /// If one of the addresses cannot be bound.
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

    /// Bound addresses, in the order in which they were given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Counters of all listeners.
    pub fn counters(&self) -> &Arc<AllCounters> {
        &self.context.counters
    }

    /// Bound addresses for TLS, HTTPS and QUIC.
    pub fn encrypted_addrs(&self) -> EncryptedAddresses {
        self.encrypted.as_ref().map(EncryptedServer::addresses).unwrap_or_default()
    }

    /// Stops listening, answers the requests that were read from connections, and returns. Datagrams not yet received
    /// are dropped; clients ask again.
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
        // Last, as no listener starts a walk any more.
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

/// Interval of the log's line about DNS requests.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Logs a line for every minute with requests, until the server stops.
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

/// Time since 1970 UTC; a clock before 1970 counts as 1970.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Error of binding an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({protocol}): {source}")]
pub struct ListenError {
    /// Protocol of the listener.
    pub protocol: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Error of the system.
    pub source: io::Error,
}

/// The sockets of one address.
struct Bound {
    /// One socket for each worker.
    sockets: Vec<std::net::UdpSocket>,
    listener: TcpListener,
}

/// Binds all sockets of an address; retries if the port that the system chose for UDP is taken for TCP.
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

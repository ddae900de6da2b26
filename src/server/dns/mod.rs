//! The DNS listeners: UDP and TCP on the same addresses, answered by one [`Responder`].
//!
//! ```text
//! UDP: recvmmsg, a batch ---+
//!                           +-- Responder -- bytes
//! TCP: accept, frame -------+
//! TLS, HTTPS, QUIC ---------+
//! ```
//!
//! A client over UDP may not be who it says: without a valid cookie (`protocol::dns::cookie`) its answers are limited
//! ([`rate`]). TCP connections are limited by client network ([`sources`]). What was asked is counted ([`counters`]).
//!
//! [`udp`] is a loop of its own on threads of its own: most of what the node is asked comes that way. [`tcp`] is for
//! what does not fit a datagram, and for clients that prove where they are (RFC 7766). [`encrypted`] is TLS, HTTPS and QUIC,
//! with its [`certificate`].
//!
//! Deliberately absent: zone transfers, updates.

pub mod certificate;
pub mod cookie_file;
pub mod counters;
pub mod encrypted;
pub mod network;
pub mod rate;
pub mod sources;
mod tcp;
mod udp;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use tcp::TCP_REQUEST_OCTETS_MAX;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use self::{
    certificate::Certificate,
    counters::{AllCounters, Counted, Counters},
    encrypted::{EncryptedAddresses, EncryptedLimits, EncryptedServer},
    rate::{RateLimiter, RateLimits},
    sources::{SourceLimits, Sources},
    udp::UdpListener,
};
use crate::{
    protocol::dns::{Client, Responded, Responder, Transport},
    resolver::Depth,
};

/// Log directives that keep the lines of a library about single requests out of the log.
pub const LOG_DIRECTIVES: &str = "hickory_server=error,hickory_net=error,hickory_proto=error";
/// How often a pair of ports is tried, when the system chooses it.
const BIND_ATTEMPTS_MAX: u32 = 16;

/// Bounds of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsLimits {
    /// Threads that answer over UDP, for each address; each has another beside it that reads what is not cached.
    pub udp_workers: usize,
    /// The most TCP connections at once; more wait for one to end.
    pub tcp_connections_max: usize,
    /// How long a client may take to send a request or to take a response over TCP, in milliseconds: a few seconds
    /// (RFC 7766 section 6.2.3).
    pub tcp_idle_timeout_ms: u64,
    /// How long connections may go on when the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
    /// TCP connections of one client network.
    pub sources: SourceLimits,
    /// Answers over UDP to one client network.
    pub rate: RateLimits,
}

impl Default for DnsLimits {
    fn default() -> Self {
        Self {
            udp_workers: 1,
            tcp_connections_max: 1_024,
            tcp_idle_timeout_ms: 10_000,
            drain_timeout_ms: 2_000,
            sources: SourceLimits::default(),
            rate: RateLimits::default(),
        }
    }
}

/// What all listeners share.
struct Context {
    responder: Arc<Responder>,
    limiter: Arc<RateLimiter>,
    counters: Arc<AllCounters>,
}

impl Context {
    /// Counters for one more thread.
    fn counters(&self) -> Arc<Counters> {
        self.counters.add()
    }
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
    /// `seed` decides where the limits of a client are kept: random octets that nobody else knows.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound; the error says which.
    pub async fn start(
        responder: &Arc<Responder>,
        addresses: &[SocketAddr],
        limits: DnsLimits,
        seed: [u8; 16],
    ) -> Result<Self, ListenError> {
        let (stop, stopping) = watch::channel(false);
        let limiter = Arc::new(RateLimiter::new(limits.rate.clone(), seed));
        let context = Context { responder: Arc::clone(responder), limiter, counters: Arc::default() };
        let sources = Sources::new(limits.sources.clone());
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
            let failed = |source| ListenError { address, source };
            let Bound { sockets, listener } = bind(address, limits.udp_workers).await.map_err(failed)?;
            server.addresses.push(listener.local_addr().map_err(failed)?);
            server.udp.push(UdpListener::start(sockets, &server.context).map_err(failed)?);
            let connections = tcp::Connections {
                responder: Arc::clone(responder),
                counters: server.context.counters(),
                sources: Arc::clone(&sources),
                limits: limits.clone(),
            };
            server.tcp.push(tokio::spawn(connections.accept(listener, stopping.clone())));
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
    ) -> io::Result<()> {
        let (responder, counters) = (Arc::clone(&self.context.responder), self.context.counters());
        let respond = move |request: &[u8], client: IpAddr| {
            let mut response = Vec::new();
            let responded = responder.respond(request, &over_stream(client), Depth::Whole, &mut response);
            counters.count(&responded);
            matches!(responded, Responded::Written(_)).then_some(response)
        };
        let limits = EncryptedLimits::default();
        self.encrypted = Some(EncryptedServer::start(Arc::new(respond), certificate, addresses, limits).await?);
        Ok(())
    }

    /// Where the server listens, in the order in which it was told to.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where TLS, HTTPS and QUIC listen, those that do.
    pub fn encrypted_addrs(&self) -> EncryptedAddresses {
        self.encrypted.as_ref().map(EncryptedServer::addresses).unwrap_or_default()
    }

    /// Stops listening, answers the TCP requests that were read, and waits for that. Datagrams that were not taken yet
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

/// A client that asks over a connection.
fn over_stream(client: IpAddr) -> Client<'static> {
    let now_unix = since_1970().as_secs();
    Client { address: client.to_canonical(), transport: Transport::Stream, now_unix, limiter: None }
}

/// The time since 1970 UTC; a clock before that counts as 1970.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (DNS): {source}")]
pub struct ListenError {
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

//! DNS over TLS (RFC 7858), HTTPS (RFC 8484) and QUIC (RFC 9250), each if configured.
//!
//! ```text
//! TLS:   accept -- handshake -- length, message ([`super::tcp`]) ---------+
//! HTTPS: accept -- handshake -- stream of HTTP/2: POST, body ([`https`]) -+-- Responder -- bytes
//! QUIC:  limits -- handshake -- stream: length, message ([`quic`]) -------+
//! ```
//!
//! * [`DnsLimits`] bounds the connections of each listener and, together with TCP, of each client network; the time of
//!   a handshake and between requests; the length of a request; and over QUIC and HTTPS the requests answered at once
//!   on one connection. A listener with all its connections open evicts silent ones; if none is silent, new ones wait
//!   (TLS, HTTPS) or are refused (QUIC). A client that stalls in a handshake delays no other.
//! * Over TLS and QUIC a response is padded if its request is (RFC 8467). No response is truncated, as all are streams.
//!
//! Deliberately absent: HTTP/3, client certificates, early data, a bound on the request rate of a connection.

mod https;
mod quic;

use std::{io, net::SocketAddr, sync::Arc};

pub use https::HTTPS_PATH;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{
    DnsLimits, ListenError, Respond,
    tcp::{self, Streams},
};
use crate::server::{
    accept::{self, Listener},
    places::FrontendPlaces,
    tls::{Certificate, Versions},
};

/// The name of DNS over TLS in the handshake (IANA, TLS ALPN protocol IDs).
const TLS_ALPN: &[u8] = b"dot";
/// Name of the listener for TLS.
pub const TLS: &str = "DNS over TLS";
/// Name of the listener for HTTPS.
pub const HTTPS: &str = "DNS over HTTPS";
/// Name of the listener for QUIC.
pub const QUIC: &str = "DNS over QUIC";

/// Addresses of the listeners; `None` for a protocol that is not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptedAddresses {
    /// DNS over TLS, TCP; its registered port is 853.
    pub tls: Option<SocketAddr>,
    /// DNS over HTTPS, TCP; its usual port is 443. The path is [`HTTPS_PATH`].
    pub https: Option<SocketAddr>,
    /// DNS over QUIC, UDP; its registered port is 853.
    pub quic: Option<SocketAddr>,
}

/// Parts of the listeners.
pub(super) struct EncryptedParts {
    /// Responder over TLS and QUIC, with padding.
    pub(super) respond: Arc<Respond>,
    /// Responder over HTTPS, without padding.
    pub(super) respond_https: Arc<Respond>,
    pub(super) certificate: Arc<Certificate>,
    pub(super) places: FrontendPlaces,
    pub(super) limits: DnsLimits,
}

impl EncryptedParts {
    /// Binds a listener over TCP and TLS.
    async fn listener(&self, name: &'static str, address: SocketAddr, alpn: &[u8]) -> io::Result<Listener> {
        let tls = TlsAcceptor::from(Arc::new(self.certificate.server_config(alpn, Versions::Any)?));
        let gate = self.places.listener(name, self.limits.connections_max);
        let socket = TcpListener::bind(address).await?;
        Ok(Listener { name, socket, tls: Some(tls), gate, timeouts: self.limits.timeouts() })
    }
}

/// The running listeners.
pub(super) struct EncryptedServer {
    addresses: EncryptedAddresses,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
}

impl EncryptedServer {
    /// Binds the addresses and starts to answer. With port 0 the system chooses the port.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound.
    pub(super) async fn start(addresses: EncryptedAddresses, parts: &EncryptedParts) -> Result<Self, ListenError> {
        let (stop, _) = watch::channel(false);
        let mut server = Self { addresses: EncryptedAddresses::default(), stop, listeners: JoinSet::new() };
        if let Some(address) = addresses.tls {
            let failed = |source| ListenError { protocol: TLS, address, source };
            server.addresses.tls = Some(server.listen_tls(address, parts).await.map_err(failed)?);
        }
        if let Some(address) = addresses.https {
            let failed = |source| ListenError { protocol: HTTPS, address, source };
            server.addresses.https = Some(server.listen_https(address, parts).await.map_err(failed)?);
        }
        if let Some(address) = addresses.quic {
            let failed = |source| ListenError { protocol: QUIC, address, source };
            server.addresses.quic = Some(server.listen_quic(address, parts).map_err(failed)?);
        }
        Ok(server)
    }

    async fn listen_tls(&mut self, address: SocketAddr, parts: &EncryptedParts) -> io::Result<SocketAddr> {
        let listener = parts.listener(TLS, address, TLS_ALPN).await?;
        let bound = listener.socket.local_addr()?;
        let streams = Streams::new(Arc::clone(&parts.respond), &parts.limits);
        let attend = move |accepted| tcp::attend(accepted, streams.clone());
        self.listeners.spawn(accept::serve(listener, self.stop.subscribe(), attend));
        Ok(bound)
    }

    async fn listen_https(&mut self, address: SocketAddr, parts: &EncryptedParts) -> io::Result<SocketAddr> {
        let listener = parts.listener(HTTPS, address, https::ALPN).await?;
        let bound = listener.socket.local_addr()?;
        let (respond, streams_max) = (Arc::clone(&parts.respond_https), parts.limits.streams_max);
        let attend = move |accepted| https::attend(accepted, Arc::clone(&respond), streams_max);
        self.listeners.spawn(accept::serve(listener, self.stop.subscribe(), attend));
        Ok(bound)
    }

    fn listen_quic(&mut self, address: SocketAddr, parts: &EncryptedParts) -> io::Result<SocketAddr> {
        let tls = parts.certificate.server_config(quic::ALPN, Versions::Newest)?;
        let endpoint = quic::bind(address, tls, &parts.limits)?;
        let bound = endpoint.local_addr()?;
        let shared = quic::Shared {
            streams: Streams::new(Arc::clone(&parts.respond), &parts.limits),
            gate: parts.places.listener(QUIC, parts.limits.connections_max),
            limits: parts.limits.clone(),
        };
        self.listeners.spawn(quic::accept(endpoint, shared, self.stop.subscribe()));
        Ok(bound)
    }

    /// Bound addresses of the listeners.
    pub(super) fn addresses(&self) -> EncryptedAddresses {
        self.addresses
    }

    /// Stops listening, answers the requests that were read, and returns.
    pub(super) async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while let Some(stopped) = self.listeners.join_next().await {
            if let Err(error) = stopped {
                tracing::warn!(%error, "an encrypted listener for DNS did not stop cleanly");
            }
        }
    }
}

#[cfg(test)]
mod tests;

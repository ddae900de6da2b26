//! DNS over TLS (RFC 7858), over HTTPS (RFC 8484) and over QUIC (RFC 9250), each where the configuration says so.
//!
//! ```text
//! TLS:   accept -- limits -- handshake -- length, message ([`super::tcp`]) -----+
//! QUIC:  accept -- limits -- handshake -- stream: length, message ([`quic`]) ---+-- Responder -- bytes
//! HTTPS: hickory-server ([`https`]) --------------------------------------------+
//! ```
//!
//! * TLS and QUIC are bounded by [`DnsLimits`]: connections of each listener and, together with TCP, of each client network,
//!   the time of a handshake and between requests, the length of a request, and over QUIC the requests that are answered at
//!   once on one connection. A listener that has all its connections lets further ones wait (TLS) or refuses them (QUIC).
//!   A client that falls silent in a handshake delays nobody.
//! * Over both, a response is padded when its request is (RFC 8467), and none is cut off: these are streams.
//! * HTTPS is served by the listener of hickory-server, by POST only. It bounds how long a client may take for a handshake and
//!   between requests, and neither the connections nor the requests at once on one of them. Its responses are not padded.
//!
//! TLS and QUIC are loops of our own over `tokio-rustls` and `quinn`, of which the library makes its listeners: the latter
//! bound no connections, take one QUIC handshake after the other, so that a client that falls silent in one keeps
//! everybody out for up to 5 s, and end a QUIC connection with its hundredth request.
//!
//! Deliberately absent: HTTP/3, client certificates, early data, a bound on the requests of a connection in a given time.

mod https;
mod quic;

use std::{io, net::SocketAddr, sync::Arc};

pub use https::HTTPS_PATH;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring::default_provider,
    version::{TLS12, TLS13},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use self::https::HttpsServer;
use super::{DnsLimits, ListenError, Respond, sources::Sources, tcp::Connections};
use crate::server::tls::Certificate;

/// The name of DNS over TLS in the handshake (IANA, TLS ALPN protocol IDs).
const TLS_ALPN: &[u8] = b"dot";
/// What listeners are called.
const TLS: &str = "DNS over TLS";
const HTTPS: &str = "DNS over HTTPS";
const QUIC: &str = "DNS over QUIC";

/// Where to listen; what is left out is not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptedAddresses {
    /// DNS over TLS, TCP; its registered port is 853.
    pub tls: Option<SocketAddr>,
    /// DNS over HTTPS, TCP; its usual port is 443. The path is [`HTTPS_PATH`].
    pub https: Option<SocketAddr>,
    /// DNS over QUIC, UDP; its registered port is 853.
    pub quic: Option<SocketAddr>,
}

/// What the listeners are made of.
pub(super) struct EncryptedParts {
    /// Answers over TLS and QUIC, with padding.
    pub(super) respond: Arc<Respond>,
    /// Answers over HTTPS, without.
    pub(super) respond_https: Arc<Respond>,
    pub(super) certificate: Arc<Certificate>,
    pub(super) sources: Arc<Sources>,
    pub(super) limits: DnsLimits,
}

impl EncryptedParts {
    fn connections(&self, protocol: &'static str) -> Connections {
        Connections {
            protocol,
            respond: Arc::clone(&self.respond),
            sources: Arc::clone(&self.sources),
            limits: self.limits.clone(),
        }
    }

    fn tls_config(&self, alpn: &[u8], versions: &[&'static SupportedProtocolVersion]) -> io::Result<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(self.certificate.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}

/// Running listeners.
pub(super) struct EncryptedServer {
    addresses: EncryptedAddresses,
    /// Of TLS and QUIC.
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    https: Option<HttpsServer>,
}

impl EncryptedServer {
    /// Binds the addresses and starts to answer. With port 0 the system chooses.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub(super) async fn start(addresses: EncryptedAddresses, parts: &EncryptedParts) -> Result<Self, ListenError> {
        let (stop, _) = watch::channel(false);
        let mut server =
            Self { addresses: EncryptedAddresses::default(), stop, listeners: JoinSet::new(), https: None };
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
        let acceptor = TlsAcceptor::from(Arc::new(parts.tls_config(TLS_ALPN, &[&TLS13, &TLS12])?));
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let handshake = move |stream| acceptor.accept(stream);
        self.listeners.spawn(parts.connections(TLS).accept(listener, handshake, self.stop.subscribe()));
        Ok(bound)
    }

    async fn listen_https(&mut self, address: SocketAddr, parts: &EncryptedParts) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        self.https = Some(HttpsServer::start(listener, parts)?);
        Ok(bound)
    }

    fn listen_quic(&mut self, address: SocketAddr, parts: &EncryptedParts) -> io::Result<SocketAddr> {
        let endpoint = quic::bind(address, parts.tls_config(quic::ALPN, &[&TLS13])?, &parts.limits)?;
        let bound = endpoint.local_addr()?;
        self.listeners.spawn(quic::accept(endpoint, parts.connections(QUIC), self.stop.subscribe()));
        Ok(bound)
    }

    /// Where the listeners are.
    pub(super) fn addresses(&self) -> EncryptedAddresses {
        self.addresses
    }

    /// Stops listening, answers the requests that were read, and waits for that.
    pub(super) async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(https) = self.https {
            https.shutdown().await;
        }
        while let Some(stopped) = self.listeners.join_next().await {
            if let Err(error) = stopped {
                tracing::warn!(%error, "an encrypted listener for DNS did not stop cleanly");
            }
        }
    }
}

#[cfg(test)]
mod tests;

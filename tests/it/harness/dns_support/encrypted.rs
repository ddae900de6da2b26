//! DNS over TLS (RFC 7858), HTTPS (RFC 8484, by POST) and QUIC (RFC 9250) for tests: a certificate for a node, and
//! connections that trust no other.
//!
//! The transports are hickory's: the tests are about the answers, which are read octet by octet like all others.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use data_encoding::BASE64;
use hickory_net::{
    h2::HttpsClientStream,
    quic::QuicClientStream,
    runtime::{RuntimeProvider as _, Spawn as _, TokioRuntimeProvider},
    tls::tls_exchange,
    xfer::{DnsExchange, DnsHandle as _, FirstAnswer as _},
};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use touchmark::{config::Config, server::dns::encrypted::HTTPS_PATH};

use super::{Query, Response, check_shape};

/// Name in the certificate.
const NAME: &str = "localhost";
/// Time for an answer on a busy machine: a stream loses nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Configures listeners for all three on ports that the system chooses, with the files of a certificate.
pub fn listen_anywhere(config: &mut Config, files: [PathBuf; 2]) {
    let any = Some(([127, 0, 0, 1], 0).into());
    [config.dns.tls, config.dns.https, config.dns.quic] = [any; 3];
    [config.dns.certificate, config.dns.certificate_key] = files.map(Some);
}

/// A certificate and its key, made for one test.
#[derive(Clone)]
pub struct Certificate {
    files: [PathBuf; 2],
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes a certificate and writes it into a directory that a node can read.
    pub fn make(directory: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let files = ["chain.pem", "key.pem"].map(|name| directory.join(name));
        fs::write(&files[0], pem("CERTIFICATE", made.cert.der())).unwrap();
        fs::write(&files[1], pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
        Self { files, der: made.cert.der().clone() }
    }

    /// Files of the certificate and of its key.
    pub fn files(&self) -> [PathBuf; 2] {
        self.files.clone()
    }

    fn client_config(&self, alpn: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// A connection that takes many questions at once. Needs a runtime.
pub struct Encrypted {
    exchange: DnsExchange<TokioRuntimeProvider>,
    /// Owns the tasks that drive the connection.
    _provider: TokioRuntimeProvider,
}

impl Encrypted {
    pub async fn tls(server: SocketAddr, certificate: &Certificate) -> Self {
        let (config, provider) = (certificate.client_config(b"dot"), TokioRuntimeProvider::new());
        let name = ServerName::try_from(NAME).unwrap();
        let exchange = tls_exchange(server, name, config, PATIENCE, None, provider.clone()).await.unwrap();
        Self { exchange, _provider: provider }
    }

    pub async fn https(server: SocketAddr, certificate: &Certificate) -> Self {
        let (config, provider) = (certificate.client_config(b"h2"), TokioRuntimeProvider::new());
        let mut builder = HttpsClientStream::builder(Arc::new(config), provider.clone());
        builder.request_timeout(PATIENCE);
        let exchange = builder.exchange(server, NAME.into(), HTTPS_PATH.into()).await.unwrap();
        Self { exchange, _provider: provider }
    }

    pub async fn quic(server: SocketAddr, certificate: &Certificate) -> Self {
        let (config, provider) = (certificate.client_config(b"doq"), TokioRuntimeProvider::new());
        let builder = QuicClientStream::builder().crypto_config(config).request_timeout(PATIENCE);
        let (exchange, driver) = DnsExchange::from_stream(builder.build(server, NAME.into()).await.unwrap());
        provider.create_handle().spawn_bg(driver);
        Self { exchange, _provider: provider }
    }

    pub async fn ask(&self, query: &Query) -> Response {
        let message = Message::from_vec(&query.bytes()).unwrap();
        let request = DnsRequest::new(message, DnsRequestOptions::default());
        let response = self.exchange.send(request).first_answer().await.unwrap();
        // The transports have ids of their own, which hickory checks; except over TLS the id is zero.
        let response = Response { id: query.id, ..Response::read(response.as_buffer()).unwrap() };
        check_shape(query, &response);
        response
    }
}

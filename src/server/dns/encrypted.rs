//! DNS over TLS (RFC 7858), over HTTPS (RFC 8484) and over QUIC (RFC 9250), by the listeners of hickory-server.
//!
//! A request arrives here as its bytes and is answered by the same responder as everywhere; the library wants records and
//! encodes them again. It bounds how long a client may take, and not how many there are at once; HTTPS is by POST
//! only; a QUIC handshake that stalls delays the next one by up to 5 s, and a QUIC connection ends with its hundredth request,
//! which may get no response. Where that matters, a proxy that ends TLS belongs in front of the TCP listener.
//!
//! The library logs single requests at level `info` and what clients send wrongly at `warn`; [`super::LOG_DIRECTIVES`]
//! keeps that out of the log.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::op::{Header, HeaderCounts, Message, Metadata};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

use super::certificate::Certificate;

/// Where DNS over HTTPS is asked (RFC 8484 section 4.1 leaves the path to the server; this is what clients expect).
pub const HTTPS_PATH: &str = "/dns-query";

/// Answers whole messages, in wire form.
pub trait RespondBytes: Send + Sync + 'static {
    /// The response to a request that came from `client` over a stream; `None` for what gets no response.
    fn respond(&self, request: &[u8], client: IpAddr) -> Option<Vec<u8>>;
}

impl<F: Fn(&[u8], IpAddr) -> Option<Vec<u8>> + Send + Sync + 'static> RespondBytes for F {
    fn respond(&self, request: &[u8], client: IpAddr) -> Option<Vec<u8>> {
        self(request, client)
    }
}

/// Where to listen; what is left out is not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptedAddresses {
    /// DNS over TLS, TCP; its registered port is 853.
    pub tls: Option<SocketAddr>,
    /// DNS over HTTPS, TCP; its usual port is 443.
    pub https: Option<SocketAddr>,
    /// DNS over QUIC, UDP; its registered port is 853.
    pub quic: Option<SocketAddr>,
}

/// Bounds of the encrypted listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncryptedLimits {
    /// How long a client may take for a handshake and between requests, in milliseconds.
    pub idle_timeout_ms: u64,
}

impl Default for EncryptedLimits {
    fn default() -> Self {
        Self { idle_timeout_ms: 10_000 }
    }
}

/// Running listeners.
pub struct EncryptedServer {
    server: Server<Handler>,
    addresses: EncryptedAddresses,
}

impl EncryptedServer {
    /// Binds the addresses and starts to answer. With port 0 the system chooses.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub async fn start(
        respond: Arc<dyn RespondBytes>,
        certificate: Arc<Certificate>,
        mut addresses: EncryptedAddresses,
        limits: EncryptedLimits,
    ) -> io::Result<Self> {
        let idle_timeout = Duration::from_millis(limits.idle_timeout_ms);
        let mut server = Server::new(Handler { respond });
        if let Some(address) = &mut addresses.tls {
            let listener = TcpListener::bind(*address).await?;
            *address = listener.local_addr()?;
            server.register_tls_listener(listener, idle_timeout, certificate.clone())?;
        }
        if let Some(address) = &mut addresses.https {
            let listener = TcpListener::bind(*address).await?;
            *address = listener.local_addr()?;
            server.register_https_listener(listener, idle_timeout, certificate.clone(), None, HTTPS_PATH.into())?;
        }
        if let Some(address) = &mut addresses.quic {
            let socket = UdpSocket::bind(*address).await?;
            *address = socket.local_addr()?;
            server.register_quic_listener(socket, idle_timeout, certificate)?;
        }
        Ok(Self { server, addresses })
    }

    /// Where the listeners are.
    pub fn addresses(&self) -> EncryptedAddresses {
        self.addresses
    }

    /// Stops listening and ends every connection.
    pub async fn shutdown(mut self) {
        if let Err(error) = self.server.shutdown_gracefully().await {
            tracing::warn!(%error, "the encrypted listeners for DNS did not stop cleanly");
        }
    }
}

struct Handler {
    respond: Arc<dyn RespondBytes>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let silent =
            || Header { metadata: Metadata::response_from_request(&request.metadata), counts: HeaderCounts::default() };
        let response = self.respond.respond(request.as_slice(), request.src().ip());
        let Some(message) = response.and_then(|bytes| Message::from_vec(&bytes).ok()) else { return silent().into() };
        let Message { metadata, answers, authorities, additionals, edns, .. } = &message;
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let response = response.build(*metadata, answers, authorities, &[], additionals);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS response was not sent");
                silent().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use hickory_proto::{
        op::{DnsRequest, DnsRequestOptions, Edns, Query},
        rr::{Name, RData, Record, RecordType, rdata::TXT},
    };
    use hickory_server::net::{
        h2::HttpsClientStream,
        quic::QuicClientStream,
        runtime::TokioRuntimeProvider,
        tls::tls_exchange,
        xfer::{DnsHandle as _, DnsRequestSender as _, FirstAnswer as _},
    };
    use rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    };

    use super::*;

    /// Long enough for a loaded machine, short against the test.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Listeners of all three protocols on loopback.
    struct Running {
        server: EncryptedServer,
        at: EncryptedAddresses,
        certificate: Arc<Certificate>,
    }

    impl Running {
        async fn start(limits: EncryptedLimits) -> Self {
            let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
            let addresses = EncryptedAddresses { tls: any, https: any, quic: any };
            let certificate = Arc::new(Certificate::self_signed(&["localhost".into()]).unwrap());
            let server =
                EncryptedServer::start(Arc::new(answer), certificate.clone(), addresses, limits).await.unwrap();
            let at = server.addresses();
            Self { server, at, certificate }
        }

        fn client_config(&self, alpn: &[u8]) -> ClientConfig {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(self.certificate.current().cert[0].to_vec())).unwrap();
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = vec![alpn.to_vec()];
            config
        }
    }

    /// What the node behind the listeners says: the client's address; at `long.`, 60,000 octets; at `silent.`, nothing.
    fn answer(request: &[u8], client: IpAddr) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        let name = request.queries.first()?.name().clone();
        let mut strings = vec![client.to_string()];
        match name.to_ascii().as_str() {
            "silent." => return None,
            "long." => strings.extend(std::iter::repeat_n("x".repeat(250), 240)),
            _ => {}
        }
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.queries = request.queries;
        response.answers.push(Record::from_rdata(name, 300, RData::TXT(TXT::new(strings))));
        response.edns = request.edns.map(|_| Edns::new());
        response.to_vec().ok()
    }

    fn query(name: &str, id: u16) -> Message {
        let mut message = Message::query();
        message.metadata.id = id;
        message.queries.push(Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT));
        message.edns = Some(Edns::new());
        message
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hickorys_clients_get_whole_answers_over_every_protocol() {
        let running = Running::start(EncryptedLimits::default()).await;
        let name: Arc<str> = "localhost".into();
        // Its tasks end with it.
        let provider = TokioRuntimeProvider::new();
        let tls_client = tls_exchange(
            running.at.tls.unwrap(),
            ServerName::try_from("localhost").unwrap(),
            running.client_config(b"dot"),
            PATIENCE,
            None,
            provider.clone(),
        );
        let tls_client = tls_client.await.unwrap();
        let config = Arc::new(running.client_config(b"h2"));
        let https_client = HttpsClientStream::builder(config, provider.clone());
        let https_client = https_client.exchange(running.at.https.unwrap(), name.clone(), HTTPS_PATH.into());
        let https_client = https_client.await.unwrap();
        let quic_client = QuicClientStream::builder().crypto_config(running.client_config(b"doq"));
        let mut quic_client = quic_client.build(running.at.quic.unwrap(), name).await.unwrap();

        for (name, octets) in [("short.", 9), ("long.", 60_009), ("short.", 9)] {
            let request = || DnsRequest::new(query(name, 0), DnsRequestOptions::default());
            let responses = [
                tls_client.send(request()).first_answer().await.unwrap(),
                https_client.send(request()).first_answer().await.unwrap(),
                quic_client.send_message(request()).first_answer().await.unwrap(),
            ];
            for response in responses {
                let RData::TXT(text) = &response.answers[0].data else { panic!("{response:?}") };
                assert_eq!(&*text.txt_data[0], b"127.0.0.1");
                assert_eq!(text.txt_data.iter().map(|string| string.len()).sum::<usize>(), octets, "{name}");
                assert!(response.edns.is_some());
            }
        }
        running.server.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn kdig_asks_over_every_protocol() {
        let help = Command::new("kdig").arg("--help").output();
        let Ok(help) = help else { return eprintln!("skipped: kdig is not installed") };
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let running = Running::start(EncryptedLimits::default()).await;
        let pin = running.certificate.pin();
        let (tls, https, quic) = (running.at.tls.unwrap(), running.at.https.unwrap(), running.at.quic.unwrap());
        let wrong_pin = Certificate::self_signed(&["localhost".into()]).unwrap().pin();
        // protocol's option in the help, address, options, what the output holds
        let table = [
            ("+[no]tls ", tls, "+tls".to_owned(), "\"127.0.0.1\""),
            ("+[no]tls-pin", tls, format!("+tls-pin={pin}"), "\"127.0.0.1\""),
            ("+[no]tls-pin", tls, format!("+tls-pin={wrong_pin}"), "TLS"),
            ("+[no]https", https, "+https".to_owned(), "\"127.0.0.1\""),
            ("+[no]https", https, format!("+tls-pin={pin} +https"), "\"127.0.0.1\""),
            ("+[no]quic", quic, "+quic".to_owned(), "\"127.0.0.1\""),
            ("+[no]quic", quic, format!("+tls-pin={pin} +quic"), "\"127.0.0.1\""),
        ];
        for (option, at, options, expected) in table {
            if !help.contains(option) {
                eprintln!("skipped: this kdig has no {option}");
                continue;
            }
            let mut kdig = Command::new("kdig");
            kdig.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "+retry=0"]);
            let output = kdig.args(options.split(' ')).args(["short.", "TXT"]).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains(expected), "kdig {options} lacks {expected}:\n{text}");
            assert_eq!(text.contains("127.0.0.1\""), !options.contains(&wrong_pin), "kdig {options}:\n{text}");
        }
        running.server.shutdown().await;
    }
}

//! The encrypted listeners as clients see them: hickory's clients, `kdig` if installed, and clients that misbehave.

use std::{
    net::IpAddr,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use hickory_net::{
    h2::HttpsClientStream,
    quic::QuicClientStream,
    runtime::TokioRuntimeProvider,
    tls::tls_exchange,
    xfer::{DnsHandle as _, DnsRequestSender as _, FirstAnswer as _},
};
use hickory_proto::{
    op::{DnsRequest, DnsRequestOptions, Edns, Message, Query},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{TXT, opt::EdnsOption},
    },
};
use quinn::{ConnectionError, Endpoint};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    protocol::dns::{Responded, Summary, tests::Node},
    required,
    resolver::ReadPool,
    server::{
        admission::{Admission, AdmissionLimits, ClientNetworks},
        dns::{Answering, TCP_REQUEST_OCTETS_MAX, walks::Walks},
    },
};

/// Long enough for a loaded machine, short against the test.
const PATIENCE: Duration = Duration::from_secs(20);
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Listeners of all three protocols on loopback.
struct Running {
    server: EncryptedServer,
    at: EncryptedAddresses,
    certificate: Arc<Certificate>,
}

impl Running {
    async fn start(limits: DnsLimits) -> Self {
        Self::start_with(responding(answer), limits).await
    }

    async fn start_with(respond: Arc<Respond>, limits: DnsLimits) -> Self {
        let addresses = EncryptedAddresses { tls: Some(ANY), https: Some(ANY), quic: Some(ANY) };
        let parts = parts(respond, limits);
        let server = EncryptedServer::start(addresses, &parts).await.unwrap();
        let at = server.addresses();
        Self { server, at, certificate: parts.certificate }
    }

    fn client_config(&self, alpn: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.certificate.current().cert[0].to_vec())).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.client_config(TLS_ALPN)));
        let stream = TcpStream::connect(self.at.tls.unwrap()).await?;
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    fn quic_endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::client(ANY).unwrap();
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(self.client_config(quic::ALPN)).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        endpoint
    }

    async fn quic(&self) -> Result<quinn::Connection, ConnectionError> {
        self.quic_endpoint().connect(self.at.quic.unwrap(), "localhost").unwrap().await
    }
}

/// Nobody is exempt, and silent connections are evicted later than any test here ends.
fn parts(respond: Arc<Respond>, limits: DnsLimits) -> EncryptedParts {
    let clients = ClientNetworks { exempt: Vec::new(), ..ClientNetworks::default() };
    let limits_of_all = AdmissionLimits { room_after_ms: 60_000, clients, ..AdmissionLimits::default() };
    EncryptedParts {
        respond_https: Arc::clone(&respond),
        respond,
        certificate: Arc::new(Certificate::self_signed(&["localhost".into()]).unwrap()),
        places: Admission::new(limits_of_all).frontend(limits.connections_per_network_max),
        limits,
    }
}

/// Responder with these answers, which takes no walks.
fn responding(answer: impl Fn(&[u8], IpAddr, &mut Vec<u8>) -> bool + Send + Sync + 'static) -> Arc<Respond> {
    let summary =
        Summary { rcode: 0, kind: 0, limited: false, hash: 0, has_data: true, cached: false, truncated: false };
    let answer = move |request: &[u8], client: IpAddr, _: Answering<'_>, out: &mut Vec<u8>| {
        if answer(request, client, out) { Responded::Written(summary) } else { Responded::Silent }
    };
    // A node has a runtime of its own, which must not be dropped within another one.
    let desk = std::thread::spawn(|| Node::new().responder.desk().clone()).join().unwrap();
    Arc::new(Respond { answer: Arc::new(answer), walks: Arc::new(Walks::new(desk)), reads: ReadPool::new() })
}

/// Answers of the node behind the listeners: the client's address; at `long.`, 60,000 octets; at `silent.`, nothing.
fn answer(request: &[u8], client: IpAddr, out: &mut Vec<u8>) -> bool {
    let Ok(request) = Message::from_vec(request) else { return false };
    let name = request.queries[0].name().clone();
    let mut strings = vec![client.to_string()];
    match name.to_ascii().as_str() {
        "silent." => return false,
        "long." => strings.extend(std::iter::repeat_n("x".repeat(250), 240)),
        _ => {}
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.queries = request.queries;
    response.answers.push(Record::from_rdata(name, 300, RData::TXT(TXT::new(strings))));
    response.edns = request.edns.map(|_| Edns::new());
    *out = response.to_vec().unwrap();
    true
}

fn query(name: &str, id: u16) -> Message {
    let mut message = Message::query();
    message.metadata.id = id;
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT));
    message.edns = Some(Edns::new());
    message
}

/// A length-prefixed message.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A length-prefixed query.
fn asking(name: &str, id: u16) -> Vec<u8> {
    framed(&query(name, id).to_vec().unwrap())
}

/// Reads one response over TLS.
async fn receive(stream: &mut TlsStream<TcpStream>) -> io::Result<Message> {
    let mut response = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut response).await?;
    Ok(Message::from_vec(&response).unwrap())
}

/// Asks over TLS and reads one response.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> io::Result<Message> {
    stream.write_all(request).await?;
    receive(stream).await
}

/// Asks over QUIC and reads to the end of the stream.
async fn ask_quic(connection: &quinn::Connection, stream: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    // It fails if the server refused the request before the request's end arrived.
    let _ = send.write_all(stream).await;
    let _ = send.finish();
    receive.read_to_end(70_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hickorys_clients_get_whole_answers_over_every_protocol() {
    let running = Running::start(DnsLimits::default()).await;
    let name: Arc<str> = "localhost".into();
    // The tasks of the runtime end with it.
    let provider = TokioRuntimeProvider::new();
    let tls_client = tls_exchange(
        running.at.tls.unwrap(),
        ServerName::try_from("localhost").unwrap(),
        running.client_config(TLS_ALPN),
        PATIENCE,
        None,
        provider.clone(),
    );
    let tls_client = tls_client.await.unwrap();
    let config = Arc::new(running.client_config(b"h2"));
    let https_client = HttpsClientStream::builder(config, provider.clone());
    let https_client = https_client.exchange(running.at.https.unwrap(), name.clone(), HTTPS_PATH.into());
    let https_client = https_client.await.unwrap();
    let quic_client = QuicClientStream::builder().crypto_config(running.client_config(quic::ALPN));
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
    if !required::is_met("kdig", help.is_ok()) {
        return;
    }
    let help = String::from_utf8_lossy(&help.unwrap().stdout).into_owned();
    let running = Running::start(DnsLimits::default()).await;
    let pin = running.certificate.pin();
    let (tls, https, quic) = (running.at.tls.unwrap(), running.at.https.unwrap(), running.at.quic.unwrap());
    let wrong_pin = Certificate::self_signed(&["localhost".into()]).unwrap().pin();
    // protocol's option in the help, precondition, address, options, expected in the output
    let table = [
        ("+[no]tls ", "kdig+tls", tls, "+tls".to_owned(), "\"127.0.0.1\""),
        ("+[no]tls-pin", "kdig+tls", tls, format!("+tls-pin={pin}"), "\"127.0.0.1\""),
        ("+[no]tls-pin", "kdig+tls", tls, format!("+tls-pin={wrong_pin}"), "TLS"),
        ("+[no]https", "kdig+https", https, "+https".to_owned(), "\"127.0.0.1\""),
        ("+[no]https", "kdig+https", https, format!("+tls-pin={pin} +https"), "\"127.0.0.1\""),
        ("+[no]quic", "kdig+quic", quic, "+quic".to_owned(), "\"127.0.0.1\""),
        ("+[no]quic", "kdig+quic", quic, format!("+tls-pin={pin} +quic"), "\"127.0.0.1\""),
    ];
    for (option, precondition, at, options, expected) in table {
        if !required::is_met(precondition, help.contains(option)) {
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

/// RFC 7858 section 3.3, RFC 7766 section 6.2.1.1.
#[tokio::test(flavor = "multi_thread")]
async fn requests_over_tls_may_come_all_at_once() {
    let running = Running::start(DnsLimits::default()).await;
    let stream = running.tls().await.unwrap();
    let requests: Vec<u8> = (0..50).flat_map(|id| asking("long.", id)).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move { write.write_all(&requests).await.unwrap() });
    for id in 0..50 {
        let mut response = vec![0; usize::from(read.read_u16().await.unwrap())];
        read.read_exact(&mut response).await.unwrap();
        assert_eq!(Message::from_vec(&response).unwrap().metadata.id, id);
    }
    writing.await.unwrap();
    // A request without a response ends the connection, and so does one that is too long; both with close_notify.
    for last in [asking("silent.", 1), framed(&[0; TCP_REQUEST_OCTETS_MAX as usize + 1])] {
        let mut stream = running.tls().await.unwrap();
        stream.write_all(&last).await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
}

/// RFC 9250 sections 4.2.1 (the id is 0), 4.3.3 and 5.5.2.
#[tokio::test(flavor = "multi_thread")]
async fn what_doq_forbids_ends_the_connection() {
    let running = Running::start(DnsLimits::default()).await;
    let good = asking("short.", 0);
    let mut keepalive = query("short.", 0);
    keepalive.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(11, vec![]));
    let table = [
        asking("short.", 7),
        good[..good.len() - 1].to_vec(),
        [&*good, b"x"].concat(),
        vec![0],
        vec![],
        framed(&[0; TCP_REQUEST_OCTETS_MAX as usize + 1]),
        framed(&keepalive.to_vec().unwrap()),
    ];
    for (row, stream) in table.into_iter().enumerate() {
        let connection = running.quic().await.unwrap();
        let response = ask_quic(&connection, &good).await.unwrap();
        assert_eq!(response[2..4], [0, 0], "row {row}");
        assert!(ask_quic(&connection, &stream).await.is_err(), "row {row}");
        match connection.closed().await {
            ConnectionError::ApplicationClosed(closed) => assert_eq!(closed.error_code, 2u32.into(), "row {row}"),
            other => panic!("row {row}: {other}"),
        }
    }
    // No response resets the stream alone.
    let connection = running.quic().await.unwrap();
    assert!(ask_quic(&connection, &asking("silent.", 0)).await.is_err());
    assert!(ask_quic(&connection, &good).await.is_ok());
}

/// Far more requests than the hundred after which hickory's listener ends a connection, and more at once than are
/// answered at once, while another stream is left unfinished.
#[tokio::test(flavor = "multi_thread")]
async fn a_quic_connection_takes_many_requests() {
    let running = Running::start(DnsLimits::default()).await;
    let connection = running.quic().await.unwrap();
    let (mut waiting, _receive) = connection.open_bi().await.unwrap();
    waiting.write_all(&[0]).await.unwrap();
    let mut streams = JoinSet::new();
    for _ in 0..200 {
        let connection = connection.clone();
        streams.spawn(async move { ask_quic(&connection, &asking("long.", 0)).await.unwrap().len() });
    }
    while let Some(octets) = streams.join_next().await {
        assert!(octets.unwrap() > 60_000);
    }
    for _ in 0..200 {
        ask_quic(&connection, &asking("short.", 0)).await.unwrap();
    }
}

/// A handshake that its client abandons keeps nobody out.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_holds_up_nobody() {
    let limits = DnsLimits { handshake_timeout_ms: 60_000, drain_timeout_ms: 60_000, ..DnsLimits::default() };
    let running = Running::start(limits).await;
    let _tls = TcpStream::connect(running.at.tls.unwrap()).await.unwrap();
    // The first packet of a real client, sent from a socket that answers nothing.
    let trap = UdpSocket::bind(ANY).await.unwrap();
    let endpoint = running.quic_endpoint();
    let _connecting = endpoint.connect(trap.local_addr().unwrap(), "localhost").unwrap();
    let mut first = vec![0; 2_000];
    let (octets, _) = trap.recv_from(&mut first).await.unwrap();
    trap.send_to(&first[..octets], running.at.quic.unwrap()).await.unwrap();
    trap.recv_from(&mut [0; 2_000]).await.unwrap();

    let started = Instant::now();
    running.tls().await.unwrap();
    running.quic().await.unwrap();
    // Nor does it delay the stop.
    running.server.shutdown().await;
    assert!(started.elapsed() < PATIENCE, "it waited for the silent one");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_client_are_bounded_over_tls_and_quic_together() {
    let running = Running::start(DnsLimits { connections_per_network_max: 2, ..DnsLimits::default() }).await;
    let mut tls = running.tls().await.unwrap();
    ask(&mut tls, &asking("short.", 1)).await.unwrap();
    let quic = running.quic().await.unwrap();
    ask_quic(&quic, &asking("short.", 0)).await.unwrap();
    assert!(running.tls().await.is_err(), "a third connection of one client");
    let third = running.quic().await.unwrap().closed().await;
    assert!(matches!(&third, ConnectionError::ApplicationClosed(closed) if closed.error_code == 4u32.into()));
    // The open ones go on, and a place that was freed is given away again.
    ask(&mut tls, &asking("short.", 2)).await.unwrap();
    quic.close(0u32.into(), b"");
    let again = async {
        while running.tls().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("its place stays taken");
}

/// Over TLS one waits for its turn, over QUIC one is refused. Over QUIC the second one had to validate its address.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_listener_are_bounded() {
    let running = Running::start(DnsLimits { connections_max: 4, ..DnsLimits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push((running.tls().await.unwrap(), running.quic().await.unwrap()));
    }
    assert!(timeout(Duration::from_millis(300), running.tls()).await.is_err());
    assert!(running.quic().await.is_err());
    held.pop();
    timeout(PATIENCE, running.tls()).await.expect("its turn never came").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_idle_are_let_go() {
    let limits = DnsLimits { idle_timeout_ms: 200, handshake_timeout_ms: 300, ..DnsLimits::default() };
    let running = Running::start(limits).await;
    let mut tls = running.tls().await.unwrap();
    let quic = running.quic().await.unwrap();
    let mut handshake = TcpStream::connect(running.at.tls.unwrap()).await.unwrap();
    let ends = async {
        assert_eq!(tls.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert_eq!(handshake.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        quic.closed().await;
    };
    timeout(PATIENCE, ends).await.expect("a connection stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_answers_what_it_has_read() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let slow = |request: &[u8], client: IpAddr, response: &mut Vec<u8>| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        answer(request, client, response)
    };
    let running = Running::start_with(responding(slow), DnsLimits::default()).await;
    let mut tls = running.tls().await.unwrap();
    let quic = running.quic().await.unwrap();
    let over_tls = tokio::spawn(async move { ask(&mut tls, &asking("short.", 1)).await.is_ok() });
    let over_quic = tokio::spawn(async move { ask_quic(&quic, &asking("short.", 0)).await.is_ok() });
    while ASKED.load(Ordering::SeqCst) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    timeout(PATIENCE, running.server.shutdown()).await.expect("it does not stop");
    assert!(over_tls.await.unwrap(), "over TLS");
    assert!(over_quic.await.unwrap(), "over QUIC");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = (TcpListener::bind(ANY).await.unwrap(), UdpSocket::bind(ANY).await.unwrap());
    let (stream, datagram) = (Some(taken.0.local_addr().unwrap()), Some(taken.1.local_addr().unwrap()));
    let none = EncryptedAddresses::default();
    for (addresses, address, protocol) in [
        (EncryptedAddresses { tls: stream, ..none }, stream, "DNS over TLS"),
        (EncryptedAddresses { https: stream, ..none }, stream, "DNS over HTTPS"),
        (EncryptedAddresses { quic: datagram, ..none }, datagram, "DNS over QUIC"),
    ] {
        let started = EncryptedServer::start(addresses, &parts(responding(answer), DnsLimits::default())).await;
        let error = started.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot listen on {} ({protocol}): ", address.unwrap())), "{error}");
    }
}

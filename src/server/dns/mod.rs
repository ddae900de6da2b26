//! The DNS listener: UDP and TCP on one address, answered by [`DnsResponder`].
//!
//! ```text
//! UDP: hickory's listener --+
//!                           +-- Request -- admission (version, opcode, one question) -- DnsResponder -- fit -- bytes
//! TCP: accept, frame -------+
//! ```
//!
//! * EDNS (RFC 6891): a response has it when its request did; versions above 0 get BADVERS; the payload is at most what
//!   the client takes and [`UDP_PAYLOAD_OCTETS_MAX`], without EDNS 512.
//! * A UDP response that does not fit leaves with TC and without records: a part of a set helps nobody (RFC 2181
//!   section 9). The client asks again over TCP (RFC 7766).
//! * TCP has its own small loop, because the library's bounds neither connections nor requests, and cuts connections off
//!   in the middle of a response when it stops. Here a stopping server finishes what it has read.
//! * Answers are made inline, on the task that received the request. A cold one blocks for an index lookup and a read of
//!   the ledger: microseconds when the page cache has them, which is less than handing the question to another thread
//!   and back. A slow disk slows this listener.
//!
//! The library logs every UDP request at level `info` under the target `hickory_server`, and what clients send wrongly
//! at `warn` under `hickory_server`, `hickory_net` and `hickory_proto`; [`LOG_DIRECTIVES`] keeps that out of the log.
//!
//! Deliberately absent: TLS and QUIC, cookies (RFC 7873), rate limits, zone transfers, updates.

pub mod cookie_file;
pub mod network;
pub mod rate;
pub mod sources;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    ProtoError,
    op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{Record, rdata::opt::EdnsOption},
    serialize::binary::{BinDecodable, BinDecoder, BinEncoder},
};
use hickory_server::{
    Server,
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponse, MessageResponseBuilder, Queries},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::protocol::{
    dns::{DnsResponder, ExtendedError, Question, Reply},
    outcome::DnsRcode,
};

/// Log directives that keep the library's lines about single requests out of the log.
pub const LOG_DIRECTIVES: &str = "hickory_server=error,hickory_net=error,hickory_proto=error";
/// The longest UDP response, in octets: what passes every path in one piece (DNS flag day 2020).
pub const UDP_PAYLOAD_OCTETS_MAX: u16 = 1_232;
/// The longest UDP response to a client without EDNS (RFC 1035 section 4.2.1), in octets.
const UDP_PLAIN_OCTETS_MAX: u16 = 512;
/// The longest request over TCP, in octets: one question and EDNS options with padding. A longer one ends the connection.
pub const TCP_REQUEST_OCTETS_MAX: u16 = 4_096;
/// How often a pair of ports is tried, when the system chooses it.
const BIND_ATTEMPTS_MAX: u32 = 16;
/// How long to wait when the system has no more connections to give, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;
/// Option code of extended errors (RFC 8914 section 2).
const EXTENDED_ERROR_OPTION: u16 = 15;

/// Bounds of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsLimits {
    /// The most TCP connections at once; more wait for one to end.
    pub tcp_connections_max: usize,
    /// How long a client may take to send a request or to take a response over TCP, in milliseconds: a few seconds
    /// (RFC 7766 section 6.2.3).
    pub tcp_idle_timeout_ms: u64,
    /// How long connections may go on when the server stops, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for DnsLimits {
    fn default() -> Self {
        Self { tcp_connections_max: 1_024, tcp_idle_timeout_ms: 10_000, drain_timeout_ms: 2_000 }
    }
}

/// A running DNS listener.
pub struct DnsServer {
    udp: Server<Handler>,
    tcp: JoinHandle<()>,
    stop: watch::Sender<bool>,
    address: SocketAddr,
}

impl DnsServer {
    /// Binds UDP and TCP on the same address and starts to answer. With port 0 the system chooses a port for both.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn start(responder: Arc<DnsResponder>, address: SocketAddr, limits: DnsLimits) -> io::Result<Self> {
        let (socket, listener) = bind(address).await?;
        let address = listener.local_addr()?;
        let handler = Handler { responder, no_queries: Arc::new(no_queries()?) };
        let (stop, stopping) = watch::channel(false);
        let tcp = tokio::spawn(accept(listener, handler.clone(), limits, stopping));
        let mut udp = Server::new(handler);
        udp.register_socket(socket);
        Ok(Self { udp, tcp, stop, address })
    }

    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, answers the TCP requests that were read, and waits for that. Datagrams that were not answered
    /// yet are dropped; a client asks again.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = self.udp.shutdown_gracefully().await {
            tracing::warn!(%error, "the UDP listener for DNS did not stop cleanly");
        }
        if let Err(error) = self.tcp.await {
            tracing::warn!(%error, "the TCP listener for DNS did not stop cleanly");
        }
    }
}

/// Binds both sockets. A port that the system chose for UDP may be taken for TCP.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = 1;
    loop {
        let socket = UdpSocket::bind(address).await?;
        match TcpListener::bind(socket.local_addr()?).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(error)
                if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && attempts < BIND_ATTEMPTS_MAX =>
            {
                attempts += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The question section of a response that repeats no question.
fn no_queries() -> io::Result<Queries> {
    Queries::read(&mut BinDecoder::new(&[]), 0).map_err(io::Error::other)
}

/// What both transports share.
#[derive(Clone)]
struct Handler {
    responder: Arc<DnsResponder>,
    no_queries: Arc<Queries>,
}

impl Handler {
    /// The response to a request, cut to what the transport takes.
    fn respond(&self, request: &Request) -> Response {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let reply = match admit(request) {
            Ok(question) => {
                let reply = self.responder.respond(&question);
                metadata.response_code = response_code(reply.rcode);
                metadata.authoritative = reply.authoritative;
                reply
            }
            Err(code) => {
                metadata.response_code = code;
                Reply::empty(DnsRcode::Refused)
            }
        };
        let edns = request.edns.as_ref().map(|edns| response_edns(edns, reply.extended));
        let mut response = Response { metadata, edns, reply };
        let octets_max = match (request.protocol(), &response.edns) {
            (Protocol::Udp, Some(edns)) => edns.max_payload(),
            (Protocol::Udp, None) => UDP_PLAIN_OCTETS_MAX,
            _ => u16::MAX,
        };
        // The library would cut within a set, and drop the OPT record when the cut leaves no room for it, which
        // RFC 6891 section 7 forbids. So what does not fit is found out here.
        if !matches!(response.encode(self.queries(request), octets_max), Ok((info, _)) if !info.truncation) {
            response.truncate();
        }
        response
    }

    /// The question section to send back. A request may carry thousands of questions: those are not repeated.
    fn queries<'a>(&'a self, request: &'a Request) -> &'a Queries {
        if request.queries.len() == 1 { &request.queries } else { &self.no_queries }
    }

    /// The bytes to send over TCP for the bytes that came; `None` for what gets no response.
    fn respond_over_tcp(&self, request: Vec<u8>, peer: SocketAddr) -> Option<Vec<u8>> {
        let header = Header::read(&mut BinDecoder::new(&request)).ok()?;
        if header.metadata.message_type == MessageType::Response {
            return None;
        }
        match Request::from_bytes(request, peer, Protocol::Tcp) {
            Ok(request) => {
                let (_, bytes) = self.respond(&request).encode(self.queries(&request), u16::MAX).ok()?;
                Some(bytes)
            }
            Err(_) => {
                let Metadata { id, op_code, .. } = header.metadata;
                Message::error_msg(id, op_code, ResponseCode::FormErr).to_vec().ok()
            }
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let response = self.respond(request);
        match response_handle.send_response(response.message(self.queries(request))).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS response was not sent");
                Header { metadata: response.metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

/// The one question of a request that this server answers, or the code that says why it does not.
fn admit(request: &Request) -> Result<Question, ResponseCode> {
    // RFC 6891 section 6.1.3. Nothing else in the request can be relied on then.
    if request.version() > 0 {
        return Err(ResponseCode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    // RFC 9619 section 4: more than one question is ill-formed. None asks nothing.
    let [query] = request.queries.queries() else { return Err(ResponseCode::FormErr) };
    let query = query.original();
    Ok(Question { name: query.name().clone(), kind: query.query_type(), class: query.query_class() })
}

fn response_code(rcode: DnsRcode) -> ResponseCode {
    match rcode {
        DnsRcode::NoError => ResponseCode::NoError,
        DnsRcode::ServFail => ResponseCode::ServFail,
        DnsRcode::NxDomain => ResponseCode::NXDomain,
        DnsRcode::Refused => ResponseCode::Refused,
    }
}

/// The OPT record of a response. Its payload size bounds the response, too, for the library takes it from here.
fn response_edns(request: &Edns, extended: Option<ExtendedError>) -> Edns {
    let mut edns = Edns::new();
    // RFC 6891 section 6.2.3: less than 512 counts as 512.
    edns.set_max_payload(request.max_payload().clamp(UDP_PLAIN_OCTETS_MAX, UDP_PAYLOAD_OCTETS_MAX));
    // RFC 3225 section 3: the DO bit is copied.
    edns.set_dnssec_ok(request.flags().dnssec_ok);
    if let Some(ExtendedError { code, text }) = extended {
        let data = [&code.to_be_bytes(), text.as_bytes()].concat();
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR_OPTION, data));
    }
    edns
}

/// A response before it is encoded.
struct Response {
    metadata: Metadata,
    edns: Option<Edns>,
    reply: Reply,
}

impl Response {
    /// The response as the library's message.
    fn message<'a>(
        &'a self,
        queries: &'a Queries,
    ) -> MessageResponse<
        'a,
        'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
    > {
        let Reply { answers, authorities, additionals, .. } = &self.reply;
        MessageResponseBuilder::new(queries, self.edns.as_ref()).build(
            self.metadata,
            answers,
            authorities,
            &[],
            additionals,
        )
    }

    fn encode(&self, queries: &Queries, octets_max: u16) -> Result<(ResponseInfo, Vec<u8>), ProtoError> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(octets_max);
        let info = self.message(queries).destructive_emit(&mut encoder)?;
        Ok((info, bytes))
    }

    /// Leaves out every record, and says so.
    fn truncate(&mut self) {
        self.metadata.truncation = true;
        let Reply { answers, authorities, additionals, .. } = &mut self.reply;
        for section in [answers, authorities, additionals] {
            section.clear();
        }
    }
}

/// Waits until the server stops, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Takes TCP connections until the server stops, then waits for those that are there.
async fn accept(listener: TcpListener, handler: Handler, limits: DnsLimits, stopping: watch::Receiver<bool>) {
    let mut stop = stopping.clone();
    let mut connections = JoinSet::new();
    let idle_timeout = Duration::from_millis(limits.tcp_idle_timeout_ms);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.tcp_connections_max => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, handler.clone(), idle_timeout, stopping.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a TCP connection for DNS was not accepted");
                    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(Duration::from_millis(limits.drain_timeout_ms), drained).await.is_err() {
        tracing::warn!(count = connections.len(), "TCP connections for DNS are cut off");
    }
}

/// Answers the requests of one connection, one after the other (RFC 7766 section 6.2.1.1).
async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    handler: Handler,
    idle_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    // Responses leave whole; there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    loop {
        let request = tokio::select! {
            () = stopped(&mut stopping) => return,
            request = timeout(idle_timeout, read_request(&mut stream)) => request,
        };
        let Ok(Ok(request)) = request else { return };
        let Some(response) = handler.respond_over_tcp(request, peer) else { return };
        let Ok(Ok(())) = timeout(idle_timeout, write_response(&mut stream, &response)).await else { return };
    }
}

/// Reads a message with its length before it (RFC 1035 section 4.2.2).
async fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let octets = stream.read_u16().await?;
    if octets > TCP_REQUEST_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; usize::from(octets)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}

/// Writes a message with its length before it, in one piece (RFC 7766 section 8).
async fn write_response(stream: &mut TcpStream, response: &[u8]) -> io::Result<()> {
    let octets = u16::try_from(response.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + response.len());
    framed.extend_from_slice(&octets.to_be_bytes());
    framed.extend_from_slice(response);
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpStream, UdpSocket},
    };

    use hickory_proto::{
        op::Query,
        rr::{DNSClass, Name, RecordType, rdata::opt::EdnsCode},
    };
    use tokio::runtime::Runtime;

    use super::*;
    use crate::protocol::dns::tests::Node;

    /// A listener on loopback over a small registry.
    struct Listener {
        server: Option<DnsServer>,
        address: SocketAddr,
        runtime: Runtime,
        _node: Node,
    }

    impl Listener {
        fn start() -> Self {
            Self::start_with(DnsLimits::default())
        }

        fn start_with(limits: DnsLimits) -> Self {
            let node = Node::new();
            node.create("88.1/short", &[("NAME", b"x", 60)]);
            node.create("88.1/long", &[("NAME", &[b'x'; 60_000], 60)]);
            let values: Vec<(&str, &[u8], u32)> = vec![("NAME", &[b'x'; 100], 60); 4];
            node.create("88.1/some", &values);
            let runtime = Runtime::new().unwrap();
            let responder = Arc::clone(&node.responder);
            let server = runtime.block_on(DnsServer::start(responder, ([127, 0, 0, 1], 0).into(), limits)).unwrap();
            let address = server.local_addr();
            Self { server: Some(server), address, runtime, _node: node }
        }

        /// Sends bytes over UDP and gives back what came; `None` when nothing did.
        fn udp_bytes(&self, request: &[u8]) -> Option<Vec<u8>> {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            socket.send_to(request, self.address).unwrap();
            let mut response = vec![0; 65_535];
            let octets = socket.recv(&mut response).ok()?;
            response.truncate(octets);
            Some(response)
        }

        fn udp(&self, request: &Message) -> (Message, usize) {
            let response = self.udp_bytes(&request.to_vec().unwrap()).unwrap();
            (Message::from_vec(&response).unwrap(), response.len())
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream
        }

        fn tcp(&self, request: &Message) -> Message {
            let mut stream = self.connect();
            send(&mut stream, &request.to_vec().unwrap());
            Message::from_vec(&receive(&mut stream).unwrap()).unwrap()
        }
    }

    fn send(stream: &mut TcpStream, request: &[u8]) {
        stream.write_all(&[&(request.len() as u16).to_be_bytes(), request].concat()).unwrap();
    }

    fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut octets = [0; 2];
        stream.read_exact(&mut octets)?;
        let mut response = vec![0; usize::from(u16::from_be_bytes(octets))];
        stream.read_exact(&mut response)?;
        Ok(response)
    }

    const SHORT: &str = "short._.1.88.hdl.id.test.";
    const SOME: &str = "some._.1.88.hdl.id.test.";
    const LONG: &str = "long._.1.88.hdl.id.test.";

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.queries.push(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn with_edns(mut message: Message, payload: u16) -> Message {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.edns = Some(edns);
        message
    }

    fn check_code(response: &Message, code: ResponseCode) {
        assert_eq!(response.metadata.response_code, code, "{response}");
    }

    #[test]
    fn an_answer_over_both_transports() {
        let listener = Listener::start();
        let request = query("sHoRt._.1.88.HDL.id.TEST.", RecordType::TXT);
        for response in [listener.udp(&request).0, listener.tcp(&request)] {
            check_code(&response, ResponseCode::NoError);
            assert_eq!(response.metadata.id, request.metadata.id);
            assert!(response.metadata.authoritative && response.metadata.recursion_desired);
            assert!(!response.metadata.recursion_available && !response.metadata.truncation);
            assert!(response.edns.is_none());
            // RFC 1034 section 3.1 leaves the case to the client, which checks that it comes back.
            assert!(response.queries[0].name().eq_case(request.queries[0].name()));
            assert!(response.answers[0].name.eq_case(request.queries[0].name()));
            assert_eq!(response.answers.len(), 1);
        }
    }

    #[test]
    fn negative_answers() {
        let listener = Listener::start();
        for (name, kind, code) in [
            ("none._.1.88.hdl.id.test.", RecordType::TXT, ResponseCode::NXDomain),
            ("www.id.test.", RecordType::A, ResponseCode::NXDomain),
            (SHORT, RecordType::A, ResponseCode::NoError),
            ("1.88.hdl.id.test.", RecordType::TXT, ResponseCode::NoError),
            ("hdl.id.test.", RecordType::TXT, ResponseCode::NoError),
        ] {
            let (response, _) = listener.udp(&query(name, kind));
            check_code(&response, code);
            assert!(response.metadata.authoritative && response.answers.is_empty());
            assert_eq!(response.authorities[0].record_type(), RecordType::SOA);
            assert_eq!(response.authorities[0].ttl, 60);
        }
        let (response, _) = listener.udp(&query("example.com.", RecordType::A));
        check_code(&response, ResponseCode::Refused);
        assert!(!response.metadata.authoritative);
    }

    #[test]
    fn chaos_is_refused() {
        let listener = Listener::start();
        let mut request = query("version.bind.", RecordType::TXT);
        request.queries[0].set_query_class(DNSClass::CH);
        check_code(&listener.udp(&request).0, ResponseCode::Refused);
    }

    // RFC 6891 section 6.2.3, RFC 2181 section 9.
    #[test]
    fn responses_are_cut_to_what_the_client_takes() {
        let listener = Listener::start();
        let some = || query(SOME, RecordType::TXT);
        let whole = listener.tcp(&some()).to_vec().unwrap().len();
        assert!(whole > 512);
        for (request, limit) in [
            (some(), 512),
            (with_edns(some(), 100), 512),
            (with_edns(some(), 512), 512),
            (with_edns(query(LONG, RecordType::TXT), 4_096), 1_232),
        ] {
            let (response, octets) = listener.udp(&request);
            assert!(response.metadata.truncation && octets <= limit, "{octets} octets");
            assert_eq!((response.answers.len(), response.queries.len()), (0, 1));
            assert_eq!(response.edns.is_some(), request.edns.is_some());
        }
        let (response, octets) = listener.udp(&with_edns(some(), 4_096));
        assert!(!response.metadata.truncation && octets <= 1_232);
        assert_eq!(response.answers.len(), 4);
        for payload in whole as u16..whole as u16 + 24 {
            let (response, octets) = listener.udp(&with_edns(some(), payload));
            assert!(octets <= usize::from(payload) && response.edns.is_some());
            assert_eq!(response.answers.is_empty(), response.metadata.truncation);
        }
    }

    #[test]
    fn tcp_carries_everything() {
        let listener = Listener::start();
        for message in [query(LONG, RecordType::TXT), with_edns(query(LONG, RecordType::TXT), 512)] {
            let response = listener.tcp(&message);
            assert!(!response.metadata.truncation);
            assert_eq!(response.answers.len(), 1);
        }
        let response = listener.tcp(&query(LONG, RecordType::Unknown(65_280)));
        assert_eq!(response.answers.len(), 1);
    }

    #[test]
    fn edns() {
        let listener = Listener::start();
        let mut request = with_edns(query(SHORT, RecordType::TXT), 4_096);
        let edns = request.edns.as_mut().unwrap();
        edns.set_dnssec_ok(true).flags_mut().z = 1;
        edns.options_mut().insert(EdnsOption::Unknown(100, vec![1, 2, 3]));
        let (response, _) = listener.udp(&request);
        check_code(&response, ResponseCode::NoError);
        let edns = response.edns.unwrap();
        assert_eq!((edns.version(), edns.max_payload(), edns.flags().z), (0, 1_232, 0));
        assert!(edns.flags().dnssec_ok && edns.options().as_ref().is_empty());

        // RFC 8914 section 2.
        let (response, _) = listener.udp(&with_edns(query("example.com.", RecordType::A), 1_232));
        let edns = response.edns.unwrap();
        let Some(EdnsOption::Unknown(15, data)) = edns.option(EdnsCode::Unknown(15)) else { panic!("{edns}") };
        assert_eq!(data, b"\0\x14another zone");

        // RFC 6891 section 6.1.3.
        request.edns.as_mut().unwrap().set_version(1);
        let (response, _) = listener.udp(&request);
        assert_eq!(u16::from(response.metadata.response_code), 16, "{response}");
        assert_eq!(response.edns.unwrap().version(), 0);
        assert!(response.answers.is_empty());
    }

    #[test]
    fn what_is_no_query() {
        let listener = Listener::start();
        let question = || query(SHORT, RecordType::TXT);
        let with_op_code = |op_code| {
            let mut request = question();
            request.metadata.op_code = op_code;
            request
        };
        let mut none = question();
        none.queries.clear();
        let mut two = question();
        two.queries.push(question().queries.remove(0));
        let mut many = question();
        many.queries = vec![question().queries.remove(0); 40];
        for (request, code) in [
            (with_op_code(OpCode::Notify), ResponseCode::NotImp),
            (with_op_code(OpCode::Update), ResponseCode::NotImp),
            (with_op_code(OpCode::Unknown(15)), ResponseCode::NotImp),
            (none, ResponseCode::FormErr),
            (two, ResponseCode::FormErr),
            (many, ResponseCode::FormErr),
        ] {
            for response in [listener.udp(&request).0, listener.tcp(&request)] {
                check_code(&response, code);
                assert_eq!(response.metadata.op_code, request.metadata.op_code);
                assert!(response.answers.is_empty());
            }
        }
    }

    #[test]
    fn malformed_packets() {
        let listener = Listener::start();
        let good = with_edns(query(SHORT, RecordType::TXT), 1_232).to_vec().unwrap();
        assert_eq!(listener.udp_bytes(&good[..11]), None);
        for length in 12..good.len() {
            let response = listener.udp_bytes(&good[..length]).unwrap();
            check_code(&Message::from_vec(&response).unwrap(), ResponseCode::FormErr);
        }
        for length in 12..good.len() {
            let mut stream = listener.connect();
            send(&mut stream, &good[..length]);
            let response = Message::from_vec(&receive(&mut stream).unwrap()).unwrap();
            check_code(&response, ResponseCode::FormErr);
            assert_eq!(response.metadata.id, u16::from_be_bytes([good[0], good[1]]));
        }
        // A response is not answered: two servers would never stop.
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(listener.udp_bytes(&response), None);
        for at in 12..good.len() {
            for byte in [0, 0x3f, 0xc0, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let mut stream = listener.connect();
                send(&mut stream, &bad);
                receive(&mut stream).unwrap();
            }
        }
        check_code(&listener.udp(&query(SHORT, RecordType::TXT)).0, ResponseCode::NoError);
    }

    // RFC 7766 section 6.2.1.1.
    #[test]
    fn a_tcp_connection_takes_many_requests_at_once() {
        let listener = Listener::start();
        let mut stream = listener.connect();
        let requests: Vec<_> = (0..50).map(|_| query(SHORT, RecordType::TXT)).collect();
        requests.iter().for_each(|request| send(&mut stream, &request.to_vec().unwrap()));
        for request in &requests {
            let response = Message::from_vec(&receive(&mut stream).unwrap()).unwrap();
            assert_eq!(response.metadata.id, request.metadata.id);
        }
        send(&mut stream, &vec![0; usize::from(TCP_REQUEST_OCTETS_MAX) + 1]);
        assert!(receive(&mut stream).is_err());
    }

    #[test]
    fn tcp_connections_are_bounded() {
        let limits = DnsLimits { tcp_connections_max: 1, tcp_idle_timeout_ms: 200, ..DnsLimits::default() };
        let listener = Listener::start_with(limits);
        let mut first = listener.connect();
        let request = query(SHORT, RecordType::TXT).to_vec().unwrap();
        send(&mut first, &request);
        receive(&mut first).unwrap();
        // The second one waits until the first has said nothing for too long.
        let mut second = listener.connect();
        send(&mut second, &request);
        receive(&mut second).unwrap();
        assert!(receive(&mut first).is_err());
    }

    #[test]
    fn a_stopping_server_finishes_its_responses() {
        let mut listener = Listener::start();
        let mut stream = listener.connect();
        let mut idle = listener.connect();
        send(&mut stream, &query(LONG, RecordType::TXT).to_vec().unwrap());
        // The request has been read when the first octet of the response is there.
        stream.peek(&mut [0]).unwrap();
        let server = listener.server.take().unwrap();
        listener.runtime.block_on(server.shutdown());
        let response = Message::from_vec(&receive(&mut stream).unwrap()).unwrap();
        assert_eq!(response.answers.len(), 1);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
        // Both ports are free again.
        UdpSocket::bind(listener.address).unwrap();
        assert!(TcpStream::connect(listener.address).is_err());
    }
}

//! UDP and TCP over sockets on loopback.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, OpCode, Query, ResponseCode},
    rr::{
        Name, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    id::Identifier,
    protocol::dns::{
        WalkFailure,
        tests::{
            Node,
            tree::{found, recursive_over},
        },
    },
    resolver::{
        WalkLimits,
        recursion::{BoxFuture, SiteQuestion, SiteReply, Target, Upstream, UpstreamError},
    },
};

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
        Self::start_on(([127, 0, 0, 1], 0).into(), limits)
    }

    fn start_on(address: SocketAddr, limits: DnsLimits) -> Self {
        let node = Node::new();
        node.create("88.1/short", &[("NAME", b"x", 60)]);
        node.create("88.1/long", &[("NAME", &[b'x'; 60_000], 60)]);
        let values: Vec<(&str, &[u8], u32)> = vec![("NAME", &[b'x'; 100], 60); 4];
        node.create("88.1/some", &values);
        let runtime = Runtime::new().unwrap();
        let responder = Arc::clone(&node.responder);
        let server = runtime.block_on(DnsServer::start(&[address], parts(&responder, limits))).unwrap();
        let address = server.local_addrs()[0];
        Self { server: Some(server), address, runtime, _node: node }
    }

    /// Sends bytes over UDP and returns the response; `None` if none came.
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

fn parts(responder: &Arc<Responder>, limits: DnsLimits) -> DnsParts {
    DnsParts { responder: Arc::clone(responder), limits, seed: [0; 16], admission: Admission::default() }
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
        // RFC 1034 section 3.1 leaves the case to the client, which checks that it is returned.
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
    // A response is not answered: else two servers would answer each other for ever.
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
    let limits = DnsLimits { connections_max: 1, idle_timeout_ms: 200, ..DnsLimits::default() };
    let listener = Listener::start_with(limits);
    let mut first = listener.connect();
    let request = query(SHORT, RecordType::TXT).to_vec().unwrap();
    send(&mut first, &request);
    receive(&mut first).unwrap();
    // The second one waits until the first was silent for too long.
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

/// A listener on the unspecified address answers from the address that was asked: a connected socket takes nothing
/// else.
#[test]
fn answers_come_from_the_address_that_was_asked() {
    for (listen, asked) in [("0.0.0.0:0", ["127.0.0.1", "127.8.9.10"]), ("[::]:0", ["::1", "::1"])] {
        let has_ipv6 = || UdpSocket::bind(listen).is_ok() && UdpSocket::bind("[::1]:0").is_ok();
        if listen.starts_with('[') && !crate::required::is_met("ipv6", has_ipv6()) {
            continue;
        }
        let listener =
            Listener::start_on(listen.parse().unwrap(), DnsLimits { udp_workers: 2, ..DnsLimits::default() });
        for (number, ip) in asked.iter().cycle().take(40).enumerate() {
            let address = SocketAddr::new(ip.parse().unwrap(), listener.address.port());
            let socket =
                UdpSocket::bind(SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0));
            let socket = socket.unwrap();
            socket.connect(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let request = query(if number % 3 == 0 { SHORT } else { "none._.1.88.hdl.id.test." }, RecordType::TXT);
            socket.send(&request.to_vec().unwrap()).unwrap();
            let mut response = [0; 1_232];
            let octets = socket.recv(&mut response).unwrap();
            let response = Message::from_vec(&response[..octets]).unwrap();
            assert_eq!(response.metadata.id, request.metadata.id);
        }
        listener.runtime.block_on(async { TcpStream::connect((asked[0], listener.address.port())).unwrap() });
    }
}

#[test]
fn several_addresses_at_once() {
    let node = Node::new();
    let runtime = Runtime::new().unwrap();
    let addresses: Vec<SocketAddr> = ["127.0.0.1:0", "127.0.0.2:0"].map(|text| text.parse().unwrap()).into();
    let server = runtime.block_on(DnsServer::start(&addresses, parts(&node.responder, DnsLimits::default()))).unwrap();
    assert_eq!(server.local_addrs().len(), 2);
    for &address in server.local_addrs() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&query("id.test.", RecordType::SOA).to_vec().unwrap(), address).unwrap();
        assert_eq!(socket.recv_from(&mut [0; 512]).unwrap().1, address);
    }
    let taken = server.local_addrs()[1];
    let again = runtime.block_on(DnsServer::start(&[taken], parts(&node.responder, DnsLimits::default())));
    let error = again.err().unwrap().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
    runtime.block_on(server.shutdown());
}

/// Other nodes that answer as told, or never.
#[derive(Clone, Copy)]
enum Told {
    Found,
    Unreachable,
    Never,
}

impl Upstream for Told {
    fn ask<'a>(&'a self, _: &'a Target, question: &'a SiteQuestion) -> BoxFuture<'a, Result<SiteReply, UpstreamError>> {
        assert_eq!(question.identifier.as_str(), "88.118/bolt");
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match self {
                Self::Found => Ok(SiteReply { ttl_seconds: Some(100), ..SiteReply::bare(found(300)) }),
                Self::Unreachable => Err(UpstreamError::Unreachable { reason: "all sites are down".into() }),
                Self::Never => std::future::pending().await,
            }
        })
    }
}

fn start_recursive(address: &str, told: Told) -> Listener {
    let node = recursive_over(Arc::new(told));
    let runtime = Runtime::new().unwrap();
    let addresses = [address.parse().unwrap()];
    let started = DnsServer::start(&addresses, parts(&node.responder, DnsLimits::default()));
    let server = runtime.block_on(started).unwrap();
    let address = ([127, 0, 0, 1], server.local_addrs()[0].port()).into();
    Listener { server: Some(server), address, runtime, _node: node }
}

const BOLT: &str = "bolt._.118.88.hdl.id.test.";

#[test]
fn walks_are_answered_over_both_transports() {
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let listener = start_recursive(address, Told::Found);
        let request = with_edns(query(BOLT, RecordType::TXT), 1_232);
        // Three of a walk, and one from its cached result.
        for over in ["UDP", "UDP", "TCP"] {
            let response = if over == "UDP" { listener.udp(&request).0 } else { listener.tcp(&request) };
            check_code(&response, ResponseCode::NoError);
            assert!(response.metadata.recursion_available && !response.metadata.authoritative, "{over}");
            assert_eq!((response.answers.len(), response.metadata.id), (1, request.metadata.id), "{over}");
            assert!((98..=100).contains(&response.answers[0].ttl), "{over}");
        }
        let fresh = with_edns(query(BOLT, RecordType::NAPTR), 1_232);
        check_code(&listener.tcp(&fresh), ResponseCode::NoError);
    }
    let listener = start_recursive("127.0.0.1:0", Told::Unreachable);
    let request = with_edns(query(BOLT, RecordType::TXT), 1_232);
    for response in [listener.udp(&request).0, listener.tcp(&request)] {
        check_code(&response, ResponseCode::ServFail);
        let edns = response.edns.unwrap();
        let Some(EdnsOption::Unknown(15, data)) = edns.option(EdnsCode::Unknown(15)) else { panic!("{edns}") };
        let data = data.escape_ascii().to_string();
        assert!(data.starts_with("\\x00\\x16no site of hdl:88.118 gave an answer"), "{data}");
    }
}

/// Referrals are longer than the questions for them, and there are endless names below a zone cut.
#[test]
fn a_flood_of_questions_below_a_cut_gets_few_referrals() {
    const QUESTIONS: usize = 400;
    let node = Node::new();
    node.delegate("88.118", "dns://192.0.2.7:53", &[]);
    let rate = RateLimits { responses_per_second: 2, slip: 0, exempt: Vec::new(), ..RateLimits::default() };
    let limits = DnsLimits { rate, ..DnsLimits::default() };
    let runtime = Runtime::new().unwrap();
    let addresses = [([127, 0, 0, 1], 0).into()];
    let server = runtime.block_on(DnsServer::start(&addresses, parts(&node.responder, limits))).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.local_addrs()[0]).unwrap();
    for number in 0..QUESTIONS {
        let name = format!("r{number}._.118.88.hdl.id.test.");
        socket.send(&query(&name, RecordType::TXT).to_vec().unwrap()).unwrap();
    }
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let answered = std::iter::from_fn(|| socket.recv(&mut [0; 1_232]).ok()).count();
    // At least as many as an account holds; far from all, however slowly they were received.
    assert!((2..QUESTIONS / 4).contains(&answered), "{answered} of {QUESTIONS}");
    runtime.block_on(server.shutdown());
}

#[test]
fn walks_are_bounded_and_end_with_the_server() {
    let mut listener = start_recursive("127.0.0.1:0", Told::Never);
    let walks = Arc::clone(&listener.server.as_ref().unwrap().context.walks);
    let identifier = || Identifier::parse("88.118/bolt").unwrap();
    let client = |text: &str| text.parse::<IpAddr>().unwrap();
    let check = |from: &str, limit: &str| {
        let (told, heard) = std::sync::mpsc::channel();
        walks.spawn(identifier(), client(from), move |walked| told.send(walked.map(|_| ())).unwrap());
        assert_eq!(heard.recv().unwrap(), Err(WalkFailure::Other(limit.into())), "{from}");
    };
    let WalkLimits { walks_max, walks_per_network_max, .. } = WalkLimits::default();
    for _ in 0..walks_per_network_max {
        walks.spawn(identifier(), client("192.0.2.1"), |_| panic!("it ended"));
    }
    check("192.0.2.200", "256 walks are under way for your network, the limit; ask again");
    // A client without limits takes the rest.
    for _ in walks_per_network_max..walks_max {
        walks.spawn(identifier(), client("127.0.0.1"), |_| panic!("it ended"));
    }
    for from in ["198.51.100.1", "127.0.0.1"] {
        check(from, "4096 walks are under way, the limit; ask again");
    }
    let request = with_edns(query(BOLT, RecordType::TXT), 1_232);
    for response in [listener.udp(&request).0, listener.tcp(&request)] {
        check_code(&response, ResponseCode::ServFail);
    }
    let server = listener.server.take().unwrap();
    listener.runtime.block_on(server.shutdown());
}

//! DNS for tests, octet by octet: messages ([`message`]), sockets, and a node to ask. Shares no code with the node,
//! except for encryption ([`encrypted`]).

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    time::Duration,
};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use touchmark::{
    config::{Config, Layer},
    protocol::grpc::pb,
};

pub use self::message::*;
use super::{
    program::{Program, touchmark},
    support::{Running, directory},
};

pub mod encrypted;
mod message;

/// Time for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to wait for an answer that must not come.
pub const SILENCE: Duration = Duration::from_millis(300);
/// Longest response over UDP, in octets: to a client without EDNS (RFC 1035 section 4.2.1), and to any client.
pub const PLAIN_OCTETS_MAX: usize = 512;
pub const UDP_OCTETS_MAX: usize = 1_232;
/// Octets of a receive buffer, longer than any response over UDP.
const DATAGRAM_OCTETS_MAX: usize = 4_096;

/// A UDP socket connected to a server: it receives from the address that it sent to.
pub struct Udp(UdpSocket);

impl Udp {
    pub fn to(server: SocketAddr) -> Self {
        Self::from(if server.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() }, server)
    }

    /// Opens a socket at an address of this machine.
    pub fn from(local: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((local, 0)).unwrap();
        socket.connect(server).unwrap();
        Self(socket)
    }

    pub fn send(&self, message: &[u8]) {
        self.0.send(message).unwrap();
    }

    /// Receives a datagram; `None` if none comes in time.
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut message = [0; DATAGRAM_OCTETS_MAX];
        let octets = self.0.recv(&mut message).ok()?;
        Some(message[..octets].to_vec())
    }

    /// Sends a message and returns the answer; `None` if there is none in time.
    pub fn exchange(&self, message: &[u8], within: Duration) -> Option<Vec<u8>> {
        self.send(message);
        self.receive(within)
    }

    pub fn ask(&self, query: &Query) -> Response {
        let message = self.exchange(&query.bytes(), ANSWER_TIMEOUT).expect("no answer over UDP");
        let response = Response::read(&message).unwrap();
        let taken = query.edns.as_ref().map_or(0, |edns| edns.payload.into());
        assert!(message.len() <= taken.clamp(PLAIN_OCTETS_MAX, UDP_OCTETS_MAX), "{} octets over UDP", message.len());
        check_shape(query, &response);
        response
    }
}

/// A TCP connection (RFC 1035 section 4.2.2).
pub struct Tcp(pub TcpStream);

impl Tcp {
    pub fn to(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.write_all(&framed(message))
    }

    /// Sends octets without a length in front.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.write_all(octets)
    }

    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut octets = [0; 2];
        self.0.read_exact(&mut octets)?;
        let mut message = vec![0; u16::from_be_bytes(octets).into()];
        self.0.read_exact(&mut message)?;
        Ok(message)
    }

    pub fn ask(&mut self, query: &Query) -> Response {
        self.send(&query.bytes()).unwrap();
        let response = Response::read(&self.receive().unwrap()).unwrap();
        check_shape(query, &response);
        response
    }

    /// True if the server closes the connection within this time, without sending anything.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        match self.0.read(&mut [0]) {
            Ok(octets) => octets == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// A message with its length in front.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A cookie that the server accepts from this machine; only the client cookie if the server gives out none.
pub fn server_cookie(server: SocketAddr) -> Vec<u8> {
    let client = b"\x01\x02\x03\x04\x05\x06\x07\x08";
    let response = Udp::to(server).ask(&Query::new("id.test.", kind::SOA).option(option::COOKIE, client));
    response.edns.unwrap().option(option::COOKIE).unwrap_or(client).to_vec()
}

/// Checks what holds for the response to every well-formed message.
#[track_caller]
pub fn check_shape(query: &Query, response: &Response) {
    assert_eq!(response.id, query.id, "another id");
    let opcode = 0x7800;
    assert_eq!(response.flags & (flag::QR | opcode), flag::QR | query.flags & opcode, "QR and opcode");
    assert_eq!(response.flags & (flag::RA | flag::Z), 0, "RA or Z: {}", response.flag_words());
    // In the case of the question.
    assert!(response.questions == query.questions || response.questions.is_empty(), "another question");
    let is_broken = response.status() == "FORMERR";
    assert!(is_broken || response.edns.is_some() == query.edns.is_some(), "RFC 6891 section 6.1.1: {response:?}");
    if let Some(edns) = &response.edns {
        assert_eq!((edns.version, edns.flags & !(flag::DO | flag::CO)), (0, 0), "{edns:?}");
        assert!(edns.payload >= 512, "{edns:?}");
    }
    if matches!(response.status().as_str(), "NOERROR" | "NXDOMAIN") {
        assert_eq!(response.questions, query.questions);
        assert_eq!(response.flags & flag::RD, query.flags & flag::RD, "RD is copied");
    }
}

/// Identity of a named node.
pub const IDENTITY: &str = "node-7.example";

/// Starts a node with an identity, in a process of its own.
pub fn named_node(data: &Path) -> Program {
    Program::spawn(touchmark().arg("serve").arg("--data").arg(data).env("TOUCHMARK_DNS_IDENTITY", IDENTITY))
}

/// A node in this process, and ways to ask it.
pub struct Served {
    pub address: SocketAddr,
    running: Option<Running>,
    runtime: Runtime,
    _data: TempDir,
}

impl Served {
    /// Starts a node and carries out the commands.
    pub fn start(commands: Vec<pb::Command>) -> Self {
        Self::listening("127.0.0.1:0", commands)
    }

    /// As [`Served::start`], with DNS on another address.
    pub fn listening(dns: &str, commands: Vec<pb::Command>) -> Self {
        let data = directory();
        let path = data.path().to_str().unwrap();
        let arguments = [("--data", path), ("--dns", dns), ("--grpc", "127.0.0.1:0"), ("--http", "off")];
        let arguments = arguments.map(|(name, value)| (name, Some(value.to_owned())));
        let config = Config::from_layers([Layer::from_arguments(arguments)]).unwrap();
        let runtime = Runtime::new().unwrap();
        let running = runtime.block_on(Running::with(&config)).unwrap();
        let served = Self { address: running.node.dns_addr(), running: Some(running), runtime, _data: data };
        commands.into_iter().for_each(|command| served.apply(command));
        served
    }

    pub fn apply(&self, command: pb::Command) {
        self.runtime.block_on(self.running.as_ref().unwrap().apply(command)).unwrap();
    }

    pub fn udp(&self, query: &Query) -> Response {
        Udp::to(self.address).ask(query)
    }

    pub fn tcp(&self, query: &Query) -> Response {
        Tcp::to(self.address).ask(query)
    }

    /// Asks over both transports.
    pub fn both(&self, query: &Query) -> [Response; 2] {
        [self.udp(query), self.tcp(query)]
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        if let Some(running) = self.running.take().filter(|_| !std::thread::panicking()) {
            self.runtime.block_on(running.stop());
        }
    }
}

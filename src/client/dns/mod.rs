//! Resolution over DNS, as any DNS client could do it: one question for the private type with the whole record, over
//! UDP first, over TCP if the answer is truncated.
//!
//! A server that is not responsible for the name may return a [`Referral`], which the caller follows.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod packet;
mod referral;

use std::{
    io,
    net::{self, SocketAddr},
    time::Duration,
};

use prost::Message as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::ClientError;
use crate::{
    id::{Identifier, dns_name},
    protocol::{grpc::pb, outcome::Outcome},
    resolver::Referral,
};
use packet::{Question, Recursion, Response};

/// Maximum wait for an answer over UDP before the question is sent again.
const UDP_PATIENCE_MAX: Duration = Duration::from_secs(2);
/// Number of times that the question is sent over UDP.
const UDP_ATTEMPTS: u32 = 2;
/// Time reserved for TCP while the last answer over UDP is awaited.
const TCP_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time of [`resolve`]: both attempts over UDP, the last of which outlasts a walk of a recursive node, and then
/// TCP.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(9);
/// Maximum length of a DNS message, in bytes (RFC 1035 section 4.2.2).
const MESSAGE_BYTES_MAX: usize = 65_535;

/// Outcome of a question over DNS.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The record.
    Found(Box<pb::Record>),
    /// The name does not exist: nothing was ever registered under it, nor below it.
    NoSuchName,
    /// The identifier was retired.
    Retired,
    /// The identifier was erased.
    Erased,
    /// The name exists without a record: only identifiers below it are registered, or it was retired and an
    /// intermediate server dropped the extended error that says so.
    NoData,
    /// The server refused, with the text of its extended error (RFC 8914), if there is one.
    Refused(Option<String>),
    /// Another node is responsible for the name, and the answer names no address of it.
    Delegated,
    /// The delegation to the responsible sites.
    Referral(Box<Referral>),
    /// The server is neither responsible for the name, nor does it know who is.
    NotResponsible,
}

/// A reply over DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsReply {
    /// The outcome.
    pub said: Said,
    /// True if the server is authoritative for the name (AA).
    pub authoritative: bool,
    /// Time for which the reply may be cached, in seconds; `None` if the reply has no TTL.
    pub ttl_seconds: Option<u32>,
}

/// Length of a zone's name on the wire, in octets, with its root octet.
pub fn zone_octets(zone: &str) -> usize {
    zone_labels(zone).map(|label| label.len() + 1).sum::<usize>() + 1
}

/// The full name of an identifier in a zone, with a dot at the end.
pub fn name_in_zone(identifier: &Identifier, zone: &str) -> String {
    let mut name = dns_name::name_of(identifier, zone_octets(zone)).to_string();
    for label in zone_labels(zone) {
        name.push('.');
        name.push_str(label);
    }
    name.push('.');
    name
}

/// The labels of a zone, from left to right.
pub fn zone_labels(zone: &str) -> impl Iterator<Item = &str> {
    zone.split('.').filter(|label| !label.is_empty())
}

/// Asks a server for the record of an identifier, with recursion desired.
///
/// # Errors
///
/// As for [`ask`].
pub async fn resolve(identifier: &Identifier, zone: &str, server: SocketAddr) -> Result<Said, ClientError> {
    let name = IdentifierInZone::new(identifier, zone);
    Ok(exchange(&name, Recursion::Desired, server, RESOLVE_TIMEOUT).await?.said)
}

/// Asks a server for its own answer about an identifier, without recursion, within `timeout`: over UDP, and over TCP if
/// the answer is truncated.
///
/// # Errors
///
/// [`ClientError::Unreachable`] without an answer, [`ClientError::Protocol`] for a malformed one, and
/// [`ClientError::Refused`] if the server failed (unavailable) or has another zone (invalid).
pub async fn ask(
    identifier: &Identifier,
    zone: &str,
    server: SocketAddr,
    timeout: Duration,
) -> Result<DnsReply, ClientError> {
    exchange(&IdentifierInZone::new(identifier, zone), Recursion::Unwanted, server, timeout).await
}

/// An identifier with its zone and its name there.
struct IdentifierInZone<'a> {
    identifier: &'a Identifier,
    zone: &'a str,
    name: String,
}

impl<'a> IdentifierInZone<'a> {
    fn new(identifier: &'a Identifier, zone: &'a str) -> Self {
        Self { identifier, zone, name: name_in_zone(identifier, zone) }
    }
}

async fn exchange(
    named: &IdentifierInZone<'_>,
    recursion: Recursion,
    server: SocketAddr,
    timeout: Duration,
) -> Result<DnsReply, ClientError> {
    let question = Question::new(&named.name, recursion)
        .ok_or_else(|| protocol(server, format!("`{}` is not a name that can be asked for", named.name)))?;
    let deadline = Instant::now() + timeout;
    let response = match ask_udp(&question, server, Patience { timeout, deadline }).await? {
        response if response.truncated => ask_tcp(&question, server, deadline).await?,
        response => response,
    };
    if response.truncated {
        return Err(protocol(server, format!("the answer for {} is cut off over TCP, too", named.name)));
    }
    Ok(DnsReply {
        said: meaning(&response, named, server)?,
        authoritative: response.authoritative,
        ttl_seconds: response.ttl_seconds,
    })
}

/// The outcome in a response.
fn meaning(response: &Response, named: &IdentifierInZone<'_>, server: SocketAddr) -> Result<Said, ClientError> {
    const NOERROR: u16 = 0;
    const SERVFAIL: u16 = 2;
    const NXDOMAIN: u16 = 3;
    const REFUSED: u16 = 5;
    const NOT_AUTHORITATIVE: u16 = 20;
    let extended = response.extended_error.as_ref();
    let text = || extended.map(|error| error.1.clone()).filter(|text| !text.is_empty());
    let elsewhere = extended.is_some_and(|error| error.0 == NOT_AUTHORITATIVE);
    let is_word = |outcome: Outcome| text().is_some_and(|text| text == outcome.spelling().word);
    let name = &named.name;
    match (response.rcode, &response.record) {
        (NOERROR, Some(record)) => {
            let record = pb::Record::decode(record.as_slice());
            let record = record.map_err(|error| protocol(server, format!("the record of {name}: {error}")))?;
            Ok(Said::Found(Box::new(record)))
        }
        (NOERROR, None) if elsewhere || referral::is_one(response) => {
            let referral = referral::read(&response.referral, named.identifier, named.zone);
            let referral = referral.map_err(|reason| protocol(server, format!("the referral for {name}: {reason}")))?;
            Ok(referral.map_or(Said::Delegated, |referral| Said::Referral(Box::new(referral))))
        }
        (NOERROR, None) if is_word(Outcome::Retired) => Ok(Said::Retired),
        (NOERROR, None) if is_word(Outcome::Erased) => Ok(Said::Erased),
        (NOERROR, None) => match text() {
            None => Ok(Said::NoData),
            // For example: the record is too long for a message.
            Some(text) => {
                let message = format!("the DNS server at {server} gave no record of {name}: {text}; ask over gRPC");
                Err(ClientError::Refused { code: OUT_OF_RANGE, message })
            }
        },
        (NXDOMAIN, _) => Ok(Said::NoSuchName),
        (REFUSED, _) if elsewhere && is_word(Outcome::NotResponsible) => Ok(Said::NotResponsible),
        (REFUSED, _) if elsewhere => {
            let message = format!("the DNS server at {server} does not answer for the zone of {name}");
            Err(ClientError::Refused { code: Outcome::Invalid.spelling().grpc, message })
        }
        (REFUSED, _) => Ok(Said::Refused(text())),
        (SERVFAIL, _) => {
            let message = text().unwrap_or_else(|| format!("the DNS server at {server} failed to answer for {name}"));
            Err(ClientError::Refused { code: Outcome::Unavailable.spelling().grpc, message })
        }
        (rcode, _) => Err(protocol(server, format!("response code {rcode} for {name}"))),
    }
}

/// Status code for an answer that the DNS cannot carry, as in `google.rpc.Code`.
const OUT_OF_RANGE: i32 = 11;

/// Time limit of an exchange, as a duration and as a deadline.
#[derive(Clone, Copy)]
struct Patience {
    timeout: Duration,
    deadline: Instant,
}

/// Deadline for the answer to the attempt of this number, which begins at `now`: a share of the time, or for the last
/// attempt all that is left before TCP.
fn wait_until(attempt: u32, now: Instant, time: Patience) -> Instant {
    let soon = now + (time.timeout / UDP_ATTEMPTS).min(UDP_PATIENCE_MAX);
    let last = time.deadline.checked_sub(TCP_TIMEOUT).unwrap_or(now);
    if attempt == UDP_ATTEMPTS { soon.max(last) } else { soon }
}

async fn ask_udp(question: &Question, server: SocketAddr, time: Patience) -> Result<Response, ClientError> {
    let failed = |error: io::Error| unreachable(server, &error.to_string());
    let socket = send_first(question, server).map_err(failed)?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    for attempt in 1..=UDP_ATTEMPTS {
        if attempt > 1 {
            socket.send(question.message()).await.map_err(failed)?;
        }
        let deadline = wait_until(attempt, Instant::now(), time);
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await {
            let length = received.map_err(failed)?;
            // Anything but the answer to this question is dropped; the answer may still come.
            if let Some(response) = question.read(buffer.get(..length).unwrap_or_default()) {
                return Ok(response);
            }
        }
    }
    Err(unreachable(server, "no answer over UDP"))
}

/// A socket of its own for a question, already sent: a new socket has room in its buffer, and to wait for readiness
/// would cost one more turn of the event loop for each question.
fn send_first(question: &Question, server: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = net::UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    match socket.send(question.message()) {
        // Without room the question is lost like a datagram on the way: there is a second attempt.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        _ => {}
    }
    UdpSocket::from_std(socket)
}

async fn ask_tcp(question: &Question, server: SocketAddr, deadline: Instant) -> Result<Response, ClientError> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let message = question.message();
        let mut framed = Vec::with_capacity(message.len() + 2);
        framed.extend_from_slice(&(message.len() as u16).to_be_bytes());
        framed.extend_from_slice(message);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = match timeout_at(deadline, exchange).await {
        Ok(answer) => answer.map_err(|error| unreachable(server, &format!("over TCP: {error}")))?,
        Err(_) => return Err(unreachable(server, "no answer over TCP")),
    };
    let read = question.read(&answer);
    read.ok_or_else(|| protocol(server, "the answer over TCP is not one to the question".into()))
}

fn unreachable(server: SocketAddr, reason: &str) -> ClientError {
    ClientError::Unreachable { server: server.to_string(), reason: reason.into() }
}

fn protocol(server: SocketAddr, reason: String) -> ClientError {
    ClientError::Protocol { server: server.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::{packet::RawReferral, *};

    #[test]
    fn what_responses_mean() {
        let record = pb::Record { identifier: "88.1/a".into(), ..pb::Record::default() };
        let response = |rcode, extended: Option<(u16, &str)>| Response {
            rcode,
            extended_error: extended.map(|(code, text)| (code, text.into())),
            ..Response::default()
        };
        let found = Response { record: Some(record.encode_to_vec()), ..response(0, None) };
        let broken = Response { record: Some(b"\xff".to_vec()), ..response(0, None) };
        let server = |owner: &[u8]| (owner.to_vec(), b"\x02ns\x00".to_vec(), 60);
        let lame = RawReferral { servers: vec![server(b"\x0288\x03hdl\x02id\x04test\x00")], ..RawReferral::default() };
        let upward = RawReferral { servers: vec![server(b"\x02id\x04test\x00")], ..RawReferral::default() };
        let identifier = Identifier::parse("88.1/a").unwrap();
        let named = IdentifierInZone::new(&identifier, "id.test.");
        let table = [
            (found, "Ok(Found("),
            (broken, "Err(Protocol"),
            (response(0, None), "Ok(NoData)"),
            (response(0, Some((0, "retired"))), "Ok(Retired)"),
            (response(0, Some((20, "delegated"))), "Ok(Delegated)"),
            (Response { authoritative: true, ..response(0, Some((20, "delegated"))) }, "Ok(Delegated)"),
            (response(5, Some((20, "not responsible"))), "Ok(NotResponsible)"),
            (Response { referral: lame, ..response(0, None) }, "Ok(Delegated)"),
            (Response { referral: upward, ..response(0, None) }, "Err(Protocol"),
            (response(0, Some((0, "too long"))), "Err(Refused { code: 11"),
            (response(3, None), "Ok(NoSuchName)"),
            (response(5, Some((18, "denied"))), "Ok(Refused(Some(\"denied\")))"),
            (response(5, Some((20, "another zone"))), "Err(Refused { code: 3"),
            (response(2, None), "Err(Refused { code: 14"),
            (response(16, None), "Err(Protocol"),
        ];
        for (response, expected) in table {
            let meaning = format!("{:?}", meaning(&response, &named, ([127, 0, 0, 1], 53).into()));
            assert!(meaning.starts_with(expected), "{response:?}: {meaning}");
        }
    }

    #[test]
    fn how_long_an_answer_is_waited_for() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        // The limit in seconds; when both attempts begin and end.
        for (limit, first, second) in
            [(9, (0, 2), (2, 8)), (2, (0, 1), (1, 2)), (4, (0, 2), (2, 4)), (30, (0, 2), (2, 29))]
        {
            let time = Patience { timeout: Duration::from_secs(limit), deadline: after(limit) };
            for (attempt, (begin, end)) in [(1, first), (2, second)] {
                assert_eq!(wait_until(attempt, after(begin), time), after(end), "attempt {attempt} of {limit} s");
            }
        }
    }

    #[test]
    fn lengths_of_zones() {
        assert_eq!([zone_octets("id.test."), zone_octets("id.test"), zone_octets(".")], [9, 9, 1]);
    }
}

//! Readers over DNS with many questions under way: datagrams with and without EDNS, and one TCP connection.

use std::{net::SocketAddr, time::Duration};

use prost::Message as _;
use touchmark::protocol::grpc::pb;

use super::{
    Shared, Tally,
    stages::{Position, SUBJECTS, Seen},
};
use crate::dns_support::{Query, Response, Tcp, Udp, flag, kind, option, server_cookie};

/// Number of questions under way at the same time.
const UDP_WINDOW: usize = 32;
const TCP_WINDOW: usize = 16;
/// Number of answers after which a socket or a connection is replaced, so that another worker of the node may serve the
/// next one.
const ANSWERS_EACH: u32 = 4_096;
/// Time without a datagram after which all questions under way count as lost, and maximum number of such losses in a
/// row.
const LOSS: Duration = Duration::from_millis(200);
const LOSSES_MAX: u32 = 50;

/// Form of the questions: plain, or with an OPT record and a cookie, which exempts the client from rate limits.
#[derive(Clone)]
enum Manner {
    Plain,
    WithCookie(Vec<u8>),
}

impl Manner {
    fn query(&self, position: Position, number: u32) -> Query {
        let query = question(position, number);
        match self {
            Self::Plain => query,
            Self::WithCookie(cookie) => query.option(option::COOKIE, cookie),
        }
    }
}

/// A query about an identifier; every fourth asks for the whole record, which is cached separately.
pub fn question(position: Position, number: u32) -> Query {
    Query::new(&position.name(), if number % 4 == 3 { kind::RECORD } else { kind::TXT })
}

/// Stage shown by a response; `None` if the response is truncated, as by a rate limit.
pub fn seen(response: &Response) -> Option<Seen> {
    if response.flags & flag::TC != 0 {
        return None;
    }
    match (response.status().as_str(), response.answers.as_slice()) {
        ("NXDOMAIN", []) => Some(Seen::NoName),
        ("NOERROR", []) if response.extended_error().is_some_and(|(_, text)| text == "retired") => Some(Seen::Retired),
        ("NOERROR", []) if response.edns.is_none() => Some(Seen::NoDataOrRetired),
        ("NOERROR", []) => Some(Seen::NoData),
        ("NOERROR", [answer]) if answer.kind == kind::RECORD => {
            let record = pb::Record::decode(answer.data.as_slice()).unwrap();
            Some(Seen::Version(record.version as u32))
        }
        ("NOERROR", [answer]) => Some(Seen::Version(answer.strings()[1].parse().unwrap())),
        _ => panic!("{response:?}"),
    }
}

/// Reads over UDP with EDNS and a cookie.
pub fn read_udp(server: SocketAddr, shared: &Shared) -> Tally {
    udp(server, shared, Tally::of("UDP"), || Manner::WithCookie(server_cookie(server)))
}

/// Reads over UDP without EDNS.
pub fn read_udp_without_edns(server: SocketAddr, shared: &Shared) -> Tally {
    udp(server, shared, Tally::of("UDP without EDNS"), || Manner::Plain)
}

fn udp(server: SocketAddr, shared: &Shared, mut tally: Tally, manner: impl Fn() -> Manner) -> Tally {
    let mut under_way: Vec<Option<Position>> = vec![None; 1 << 16];
    let mut losses = 0;
    while !shared.is_over() {
        let (socket, manner) = (Udp::to(server), manner());
        let (mut asked, mut answered, mut window) = (0, 0, 0);
        under_way.fill(None);
        while answered < ANSWERS_EACH && !shared.is_over() {
            while window < UDP_WINDOW {
                let least = shared.least(asked as usize % SUBJECTS);
                let query = manner.query(least, asked / SUBJECTS as u32);
                under_way[usize::from(query.id)] = Some(least);
                socket.send(&query.bytes());
                (window, asked) = (window + 1, asked + 1);
            }
            let Some(message) = socket.receive(LOSS) else {
                losses += 1;
                assert!(losses < LOSSES_MAX, "no answers over UDP");
                tally.lost += window as u64;
                break;
            };
            losses = 0;
            let response = Response::read(&message).unwrap();
            let Some(least) = under_way[usize::from(response.id)].take() else { continue };
            (window, answered) = (window - 1, answered + 1);
            match seen(&response) {
                Some(seen) => tally.check(shared, least, seen),
                None => tally.lost += 1,
            }
        }
    }
    tally
}

/// Reads over TCP: a window of queries in one write, then their answers in any order.
pub fn read_tcp(server: SocketAddr, shared: &Shared) -> Tally {
    let mut tally = Tally::of("TCP");
    while !shared.is_over() {
        let mut connection = Tcp::to(server);
        for number in 0..ANSWERS_EACH / TCP_WINDOW as u32 {
            if shared.is_over() {
                break;
            }
            let mut under_way = Vec::new();
            let mut message = Vec::new();
            for subject in (0..SUBJECTS).cycle().take(TCP_WINDOW) {
                let least = shared.least(subject);
                let query = Manner::Plain.query(least, number).id(under_way.len() as u16);
                message.extend(crate::dns_support::framed(&query.bytes()));
                under_way.push(Some(least));
            }
            connection.write(&message).unwrap();
            for _ in 0..TCP_WINDOW {
                let response = Response::read(&connection.receive().unwrap()).unwrap();
                let least = under_way[usize::from(response.id)].take().expect("one answer each");
                tally.check(shared, least, seen(&response).expect("nothing is cut over TCP"));
            }
        }
    }
    tally
}

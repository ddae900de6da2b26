//! DNS over TCP (RFC 7766): many questions at once, split anywhere, with answers in any order; and connections that
//! send nothing, or too little, or do not read.

use std::{
    collections::HashMap,
    io,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use crate::{
    dns_support::{ANSWER_TIMEOUT, Query, Response, Served, Tcp, check_shape, framed, kind},
    support::{create, value},
};

const ZONE: &str = "id.test.";
const SHORT: &str = "short._.118.88.hdl.id.test.";
const LONG: &str = "long._.118.88.hdl.id.test.";
/// Length of the long value, in octets: its answer takes nearly a whole message.
const LONG_OCTETS: usize = 60_000;
/// Maximum lifetime of an idle connection: "a few seconds" (RFC 7766 section 6.2.3), with room for slow machines.
const IDLE_MAX: Duration = Duration::from_secs(20);

fn served() -> Served {
    let commands = vec![
        create("88.118/short", vec![value(1, "NAME", "x")]),
        create("88.118/long", vec![value(1, "NAME", "x".repeat(LONG_OCTETS))]),
    ];
    Served::start(commands)
}

/// Questions of many kinds, each with an id of its own.
fn questions(count: usize) -> Vec<Query> {
    let table = [
        (SHORT, kind::TXT),
        ("none.id.test.", kind::TXT),
        (ZONE, kind::SOA),
        (LONG, kind::TXT),
        ("example.com.", kind::A),
        (SHORT, kind::ANY),
        ("118.88.hdl.id.test.", kind::TXT),
    ];
    let query = |number: usize| {
        let (name, kind) = table[number % table.len()];
        let query = Query::new(name, kind).id(number as u16);
        if number.is_multiple_of(2) { query.edns() } else { query }
    };
    (0..count).map(query).collect()
}

/// Checks that every question gets its answer, in any order (RFC 7766 section 6.2.1.1).
fn check_answers(served: &Served, connection: &mut Tcp, queries: &[Query]) {
    let mut expected: HashMap<u16, &Query> = queries.iter().map(|query| (query.id, query)).collect();
    while !expected.is_empty() {
        let response = Response::read(&connection.receive().unwrap()).unwrap();
        let query = expected.remove(&response.id).expect("one answer to each question");
        check_shape(query, &response);
        assert_eq!(response.summary(), served.tcp(query).summary(), "{query:?}");
    }
}

#[test]
fn many_questions_in_one_write() {
    let served = served();
    let queries = questions(70);
    let mut connection = Tcp::to(served.address);
    let octets: Vec<u8> = queries.iter().flat_map(|query| framed(&query.bytes())).collect();
    // Twice: the connection stays open (RFC 7766 section 6.2.1).
    for _ in 0..2 {
        connection.write(&octets).unwrap();
        check_answers(&served, &mut connection, &queries);
    }
}

#[test]
fn questions_in_any_pieces() {
    let served = served();
    let queries = questions(14);
    let octets: Vec<u8> = queries.iter().flat_map(|query| framed(&query.bytes())).collect();
    for lengths in [&[1][..], &[3], &[1, 2, 3, 5, 7, 11, 13], &[2, 40], &[61, 1]] {
        let mut connection = Tcp::to(served.address);
        let (mut rest, mut lengths) = (octets.as_slice(), lengths.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
            connection.write(piece).unwrap();
            rest = behind;
            // Time for most pieces to arrive alone.
            thread::yield_now();
        }
        check_answers(&served, &mut connection, &queries);
    }
}

/// RFC 7766 section 7: a busy connection does not delay others.
#[test]
fn connections_are_independent() {
    let served = served();
    let mut busy = Tcp::to(served.address);
    let long: Vec<u8> = framed(&Query::new(LONG, kind::TXT).bytes()).repeat(200);
    // These answers are never read.
    busy.write(&long).unwrap();
    let _half = {
        let mut half = Tcp::to(served.address);
        half.write(&long[..9]).unwrap();
        half
    };
    let began = Instant::now();
    let mut connection = Tcp::to(served.address);
    for query in questions(50) {
        connection.ask(&query);
    }
    assert!(began.elapsed() < ANSWER_TIMEOUT);
}

/// A malformed message ends at most its own connection.
#[test]
fn what_is_no_message() {
    let served = served();
    let mut cut = Query::new(SHORT, kind::TXT).bytes();
    cut.truncate(20);
    let mut connection = Tcp::to(served.address);
    connection.send(&cut).unwrap();
    let response = Response::read(&connection.receive().unwrap()).unwrap();
    assert_eq!((response.status().as_str(), response.id), ("FORMERR", u16::from_be_bytes([cut[0], cut[1]])));
    let mut answer = Query::new(SHORT, kind::TXT).bytes();
    answer[2] |= 0x80;
    for message in [&answer[..], &[], &[0; 11]] {
        let mut connection = Tcp::to(served.address);
        connection.send(message).unwrap();
        // The message gets no answer; the next question may get one.
        let query = Query::new(SHORT, kind::TXT);
        if connection.send(&query.bytes()).is_ok()
            && let Ok(message) = connection.receive()
        {
            assert_eq!(Response::read(&message).unwrap().id, query.id);
        }
    }
    assert_eq!(served.tcp(&Query::new(SHORT, kind::TXT)).answers.len(), 1);
}

/// RFC 7766 sections 6.2.3 and 10: a connection costs the node memory, and is closed once it is idle or stuck.
#[test]
fn connections_of_no_use_are_ended() {
    let served = served();
    let question = framed(&Query::new(SHORT, kind::TXT).bytes());
    let connect = || Tcp::to(served.address);

    let silent = |mut connection: Tcp| connection.ends_within(IDLE_MAX);
    let half = |mut connection: Tcp| {
        connection.write(&question[..question.len() - 1]).unwrap();
        connection.ends_within(IDLE_MAX)
    };
    // One octet at a time, each within the time limit: the limit holds for the whole question.
    let slow = |mut connection: Tcp| {
        let began = Instant::now();
        let sent = question.iter().all(|octet| {
            sleep(IDLE_MAX / 20);
            connection.write(&[*octet]).is_ok() && began.elapsed() < IDLE_MAX
        });
        !sent && began.elapsed() < IDLE_MAX || connection.ends_within(Duration::from_millis(1))
    };
    let answered = |mut connection: Tcp| {
        connection.write(&question).unwrap();
        connection.receive().unwrap();
        // The connection does not end at once: another question may come (RFC 7766 section 6.2.1).
        sleep(Duration::from_secs(1));
        connection.write(&question).unwrap();
        connection.receive().unwrap();
        connection.ends_within(IDLE_MAX)
    };
    // A client that sends questions and reads no answers: the node closes the connection when it can no longer write.
    let deaf = |mut connection: Tcp| {
        let long = framed(&Query::new(LONG, kind::TXT).bytes()).repeat(1_000);
        connection.0.set_write_timeout(Some(IDLE_MAX)).unwrap();
        let failed =
            (0..1_000).find_map(|_| connection.write(&long).err()).expect("the node takes questions without end");
        !matches!(failed.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
    };
    thread::scope(|scope| {
        let silent = scope.spawn(|| silent(connect()));
        let half = scope.spawn(|| half(connect()));
        let slow = scope.spawn(|| slow(connect()));
        let answered = scope.spawn(|| answered(connect()));
        let deaf = scope.spawn(|| deaf(connect()));
        let ended = [silent, half, slow, answered, deaf].map(|thread| thread.join().unwrap());
        assert_eq!(ended, [true; 5], "silent, half a question, slow, answered, deaf");
    });
    assert_eq!(served.tcp(&Query::new(SHORT, kind::TXT)).answers.len(), 1);
}

//! Arbitrary input over UDP and TCP: the node answers or is silent, and goes on. The node is a process of its own, so
//! that a panic of one of its threads shows in its log. `PROPTEST_CASES` makes the runs longer.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

use crate::{
    dns_support::{
        ANSWER_TIMEOUT, PLAIN_OCTETS_MAX, Query, Response, SILENCE, Tcp, UDP_OCTETS_MAX, Udp, flag, framed, kind,
        option, server_cookie,
    },
    program::Program,
    support::directory,
};

/// Factor on the usual number of cases, over UDP.
const UDP_CASES: u32 = 12;
/// A name of the sample.
const NAME: &str = "gb120-3169._.lsn.1000.88.hdl.id.test.";
const HEADER_OCTETS: usize = 12;

/// Runs against a node of its own, which must be healthy at the end.
fn check_node(run: impl FnOnce(&Program)) {
    let directory = directory();
    let program = Program::serve(&directory.path().join("data"), &["--sample"]);
    run(&program);
    let log = program.log();
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(program.stop("INT"), Some(0), "the node did not stop cleanly: {log}");
}

fn runner(times: u32) -> TestRunner {
    let Config { cases, .. } = Config::default();
    TestRunner::new(Config { cases: cases * times, failure_persistence: None, ..Config::default() })
}

/// A well-formed request, with every part that a request may have.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![NAME, "id.test.", "hdl.id.test.", "none.id.test.", "version.bind.", "."]);
    let kinds = prop_oneof![prop::sample::select(vec![kind::TXT, kind::SOA, kind::ANY, kind::RECORD, 0]), any::<u16>()];
    let code =
        prop_oneof![prop::sample::select(vec![option::COOKIE, option::NSID, option::SUBNET, 15, 11]), any::<u16>()];
    let edns = (any::<[u16; 2]>(), 0..3_u8, vec((code, vec(any::<u8>(), 0..50)), 0..4));
    let parts = (names, kinds, prop::sample::select(vec![1, 1, 1, 3, 255]), any::<u16>(), prop::option::of(edns));
    parts.prop_map(|(name, kind, class, flags, edns)| {
        // Mostly standard queries: QR and opcode are 0.
        let flags = if flags % 4 == 0 { flags } else { flags & 0x07ff };
        let mut query = Query::new(name, kind).class(class).flags(flags);
        if let Some(([payload, flags], version, options)) = edns {
            query = query.payload(payload).edns_flags(flags).version(version.saturating_sub(1));
            query.edns.as_mut().unwrap().options = options;
        }
        query.bytes()
    })
}

/// One change to a request.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// One of the four counts of the header.
    Count(usize, u16),
    /// A compression pointer to any place.
    Point(Index, Index),
    /// A repetition of some octets at the end.
    Repeat(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let count = prop_oneof![0..4_u16, Just(u16::MAX), any::<u16>()];
    prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, octet)| Change::Set(at, octet)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(|(at, octets)| Change::Insert(at, octets)),
        2 => (0..4_usize, count).prop_map(|(field, count)| Change::Count(field, count)),
        2 => any::<(Index, Index)>().prop_map(|(at, target)| Change::Point(at, target)),
        1 => any::<Index>().prop_map(Change::Repeat),
    ]
}

fn changed(mut message: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for change in changes {
        let octets = message.len();
        let at = |index: Index| index.index(octets.max(1));
        match change {
            Change::Set(index, octet) => message.iter_mut().skip(at(index)).take(1).for_each(|place| *place = octet),
            Change::Cut(index) => message.truncate(at(index)),
            Change::Insert(index, inserted) => {
                drop(message.splice(at(index).min(octets)..at(index).min(octets), inserted))
            }
            Change::Count(field, count) if octets >= HEADER_OCTETS => {
                message[4 + 2 * field..6 + 2 * field].copy_from_slice(&count.to_be_bytes());
            }
            Change::Point(index, target) if at(index) + 2 <= octets => {
                let pointer = 0xc000 | at(target) as u16 & 0x3fff;
                message[at(index)..at(index) + 2].copy_from_slice(&pointer.to_be_bytes());
            }
            Change::Repeat(index) => message.extend_from_within(at(index).min(octets)..),
            Change::Count(..) | Change::Point(..) => {}
        }
    }
    message
}

/// A name made of pointers and labels of every kind, anywhere in the message.
fn loops() -> impl Strategy<Value = Vec<u8>> {
    let step = prop_oneof![
        3 => (0..64_u16).prop_map(|target| (0xc000 | target).to_be_bytes().to_vec()),
        1 => any::<u16>().prop_map(|octets| octets.to_be_bytes().to_vec()),
        1 => (1..64_u8).prop_map(|octets| [&[octets][..], &vec![b'a'; octets.into()]].concat()),
        1 => Just(b"\x02id\x04test\x00".to_vec()),
    ];
    (any::<[u16; 4]>(), vec(step, 1..120)).prop_map(|(counts, steps)| {
        let counts = counts.map(|count| count % 3);
        let header = [0, 0].into_iter().chain(counts).flat_map(u16::to_be_bytes);
        header.chain(steps.concat()).collect()
    })
}

/// Any octets.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..600),
        4 => (well_formed(), vec(change(), 0..6)).prop_map(|(message, changes)| changed(message, changes)),
        1 => loops(),
    ]
}

/// Checks the response to a request.
fn check(sent: &[u8], came: &[u8], is_datagram: bool) -> Result<(), TestCaseError> {
    let fail = |reason: String| Err(TestCaseError::fail(format!("{reason}\nsent {sent:x?}\ncame {came:x?}")));
    let response = match Response::read(came) {
        Ok(response) => response,
        Err(reason) => return fail(reason),
    };
    // Nothing in a request can raise the limit of a response.
    let octets_max = if response.edns.is_some() { UDP_OCTETS_MAX } else { PLAIN_OCTETS_MAX };
    if is_datagram && came.len() > octets_max {
        return fail(format!("{} octets, at most {octets_max}", came.len()));
    }
    let sent_flags = u16::from_be_bytes([sent[2], sent[3]]);
    if response.flags & flag::QR == 0 || sent_flags & flag::QR != 0 {
        return fail("a response to a response".into());
    }
    if response.flags & (flag::RA | flag::Z) != 0 || (response.flags ^ sent_flags) & 0x7800 != 0 {
        return fail("RA, Z or another opcode".into());
    }
    let has_records = !response.answers.is_empty() || !response.authorities.is_empty();
    if has_records && !matches!(response.status().as_str(), "NOERROR" | "NXDOMAIN") {
        return fail(format!("records with {}", response.status()));
    }
    Ok(())
}

/// Sends datagrams, and after each a question that must be answered.
struct Prober {
    socket: Udp,
    good: Query,
    sent: RefCell<HashMap<u16, Vec<u8>>>,
    answers: Cell<usize>,
}

impl Prober {
    fn try_one(&self, mut message: Vec<u8>) -> Result<(), TestCaseError> {
        let mut sent = self.sent.borrow_mut();
        // Even ids for the datagrams, odd ids for the questions after them.
        let id = 2 * sent.len() as u16;
        message.iter_mut().zip(id.to_be_bytes()).for_each(|(place, octet)| *place = octet);
        self.socket.send(&message);
        sent.insert(id, message);
        let good = self.good.clone().id(id + 1);
        self.socket.send(&good.bytes());
        loop {
            let Some(came) = self.socket.receive(ANSWER_TIMEOUT) else {
                return Err(TestCaseError::fail(format!("no answer after {:x?}", sent[&id])));
            };
            let answered = u16::from_be_bytes([came[0], came[1]]);
            if answered == good.id {
                let has_answer = !Response::read(&came).unwrap().answers.is_empty();
                prop_assert!(has_answer, "a good question is not answered after {:x?}", sent[&id]);
                return Ok(());
            }
            // An answer may be late, and belong to an earlier datagram.
            check(&sent[&answered], &came, true)?;
            self.answers.set(self.answers.get() + 1);
        }
    }
}

#[test]
fn whatever_comes_over_udp() {
    check_node(|program| {
        // With a cookie: without one, answers are rate-limited.
        let good = Query::new(NAME, kind::TXT).option(option::COOKIE, &server_cookie(program.dns));
        let (socket, sent) = (Udp::to(program.dns), RefCell::default());
        let prober = Prober { socket, good, sent, answers: Cell::new(0) };
        runner(UDP_CASES).run(&garbage(), |message| prober.try_one(message)).unwrap();
        assert_eq!(prober.socket.receive(SILENCE), None);
        let (sent, answers) = (prober.sent.into_inner().len(), prober.answers.get());
        println!("{sent} datagrams, {answers} answers");
        assert!(answers > sent / 8, "{answers} answers: hardly anything was understood");
    });
}

#[test]
fn whatever_comes_over_tcp() {
    check_node(|program| {
        let tried = runner(1).run(&(vec(garbage(), 1..4), any::<bool>()), |(messages, is_framed)| {
            let mut connection = Tcp::to(program.dns);
            for message in &messages {
                // The node may have closed the connection already.
                let _ = if is_framed { connection.send(message) } else { connection.write(message) };
            }
            let _ = connection.0.shutdown(std::net::Shutdown::Write);
            connection.0.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
            while let Ok(came) = connection.receive() {
                let id = came.get(..2).unwrap_or_default();
                // Two messages may have the same id.
                let asked = messages.iter().filter(|message| is_framed && message.starts_with(id));
                let mut checked = asked.map(|sent| check(sent, &came, false));
                match checked.next() {
                    Some(first) => checked.fold(first, Result::or)?,
                    None => prop_assert!(Response::read(&came).is_ok() && !is_framed, "{came:x?} for {messages:x?}"),
                }
            }
            Ok(())
        });
        tried.unwrap();
        assert!(!Tcp::to(program.dns).ask(&Query::new(NAME, kind::TXT)).answers.is_empty());
    });
}

/// The hard cases by hand: each is answered at once, with FORMERR or not at all.
#[test]
fn names_that_never_end_and_counts_that_are_not_so() {
    let header = |counts: [u16; 4]| [7, 0].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let message = |counts, rest: &[u8]| [header(counts).as_slice(), rest].concat();
    let asked = Query::new(NAME, kind::TXT).id(7).bytes();
    let chain: Vec<u8> = (0..240).flat_map(|number: u16| (0xc000 | (12 + 2 * number + 2)).to_be_bytes()).collect();
    let table = [
        ("a pointer to itself", message([1, 0, 0, 0], b"\xc0\x0c\0\x10\0\x01")),
        ("two that point to each other", message([1, 0, 0, 0], b"\xc0\x0e\xc0\x0c\0\x10\0\x01")),
        ("a label and a pointer to it", message([1, 0, 0, 0], b"\x01a\xc0\x0c\0\x10\0\x01")),
        ("a pointer behind the end", message([1, 0, 0, 0], b"\xff\xff\0\x10\0\x01")),
        ("a chain of pointers", message([1, 0, 0, 0], &chain)),
        ("a name of 300 octets", message([1, 0, 0, 0], &[&b"\x3b".repeat(300)[..], b"\0\0\x10\0\x01"].concat())),
        ("labels of 64 octets and more", message([1, 0, 0, 0], &[&[64; 65][..], b"\0\0\x10\0\x01"].concat())),
        ("a name without an end", message([1, 0, 0, 0], &asked[HEADER_OCTETS..asked.len() - 5])),
        ("65,535 questions", message([u16::MAX, 0, 0, 0], &asked[HEADER_OCTETS..])),
        ("65,535 answers", message([1, u16::MAX, 0, 0], &asked[HEADER_OCTETS..])),
        ("65,535 of everything", message([u16::MAX; 4], &b"\0\0\x10\0\x01".repeat(100))),
        ("an OPT record that is longer than the message", message([0, 0, 0, 1], b"\0\0\x29\x10\0\0\0\0\0\xff\xff")),
    ];
    check_node(|program| {
        for (what, message) in table {
            let came = Udp::to(program.dns).exchange(&message, SILENCE);
            let status = came.map(|came| Response::read(&came).unwrap().status());
            assert!(status.as_deref().is_none_or(|status| status == "FORMERR"), "{what}: {status:?}");
            let mut connection = Tcp::to(program.dns);
            connection.write(&framed(&message)).unwrap();
            connection.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let status = connection.receive().ok().map(|came| Response::read(&came).unwrap().status());
            assert!(status.as_deref().is_none_or(|status| status == "FORMERR"), "{what} over TCP: {status:?}");
        }
        assert!(!Udp::to(program.dns).ask(&Query::new(NAME, kind::TXT).edns()).answers.is_empty());
    });
}

//! Answers over DNS by RFC: sections, TTLs, lengths of responses, and options on request. `dns_tcp` and `dns_cookies`
//! cover transport and cookies.

use std::{
    net::{IpAddr, UdpSocket},
    thread::sleep,
    time::Duration,
};

use touchmark::protocol::grpc::pb;

use crate::{
    dns_support::{
        ANSWER_TIMEOUT, CLASS_CHAOS, CLASS_IN, IDENTITY, PLAIN_OCTETS_MAX, Query, Record, Response, SILENCE, Served,
        Tcp, UDP_OCTETS_MAX, Udp, flag, kind, named_node, option, wire,
    },
    required,
    support::{create, directory, replace, retire, value},
};

const ZONE: &str = "id.test.";
const PART: &str = "part._.118.88.hdl.id.test.";
const OID: &str = "5.1.999.2.oid.id.test.";
const MIDDLE: &str = "middle._.118.88.hdl.id.test.";
const LONG: &str = "long._.118.88.hdl.id.test.";

/// A node with records of every kind.
fn served() -> Served {
    let private = pb::Value { permissions: Some(12), ..value(1, "COST", "9") };
    let short_lived = pb::Value { ttl: Some(7), ..value(1, "NAME", "Gear") };
    Served::start(vec![
        create("88.118/part", vec![short_lived, value(2, "URL", "https://example.com/7")]),
        create("urn:oid:2.999.1.5", vec![value(1, "SVC:ORS+COID", "x:y")]),
        create("88.118/middle", vec![value(1, "A", "a".repeat(700))]),
        create("88.118/long", vec![value(1, "A", "a".repeat(700)), value(2, "B", "b".repeat(700))]),
        create("88.118/private", vec![private]),
        create("88.118/gone", vec![]),
        retire("88.118/gone"),
    ])
}

fn soa(section: &[Record]) -> &Record {
    section.iter().find(|record| record.kind == kind::SOA).expect("an SOA record")
}

#[test]
fn sections_flags_and_codes() {
    let served = served();
    // Name and type; response over both transports.
    let table = [
        (ZONE, kind::SOA, "NOERROR · qr aa · answer SOA · authority -"),
        (ZONE, kind::NS, "NOERROR · qr aa · answer NS · authority -"),
        ("ns.id.test.", kind::A, "NOERROR · qr aa · answer A · authority -"),
        (PART, kind::TXT, "NOERROR · qr aa · answer TXT TXT · authority -"),
        (PART, kind::NAPTR, "NOERROR · qr aa · answer NAPTR · authority -"),
        (PART, kind::URI, "NOERROR · qr aa · answer URI · authority -"),
        (PART, kind::RECORD, "NOERROR · qr aa · answer TYPE65280 · authority -"),
        (OID, kind::TXT, "NOERROR · qr aa · answer TXT · authority -"),
        // A type that the name does not have, and an unknown type (RFC 3597).
        (PART, kind::A, "NOERROR · qr aa · answer - · authority SOA"),
        (PART, 1_000, "NOERROR · qr aa · answer - · authority SOA"),
        (PART, 65_279, "NOERROR · qr aa · answer - · authority SOA"),
        ("none._.118.88.hdl.id.test.", 1_000, "NXDOMAIN · qr aa · answer - · authority SOA"),
        // One record, whatever the name has (RFC 8482 section 4.2).
        (PART, kind::ANY, "NOERROR · qr aa · answer HINFO · authority -"),
        (ZONE, kind::ANY, "NOERROR · qr aa · answer HINFO · authority -"),
        ("none._.118.88.hdl.id.test.", kind::ANY, "NXDOMAIN · qr aa · answer - · authority SOA"),
        // A retired name exists.
        ("gone._.118.88.hdl.id.test.", kind::TXT, "NOERROR · qr aa · answer - · authority SOA"),
        // Names outside the zone.
        ("example.com.", kind::A, "REFUSED · qr · answer - · authority -"),
        ("xid.test.", kind::SOA, "REFUSED · qr · answer - · authority -"),
        (".", kind::NS, "REFUSED · qr · answer - · authority -"),
        ("private._.118.88.hdl.id.test.", kind::TXT, "REFUSED · qr · answer - · authority -"),
        (ZONE, kind::AXFR, "REFUSED · qr · answer - · authority -"),
    ];
    for (name, kind, expected) in table {
        for response in served.both(&Query::new(name, kind)) {
            assert_eq!(response.summary(), expected, "{name} {kind}");
            assert!(response.answers.iter().all(|record| (record.class, &record.owner) == (CLASS_IN, &wire(name))));
        }
    }
}

/// RFC 8020, RFC 4592 section 2.2.2: a name with names below it exists.
#[test]
fn names_above_names_exist() {
    let served = served();
    for name in [PART, OID, "gone._.118.88.hdl.id.test.", "private._.118.88.hdl.id.test."] {
        let mut above = name;
        while let Some((_, rest)) = above.split_once('.').filter(|_| above != ZONE) {
            above = rest;
            let expected = "NOERROR · qr aa · answer - · authority SOA";
            assert_eq!(served.udp(&Query::new(above, kind::TXT)).summary(), expected, "{above}");
            let beside = format!("no-such.{above}");
            let expected = "NXDOMAIN · qr aa · answer - · authority SOA";
            assert_eq!(served.udp(&Query::new(&beside, kind::TXT)).summary(), expected, "{beside}");
        }
    }
    for below in ["a.none._.118.88.hdl.id.test.", "a.part._.118.88.hdl.id.test.", "hdl.no-such.id.test."] {
        assert_eq!(served.udp(&Query::new(below, kind::TXT)).status(), "NXDOMAIN", "{below}");
    }
}

/// RFC 2308 sections 3 and 5.
#[test]
fn how_long_answers_may_be_kept() {
    let served = served();
    let apex = served.udp(&Query::new(ZONE, kind::SOA));
    let own = soa(&apex.answers);
    let least = own.ttl.min(own.soa_minimum());
    for (name, kind) in [("none.id.test.", kind::TXT), (PART, kind::A), ("hdl.id.test.", kind::TXT), (ZONE, kind::TXT)]
    {
        let response = served.udp(&Query::new(name, kind));
        let negative = soa(&response.authorities);
        assert_eq!((negative.ttl, &negative.owner), (least, &wire(ZONE)), "{name}");
        let numbers = |soa: &Record| (soa.soa_serial(), soa.soa_minimum());
        assert_eq!(numbers(negative), numbers(own), "{name}");
    }
    // All records of a set have the same TTL (RFC 2181 section 5.2), at most the shortest of their values.
    let ttls = |response: Response| response.answers.iter().map(|record| record.ttl).collect::<Vec<_>>();
    assert_eq!(ttls(served.udp(&Query::new(PART, kind::TXT))), [7, 7]);
    sleep(Duration::from_millis(1_200));
    let later = ttls(served.udp(&Query::new(PART, kind::TXT)));
    assert!(later[0] == later[1] && (1..=7).contains(&later[0]), "{later:?}");
}

/// RFC 1982: the serial shows every change.
#[test]
fn the_serial_grows_with_every_change() {
    let served = served();
    let serial = |served: &Served| soa(&served.udp(&Query::new(ZONE, kind::SOA)).answers).soa_serial();
    let before = serial(&served);
    served.apply(replace("88.118/part", vec![value(1, "NAME", "Cog")]));
    assert_eq!(serial(&served), before.wrapping_add(1));
    let response = served.udp(&Query::new("none.id.test.", kind::TXT));
    assert_eq!(soa(&response.authorities).soa_serial(), before.wrapping_add(1));
}

/// RFC 1034 section 3.1: the case of a question is preserved, on which resolvers rely against forgery.
#[test]
fn the_case_of_a_question_is_kept() {
    let served = served();
    for name in ["PaRt._.118.88.hDl.Id.TeSt.", "PART._.118.88.HDL.ID.TEST.", PART] {
        for response in served.both(&Query::new(name, kind::TXT).edns()) {
            assert_eq!(response.answers.len(), 2, "{name}");
            assert!(response.answers.iter().all(|record| record.owner == wire(name)), "{response:?}");
        }
        let negative = Query::new(&format!("None.{name}"), kind::TXT);
        assert_eq!(served.udp(&negative).questions, negative.questions);
    }
}

/// RFC 1035 section 4.1.4: repeated names are pointers.
#[test]
fn names_are_compressed() {
    let served = served();
    for (name, kind) in
        [(PART, kind::TXT), (PART, kind::NAPTR), (OID, kind::RECORD), (ZONE, kind::SOA), (ZONE, kind::NS)]
    {
        for response in served.both(&Query::new(name, kind)) {
            assert!(response.answers.iter().all(|record| record.owner_octets == 2), "{name} {kind}: {response:?}");
        }
    }
    let name_server = &served.udp(&Query::new(ZONE, kind::NS)).additionals;
    assert_eq!((name_server.len(), &name_server[0].owner), (1, &wire("ns.id.test.")));
    assert!(name_server[0].owner_octets <= 5, "{name_server:?}");
    let negative = served.udp(&Query::new("none._.118.88.hdl.id.test.", kind::TXT));
    assert_eq!(soa(&negative.authorities).owner_octets, 2, "{negative:?}");
}

/// RFC 6891 section 6.2.3, RFC 2181 section 9: a response that does not fit is sent without its records; over TCP with
/// all.
#[test]
fn responses_over_udp_are_cut() {
    let served = served();
    let whole = served.tcp(&Query::new(MIDDLE, kind::TXT).edns()).octets as u16;
    assert!((700..1_232).contains(&whole));
    // Name, size that the client advertises; true if the answer is truncated.
    let table = [
        (MIDDLE, None, true),
        (MIDDLE, Some(0), true),
        (MIDDLE, Some(512), true),
        (MIDDLE, Some(whole - 1), true),
        (MIDDLE, Some(whole), false),
        (MIDDLE, Some(4_096), false),
        (LONG, None, true),
        (LONG, Some(1_232), true),
        (LONG, Some(1_500), true),
        (LONG, Some(65_535), true),
        (PART, None, false),
        (PART, Some(0), false),
    ];
    for (name, payload, is_cut) in table {
        let query = Query::new(name, kind::TXT);
        let query = payload.map_or(query.clone(), |octets| query.payload(octets));
        let over_udp = served.udp(&query);
        let over_tcp = served.tcp(&query);
        assert_eq!(over_udp.flags & flag::TC != 0, is_cut, "{name} {payload:?}: {}", over_udp.summary());
        let expected = if is_cut { 0 } else { over_tcp.answers.len() };
        assert_eq!(over_udp.answers.len(), expected, "{name} {payload:?}");
        assert_eq!(over_udp.questions, query.questions);
        assert!(over_tcp.flags & flag::TC == 0 && !over_tcp.answers.is_empty(), "{name}: {}", over_tcp.summary());
    }
    // Every size in between: never longer than advertised, and never only a part of the records.
    for payload in (PLAIN_OCTETS_MAX as u16..UDP_OCTETS_MAX as u16).step_by(48) {
        let response = served.udp(&Query::new(MIDDLE, kind::TXT).payload(payload));
        assert_eq!(response.answers.is_empty(), response.flags & flag::TC != 0, "{payload}");
    }
}

/// RFC 9619, RFC 6891 section 6.1.1, RFC 1035 section 4.1.1: messages that can be parsed, but are no valid question.
#[test]
fn what_is_no_question() {
    let served = served();
    let part = || Query::new(PART, kind::TXT);
    let mut none = part();
    none.questions.clear();
    let mut two = part();
    two.questions.push(Query::new(OID, kind::TXT).questions.remove(0));
    for query in [none, two] {
        for response in served.both(&query) {
            assert_eq!(response.status(), "FORMERR", "{query:?}");
            assert!(response.answers.is_empty());
        }
    }
    // Two OPT records; one with a name; one whose option is longer than the record.
    let opt = part().edns().edns.unwrap().bytes();
    let bytes = part().bytes();
    let with = |additionals: u8, tail: &[&[u8]]| {
        let mut message = [&bytes, &*tail.concat()].concat();
        message[11] = additionals;
        message
    };
    let mut torn = part().option(100, b"data").edns.unwrap().bytes();
    let at = torn.len() - 5;
    torn[at] = 5;
    for message in [with(2, &[&opt, &opt]), with(1, &[b"\x01a", &opt]), with(1, &[&torn]), with(2, &[&opt])] {
        let response = Udp::to(served.address).exchange(&message, ANSWER_TIMEOUT);
        let response = Response::read(&response.expect("an answer")).unwrap();
        assert_eq!(response.status(), "FORMERR", "{message:?}");
        assert_eq!(response.id, u16::from_be_bytes([message[0], message[1]]));
    }
    // A response and a message without a whole header get no answer: otherwise two servers would answer each other
    // forever.
    for message in [part().flags(flag::QR).bytes(), bytes[..11].to_vec(), vec![0], Vec::new()] {
        assert_eq!(Udp::to(served.address).exchange(&message, SILENCE), None, "{message:?}");
    }
}

/// RFC 8914; only for clients that speak EDNS (`check_shape` sees to that).
#[test]
fn extended_errors() {
    let served = served();
    let table = [
        // No registered code means "retired": "other", with a text.
        ("gone._.118.88.hdl.id.test.", Some((0, "retired"))),
        ("private._.118.88.hdl.id.test.", Some((18, "denied"))),
        ("example.com.", Some((20, "another zone"))),
        (PART, None),
        ("none.id.test.", None),
        ("hdl.id.test.", None),
    ];
    for (name, expected) in table {
        for response in served.both(&Query::new(name, kind::TXT).edns()) {
            let found = response.extended_error();
            assert_eq!(found.as_ref().map(|(code, text)| (*code, text.as_str())), expected, "{name}");
        }
        for response in served.both(&Query::new(name, kind::TXT)) {
            assert!(response.edns.is_none(), "{name}");
        }
    }
}

/// RFC 5001 section 2: requested with an empty option, answered with the configured identity, never sent unasked.
#[test]
fn the_node_says_which_it_is() {
    let directory = directory();
    let (nameless, named) = (served(), named_node(&directory.path().join("data")));
    let nsid = |response: Response| response.edns.unwrap().option(option::NSID).map(<[u8]>::to_vec);
    for query in [Query::new(ZONE, kind::SOA), Query::new(PART, kind::TXT), Query::new("example.com.", kind::TXT)] {
        // The content of the option in a request is ignored.
        for data in [&b""[..], b"ignored"] {
            let asked = query.clone().option(option::NSID, data);
            for response in [Udp::to(named.dns).ask(&asked), Tcp::to(named.dns).ask(&asked)] {
                assert_eq!(nsid(response).as_deref(), Some(IDENTITY.as_bytes()), "{query:?}");
            }
            for response in nameless.both(&asked) {
                assert_eq!(nsid(response), None, "a name that nobody gave");
            }
        }
        assert_eq!(nsid(Udp::to(named.dns).ask(&query.edns())), None);
    }
    for name in ["id.server.", "hostname.bind."] {
        let query = Query::new(name, kind::TXT).class(CLASS_CHAOS);
        assert_eq!(Udp::to(named.dns).ask(&query).answers[0].strings(), [IDENTITY], "{name}");
        assert_eq!(nameless.udp(&query).status(), "REFUSED", "{name}");
    }
}

/// The class of questions about the server itself (RFC 4892).
#[test]
fn chaos() {
    let served = served();
    let version = format!("touchmark {}", env!("CARGO_PKG_VERSION"));
    for name in ["version.bind.", "version.server.", "VERSION.Bind."] {
        for response in served.both(&Query::new(name, kind::TXT).class(CLASS_CHAOS)) {
            assert_eq!((response.status().as_str(), response.answers.len()), ("NOERROR", 1), "{name}");
            let answer = &response.answers[0];
            assert_eq!((answer.class, answer.kind, &answer.owner), (CLASS_CHAOS, kind::TXT, &wire(name)));
            assert_eq!(answer.strings(), [version.as_str()]);
        }
    }
    for (name, kind) in [(ZONE, kind::SOA), (PART, kind::TXT), ("authors.bind.", kind::TXT), ("example.", kind::TXT)] {
        assert_eq!(served.udp(&Query::new(name, kind).class(CLASS_CHAOS)).status(), "REFUSED", "{name}");
    }
}

/// An answer leaves from the address that was asked: these sockets receive from no other.
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let query = Query::new(ZONE, kind::SOA).edns();
    let everywhere = Served::listening("0.0.0.0:0", Vec::new());
    for asked in ["127.0.0.1", "127.0.0.2", "127.7.7.7"] {
        let address = (asked.parse::<IpAddr>().unwrap(), everywhere.address.port()).into();
        assert_eq!(Udp::to(address).ask(&query).status(), "NOERROR", "{asked}");
        assert_eq!(Tcp::to(address).ask(&query).status(), "NOERROR", "{asked}");
    }
    if !required::is_met("ipv6", UdpSocket::bind("[::1]:0").is_ok()) {
        return;
    }
    for listen in ["[::1]:0", "[::]:0"] {
        let served = Served::listening(listen, Vec::new());
        let address = ("::1".parse::<IpAddr>().unwrap(), served.address.port()).into();
        assert_eq!(Udp::to(address).ask(&query).status(), "NOERROR", "{listen}");
        assert_eq!(Tcp::to(address).ask(&query).status(), "NOERROR", "{listen}");
    }
}

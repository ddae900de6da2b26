//! DNS cookies (RFC 7873; RFC 9018 for the format of a server cookie).

use std::{
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    dns_support::{Query, Response, Served, Tcp, Udp, kind, option},
    support::{create, value},
};

const ZONE: &str = "id.test.";
const LONG: &str = "long._.118.88.hdl.id.test.";
const CLIENT: [u8; 8] = *b"client-1";
/// Octets of a client cookie, and of a whole cookie (RFC 9018 section 4).
const CLIENT_OCTETS: usize = 8;
const COOKIE_OCTETS: usize = 24;

fn served() -> Served {
    Served::start(vec![create("88.118/long", vec![value(1, "A", "a".repeat(2_000))])])
}

fn soa(cookie: &[u8]) -> Query {
    Query::new(ZONE, kind::SOA).option(option::COOKIE, cookie)
}

fn ask_from(local: &str, server: SocketAddr, query: &Query) -> Response {
    Udp::from(local.parse::<IpAddr>().unwrap(), server).ask(query)
}

/// The cookie of a response, in the format of RFC 9018 section 4, for this client.
#[track_caller]
fn cookie(response: &Response, client: &[u8]) -> Vec<u8> {
    let cookie = response.edns.as_ref().unwrap().option(option::COOKIE).expect("a cookie").to_vec();
    assert_eq!((cookie.len(), &cookie[..CLIENT_OCTETS]), (COOKIE_OCTETS, client));
    assert_eq!(cookie[8..12], [1, 0, 0, 0], "version and reserved octets: {cookie:x?}");
    let age = i64::from(time()) - i64::from(u32::from_be_bytes(cookie[12..16].try_into().unwrap()));
    assert!((0..=60 * 60).contains(&age), "made {age} seconds ago");
    cookie
}

/// Seconds since 1970, as in a server cookie.
fn time() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
}

/// True if the server accepts the cookie: the same cookie comes back.
fn is_taken(served: &Served, cookie: &[u8]) -> bool {
    let response = served.udp(&soa(cookie));
    response.edns.unwrap().option(option::COOKIE) == Some(cookie)
}

/// RFC 7873 section 5.2.3: a client cookie alone is answered, and gets a server cookie.
#[test]
fn section_5_2_3_a_client_cookie_alone() {
    let served = served();
    for (name, status) in
        [(ZONE, "NOERROR"), ("none.id.test.", "NXDOMAIN"), ("example.com.", "REFUSED"), (LONG, "NOERROR")]
    {
        for response in served.both(&Query::new(name, kind::TXT).option(option::COOKIE, &CLIENT)) {
            assert_eq!(response.status(), status, "{name}");
            cookie(&response, &CLIENT);
        }
    }
}

/// RFC 7873 section 5.2.1: a request without a cookie gets none.
#[test]
fn section_5_2_1_no_cookie() {
    let served = served();
    for response in served.both(&Query::new(ZONE, kind::SOA).edns()) {
        assert_eq!(response.edns.unwrap().option(option::COOKIE), None);
    }
}

/// RFC 7873 section 5.2.2: 8 octets, or 16 to 40; anything else is a format error.
#[test]
fn section_5_2_2_malformed_cookies() {
    let served = served();
    for octets in (0..=60).chain([400]) {
        let well_formed = octets == 8 || (16..=40).contains(&octets);
        let query = soa(&vec![b'x'; octets]);
        for response in served.both(&query) {
            match response.status().as_str() {
                "NOERROR" => assert!(well_formed && response.answers.len() == 1, "{octets} octets"),
                "BADCOOKIE" => assert!(well_formed && octets > 8 && response.answers.is_empty(), "{octets} octets"),
                "FORMERR" => assert!(!well_formed && response.answers.is_empty(), "{octets} octets"),
                other => panic!("{octets} octets: {other}"),
            }
        }
    }
}

/// RFC 7873 section 5.2.4: a wrong server cookie counts as none. The question is answered, or the client is told to ask
/// again (BADCOOKIE); either way the response has a valid cookie.
#[test]
fn section_5_2_4_bad_server_cookies() {
    let served = served();
    let good = cookie(&served.udp(&soa(&CLIENT)), &CLIENT);
    let changed = |at: usize, octets: &[u8]| {
        let mut cookie = good.clone();
        cookie[at..at + octets.len()].copy_from_slice(octets);
        cookie
    };
    let other_address = cookie(&ask_from("127.0.0.2", served.address, &soa(&CLIENT)), &CLIENT);
    let another_client = changed(0, b"client-2");
    let bad = [
        ("hash", changed(23, &[!good[23]])),
        ("version", changed(8, &[2])),
        ("reserved octets", changed(9, &[1, 2, 3])),
        ("a time long ago", changed(12, &(time() - 2 * 60 * 60).to_be_bytes())),
        ("a time to come", changed(12, &(time() + 60 * 60).to_be_bytes())),
        ("the client's part", another_client),
        ("given to another address", other_address),
        ("too short", good[..16].to_vec()),
        ("too long", [good.as_slice(), &[0; 8]].concat()),
    ];
    for (what, bad) in bad {
        assert!(!is_taken(&served, &bad), "{what}");
        for response in served.both(&soa(&bad)) {
            let answers = if response.status() == "BADCOOKIE" { 0 } else { 1 };
            assert_eq!(response.answers.len(), answers, "{what}: {}", response.summary());
            let fresh = cookie(&response, &bad[..CLIENT_OCTETS]);
            assert_ne!(fresh, bad, "{what}");
            assert!(is_taken(&served, &fresh), "{what}");
        }
    }
}

/// RFC 7873 section 5.2.5: a valid cookie comes back; a server may renew it (RFC 9018 section 4.3).
#[test]
fn section_5_2_5_a_correct_server_cookie() {
    let served = served();
    let good = cookie(&served.udp(&soa(&CLIENT)), &CLIENT);
    for _ in 0..3 {
        for response in served.both(&soa(&good)) {
            assert_eq!((response.status().as_str(), response.answers.len()), ("NOERROR", 1));
            let again = cookie(&response, &CLIENT);
            assert!(again == good || again[12..16] > good[12..16], "{good:x?} {again:x?}");
        }
    }
    // A cookie is bound to the address, not to the port or the connection.
    let over_tcp = cookie(&Tcp::to(served.address).ask(&soa(&CLIENT)), &CLIENT);
    assert!(is_taken(&served, &over_tcp));
}

/// RFC 7873 section 5.4: a client can request a cookie, and have one checked, without a question.
#[test]
fn section_5_4_asking_for_a_server_cookie() {
    let served = served();
    let ask = |mut query: Query| {
        query.questions.clear();
        let response = served.udp(&query);
        assert!(response.answers.is_empty() && response.questions.is_empty());
        response
    };
    let response = ask(soa(&CLIENT));
    assert_eq!(response.status(), "NOERROR", "a client's part alone");
    let good = cookie(&response, &CLIENT);
    let mut bad = good.clone();
    bad[23] ^= 1;
    assert_eq!(ask(soa(&good)).status(), "NOERROR");
    assert_eq!(ask(soa(&bad)).status(), "BADCOOKIE");
    // Without a cookie and without a question, a request is malformed.
    assert_eq!(ask(Query::new(ZONE, kind::SOA).edns()).status(), "FORMERR");
}

/// RFC 7873 section 5.2: of several cookies the first counts.
#[test]
fn section_5_2_several_cookies() {
    let served = served();
    let response = served.udp(&soa(&CLIENT).option(option::COOKIE, b"client-2"));
    cookie(&response, &CLIENT);
}

/// RFC 9018 section 4: server cookies differ for each client cookie and each address.
#[test]
fn cookies_differ_from_client_to_client() {
    let served = served();
    let mut hashes = Vec::new();
    for local in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        for client in [CLIENT, *b"client-2"] {
            let cookie = cookie(&ask_from(local, served.address, &soa(&client)), &client);
            hashes.push(cookie[16..].to_vec());
        }
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
    // Another node has other secrets.
    let other = self::served();
    let foreign = cookie(&other.udp(&soa(&CLIENT)), &CLIENT);
    assert!(!is_taken(&served, &foreign));
}

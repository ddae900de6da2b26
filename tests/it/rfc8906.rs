//! The checks of RFC 8906 section 8, each named after its section: responses to unusual but well-formed requests. In
//! addition to that document, `dns_support::check_shape` is checked for each.

use crate::dns_support::{Query, Response, Served, flag, kind, kinds, option};

const ZONE: &str = "id.test.";
/// Unassigned numbers: an option, a flag of EDNS, an opcode, a type.
const UNKNOWN_OPTION: u16 = 100;
const UNKNOWN_FLAG: u16 = 0x40;
const UNKNOWN_OPCODE: u16 = 15;
const UNKNOWN_TYPE: u16 = 1_000;

fn soa() -> Query {
    Query::new(ZONE, kind::SOA)
}

/// Parts of a response that section 8 looks at: `NOERROR · qr aa · answer SOA · OPT version 0, flags 0, options []`.
fn shown(response: &Response) -> String {
    let opt = response.edns.as_ref().map_or("no OPT".into(), |edns| {
        let codes: Vec<u16> = edns.options.iter().map(|(code, _)| *code).collect();
        format!("OPT version {}, flags {:x}, options {codes:?}", edns.version, edns.flags)
    });
    format!("{} · {} · answer {} · {opt}", response.status(), response.flag_words(), kinds(&response.answers))
}

/// Sends a query to a new node over UDP, and compares the response.
#[track_caller]
fn check(query: Query, expected: &str) {
    let served = Served::start(Vec::new());
    assert_eq!(shown(&served.udp(&query)), expected, "{query:?}");
}

#[test]
fn section_8_1_1_is_the_server_configured_for_the_zone() {
    check(soa(), "NOERROR · qr aa · answer SOA · no OPT");
}

#[test]
fn section_8_1_2_unknown_types() {
    check(Query::new(ZONE, UNKNOWN_TYPE), "NOERROR · qr aa · answer - · no OPT");
}

#[test]
fn section_8_1_3_1_cd_is_1() {
    let served = Served::start(Vec::new());
    let response = served.udp(&soa().flags(flag::CD));
    // The document leaves open whether CD is copied; a server that supports DNSSEC copies it (RFC 4035 section 3.1.6).
    let shown = shown(&response).replace("qr aa cd", "qr aa");
    assert_eq!(shown, "NOERROR · qr aa · answer SOA · no OPT");
}

#[test]
fn section_8_1_3_2_ad_is_1() {
    check(soa().flags(flag::AD), "NOERROR · qr aa · answer SOA · no OPT");
}

#[test]
fn section_8_1_3_3_reserved_bit() {
    check(soa().flags(flag::Z), "NOERROR · qr aa · answer SOA · no OPT");
}

#[test]
fn section_8_1_3_4_recursive_queries() {
    check(soa().flags(flag::RD), "NOERROR · qr aa rd · answer SOA · no OPT");
}

/// Only a header, as `dig +header-only` sends.
#[test]
fn section_8_1_4_unknown_opcodes() {
    let mut query = soa().opcode(UNKNOWN_OPCODE);
    query.questions.clear();
    check(query, "NOTIMP · qr · answer - · no OPT");
}

#[test]
fn section_8_1_4_unknown_opcodes_with_a_question() {
    for opcode in [UNKNOWN_OPCODE, 1, 2, 3, 4, 5, 6, 14] {
        check(soa().opcode(opcode), "NOTIMP · qr · answer - · no OPT");
    }
}

#[test]
fn section_8_1_5_tcp() {
    let served = Served::start(Vec::new());
    assert_eq!(shown(&served.tcp(&soa())), "NOERROR · qr aa · answer SOA · no OPT");
}

#[test]
fn section_8_2_1_minimal_edns() {
    check(soa().edns(), "NOERROR · qr aa · answer SOA · OPT version 0, flags 0, options []");
}

#[test]
fn section_8_2_2_edns_version_negotiation() {
    for version in [1, 2, 100, 255] {
        check(soa().version(version), "BADVERS · qr · answer - · OPT version 0, flags 0, options []");
    }
}

#[test]
fn section_8_2_3_unknown_edns_options() {
    let expected = "NOERROR · qr aa · answer SOA · OPT version 0, flags 0, options []";
    check(soa().option(UNKNOWN_OPTION, b""), expected);
    check(soa().option(UNKNOWN_OPTION, b"data").option(65_001, &[0; 300]), expected);
}

#[test]
fn section_8_2_4_unknown_edns_flags() {
    let expected = "NOERROR · qr aa · answer SOA · OPT version 0, flags 0, options []";
    // All flags but DO (RFC 3225) and CO (RFC 9824).
    for flags in [UNKNOWN_FLAG, 0x3fff] {
        check(soa().edns_flags(flags), expected);
    }
}

#[test]
fn section_8_2_5_edns_version_negotiation_with_unknown_edns_flags() {
    let expected = "BADVERS · qr · answer - · OPT version 0, flags 0, options []";
    check(soa().version(1).edns_flags(UNKNOWN_FLAG), expected);
}

#[test]
fn section_8_2_6_edns_version_negotiation_with_unknown_edns_options() {
    let expected = "BADVERS · qr · answer - · OPT version 0, flags 0, options []";
    check(soa().version(1).option(UNKNOWN_OPTION, b""), expected);
}

/// As the document asks, for DNSKEY with a size of 512 octets; and for a record that certainly does not fit.
#[test]
fn section_8_2_7_truncated_responses() {
    use crate::support::{create, value};
    let served = Served::start(vec![create("88.118/long", vec![value(1, "A", "a".repeat(700))])]);
    let keys = served.udp(&Query::new(ZONE, kind::DNSKEY).payload(512).edns_flags(flag::DO));
    assert_eq!(keys.status(), "NOERROR");
    assert!(keys.edns.is_some() && keys.octets <= 512 && keys.flags & flag::AA != 0);
    let query = Query::new("long._.118.88.hdl.id.test.", kind::TXT).payload(512);
    let expected = "NOERROR · qr aa tc · answer - · OPT version 0, flags 0, options []";
    assert_eq!(shown(&served.udp(&query)), expected);
}

#[test]
fn section_8_2_8_do_is_1() {
    // Without `--dnssec` there are no signatures, but the flag is copied (RFC 3225 section 3).
    check(soa().edns_flags(flag::DO), "NOERROR · qr aa · answer SOA · OPT version 0, flags 8000, options []");
}

#[test]
fn section_8_2_9_edns_version_negotiation_with_do_is_1() {
    let expected = "BADVERS · qr · answer - · OPT version 0, flags 8000, options []";
    check(soa().version(1).edns_flags(flag::DO), expected);
}

#[test]
fn section_8_2_10_multiple_defined_edns_options() {
    let served = Served::start(Vec::new());
    let query = soa()
        .option(option::COOKIE, b"\x01\x02\x03\x04\x05\x06\x07\x08")
        .option(option::NSID, b"")
        .option(option::EXPIRE, b"")
        // Family IPv4, no bits of source and scope: 0.0.0.0/0 (RFC 7871 section 6).
        .option(option::SUBNET, &[0, 1, 0, 0]);
    let response = served.udp(&query);
    let shown = shown(&response);
    assert!(shown.starts_with("NOERROR · qr aa · answer SOA · OPT version 0, flags 0, options ["), "{shown}");
}

//! Cuts, zones of homed prefixes, and answers of other nodes.

use std::sync::Mutex;

use hickory_proto::dnssec::rdata::DNSKEY;

use super::*;
use crate::{
    id::Prefix,
    protocol::grpc::{delegation_from_pb, pb},
    record::{Delegation, PrefixChange, Record, Status, Version},
    registry::PrefixCommand,
    resolver::{
        Answer, Tombstone, WalkLimits,
        recursion::{
            BoxFuture, LedgerVerifier, RecursionOptions, Recursor, Resolved, Roots, SiteQuestion, SiteReply, Target,
            Upstream, UpstreamError,
        },
    },
    rights::Caller,
};

const NOW: u64 = 1_700_000_000;
const SITE: &str = "grpc://192.0.2.7:50051 dns://192.0.2.7:5301 dns://[2001:db8::7]:53 dns://192.0.2.7:53";

fn delegation(site: &str, ds: &[&str]) -> Delegation {
    Delegation::new(90, vec![site.parse().unwrap()], ds.iter().map(|ds| ds.parse().unwrap()).collect()).unwrap()
}

impl Node {
    fn say(&self, prefix: &str, change: PrefixChange) {
        let prefix = Prefix::parse(prefix).unwrap();
        let command = PrefixCommand { prefix, change, expected_version: None, request: None };
        self.runtime.block_on(self.registry.apply_prefix(command, Principal::LOOPBACK)).unwrap();
    }

    pub(crate) fn delegate(&self, prefix: &str, site: &str, ds: &[&str]) {
        self.say(prefix, PrefixChange::Delegate(delegation(site, ds)));
    }

    fn home(&self, prefix: &str) {
        self.say(prefix, PrefixChange::Home);
    }

    fn sign(&self) -> DNSKEY {
        let [key, _] = two_keys(Algorithm::EcdsaP256Sha256);
        self.responder.set_signer(Signer::new(KeyRing::new("id.test.", key, NOW as u32).unwrap()));
        let dnskey = self.ask("id.test.", "DNSKEY").answers.remove(0);
        let RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)) = dnskey.data else { panic!("{dnskey}") };
        dnskey
    }

    /// The response to a question with these flags at some time.
    fn respond(&self, question: &Question<'_>) -> (Responded, Vec<u8>) {
        let mut edns = Edns::new();
        edns.set_dnssec_ok(question.dnssec_ok);
        let mut request = request(question.name, question.kind, "IN", edns);
        request[2] |= u8::from(question.recursion);
        let client = Client {
            address: question.client.parse().unwrap(),
            transport: Transport::Stream,
            now_unix: NOW + question.later,
            has_limits: false,
        };
        let mut out = Vec::new();
        let responded = match &question.walked {
            None => self.responder.respond(&request, &client, question.depth, &mut out),
            Some(walked) => self.responder.respond_walked(&request, &client, walked.as_ref(), &mut out),
        };
        (responded, out)
    }

    fn told(&self, question: &Question<'_>) -> Message {
        let (responded, out) = self.respond(question);
        assert!(matches!(responded, Responded::Written(_)), "{responded:?}");
        Message::from_vec(&out).unwrap()
    }
}

struct Question<'a> {
    name: &'a str,
    kind: &'a str,
    client: &'a str,
    recursion: bool,
    dnssec_ok: bool,
    depth: Depth,
    later: u64,
    walked: Option<Result<Resolved, WalkFailure>>,
}

impl<'a> Question<'a> {
    fn new(name: &'a str, kind: &'a str) -> Self {
        let (client, depth) = ("192.0.2.9", Depth::Whole);
        Self { name, kind, client, recursion: false, dnssec_ok: false, depth, later: 0, walked: None }
    }

    fn recursive(name: &'a str, kind: &'a str) -> Self {
        Self { recursion: true, depth: Depth::Resident, ..Self::new(name, kind) }
    }

    fn signed(name: &'a str, kind: &'a str) -> Self {
        Self { dnssec_ok: true, ..Self::new(name, kind) }
    }
}

/// The lines of a referral at a cut: the servers at the port of name servers, in the order of the delegation.
fn referral(cut: &str) -> Vec<String> {
    let [v4, v6] = ["192-0-2-7.ns.id.test.", "2001-db8-0-0-0-0-0-7.ns.id.test."];
    vec![
        "NoError".into(),
        format!("authority: {cut} 90 2 {v6}"),
        format!("authority: {cut} 90 2 {v4}"),
        format!("additional: {v6} 90 28 2001:db8::7"),
        format!("additional: {v4} 90 1 192.0.2.7"),
    ]
}

fn soa_of(apex: &str, size: u64) -> String {
    format!("authority: {apex} 60 6 serial {size} minimum 60")
}

#[test]
fn what_lies_at_a_cut_or_below_it_is_referred() {
    let node = Node::new();
    for prefix in ["88.118", "1.3.6", "gs1:0614141", "(01)09506000134352"] {
        node.delegate(prefix, SITE, &[]);
    }
    for (cut, names) in [
        ("118.88.hdl.id.test.", &["", "8.", "_.", "bolt._.", "www.", "_dmarc.8.", "a.b.c._.8.", "ns."][..]),
        ("118.88.HdL.id.test.", &["", "X."]),
        ("6.3.1.oid.id.test.", &["", "1.", "ors-dummy.", "ors-dummy.4.1.", "www.9.", "_."]),
        ("1.4.1.4.1.6.0.gtin.gs1.id.test.", &["", "0.0.6.2.2.3.", "a_42.21._.0.0.6.2.2.3.", "x."]),
        ("0.5.3.4.3.1.0.0.0.6.0.5.9.gtin.gs1.id.test.", &["", "_.", "x.21._."]),
    ] {
        for (name, kind) in
            names.iter().flat_map(|name| ["TXT", "A", "NS", "ANY", "SOA", "TYPE65282"].map(|kind| (name, kind)))
        {
            node.check(&format!("{name}{cut}"), kind, &referral(cut).iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    // Names above and beside the cuts are answered as before.
    for name in ["88.hdl.id.test.", "hdl.id.test.", "3.1.oid.id.test.", "6.0.gtin.gs1.id.test.", "gs1.id.test."] {
        assert_eq!(shown(&node.ask(name, "TXT")), no_data(4), "{name}");
    }
    for name in ["119.88.hdl.id.test.", "1180.88.hdl.id.test.", "7.3.1.oid.id.test.", "www.id.test.", "h.id.test."] {
        assert_eq!(shown(&node.ask(name, "TXT")), no_name(4), "{name}");
    }
    node.say("88.118", PrefixChange::Revoke);
    assert_eq!(shown(&node.ask("118.88.hdl.id.test.", "TXT")), no_name(5));
}

#[test]
fn a_referral_to_the_octet() {
    let node = Node::new();
    node.delegate("88.118", "dns://192.0.2.7:53", &[]);
    let (_, out) = node.respond(&Question::new("a._.118.88.hdl.id.test.", "TYPE65280"));
    let state: &[u8] = b"\x0a\x0ahdl:88.118\x10\x01\x1a\x19\x08\x5a\x12\x15\x08\x01\x10\x01\x22\x0f\x08\x01\x12\x09\
        192.0.2.7\x18\x35\x20\x01";
    let mut expected = [
        // No AA; one question, no answer, one authority, two additional records and the OPT record.
        b"\x80\x00\x00\x01\x00\x00\x00\x01\x00\x03".as_slice(),
        b"\x01a\x01_\x03118\x0288\x03hdl\x02id\x04test\x00\xff\x00\x00\x01",
        // The owner is a part of the question, and so is the zone in the name of the server.
        b"\xc0\x10\x00\x02\x00\x01\x00\x00\x00\x5a\x00\x0f\x09192-0-2-7\x02ns\xc0\x1b",
        b"\xc0\x34\x00\x01\x00\x01\x00\x00\x00\x5a\x00\x04\xc0\x00\x02\x07",
        b"\xc0\x10\xff\x01\x00\x01\x00\x00\x00\x5a\x00",
        &[state.len() as u8],
        state,
    ]
    .concat();
    expected.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
    assert_eq!(out[2..].escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// The delegation record in a section, decoded.
fn state(records: &[ResourceRecord]) -> Option<(String, pb::PrefixState)> {
    let record = records.iter().find(|record| u16::from(record.record_type()) == kind::DELEGATION)?;
    let RData::Unknown { rdata, .. } = &record.data else { panic!("{record}") };
    Some((record.name.to_string(), pb::PrefixState::decode(rdata.anything.as_slice()).unwrap()))
}

#[test]
fn programs_get_the_whole_delegation() {
    let node = Node::new();
    let ds = ["12345 13 2 00ff"];
    node.delegate("88.118", SITE, &ds);
    let cut = "118.88.hdl.id.test.";
    for (name, kind, in_answer) in [
        ("118.88.hdl.id.test.", "TYPE65281", true),
        ("118.88.hdl.id.test.", "TYPE65280", false),
        ("x._.118.88.hdl.id.test.", "TYPE65280", false),
        ("x._.118.88.hdl.id.test.", "TYPE65281", false),
    ] {
        let reply = node.ask(name, kind);
        assert_eq!(reply.metadata.authoritative, in_answer, "{name} {kind}");
        let (owner, state) = state(if in_answer { &reply.answers } else { &reply.additionals }).unwrap();
        assert_eq!((owner.as_str(), state.prefix.as_str(), state.ledger_index), (cut, "hdl:88.118", 0));
        assert_eq!((state.by.as_str(), state.time), ("", 0));
        assert_eq!(delegation_from_pb(&state.delegation.unwrap()), Ok(delegation(SITE, &ds)));
        assert_eq!(reply.additionals.len(), if in_answer { 0 } else { 3 });
    }
    // A delegation record that does not fit is left out first; then the response is truncated.
    let key = "k".repeat(500);
    node.delegate("88.119", &format!("{key} {SITE}"), &[]);
    let mut long = request("x._.119.88.hdl.id.test.", "TYPE65280", "IN", Edns::new());
    for (payload, additionals, truncated) in [(1_232_u16, 3, false), (512, 2, false)] {
        let at = long.len() - 8;
        long[at..at + 2].copy_from_slice(&payload.to_be_bytes());
        let client =
            Client { address: [192, 0, 2, 9].into(), transport: Transport::Datagram, now_unix: NOW, has_limits: false };
        let mut out = Vec::new();
        node.responder.respond(&long, &client, Depth::Whole, &mut out);
        let reply = Message::from_vec(&out).unwrap();
        assert_eq!((reply.additionals.len(), reply.metadata.truncation), (additionals, truncated), "{payload}");
    }
}

/// A resolver that follows NS records asks at port 53.
#[test]
fn servers_are_those_at_the_port_of_name_servers() {
    let node = Node::new();
    for (number, (site, servers)) in [
        ("dns://192.0.2.7:5301 dns://192.0.2.8:53", &["192-0-2-8"][..]),
        ("dns://192.0.2.7:5301 dns://192.0.2.8:5302", &["192-0-2-7", "192-0-2-8"]),
        ("dns://192.0.2.7:5301 dns://192.0.2.7:5302", &["192-0-2-7"]),
    ]
    .into_iter()
    .enumerate()
    {
        node.delegate(&format!("88.{number}"), site, &[]);
        let reply = node.ask(&format!("{number}.88.hdl.id.test."), "NS");
        let named: Vec<String> = reply.authorities.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(named, servers.iter().map(|server| format!("{server}.ns.id.test.")).collect::<Vec<_>>(), "{site}");
        assert_eq!(reply.additionals.len(), servers.len());
    }
}

/// Such a delegation is no cut: the zone above answers, and shows that there is nothing of the type.
#[test]
fn a_delegation_without_dns_cannot_be_followed() {
    let node = Node::new();
    node.delegate("88.118", "grpc://192.0.2.7:50051", &[]);
    let ds = ["12345 13 2 00ff"];
    node.delegate("88.119", "grpc://192.0.2.7:50051", &ds);
    let names = ["118.88.hdl.id.test.", "x._.118.88.hdl.id.test.", "119.88.hdl.id.test."];
    for (name, kind) in names.into_iter().flat_map(|name| ["TXT", "NS"].map(|kind| (name, kind))) {
        node.check(name, kind, &["NoError aa 20 delegated", &soa_of("id.test.", 2)]);
    }
    let reply = node.ask("x._.118.88.hdl.id.test.", "TYPE65280");
    assert_eq!(state(&reply.additionals).unwrap().1.prefix, "hdl:88.118");
    let dnskey = node.sign();
    for (name, types) in names.into_iter().zip(["RRSIG NSEC Unknown", "RRSIG NSEC", "DS RRSIG NSEC Unknown"]) {
        for kind in ["TXT", "TYPE65280"] {
            let denied = node.told(&Question::signed(name, kind));
            let expected = ["authority: id.test. 6 by id.test.".into(), format!("authority: {name} 47 by id.test.")];
            assert_eq!(verified(&denied, &dnskey), expected, "{name} {kind}");
            assert_eq!(extended_shown(&denied), " 20 delegated");
            let nsec = denied.authorities.iter().find(|record| record.record_type() == RecordType::NSEC).unwrap();
            assert!(nsec.data.to_string().ends_with(&format!(" {types}")), "{nsec}");
            assert_eq!(state(&denied.additionals).is_some(), kind == "TYPE65280");
        }
    }
    // Types that the zone above does have at the name are answered.
    assert_eq!(node.ask(names[0], "TYPE65281").answers.len(), 1);
    assert_eq!(node.ask(names[2], "DS").answers.len(), 1);
}

/// An attacker who makes the node send referrals asks for random names below a cut.
#[test]
fn referrals_at_a_cut_are_counted_together() {
    let node = Node::new();
    node.delegate("88.118", SITE, &[]);
    node.delegate("88.119", "grpc://192.0.2.7:50051", &[]);
    let client =
        Client { address: [192, 0, 2, 9].into(), transport: Transport::Datagram, now_unix: NOW, has_limits: true };
    let hashes = |names: &[String]| -> Vec<u64> {
        let mut hashes = Vec::new();
        for name in names {
            // Once when the answer is made, once as a cache hit.
            for _ in 0..2 {
                let request = request(name, "TXT", "IN", Edns::new());
                let responded = node.responder.respond(&request, &client, Depth::Whole, &mut Vec::new());
                let Responded::Written(summary) = responded else { panic!("{responded:?}") };
                assert!(summary.limited);
                hashes.push(summary.hash);
            }
        }
        assert_eq!(hashes.len(), 2 * names.len());
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    };
    let below = |cut: &str| (0..50).map(|number| format!("r{number}._.{cut}")).collect::<Vec<_>>();
    let [one, other] = ["118.88.HDL.id.test.", "119.88.hdl.id.test."].map(|cut| hashes(&below(cut)));
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_ne!(one, other);
    assert_eq!(hashes(&["118.88.hdl.id.test.".into(), "www.8.118.88.hdl.id.test.".into()]), one);
    // Names beside the cut have a hash each.
    node.create("88.1/a", &[("URL", b"https://a.example", 60)]);
    node.create("88.1/b", &[("URL", b"https://b.example", 60)]);
    assert_eq!(hashes(&["1.88.hdl.id.test.".into(), "88.hdl.id.test.".into()]).len(), 2);
}

/// A client that may be forged is limited before a walk is started for it.
#[test]
fn walks_are_limited_before_they_begin() {
    let (node, _) = recursive();
    for (allowance, transport, expected) in [
        (Allowance::Whole, Transport::Datagram, "Walk"),
        (Allowance::Truncated, Transport::Datagram, "Written"),
        (Allowance::Nothing, Transport::Datagram, "Withheld"),
        (Allowance::Nothing, Transport::Stream, "Walk"),
    ] {
        let client = Client { address: [192, 0, 2, 9].into(), transport, now_unix: NOW, has_limits: true };
        let mut request = request(BOLT, "TXT", "IN", Edns::new());
        request[2] |= 1;
        let mut out = Vec::new();
        let responded = node.responder.respond(&request, &client, Depth::Resident, &mut out);
        assert!(matches!(responded, Responded::Walk { .. }), "it is counted once, as a walk: {responded:?}");
        let responded = limited(responded, allowance, &mut out);
        assert!(format!("{responded:?}").starts_with(expected), "{allowance:?} {transport:?}: {responded:?}");
        if let Responded::Written(summary) = responded {
            let response = Message::from_vec(&out).unwrap();
            assert!(summary.truncated && response.metadata.truncation && response.answers.is_empty());
        }
    }
}

/// Work that takes as long as a read of a disk is left to threads that may wait.
#[test]
fn the_loop_neither_signs_nor_looks_at_all_prefixes() {
    let node = Node::new();
    node.home("88.118");
    let resident = |name, kind| Question { depth: Depth::Resident, ..Question::signed(name, kind) };
    let apex = "118.88.hdl.id.test.";
    let check = |name, kind| {
        let (responded, _) = node.respond(&resident(name, kind));
        assert_eq!(responded, Responded::Deferred, "{name} {kind}");
        node.told(&Question::signed(name, kind));
        node.told(&resident(name, kind));
    };
    node.delegate("88.119", SITE, &[]);
    let named = |depth| Question { depth, ..Question::new("192-0-2-7.ns.id.test.", "AAAA") };
    assert_eq!(node.respond(&named(Depth::Resident)).0, Responded::Deferred);
    node.told(&named(Depth::Whole));
    node.told(&Question { depth: Depth::Resident, ..Question::new("192-0-2-8.ns.id.test.", "A") });
    node.sign();
    for serial in 0..3 {
        check("id.test.", "SOA");
        check(apex, "SOA");
        // The denial is a cache hit from the second time on; its SOA record changes.
        node.create(&format!("88.118/{serial}"), &[]);
        check("nut._.118.88.hdl.id.test.", "TXT");
        node.create(&format!("88.118/more-{serial}"), &[]);
    }
}

/// Addresses of a site or of the node have names, and no others: addresses of third parties cannot be made to look like
/// ours.
#[test]
fn names_of_addresses() {
    let node = Node::new();
    let line = |name: &str, rest: &str| vec!["NoError aa".to_owned(), format!("{name} 3600 {rest}")];
    let own = "192-0-2-1.ns.id.test.";
    assert_eq!(shown(&node.ask(own, "A")), line(own, "1 192.0.2.1"));
    for name in ["192-0-2-7.ns.id.test.", "192-0-2-8.ns.id.test.", "x.192-0-2-1.ns.id.test.", "x.ns.id.test."] {
        assert_eq!(shown(&node.ask(name, "A")), no_name(0), "{name}");
    }
    node.delegate("88.118", SITE, &[]);
    for (name, kind, rest) in
        [("192-0-2-7.NS.id.test.", "A", "1 192.0.2.7"), ("2001-DB8-0-0-0-0-0-7.ns.id.test.", "AAAA", "28 2001:db8::7")]
    {
        assert_eq!(shown(&node.ask(name, kind)), line(name, rest));
    }
    assert_eq!(shown(&node.ask("192-0-2-7.ns.id.test.", "AAAA")), no_data(1));
    assert_eq!(shown(&node.ask("192-0-2-8.ns.id.test.", "A")), no_name(1));
    node.say("88.118", PrefixChange::Revoke);
    assert_eq!(shown(&node.ask("192-0-2-7.ns.id.test.", "A")), no_name(2));
}

#[test]
fn homed_prefixes_are_zones() {
    let node = Node::new();
    node.home("88.118");
    node.home("1.3.6");
    node.create("88.118.8/bolt", &[("NAME", b"Bolt", 300)]);
    node.create("1.3.6", &[("NAME", b"dod", 300)]);
    node.delegate("88.118.9", SITE, &[]);
    let (apex, size) = ("118.88.hdl.id.test.", 5);
    node.check(apex, "SOA", &["NoError aa", &format!("{apex} 3600 6 serial {size} minimum 60")]);
    let servers = ["192-0-2-1.ns.id.test.", "2001-db8-0-0-0-0-0-1.ns.id.test."];
    let [v4, v6] = servers;
    let lines = [
        "NoError aa".to_owned(),
        format!("118.88.HDL.id.test. 3600 2 {v4}"),
        format!("118.88.HDL.id.test. 3600 2 {v6}"),
        format!("additional: {v4} 3600 1 192.0.2.1"),
        format!("additional: {v6} 3600 28 2001:db8::1"),
    ];
    assert_eq!(shown(&node.ask("118.88.HDL.id.test.", "NS")), lines);
    assert_eq!(node.ask("bolt._.8.118.88.hdl.id.test.", "TXT").answers.len(), 1);
    for (name, apex, rcode) in [
        ("118.88.hdl.id.test.", apex, "NoError"),
        ("8.118.88.hdl.id.test.", apex, "NoError"),
        ("nut._.8.118.88.hdl.id.test.", apex, "NxDomain"),
        ("www.118.88.hdl.id.test.", apex, "NxDomain"),
        ("6.3.1.oid.id.test.", "6.3.1.oid.id.test.", "NoError"),
        ("7.6.3.1.oid.id.test.", "6.3.1.oid.id.test.", "NxDomain"),
        ("www.id.test.", "", ""),
        ("88.hdl.id.test.", "", ""),
        ("x._.119.88.hdl.id.test.", "", ""),
        ("2.oid.id.test.", "", ""),
        ("oid.id.test.", "", ""),
    ] {
        match rcode {
            "" => node.check(name, "A", &["Refused 20 not responsible"]),
            _ => node.check(name, "A", &[&format!("{rcode} aa"), &soa_of(apex, size)]),
        }
    }
    // DS of the apex belongs to the zone above, which is not here.
    node.check(apex, "DS", &["NoError aa", &soa_of(apex, size)]);
    // The records of an identifier of the same name stand at the apex, too.
    assert_eq!(node.ask("6.3.1.oid.id.test.", "TXT").answers.len(), 1);
    let cut = referral("9.118.88.hdl.id.test.");
    assert_eq!(shown(&node.ask("9.118.88.hdl.id.test.", "TXT")), cut);
    node.check("9.118.88.hdl.id.test.", "DS", &["NoError aa", &soa_of(apex, size)]);
    // The zone of the node is there, with its names of servers.
    node.check("id.test.", "SOA", &["NoError aa", &format!("id.test. 3600 6 serial {size} minimum 60")]);
    assert_eq!(node.ask(v4, "A").answers.len(), 1);
    // With everything homed, the zone of the node is the zone above.
    node.home(".");
    node.check("www.id.test.", "A", &["NxDomain aa", &soa_of("id.test.", 6)]);
    node.check("nut._.118.88.hdl.id.test.", "A", &["NxDomain aa", &soa_of(apex, 6)]);
    node.check(apex, "DS", &["NoError aa", &soa_of("id.test.", 6)]);
}

/// `ns.` and the zone mean another node where they are looked up: no NS record is better than a wrong one.
#[test]
fn a_node_without_an_address_names_no_server_of_a_homed_prefix() {
    let node = Node::listening(&["0.0.0.0", "::"]);
    node.home("88.118");
    let apex = "118.88.hdl.id.test.";
    node.check(apex, "NS", &["NoError aa", &soa_of(apex, 1)]);
    node.sign();
    let denied = node.told(&Question::signed(apex, "NS"));
    let nsec = denied.authorities.iter().find(|record| record.record_type() == RecordType::NSEC).unwrap();
    assert!(nsec.data.to_string().ends_with(" SOA RRSIG NSEC DNSKEY CDS CDNSKEY"), "{nsec}");
    assert!(!nsec.data.to_string().contains(" NS "), "{nsec}");
}

/// The sets of a response with the zone that signed each, after verification: `section: owner type by signer`.
fn verified(response: &Message, dnskey: &DNSKEY) -> Vec<String> {
    let mut lines = Vec::new();
    for (section, records) in [("answer", &response.answers), ("authority", &response.authorities)] {
        for record in records {
            let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = &record.data else { continue };
            let input = rrsig.input();
            let set =
                records.iter().filter(|other| other.name == record.name && other.record_type() == input.type_covered);
            dnskey.verify_rrsig(&record.name, record.dns_class, rrsig, set).unwrap();
            let kind = u16::from(input.type_covered);
            lines.push(format!("{section}: {} {kind} by {}", record.name, input.signer_name));
        }
    }
    lines
}

#[test]
fn cuts_and_zones_are_signed_by_the_zone_above() {
    let node = Node::new();
    let ds = "12345 13 2 00ff";
    node.delegate("88.118", SITE, &[ds]);
    node.delegate("88.119", SITE, &[]);
    let dnskey = node.sign();
    let check = |name: &str, kind: &str, expected: &[&str]| {
        let response = node.told(&Question::signed(name, kind));
        let again = node.told(&Question::signed(name, kind));
        assert_eq!(shown(&response), shown(&again));
        assert_eq!(verified(&response, &dnskey), expected, "{name} {kind}");
        response
    };
    let secure = check("x._.118.88.hdl.id.test.", "TXT", &["authority: 118.88.hdl.id.test. 43 by id.test."]);
    assert!(!secure.metadata.authoritative && secure.answers.is_empty());
    assert_eq!((secure.authorities.len(), secure.additionals.len()), (4, 2));
    let insecure = check("x._.119.88.hdl.id.test.", "TXT", &["authority: 119.88.hdl.id.test. 47 by id.test."]);
    let nsec = insecure.authorities.iter().find(|record| record.record_type() == RecordType::NSEC).unwrap();
    assert!(nsec.data.to_string().ends_with(" NS RRSIG NSEC"), "{nsec}");
    check("118.88.hdl.id.test.", "DS", &["answer: 118.88.hdl.id.test. 43 by id.test."]);
    let parent = ["authority: id.test. 6 by id.test.", "authority: 119.88.hdl.id.test. 47 by id.test."];
    check("119.88.hdl.id.test.", "DS", &parent);
    check("118.88.hdl.id.test.", "TYPE65281", &["answer: 118.88.hdl.id.test. 65281 by id.test."]);
    // A client without DNSSEC OK gets neither.
    assert_eq!(shown(&node.ask("118.88.hdl.id.test.", "TXT")), referral("118.88.hdl.id.test."));
    node.check("118.88.hdl.id.test.", "DS", &["NoError aa", "118.88.hdl.id.test. 90 43 12345 13 2 00FF"]);
    // A zone below, of the same node.
    node.home("88.7");
    node.home("88.7.7");
    node.create("88.7.7/a", &[("NAME", b"x", 60)]);
    let (apex, inner) = ("7.88.hdl.id.test.", "7.7.88.hdl.id.test.");
    check(apex, "SOA", &[&format!("answer: {apex} 6 by {apex}")]);
    check(apex, "NS", &[&format!("answer: {apex} 2 by {apex}")]);
    let keys = check("7.88.HDL.id.test.", "DNSKEY", &[&format!("answer: {} 48 by {apex}", "7.88.HDL.id.test.")]);
    assert_eq!(keys.answers.len(), 2);
    check(apex, "CDS", &[&format!("answer: {apex} 59 by {apex}")]);
    check(&format!("a._.{inner}"), "TXT", &[&format!("answer: a._.{inner} 16 by {inner}")]);
    let denial = [format!("authority: {inner} 6 by {inner}"), format!("authority: b._.{inner} 47 by {inner}")];
    check(&format!("b._.{inner}"), "TXT", &denial.each_ref().map(String::as_str));
    // The DS leads from the outer zone to the inner one, and covers the key under that name.
    let leading = check(inner, "DS", &[&format!("answer: {inner} 43 by {apex}")]);
    let RData::DNSSEC(DNSSECRData::DS(ds)) = &leading.answers[0].data else { panic!("{leading}") };
    assert!(ds.covers(&Name::from_ascii(inner).unwrap(), &dnskey).unwrap());
    // The zone above the first one is not here.
    let not_here = [format!("authority: {apex} 6 by {apex}"), format!("authority: {apex} 47 by {apex}")];
    let denied = check(apex, "DS", &not_here.each_ref().map(String::as_str));
    let nsec = denied.authorities.iter().find(|record| record.record_type() == RecordType::NSEC).unwrap();
    assert!(nsec.data.to_string().ends_with(" NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY"), "{nsec}");
}

/// Other nodes, with a prepared answer.
#[derive(Default)]
struct Others(Mutex<Option<(Answer, u32)>>);

impl Upstream for Others {
    fn ask<'a>(&'a self, _: &'a Target, _: &'a SiteQuestion) -> BoxFuture<'a, Result<SiteReply, UpstreamError>> {
        let said = self.0.lock().unwrap().clone();
        let down = UpstreamError::Unreachable { reason: "down".into() };
        let reply = |(answer, ttl)| SiteReply { ttl_seconds: Some(ttl), ..SiteReply::bare(answer) };
        Box::pin(async move { said.map(reply).ok_or(down) })
    }
}

/// The cache of other nodes' answers in a node, on a clock that stands still.
struct Kept {
    others: Arc<Others>,
    desk: Desk,
    clock: Runtime,
}

impl Kept {
    /// Puts an answer about an identifier into the cache, with this TTL.
    fn keep(&self, identifier: &str, answer: Answer, ttl_seconds: u32) {
        *self.others.0.lock().unwrap() = Some((answer, ttl_seconds));
        let (identifier, caller) = (Identifier::parse(identifier).unwrap(), Caller::anonymous(None));
        self.clock.block_on(async { self.desk.begin_walk(identifier, &caller).unwrap().await }).unwrap();
    }

    /// Number of cache hits.
    fn asked(&self) -> u64 {
        self.desk.recursion_stats().unwrap().from_cache
    }
}

/// A node without knowledge of the prefixes that it delegated, which walks for clients of `192.0.2.` and of this
/// machine.
pub(crate) fn recursive_over(upstream: Arc<dyn Upstream>) -> Node {
    let roots = Roots::new(vec![(Prefix::everything(), delegation(SITE, &[]))]);
    let recursor = Recursor::new(roots, upstream, Arc::new(LedgerVerifier::default()), RecursionOptions::default());
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let allow = networks(&["127.0.0.0/8", "192.0.2.0/24"]);
    let limits = WalkLimits { exempt: networks(&["127.0.0.0/8"]), ..WalkLimits::default() };
    let recursive = Recursive { recursor, allow, limits };
    let node = Node::with(&["192.0.2.1", "2001:db8::1", "::"], Some(recursive));
    node.delegate("88.118", SITE, &[]);
    node.delegate("1.3.6", SITE, &[]);
    node.create("88.1/own", &[("NAME", b"own", 60)]);
    node
}

fn recursive() -> (Node, Kept) {
    let others = Arc::new(Others::default());
    let node = recursive_over(others.clone());
    let clock = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let desk = node.responder.desk().clone();
    (node, Kept { others, desk, clock })
}

pub(crate) fn found(ttl: u32) -> Answer {
    found_at("88.118/bolt", ttl)
}

fn found_at(identifier: &str, ttl: u32) -> Answer {
    let value = Value {
        index: 1,
        kind: "NAME".parse().unwrap(),
        data: b"Bolt".to_vec().into(),
        ttl,
        timestamp: 0,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    Answer::found(Record {
        identifier: Identifier::parse(identifier).unwrap(),
        version: Version { number: 1, ledger_index: 0, time_ms: 0 },
        status: Status::Active,
        values: Values::new(vec![value]).unwrap(),
        edges: Vec::new(),
        edges_truncated: false,
        values_erased: Vec::new(),
        outputs: None,
    })
}

fn walked(answer: Answer, ttl_seconds: u32, stale: bool) -> Resolved {
    Resolved { stale, ..Resolved::fresh(answer, ttl_seconds) }
}

/// The tombstone of the record, retired or erased.
fn ended(erased: bool) -> Answer {
    let version = Version { number: 2, ledger_index: 1, time_ms: 1 };
    Answer::Retired(Arc::new(Tombstone { identifier: Identifier::parse("88.118/bolt").unwrap(), version, erased }))
}

const BOLT: &str = "bolt._.118.88.hdl.id.test.";

fn flags(response: &Message) -> (bool, bool, bool, bool) {
    let metadata = &response.metadata;
    (metadata.authoritative, metadata.recursion_desired, metadata.recursion_available, metadata.authentic_data)
}

#[test]
fn answers_of_others_count_down() {
    let (node, kept) = recursive();
    let (responded, _) = node.respond(&Question::recursive(BOLT, "TXT"));
    let Responded::Walk { identifier, .. } = responded else { panic!("{responded:?}") };
    assert_eq!(*identifier, Identifier::parse("88.118/bolt").unwrap());
    kept.keep("88.118/bolt", found(300), 100);
    let _clock = kept.clock.enter();
    let asked_before = kept.asked();
    for (later, ttl) in [(0, 100), (0, 100), (1, 99), (99, 1)] {
        let response = node.told(&Question { later, ..Question::recursive(BOLT, "TXT") });
        assert_eq!(flags(&response), (false, true, true, false));
        let line = format!("{BOLT} {ttl} 16 \"1 NAME\" \"Bolt\"");
        assert_eq!(shown(&response), ["NoError".to_owned(), line], "{later} s later");
    }
    assert_eq!(kept.asked() - asked_before, 1, "the others are of the cache");
    // The answer has expired.
    kept.desk.outdate_all();
    let (responded, _) = node.respond(&Question { later: 100, ..Question::recursive(BOLT, "TXT") });
    assert!(matches!(responded, Responded::Walk { .. }), "{responded:?}");
    // The shorter of both TTLs is used.
    let response = node.told(&Question {
        walked: Some(Ok(walked(found(40), 100, false))),
        later: 100,
        ..Question::recursive(BOLT, "TYPE65280")
    });
    assert_eq!((response.answers.len(), response.answers[0].ttl), (1, 40));
    // A change of the prefix invalidates every answer of other nodes.
    node.home("88.118");
    let response = node.told(&Question { later: 100, depth: Depth::Whole, ..Question::recursive(BOLT, "TYPE65280") });
    assert_eq!(flags(&response), (true, true, true, false));
    assert!(shown(&response)[0].starts_with("NxDomain"));
}

#[test]
fn what_others_say_in_every_way() {
    let (node, _) = recursive();
    let oid = "9.6.3.1.oid.id.test.";
    let stale = |answer| Ok(walked(answer, 30, true));
    let said = |answer| Ok(walked(answer, 300, false));
    let failure = |text: &str| text.repeat(8);
    for (name, kind, walked, expected) in [
        (BOLT, "TXT", stale(found(300)), "NoError 3 |30"),
        (BOLT, "A", said(found(300)), "NoError|"),
        (BOLT, "ANY", said(found(300)), "NoError|300"),
        (BOLT, "TXT", said(Answer::NotFound), "NxDomain|"),
        (BOLT, "TXT", stale(ended(false)), "NoError 0 retired|"),
        (oid, "TXT", said(Answer::NotFound), "NoError|"),
        (BOLT, "TXT", said(ended(false)), "NoError 0 retired|"),
        (BOLT, "TXT", said(ended(true)), "NoError 0 erased|"),
        (BOLT, "TXT", said(Answer::Denied), "Refused 18 denied|"),
        ("ors-dummy.9.6.3.1.oid.id.test.", "TXT", said(found(300)), "NoError|"),
        (BOLT, "TXT", Err(WalkFailure::Unreachable("all sites are down".into())), "ServFail 22 all sites are down|"),
        (BOLT, "TXT", Err(WalkFailure::NotResponsible), "Refused 20 not responsible|"),
        (
            BOLT,
            "TXT",
            Err(WalkFailure::Other(failure("too many w"))),
            "ServFail 0 too many wtoo many wtoo many wtoo many wtoo many wtoo many wtoo |",
        ),
    ] {
        // Nothing is cached from one row to the next.
        node.responder.topics.outdate_all();
        let kept_seconds = walked.as_ref().map_or(0, |walked| walked.ttl_seconds);
        let response = node.told(&Question { walked: Some(walked), ..Question::recursive(name, kind) });
        assert_eq!(flags(&response), (false, true, true, false), "{name} {kind}");
        let ttl = response.answers.first().map_or(String::new(), |record| record.ttl.to_string());
        assert_eq!(format!("{}|{ttl}", shown(&response)[0]), expected, "{name} {kind}");
        // TTL of the SOA record of negative answers (RFC 2308 section 5): at most 60 seconds, and 30 for stale ones.
        let is_negative = ttl.is_empty() && (expected.starts_with("NxDomain") || expected.starts_with("NoError"));
        let lines: Vec<String> = response.authorities.iter().map(record_shown).collect();
        let soa_ttl = if kept_seconds < 60 { kept_seconds } else { 60 };
        let soa = format!("id.test. {soa_ttl} 6 serial 3 minimum 60");
        assert_eq!(lines, if is_negative { vec![soa] } else { Vec::new() }, "{name} {kind} {expected}");
    }
}

#[test]
fn negative_answers_of_others_count_down() {
    let (node, _) = recursive();
    let ask = |later, walked| node.told(&Question { later, walked, ..Question::recursive(BOLT, "TXT") });
    let kept = Some(Ok(walked(Answer::NotFound, 100, false)));
    for (later, walked, ttl) in [(0, kept, 60), (0, None, 60), (40, None, 60), (41, None, 59), (99, None, 1)] {
        let response = ask(later, walked);
        let soa = format!("authority: id.test. {ttl} 6 serial 3 minimum 60");
        assert_eq!(shown(&response), ["NxDomain".to_owned(), soa], "{later} s later");
    }
    let (responded, _) = node.respond(&Question { later: 100, ..Question::recursive(BOLT, "TXT") });
    assert!(matches!(responded, Responded::Walk { .. }), "{responded:?}");
}

#[test]
fn who_gets_recursion_and_for_what() {
    let (node, kept) = recursive();
    kept.keep("88.118/bolt", found(300), 100);
    let cut = referral("118.88.hdl.id.test.");
    let stranger = |name, kind| Question { client: "198.51.100.1", ..Question::recursive(name, kind) };
    for (question, first, available) in [
        (Question::recursive(BOLT, "TXT"), "answer", true),
        (Question::new(BOLT, "TXT"), "referral", true),
        (stranger(BOLT, "TXT"), "referral", false),
        // No identifier has these names, and none these types.
        (Question::recursive("118.88.hdl.id.test.", "TXT"), "referral", true),
        (Question::recursive("www.118.88.hdl.id.test.", "TXT"), "referral", true),
        (Question::recursive(BOLT, "NS"), "referral", true),
        (Question::recursive(BOLT, "SOA"), "referral", true),
        (Question::recursive("own._.1.88.hdl.id.test.", "TXT"), "authoritative", true),
        (stranger("own._.1.88.hdl.id.test.", "TXT"), "authoritative", false),
        (Question::recursive("example.com.", "TXT"), "refused", true),
    ] {
        let response = node.told(&Question { depth: Depth::Whole, ..question });
        let lines = shown(&response);
        let got = match lines[0].as_str() {
            "NoError" if lines == cut => "referral",
            "NoError" if lines.len() == 2 => "answer",
            "NoError aa" => "authoritative",
            "Refused 20 another zone" => "refused",
            other => other,
        };
        assert_eq!((got, response.metadata.recursion_available), (first, available), "{lines:?}");
    }
    // A name without a known delegation is walked for, too; the walk begins at the roots.
    node.home("88.1");
    kept.keep("88.5/x", found_at("88.5/x", 300), 100);
    let asked = node.told(&Question::recursive("x._.5.88.hdl.id.test.", "TXT"));
    assert_eq!(asked.answers.len(), 1);
    let refused = node.told(&Question::new("x._.5.88.hdl.id.test.", "TXT"));
    assert_eq!(shown(&refused), ["Refused 20 not responsible"]);
}

/// A client that wants signatures gets the answers of other nodes without any, and those of this node with its own.
#[test]
fn answers_of_others_are_not_signed() {
    let (node, kept) = recursive();
    let dnskey = node.sign();
    kept.keep("88.118/bolt", Answer::NotFound, 100);
    let _clock = kept.clock.enter();
    for _ in 0..2 {
        let question = Question { dnssec_ok: true, depth: Depth::Whole, ..Question::recursive(BOLT, "TXT") };
        let response = node.told(&question);
        assert_eq!(shown(&response), ["NxDomain", "authority: id.test. 60 6 serial 3 minimum 60"]);
    }
    let own =
        Question { dnssec_ok: true, depth: Depth::Whole, ..Question::recursive("own._.1.88.hdl.id.test.", "TXT") };
    assert_eq!(verified(&node.told(&own), &dnskey), ["answer: own._.1.88.hdl.id.test. 16 by id.test."]);
}

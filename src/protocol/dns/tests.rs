//! The records of responses, without sockets.

use std::sync::Arc;

use hickory_proto::{
    dnssec::{Verifier as _, rdata::DNSSECRData},
    op::{Edns, Message, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record as ResourceRecord, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{
    answer::EXTENDED_TEXT_OCTETS_MAX,
    cookie::CookieSecrets,
    dnssec::{
        Signer,
        key_ring::{Haste, KeyRing},
        keys::{Algorithm, tests::two_keys},
    },
    *,
};
use crate::{
    entry::Principal,
    id::{Identifier, dns_name},
    ledger::{DataDir, KeySource, Ledger, LedgerError, Mark, Opening, Publication},
    record::{Permissions, Value, Values},
    registry::{Atomicity, Changes, Command, Operation, Registry, Sequencer, WhenFull},
    resolver::{Depth, Desk, DeskParts, Recursive, Resolver},
    store::{Entries as _, ImplicitHome, IndexChange, Prefixes, Records, memory::MemoryEntries},
};

/// A registry and a responder over one ledger in a directory of its own.
pub(crate) struct Node {
    pub(crate) responder: Arc<Responder>,
    entries: Arc<MemoryEntries>,
    registry: Registry,
    runtime: Runtime,
    _directory: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::listening(&["192.0.2.1", "2001:db8::1", "::"])
    }

    /// As [`Node::new`], on other addresses.
    fn listening(addresses: &[&str]) -> Self {
        Self::with(addresses, None)
    }

    /// As [`Node::listening`], with recursion if given.
    fn with(addresses: &[&str], recursive: Option<Recursive>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let ledger: Arc<Ledger> = recovered.ledger;
        let entries = Arc::new(MemoryEntries::new(Arc::clone(&ledger)));
        let records = Records::new(entries.clone(), Arc::clone(&ledger));
        let prefixes = Arc::new(Prefixes::load(&records, ImplicitHome::UntilHomed).unwrap());
        let resolver = Resolver::new(records.clone(), Arc::clone(&prefixes), 1_usize << 20);
        let publication = Arc::new(Publication::new(ledger.checkpoint()));
        let desk = Desk::new(DeskParts { resolver, recursive, publication, lookups: None });
        let zone =
            Zone::new("id.test").unwrap().with_addresses(addresses.iter().map(|address| address.parse().unwrap()));
        let options = ResponderOptions {
            identity: "here".into(),
            cache: (1_usize << 20).into(),
            without_cookie_octets_max: UDP_PAYLOAD_OCTETS_MAX,
            cookies: CookieSecrets::new([3; 16], None),
        };
        let responder = Arc::new(Responder::new(desk.clone(), zone, move || ledger.size(), options));
        let committer = {
            let responder = Arc::clone(&responder);
            Box::new(move |changes: &Changes<'_>| {
                match changes {
                    Changes::Identifiers(changed) => desk.outdate(changed.iter().map(|change| &change.key)),
                    Changes::Prefix => desk.outdate_all(),
                }
                responder.outdate(changes);
            })
        };
        let sequencer = Sequencer {
            appender: recovered.appender,
            records,
            prefixes,
            committer,
            clock: Arc::new(|| 1_700_000_000_000),
            entropy: Arc::new(|| [7; 32]),
        };
        let (registry, _) = sequencer.spawn().unwrap();
        let runtime = Runtime::new().unwrap();
        Self { responder, entries, registry, runtime, _directory: directory }
    }

    fn apply(&self, identifier: &str, operation: Operation) {
        let identifier = Identifier::parse(identifier).unwrap();
        let command = Command { identifier, operation, expected_version: None, request: None };
        let prepared = self.registry.prepare(command, Principal::LOOPBACK).unwrap();
        let results = self.runtime.block_on(self.registry.submit(vec![Ok(prepared)], Atomicity::Each, WhenFull::Wait));
        results.into_iter().for_each(|result| drop(result.unwrap()));
    }

    /// Registers values, given as type, data and TTL.
    pub(crate) fn create(&self, identifier: &str, values: &[(&str, &[u8], u32)]) {
        self.create_with(identifier, values, Permissions::DEFAULT);
    }

    fn create_with(&self, identifier: &str, values: &[(&str, &[u8], u32)], permissions: Permissions) {
        let value = |&(kind, data, ttl): &(&str, &[u8], u32)| Value {
            index: 0,
            kind: kind.parse().unwrap(),
            data: data.to_vec().into(),
            ttl,
            timestamp: 0,
            permissions,
            references: Vec::new(),
        };
        let values = Values::new(values.iter().map(value).collect()).unwrap();
        self.apply(identifier, Operation::Create { values, edges: Vec::new() });
    }

    fn retire(&self, identifier: &str) {
        self.apply(identifier, Operation::Retire);
    }

    fn ask(&self, name: &str, kind: &str) -> Message {
        self.ask_in(name, kind, "IN")
    }

    /// Asks twice, the second time for a cache hit if the answer can be cached.
    fn ask_in(&self, name: &str, kind: &str, class: &str) -> Message {
        let request = request(name, kind, class, Edns::new());
        let address = [192, 0, 2, 9].into();
        let client = Client { address, transport: Transport::Stream, now_unix: 1_700_000_000, has_limits: false };
        let (mut first, mut again) = (Vec::new(), Vec::new());
        assert!(matches!(self.responder.respond(&request, &client, Depth::Whole, &mut first), Responded::Written(_)));
        self.responder.respond(&request, &client, Depth::Whole, &mut again);
        assert_eq!(first, again, "the same again, from the cache");
        let response = Message::from_vec(&first).unwrap();
        let sections = [&response.answers, &response.authorities, &response.additionals];
        assert!(sections.into_iter().flatten().all(|record| record.dns_class == DNSClass::IN || class == "CH"));
        assert!(extended_shown(&response).len() <= EXTENDED_TEXT_OCTETS_MAX + 4);
        response
    }

    /// Asks, and compares the response as [`shown`] prints it.
    fn check(&self, name: &str, kind: &str, expected: &[&str]) {
        assert_eq!(shown(&self.ask(name, kind)), expected, "{name} {kind}");
    }
}

fn request(name: &str, kind: &str, class: &str, mut edns: Edns) -> Vec<u8> {
    let kind: RecordType = match kind.strip_prefix("TYPE") {
        Some(code) => code.parse::<u16>().unwrap().into(),
        None => kind.parse().unwrap(),
    };
    let mut query = Query::query(Name::from_ascii(name).unwrap(), kind);
    query.set_query_class(class.parse().unwrap());
    let mut request = Message::query();
    request.queries.push(query);
    edns.set_max_payload(1_232);
    request.edns = Some(edns);
    request.to_vec().unwrap()
}

const SOA_DATA: &str = "ns.id.test. hostmaster.id.test.";

/// A response as lines: code, flags and extended error, then the records. A record behind the answer section begins
/// with the name of its section.
fn shown(response: &Message) -> Vec<String> {
    let flags = if response.metadata.authoritative { " aa" } else { "" };
    let code = match response.metadata.response_code {
        ResponseCode::NXDomain => "NxDomain".into(),
        code => format!("{code:?}"),
    };
    let first = format!("{code}{flags}{}", extended_shown(response));
    let answers = response.answers.iter().map(record_shown);
    let authorities = response.authorities.iter().map(|record| format!("authority: {}", record_shown(record)));
    let additionals = response.additionals.iter().map(|record| format!("additional: {}", record_shown(record)));
    std::iter::once(first).chain(answers).chain(authorities).chain(additionals).collect()
}

/// Code and text of the extended error, preceded by a space.
fn extended_shown(response: &Message) -> String {
    let option = response.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Unknown(15)));
    let Some(EdnsOption::Unknown(15, data)) = option else { return String::new() };
    format!(" {} {}", u16::from_be_bytes([data[0], data[1]]), str::from_utf8(&data[2..]).unwrap())
}

fn record_shown(record: &ResourceRecord) -> String {
    let data = match &record.data {
        RData::Unknown { rdata, .. } => rdata.anything.escape_ascii().to_string(),
        RData::TXT(text) => {
            let strings = text.txt_data.iter().map(|string| format!("\"{}\"", string.escape_ascii()));
            strings.collect::<Vec<_>>().join(" ")
        }
        RData::SOA(soa) => {
            assert_eq!(format!("{} {}", soa.mname, soa.rname), SOA_DATA);
            format!("serial {} minimum {}", soa.serial, soa.minimum)
        }
        data => data.to_string(),
    };
    format!("{} {} {} {data}", record.name, record.ttl, u16::from(record.record_type()))
}

/// The response for a missing type of an existing name, in a ledger of `size` entries.
fn no_data(size: u64) -> [String; 2] {
    ["NoError aa".into(), format!("authority: id.test. 60 6 serial {size} minimum 60")]
}

fn no_name(size: u64) -> [String; 2] {
    ["NxDomain aa".into(), format!("authority: id.test. 60 6 serial {size} minimum 60")]
}

#[test]
fn the_zone_itself() {
    let node = Node::new();
    node.check("id.test.", "SOA", &["NoError aa", "id.test. 3600 6 serial 0 minimum 60"]);
    let glue = ["additional: ns.id.test. 3600 1 192.0.2.1", "additional: ns.id.test. 3600 28 2001:db8::1"];
    node.check("id.test.", "NS", &["NoError aa", "id.test. 3600 2 ns.id.test.", glue[0], glue[1]]);
    node.check("ID.tesT.", "ANY", &["NoError aa", "ID.tesT. 3600 13 RFC8482 "]);
    node.check("NS.id.test.", "A", &["NoError aa", "NS.id.test. 3600 1 192.0.2.1"]);
    node.check("ns.id.test.", "AAAA", &["NoError aa", "ns.id.test. 3600 28 2001:db8::1"]);
    node.check("ns.id.test.", "ANY", &["NoError aa", "ns.id.test. 3600 13 RFC8482 "]);
    for (name, kind) in [("id.test.", "TXT"), ("id.test.", "TYPE65280"), ("ns.id.test.", "TXT")] {
        assert_eq!(shown(&node.ask(name, kind)), no_data(0), "{name}");
    }
    for name in ["www.id.test.", "a.ns.id.test.", "hostmaster.id.test.", "oid.id.test.", "h.id.test."] {
        assert_eq!(shown(&node.ask(name, "A")), no_name(0), "{name}");
    }
    node.create("88.1/a", &[]);
    node.check("id.test.", "SOA", &["NoError aa", "id.test. 3600 6 serial 1 minimum 60"]);
}

#[test]
fn what_is_refused() {
    let node = Node::new();
    for name in [".", "test.", "example.com.", "xid.test.", "id.test.example."] {
        node.check(name, "SOA", &["Refused 20 another zone"]);
    }
    for kind in ["AXFR", "TYPE251", "TYPE250", "TYPE129"] {
        node.check("id.test.", kind, &["Refused"]);
    }
    node.check("id.test.", "TYPE128", &["FormErr 30 a type of denials only"]);
    for class in ["HS", "ANY", "NONE"] {
        assert_eq!(shown(&node.ask_in("id.test.", "SOA", class)), ["Refused"], "{class}");
    }
}

#[test]
fn an_identifier() {
    let node = Node::new();
    let values: &[(&str, &[u8], u32)] =
        &[("NAME", b"Bolt \xff", 300), ("URL", b"https://m.example/!x", 600), ("SVC:epcis", b"https://e.example", 900)];
    node.create("88.118.8/Bolt", values);
    let (name, head) = ("bolT._.8.118.88.HDL.id.test.", "bolT._.8.118.88.HDL.id.test. ");
    let line = |ttl: u32, kind: u16, data: &str| format!("{head}{ttl} {kind} {data}");
    let ok = || "NoError aa".to_owned();
    let texts =
        [r#""1 NAME" "Bolt \xff""#, r#""2 URL" "https://m.example/!x""#, r#""3 SVC:epcis" "https://e.example""#];
    assert_eq!(shown(&node.ask(name, "TXT"))[1..], texts.map(|text| line(300, 16, text)));
    let naptrs = [
        line(600, 35, r#"100 2 "u" "EPC+html" "!^.*$!https://m.example/\!x!" ."#),
        line(600, 35, r#"100 3 "u" "epcis" "!^.*$!https://e.example!" ."#),
    ];
    let reply = node.ask(name, "NAPTR");
    let fields: Vec<_> = reply.answers.iter().map(naptr_shown).collect();
    assert_eq!(fields, naptrs);
    let uris = [
        ok(),
        line(600, 256, r"\x00\x02\x00\x00https://m.example/!x"),
        line(600, 256, r"\x00\x03\x00\x00https://e.example"),
    ];
    assert_eq!(shown(&node.ask(name, "TYPE256")), uris);
    assert_eq!(shown(&node.ask(name, "ANY")), [ok(), line(3_600, 13, "RFC8482 ")]);
    for kind in ["A", "SOA", "NS", "HINFO", "TYPE65281"] {
        assert_eq!(shown(&node.ask(name, kind)), no_data(1), "{kind}");
    }
    assert_eq!(shown(&node.ask("nut._.8.118.88.hdl.id.test.", "TXT")), no_name(1));
    assert_eq!(shown(&node.ask("a.bolt._.8.118.88.hdl.id.test.", "TXT")), no_name(1));
}

fn naptr_shown(record: &ResourceRecord) -> String {
    let RData::NAPTR(naptr) = &record.data else { panic!("{record}") };
    let text = |octets: &[u8]| String::from_utf8(octets.into()).unwrap();
    let (flags, services, regexp) = (text(&naptr.flags), text(&naptr.services), text(&naptr.regexp));
    let (order, preference, replacement) = (naptr.order, naptr.preference, &naptr.replacement);
    let head = format!("{} {} 35", record.name, record.ttl);
    format!(r#"{head} {order} {preference} "{flags}" "{services}" "{regexp}" {replacement}"#)
}

#[test]
fn whole_records() {
    let node = Node::new();
    node.create("88.118.8/bolt", &[("NAME", b"Bolt", 300), ("URL", b"https://m.example", 600)]);
    node.create("88.118.8/bare", &[]);
    let record = |name: &str| {
        let reply = node.ask(name, "TYPE65280");
        let [ResourceRecord { ttl, data: RData::Unknown { rdata, .. }, .. }] = &*reply.answers else {
            panic!("{reply:?}")
        };
        (*ttl, super::super::grpc::pb::Record::decode(rdata.anything.as_slice()).unwrap())
    };
    let (ttl, bolt) = record("bolt._.8.118.88.hdl.id.test.");
    assert_eq!((ttl, bolt.identifier.as_str(), bolt.values.len(), bolt.version), (300, "88.118.8/bolt", 2, 1));
    assert_eq!(bolt.values[1].data, "https://m.example");
    let (ttl, bare) = record("bare._.8.118.88.hdl.id.test.");
    assert_eq!((ttl, bare.values.len()), (3_600, 0));
    assert_eq!(shown(&node.ask("bare._.8.118.88.hdl.id.test.", "TXT")), no_data(2));
}

#[test]
fn oids_below_ors_dummy() {
    let node = Node::new();
    node.create("1.3.6.1.4.1.9", &[("SVC:ORS+RINF", b"https://r.example/9.xml", 60)]);
    for name in ["9.1.4.1.6.3.1.oid.id.test.", "Ors-Dummy.9.1.4.1.6.3.1.oid.id.test."] {
        let reply = node.ask(name, "NAPTR");
        let expected = format!(r#"{name} 60 35 100 1 "u" "ORS+RINF" "!^.*$!https://r.example/9.xml!" ."#);
        assert_eq!(reply.answers.iter().map(naptr_shown).collect::<Vec<_>>(), [expected]);
    }
    for kind in ["TXT", "TYPE256", "TYPE65280", "ANY"] {
        assert_eq!(shown(&node.ask("ors-dummy.9.1.4.1.6.3.1.oid.id.test.", kind)), no_data(1), "{kind}");
    }
    assert_eq!(shown(&node.ask("ors-dummy.8.1.4.1.6.3.1.oid.id.test.", "NAPTR")), no_name(1));
}

#[test]
fn names_above_names_exist() {
    let node = Node::new();
    node.create("(01)00614141322602(21)aB", &[("NAME", b"x", 60)]);
    let gtin = "0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1.id.test.";
    let above = [gtin, &format!("_.{gtin}"), &format!("21._.{gtin}"), "4.1.6.0.gtin.gs1.id.test.", "gs1.id.test."];
    for name in above {
        for kind in ["TXT", "A", "ANY", "NAPTR"] {
            assert_eq!(shown(&node.ask(name, kind)), no_data(1), "{name} {kind}");
        }
    }
    assert_eq!(node.ask(&format!("a_42.21._.{gtin}"), "TXT").answers.len(), 1);
    for name in ["5.1.6.0.gtin.gs1.id.test.", "hdl.id.test.", &format!("10._.{gtin}"), &format!("b.21._.{gtin}")] {
        assert_eq!(shown(&node.ask(name, "TXT")), no_name(1), "{name}");
    }
}

#[test]
fn names_that_are_hashes() {
    let node = Node::new();
    assert_eq!(shown(&node.ask("h.id.test.", "TXT")), no_name(0));
    let uri = Identifier::parse("https://maker.example/p/1").unwrap();
    // Long enough for a hash in the longest zone, and short enough for its own name in this one.
    let handle = Identifier::parse(&format!("88/{}", "x".repeat(130))).unwrap();
    node.create(uri.as_str(), &[("NAME", b"by its hash", 60)]);
    node.create(handle.as_str(), &[("NAME", b"by its name", 60)]);
    let own_name = |identifier: &Identifier| format!("{}.id.test.", dns_name::name_of(identifier, 9));
    assert!(own_name(&uri).ends_with(".h.id.test."));
    for (identifier, data) in [(&uri, "by its hash"), (&handle, "by its name")] {
        let lines = shown(&node.ask(&own_name(identifier).to_uppercase(), "TXT"));
        assert!(lines[1].ends_with(&format!("\"1 NAME\" \"{data}\"")), "{lines:?}");
    }
    let hash_of = |identifier: &Identifier| {
        let name = dns_name::name_of(identifier, 128);
        assert_eq!(name.labels().last(), Some("h"));
        format!("{name}.id.test.")
    };
    assert_eq!(shown(&node.ask(&hash_of(&handle), "TXT")), no_name(2));
    assert_eq!(shown(&node.ask(&hash_of(&Identifier::parse("urn:none:x").unwrap()), "TXT")), no_name(2));
    assert_eq!(shown(&node.ask("h.id.test.", "TXT")), no_data(2));
    // With a delegation, an unknown hash may be that of an identifier elsewhere; a known one is answered as before.
    node.delegate("88.118", "dns://192.0.2.7:53", &[]);
    let unknown = hash_of(&Identifier::parse("urn:none:x").unwrap());
    assert_eq!(shown(&node.ask(&unknown, "TXT")), ["Refused 20 not responsible"]);
    assert_eq!(node.ask(&own_name(&uri), "TXT").answers.len(), 1);
}

#[test]
fn outcomes_without_records() {
    let node = Node::new();
    node.create("88.1/gone", &[("NAME", b"x", 60)]);
    node.create_with("88.1/secret", &[("NAME", b"x", 60)], "1100".parse().unwrap());
    node.retire("88.1/gone");
    let soa = "authority: id.test. 60 6 serial 3 minimum 60";
    for kind in ["TXT", "ANY", "TYPE65280"] {
        node.check("gone._.1.88.hdl.id.test.", kind, &["NoError aa 0 retired", soa]);
        node.check("secret._.1.88.hdl.id.test.", kind, &["Refused 18 denied"]);
    }
}

#[test]
fn what_is_too_long_is_left_out() {
    let node = Node::new();
    let url = format!("https://m.example/{}", "x".repeat(300));
    let data = vec![b'd'; 40_000];
    let values: &[(&str, &[u8], u32)] =
        &[("A", &data, 60), ("B", &data, 60), ("URL", url.as_bytes(), 60), ("C", b"short", 30), ("URL", b"a:b", 90)];
    node.create("88.1/long", values);
    let name = "long._.1.88.hdl.id.test.";
    let left_out = "NoError aa 0 values too long for this type are left out";
    let reply = node.ask(name, "TXT");
    assert_eq!(shown(&reply)[0], left_out);
    let heads: Vec<_> = reply
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::TXT(text) => {
                (text.txt_data.len(), record.ttl, String::from_utf8(text.txt_data[0].to_vec()).unwrap())
            }
            data => panic!("{data}"),
        })
        .collect();
    let expected = [(158, 30, "1 A"), (3, 30, "3 URL"), (2, 30, "4 C"), (2, 30, "5 URL")];
    assert_eq!(heads, expected.map(|(strings, ttl, head)| (strings, ttl, head.to_owned())));
    assert_eq!(shown(&node.ask(name, "NAPTR"))[0], left_out);
    assert_eq!(node.ask(name, "NAPTR").answers.len(), 1);
    assert_eq!(shown(&node.ask(name, "TYPE256")).len(), 3);
    let soa = "authority: id.test. 60 6 serial 1 minimum 60";
    node.check(name, "TYPE65280", &[left_out, soa]);
}

#[test]
fn a_read_error_is_a_server_failure() {
    let node = Node::new();
    let identifier = Identifier::parse("88.1/lost").unwrap();
    let change = IndexChange {
        index: 12_345,
        key: identifier.key().clone(),
        superseded: None,
        name_hash: None,
        request: None,
        edges: Vec::new(),
    };
    node.entries.apply(vec![change], 12_345..12_346).unwrap();
    for _ in 0..3 {
        node.check("lost._.1.88.hdl.id.test.", "TXT", &["ServFail"]);
    }
}

#[test]
fn zones() {
    assert_eq!(Zone::new(Zone::DEFAULT).unwrap().octets(), 9);
    let zone = Zone::new("Id.Example.com").unwrap();
    assert_eq!((zone.to_string().as_str(), zone.apex()), ("id.example.com.", &b"\x02id\x07example\x03com\0"[..]));
    assert_eq!(zone.offset_in(b"\x01a\x02ID\x07eXample\x03com\0"), Some(2));
    assert_eq!(zone.offset_in(b"\x02id\x07example\x03com\0"), Some(0));
    assert_eq!(zone.offset_in(b"\x03xid\x07example\x03com\0"), None);
    assert_eq!(zone.offset_in(b"\0"), None);
    assert!(matches!(Zone::new("."), Err(ZoneError::NoLabels { .. })));
}

#[test]
fn the_server_itself() {
    let node = Node::new();
    let version = concat!("touchmark ", env!("CARGO_PKG_VERSION"));
    for (name, text) in
        [("version.bind.", version), ("VERSION.server.", version), ("id.server.", "here"), ("hostname.bind.", "here")]
    {
        let lines = shown(&node.ask_in(name, "TXT", "CH"));
        assert_eq!(lines, ["NoError aa".into(), format!("{name} 0 16 \"{text}\"")]);
    }
    for (name, kind) in [("id.test.", "TXT"), ("authors.bind.", "TXT"), ("version.bind.", "A")] {
        assert_eq!(shown(&node.ask_in(name, kind, "CH")), ["Refused"], "{name} {kind}");
    }
}

#[test]
fn a_change_outdates_what_was_answered() {
    let node = Node::new();
    let name = "a_2fb._.2.1.88.hdl.id.test.";
    let above = ["_.2.1.88.hdl.id.test.", "2.1.88.hdl.id.test.", "88.hdl.id.test.", "hdl.id.test."];
    for name in above.iter().chain([&name]) {
        assert_eq!(shown(&node.ask(name, "TXT")), no_name(0), "{name}");
    }
    node.create("88.1.2/A/b", &[("NAME", b"x", 60)]);
    assert_eq!(node.ask(name, "TXT").answers.len(), 1);
    for name in above {
        assert_eq!(shown(&node.ask(name, "TXT")), no_data(1), "{name}");
    }
    // A registration elsewhere changes nothing but the serial.
    node.create("88.1.3/x", &[]);
    assert_eq!(node.ask(name, "TXT").answers.len(), 1);
    assert_eq!(shown(&node.ask("88.hdl.id.test.", "TXT")), no_data(2));
    node.retire("88.1.2/a/B");
    let soa = "authority: id.test. 60 6 serial 3 minimum 60";
    node.check(name, "TXT", &["NoError aa 0 retired", soa]);
    for (identifier, name) in [("1.2.3", "ors-dummy.3.2.1.oid.id.test."), ("https://a.example/p", "")] {
        let hashed = format!("{}.id.test.", dns_name::name_of(&Identifier::parse(identifier).unwrap(), 9));
        let name = if name.is_empty() { &hashed } else { name };
        assert!(shown(&node.ask(name, "NAPTR"))[0].starts_with("NxDomain"), "{name}");
        node.create(identifier, &[("URL", b"https://x.example", 60)]);
        assert_eq!(node.ask(name, "NAPTR").answers.len(), 1, "{name}");
    }
}

/// The SOA record of a cached denial is the current one, with its signature.
#[test]
fn denials_go_with_the_serial_of_now() {
    let node = Node::new();
    let [key, _] = two_keys(Algorithm::EcdsaP256Sha256);
    node.responder.set_signer(Signer::new(KeyRing::new("id.test.", key, 1_700_000_000).unwrap()));
    let dnskey = node.ask("id.test.", "DNSKEY").answers.remove(0);
    let RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)) = dnskey.data else { panic!("{dnskey}") };
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    let request = request("bolt._.8.118.88.hdl.id.test.", "A", "IN", edns);
    let client = Client {
        address: [192, 0, 2, 9].into(),
        transport: Transport::Stream,
        now_unix: 1_700_000_000,
        has_limits: false,
    };
    let mut out = Vec::new();
    // The serial, the record whose registration makes it, and whether the first answer after that is a cache hit.
    for (serial, identifier, kept) in
        [(1, "88.118.8/bolt", false), (2, "88.118.8/nut", true), (3, "88.118.8/cog", true)]
    {
        node.create(identifier, &[("URL", b"https://a.example", 60)]);
        for kept in [kept, true] {
            let responded = node.responder.respond(&request, &client, Depth::Whole, &mut out);
            assert!(matches!(responded, Responded::Written(summary) if summary.cached == kept), "{responded:?}");
            let response = Message::from_vec(&out).unwrap();
            let soa = response.authorities.iter().find(|record| record.record_type() == RecordType::SOA).unwrap();
            assert!(record_shown(soa).contains(&format!("serial {serial} ")), "{soa}");
            let signature = response.authorities.iter().find_map(|record| match &record.data {
                RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) if rrsig.input().type_covered == RecordType::SOA => {
                    Some(rrsig)
                }
                _ => None,
            });
            dnskey.verify_rrsig(&soa.name, soa.dns_class, signature.unwrap(), [soa].into_iter()).unwrap();
        }
    }
}

/// The response after an allowance, if it counts against limits.
fn limited(responded: Responded, allowance: Allowance, out: &mut Vec<u8>) -> Responded {
    match &responded {
        Responded::Written(summary) | Responded::Walk { summary, .. } if summary.limited => {
            responded.within(allowance, out)
        }
        _ => responded,
    }
}

/// Messages that cannot be read could be used to make a node send to others, too.
#[test]
fn limits_hold_for_responses_without_a_question() {
    let node = Node::new();
    let cut_off = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let cookie_alone = [&[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &opt].concat();
    for request in [cut_off, cookie_alone] {
        for (allowance, transport, is_sent) in [
            (Allowance::Nothing, Transport::Datagram, false),
            (Allowance::Truncated, Transport::Datagram, true),
            (Allowance::Whole, Transport::Datagram, true),
            (Allowance::Nothing, Transport::Stream, true),
        ] {
            let client =
                Client { address: [192, 0, 2, 9].into(), transport, now_unix: 1_700_000_000, has_limits: true };
            let mut out = Vec::new();
            let responded = node.responder.respond(&request, &client, Depth::Resident, &mut out);
            let responded = limited(responded, allowance, &mut out);
            let (sent, withheld) =
                (matches!(responded, Responded::Written(_)), matches!(responded, Responded::Withheld(_)));
            assert_eq!((sent, withheld), (is_sent, !is_sent), "{allowance:?} {transport:?}: {responded:?}");
        }
    }
}

/// RFC 8467 section 4.1: padded if the request is, and only over connections whose observers see lengths alone.
#[test]
fn responses_are_padded_where_they_are_encrypted() {
    let node = Node::new();
    node.create("88.118.8/bolt", &[("NAME", b"Bolt", 60)]);
    let mut padded = Edns::new();
    padded.options_mut().insert(EdnsOption::Unknown(12, vec![0; 30]));
    let name = "bolt._.8.118.88.hdl.id.test.";
    for (edns, transport, expected) in [
        (padded.clone(), Transport::EncryptedStream, true),
        (padded.clone(), Transport::Stream, false),
        (padded, Transport::Datagram, false),
        (Edns::new(), Transport::EncryptedStream, false),
    ] {
        let client = Client { address: [192, 0, 2, 9].into(), transport, now_unix: 1_700_000_000, has_limits: false };
        let mut out = Vec::new();
        node.responder.respond(&request(name, "TXT", "IN", edns), &client, Depth::Whole, &mut out);
        assert_eq!(out.len() == 468, expected, "{transport:?}");
        let response = Message::from_vec(&out).unwrap();
        assert_eq!(response.answers.len(), 1);
        assert_eq!(response.edns.unwrap().option(EdnsCode::Padding).is_some(), expected, "{transport:?}");
    }
}

/// The key sets follow the keys, also for clients without DNSSEC OK (RFC 7344: a parent may be one).
#[test]
fn sets_of_keys_are_those_of_now() {
    let node = Node::new();
    let now = 1_700_000_000;
    let [old, new] = two_keys(Algorithm::Ed25519);
    let ring = KeyRing::new("id.test.", old, now).unwrap();
    let rolled = ring.roll(new, now).unwrap();
    let last = ring.finish(Haste::Now, now).map_or(ring.clone(), |(ring, _)| ring);
    for (ring, count) in [(ring, 1), (rolled, 2), (last, 1)] {
        node.responder.set_signer(Signer::new(ring));
        for _ in 0..2 {
            assert_eq!(node.ask("id.test.", "DNSKEY").answers.len(), count);
        }
    }
    assert_eq!(node.ask("id.test.", "CDS").answers.len(), 1);
}

#[cfg(test)]
pub(crate) mod tree;

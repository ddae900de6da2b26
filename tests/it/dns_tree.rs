//! Delegation over DNS: a parent and a child node, as our client, `dig` and `delv` see them.

use std::{net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use touchmark::{
    client::dns::{DnsReply, Said, ask},
    id::Identifier,
    protocol::{dns::kind::DELEGATION, grpc::pb},
    record::SiteProtocol,
};

use crate::{
    dns_support::{Query, Response, Tcp, Udp, flag, kind},
    program::{Program, Ran, file, is_installed, run},
    support::directory,
};

const ZONE: &str = "id.test.";
/// Prefixes of the child, each with an identifier and the zone of the prefix.
const PREFIXES: [(&str, &str, &str); 3] = [
    ("88.118", "88.118.8/Bolt", "118.88.hdl.id.test."),
    ("1.3.6.1.4.1.9", "1.3.6.1.4.1.9.7", "9.1.4.1.6.3.1.oid.id.test."),
    ("gs1:0614141", "(01)00614141322602(21)aB", "1.4.1.4.1.6.0.gtin.gs1.id.test."),
];

fn ok(ran: Ran) -> String {
    assert_eq!(ran.exit, 0, "{ran:?}");
    ran.out
}

/// A node that delegates to another, and the other node.
struct Tree {
    parent: Program,
    child: Program,
    _directory: TempDir,
    /// DS record of each of the child's zones: `<key tag> <algorithm> <digest type> <digest>`.
    signers: Vec<String>,
    anchors: String,
}

impl Tree {
    fn start(dnssec: &[&str]) -> Self {
        let directory = directory();
        let data = |name: &str| directory.path().join(name);
        let (parent, child) = (Program::serve(&data("parent"), dnssec), Program::serve(&data("child"), dnssec));
        let mut signers = Vec::new();
        for (prefix, identifier, _) in PREFIXES {
            ok(child.run(&["prefix", "home", prefix]));
            ok(child.run(&["register", identifier, "--value", "NAME=it"]));
            let site = format!("2 primary grpc://{} dns://{}", child.grpc, child.dns);
            let mut command = vec!["prefix", "delegate", prefix, "--site", &site, "--ttl", "90"];
            let ds = match dnssec {
                [] => String::new(),
                _ => ok(run(["dnssec", "ds", "--prefix", prefix, "--data", data("child").to_str().unwrap()])),
            };
            if !ds.is_empty() {
                command.extend(["--ds", ds.trim()]);
            }
            ok(parent.run(&command));
            signers.push(ds.trim().to_owned());
        }
        ok(parent.run(&["register", "88.1/own", "--value", "NAME=own"]));
        let anchors = match dnssec {
            [] => String::new(),
            _ => {
                let status = ok(run(["dnssec", "status", "--data", data("parent").to_str().unwrap()]));
                let start = status.find("trust-anchors {").unwrap();
                let end = start + status[start..].find("};").unwrap() + 2;
                file(&directory, "anchors", &status[start..end])
            }
        };
        Self { parent, child, _directory: directory, signers, anchors }
    }

    /// Asks over both transports, whose responses must be the same.
    fn asked(&self, server: SocketAddr, query: &Query) -> Response {
        let [over_udp, over_tcp] = [Udp::to(server).ask(query), Tcp::to(server).ask(query)];
        assert_eq!(over_udp.summary(), over_tcp.summary());
        over_tcp
    }
}

fn name_of(identifier: &str) -> String {
    touchmark::client::dns::name_in_zone(&Identifier::parse(identifier).unwrap(), ZONE)
}

#[test]
fn our_client_follows_a_referral() {
    let tree = Tree::start(&[]);
    let runtime = Runtime::new().unwrap();
    let asked = |server: SocketAddr, identifier: &str| -> DnsReply {
        let identifier = Identifier::parse(identifier).unwrap();
        runtime.block_on(ask(&identifier, ZONE, server, Duration::from_secs(10))).unwrap()
    };
    for (prefix, identifier, _) in PREFIXES {
        let reply = asked(tree.parent.dns, identifier);
        let Said::Referral(referral) = &reply.said else { panic!("{identifier}: {reply:?}") };
        assert!(!reply.authoritative);
        assert_eq!(referral.prefix, touchmark::id::Prefix::parse(prefix).unwrap());
        let [site] = referral.delegation.sites() else { panic!("{referral:?}") };
        assert_eq!((site.serial, referral.delegation.ttl_seconds()), (2, 90));
        let servers: Vec<SocketAddr> = site.speaking(SiteProtocol::Dns).collect();
        assert_eq!(servers, [tree.child.dns]);
        let reply = asked(servers[0], identifier);
        let Said::Found(record) = &reply.said else { panic!("{identifier}: {reply:?}") };
        assert!(reply.authoritative && reply.ttl_seconds.is_some());
        assert_eq!(record.values[0].data, "it");
    }
    // A name that does not exist, with the TTL of the denial; a name outside the child's prefixes.
    let reply = asked(tree.child.dns, "88.118.8/nut");
    assert_eq!((&reply.said, reply.authoritative, reply.ttl_seconds), (&Said::NoSuchName, true, Some(60)));
    assert_eq!(asked(tree.child.dns, "88.119/x").said, Said::NotResponsible);
    assert_eq!(asked(tree.parent.dns, "88.119/x").said, Said::NoSuchName);
    assert!(matches!(asked(tree.parent.dns, "88.1/own").said, Said::Found(_)));
    // The command shows the site.
    let dns = tree.parent.dns.to_string();
    let ran = run(["resolve", "88.118.8/Bolt", "--over", "dns", "--dns", &dns]);
    assert_eq!(ran.exit, 5, "{ran:?}");
    let sites = format!("hdl:88.118 is answered for at grpc://{} dns://{}", tree.child.grpc, tree.child.dns);
    assert!(ran.err.contains(&sites), "{ran:?}");
    // After a revocation there is no referral.
    ok(tree.parent.run(&["prefix", "revoke", "88.118"]));
    assert_eq!(asked(tree.parent.dns, "88.118.8/Bolt").said, Said::NoSuchName);
}

#[test]
fn referrals_octet_by_octet() {
    let tree = Tree::start(&[]);
    for (_, identifier, cut) in PREFIXES {
        let name = name_of(identifier);
        for (name, kind) in [(name.as_str(), kind::TXT), (name.as_str(), kind::NS), (cut, kind::TXT), (cut, kind::SOA)]
        {
            let response = tree.asked(tree.parent.dns, &Query::new(name, kind).edns());
            assert_eq!(response.summary(), "NOERROR · qr · answer - · authority NS", "{name} {kind}");
            let (server, glue) = (&response.authorities[0], &response.additionals[0]);
            assert_eq!(server.owner, crate::dns_support::wire(cut));
            assert_eq!((server.ttl, glue.ttl), (90, 90));
            // The name in the data ends with a pointer into the question.
            assert_eq!(server.owner_octets, 2, "the owner is a pointer");
            assert_eq!(glue.owner, crate::dns_support::wire("127-0-0-1.ns.id.test."));
            assert_eq!((glue.kind, glue.data.as_slice()), (kind::A, &[127, 0, 0, 1][..]));
        }
        // TYPE65281, which names ports, accompanies answers to questions for our types; the parent answers it with
        // authority.
        let response = tree.asked(tree.parent.dns, &Query::new(&name, kind::RECORD).edns());
        let whole = response.additionals.iter().find(|record| record.kind == DELEGATION).unwrap();
        let asked = tree.asked(tree.parent.dns, &Query::new(cut, DELEGATION).edns());
        assert_eq!(asked.summary(), "NOERROR · qr aa · answer TYPE65281 · authority -");
        assert_eq!(asked.answers[0].data, whole.data);
        let state = <pb::PrefixState as prost::Message>::decode(whole.data.as_slice()).unwrap();
        let endpoints = &state.delegation.unwrap().sites[0].endpoints;
        assert_eq!(endpoints.last().unwrap().port, u32::from(tree.child.dns.port()));
        // The child has the same name server, with authority, and its zone begins at the cut.
        let own = tree.asked(tree.child.dns, &Query::new(cut, kind::NS).edns());
        assert_eq!(own.summary(), "NOERROR · qr aa · answer NS · authority -");
        let missing = tree.asked(tree.child.dns, &Query::new(&format!("_.x.{cut}"), kind::TXT).edns());
        assert_eq!(missing.authorities[0].owner, crate::dns_support::wire(cut), "{missing:?}");
        assert_eq!(
            tree.asked(tree.child.dns, &Query::new(cut, kind::SOA)).summary(),
            "NOERROR · qr aa · answer SOA · authority -"
        );
    }
    // Above the cuts the parent has names; outside its prefixes the child is not responsible.
    for name in ["88.hdl.id.test.", "oid.id.test.", "6.0.gtin.gs1.id.test."] {
        let response = tree.asked(tree.parent.dns, &Query::new(name, kind::TXT));
        assert_eq!(response.summary(), "NOERROR · qr aa · answer - · authority SOA", "{name}");
        let response = tree.asked(tree.child.dns, &Query::new(name, kind::TXT).edns());
        assert_eq!(response.summary(), "REFUSED · qr · answer - · authority -", "{name}");
        assert_eq!(response.extended_error(), Some((20, "not responsible".into())));
    }
    // A node that is not recursive answers with a referral even if recursion is desired.
    let wanted = tree.asked(tree.parent.dns, &Query::new(&name_of("88.118.8/Bolt"), kind::TXT).flags(flag::RD));
    assert_eq!(wanted.summary(), "NOERROR · qr rd · answer - · authority NS");
    // Only addresses of name servers have such names.
    for (name, summary) in [
        ("127-0-0-1.ns.id.test.", "NOERROR · qr aa · answer A · authority -"),
        ("192-0-2-1.ns.id.test.", "NXDOMAIN · qr aa · answer - · authority SOA"),
    ] {
        assert_eq!(tree.asked(tree.parent.dns, &Query::new(name, kind::A)).summary(), summary);
    }
}

#[test]
fn dig_understands_a_referral() {
    if !is_installed("dig") {
        return;
    }
    let tree = Tree::start(&[]);
    let server = tree.parent.dns;
    let mut dig = Command::new("dig");
    dig.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+norecurse"]);
    let ran = Ran::from(dig.args([name_of("88.118.8/Bolt").as_str(), "TXT"]).output().unwrap());
    let out: Vec<String> = ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        ";; flags: qr; QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 2",
        "118.88.hdl.id.test. 90 IN NS 127-0-0-1.ns.id.test.",
        "127-0-0-1.ns.id.test. 90 IN A 127.0.0.1",
    ] {
        assert!(out.iter().any(|out| out == line), "no `{line}` in {ran:?}");
    }
    assert!(!ran.out.contains("WARNING"), "{ran:?}");
}

#[track_caller]
fn check_delv(server: SocketAddr, (anchors, root): (&str, &str), (name, kind): (&str, &str), expected: &str) {
    let mut delv = Command::new("delv");
    delv.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "-a", anchors]);
    let ran = Ran::from(delv.args([&format!("+root={root}"), name, kind]).output().unwrap());
    let says = |text: &str| ran.out.contains(text) || ran.err.contains(text);
    let validated = says("; fully validated") || says("; negative response, fully validated");
    assert!(validated && says(expected), "{name} {kind}: {ran:?}");
}

/// From the parent's key to the DS record, from there to the child's keys, and from those to the child's answers.
#[test]
fn delv_walks_the_chain_of_trust() {
    if !is_installed("delv") {
        return;
    }
    let tree = Tree::start(&["--dnssec"]);
    let directory = directory();
    for ((_, identifier, cut), ds) in PREFIXES.into_iter().zip(&tree.signers) {
        let [tag, algorithm, digest_type, digest] = ds.split(' ').collect::<Vec<_>>()[..] else { panic!("{ds}") };
        check_delv(tree.parent.dns, (&tree.anchors, ZONE), (cut, "DS"), tag);
        let anchor = format!("trust-anchors {{ \"{cut}\" static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};");
        let anchor = file(&directory, "anchor", anchor);
        for (name, kind, expected) in [
            (name_of(identifier), "TXT", "\"1 NAME\" \"it\""),
            (name_of(identifier), "A", "ncache nxrrset"),
            (cut.into(), "SOA", "hostmaster.id.test."),
            (cut.into(), "NS", "127-0-0-1.ns.id.test."),
            (cut.into(), "DNSKEY", "257 3"),
            (format!("www.{cut}"), "A", "RRSIG NSEC"),
        ] {
            check_delv(tree.child.dns, (&anchor, cut), (&name, kind), expected);
        }
    }
    // For a delegation without DS, the parent proves that there is none.
    ok(tree.parent.run(&["prefix", "delegate", "88.119", "--site", "dns://127.0.0.1:53"]));
    check_delv(tree.parent.dns, (&tree.anchors, ZONE), ("119.88.hdl.id.test.", "DS"), "ncache nxrrset");
    let dnssec_ok = Query::new("x._.119.88.hdl.id.test.", kind::TXT).edns_flags(flag::DO);
    let insecure = tree.asked(tree.parent.dns, &dnssec_ok);
    assert_eq!(insecure.summary(), "NOERROR · qr · answer - · authority NS TYPE47 TYPE46");
    let secure = tree.asked(tree.parent.dns, &Query::new("www.118.88.hdl.id.test.", kind::TXT).edns_flags(flag::DO));
    assert_eq!(secure.summary(), "NOERROR · qr · answer - · authority NS TYPE43 TYPE46");
    assert_eq!(secure.authorities[0].owner, crate::dns_support::wire("118.88.hdl.id.test."));
}

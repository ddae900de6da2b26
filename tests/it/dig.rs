//! The node's DNS as other people's clients see it: `dig` and `kdig`, where installed.

use std::{net::SocketAddr, process::Command};

use touchmark::{client::dns::name_in_zone, id::Identifier, protocol::grpc::pb};

use crate::{
    dns_support::{IDENTITY, named_node},
    program::{Ran, is_installed},
    support::{Running, create, create_with_edges, directory, edge, retire, value},
};

/// Output of a client.
struct Said {
    text: String,
}

impl Said {
    /// Asks the node; `options` as on a command line.
    fn ask(client: &str, server: SocketAddr, options: &str) -> Self {
        let mut command = Command::new(client);
        command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
        let ran = Ran::from(command.args(options.split_whitespace()).output().unwrap());
        assert_eq!(ran.exit, 0, "{client} {options}: {ran:?}");
        Self { text: ran.out }
    }

    /// Record lines of a section, their fields separated by single spaces.
    fn section(&self, name: &str) -> Vec<String> {
        let lines = self.text.lines().skip_while(|line| !line.starts_with(&format!(";; {name} SECTION"))).skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// Status and flags: `NOERROR: qr aa rd`.
    fn status(&self) -> String {
        // kdig capitalizes its words, and ends fields with another character.
        let field = |head: &str| {
            let (_, rest) = self.text.split_once(head).unwrap_or_else(|| panic!("no `{head}` in {}", self.text));
            rest.split([',', ';']).next().unwrap().trim().to_owned()
        };
        let flags = if self.text.contains(";; Flags: ") { field(";; Flags: ") } else { field(";; flags: ") };
        format!("{}: {flags}", field("status: "))
    }

    #[track_caller]
    fn holds(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "no `{text}` in\n{}", self.text);
        self
    }

    #[track_caller]
    fn lacks(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "`{text}` in\n{}", self.text);
        self
    }
}

/// A node with records of every kind.
async fn node(data: &std::path::Path) -> Running {
    let node = Running::start(data).await;
    let private = pb::Value { permissions: Some(12), ..value(1, "COST", "9") };
    let short_lived = pb::Value { ttl: Some(60), ..value(3, "SVC:dpp", "https://example.com/dpp") };
    let commands = vec![
        create(
            "88.118/part",
            vec![value(1, "NAME", "Gear \"7\""), value(2, "URL", "https://example.com/7"), short_lived],
        ),
        create_with_edges(
            "urn:oid:2.999.1",
            vec![value(1, "SVC:ORS+COID", "x:y")],
            vec![edge(pb::EdgeType::MadeOf, "88.118/part")],
        ),
        create("88.118/long", vec![value(1, "A", "a".repeat(700)), value(2, "B", "b".repeat(700))]),
        create("88.118/middle", vec![value(1, "A", "a".repeat(700))]),
        create("88.118/private", vec![private]),
        create("88.118/gone", vec![]),
        create("https://parts.example/7", vec![value(1, "NAME", "by hash")]),
    ];
    for outcome in node.apply_batch(commands).await.unwrap() {
        outcome.receipt();
    }
    node.apply(retire("88.118/gone")).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_understands_every_type() {
    if !is_installed("dig") {
        return;
    }
    let data = directory();
    let node = node(data.path()).await;
    let ask = |options: &str| Said::ask("dig", node.node.dns_addr(), options);
    let part = "part._.118.88.hdl.id.test.";

    // A set has one TTL, the shortest.
    let text = ask(&format!("{part} TXT"));
    assert_eq!(text.status(), "NOERROR: qr aa rd");
    let expected =
        [r#""1 NAME" "Gear \"7\"""#, r#""2 URL" "https://example.com/7""#, r#""3 SVC:dpp" "https://example.com/dpp""#];
    assert_eq!(text.section("ANSWER"), expected.map(|data| format!("{part} 60 IN TXT {data}")));
    let naptr = ask(&format!("{part} NAPTR"));
    let expected = [
        r#"100 2 "u" "EPC+html" "!^.*$!https://example.com/7!" ."#,
        r#"100 3 "u" "dpp" "!^.*$!https://example.com/dpp!" ."#,
    ];
    assert_eq!(naptr.section("ANSWER"), expected.map(|data| format!("{part} 60 IN NAPTR {data}")));
    let expected = [r#"2 0 "https://example.com/7""#, r#"3 0 "https://example.com/dpp""#];
    for kind in ["URI", "TYPE256"] {
        let uri = ask(&format!("{part} -t {kind}"));
        assert_eq!(uri.section("ANSWER"), expected.map(|data| format!("{part} 60 IN URI {data}")), "{kind}");
    }
    let record = ask(&format!("{part} TYPE65280")).section("ANSWER");
    assert!(record.len() == 1 && record[0].starts_with(&format!("{part} 60 IN TYPE65280 \\# ")), "{record:?}");
    ask(&format!("{part} ANY +notcp")).holds("\"RFC8482\"");

    // The apex of the zone.
    let entries = node.entries();
    let soa = format!("id.test. 3600 IN SOA ns.id.test. hostmaster.id.test. {entries} 3600 600 604800 60");
    assert_eq!(ask("id.test. SOA").section("ANSWER"), [soa]);
    let name_server = ask("id.test. NS");
    assert_eq!(name_server.section("ANSWER"), ["id.test. 3600 IN NS ns.id.test."]);
    assert_eq!(name_server.section("ADDITIONAL"), ["ns.id.test. 3600 IN A 127.0.0.1"]);
    assert_eq!(ask("ns.id.test. A").section("ANSWER"), ["ns.id.test. 3600 IN A 127.0.0.1"]);

    // X.672 asks for a name below that of the identifier.
    for name in ["1.999.2.oid.id.test.", "ors-dummy.1.999.2.oid.id.test."] {
        let answer = ask(&format!("{name} NAPTR")).section("ANSWER");
        assert_eq!(answer, [format!(r#"{name} 3600 IN NAPTR 100 1 "u" "ORS+COID" "!^.*$!x:y!" ."#)]);
    }
    let hashed = name_in_zone(&Identifier::parse("https://parts.example/7").unwrap(), "id.test.");
    assert_eq!(
        ask(&format!("{hashed} TXT")).section("ANSWER"),
        [format!(r#"{hashed} 3600 IN TXT "1 NAME" "by hash""#)]
    );

    // Names are compared without regard to case, and come back in the case of the question.
    let mixed = "PaRt._.118.88.hDl.Id.TeSt.";
    let answer = ask(&format!("{mixed} NAPTR"));
    assert_eq!(answer.section("QUESTION"), [format!(";{mixed} IN NAPTR")]);
    assert!(answer.section("ANSWER").iter().all(|line| line.starts_with(mixed)), "{}", answer.text);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_is_told_what_is_not_there() {
    if !is_installed("dig") {
        return;
    }
    let data = directory();
    let node = node(data.path()).await;
    let ask = |options: &str| Said::ask("dig", node.node.dns_addr(), options);
    let soa = format!("id.test. 60 IN SOA ns.id.test. hostmaster.id.test. {} 3600 600 604800 60", node.entries());
    // Name and type; status and flags; extended error.
    let table = [
        ("missing._.118.88.hdl.id.test. TXT", "NXDOMAIN: qr aa rd", None),
        ("nothing.id.test. TXT", "NXDOMAIN: qr aa rd", None),
        ("_.118.88.hdl.id.test. TXT", "NOERROR: qr aa rd", None),
        ("hdl.id.test. TXT", "NOERROR: qr aa rd", None),
        ("id.test. TXT", "NOERROR: qr aa rd", None),
        ("part._.118.88.hdl.id.test. AAAA", "NOERROR: qr aa rd", None),
        ("gone._.118.88.hdl.id.test. TXT", "NOERROR: qr aa rd", Some("EDE: 0 (Other): (retired)")),
    ];
    for (question, status, extended) in table {
        let said = ask(question);
        assert_eq!(said.status(), status, "{question}");
        assert_eq!(said.section("AUTHORITY"), [soa.as_str()], "{question}");
        assert!(said.section("ANSWER").is_empty(), "{question}");
        match extended {
            Some(text) => said.holds(text),
            None => said.lacks("EDE: "),
        };
    }
    let table = [
        ("private._.118.88.hdl.id.test. TXT", Some("EDE: 18 (Prohibited): (denied)")),
        ("example.com. TXT", Some("EDE: 20 (Not Authoritative): (another zone)")),
        ("id.test. TXT -c CH", None),
        ("id.test. MAILB", None),
    ];
    for (question, extended) in table {
        let said = ask(question);
        assert_eq!(said.status(), "REFUSED: qr rd", "{question}");
        if let Some(text) = extended {
            said.holds(text);
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_gets_what_its_transport_takes() {
    if !is_installed("dig") {
        return;
    }
    let data = directory();
    let node = node(data.path()).await;
    let ask = |options: &str| Said::ask("dig", node.node.dns_addr(), options);
    let long = "long._.118.88.hdl.id.test. TXT";
    let middle = "middle._.118.88.hdl.id.test. TXT";
    let records = |said: &Said| said.section("ANSWER").len();

    // A truncated answer has no records (RFC 2181 section 9) but an OPT record, and the client asks again over TCP.
    let cut = ask(&format!("{long} +ignore"));
    assert_eq!((cut.status().as_str(), records(&cut)), ("NOERROR: qr aa tc rd", 0));
    cut.holds("EDNS: version: 0").holds("udp: 1232");
    let whole = ask(long);
    assert_eq!((whole.status().as_str(), records(&whole)), ("NOERROR: qr aa rd", 2));
    whole.holds("Truncated, retrying in TCP mode").holds("(TCP)");
    let whole = ask(&format!("{long} +tcp"));
    assert_eq!((whole.status().as_str(), records(&whole)), ("NOERROR: qr aa rd", 2));
    // Whatever size the client accepts, an answer over UDP is never longer than what passes every path.
    assert_eq!(ask(&format!("{long} +ignore +bufsize=4096")).status(), "NOERROR: qr aa tc rd");

    // 800 octets fit with EDNS, and not without EDNS or with a smaller size.
    assert_eq!(ask(&format!("{middle} +ignore")).status(), "NOERROR: qr aa rd");
    for options in ["+noedns", "+bufsize=512", "+bufsize=100"] {
        assert_eq!(ask(&format!("{middle} +ignore {options}")).status(), "NOERROR: qr aa tc rd", "{options}");
    }
    ask("part._.118.88.hdl.id.test. TXT +noedns").holds("status: NOERROR").lacks("OPT PSEUDOSECTION");

    // RFC 6891, RFC 8906: versions, unknown options and flags, flags that a client may set.
    ask("id.test. SOA +edns=1 +noednsnegotiation").holds("status: BADVERS").holds("EDNS: version: 0");
    for options in
        ["+ednsopt=100", "+ednsflags=0x80", "+cookie", "+nsid", "+dnssec", "+norecurse", "+adflag", "+cdflag", "+zflag"]
    {
        let said = ask(&format!("id.test. SOA {options}"));
        assert!(said.status().starts_with("NOERROR: qr aa"), "{options}: {}", said.text);
        assert_eq!(records(&said), 1, "{options}");
    }
    ask("id.test. +opcode=4").holds("status: NOTIMP");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kdig_agrees() {
    if !is_installed("kdig") {
        return;
    }
    let data = directory();
    let node = node(data.path()).await;
    let ask = |options: &str| Said::ask("kdig", node.node.dns_addr(), options);
    let part = "part._.118.88.hdl.id.test.";
    let said = ask(&format!("{part} NAPTR +edns"));
    assert_eq!(said.status(), "NOERROR: qr aa rd");
    said.holds("\"EPC+html\" \"!^.*$!https://example.com/7!\"");
    ask(&format!("{part} TYPE65280 +tcp")).holds("TYPE65280\t\\# ");
    ask(&format!("{part} URI")).holds("2 0 \"https://example.com/7\"");
    ask("long._.118.88.hdl.id.test. TXT +ignore").holds("qr aa tc rd");
    let said = ask("missing._.118.88.hdl.id.test. TXT");
    assert_eq!(said.status(), "NXDOMAIN: qr aa rd");
    said.holds("hostmaster.id.test.");
    ask("gone._.118.88.hdl.id.test. TXT +edns").holds("status: NOERROR").holds("retired");
    // Several questions over one connection (RFC 7766 section 6.2.1).
    let both = ask(&format!("+tcp +keepopen {part} TXT hdl.id.test. TXT"));
    both.holds("1 NAME").holds("hdl.id.test.");
    node.stop().await;
}

/// Questions of `dig` about the server itself, and its use of cookies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_is_told_about_the_server() {
    if !is_installed("dig") {
        return;
    }
    let data = directory();
    let node = node(data.path()).await;
    let ask = |options: &str| Said::ask("dig", node.node.dns_addr(), options);
    let field = |said: &Said, head: &str| {
        let line = said.text.lines().find_map(|line| line.trim_start_matches("; ").strip_prefix(head));
        line.unwrap_or_else(|| panic!("no `{head}` in\n{}", said.text)).trim().to_owned()
    };

    let version = format!("\"touchmark {}\"", env!("CARGO_PKG_VERSION"));
    ask("version.bind. TXT -c CH").holds("status: NOERROR").holds(&version);

    // RFC 7873: dig checks that its client cookie comes back ("good"), and may send the whole cookie again.
    for transport in ["", "+tcp"] {
        let cookie = field(&ask(&format!("id.test. SOA +cookie=0102030405060708 {transport}")), "COOKIE:");
        let cookie = cookie.strip_suffix(" (good)").unwrap_or_else(|| panic!("{cookie}"));
        assert!(cookie.len() == 48 && cookie.starts_with("0102030405060708"), "{cookie}");
        let again = ask(&format!("id.test. SOA +cookie={cookie} {transport}"));
        again.holds("status: NOERROR").holds("(good)");
        // A wrong cookie is answered with a right one; dig asks again if told to (BADCOOKIE).
        let wrong = format!("{}{}", &cookie[..46], if cookie.ends_with("00") { "01" } else { "00" });
        let said = ask(&format!("id.test. SOA +cookie={wrong} {transport}"));
        said.holds("status: NOERROR").holds("(good)");
        assert_ne!(field(&said, "COOKIE:"), format!("{wrong} (good)"));
    }
    ask("id.test. SOA +nocookie").lacks("COOKIE").lacks("NSID");

    // RFC 6891 section 6.2.3: the size that the node advertises does not depend on the client.
    for size in [0, 512, 1_232, 1_400, 4_096, 65_535] {
        let said = ask(&format!("middle._.118.88.hdl.id.test. TXT +ignore +bufsize={size}"));
        let expected = if size < 1_232 { "NOERROR: qr aa tc rd" } else { "NOERROR: qr aa rd" };
        assert_eq!(said.status(), expected, "{size}");
    }
    node.stop().await;
}

/// RFC 7766 section 6.2.1: one connection for several questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_open() {
    let data = directory();
    let node = node(data.path()).await;
    let part = "part._.118.88.hdl.id.test.";
    for client in ["dig", "kdig"] {
        if !is_installed(client) {
            continue;
        }
        let names = format!("{part} TXT long._.118.88.hdl.id.test. TXT hdl.id.test. TXT none.id.test. TXT");
        let said = Said::ask(client, node.node.dns_addr(), &format!("+tcp +keepopen {names}"));
        let statuses: Vec<_> =
            said.text.split("status: ").skip(1).map(|rest| &rest[..rest.find([',', ';']).unwrap()]).collect();
        assert_eq!(statuses, ["NOERROR", "NOERROR", "NOERROR", "NXDOMAIN"], "{client}: {}", said.text);
        said.holds("1 NAME").holds("2 B");
    }
    node.stop().await;
}

/// RFC 5001: the identity as octets and as text.
#[test]
fn clients_are_told_which_node_it_is() {
    let data = directory();
    let node = named_node(&data.path().join("data"));
    for (client, options) in [("dig", "+nsid"), ("dig", "+nsid +tcp"), ("dig", "+nsid +dnssec"), ("kdig", "+nsid")] {
        if is_installed(client) {
            let said = Said::ask(client, node.dns, &format!("id.test. SOA {options}"));
            said.holds("NSID: ").holds(&format!("\"{IDENTITY}\""));
            Said::ask(client, node.dns, "id.test. SOA +edns").lacks("NSID");
        }
    }
    if is_installed("kdig") {
        let said = Said::ask("kdig", node.dns, "id.test. SOA +cookie=0102030405060708 +bufsize=1232");
        said.holds("COOKIE: 0102030405060708");
    }
}

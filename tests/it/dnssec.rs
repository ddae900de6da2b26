//! The signed zone: `delv` validates the node's answers before, during and after a key roll, with the key that
//! `touchmark dnssec status` shows as its only trust anchor; and `kdig` over TLS, HTTPS and QUIC.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    program::{ENCRYPTED, Program, Ran, file, is_installed, run, wait_until},
    required,
    support::directory,
};

const BOLT: &str = "bolt._.8.118.88.hdl.id.test.";
/// Names, types, and delv's output (alternatives separated by `|`): names that exist, names that do not (compact
/// denial, RFC 9824), and names with only names below them.
const QUESTIONS: [(&str, &str, &str); 12] = [
    (BOLT, "TXT", "\"1 NAME\" \"Bolt\""),
    ("bOLt._.8.118.88.HDL.id.test.", "NAPTR", "EPC+html"),
    (BOLT, "TYPE256", "URI\t2 0"),
    (BOLT, "TYPE65280", "TYPE65280"),
    (BOLT, "A", "ncache nxrrset"),
    ("8.118.88.hdl.id.test.", "TXT", "ncache nxrrset"),
    // Newer versions call the type NXNAME.
    ("nut._.8.118.88.hdl.id.test.", "TXT", "RRSIG NSEC TYPE128|RRSIG NSEC NXNAME"),
    ("gone._.8.118.88.hdl.id.test.", "TXT", "ncache nxrrset"),
    ("id.test.", "SOA", "hostmaster.id.test."),
    ("id.test.", "NS", "ns.id.test."),
    ("id.test.", "DNSKEY", "257 3"),
    ("id.test.", "TXT", "ncache nxrrset"),
];

/// A node with a signed zone and three records.
fn signed(algorithm: &str) -> (TempDir, Program) {
    let directory = directory();
    let config = file(&directory, "touchmark.toml", format!("dnssec = \"{algorithm}\""));
    let data = directory.path().join("data");
    let program = Program::serve(&data, &["--config", &config]);
    for arguments in [
        &["register", "88.118.8/Bolt", "--value", "NAME=Bolt", "--value", "URL=https://m.example"][..],
        &["register", "88.118.8/gone"],
        &["retire", "88.118.8/gone"],
    ] {
        let ran = program.run(arguments);
        assert_eq!(ran.exit, 0, "{ran:?}");
    }
    (directory, program)
}

fn dnssec(data: &Path, arguments: &[&str]) -> Ran {
    run([&["dnssec"], arguments, &["--data", data.to_str().unwrap()]].concat())
}

/// Writes the trust anchors that `dnssec status` shows into a file.
fn anchors(directory: &TempDir, data: &Path) -> String {
    let status = dnssec(data, &["status"]);
    assert_eq!(status.exit, 0, "{status:?}");
    let start = status.out.find("trust-anchors {").unwrap();
    let end = start + status.out[start..].find("};").unwrap() + 2;
    file(directory, "anchors", &status.out[start..end])
}

#[track_caller]
fn check_delv(server: SocketAddr, anchors: &str) {
    for (name, kind, expected) in QUESTIONS {
        let mut delv = Command::new("delv");
        delv.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "-a", anchors, "+root=id.test."]);
        let ran = Ran::from(delv.args([name, kind]).output().unwrap());
        let says = |text: &str| ran.out.contains(text) || ran.err.contains(text);
        let validated = says("; fully validated") || says("; negative response, fully validated");
        assert!(validated && expected.split('|').any(says), "{name} {kind}: {ran:?}");
    }
}

#[test]
fn delv_validates_every_kind_of_answer() {
    if !is_installed("delv") {
        return;
    }
    for algorithm in ["ECDSAP256SHA256", "ED25519"] {
        let (directory, program) = signed(algorithm);
        let data = directory.path().join("data");
        let before = anchors(&directory, &data);
        check_delv(program.dns, &before);
        // During a roll both keys are trust anchors of the zone.
        let other = if algorithm == "ED25519" { "ECDSAP256SHA256" } else { "ED25519" };
        let rolled = dnssec(&data, &["roll", "--algorithm", other]);
        assert_eq!(rolled.exit, 0, "{rolled:?}");
        wait_until("the node to sign with both keys", || program.log().contains("the keys of the zone changed"));
        check_delv(program.dns, &before);
        let both = anchors(&directory, &data);
        check_delv(program.dns, &both);
        // The old key may not go before its signatures have expired.
        assert_ne!(dnssec(&data, &["roll", "--finish"]).exit, 0);
        assert_eq!(program.stop("INT"), Some(0));
        let checked = run(["fsck", "--data", data.to_str().unwrap()]);
        assert_eq!(checked.exit, 0, "{checked:?}");
        let keys = data.join("dnssec/keys");
        let damaged = fs::read_to_string(&keys).unwrap().replacen("active 1", "active 2", 1);
        fs::write(&keys, damaged).unwrap();
        assert_ne!(run(["fsck", "--data", data.to_str().unwrap()]).exit, 0);
    }
}

#[test]
fn kdig_over_tls_https_and_quic() {
    if !is_installed("kdig") {
        return;
    }
    let directory = directory();
    let config = file(&directory, "touchmark.toml", ENCRYPTED);
    let program = Program::serve(&directory.path().join("data"), &["--config", &config]);
    let long = format!("NAME={}", "x".repeat(20_000));
    assert_eq!(program.run(&["register", "88.118.8/Bolt", "--value", &long]).exit, 0);
    for (option, protocol) in [("+tls", "TLS"), ("+https", "HTTPS"), ("+quic", "QUIC")] {
        let address = program.dns_over(protocol).unwrap();
        let mut kdig = Command::new("kdig");
        kdig.args([&format!("@{}", address.ip()), "-p", &address.port().to_string(), option, BOLT, "TXT"]);
        let ran = Ran::from(kdig.output().unwrap());
        let known = !ran.err.contains("not compiled") && !ran.err.contains("invalid option");
        if !required::is_met(&format!("kdig{option}"), known) {
            continue;
        }
        assert!(ran.out.contains("NOERROR") && ran.out.contains(&"x".repeat(255)), "{option}: {ran:?}");
    }
    assert_eq!(program.stop("INT"), Some(0));
}

//! Preconditions of tests: foreign clients, rights and data that a machine may lack.
//!
//! A test whose precondition is not met prints `skipped: …` and passes, so that `cargo test` needs Rust and a C
//! compiler alone. `TOUCHMARK_REQUIRE` lists preconditions by name, separated by commas; a test that lacks one of these
//! fails. `.ci/run` sets the variable, so that a green run means that everything was tested.
//!
//! The library's unit tests compile this file, too (`src/lib.rs`).

/// Environment variable that lists required preconditions.
const VARIABLE: &str = "TOUCHMARK_REQUIRE";

/// All preconditions, each with the text that is printed if it is not met.
const PRECONDITIONS: [(&str, &str); 11] = [
    ("delv", "delv is not installed"),
    ("dig", "dig is not installed"),
    ("kdig", "kdig is not installed"),
    ("kdig+tls", "this kdig has no DNS over TLS, or cannot pin a key"),
    ("kdig+https", "this kdig has no DNS over HTTPS"),
    ("kdig+quic", "this kdig has no DNS over QUIC"),
    ("descriptors", "a process may have fewer than 3,300 file descriptors here (`ulimit -Hn`)"),
    ("strace", "strace is not installed"),
    ("root", "a file system of its own cannot be mounted: that needs root"),
    ("ipv6", "this machine has no IPv6"),
    ("shared", "../shared/data is not there (TOUCHMARK_SHARED says where ../shared is)"),
];

/// True if the precondition is met, and the test may go on. False, after a line that says so, if the test is to be
/// skipped. Panics if the precondition is required and not met.
pub fn is_met(precondition: &str, met: bool) -> bool {
    let required = std::env::var(VARIABLE).unwrap_or_default();
    match decide(precondition, met, &required) {
        Ok(None) => true,
        Ok(Some(lack)) => {
            println!("skipped: {lack}");
            false
        }
        Err(failure) => panic!("{failure}"),
    }
}

/// `None` to go on, otherwise the reason for skipping the test; an error if the test has to fail.
fn decide(precondition: &str, met: bool, required: &str) -> Result<Option<&'static str>, String> {
    let find = |name: &str| PRECONDITIONS.iter().find(|(known, _)| *known == name);
    let required: Vec<_> = required.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = required.iter().find(|name| find(name).is_none()) {
        let known = PRECONDITIONS.map(|(name, _)| name).join(", ");
        return Err(format!("{VARIABLE} names {unknown}, which no test asks for; it may name {known}"));
    }
    let (_, lack) = find(precondition).ok_or_else(|| format!("{precondition} is in no row of PRECONDITIONS"))?;
    match (met, required.contains(&precondition)) {
        (true, _) => Ok(None),
        (false, false) => Ok(Some(lack)),
        (false, true) => Err(format!("{lack}, and {VARIABLE} requires {precondition}")),
    }
}

#[test]
fn what_is_required_and_missing_fails() {
    assert_eq!(decide("dig", true, ""), Ok(None));
    assert_eq!(decide("dig", true, "dig"), Ok(None));
    assert_eq!(decide("dig", false, "kdig, root"), Ok(Some("dig is not installed")));
    let failure = decide("dig", false, "kdig, dig").expect_err("dig is required");
    assert_eq!(failure, "dig is not installed, and TOUCHMARK_REQUIRE requires dig");
    assert!(decide("dig", true, "dgi").expect_err("a typing error").contains("names dgi"));
    assert!(decide("dgi", true, "").is_err());
}

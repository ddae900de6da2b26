//! Properties of every scheme, and strategies for identifiers.

use proptest::prelude::*;

use super::*;

/// Handles with short and long, plain and odd suffixes.
pub(super) fn handle() -> impl Strategy<Value = Identifier> {
    let label = prop_oneof![4 => "[0-9]{1,4}", 1 => "[0-9A-Za-zé_ :~-]{1,24}"];
    let suffix = prop_oneof![
        3 => "[A-Za-z0-9-]{1,20}",
        2 => "[a-z]{40,70}[a-z.é]{0,40}[A-Z]{0,3}",
        1 => "\\PC{1,120}",
    ];
    (prop::collection::vec(label, 1..4), suffix).prop_filter_map("no Handle", |(labels, suffix)| {
        Identifier::parse(&format!("hdl:{}/{suffix}", labels.join("."))).ok()
    })
}

/// OIDs from short to longer than the DNS takes.
pub(super) fn oid() -> impl Strategy<Value = Identifier> {
    let arc = prop_oneof![8 => "[1-9][0-9]{0,5}", 2 => "0", 1 => "[1-9][0-9]{30,70}", 1 => "[1-9][0-9]{250,300}"];
    let more = prop_oneof![9 => prop::collection::vec(arc.clone(), 0..12), 1 => prop::collection::vec(arc, 0..127)];
    (0..3_u8, 0..40_u8, more)
        .prop_map(|(root, second, more)| [vec![root.to_string(), second.to_string()], more].concat().join("."))
        .prop_filter_map("too long", |dotted| Identifier::parse(&dotted).ok())
}

/// GS1 keys of several kinds with qualifiers.
pub(super) fn gs1() -> impl Strategy<Value = Identifier> {
    let value = || prop_oneof!["[a-z0-9]{1,12}", "[!\"%-?A-Z_a-z]{1,20}"];
    let optional =
        |ai: &'static str| prop::option::of(value()).prop_map(move |value| value.map(|value| element(ai, &value)));
    let gtin = ("[0-9]{13}", optional("22"), optional("10"), optional("21"))
        .prop_map(|(digits, cpv, lot, serial)| [Some(checked("01", &digits)), cpv, lot, serial]);
    let location = ("[0-9]{12}", optional("254"))
        .prop_map(|(digits, extension)| [Some(checked("414", &digits)), extension, None, None]);
    let payment = ("[0-9]{12}", value())
        .prop_map(|(digits, slip)| [Some(checked("415", &digits)), Some(element("8020", &slip)), None, None]);
    let asset = ("[0-9]{4}[!\"%-?A-Z_a-z]{0,26}").prop_map(|value| [Some(element("8004", &value)), None, None, None]);
    let extended = ("[0-9]{13}", value())
        .prop_map(|(digits, tpx)| [Some(checked("01", &digits)), Some(element("235", &tpx)), None, None]);
    prop_oneof![4 => gtin, 1 => location, 1 => payment, 1 => asset, 1 => extended]
        .prop_map(|elements| Identifier::parse(&elements.into_iter().flatten().collect::<String>()).unwrap())
}

/// URIs.
pub(super) fn uri() -> impl Strategy<Value = Identifier> {
    "[a-z]{1,6}:(//)?[a-zA-Z0-9/?#é部:]{1,80}(%[0-9a-fA-F]{2})?"
        .prop_filter_map("no URI", |text| Identifier::parse(&text).ok().filter(|found| found.scheme() == Scheme::Uri))
}

/// Identifiers of every scheme.
pub(super) fn identifier() -> impl Strategy<Value = Identifier> {
    prop_oneof![3 => handle(), 2 => oid(), 3 => gs1(), 1 => uri()]
}

fn element(ai: &str, value: &str) -> String {
    format!("({ai}){}", value.replace('(', "\\("))
}

fn checked(ai: &str, digits: &str) -> String {
    format!("({ai}){digits}{}", char::from(gs1::check_digit(digits.as_bytes())))
}

/// Texts that look a little like identifiers.
fn near_miss() -> impl Strategy<Value = String> {
    const FRAGMENTS: [&str; 36] = [
        "hdl:",
        "urn:oid:",
        "urn:epc:id:",
        "urn:epc:idpat:",
        "sgtin:",
        "grai:",
        "cpi:",
        "https://",
        "id.gs1.org",
        "a.b",
        "/",
        "/01/",
        "/21/",
        "/00/",
        "09506000134352",
        "095201234567891235",
        "9506000.013435.",
        "(01)",
        "(21)",
        "(10)",
        "\\(",
        "{",
        "}",
        "iso",
        "(1)",
        " ",
        "1.3.6",
        ".",
        "0",
        "?",
        "#",
        "%2F",
        "%",
        "é",
        "\u{85}",
        "x",
    ];
    prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..8).prop_map(|parts| parts.concat())
}

/// The canonical form of an identifier parses to the same text and key.
fn check_canonical(identifier: &Identifier) -> Result<(), TestCaseError> {
    let again = Identifier::parse(identifier.as_str());
    let again = again.map_err(|error| TestCaseError::fail(format!("{identifier}: {error}")))?;
    prop_assert_eq!(again.as_str(), identifier.as_str());
    prop_assert_eq!(again.key(), identifier.key());
    prop_assert_eq!(again.scheme(), identifier.scheme());
    prop_assert!(identifier.key().as_bytes().starts_with(identifier.scheme().key_prefix().as_bytes()));
    prop_assert!(identifier.key().as_bytes().len() <= Key::BYTES_MAX);
    Ok(())
}

proptest! {
    #[test]
    fn canonical_form_parses_to_itself(identifier in identifier()) {
        check_canonical(&identifier)?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(identifier) = Identifier::parse(&text) {
            check_canonical(&identifier)?;
        }
    }

    #[test]
    fn any_near_miss_is_read_or_refused(text in near_miss()) {
        match Identifier::parse(&text) {
            Ok(identifier) => check_canonical(&identifier)?,
            Err(error) => prop_assert!(error.position <= text.len(), "{}", error),
        }
    }
}

#[test]
fn schemes() {
    for scheme in Scheme::ALL {
        assert_eq!(scheme.as_str().parse(), Ok(scheme));
    }
    assert!(Scheme::ALL.is_sorted_by_key(|scheme| (*scheme, scheme.key_prefix())));
    let error = "Handle".parse::<Scheme>().unwrap_err();
    assert_eq!(error.to_string(), "scheme `Handle` is none of handle, oid, gs1, uri");
}

fn check_refused(text: &str, position: usize, rule: &str) {
    let error = Identifier::parse(text).unwrap_err();
    assert_eq!(error.position, position, "{error}");
    assert!(error.rule.contains(rule), "{error}");
}

#[test]
fn texts_without_a_form() {
    check_refused("", 0, "the text is empty; an identifier is a Handle");
    check_refused("abc", 0, "an identifier is a Handle (prefix/suffix");
    check_refused("123", 0, "an identifier is a Handle (prefix/suffix");
    check_refused("1:2", 0, "an identifier is a Handle (prefix/suffix");
    check_refused("ab\u{0}c", 2, "control character U+0000");
    check_refused("\t88/a", 0, "white space before");
    check_refused("1.3.6\u{3000}", 5, "white space after");
    check_refused(&"a".repeat(10_000_000), 0, "has 10000000 bytes; the longest form has 2048");
}

#[test]
fn errors_quote_a_short_escaped_excerpt() {
    let error = Identifier::parse(&format!("a\u{1}{}", "b".repeat(100))).unwrap_err();
    assert_eq!(error.to_string(), format!("`a\\u{{1}}{}…`, byte 1: control character U+0001", "b".repeat(38)));
}

//! DNS names of identifiers, both ways: tables, near misses, properties.

use proptest::prelude::*;

use super::*;
use crate::id::tests::{gs1, handle, identifier, oid};

/// `id.test.` on the wire.
const ZONE_OCTETS: usize = 9;

fn id(text: &str) -> Identifier {
    Identifier::parse(text).unwrap()
}

fn parse_name(name: &str) -> Option<NameMeaning> {
    let labels: Vec<&[u8]> = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes).collect();
    parse(&labels, ZONE_OCTETS)
}

fn check_name(text: &str, name: &str) {
    let identifier = id(text);
    assert_eq!(name_of(&identifier, ZONE_OCTETS).to_string(), name, "{text}");
    for name in [name.to_owned(), name.to_uppercase()] {
        let meaning = parse_name(&name).unwrap();
        assert_eq!(meaning.target, Some(NameTarget::Identifier(identifier.clone())), "{name}");
        assert!(!meaning.ors_dummy, "{name}");
    }
}

fn check_hashed(text: &str) {
    let identifier = id(text);
    let hash = name_hash(identifier.key());
    assert_eq!(may_need_hash(&identifier), Some(hash), "{text}");
    let name = name_of(&identifier, ZONE_OCTETS).to_string();
    assert_eq!(name, format!("{}.h", BASE32_DNSSEC.encode(&hash)));
    let meaning = parse_name(&name.to_uppercase()).unwrap();
    assert_eq!(meaning, NameMeaning { target: Some(NameTarget::Hash(hash)), below: None, ors_dummy: false });
}

fn check_below(name: &str, target: Option<&str>, below: Option<&[u8]>) {
    let meaning = parse_name(name).unwrap_or_else(|| panic!("{name} means nothing"));
    assert_eq!(meaning.target, target.map(|text| NameTarget::Identifier(id(text))), "{name}");
    assert_eq!(meaning.below, below.map(|prefix| Below::Keys(KeyPrefix::from_bytes(prefix))), "{name}");
}

#[test]
fn names() {
    check_name("urn:oid:1.3.6.1.4.1.9", "9.1.4.1.6.3.1.oid");
    check_name("88.118.8/JXDY2106023", "jxdy2106023._.8.118.88.hdl");
    check_name("88/a.b/É_", "a_2eb_2f_c3_89_5f._.88.hdl");
    check_name("88/_", "_5f._.88.hdl");
    check_name("0.NA/88", "88._.na.0.hdl");
    check_name("(01)00614141322602", "0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1");
    check_name("(01)01234567844442", "0.4.4.4.4.8.7.6.5.4.3.2.1.gtin.gs1");
    check_name("(01)00614141322602(21)aB", "a_42.21._.0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1");
    check_name("(01)00614141322602(22)c(10)l(21)s", "s.21.l.10.c.22._.0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1");
    check_name("(8004)95211415678", "95211415678.8004.gs1");
    check_name("(8004)9521141(7040)1ABC", "1_41_42_43.7040._.9521141.8004.gs1");
    check_name("(415)9521141123454(8020)r/1", "r_2f1.8020._.9521141123454.415.gs1");
    let long = format!("88/{}", "x".repeat(100));
    check_name(&long, &format!("{}.{}._.88.hdl", "x".repeat(37), "x".repeat(63)));
    let escaped = format!("88/{}.y", "x".repeat(61));
    check_name(&escaped, &format!("_2ey.{}._.88.hdl", "x".repeat(61)));
    let wide = format!("2.{}", "7".repeat(63));
    check_name(&wide, &format!("{}.2.oid", "7".repeat(63)));
}

#[test]
fn hashed_names() {
    check_hashed("https://maker.example/p/1");
    check_hashed("did:web:maker.example");
    check_hashed(&format!("88/{}", "x".repeat(250)));
    check_hashed(&format!("{}/x", "x".repeat(64)));
    check_hashed(&format!("2.{}", "7".repeat(64)));
    check_hashed(&vec!["1"; 128].join("."));
    check_hashed("(8004)9521ABCDEFGHIJKLMNOPQRSTUVWX");
}

#[test]
fn hash_does_not_depend_on_the_zone() {
    assert_eq!(may_need_hash(&id("88.118.8/JXDY2106023")), None);
    assert_eq!(may_need_hash(&id("1.3.6.1.4.1.9")), None);
    assert_eq!(may_need_hash(&id("(01)00614141322602(21)1234567890")), None);
    // 4 (hdl) + 3 (88) + 2 (_) + 64 + 54 = 127 octets, and 128 of the zone.
    let fits = id(&format!("88/{}", "x".repeat(116)));
    let long = id(&format!("88/{}", "x".repeat(117)));
    assert_eq!(may_need_hash(&fits), None);
    assert_eq!(name_of(&fits, 128).wire_octets(), 127);
    assert!(may_need_hash(&long).is_some());
    assert_eq!(name_of(&long, 127).wire_octets(), 128);
    assert_eq!(name_of(&long, 128).labels().collect::<Vec<_>>()[1..], ["h"]);
}

#[test]
fn names_above() {
    check_below("", None, Some(b""));
    check_below("oid", None, Some(b"O"));
    check_below("1.oid", None, Some(b"O\x011"));
    check_below("3.1.oid", Some("1.3"), Some(b"O\x011\x013"));
    check_below("hdl", None, Some(b"H"));
    check_below("8.118.88.hdl", None, Some(b"H88\x01118\x018\x01"));
    check_below("_.8.118.88.hdl", None, Some(b"H88\x01118\x018\x01\x02"));
    check_below("a._.88.hdl", Some("88/a"), None);
    check_below("gs1", None, Some(b"S"));
    check_below("gtin.gs1", None, Some(b"S01\x01"));
    check_below("4.1.6.0.gtin.gs1", None, Some(b"S01\x010614"));
    let gtin = "0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1";
    check_below(gtin, Some("(01)00614141322602"), Some(b"S01\x010614141322600\x01"));
    check_below(&format!("_.{gtin}"), None, Some(b"S01\x010614141322600\x01"));
    check_below(&format!("10._.{gtin}"), None, Some(b"S01\x010614141322600\x0110\x02"));
    let lot = b"S01\x010614141322600\x0110\x02l\x01";
    check_below(&format!("l.10._.{gtin}"), Some("(01)00614141322602(10)l"), Some(lot));
    let serial = b"S01\x010614141322600\x0110\x02l\x0121\x02";
    check_below(&format!("21.l.10._.{gtin}"), None, Some(serial));
    check_below(&format!("s.21.l.10._.{gtin}"), Some("(01)00614141322602(10)l(21)s"), None);
    check_below(&format!("t.235._.{gtin}"), Some("(01)00614141322602(235)t"), None);
    check_below("8004.gs1", None, Some(b"S8004\x01"));
    check_below("9521.8004.gs1", Some("(8004)9521"), Some(b"S8004\x019521\x01"));
    check_below("095201234567891235.00.gs1", Some("(00)095201234567891235"), None);
    check_below("9521141123454.415.gs1", None, Some(b"S415\x019521141123454\x01"));
}

#[test]
fn pieces_of_suffixes() {
    let piece = "x".repeat(63);
    let key = format!("H88\x01\x02{piece}");
    check_below(&format!("{piece}._.88.hdl"), Some(&format!("88/{piece}")), Some(key.as_bytes()));
    // 20 characters of three octets and a byte of the next one, cut within it.
    let cut = "_c3_a9".repeat(10) + "_c3";
    let key = format!("H88\x01\x02{}", "é".repeat(10)).into_bytes();
    check_below(&format!("{cut}._.88.hdl"), None, Some(&[key.as_slice(), b"\xC3"].concat()));
    let short = &piece[..60];
    assert_eq!(parse_name(&format!("a.{short}._.88.hdl")), None);
    assert_eq!(parse_name(&format!("a.{piece}x._.88.hdl")), None);
    assert_eq!(parse_name(&format!("a.{}._.88.hdl", &piece[..62])), None);
    assert!(parse_name(&format!("_2e.{}._.88.hdl", &piece[..62])).is_some());
}

#[test]
fn prefixes_by_their_names() {
    for (prefix, name) in [
        ("hdl:88.118", Some("118.88.hdl")),
        ("hdl:0.na", Some("na.0.hdl")),
        ("hdl:a b", Some("a_20b.hdl")),
        ("hdl:1.3", Some("3.1.hdl")),
        ("urn:oid:1.3.6", Some("6.3.1.oid")),
        ("gs1:0614141", Some("1.4.1.4.1.6.0.gtin.gs1")),
        ("https://id.gs1.org/01/00614141322602", Some("0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1")),
        (".", None),
        ("https://a.example/p", None),
    ] {
        let prefix = Prefix::parse(prefix).unwrap();
        let shown = name_of_prefix(&prefix, ZONE_OCTETS).map(|name| name.to_string());
        assert_eq!(shown.as_deref(), name, "{prefix}");
        let Some(name) = shown else { continue };
        let upper = name.to_uppercase();
        let labels: Vec<&[u8]> = upper.split('.').map(str::as_bytes).collect();
        assert_eq!(prefix_of_name(&labels, ZONE_OCTETS), Some(prefix), "{name}");
    }
    for name in ["hdl", "oid", "gs1", "gtin.gs1", "_.118.88.hdl", "x._.118.88.hdl", "ors-dummy.6.3.1.oid", "h", "www"] {
        let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
        assert_eq!(prefix_of_name(&labels, ZONE_OCTETS), None, "{name}");
    }
}

#[test]
fn ors_dummy() {
    let meaning = parse_name("ORS-dummy.9.1.4.1.6.3.1.oid").unwrap();
    let target = Some(NameTarget::Identifier(id("1.3.6.1.4.1.9")));
    assert_eq!(meaning, NameMeaning { target, below: None, ors_dummy: true });
    assert_eq!(parse_name("ors-dummy.1.oid"), None);
    assert_eq!(parse_name("ors-dummy.oid"), None);
    assert_eq!(parse_name("1.ors-dummy.3.1.oid"), None);
    assert_eq!(parse_name("ors-dummy.88.hdl").unwrap().target, None);
}

#[test]
fn hashes() {
    let meaning = parse_name("h").unwrap();
    assert_eq!(meaning, NameMeaning { target: None, below: Some(Below::AnyNameHash), ors_dummy: false });
    for name in ["abc.h", "x.00000000000000000000000000000000.h", "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww.h"] {
        assert_eq!(parse_name(name), None, "{name}");
    }
}

#[test]
fn names_of_nothing() {
    for name in [
        "com",
        "x.oid",
        "3.oid",
        "40.1.oid",
        "01.1.oid",
        "_31.1.oid",
        "_.1.oid",
        "a_41.hdl",
        "_61.hdl",
        "_2e.hdl",
        "_2f.hdl",
        "_.hdl",
        "a._.hdl",
        "a._._.88.hdl",
        "_41._.88.hdl",
        "_ff._.88.hdl",
        "_07._.88.hdl",
        "a_20._.88.hdl",
        "x.gtin.gs1",
        "10.gtin.gs1",
        "01.gs1",
        "17.gs1",
        "21.gs1",
        "x.00.gs1",
        "095201234567891236.00.gs1",
        "_.095201234567891235.00.gs1",
        "a b.hdl",
        "*.oid",
        "a.http_3a.hdl.x",
    ] {
        assert_eq!(parse_name(name), None, "{name}");
    }
    let gtin = "0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1";
    for labels in
        ["1", "x._", "17._", "8020._", "s.21.t.235._", "l.10.s.21._", "x.s.21._", "10.s.21._", "_.l.10._", "A_.21._"]
    {
        assert_eq!(parse_name(&format!("{labels}.{gtin}")), None, "{labels}");
    }
    assert_eq!(parse(&[b"a.b", b"hdl"], 9), None);
    assert_eq!(parse(&[b"", b"hdl"], 9), None);
    assert_eq!(parse(&[&[b'x'; 64], b"hdl"], 9), None);
    assert_eq!(parse(&[b"\xFF", b"hdl"], 9), None);
    assert_eq!(parse(&[b"hdl"], 252), None);
    assert_eq!(parse(&[b"hdl"], usize::MAX), None);
    assert_eq!(parse(&vec![&b"1"[..]; 1_000_000], 9), None);
}

/// The name with the case of its letters flipped as the bits say.
fn flipped(name: &str, bits: u64) -> String {
    let flip = |(index, character): (usize, char)| match bits >> (index % 64) & 1 {
        1 => character.to_ascii_uppercase(),
        _ => character,
    };
    name.chars().enumerate().map(flip).collect()
}

/// Labels that look a little like those of names.
fn label() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 22] = [
        "oid",
        "hdl",
        "gs1",
        "gtin",
        "h",
        "_",
        "ors-dummy",
        "0",
        "1",
        "3",
        "21",
        "10",
        "22",
        "8004",
        "414",
        "254",
        "9521",
        "9521141123454",
        "a_2e",
        "_C3",
        "_c3_a9",
        "88",
    ];
    prop_oneof![
        8 => prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => "[a-zA-Z0-9_-]{1,63}".prop_map(String::into_bytes),
        1 => "[a-z]{55,60}(_2e)?[a-z]{0,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..70),
    ]
}

/// The labels of the own name of an identifier, or none.
fn own_labels(identifier: &Identifier) -> Option<Vec<String>> {
    let name = name_of(identifier, ZONE_OCTETS);
    let labels: Vec<_> = name.labels().map(str::to_owned).collect();
    (labels.last().is_some_and(|last| last != "h")).then_some(labels)
}

proptest! {
    #[test]
    fn name_parses_to_its_identifier(identifier in identifier(), zone_octets in 1..129_usize, bits in any::<u64>()) {
        let name = name_of(&identifier, zone_octets);
        prop_assert!(name.wire_octets() + zone_octets <= NAME_OCTETS_MAX);
        prop_assert!(name.labels().all(|label| (1..=63).contains(&label.len())));
        let written = flipped(&name.to_string(), bits);
        let labels: Vec<_> = written.split('.').map(str::as_bytes).collect();
        let found = parse(&labels, zone_octets).and_then(|meaning| meaning.target);
        if name.labels().next_back() == Some("h") {
            let hash = name_hash(identifier.key());
            prop_assert_eq!(found, Some(NameTarget::Hash(hash)));
            prop_assert_eq!(may_need_hash(&identifier), Some(hash));
        } else {
            prop_assert_eq!(found, Some(NameTarget::Identifier(identifier)));
        }
    }

    #[test]
    fn names_above_cover_the_key(identifier in prop_oneof![handle(), oid(), gs1()]) {
        let Some(labels) = own_labels(&identifier) else { return Ok(()) };
        for cut in 1..=labels.len() {
            let above: Vec<_> = labels[cut..].iter().map(String::as_bytes).collect();
            let below = parse(&above, ZONE_OCTETS).and_then(|meaning| meaning.below);
            let Some(Below::Keys(prefix)) = below else { return Err(TestCaseError::fail(format!("{cut}: {labels:?}"))) };
            prop_assert!(identifier.key().as_bytes().starts_with(prefix.as_bytes()), "{:?}", prefix);
            prop_assert!(identifier.key().as_bytes().len() > prefix.as_bytes().len(), "{:?}", prefix);
        }
    }

    #[test]
    fn key_below_is_name_below(
        a in "8[0-2]{0,2}(\\.[0-2]{1,2})?/[a-c]{1,2}",
        b in "8[0-2]{0,2}(\\.[0-2]{1,2})?/[a-c]{1,2}",
        cut in 0..4_usize,
    ) {
        let (Ok(a), Ok(b)) = (Identifier::parse(&a), Identifier::parse(&b)) else { return Ok(()) };
        let (Some(a), Some(names)) = (own_labels(&a), own_labels(&b).map(|labels| (b, labels))) else { return Ok(()) };
        let above = &a[cut.min(a.len())..];
        let labels: Vec<_> = above.iter().map(String::as_bytes).collect();
        let below = parse(&labels, ZONE_OCTETS).and_then(|meaning| meaning.below);
        let (b, b_labels) = names;
        let name_is_below = b_labels.len() > above.len() && b_labels.ends_with(above);
        let key_is_below = match below {
            Some(Below::Keys(prefix)) => b.key() .as_bytes().len() > prefix.as_bytes().len()
                && b.key().as_bytes().starts_with(prefix.as_bytes()),
            _ => false,
        };
        prop_assert_eq!(name_is_below, key_is_below);
    }

    #[test]
    fn near_miss_of_a_name_has_this_name(identifier in identifier(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut name = name_of(&identifier, ZONE_OCTETS).to_string().into_bytes();
        let at = at.index(name.len());
        name[at] = byte;
        let labels: Vec<_> = name.split(|byte| *byte == b'.').collect();
        if let Some(NameMeaning { target: Some(NameTarget::Identifier(found)), .. }) = parse(&labels, ZONE_OCTETS) {
            let written = String::from_utf8_lossy(&name).to_ascii_lowercase();
            prop_assert_eq!(name_of(&found, ZONE_OCTETS).to_string(), written);
        }
    }

    #[test]
    fn what_parses_has_this_name(labels in prop::collection::vec(label(), 0..6), apex in prop::sample::select(&["oid", "hdl", "gs1", "h"][..])) {
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).chain([apex.as_bytes()]).collect();
        let Some(NameMeaning { target: Some(NameTarget::Identifier(found)), ors_dummy, .. }) = parse(&labels, ZONE_OCTETS) else {
            return Ok(());
        };
        let labels = if ors_dummy { &labels[1..] } else { &labels };
        let name: Vec<_> = labels.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
        prop_assert_eq!(name_of(&found, ZONE_OCTETS).to_string(), name.join("."));
    }
}

//! Object identifiers (ITU-T X.660) in their four written forms.
//!
//! The canonical form is the URN of RFC 3061. Arcs have no leading zeros and any size within the limits; the root is 0
//! to 2, the second arc 0 to 39 under the roots 0 and 1. The key sorts arcs as numbers and puts a subtree together:
//!
//! ```text
//! key = 'O' { length of the decimal digits (1 byte 1..=254, or 0xFF and 2 bytes big-endian) · digits }
//! ```
//!
//! Names are accepted in the forms that have them (OID-IRI, ASN.1) if `name(number)` carries the number itself, or if
//! the name is that of a standard arc in a small table: no registry of names is consulted.

use super::{Identifier, Key, Refusal, Scheme, code_point};

/// Maximum number of arcs, as in SNMP (RFC 2578 section 3.5).
pub(super) const ARCS_MAX: usize = 128;
/// Maximum length of the dotted text, in characters.
const DOTTED_BYTES_MAX: usize = 1_024;
/// Maximum length of an OID-IRI or of ASN.1 notation, in bytes.
const NAMED_BYTES_MAX: usize = 2_048;
/// Text in front of the dotted arcs in the canonical form.
const URN: &str = "urn:oid:";
/// Maximum digits of an arc whose length takes one byte in the key; longer arcs take three.
const SHORT_ARC_DIGITS_MAX: usize = 254;

/// Reads `1.3.6.1`.
pub(super) fn from_dotted(dotted: &str) -> Result<Identifier, Refusal> {
    refuse_longer(dotted, DOTTED_BYTES_MAX, "the dotted text of an OID")?;
    let mut arcs = Arcs::with_capacity(dotted.len());
    let mut position = 0;
    for arc in dotted.split('.') {
        arcs.push(arc, position)?;
        position += arc.len() + 1;
    }
    arcs.finish(dotted.len())
}

/// Reads an OID-IRI: `/1/3/6/1`, `/ISO/Identified-Organization/6/1`, `/Tag-Based/1` (X.660, X.680).
pub(super) fn from_iri(text: &str) -> Result<Identifier, Refusal> {
    refuse_longer(text, NAMED_BYTES_MAX, "an OID-IRI")?;
    let mut arcs = Arcs::with_capacity(text.len());
    let mut position = 1;
    for label in text.strip_prefix('/').unwrap_or(text).split('/') {
        if label.starts_with(|first: char| first.is_ascii_digit()) {
            arcs.push(label, position)?;
        // A long arc stands for the first two arcs, so it can only come first.
        } else if let Some((root, second)) = long_arc(label).filter(|_| arcs.count == 0) {
            arcs.push(root, position)?;
            arcs.push(second, position)?;
        } else {
            arcs.push_name(label, position)?;
        }
        position += label.len() + 1;
    }
    arcs.finish(text.len())
}

/// Reads ASN.1 value notation: `{iso(1) identified-organization(3) 6}` (X.680).
pub(super) fn from_asn1(text: &str) -> Result<Identifier, Refusal> {
    refuse_longer(text, NAMED_BYTES_MAX, "ASN.1 notation of an OID")?;
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Err(Refusal::new(text.len(), "ASN.1 notation of an OID ends with `}`"));
    };
    let mut arcs = Arcs::with_capacity(text.len());
    let mut position = 1;
    for part in inside.split(' ') {
        if part.starts_with(|first: char| first.is_ascii_digit()) {
            arcs.push(part, position)?;
        } else if let Some((name, number)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
            arcs.push_named_number(name, number, position)?;
        } else if !part.is_empty() {
            arcs.push_name(part, position)?;
        }
        position += part.len() + 1;
    }
    arcs.finish(text.len())
}

/// Appends an arc as keys encode it; its digits have been checked.
pub(super) fn put_arc(key: &mut Vec<u8>, digits: &str) {
    match u8::try_from(digits.len()) {
        Ok(length) if digits.len() <= SHORT_ARC_DIGITS_MAX => key.push(length),
        _ => {
            key.push(0xFF);
            // The dotted text has at most 1,024 characters.
            key.extend_from_slice(&(digits.len() as u16).to_be_bytes());
        }
    }
    key.extend_from_slice(digits.as_bytes());
}

/// Splits the first arc off the arcs of a key; `None` at their end.
pub(super) fn split_arc(arcs: &[u8]) -> Option<(&[u8], &[u8])> {
    match arcs {
        [0xFF, high, low, rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))),
        [length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [] => None,
    }
}

/// The arcs read so far. Canonical text and key grow together, and each arc is checked when it is pushed.
pub(super) struct Arcs {
    text: String,
    key: Vec<u8>,
    count: usize,
    narrow_root: bool,
}

impl Arcs {
    /// Starts empty, with room for `dotted_bytes` of digits and dots.
    pub(super) fn with_capacity(dotted_bytes: usize) -> Self {
        let mut text = String::with_capacity(URN.len() + dotted_bytes);
        text.push_str(URN);
        let mut key = Vec::with_capacity(dotted_bytes + 2);
        key.push(Scheme::Oid.key_byte());
        Self { text, key, count: 0, narrow_root: false }
    }

    /// Appends the next arc, which stands at `position` of the text.
    pub(super) fn push(&mut self, arc: &str, position: usize) -> Result<(), Refusal> {
        if arc.is_empty() {
            return Err(Refusal::new(position, "an arc of an OID is not empty"));
        }
        if let Some((at, other)) = arc.char_indices().find(|(_, character)| !character.is_ascii_digit()) {
            let rule = format!("{} does not stand in an arc; arcs are decimal digits", code_point(other));
            return Err(Refusal::new(position + at, rule));
        }
        if arc.len() > 1 && arc.starts_with('0') {
            return Err(Refusal::new(position, "an arc of an OID has no leading zeros"));
        }
        match self.count {
            0 if !matches!(arc, "0" | "1" | "2") => {
                return Err(Refusal::new(position, "the first arc of an OID is 0, 1 or 2"));
            }
            0 => self.narrow_root = arc != "2",
            1 if self.narrow_root && (arc.len() > 2 || arc.len() == 2 && arc > "39") => {
                return Err(Refusal::new(position, "the second arc is 0 to 39 under the arcs 0 and 1"));
            }
            ARCS_MAX => return Err(Refusal::new(position, format!("an OID has at most {ARCS_MAX} arcs"))),
            _ => {}
        }
        if self.count > 0 {
            self.text.push('.');
        }
        self.text.push_str(arc);
        if self.dotted().len() > DOTTED_BYTES_MAX {
            let rule = format!("the dotted text of an OID has at most {DOTTED_BYTES_MAX} characters");
            return Err(Refusal::new(position, rule));
        }
        put_arc(&mut self.key, arc);
        self.count += 1;
        Ok(())
    }

    /// Appends the next arc by its standard name.
    fn push_name(&mut self, name: &str, position: usize) -> Result<(), Refusal> {
        match standard_arc(self.dotted(), name) {
            Some(number) => self.push(number, position),
            None => {
                let rule = "an arc here is a number or a name of the standard arcs; others as name(number) in { }";
                Err(Refusal::new(position, rule))
            }
        }
    }

    /// Appends `name(number)`; a standard name with another number is refused.
    fn push_named_number(&mut self, name: &str, number: &str, position: usize) -> Result<(), Refusal> {
        let well_formed = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !well_formed {
            return Err(Refusal::new(
                position,
                "a name before `(` is a lower-case letter, then letters, digits and `-`",
            ));
        }
        match standard_arc(self.dotted(), name) {
            Some(other) if other != number => {
                Err(Refusal::new(position, format!("the standard arc `{name}` has the number {other} here")))
            }
            _ => self.push(number, position + name.len() + 1),
        }
    }

    /// The key so far.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The number of arcs so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Finishes the identifier; `position` is the end of the text.
    pub(super) fn finish(self, position: usize) -> Result<Identifier, Refusal> {
        if self.count < 2 {
            return Err(Refusal::new(position, "an OID has at least two arcs"));
        }
        Ok(Identifier::new(Scheme::Oid, self.text, Key::from_bytes(self.key)))
    }

    fn dotted(&self) -> &str {
        &self.text[URN.len()..]
    }
}

fn refuse_longer(text: &str, bytes_max: usize, what: &str) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(Refusal::new(0, format!("{what} has at most {bytes_max} characters; this one has {}", text.len())));
    }
    Ok(())
}

/// The number of a standard arc below `parent` (dotted) by one of its names, in any case.
fn standard_arc(parent: &str, name: &str) -> Option<&'static str> {
    let found = STANDARD_ARCS
        .iter()
        .find(|(above, _, names)| *above == parent && names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    found.map(|(_, number, _)| *number)
}

/// The two arcs that a long arc at the root of an OID-IRI abbreviates (X.660).
fn long_arc(label: &str) -> Option<(&'static str, &'static str)> {
    const LONG_ARCS: [(&str, &str); 3] = [("Country", "16"), ("Tag-Based", "27"), ("Example", "999")];
    let found = LONG_ARCS.iter().find(|(name, _)| name.eq_ignore_ascii_case(label));
    found.map(|(_, second)| ("2", *second))
}

/// Parent, number, names: the arcs of X.660, and those down to the private enterprise numbers (RFC 1155 section 3.1).
/// The ASN.1 names and the Unicode labels of these arcs differ in case only.
const STANDARD_ARCS: [(&str, &str, &[&str]); 29] = [
    ("", "0", &["itu-t", "ccitt", "itu-r"]),
    ("", "1", &["iso"]),
    ("", "2", &["joint-iso-itu-t", "joint-iso-ccitt"]),
    ("0", "0", &["recommendation"]),
    ("0", "1", &["question"]),
    ("0", "2", &["administration"]),
    ("0", "3", &["network-operator"]),
    ("0", "4", &["identified-organization"]),
    ("1", "0", &["standard"]),
    ("1", "1", &["registration-authority"]),
    ("1", "2", &["member-body"]),
    ("1", "3", &["identified-organization", "org"]),
    ("1.3", "6", &["dod"]),
    ("1.3.6", "1", &["internet"]),
    ("1.3.6.1", "1", &["directory"]),
    ("1.3.6.1", "2", &["mgmt"]),
    ("1.3.6.1", "3", &["experimental"]),
    ("1.3.6.1", "4", &["private"]),
    ("1.3.6.1", "5", &["security"]),
    ("1.3.6.1", "6", &["snmpv2"]),
    ("1.3.6.1.4", "1", &["enterprise", "enterprises"]),
    ("2", "1", &["asn1"]),
    ("2", "5", &["ds"]),
    ("2", "16", &["country"]),
    ("2", "23", &["international-organizations"]),
    ("2", "25", &["uuid"]),
    ("2", "27", &["tag-based"]),
    ("2", "48", &["cybersecurity"]),
    ("2", "999", &["example"]),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::id::{Identifier, Scheme, WrittenForm};

    fn check(text: &str, form: WrittenForm, canonical: &str) {
        let (identifier, found) = Identifier::parse_written(text).unwrap();
        assert_eq!(found, form, "{text}");
        assert_eq!(identifier.scheme(), Scheme::Oid, "{text}");
        assert_eq!(identifier.as_str(), canonical);
    }

    fn check_refused(text: &str, position: usize, rule: &str) {
        let error = Identifier::parse(text).unwrap_err();
        assert_eq!(error.position, position, "{error}");
        assert!(error.rule.contains(rule), "{error}");
    }

    #[test]
    fn written_forms() {
        let enterprise = "urn:oid:1.3.6.1.4.1.9";
        check("1.3.6.1.4.1.9", WrittenForm::OidDotted, enterprise);
        check("urn:oid:1.3.6.1.4.1.9", WrittenForm::OidUrn, enterprise);
        check("URN:OID:1.3.6.1.4.1.9", WrittenForm::OidUrn, enterprise);
        check("/1/3/6/1/4/1/9", WrittenForm::OidIri, enterprise);
        check("/ISO/Identified-Organization/6/1/4/1/9", WrittenForm::OidIri, enterprise);
        check(
            "{iso(1) identified-organization(3) 6 internet(1) private(4) enterprise(1) 9}",
            WrittenForm::OidAsn1,
            enterprise,
        );
        check("{ iso org dod internet private enterprises ciscoSystems(9) }", WrittenForm::OidAsn1, enterprise);
        check("/Tag-Based/1", WrittenForm::OidIri, "urn:oid:2.27.1");
        check("/Example", WrittenForm::OidIri, "urn:oid:2.999");
        check("/Joint-ISO-ITU-T/Tag-Based", WrittenForm::OidIri, "urn:oid:2.27");
        check("0.39", WrittenForm::OidDotted, "urn:oid:0.39");
        check("2.40", WrittenForm::OidDotted, "urn:oid:2.40");
        let uuid = "urn:oid:2.25.329800735698586629295641978511506172918";
        check(uuid, WrittenForm::OidUrn, uuid);
    }

    #[test]
    fn key_bytes() {
        let key = |text: &str| Identifier::parse(text).unwrap().key().as_bytes().to_vec();
        assert_eq!(key("1.3.6161"), b"O\x011\x013\x046161");
        let wide = key(&format!("2.{}", "9".repeat(300)));
        assert!(wide.starts_with(b"O\x012\xFF\x01\x2C999"));
        assert!(key(&format!("2.{}", "9".repeat(254))) < wide);
    }

    #[test]
    fn refused() {
        check_refused("1.", 2, "not empty");
        check_refused(".1", 0, "not empty");
        check_refused("1..2", 2, "not empty");
        check_refused("1.02", 2, "no leading zeros");
        check_refused("3.1", 0, "first arc of an OID is 0, 1 or 2");
        check_refused("1.40", 2, "0 to 39");
        check_refused("0.100", 2, "0 to 39");
        check_refused("urn:oid:1", 9, "at least two arcs");
        check_refused("urn:oid:", 8, "not empty");
        check_refused("urn:oid:1.a", 10, "`a` (U+0061) does not stand in an arc");
        check_refused("urn:oid:1.3\t.1", 11, "U+0009 does not stand in an arc");
        check_refused("urn:oid:1.３", 10, "does not stand in an arc");
        check_refused("/", 1, "number or a name");
        check_refused("/1/3/", 5, "number or a name");
        check_refused("/1/Example", 3, "number or a name");
        check_refused("/ISO", 4, "at least two arcs");
        check_refused("{iso(1) 3", 9, "ends with `}`");
        check_refused("{iso(2) 3}", 1, "`iso` has the number 1 here");
        check_refused("{1 Foo(3)}", 3, "lower-case letter");
        check_refused("{1 foo(03)}", 7, "no leading zeros");
        check_refused("{1 foo()}", 7, "not empty");
        check_refused("{}", 2, "at least two arcs");
    }

    #[test]
    fn limits() {
        let arcs = |count: usize| vec!["1"; count].join(".");
        assert!(Identifier::parse(&arcs(128)).is_ok());
        check_refused(&arcs(129), 256, "at most 128 arcs");
        let wide = |digits: usize| format!("2.{}", "7".repeat(digits));
        assert!(Identifier::parse(&wide(1_022)).is_ok());
        check_refused(&wide(1_023), 0, "at most 1024 characters; this one has 1025");
        check_refused(&arcs(1_000_000), 0, "this one has 1999999");
        check_refused(&format!("/{}", wide(1_030).replace('.', "/")), 3, "at most 1024 characters");
        check_refused(&"/1".repeat(1_000_000), 0, "at most 2048 characters; this one has 2000000");
        check_refused(&format!("{{{}}}", "1 ".repeat(1_000_000)), 0, "at most 2048 characters; this one has 2000002");
    }

    fn arcs() -> impl Strategy<Value = Vec<u128>> {
        let more = prop::collection::vec(prop_oneof![0..30_u128, any::<u128>()], 0..6);
        (0..3_u128, 0..40_u128, more).prop_map(|(root, second, more)| [vec![root, second], more].concat())
    }

    fn parse(arcs: &[u128]) -> Identifier {
        let arcs: Vec<_> = arcs.iter().map(u128::to_string).collect();
        Identifier::parse(&arcs.join(".")).unwrap()
    }

    proptest! {
        #[test]
        fn keys_sort_as_numbers(a in arcs(), b in arcs()) {
            prop_assert_eq!(parse(&a).cmp(&parse(&b)), a.cmp(&b));
        }

        #[test]
        fn subtree_is_key_prefix(a in arcs(), b in arcs(), cut in 2..8_usize) {
            let above = &a[..cut.min(a.len())];
            prop_assert!(parse(&a).key().as_bytes().starts_with(parse(above).key().as_bytes()));
            let covered = parse(&b).key().as_bytes().starts_with(parse(above).key().as_bytes());
            prop_assert_eq!(covered, b.starts_with(above));
        }
    }
}

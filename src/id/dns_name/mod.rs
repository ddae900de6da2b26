//! DNS names of identifiers, in both directions, relative to the zone of a node.
//!
//! ```text
//! OID     1.3.6.1.4.1.9            9.1.4.1.6.3.1.oid            and ors-dummy. before it (X.672)
//! Handle  88.118.8/JXDY2106023     jxdy2106023._.8.118.88.hdl
//! GTIN    00614141322602           0.0.6.2.2.3.1.4.1.4.1.6.0.gtin.gs1     (ONS 2.0.1, no check digit)
//!   with lot and serial number     <serial>.21.<lot>.10._.<name of the GTIN>
//! others  (8004)95211415678        95211415678.8004.gs1         qualifiers as with the GTIN
//! URI, or a name that does not fit <base32hex of the first 20 bytes of SHA-256(key)>.h
//! ```
//!
//! The bytes `a-z 0-9 -` are not escaped in a label; any other byte is `_` and two hexadecimal digits, so case never
//! carries meaning in a name. A Handle suffix that does not fit one label is split into labels of at most 63 octets,
//! each as long as possible, never within an escape; the first piece is the label next to `_`. Any other label that
//! would be too long, and any name over 255 octets, is replaced by the hash form.
//!
//! A name follows its key from right to left, label by label. That is why names below a name are keys below a key
//! prefix, and why both directions here walk over keys. Labels are bytes. Deliberately absent: any DNS library, and any
//! knowledge of what is registered.

mod label;
mod reading;
pub mod zone;

pub use reading::parse;

use std::fmt;

use data_encoding::BASE32_DNSSEC;
use sha2::{Digest, Sha256};

use super::{Identifier, Key, KeyPrefix, Prefix, Scheme, gs1, handle, oid};
use label::{LABEL_OCTETS_MAX, encoded_len};

/// First 20 bytes of SHA-256 of a key, for identifiers whose own name does not fit the DNS.
pub type NameHash = [u8; 20];

/// Meaning of a name below the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameMeaning {
    /// The identifier that has this name, or the hash of its key.
    pub target: Option<NameTarget>,
    /// The names below this one: if there are any, the name exists (RFC 8020).
    pub below: Option<Below>,
    /// True for `ors-dummy.` before the name of an OID (X.672), which answers NAPTR only.
    pub ors_dummy: bool,
}

impl NameMeaning {
    /// The bytes with which the keys of all identifiers named by this name or below it begin; `None` below `h`, where a
    /// name tells nothing of the key.
    pub fn path(&self) -> Option<&[u8]> {
        match (&self.target, &self.below) {
            (Some(NameTarget::Identifier(identifier)), _) => Some(identifier.key().as_bytes()),
            (None, Some(Below::Keys(prefix))) => Some(prefix.as_bytes()),
            _ => None,
        }
    }
}

/// The identifier that a name answers for, itself or by hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameTarget {
    /// The identifier itself.
    Identifier(Identifier),
    /// The hash of the identifier's key; [`name_of`] tells whether the identifier has this name in the zone.
    Hash(NameHash),
}

/// Names that lie below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// Names of identifiers whose key starts with this prefix and is longer.
    ///
    /// Two kinds of such identifiers have their name elsewhere: those whose own name does not fit the zone, and, below
    /// a piece of a Handle suffix that is 61 or 62 octets long, those whose suffix continues with a byte that would
    /// still fit the piece.
    Keys(KeyPrefix),
    /// Names of all identifiers in hash form.
    AnyNameHash,
}

/// A name without its zone: at least one label, in lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelativeName(String);

impl RelativeName {
    /// The labels from left to right, each of 1 to 63 octets of `a-z 0-9 - _`.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Length of the labels on the wire, in octets, without the zone and its root octet.
    pub fn wire_octets(&self) -> usize {
        self.0.len() + 1
    }
}

impl fmt::Display for RelativeName {
    /// Writes the labels joined with dots, without a dot at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelativeName({})", self.0)
    }
}

/// Maximum length of a name on the wire, in octets, with the root octet (RFC 1035 section 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// Maximum length of a zone for which [`may_need_hash`] holds, in octets on the wire with the root octet.
pub const ZONE_OCTETS_MAX: usize = 128;

/// The name of an identifier in a zone whose own name takes `zone_octets` on the wire, the root octet included.
///
/// A zone of up to [`ZONE_OCTETS_MAX`] octets has room for every identifier; the hash form takes 35.
pub fn name_of(identifier: &Identifier, zone_octets: usize) -> RelativeName {
    name_of_key(identifier.key(), zone_octets)
}

/// The name of the identifier with this key; see [`name_of`].
pub fn name_of_key(key: &Key, zone_octets: usize) -> RelativeName {
    match own_name_octets(key.as_bytes()) {
        Some(octets) if octets.saturating_add(zone_octets) <= NAME_OCTETS_MAX => own_name(key.as_bytes(), octets),
        _ => RelativeName(format!("{}.h", BASE32_DNSSEC.encode(&name_hash(key)))),
    }
}

/// The name below which all names of a prefix lie, in a zone whose own name takes `zone_octets`; `None` for a prefix
/// without such a name: URIs and overlong names take the hash form, and the prefix of everything is the zone itself.
pub fn name_of_prefix(prefix: &Prefix, zone_octets: usize) -> Option<RelativeName> {
    let path = prefix.path().strip_suffix(&[handle::LABEL_END]).unwrap_or(prefix.path());
    let octets = own_name_octets(path)?;
    (octets.saturating_add(zone_octets) <= NAME_OCTETS_MAX).then(|| own_name(path, octets))
}

/// The prefix whose [`name_of_prefix`] is these labels: the inverse of that function. The labels stand from left to
/// right, relative to the zone, in any ASCII case.
pub fn prefix_of_name(labels: &[&[u8]], zone_octets: usize) -> Option<Prefix> {
    let meaning = parse(labels, zone_octets)?;
    let text = match &meaning.target {
        Some(NameTarget::Identifier(identifier)) => identifier.to_string(),
        _ => prefix_text(meaning.path()?)?,
    };
    // A suffix, or a qualifier without its value, is no prefix.
    let prefix = Prefix::parse(&text).ok()?;
    let name = name_of_prefix(&prefix, zone_octets)?;
    let same = |(own, label): (&str, &&[u8])| label.eq_ignore_ascii_case(own.as_bytes());
    (name.labels().count() == labels.len() && name.labels().zip(labels).all(same)).then_some(prefix)
}

/// The written form of a prefix, from the bytes with which its keys begin; `None` if those bytes are no prefix.
fn prefix_text(path: &[u8]) -> Option<String> {
    let (scheme, rest) = path.split_first()?;
    if *scheme == Scheme::Handle.key_byte() {
        let labels = str::from_utf8(rest.strip_suffix(&[handle::LABEL_END])?).ok()?;
        return Some(format!("hdl:{}", labels.replace(char::from(handle::LABEL_END), ".")));
    }
    let digits = rest.strip_prefix(GTIN_AI)?.strip_prefix(&[gs1::VALUE_END])?;
    (*scheme == Scheme::Gs1.key_byte()).then_some(format!("gs1:{}", str::from_utf8(digits).ok()?))
}

/// The hash of a key, for the hash form of its name.
pub fn name_hash(key: &Key) -> NameHash {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let mut hash = NameHash::default();
    hash.copy_from_slice(&digest[..20]);
    hash
}

/// The hash of an identifier that takes the hash form in some zone of up to [`ZONE_OCTETS_MAX`] octets: every URI, and
/// every identifier with a long name of its own. Otherwise `None`, at the cost of one pass over the key.
///
/// The result is the same for every zone, so that an index made of it is, too.
pub fn may_need_hash(identifier: &Identifier) -> Option<NameHash> {
    match own_name_octets(identifier.key().as_bytes()) {
        Some(octets) if octets + ZONE_OCTETS_MAX <= NAME_OCTETS_MAX => None,
        _ => Some(name_hash(identifier.key())),
    }
}

/// One label of an identifier's own name.
#[derive(Clone, Copy)]
enum Label<'a> {
    /// A fixed word, which needs no escapes.
    Word(&'static str),
    /// Free text, to be encoded.
    Text(&'a [u8]),
}

impl Label<'_> {
    fn octets(self) -> usize {
        match self {
            Self::Word(word) => word.len(),
            Self::Text(text) => encoded_len(text),
        }
    }
}

/// Length of an identifier's own name on the wire, in octets, without the zone; `None` if it has no such name.
fn own_name_octets(key: &[u8]) -> Option<usize> {
    let mut octets = 0;
    let mut fits = true;
    let has_name = visit_labels(key, |label| {
        let length = label.octets();
        fits &= (1..=LABEL_OCTETS_MAX).contains(&length);
        octets += length + 1;
    });
    (has_name && fits).then_some(octets)
}

/// Writes an identifier's own name, which takes `octets` on the wire.
fn own_name(key: &[u8], octets: usize) -> RelativeName {
    let mut labels = Vec::new();
    visit_labels(key, |label| labels.push(label));
    let mut name = String::with_capacity(octets);
    for label in labels.into_iter().rev() {
        if !name.is_empty() {
            name.push('.');
        }
        match label {
            Label::Word(word) => name.push_str(word),
            Label::Text(text) => label::encode(text, &mut name),
        }
    }
    RelativeName(name)
}

/// Visits the labels of the name that a key stands for, from the zone outwards; false if the key has no name.
fn visit_labels<'a>(key: &'a [u8], mut visit: impl FnMut(Label<'a>)) -> bool {
    let Some((scheme, rest)) = key.split_first() else { return false };
    let has_scheme = |scheme_of_key: Scheme| scheme_of_key.key_byte() == *scheme;
    if has_scheme(Scheme::Handle) {
        visit_handle(rest, visit);
    } else if has_scheme(Scheme::Oid) {
        visit(Label::Word("oid"));
        let mut arcs = rest;
        while let Some((arc, more)) = oid::split_arc(arcs) {
            visit(Label::Text(arc));
            arcs = more;
        }
    } else if has_scheme(Scheme::Gs1) {
        visit_gs1(rest, visit);
    } else {
        return false;
    }
    true
}

fn visit_handle<'a>(rest: &'a [u8], mut visit: impl FnMut(Label<'a>)) {
    visit(Label::Word("hdl"));
    for part in rest.split(|byte| *byte == handle::LABEL_END) {
        let Some(suffix) = part.strip_prefix(&[handle::SUFFIX_START]) else {
            visit(Label::Text(part));
            continue;
        };
        visit(Label::Word("_"));
        for piece in label::pieces(suffix) {
            visit(Label::Text(piece));
        }
    }
}

fn visit_gs1<'a>(rest: &'a [u8], mut visit: impl FnMut(Label<'a>)) {
    visit(Label::Word("gs1"));
    let mut parts = rest.split(|byte| *byte == gs1::VALUE_END);
    let ai = parts.next().unwrap_or_default();
    let value = parts.next().unwrap_or_default();
    if ai == GTIN_AI {
        visit(Label::Word("gtin"));
        value.chunks(1).for_each(|digit| visit(Label::Text(digit)));
    } else {
        visit(Label::Text(ai));
        visit(Label::Text(value));
    }
    for (index, qualifier) in parts.enumerate() {
        if index == 0 {
            visit(Label::Word("_"));
        }
        qualifier.splitn(2, |byte| *byte == gs1::QUALIFIER_VALUE).for_each(|part| visit(Label::Text(part)));
    }
}

/// The AI with a word instead of digits in names: the GTIN, `gtin`.
const GTIN_AI: &[u8] = b"01";

#[cfg(test)]
mod tests;

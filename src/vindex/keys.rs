//! Keys of the map for an entry: the MapFn of `<origin>/index/v1`.
//!
//! Each entry has a key for its identifier, and keys for each edge that one of its lines states; an `edge` line leads
//! from the entry's identifier to the one in the line, an `output` line of an event from the one in the line to the
//! event:
//!
//! ```text
//! id:<identifier of the entry>                 its list is the whole history, its last index the latest version
//! out:<identifier that the edge leads from>    all entries that state what the identifier is made of, packed in, …
//! in:<identifier that the edge leads to>       all entries that state where the identifier went
//! ns:<prefix>                                  all entries that delegate, home or revoke a prefix, under no other key
//! ```
//!
//! A key of the map is the SHA-256 of such a text. The identifier in it is the canonical form, a Handle with its ASCII
//! letters in lower case, so that equal identifiers have one key however they are spelled; a text that is no identifier
//! is used verbatim. An index appears under a key once, however many lines of the entry lead there.
//!
//! The rule is fixed for the life of an index: another rule is another index, with another origin, built from entry 0.
//! Anybody can compute the keys from the entries' texts ([`keys_of_text`]); the node computes them from stored entries
//! ([`keys_of_stored`]), and both share [`keys_of`].

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::trie::Bytes32;
use crate::{
    entry::{EntryText, StoredEntry},
    id::{Identifier, Prefix, Scheme},
};

/// Suffix of the origin of an output log behind that of its ledger: the name and version of the rule.
pub const ORIGIN_SUFFIX: &str = "/index/v1";

/// Kind of a lookup by identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LookupKind {
    /// All entries about the identifier.
    #[default]
    Id,
    /// All entries with edges from the identifier.
    Out,
    /// All entries with edges to the identifier.
    In,
}

impl LookupKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Id, Self::Out, Self::In];

    /// The word for the kind, with which its keys begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Out => "out",
            Self::In => "in",
        }
    }

    /// The map key of an identifier.
    pub fn key(self, identifier: &Identifier) -> Bytes32 {
        let mut hash = Sha256::new();
        hash.update(self.as_str());
        hash.update(":");
        hash.update(&*comparison_form(identifier));
        hash.finalize().into()
    }
}

/// The map key of a prefix: its list is the whole history of the responsibility for it.
pub fn prefix_key(prefix: &Prefix) -> Bytes32 {
    prefix_key_of(prefix.as_str())
}

/// The map key of a prefix, from its text in an entry.
fn prefix_key_of(text: &str) -> Bytes32 {
    Sha256::digest(format!("ns:{text}")).into()
}

/// A text that is equal for equal identifiers.
fn comparison_form(identifier: &Identifier) -> Cow<'_, str> {
    match identifier.scheme() {
        Scheme::Handle if identifier.as_str().bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Cow::Owned(identifier.as_str().to_ascii_lowercase())
        }
        _ => Cow::Borrowed(identifier.as_str()),
    }
}

/// A text of an entry in the place of an identifier, parsed once.
enum EntryIdentifier<'a> {
    Identifier(Cow<'a, Identifier>),
    /// A text that is no identifier.
    Text(&'a str),
}

impl<'a> EntryIdentifier<'a> {
    fn parse(text: &'a str) -> Self {
        Identifier::parse(text).map_or(Self::Text(text), |identifier| Self::Identifier(Cow::Owned(identifier)))
    }

    fn key(&self, kind: LookupKind) -> Bytes32 {
        match self {
            Self::Identifier(identifier) => kind.key(identifier),
            Self::Text(text) => Sha256::digest(format!("{}:{text}", kind.as_str())).into(),
        }
    }
}

/// Passes every key of an entry to `give`, from its text.
pub fn keys_of_text(entry: &EntryText<'_>, mut give: impl FnMut(Bytes32)) {
    if entry.kind.is_about_prefix() {
        return give(prefix_key_of(&entry.identifier));
    }
    let targets = entry.edges.iter().map(|edge| EntryIdentifier::parse(&edge.to));
    let outputs = entry.outputs.iter().map(|to| EntryIdentifier::parse(to));
    keys_of(&EntryIdentifier::parse(&entry.identifier), targets, outputs, give);
}

/// As [`keys_of_text`], from parsed identifiers: that of the entry, the targets of its edges, its outputs.
pub fn keys_of_identifiers(
    identifier: &Identifier,
    targets: &[Identifier],
    outputs: &[Identifier],
    give: impl FnMut(Bytes32),
) {
    let parsed = |identifier| EntryIdentifier::Identifier(Cow::Borrowed(identifier));
    keys_of(&parsed(identifier), targets.iter().map(parsed), outputs.iter().map(parsed), give);
}

/// Passes every key of an entry to `give`, from its stored form.
pub fn keys_of_stored(entry: &StoredEntry<'_>, mut give: impl FnMut(Bytes32)) {
    if entry.kind.is_about_prefix() {
        return give(prefix_key_of(entry.identifier));
    }
    let parsed = |identifier| EntryIdentifier::Identifier(Cow::Borrowed(identifier));
    let targets = entry.edges.iter().map(|change| parsed(change.subject().1));
    let outputs = entry.outputs.iter().flat_map(|outputs| &outputs.flows).map(|flow| parsed(&flow.identifier));
    keys_of(&EntryIdentifier::parse(entry.identifier), targets, outputs, give);
}

/// The rule: passes the keys of an entry about `identifier`, with edges to `targets` and from `outputs`, to `give`,
/// possibly more than once.
fn keys_of<'a>(
    identifier: &EntryIdentifier<'_>,
    targets: impl Iterator<Item = EntryIdentifier<'a>>,
    outputs: impl Iterator<Item = EntryIdentifier<'a>>,
    mut give: impl FnMut(Bytes32),
) {
    give(identifier.key(LookupKind::Id));
    let mut leads_out = false;
    for target in targets {
        leads_out = true;
        give(target.key(LookupKind::In));
    }
    if leads_out {
        give(identifier.key(LookupKind::Out));
    }
    let mut leads_in = false;
    for output in outputs {
        leads_in = true;
        give(output.key(LookupKind::Out));
    }
    if leads_in {
        give(identifier.key(LookupKind::In));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(text: &str) -> Bytes32 {
        Sha256::digest(text).into()
    }

    #[test]
    fn equal_identifiers_have_one_key() {
        let table = [
            ("88.118.8/JXDY", "hdl:88.118.8/jxdy", "id:88.118.8/jxdy"),
            ("1.3.6.1.4.1.9", "urn:oid:1.3.6.1.4.1.9", "id:urn:oid:1.3.6.1.4.1.9"),
            ("(01)09506000134352", "https://a.example/x/01/09506000134352", "id:https://id.gs1.org/01/09506000134352"),
            ("https://a.example/Part", "https://a.example/Part", "id:https://a.example/Part"),
        ];
        for (one, other, text) in table {
            let keys = [one, other].map(|text| LookupKind::Id.key(&Identifier::parse(text).unwrap()));
            assert_eq!(keys, [sha(text); 2], "{one}");
        }
        let kinds = LookupKind::ALL.map(|kind| kind.key(&Identifier::parse("88.1/A").unwrap()));
        assert_eq!(kinds, [sha("id:88.1/a"), sha("out:88.1/a"), sha("in:88.1/a")]);
    }

    #[test]
    fn an_entry_is_found_under_its_identifier_and_both_ends_of_its_edges() {
        let text = "touchmark/1 update\nid 88.118.8/Pump%207\nat 1\nby loopback\nedge add made-of urn:oid:2.999.1\n\
            edge remove packed-in 88.118.8/BOX\nedge add derived-from no%20identifier\n";
        let mut keys = Vec::new();
        keys_of_text(&EntryText::parse(text.as_bytes()).unwrap(), |key| keys.push(key));
        let expected =
            ["id:88.118.8/pump 7", "in:urn:oid:2.999.1", "in:88.118.8/box", "in:no identifier", "out:88.118.8/pump 7"];
        assert_eq!(keys, expected.map(sha));
        let text = "touchmark/1 event\nid 88.118.8/Melt\nat 1\nby loopback\nedge add derived-from 88.118.8/Scrap\n\
            output 88.118.8/Sheet 12 unit:kilogram\noutput 88.118.8/Slag\n";
        keys.clear();
        keys_of_text(&EntryText::parse(text.as_bytes()).unwrap(), |key| keys.push(key));
        let expected = [
            "id:88.118.8/melt",
            "in:88.118.8/scrap",
            "out:88.118.8/melt",
            "out:88.118.8/sheet",
            "out:88.118.8/slag",
            "in:88.118.8/melt",
        ];
        assert_eq!(keys, expected.map(sha));
        let text = "touchmark/1 home\nns hdl:88.118\nat 1\nby loopback\n";
        keys.clear();
        keys_of_text(&EntryText::parse(text.as_bytes()).unwrap(), |key| keys.push(key));
        assert_eq!(keys, [sha("ns:hdl:88.118")]);
        assert_eq!(keys, [prefix_key(&Prefix::parse("88.118").unwrap())]);
        let text = "touchmark/1 create\nid 88.118.8/Pump\nat 1\nby loopback\n";
        keys.clear();
        keys_of_text(&EntryText::parse(text.as_bytes()).unwrap(), |key| keys.push(key));
        assert_eq!(keys, [sha("id:88.118.8/pump")]);
    }
}

//! Principals: the maker of a change, as in the `by` line of an entry and in its stored form.
//!
//! ```text
//! principal = kind [ ":" name ]
//! kind      = a letter a-z, then letters a-z, digits and "-"; at most 32 bytes
//! name      = 1 to 96 bytes of printable ASCII without space (0x21 to 0x7E)
//! ```
//!
//! The grammar is open: a reader of the ledger accepts every well-formed kind, known or not, for the leaf hash covers
//! the principal of an entry, and nothing else depends on it. The rights of a kind are no part of the ledger.

use std::{borrow::Cow, fmt, str::FromStr};

/// Maker of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Cow<'static, str>);

/// A text is no principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "who made a change is written <kind>[:<name>]: the kind has 1 to {} bytes, of a-z, 0-9 and `-`, and begins with a letter; the name \
     has 1 to {} bytes of printable ASCII without spaces",
    Principal::KIND_BYTES_MAX,
    Principal::NAME_BYTES_MAX
)]
pub struct BadPrincipal;

impl Principal {
    /// Maximum length of a kind, in bytes.
    pub const KIND_BYTES_MAX: usize = 32;
    /// Maximum length of a name, in bytes.
    pub const NAME_BYTES_MAX: usize = 96;
    /// Maximum length of a principal, in bytes.
    pub const BYTES_MAX: usize = Self::KIND_BYTES_MAX + 1 + Self::NAME_BYTES_MAX;
    /// A client on a loopback address of the node's own machine.
    pub const LOOPBACK: Self = Self(Cow::Borrowed("loopback"));

    /// Reads a principal.
    ///
    /// # Errors
    ///
    /// [`BadPrincipal`].
    pub fn parse(text: &str) -> Result<Self, BadPrincipal> {
        // Most entries have this principal, and reading it allocates nothing.
        if text == Self::LOOPBACK.as_str() {
            return Ok(Self::LOOPBACK);
        }
        if Self::is_well_formed(text) { Ok(Self(text.to_owned().into())) } else { Err(BadPrincipal) }
    }

    /// True if [`Principal::parse`] accepts a text.
    pub fn is_well_formed(text: &str) -> bool {
        let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        let is_kind = (1..=Self::KIND_BYTES_MAX).contains(&kind.len())
            && kind.starts_with(|first: char| first.is_ascii_lowercase())
            && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let is_name = |name: &str| {
            (1..=Self::NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        is_kind && name.is_none_or(is_name)
    }

    /// The principal as it stands in the entry.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Kind, such as `loopback`.
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(kind, _)| kind)
    }

    /// Name within the kind, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.0.split_once(':').map(|(_, name)| name)
    }
}

impl FromStr for Principal {
    type Err = BadPrincipal;

    fn from_str(text: &str) -> Result<Self, BadPrincipal> {
        Self::parse(text)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{
            Draft, EntryKind, EntryText, Locator, Place, PrefixStatement, Previous, Statement, StoredEntry,
            TEXT_BYTES_MAX, TEXT_BYTES_RESERVED, leaf_hash,
        },
        id::{Identifier, Prefix},
        record::{PrefixChange, Values},
        tlog::Hash,
    };

    /// The longest principal.
    fn longest() -> String {
        format!("{}:{}", "k".repeat(Principal::KIND_BYTES_MAX), "~".repeat(Principal::NAME_BYTES_MAX))
    }

    #[test]
    fn the_grammar() {
        for (text, kind, name) in [
            ("loopback", "loopback", None),
            ("permit:ab12", "permit", Some("ab12")),
            ("x-509:CN=a,O=b/c%20", "x-509", Some("CN=a,O=b/c%20")),
            // Only the first colon divides.
            ("key:id.test/ledger+4f2a91c3:1", "key", Some("id.test/ledger+4f2a91c3:1")),
            (&longest(), &"k".repeat(32), Some(&*"~".repeat(96))),
        ] {
            let principal: Principal = text.parse().unwrap();
            assert_eq!((principal.as_str(), principal.kind(), principal.name()), (text, kind, name));
            assert_eq!(principal.to_string(), text);
        }
        assert_eq!("loopback".parse(), Ok(Principal::LOOPBACK));
        let long = [format!("{}:a", "k".repeat(33)), "k".repeat(33), format!("k:{}", "a".repeat(97))];
        let bad =
            ["", ":", "permit:", ":ab12", "Permit", "permit ab12", "1permit", "-a", "pérmit", "a:b c", "a:b\n", "a:ü"];
        for bad in bad.into_iter().chain(long.iter().map(String::as_str)) {
            assert_eq!(Principal::parse(bad), Err(BadPrincipal), "{bad}");
        }
    }

    /// Both readers, for an entry about an identifier and for one about a prefix.
    #[test]
    fn a_kind_of_tomorrow_is_read_today() {
        let place = Place {
            index: u64::MAX,
            time_ms: u64::MAX,
            version: 2,
            previous: Some(Previous { index: u64::MAX, locator: Locator(u64::MAX), leaf_hash: Hash([0xff; 32]) }),
            has_edges: false,
        };
        for text in ["permit:ab12", "loopback", &longest()] {
            let principal = Principal::parse(text).unwrap();
            let identifier = Identifier::parse("88.1/a").unwrap();
            let statement = Statement {
                kind: EntryKind::Retire,
                identifier: &identifier,
                principal: &principal,
                values: &Values::default(),
                edges: &[],
                outputs: None,
                request: None,
                erasure: None,
            };
            let prefix = Prefix::parse("88.1").unwrap();
            let said =
                PrefixStatement { prefix: &prefix, change: &PrefixChange::Home, principal: &principal, request: None };
            for draft in [Draft::new(&statement, [1; 32]).unwrap(), Draft::of_prefix(&said, [1; 32]).unwrap()] {
                let (mut stored, mut written, mut derived) = (Vec::new(), Vec::new(), Vec::new());
                draft.put_stored(&mut stored, &place);
                draft.put_text(&mut written, &place);
                assert!(stored.len() <= draft.stored_len_max());
                let entry = StoredEntry::read(&stored).unwrap();
                assert_eq!(entry.principal, principal);
                entry.put_text(&mut derived, place.previous.map(|previous| previous.leaf_hash));
                assert_eq!(leaf_hash(&written), leaf_hash(&derived));
                assert_eq!(EntryText::parse(&written).unwrap().principal, text);
                // A text outside the grammar is no principal, in either form.
                let spoiled = String::from_utf8(written).unwrap().replace(&format!("by {text}\n"), "by Permit:ab12\n");
                assert!(EntryText::parse(spoiled.as_bytes()).unwrap_err().to_string().contains("line 4"));
            }
        }
    }

    #[test]
    fn an_entry_has_room_for_the_longest() {
        let line = "at ".len() + 20 + "\nby \n".len() + Principal::BYTES_MAX + "prev  \n".len() + 20 + 44;
        assert!(line <= TEXT_BYTES_RESERVED && TEXT_BYTES_RESERVED < TEXT_BYTES_MAX);
    }
}

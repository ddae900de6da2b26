//! Prefixes: what is homed on a node, or delegated to another one.
//!
//! A prefix is a [`Subtree`] that has a name and a path: bytes with which the keys of everything below begin. Of two prefixes that
//! cover an identifier the one with the longer path is the closer one; both ends of a path are ends of labels. The canonical form is `.`
//! for everything, `hdl:` and the labels in lower case for Handles, `gs1:` and digits for a GS1 company prefix, and otherwise the
//! canonical form of the identifier. A single Handle is no prefix: a suffix has no labels.

use std::fmt;

use super::{
    Identifier, Key, KeyPrefix, ParseError, Refusal, Scheme,
    subtree::{EVERYTHING, GS1_PREFIX, Subtree, handle_labels},
};

/// The first byte of the keys of prefixes; those of identifiers begin with that of their scheme.
const KEY_BYTE: u8 = b'N';

/// A prefix in its canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    text: Box<str>,
    subtree: Subtree,
}

impl Prefix {
    /// The longest canonical form, in bytes: a Handle prefix of 255 characters, or a URI.
    pub const BYTES_MAX: usize = 2_304;

    /// Reads a prefix, written as for [`Subtree::parse`].
    ///
    /// # Errors
    ///
    /// [`ParseError`]; also for nothing at all, and for a single Handle.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let refuse = |rule: &'static str| Err(Refusal::new(0, rule).into_error(text));
        if text.is_empty() {
            return refuse("a prefix is not empty; `.` stands for every identifier");
        }
        let subtree = Subtree::parse(text)?;
        let text = if text == EVERYTHING || text.starts_with(GS1_PREFIX) {
            text.into()
        } else if let Some(labels) = handle_labels(text) {
            format!("hdl:{}", labels.to_ascii_lowercase()).into()
        } else {
            let identifier = Identifier::parse(text)?;
            if identifier.scheme() == Scheme::Handle {
                return refuse("a single Handle is no prefix: give what stands before the `/`");
            }
            identifier.as_str().into()
        };
        Ok(Self { text, subtree })
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands for the prefix where keys are kept: of its own kind, so that it is never that of an identifier.
    pub fn key(&self) -> Key {
        Key::from_bytes([&[KEY_BYTE], self.path()].concat())
    }

    /// What the keys of all prefixes begin with, and of no identifier.
    pub fn keys() -> KeyPrefix {
        KeyPrefix::from_bytes([KEY_BYTE])
    }

    /// What the keys of all identifiers below begin with.
    pub fn path(&self) -> &[u8] {
        self.subtree.key_prefix().as_bytes()
    }

    /// True for the prefix of every identifier.
    pub fn is_everything(&self) -> bool {
        self.path().is_empty()
    }

    /// True when an identifier with this key is below.
    pub fn covers(&self, key: &Key) -> bool {
        self.subtree.covers(key)
    }

    /// True when everything below `other` is below this one; a prefix contains itself.
    pub fn contains(&self, other: &Self) -> bool {
        self.contains_path(other.path())
    }

    /// True when everything is below whose key begins with these bytes, which end with a label.
    pub fn contains_path(&self, path: &[u8]) -> bool {
        self.subtree.covers_bytes(path)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (written, canonical) in [
            (".", "."),
            ("88.118", "hdl:88.118"),
            ("HDL:0.NA", "hdl:0.na"),
            ("1.3.6", "urn:oid:1.3.6"),
            ("{iso(1) 3 6}", "urn:oid:1.3.6"),
            ("hdl:1.3.6", "hdl:1.3.6"),
            ("gs1:0614141", "gs1:0614141"),
            ("(01)09506000134352", "https://id.gs1.org/01/09506000134352"),
            ("https://a.example/p/", "https://a.example/p/"),
        ] {
            let prefix = Prefix::parse(written).unwrap();
            assert_eq!(prefix.as_str(), canonical, "{written}");
            assert_eq!(Prefix::parse(canonical).unwrap(), prefix);
        }
        for (written, rule) in [("", "not empty"), ("88.118/x", "single Handle"), ("gs1:x", "digits only")] {
            let error = Prefix::parse(written).unwrap_err();
            assert!(error.rule.contains(rule), "{written}: {error}");
        }
    }

    #[test]
    fn no_key_is_that_of_an_identifier() {
        let schemes = [Scheme::Handle, Scheme::Oid, Scheme::Gs1, Scheme::Uri];
        assert!(schemes.iter().all(|scheme| scheme.key_byte() != KEY_BYTE));
        assert_eq!(Prefix::parse("88.1").unwrap().key().as_bytes(), b"NH88\x011\x01");
    }

    #[test]
    fn what_is_below_what() {
        for (upper, lower, is_below) in [
            (".", "88", true),
            ("88", "88.118", true),
            ("88", "88", true),
            ("88.118", "88", false),
            ("88.118", "88.1180", false),
            ("1.3", "1.3.6", true),
            ("gs1:06", "gs1:0614141", true),
            ("gs1:0614141", "(01)00614141322602", true),
            ("https://a.example/p", "https://a.example/p/q", true),
            ("https://a.example/p", "https://a.example/pq", false),
        ] {
            let [upper, lower] = [upper, lower].map(|text| Prefix::parse(text).unwrap());
            assert_eq!(upper.contains(&lower), is_below, "{upper} {lower}");
        }
    }
}

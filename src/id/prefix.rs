//! Prefixes: subtrees that are homed on a node or delegated to another one.
//!
//! A prefix is a [`Subtree`] with a name and a path: the bytes with which the keys of everything below begin. Of two
//! prefixes that cover an identifier, the one with the longer path is the closer match; both ends of a path are ends of
//! labels. The canonical form is `.` for everything, `hdl:` and the labels in lower case for Handles, `gs1:` and digits
//! for a GS1 company prefix, and otherwise the canonical form of the identifier. A single Handle is no prefix: a suffix
//! has no labels.

use std::fmt;

use super::{
    Identifier, Key, KeyPrefix, ParseError, Refusal, Scheme, gs1,
    subtree::{EVERYTHING, GS1_PREFIX, GS1_PREFIX_DIGITS_MAX, Subtree, URI_DELIMITERS, handle_labels},
};

/// The first byte of the keys of prefixes; keys of identifiers begin with the byte of their scheme instead.
const KEY_BYTE: u8 = b'N';
/// Maximum number of texts that are tried as covering prefixes: some of them are no prefixes.
const COVERING_TRIES_MAX: usize = 2 * Prefix::COVERING_MAX;

/// A prefix in its canonical form.
///
/// ```
/// use touchmark::id::{Identifier, Prefix};
///
/// let prefix = Prefix::parse("88.118")?;
/// assert_eq!(prefix.as_str(), "hdl:88.118");
/// // Prefixes match whole labels.
/// assert!(prefix.covers(Identifier::parse("88.118.8/JXDY2106023")?.key()));
/// assert!(!prefix.covers(Identifier::parse("88.1180/JXDY2106023")?.key()));
/// # Ok::<(), touchmark::id::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    text: Box<str>,
    subtree: Subtree,
}

impl Prefix {
    /// Maximum length of the canonical form, in bytes: a Handle prefix of 255 characters, or a URI.
    pub const BYTES_MAX: usize = 2_304;
    /// Maximum number of prefixes that [`Prefix::covering`] lists for one identifier.
    pub const COVERING_MAX: usize = 32;

    /// The prefix of every identifier.
    pub fn everything() -> Self {
        Self { text: EVERYTHING.into(), subtree: Subtree::all() }
    }

    /// Reads a prefix, written as for [`Subtree::parse`].
    ///
    /// # Errors
    ///
    /// [`ParseError`]; also for an empty text, and for a single Handle.
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

    /// Every prefix that covers an identifier and is longer than `upper`, longest first; `None` if there are more than
    /// [`Prefix::COVERING_MAX`], so that a list is always complete.
    ///
    /// | the identifier is | its prefixes are |
    /// |---|---|
    /// | a Handle | its labels before the `/`, one and more |
    /// | an OID | its arcs, two and more, itself included |
    /// | a GTIN | `gs1:` and 1 to 12 digits; the GTIN; with each further qualifier |
    /// | another GS1 key | the key; with each further qualifier |
    /// | a URI | the text before each of `/`, `?`, `#` and `:`, without and with it, where that is a URI; itself |
    pub fn covering(identifier: &Identifier, upper: &Self) -> Option<Vec<Self>> {
        let mut found = Vec::new();
        for (tried, text) in covering_texts(identifier).enumerate() {
            if tried == COVERING_TRIES_MAX {
                return None;
            }
            // A text that is no prefix, or one of another scheme, cannot have been delegated as a prefix of this
            // identifier.
            let prefix = Self::parse(&text).ok().filter(|prefix| prefix.covers(identifier.key()));
            let Some(prefix) = prefix else { continue };
            if prefix.path().len() <= upper.path().len() {
                break;
            }
            if found.len() == Self::COVERING_MAX {
                return None;
            }
            found.push(prefix);
        }
        Some(found)
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key of the prefix among stored keys; its first byte keeps it apart from keys of identifiers.
    pub fn key(&self) -> Key {
        Key::from_bytes([&[KEY_BYTE], self.path()].concat())
    }

    /// The key prefix shared by the keys of all prefixes, and of no identifier.
    pub fn keys() -> KeyPrefix {
        KeyPrefix::from_bytes([KEY_BYTE])
    }

    /// The bytes with which the keys of all identifiers below begin.
    pub fn path(&self) -> &[u8] {
        self.subtree.key_prefix().as_bytes()
    }

    /// True for the prefix of every identifier.
    pub fn is_everything(&self) -> bool {
        self.path().is_empty()
    }

    /// True if an identifier with this key lies below.
    pub fn covers(&self, key: &Key) -> bool {
        self.subtree.covers(key)
    }

    /// True if everything below `other` lies below this prefix; a prefix contains itself.
    pub fn contains(&self, other: &Self) -> bool {
        self.contains_path(other.path())
    }

    /// True if every identifier whose key begins with `path`, which ends at the end of a label, lies below.
    pub fn contains_path(&self, path: &[u8]) -> bool {
        self.subtree.covers_bytes(path)
    }
}

/// Texts among which are all prefixes that cover an identifier, except the one of everything; longest first.
fn covering_texts(identifier: &Identifier) -> Box<dyn Iterator<Item = String> + '_> {
    let text = identifier.as_str();
    let key = identifier.key().as_bytes();
    match identifier.scheme() {
        Scheme::Handle => {
            let labels = text.split_once('/').map_or(text, |(labels, _)| labels);
            Box::new(cuts(labels, b".").map(|labels| format!("hdl:{labels}")))
        }
        Scheme::Oid => Box::new(cuts(text, b".").map(str::to_owned)),
        Scheme::Gs1 => {
            let digits = key.strip_prefix(gs1::company_key_prefix("").as_bytes());
            let digits = digits.and_then(|digits| std::str::from_utf8(digits.get(..GS1_PREFIX_DIGITS_MAX)?).ok());
            let company = digits.into_iter().flat_map(|digits| {
                (1..=digits.len()).rev().filter_map(move |end| Some(format!("{GS1_PREFIX}{}", digits.get(..end)?)))
            });
            Box::new(cuts(text, b"/").map(str::to_owned).chain(company))
        }
        Scheme::Uri => {
            let is_delimiter = |at: usize| text.as_bytes().get(at).is_none_or(|byte| URI_DELIMITERS.contains(byte));
            let ends = (1..=text.len()).rev().filter(move |end| is_delimiter(*end) || is_delimiter(end - 1));
            Box::new(ends.filter_map(|end| text.get(..end)).map(str::to_owned))
        }
    }
}

/// A text, then its parts before each of the ASCII characters in `ends`; longest first.
fn cuts<'a>(text: &'a str, ends: &'static [u8]) -> impl Iterator<Item = &'a str> {
    let before = (0..text.len()).rev().filter(|at| ends.contains(&text.as_bytes()[*at]));
    [text].into_iter().chain(before.filter_map(|at| text.get(..at)))
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
    use proptest::prelude::*;

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

    #[test]
    fn all_that_cover() {
        let table: [(&str, &str, &[&str]); 11] = [
            ("88.A.8/x.y/z", ".", &["hdl:88.a.8", "hdl:88.a", "hdl:88"]),
            ("88.A.8/x", "88", &["hdl:88.a.8", "hdl:88.a"]),
            ("88.A.8/x", "88.a.8", &[]),
            ("1.3.6.1", ".", &["urn:oid:1.3.6.1", "urn:oid:1.3.6", "urn:oid:1.3"]),
            ("1.3.6.1", "1.3.6.1", &[]),
            (
                "(01)09506000134352(10)L/1(21)s",
                "gs1:9506000134",
                &[
                    "https://id.gs1.org/01/09506000134352/10/L%2F1/21/s",
                    "https://id.gs1.org/01/09506000134352/10/L%2F1",
                    "https://id.gs1.org/01/09506000134352",
                    "gs1:950600013435",
                    "gs1:95060001343",
                ],
            ),
            ("(00)006141411234567890", ".", &["https://id.gs1.org/00/006141411234567890"]),
            (
                "https://a.example:1/p?q",
                "https://a.example",
                &[
                    "https://a.example:1/p?q",
                    "https://a.example:1/p?",
                    "https://a.example:1/p",
                    "https://a.example:1/",
                    "https://a.example:1",
                    "https://a.example:",
                ],
            ),
            ("https://a/", ".", &["https://a/", "https://a", "https://", "https:/"]),
            // A Digital Link is a GS1 key, wherever it stands.
            (
                "https://a/01/09506000134352",
                "gs1:95060001343",
                &["https://id.gs1.org/01/09506000134352", "gs1:950600013435"],
            ),
            ("did:a:b", ".", &["did:a:b", "did:a:", "did:a"]),
        ];
        for (identifier, upper, expected) in table {
            let identifier = Identifier::parse(identifier).unwrap();
            let covering = Prefix::covering(&identifier, &Prefix::parse(upper).unwrap()).unwrap();
            assert_eq!(covering.iter().map(Prefix::as_str).collect::<Vec<_>>(), expected, "{identifier} {upper}");
        }
    }

    #[test]
    fn too_many_that_cover_are_none() {
        for count in [Prefix::COVERING_MAX, Prefix::COVERING_MAX + 1] {
            let labels = vec!["1"; count].join(".");
            let identifiers = [format!("{labels}/x"), format!("{labels}.1"), format!("did:a{}", ":".repeat(count - 1))];
            for text in identifiers {
                let identifier = Identifier::parse(&text).unwrap();
                let covering = Prefix::covering(&identifier, &Prefix::everything());
                let expected = (count <= Prefix::COVERING_MAX).then_some(count);
                assert_eq!(covering.map(|covering| covering.len()), expected, "{text}");
            }
        }
        let deep = Identifier::parse(&format!("{}/x", vec!["1"; 100].join("."))).unwrap();
        let upper = Prefix::parse(&format!("hdl:{}", vec!["1"; 90].join("."))).unwrap();
        assert_eq!(Prefix::covering(&deep, &upper).unwrap().len(), 10);
        let worst = Identifier::parse(&format!("a:b{}", "/".repeat(2_000))).unwrap();
        assert_eq!(Prefix::covering(&worst, &Prefix::everything()), None);
    }

    proptest! {
        #[test]
        fn none_that_covers_is_left_out(
            start in prop::sample::select(vec![
                "88.1", "hdl:88.1", "1.3", "urn:oid:1.3", "https://a", "https://a/01/09506000134352", "urn:a", "did:a",
                "https://id.gs1.org/01/09506000134352", "https://id.gs1.org/414/9506000134352", "(01)09506000134352",
            ]),
            parts in prop::collection::vec("[./:?#]{1,2}[0-9aB]{0,3}|/10/[a-z]|/21/[a-z]|[(]21[)]x", 0..5),
            tail in "/x|",
        ) {
            let (whole, everything) = (format!("{start}{}{tail}", parts.concat()), Prefix::everything());
            let Ok(identifier) = Identifier::parse(&whole) else { return Ok(()) };
            let covering = Prefix::covering(&identifier, &everything).unwrap();
            let lengths: Vec<_> = covering.iter().map(|prefix| prefix.path().len()).collect();
            prop_assert!(lengths.is_sorted_by(|a, b| a > b), "{:?}", covering);
            let texts = (1..=whole.len()).flat_map(|end| [whole[..end].to_owned(), format!("hdl:{}", &whole[..end])]);
            let company = (1..=12).map(|end| format!("gs1:{}", &"950600013435"[..end]));
            for text in texts.chain(company) {
                let Ok(prefix) = Prefix::parse(&text) else { continue };
                let is_given = covering.contains(&prefix);
                prop_assert_eq!(is_given, prefix.covers(identifier.key()), "{} of {}", prefix, identifier);
            }
        }
    }
}

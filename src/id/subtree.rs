//! Subtrees of identifiers: the written form of a prefix, and the keys that it covers.
//!
//! | written | covers |
//! |---|---|
//! | an empty text, `.` | every identifier |
//! | `88.118`, `hdl:88.118` | Handles of this prefix and of those below: `88.118/x`, `88.118.8/x`, and not `88.1180/x` |
//! | an OID | itself and the arcs below it |
//! | a GS1 key | itself and its qualifiers: for a GTIN, its lots and serial numbers |
//! | `gs1:` and 1 to 12 digits | GTINs whose digits behind the first begin with these: those of a company, in any packaging |
//! | a URI | itself and the URIs below it, behind `/`, `?`, `#` or `:` |
//! | a Handle | itself alone: a suffix has no labels |
//!
//! A text that is an identifier in any written form is read as that identifier: `1.3` is an OID, and `hdl:1.3` a Handle
//! prefix.

use super::{
    Identifier, Key, KeyPrefix, ParseError, Refusal, Scheme, gs1, handle, refuse_controls, refuse_outer_space,
};

/// The written form of the prefix of every identifier.
pub(super) const EVERYTHING: &str = ".";
/// Text in front of the digits of a GS1 company prefix.
pub(super) const GS1_PREFIX: &str = "gs1:";
/// Maximum digits of a GS1 company prefix: a GTIN without its first digit and its check digit.
pub(super) const GS1_PREFIX_DIGITS_MAX: usize = 12;
/// Characters that separate a URI from the URIs below it.
pub(super) const URI_DELIMITERS: &[u8] = b"/?#:";

/// The set of identifiers below a prefix, matched label by label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree {
    prefix: KeyPrefix,
    below: Below,
}

/// Continuations of the prefix that a key of the subtree may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    /// Anything: the prefix ends at the end of a label.
    All,
    /// Nothing.
    Nothing,
    /// A GS1 qualifier.
    Qualifiers,
    /// Text that starts with a delimiter of URIs.
    Delimited,
}

impl Subtree {
    /// Every identifier.
    pub fn all() -> Self {
        Self { prefix: KeyPrefix::from_bytes([]), below: Below::All }
    }

    /// Reads a prefix; the module header lists the written forms.
    ///
    /// # Errors
    ///
    /// [`ParseError`], as for [`Identifier::parse`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text == EVERYTHING {
            return Ok(Self::all());
        }
        if let Some(digits) = text.strip_prefix(GS1_PREFIX) {
            return gs1_prefix(digits).map_err(|refusal| refusal.after(GS1_PREFIX.len()).into_error(text));
        }
        match handle_prefix(text) {
            Some(prefix) => prefix.map_err(|refusal| refusal.into_error(text)),
            None => Identifier::parse(text).map(|identifier| Self::of(&identifier)),
        }
    }

    fn of(identifier: &Identifier) -> Self {
        let key = identifier.key().as_bytes();
        let below = match identifier.scheme() {
            Scheme::Handle => Below::Nothing,
            Scheme::Oid => Below::All,
            Scheme::Gs1 => Below::Qualifiers,
            Scheme::Uri if key.last().is_some_and(|last| URI_DELIMITERS.contains(last)) => Below::All,
            Scheme::Uri => Below::Delimited,
        };
        Self { prefix: KeyPrefix::from_bytes(key), below }
    }

    /// The bytes with which the keys of all identifiers in the subtree begin.
    pub fn key_prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// True if the identifier with this key is in the subtree.
    pub fn covers(&self, key: &Key) -> bool {
        self.covers_bytes(key.as_bytes())
    }

    /// True if every identifier whose key begins with `bytes`, which end at the end of a label, is in the subtree.
    pub fn covers_bytes(&self, bytes: &[u8]) -> bool {
        let Some(rest) = bytes.strip_prefix(self.prefix.as_bytes()) else { return false };
        match (self.below, rest.first()) {
            (Below::All, _) | (_, None) => true,
            (Below::Nothing, Some(_)) => false,
            (Below::Qualifiers, Some(next)) => *next == gs1::VALUE_END,
            (Below::Delimited, Some(next)) => URI_DELIMITERS.contains(next),
        }
    }
}

/// Reads the digits of a GS1 company prefix.
fn gs1_prefix(digits: &str) -> Result<Subtree, Refusal> {
    if let Some(position) = digits.bytes().position(|byte| !byte.is_ascii_digit()) {
        return Err(Refusal::new(position, "a GS1 company prefix has digits only"));
    }
    if !(1..=GS1_PREFIX_DIGITS_MAX).contains(&digits.len()) {
        let rule =
            format!("a GS1 company prefix has 1 to {GS1_PREFIX_DIGITS_MAX} digits; this one has {}", digits.len());
        return Err(Refusal::new(0, rule));
    }
    Ok(Subtree { prefix: gs1::company_key_prefix(digits), below: Below::All })
}

/// Reads a text that can be nothing but a Handle prefix; `None` for any other text.
fn handle_prefix(text: &str) -> Option<Result<Subtree, Refusal>> {
    let labels = handle_labels(text)?;
    let start = text.len() - labels.len();
    let checked = refuse_outer_space(labels).and_then(|()| refuse_controls(labels));
    let prefix = checked.and_then(|()| handle::prefix_key(labels));
    Some(prefix.map(|prefix| Subtree { prefix, below: Below::All }).map_err(|refusal| refusal.after(start)))
}

/// The labels of a text that can be nothing but a Handle prefix; `None` for any other text.
pub(super) fn handle_labels(text: &str) -> Option<&str> {
    let after_scheme = text.get(..4).filter(|head| head.eq_ignore_ascii_case("hdl:")).map(|_| &text[4..]);
    let labels = after_scheme.unwrap_or(text);
    let is_prefix = !labels.contains('/') && (after_scheme.is_some() || !is_other(text));
    is_prefix.then_some(labels)
}

/// True for a text that is an identifier of another scheme, or is written like one.
fn is_other(text: &str) -> bool {
    text.starts_with(['(', '{']) || text.contains(':') || Identifier::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_decide() {
        let table: [(&str, &[&str], &[&str]); 14] = [
            ("", &["88.118/x", "1.3", "https://a.example/"], &[]),
            (".", &["88.118/x", "1.3", "https://a.example/"], &[]),
            (
                "gs1:950600",
                &["(01)09506000134352", "(01)19506000134359(21)x"],
                &["(8004)95060015678", "(01)00614141322602"],
            ),
            ("88.118", &["88.118/x", "hdl:88.118.8/x"], &["88.1180/x", "88/118", "8.118/x", "urn:oid:2.88.118"]),
            ("HDL:0.na", &["0.NA/88.118", "0.na.b/c"], &["0.nab/c"]),
            ("hdl:1.3", &["1.3/x", "1.3.6/y"], &["urn:oid:1.3.6"]),
            ("1.3", &["1.3", "1.3.6.1", "{iso(1) 3 6}"], &["1.30", "1.2", "1.3/x"]),
            ("urn:oid:2.999", &["2.999.1"], &["2.9990"]),
            ("88.118/AB", &["88.118/ab"], &["88.118/abc", "88.118/ab/c", "88.118.8/ab"]),
            (
                "(01)09506000134352",
                &["(01)09506000134352", "(01)09506000134352(21)x", "https://a.example/01/09506000134352/10/L1"],
                &["(01)19506000134359"],
            ),
            (
                "https://a.example/p",
                &["https://a.example/p", "https://a.example/p/1", "https://a.example/p?q"],
                &["https://a.example/pq"],
            ),
            ("https://a.example/p/", &["https://a.example/p/", "https://a.example/p/1"], &["https://a.example/p"]),
            ("did:web:a.example", &["did:web:a.example", "did:web:a.example:b"], &["did:web:a.example2"]),
            ("88", &["88/x", "88.1/x"], &["880/x"]),
        ];
        for (prefix, inside, outside) in table {
            let subtree = Subtree::parse(prefix).unwrap();
            let covers = |text: &&str| subtree.covers(Identifier::parse(text).unwrap().key());
            assert!(inside.iter().all(covers), "{prefix} {inside:?}");
            assert!(!outside.iter().any(covers), "{prefix} {outside:?}");
        }
    }

    #[test]
    fn what_is_no_prefix() {
        let table = [
            ("gs1:", "1 to 12 digits"),
            ("gs1:95x", "digits only"),
            ("88..1", "empty"),
            ("hdl:", "empty"),
            ("88.1 ", "white space"),
            ("a\u{1}b", "control"),
            ("(01)1", ""),
        ];
        for (text, rule) in table {
            let error = Subtree::parse(text).unwrap_err();
            assert!(error.rule.contains(rule), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn prefixes_of_handles_count_by_label(
            prefix in proptest::collection::vec("[0-9a-cA-C]{1,2}", 1..4),
            labels in proptest::collection::vec("[0-9a-cA-C]{1,2}", 1..5),
            suffix in "[a-z0-9./]{1,4}",
        ) {
            let subtree = Subtree::parse(&format!("hdl:{}", prefix.join("."))).unwrap();
            let identifier = Identifier::parse(&format!("{}/{suffix}", labels.join("."))).unwrap();
            let fold = |labels: &[String]| labels.iter().map(|label| label.to_lowercase()).collect::<Vec<_>>();
            prop_assert_eq!(subtree.covers(identifier.key()), fold(&labels).starts_with(&fold(&prefix)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            // An identifier covers itself.
            if let (Ok(subtree), Ok(identifier)) = (Subtree::parse(&text), Identifier::parse(&text)) {
                prop_assert!(subtree.covers(identifier.key()));
            }
        }
    }
}

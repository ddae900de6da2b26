//! Handles: `prefix/suffix`, the first slash splits (RFC 3651 section 2).
//!
//! The canonical form is the text as written without `hdl:`; only ASCII case does not count. The key holds the prefix
//! label by label, so that `88.118` covers `88.118.8` and not `88.1180`:
//!
//! ```text
//! key = 'H' { label 0x01 } 0x02 suffix        ASCII letters in lower case
//! ```
//!
//! Control characters are refused, so nothing in a label or suffix can be taken for a separator.

use super::{Identifier, Key, KeyPrefix, Refusal, Scheme, Shape, refuse_controls, refuse_outer_space, shape};

/// Maximum length of a Handle, in characters.
pub(super) const CHARS_MAX: usize = 255;
/// Maximum length of a Handle, in bytes: four for a character of UTF-8.
const BYTES_MAX: usize = 4 * CHARS_MAX;

/// Key byte behind each label of the prefix.
pub(super) const LABEL_END: u8 = 0x01;
/// Key byte in front of the suffix.
pub(super) const SUFFIX_START: u8 = 0x02;

/// Reads a Handle without `hdl:`.
pub(super) fn from_bare(text: &str) -> Result<Identifier, Refusal> {
    check_length(text)?;
    refuse_outer_space(text)?;
    refuse_controls(text)?;
    let Some((prefix, suffix)) = text.split_once('/') else {
        return Err(Refusal::new(text.len(), "a Handle is prefix/suffix; there is no `/`"));
    };
    if suffix.is_empty() {
        return Err(Refusal::new(text.len(), "the suffix of a Handle is not empty"));
    }
    if text.starts_with(['(', '{']) || shape(text.as_bytes()) == Shape::Scheme {
        return Err(Refusal::new(0, "a Handle prefix does not begin like a URI scheme, nor with `(` or `{`"));
    }
    let key = key(prefix, suffix)?;
    Ok(Identifier::new(Scheme::Handle, text, key))
}

fn check_length(text: &str) -> Result<(), Refusal> {
    if text.len() > BYTES_MAX {
        let rule = format!(
            "a Handle has at most {CHARS_MAX} characters ({BYTES_MAX} bytes); this one has {} bytes",
            text.len()
        );
        return Err(Refusal::new(0, rule));
    }
    // Counting characters is needed only when the bytes alone do not settle it.
    if text.len() <= CHARS_MAX {
        return Ok(());
    }
    match text.chars().count() {
        found if found > CHARS_MAX => {
            let rule = format!("a Handle has at most {CHARS_MAX} characters; this one has {found}");
            Err(Refusal::new(0, rule))
        }
        _ => Ok(()),
    }
}

/// The key prefix shared by all Handles whose prefix is `prefix` or lies below it.
pub(super) fn prefix_key(prefix: &str) -> Result<KeyPrefix, Refusal> {
    check_length(prefix)?;
    let mut key = Vec::with_capacity(prefix.len() + 2);
    put_labels(&mut key, prefix)?;
    Ok(KeyPrefix::from_bytes(key))
}

fn key(prefix: &str, suffix: &str) -> Result<Key, Refusal> {
    let mut key = Vec::with_capacity(prefix.len() + suffix.len() + 3);
    put_labels(&mut key, prefix)?;
    key.push(SUFFIX_START);
    key.extend(suffix.bytes().map(|byte| byte.to_ascii_lowercase()));
    Ok(Key::from_bytes(key))
}

/// Appends the scheme and the labels of a prefix, and refuses empty ones.
fn put_labels(key: &mut Vec<u8>, prefix: &str) -> Result<(), Refusal> {
    key.push(Scheme::Handle.key_byte());
    let mut label_start = 0;
    for (position, byte) in prefix.bytes().chain([b'.']).enumerate() {
        if byte != b'.' {
            key.push(byte.to_ascii_lowercase());
            continue;
        }
        if position == label_start {
            return Err(Refusal::new(position, "a label of a Handle prefix is not empty"));
        }
        key.push(LABEL_END);
        label_start = position + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::id::{Identifier, Scheme, WrittenForm};

    fn check(text: &str, form: WrittenForm, canonical: &str, key: &[u8]) {
        let (identifier, found) = Identifier::parse_written(text).unwrap();
        assert_eq!(found, form, "{text}");
        assert_eq!(identifier.scheme(), Scheme::Handle, "{text}");
        assert_eq!(identifier.as_str(), canonical);
        assert_eq!(identifier.key().as_bytes(), key, "{text}");
    }

    fn check_refused(text: &str, position: usize, rule: &str) {
        let error = Identifier::parse(text).unwrap_err();
        assert_eq!(error.position, position, "{error}");
        assert!(error.rule.contains(rule), "{error}");
    }

    #[test]
    fn written_forms() {
        let key = b"H88\x01118\x018\x01\x02jxdy2106023";
        check("88.118.8/JXDY2106023", WrittenForm::Handle, "88.118.8/JXDY2106023", key);
        check("hdl:88.118.8/JXDY2106023", WrittenForm::HandleUri, "88.118.8/JXDY2106023", key);
        check("HDL:88.118.8/jxdy2106023", WrittenForm::HandleUri, "88.118.8/jxdy2106023", key);
        check("0.NA/88.118", WrittenForm::Handle, "0.NA/88.118", b"H0\x01na\x01\x0288.118");
        check("10.1000/182", WrittenForm::Handle, "10.1000/182", b"H10\x011000\x01\x02182");
        check("88/a/b c", WrittenForm::Handle, "88/a/b c", b"H88\x01\x02a/b c");
        check("88//", WrittenForm::Handle, "88//", b"H88\x01\x02/");
        check("88/É部", WrittenForm::Handle, "88/É部", "H88\x01\x02É部".as_bytes());
        check("8:8/x", WrittenForm::Handle, "8:8/x", b"H8:8\x01\x02x");
    }

    #[test]
    fn case_does_not_count() {
        let [a, b] = ["88.A/bC", "88.a/Bc"].map(|text| Identifier::parse(text).unwrap());
        assert_eq!(a, b);
        assert_ne!(Identifier::parse("88/É").unwrap(), Identifier::parse("88/é").unwrap());
    }

    #[test]
    fn refused() {
        check_refused("/x", 1, "number or a name");
        check_refused("hdl:/x", 4, "label of a Handle prefix is not empty");
        check_refused("88./x", 3, "label of a Handle prefix is not empty");
        check_refused("88..1/x", 3, "label of a Handle prefix is not empty");
        check_refused(".88/x", 0, "label of a Handle prefix is not empty");
        check_refused("88/", 3, "suffix of a Handle is not empty");
        check_refused("hdl:88", 6, "there is no `/`");
        check_refused("88/a\tb", 4, "control character U+0009");
        check_refused("88/a\u{9f}b", 4, "control character U+009F");
        check_refused("88/a\u{7f}", 4, "control character U+007F");
        check_refused(" 88/a", 0, "white space before");
        check_refused("88/a\n", 4, "white space after");
        check_refused("hdl: 88/a", 4, "white space before");
        check_refused("hdl:http://a", 4, "begin like a URI scheme");
        check_refused("hdl:hdl:88/a", 4, "begin like a URI scheme");
        check_refused("hdl:(01)/a", 4, "nor with `(`");
    }

    #[test]
    fn length() {
        let characters = |count: usize| format!("88/{}", "é".repeat(count - 3));
        assert!(Identifier::parse(&characters(255)).is_ok());
        check_refused(&characters(256), 0, "at most 255 characters; this one has 256");
        assert!(Identifier::parse(&format!("88/{}", "😀".repeat(252))).is_ok());
        check_refused(&format!("88/{}", "😀".repeat(255)), 0, "(1020 bytes); this one has 1023 bytes");
        check_refused(&"a./".repeat(1_000_000), 0, "this one has 3000000 bytes");
        check_refused(&format!("hdl:{}", "a".repeat(10_000_000)), 4, "this one has 10000000 bytes");
    }

    proptest! {
        #[test]
        fn prefix_of_labels_is_prefix_of_key(
            labels in prop::collection::vec("[0-9a-c]{1,3}", 1..5),
            other in prop::collection::vec("[0-9a-c]{1,3}", 1..5),
        ) {
            let parse = |labels: &[String]| Identifier::parse(&format!("{}/x", labels.join("."))).unwrap();
            let (longer, shorter) = (parse(&labels), parse(&other));
            let prefix = shorter.key().as_bytes().strip_suffix(b"\x02x").unwrap();
            prop_assert_eq!(longer.key().as_bytes().starts_with(prefix), labels.starts_with(&other));
        }
    }
}

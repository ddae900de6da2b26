//! URIs: any absolute URI that no other scheme claims, opaque, kept as given.
//!
//! RFC 3986 characters, and those beyond ASCII that an IRI may have (RFC 3987). Nothing is normalised: `HTTP://…` and
//! `http://…` are two identifiers, because the maker's own rules for its URIs are unknown here.

use super::{Identifier, Key, Refusal, Scheme, code_point, refuse_controls};

/// Maximum length of a URI, in bytes.
pub(super) const BYTES_MAX: usize = 2_048;

/// Checks the length and the characters of a text that begins with a URI scheme and its colon.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    if text.len() > BYTES_MAX {
        let rule = format!("a URI has at most {BYTES_MAX} bytes; this one has {}", text.len());
        return Err(Refusal::new(0, rule));
    }
    if text.ends_with(':') && text.bytes().filter(|byte| *byte == b':').count() == 1 {
        return Err(Refusal::new(text.len(), "a URI has something after its scheme"));
    }
    let bytes = text.as_bytes();
    // Most URIs have allowed bytes only; the slow check begins at the first other one.
    match bytes.iter().position(|byte| !ALLOWED[usize::from(*byte)]) {
        None => {}
        Some(position) => check_from(text, position)?,
    }
    Ok(())
}

/// Assembles the identifier of a checked URI.
pub(super) fn build(text: &str) -> Identifier {
    let mut key = Vec::with_capacity(text.len() + 1);
    key.push(Scheme::Uri.key_byte());
    key.extend_from_slice(text.as_bytes());
    Identifier::new(Scheme::Uri, text, Key::from_bytes(key))
}

/// Checks a URI from `start` on, the first byte that is not in [`ALLOWED`].
fn check_from(text: &str, start: usize) -> Result<(), Refusal> {
    refuse_controls(text)?;
    let bytes = text.as_bytes();
    let rest = text.get(start..).unwrap_or_default();
    for (at, character) in rest.char_indices() {
        let position = start + at;
        let is_hex = |offset: usize| bytes.get(position + offset).is_some_and(u8::is_ascii_hexdigit);
        match character {
            '%' if is_hex(1) && is_hex(2) => {}
            '%' => return Err(Refusal::new(position, "`%` is followed by two hexadecimal digits (RFC 3986)")),
            _ if character.is_ascii() && ALLOWED[usize::from(bytes[position])] => {}
            _ if !character.is_ascii() && !character.is_whitespace() => {}
            _ => {
                let rule = format!("{} does not stand in a URI (RFC 3986)", code_point(character));
                return Err(Refusal::new(position, rule));
            }
        }
    }
    Ok(())
}

/// Bytes that are valid anywhere in a URI: the unreserved and reserved characters of RFC 3986.
const ALLOWED: [bool; 256] = {
    let mut table = [false; 256];
    let listed = b"-._~:/?#[]@!$&'()*+,;=";
    let mut at = 0;
    while at < listed.len() {
        table[listed[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        table[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use crate::id::{Identifier, Scheme, WrittenForm};

    fn check(text: &str) {
        let (identifier, form) = Identifier::parse_written(text).unwrap();
        assert_eq!(form, WrittenForm::Uri, "{text}");
        assert_eq!(identifier.scheme(), Scheme::Uri, "{text}");
        assert_eq!(identifier.as_str(), text);
        assert_eq!(identifier.key().as_bytes(), [b"U", text.as_bytes()].concat());
    }

    fn check_refused(text: &str, position: usize, rule: &str) {
        let error = Identifier::parse(text).unwrap_err();
        assert_eq!(error.position, position, "{error}");
        assert!(error.rule.contains(rule), "{error}");
    }

    #[test]
    fn kept_as_given() {
        for text in [
            "did:web:maker.example:parts:42",
            "https://maker.example/p?id=4711#x",
            "HTTP://maker.example",
            "a:b",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "https://maker.example/%C3%A9/é/部品",
            "mailto:a@b",
            "http:/odd",
            "a::",
        ] {
            check(text);
        }
        check(&format!("a:{}", "b".repeat(2_046)));
    }

    #[test]
    fn refused() {
        check_refused("a:", 2, "something after its scheme");
        check_refused("https://a/b c", 11, "U+0020 does not stand in a URI");
        check_refused("https://a/b\u{3000}c", 11, "U+3000 does not stand in a URI");
        check_refused("https://a/<b>", 10, "`<` (U+003C) does not stand in a URI");
        check_refused("https://a/%zz", 10, "two hexadecimal digits");
        check_refused("https://a/b%2", 11, "two hexadecimal digits");
        check_refused("did:a\u{7}b", 5, "control character U+0007");
        check_refused("did:a\u{85}b", 5, "control character U+0085");
        check_refused(&format!("a:{}", "b".repeat(2_047)), 0, "at most 2048 bytes; this one has 2049");
        check_refused(&format!("a:{}", "%".repeat(10_000_000)), 0, "at most 2048 bytes; this one has 10000002");
    }
}

//! GS1 keys with their qualifiers, from Digital Link URIs, element strings and EPC URNs.
//!
//! The canonical form is the Digital Link of id.gs1.org without a query: a primary key, then its qualifiers in order
//! (GS1 Digital Link: URI Syntax 1.4). Check digits are verified, short GTINs are padded to 14 digits. Values are
//! case-sensitive. Attributes (dates, weights, ...) are no part of an identifier: in the query of a Digital Link they
//! are dropped; an element string with them is refused, because it does not show which elements its writer meant to
//! identify.
//!
//! ```text
//! key = 'S' AI 0x01 value { 0x01 AI 0x02 value }      values decoded, as in an element string
//! ```
//!
//! In keys, the value of a GTIN is its digits 2 to 13 and then its first digit, without the check digit: with the
//! company prefix first, all items of a company, in any packaging, are one subtree.

pub(super) mod ai;
mod digital_link;
mod element_string;
mod epc_urn;

pub(super) use ai::{Ai, Element};
pub(super) use digital_link::from_url;
pub(super) use element_string::from_element_string;
pub(super) use epc_urn::from_epc_urn;

use super::{Identifier, Key, KeyPrefix, Refusal, Scheme};
use ai::Role;

/// Maximum length of an element string and of an EPC URN, in bytes; the longest form of every value is shorter.
const WRITTEN_BYTES_MAX: usize = 256;
/// Maximum number of qualifiers of an identifier: those of a GTIN.
pub(super) const QUALIFIERS_MAX: usize = 3;
/// Text in front of the first AI in the canonical form.
const CANONICAL: &str = "https://id.gs1.org/";

/// Key byte behind the AI of the primary key, and in front of the AI of each qualifier.
pub(super) const VALUE_END: u8 = 0x01;
/// Key byte in front of the value of a qualifier.
pub(super) const QUALIFIER_VALUE: u8 = 0x02;
/// Digits of a GTIN in keys and names: all but the check digit.
pub(super) const GTIN_DIGITS: usize = 13;

/// The qualifiers of an identifier, in order; `None` behind the last one.
pub(super) type Qualifiers = [Option<Element>; QUALIFIERS_MAX];

/// Assembles an identifier from a primary key and its qualifiers, which stand in order.
pub(super) fn build(primary: &Element, qualifiers: &Qualifiers) -> Result<Identifier, Refusal> {
    check_order(primary, qualifiers)?;
    primary.verify()?;
    let mut text_bytes = CANONICAL.len() + primary.ai.digits.len() + 1 + percent_encoded_len(primary.value());
    let mut key_bytes = primary.ai.digits.len() + 2 + primary.value().len();
    for qualifier in qualifiers.iter().flatten() {
        qualifier.verify()?;
        text_bytes += qualifier.ai.digits.len() + 2 + percent_encoded_len(qualifier.value());
        key_bytes += qualifier.ai.digits.len() + 2 + qualifier.value().len();
    }
    let mut text = String::with_capacity(text_bytes);
    text.push_str(CANONICAL);
    put_segments(&mut text, primary);
    let mut key = Vec::with_capacity(key_bytes);
    put_primary_key(&mut key, primary);
    for qualifier in qualifiers.iter().flatten() {
        text.push('/');
        put_segments(&mut text, qualifier);
        key.push(VALUE_END);
        key.extend_from_slice(qualifier.ai.digits.as_bytes());
        key.push(QUALIFIER_VALUE);
        key.extend_from_slice(qualifier.value());
    }
    Ok(Identifier::new(Scheme::Gs1, text, Key::from_bytes(key)))
}

/// Appends the key of a primary key without qualifiers.
pub(super) fn put_primary_key(key: &mut Vec<u8>, primary: &Element) {
    key.push(Scheme::Gs1.key_byte());
    key.extend_from_slice(primary.ai.digits.as_bytes());
    key.push(VALUE_END);
    match primary.value() {
        [indicator, item @ .., _check] if primary.ai.is_gtin() => {
            // The indicator digit goes last, so that one company prefix covers all levels of packaging.
            key.extend_from_slice(item);
            key.push(*indicator);
        }
        value => key.extend_from_slice(value),
    }
}

/// The key prefix shared by all GTINs whose digits behind the first begin with `digits`.
pub(super) fn company_key_prefix(digits: &str) -> KeyPrefix {
    let mut key = vec![Scheme::Gs1.key_byte()];
    key.extend_from_slice(b"01");
    key.push(VALUE_END);
    key.extend_from_slice(digits.as_bytes());
    KeyPrefix::from_bytes(key)
}

/// The check digit over `digits` (General Specifications section 7.9.1): weights 3, 1, 3, ... from the right.
pub(super) fn check_digit(digits: &[u8]) -> u8 {
    let weighted = digits.iter().rev().zip([3, 1].into_iter().cycle());
    let sum: u32 = weighted.map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
    // Ten minus the sum modulo ten, as a digit.
    b"0987654321"[(sum % 10) as usize]
}

/// Checks that the qualifiers belong to the key, go together and stand in order.
fn check_order(primary: &Element, qualifiers: &Qualifiers) -> Result<(), Refusal> {
    let ai = primary.ai;
    let mut last: Option<(&Ai, (usize, usize))> = None;
    for qualifier in qualifiers.iter().flatten() {
        let refuse = |rule: String| Err(Refusal::new(qualifier.position, rule));
        let found = qualifier.ai.digits;
        let Some(rank) = ai.rank(qualifier.ai) else {
            return refuse(format!(
                "AI {found} ({}) does not qualify AI {} ({})",
                qualifier.ai.title, ai.digits, ai.title
            ));
        };
        match last {
            Some((_, before)) if before == rank => return refuse(format!("AI {found} is given twice")),
            Some((other, before)) if before.0 != rank.0 => {
                return refuse(format!("AI {found} does not go together with AI {}", other.digits));
            }
            Some((other, before)) if before > rank => {
                let order = ai.sequences().get(rank.0).map(|sequence| sequence.join(", ")).unwrap_or_default();
                return refuse(format!("qualifier {found} comes after {}; their order is {order}", other.digits));
            }
            _ => last = Some((qualifier.ai, rank)),
        }
    }
    // Any qualifier will do: those of other keys were refused above.
    match ai.role {
        Role::KeyWith(sequences) if last.is_none() => {
            let needed = sequences.first().and_then(|sequence| sequence.first()).copied().unwrap_or_default();
            Err(Refusal::new(primary.position, format!("AI {} ({}) needs AI {needed} with it", ai.digits, ai.title)))
        }
        _ => Ok(()),
    }
}

/// Appends an AI and its value as two path segments.
fn put_segments(text: &mut String, element: &Element) {
    text.push_str(element.ai.digits);
    text.push('/');
    for byte in element.value() {
        if is_unreserved(*byte) {
            text.push(char::from(*byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn percent_encoded_len(value: &[u8]) -> usize {
    value.iter().map(|byte| if is_unreserved(*byte) { 1 } else { 3 }).sum()
}

/// True for the unreserved characters of RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The bytes of a percent-encoded text that stands at `start`.
fn percent_decoded(text: &str, start: usize) -> impl Iterator<Item = Result<u8, Refusal>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        if byte != b'%' {
            at += 1;
            return Some(Ok(byte));
        }
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        let decoded = match (digit(1), digit(2)) {
            (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
            _ => Err(Refusal::new(start + at, "`%` is followed by two hexadecimal digits (RFC 3986)")),
        };
        at += 3;
        Some(decoded)
    })
}

fn refuse_longer(text: &str, what: &str) -> Result<(), Refusal> {
    if text.len() > WRITTEN_BYTES_MAX {
        let rule = format!("{what} has at most {WRITTEN_BYTES_MAX} bytes; this one has {}", text.len());
        return Err(Refusal::new(0, rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WrittenForm;

    pub(super) fn check(text: &str, form: WrittenForm, canonical: &str) {
        let (identifier, found) = Identifier::parse_written(text).unwrap();
        assert_eq!(found, form, "{text}");
        assert_eq!(identifier.scheme(), Scheme::Gs1, "{text}");
        assert_eq!(identifier.as_str(), format!("https://id.gs1.org{canonical}"), "{text}");
        let again = Identifier::parse(identifier.as_str()).unwrap();
        assert_eq!((again.as_str(), again.key()), (identifier.as_str(), identifier.key()));
    }

    pub(super) fn check_refused(text: &str, position: usize, rule: &str) {
        let error = Identifier::parse(text).unwrap_err();
        assert_eq!(error.position, position, "{error}");
        assert!(error.rule.contains(rule), "{error}");
    }

    #[test]
    fn check_digits() {
        for (digits, digit) in [("0950600013435", '2'), ("09520123456789123", '5'), ("", '0'), ("1", '7')] {
            assert_eq!(char::from(check_digit(digits.as_bytes())), digit, "{digits}");
        }
    }

    #[test]
    fn key_bytes() {
        let key = |text: &str| Identifier::parse(text).unwrap().key().as_bytes().to_vec();
        assert_eq!(key("(01)19506000134359"), b"S01\x019506000134351");
        assert_eq!(
            key("(01)09506000134352(21)a/b(10)L1(22)v"),
            b"S01\x019506000134350\x0122\x02v\x0110\x02L1\x0121\x02a/b"
        );
        assert_eq!(key("(8004)95211415678"), b"S8004\x0195211415678");
        assert_eq!(key("(414)9521141123454(254)5678"), b"S414\x019521141123454\x01254\x025678");
    }
}

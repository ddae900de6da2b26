//! Free text in DNS labels: the encoding, its strict inverse, and the splitting of long texts.

/// Maximum length of a label, in octets (RFC 1035 section 2.3.4).
pub(super) const LABEL_OCTETS_MAX: usize = 63;

/// Length of an escaped byte, in octets: `_` and two hexadecimal digits.
pub(super) const ESCAPE_OCTETS: usize = 3;

/// The length of a text once encoded, in octets.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|byte| octets_of(*byte)).sum()
}

/// Appends a text in its encoded form.
pub(super) fn encode(text: &[u8], label: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text {
        if is_plain(*byte) {
            label.push(char::from(*byte));
        } else {
            label.push('_');
            label.push(char::from(HEX[usize::from(byte >> 4)]));
            label.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Appends the text of a label, read in any case; `None` if the label is no encoding of a text.
pub(super) fn decode(label: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let mut rest = label;
    loop {
        rest = match rest {
            [] => return Some(()),
            [b'_', high, low, rest @ ..] => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                let byte = (digit(high)? << 4 | digit(low)?) as u8;
                // Plain bytes are never escaped: each text has one encoding.
                text.push(Some(byte).filter(|byte| !is_plain(*byte))?);
                rest
            }
            [byte, rest @ ..] => {
                let byte = byte.to_ascii_lowercase();
                text.push(Some(byte).filter(|byte| is_plain(*byte))?);
                rest
            }
        }
    }
}

/// Splits a text into pieces that each fit one label, each as long as possible.
pub(super) fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut octets = 0;
        let fits = |byte: &&u8| {
            octets += octets_of(**byte);
            octets <= LABEL_OCTETS_MAX
        };
        let length = rest.iter().take_while(fits).count();
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn octets_of(byte: u8) -> usize {
    if is_plain(byte) { 1 } else { ESCAPE_OCTETS }
}

/// True for the bytes that are not escaped in a label.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, label: &str) {
        let mut encoded = String::new();
        encode(text.as_bytes(), &mut encoded);
        assert_eq!(encoded, label);
        assert_eq!(encoded_len(text.as_bytes()), label.len());
        for label in [label.to_owned(), label.to_uppercase()] {
            let mut decoded = Vec::new();
            assert_eq!(decode(label.as_bytes(), &mut decoded), Some(()), "{label}");
            assert_eq!(decoded, text.as_bytes());
        }
    }

    #[test]
    fn both_ways() {
        check("jxdy-2106023", "jxdy-2106023");
        check("a_B.c/é", "a_5f_42_2ec_2f_c3_a9");
        check("_", "_5f");
    }

    #[test]
    fn refused() {
        for label in ["_", "_4", "_zz", "_61", "_41_", "a.b", "a b", "é", "_2D"] {
            assert_eq!(decode(label.as_bytes(), &mut Vec::new()), None, "{label}");
        }
    }

    #[test]
    fn cut() {
        let lengths = |text: &str| pieces(text.as_bytes()).map(encoded_len).collect::<Vec<_>>();
        assert_eq!(lengths(""), Vec::<usize>::new());
        assert_eq!(lengths(&"a".repeat(63)), [63]);
        assert_eq!(lengths(&"a".repeat(130)), [63, 63, 4]);
        assert_eq!(lengths(&"é".repeat(12)), [63, 9]);
        assert_eq!(lengths(&format!("{}.a", "a".repeat(61))), [61, 4]);
    }
}

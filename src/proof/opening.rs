//! Content of a proof's `extra`: the text of the entry, and openings of its commitments to some of the values.
//!
//! ```text
//! <entry text: its lines, the last one ending with LF>
//! open <value index> <base64 salt> <base64 canonical bytes>        one for each value, by index
//! ```
//!
//! No line of an entry begins with `open`, so the first line that does ends the text. Nothing here is authenticated by
//! itself: the text has to give the leaf hash, and each opening the commitment in the entry's `value` line. Each
//! content has one spelling.

use data_encoding::BASE64;

use crate::tlog::number;

/// Maximum number of openings: the values of a record.
pub const OPENINGS_MAX: usize = 256;

/// Opening of the commitment to one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Index of the value.
    pub index: u32,
    /// Salt of the value.
    pub salt: [u8; 32],
    /// Canonical bytes of the value (`record::stored`), which the commitment covers beside its type.
    pub canonical: Vec<u8>,
}

/// Reason why the content of `extra` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The content is not UTF-8.
    #[error("what is added to the proof is not text")]
    NotText,
    /// An `open` line breaks a rule.
    #[error("opening {number} of the proof: {what}")]
    Line {
        /// Number of the opening, from 1.
        number: usize,
        /// The broken rule.
        what: &'static str,
    },
}

/// Writes the content of `extra`.
pub fn write(entry_text: &[u8], openings: &[Opening]) -> Vec<u8> {
    let mut extra = entry_text.to_vec();
    for Opening { index, salt, canonical } in openings {
        let line = format!("open {index} {} {}\n", BASE64.encode(salt), BASE64.encode(canonical));
        extra.extend_from_slice(line.as_bytes());
    }
    extra
}

/// Splits the content of `extra` into the text of the entry and the openings.
///
/// # Errors
///
/// [`OpeningError`].
pub fn read(extra: &[u8]) -> Result<(&[u8], Vec<Opening>), OpeningError> {
    let text = std::str::from_utf8(extra).map_err(|_| OpeningError::NotText)?;
    let end = if text.starts_with(OPEN) { 0 } else { text.find(NEXT_OPEN).map_or(text.len(), |at| at + 1) };
    let mut openings: Vec<Opening> = Vec::new();
    for line in text[end..].split_inclusive('\n') {
        let bad = |what| OpeningError::Line { number: openings.len() + 1, what };
        if openings.len() == OPENINGS_MAX {
            return Err(bad("a record has 256 values at most"));
        }
        let line = line.strip_suffix('\n').ok_or_else(|| bad("it has no end"))?;
        let opening =
            opening(line).ok_or_else(|| bad("it is not `open`, an index, a salt and the bytes of a value"))?;
        if openings.last().is_some_and(|before| before.index >= opening.index) {
            return Err(bad("the openings are not in order of index"));
        }
        openings.push(opening);
    }
    Ok((&extra[..end], openings))
}

const OPEN: &str = "open ";
const NEXT_OPEN: &str = "\nopen ";

fn opening(line: &str) -> Option<Opening> {
    let (index, rest) = line.strip_prefix(OPEN)?.split_once(' ')?;
    let (salt, canonical) = rest.split_once(' ')?;
    let index = number(index).and_then(|index| u32::try_from(index).ok())?;
    let salt = BASE64.decode(salt.as_bytes()).ok()?.try_into().ok()?;
    Some(Opening { index, salt, canonical: BASE64.decode(canonical.as_bytes()).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn openings() -> Vec<Opening> {
        [1, 7, 300].map(|index| Opening { index, salt: [index as u8; 32], canonical: vec![1; index as usize] }).into()
    }

    #[test]
    fn what_is_written_is_read() {
        let extra = write(b"touchmark/1 create\nid x\n", &openings());
        assert_eq!(read(&extra), Ok((&b"touchmark/1 create\nid x\n"[..], openings())));
        assert_eq!(read(b"a\n"), Ok((&b"a\n"[..], vec![])));
        assert_eq!(read(b""), Ok((&b""[..], vec![])));
    }

    #[test]
    fn the_rest_is_refused() {
        let extra = String::from_utf8(write(b"a\n", &openings())).unwrap();
        for (from, to) in [
            ("open 7", "open 07"),
            ("open 7", "open 1"),
            ("open 7", "open 301"),
            ("open 7", "closed 7"),
            ("open 300", "open 4294967296"),
            ("open 1 AQEB", "open 1 AQE"),
            ("open 1 ", "open 1  "),
            (" AQ==", " AR=="),
            (" AQ==", ""),
            ("AQ==\n", "AQ==\n\n"),
        ] {
            assert!(extra.contains(from), "{from}");
            let changed = extra.replacen(from, to, 1);
            assert!(matches!(read(changed.as_bytes()), Err(OpeningError::Line { .. })), "{from} -> {to}");
        }
        assert!(matches!(read(extra.trim_end().as_bytes()), Err(OpeningError::Line { number: 3, .. })));
        let many: Vec<Opening> = (0..300).map(|index| Opening { index, salt: [0; 32], canonical: vec![] }).collect();
        assert!(matches!(read(&write(b"", &many)), Err(OpeningError::Line { number: 257, .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_read_in_one_spelling(extra in "(open [0-3]{1,2} [a-zA-Z=]{0,44} [A=]{0,4}\n|[a-z ]{0,9}\n){0,4}") {
            if let Ok((text, openings)) = read(extra.as_bytes()) {
                prop_assert_eq!(write(text, &openings), extra.as_bytes());
            }
        }
    }
}

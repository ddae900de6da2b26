//! Application identifiers that make a key, and the format of their values (GS1 General Specifications section 3).
//!
//! Formats, keys and the order of qualifiers are those of the GS1 syntax dictionary. An [`Element`] satisfies every
//! rule of its own AI; rules between elements are checked by the parent module.

use super::{Refusal, check_digit};
use crate::id::code_point;

/// One application identifier.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::id) struct Ai {
    /// The two to four digits.
    pub(in crate::id) digits: &'static str,
    /// Short name, for messages.
    pub(in crate::id) title: &'static str,
    /// Number of digits at the start of the value, the last of which is a check digit; 0 if there are none.
    fixed: usize,
    /// Minimum and maximum number of characters behind the fixed digits.
    tail: (usize, usize),
    /// Character set of the characters behind the fixed digits.
    set: Set,
    /// Rule beside length and characters.
    rule: Rule,
    /// Role of the AI in an identifier.
    pub(in crate::id) role: Role,
}

/// The part that an AI plays in an identifier.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::id) enum Role {
    /// A primary key, with the sequences of qualifiers that it takes; an identifier uses one sequence, in its order.
    Key(&'static [&'static [&'static str]]),
    /// A primary key that is incomplete without its qualifier.
    KeyWith(&'static [&'static [&'static str]]),
    /// A qualifier of primary keys.
    Qualifier,
}

/// A character set of the General Specifications (section 7.11), or digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Digits,
    Cset39,
    Cset82,
}

/// Rule for a value beside its length and characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    None,
    /// GTINs of 8, 12 and 13 digits are padded to 14.
    Gtin,
    /// The first digit is 0 (GRAI).
    LeadingZero,
    /// Ends with piece and total, two digits each (ITIP).
    PieceOfTotal,
    /// Begins with a GS1 Company Prefix.
    CompanyPrefix,
    /// As `CompanyPrefix`, and ends with a check character pair (GMN).
    CheckPair,
    /// A digit, two characters, an importer index (EU 2018/574).
    Importer,
    /// No leading zero, but for 0 itself.
    NoLeadingZero,
}

/// Maximum length of a value, in characters: AI 8003, 8004, 8010 and others.
const VALUE_BYTES_MAX: usize = 30;
/// Minimum length of a GS1 Company Prefix, in digits.
const COMPANY_PREFIX_DIGITS_MIN: usize = 4;

impl Ai {
    /// The AI with these digits; `None` if it is no part of identifiers.
    pub(in crate::id) fn find(digits: &str) -> Option<&'static Self> {
        let at = TABLE.binary_search_by(|ai| ai.digits.cmp(digits)).ok()?;
        TABLE.get(at)
    }

    /// True for a primary key.
    pub(in crate::id) fn is_key(&self) -> bool {
        self.role != Role::Qualifier
    }

    /// True for the GTIN, which keys and names split into digits.
    pub(in crate::id) fn is_gtin(&self) -> bool {
        self.rule == Rule::Gtin
    }

    /// The sequences of qualifiers that this key takes.
    pub(in crate::id) fn sequences(&self) -> &'static [&'static [&'static str]] {
        match self.role {
            Role::Key(sequences) | Role::KeyWith(sequences) => sequences,
            Role::Qualifier => &[],
        }
    }

    /// The sequence that a qualifier of this key belongs to, and its position in the sequence.
    pub(in crate::id) fn rank(&self, qualifier: &Self) -> Option<(usize, usize)> {
        self.sequences().iter().enumerate().find_map(|(index, sequence)| {
            let place = sequence.iter().position(|digits| *digits == qualifier.digits)?;
            Some((index, place))
        })
    }
}

/// An AI and its value; length and characters are checked, and the rest by [`Element::verify`].
#[derive(Clone, Copy, Debug)]
pub(in crate::id) struct Element {
    /// The AI.
    pub(in crate::id) ai: &'static Ai,
    /// Byte position of the value in the text.
    pub(super) position: usize,
    bytes: [u8; VALUE_BYTES_MAX],
    length: usize,
}

impl Element {
    /// Takes the characters of the value that stands at `position` of the text, and checks their number and the
    /// character set. GTINs are padded to 14 digits.
    pub(in crate::id) fn new(
        ai: &'static Ai,
        characters: impl IntoIterator<Item = Result<u8, Refusal>>,
        position: usize,
    ) -> Result<Self, Refusal> {
        let mut element = Self { ai, position, bytes: [0; VALUE_BYTES_MAX], length: 0 };
        let mut found = 0;
        for character in characters {
            let character = character?;
            // Characters beyond the longest value are counted, not stored: `check_length` then names the number.
            if let Some(place) = element.bytes.get_mut(found) {
                *place = character;
            }
            found += 1;
        }
        element.length = found.min(VALUE_BYTES_MAX);
        if ai.is_gtin() && matches!(found, 8 | 12 | 13) {
            element.bytes.copy_within(..found, 14 - found);
            element.bytes[..14 - found].fill(b'0');
            (element.length, found) = (14, 14);
        }
        element.check_length(found)?;
        element.check_characters()?;
        Ok(element)
    }

    /// Checks the rules that need computation: check digits, pieces, leading zeros.
    pub(in crate::id) fn verify(&self) -> Result<(), Refusal> {
        let value = self.value();
        if let Some((check, digits)) = value.get(..self.ai.fixed).and_then(<[u8]>::split_last)
            && check_digit(digits) != *check
        {
            let right = char::from(check_digit(digits));
            return self.refuse(format!("ends in a wrong check digit: {}, and {right} is right", char::from(*check)));
        }
        match self.ai.rule {
            Rule::LeadingZero if value[0] != b'0' => self.refuse("begins with 0"),
            Rule::PieceOfTotal => match value.get(14..) {
                Some([a, b, c, d]) if [a, b] > [&b'0', &b'0'] && [a, b] <= [c, d] => Ok(()),
                _ => self.refuse("ends with piece and total, 01 to the total"),
            },
            Rule::CheckPair if !has_check_pair(value) => self.refuse("ends in a wrong check character pair"),
            Rule::NoLeadingZero if value.len() > 1 && value[0] == b'0' => self.refuse("has no leading zeros"),
            _ => Ok(()),
        }
    }

    /// The value as written in an element string.
    pub(in crate::id) fn value(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn check_length(&self, found: usize) -> Result<(), Refusal> {
        let Ai { fixed, tail: (least, most), .. } = self.ai;
        if (fixed + least..=fixed + most).contains(&found) {
            return Ok(());
        }
        let or = if self.ai.is_gtin() { " (or 8, 12, 13)" } else { "" };
        let least = fixed + least;
        let most = fixed + most;
        if least == most {
            self.refuse(format!("has {most}{or} characters; this one has {found}"))
        } else {
            self.refuse(format!("has {least} to {most} characters; this one has {found}"))
        }
    }

    fn check_characters(&self) -> Result<(), Refusal> {
        let (start, tail) = self.value().split_at(self.ai.fixed.min(self.length));
        let wrong = start.iter().position(|byte| !byte.is_ascii_digit());
        let wrong = wrong.or_else(|| {
            let at = tail.iter().position(|byte| !self.ai.set.contains(*byte))?;
            Some(start.len() + at)
        });
        if let Some(at) = wrong {
            let set = if at < start.len() { Set::Digits } else { self.ai.set };
            // A byte beyond ASCII is in no set; it may be half a character, so that only its code can be shown.
            let shown = code_point(char::from(self.value()[at]));
            return self.refuse(format!("has {} here, not {shown}", set.name()));
        }
        match self.ai.rule {
            Rule::CompanyPrefix | Rule::CheckPair if !starts_with_company_prefix(tail) => {
                self.refuse("begins with a GS1 Company Prefix of at least four digits")
            }
            Rule::Importer if !is_importer(tail) => {
                self.refuse("is a digit, two characters and an importer index (letter, digit, `-` or `_`)")
            }
            _ => Ok(()),
        }
    }

    fn refuse<T>(&self, rule: impl std::fmt::Display) -> Result<T, Refusal> {
        let Ai { digits, title, .. } = self.ai;
        Err(Refusal::new(self.position, format!("the value of AI {digits} ({title}) {rule}")))
    }
}

impl Set {
    fn contains(self, byte: u8) -> bool {
        match self {
            Self::Digits => byte.is_ascii_digit(),
            Self::Cset39 => byte.is_ascii_digit() || byte.is_ascii_uppercase() || matches!(byte, b'#' | b'-' | b'/'),
            Self::Cset82 => cset82_value(byte).is_some(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Cset39 => "characters of CSET 39 (digits, capitals, `#`, `-`, `/`)",
            Self::Cset82 => "characters of CSET 82 (GS1 General Specifications 7.11)",
        }
    }
}

/// The characters of CSET 82 in the order of their values.
const CSET_82: &[u8; 82] = b"!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// The characters of CSET 32, of which check character pairs consist.
const CSET_32: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// The value of a character of CSET 82.
fn cset82_value(byte: u8) -> Option<u32> {
    // A table built at compile time: one look-up for a character.
    const NONE: u8 = u8::MAX;
    const VALUES: [u8; 256] = {
        let mut table = [NONE; 256];
        let mut at = 0;
        while at < CSET_82.len() {
            table[CSET_82[at] as usize] = at as u8;
            at += 1;
        }
        table
    };
    match VALUES[usize::from(byte)] {
        NONE => None,
        value => Some(u32::from(value)),
    }
}

/// Verifies the check character pair at the end of a GMN (General Specifications section 7.9.5): the values of the
/// characters before it, weighted by the primes from the right, modulo 1021.
fn has_check_pair(value: &[u8]) -> bool {
    const PRIMES: [u32; 23] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83];
    let Some((data, pair)) = value.split_last_chunk::<2>() else {
        return false;
    };
    let weighted = data.iter().rev().zip(PRIMES).map(|(byte, prime)| cset82_value(*byte).unwrap_or(0) * prime);
    let sum = weighted.sum::<u32>() as usize % 1_021;
    pair == &[CSET_32[sum >> 5], CSET_32[sum & 31]]
}

fn starts_with_company_prefix(value: &[u8]) -> bool {
    value.get(..COMPANY_PREFIX_DIGITS_MIN).is_some_and(|start| start.iter().all(u8::is_ascii_digit))
}

fn is_importer(value: &[u8]) -> bool {
    match value {
        [digit, _, _, index] => {
            digit.is_ascii_digit() && (index.is_ascii_alphanumeric() || matches!(index, b'-' | b'_'))
        }
        _ => false,
    }
}

const fn ai(digits: &'static str, title: &'static str, fixed: usize, tail: (usize, usize), set: Set, role: Role) -> Ai {
    Ai { digits, title, fixed, tail, set, rule: Rule::None, role }
}

impl Ai {
    const fn with(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }
}

/// Keys and qualifiers, sorted by their digits.
static TABLE: [Ai; 25] = {
    use Role::{Key, KeyWith, Qualifier};
    use Set::{Cset39, Cset82, Digits};
    [
        ai("00", "SSCC", 18, (0, 0), Digits, Key(&[])),
        ai("01", "GTIN", 14, (0, 0), Digits, Key(&[&["22", "10", "21"], &["235"]])).with(Rule::Gtin),
        ai("10", "batch or lot", 0, (1, 20), Cset82, Qualifier),
        ai("21", "serial number", 0, (1, 20), Cset82, Qualifier),
        ai("22", "consumer product variant", 0, (1, 20), Cset82, Qualifier),
        ai("235", "third-party serialised extension", 0, (1, 28), Cset82, Qualifier),
        ai("253", "GDTI", 13, (0, 17), Cset82, Key(&[])),
        ai("254", "GLN extension", 0, (1, 20), Cset82, Qualifier),
        ai("255", "GCN", 13, (0, 12), Digits, Key(&[])),
        ai("401", "GINC", 0, (4, 30), Cset82, Key(&[])).with(Rule::CompanyPrefix),
        ai("402", "GSIN", 17, (0, 0), Digits, Key(&[])),
        ai("414", "GLN of a location", 13, (0, 0), Digits, Key(&[&["254"], &["7040"]])),
        ai("415", "GLN of an invoicing party", 13, (0, 0), Digits, KeyWith(&[&["8020"]])),
        ai("417", "GLN of a party", 13, (0, 0), Digits, Key(&[&["7040"]])),
        ai("7040", "UIC with extension and importer index", 0, (4, 4), Cset82, Qualifier).with(Rule::Importer),
        ai("8003", "GRAI", 14, (0, 16), Cset82, Key(&[])).with(Rule::LeadingZero),
        ai("8004", "GIAI", 0, (4, 30), Cset82, Key(&[&["7040"]])).with(Rule::CompanyPrefix),
        ai("8006", "ITIP", 14, (4, 4), Digits, Key(&[&["22", "10", "21"]])).with(Rule::PieceOfTotal),
        ai("8010", "CPID", 0, (4, 30), Cset39, Key(&[&["8011"]])).with(Rule::CompanyPrefix),
        ai("8011", "CPID serial number", 0, (1, 12), Digits, Qualifier).with(Rule::NoLeadingZero),
        ai("8013", "GMN", 0, (6, 25), Cset82, Key(&[])).with(Rule::CheckPair),
        ai("8017", "GSRN of a provider", 18, (0, 0), Digits, Key(&[&["8019"]])),
        ai("8018", "GSRN of a recipient", 18, (0, 0), Digits, Key(&[&["8019"]])),
        ai("8019", "service relation instance", 0, (1, 10), Digits, Qualifier),
        ai("8020", "payment slip reference", 0, (1, 25), Cset82, Qualifier),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(digits: &str, value: &str) -> Result<(), String> {
        let ai = Ai::find(digits).unwrap();
        let element = Element::new(ai, value.bytes().map(Ok), 0).map_err(|refusal| refusal.rule.into_owned())?;
        element.verify().map_err(|refusal| refusal.rule.into_owned())
    }

    fn check(digits: &str, value: &str) {
        assert_eq!(verdict(digits, value), Ok(()), "({digits}){value}");
    }

    fn check_refused(digits: &str, value: &str, rule: &str) {
        let found = verdict(digits, value).unwrap_err();
        assert!(found.contains(rule), "({digits}){value}: {found}");
        assert!(found.contains(&format!("AI {digits} (")), "{found}");
    }

    #[test]
    fn table_is_sorted_and_complete() {
        assert!(TABLE.is_sorted_by(|a, b| a.digits < b.digits));
        for ai in &TABLE {
            assert!(ai.fixed + ai.tail.1 <= VALUE_BYTES_MAX, "{ai:?}");
            for digits in ai.sequences().iter().flat_map(|sequence| sequence.iter()) {
                assert_eq!(Ai::find(digits).map(|found| &found.role), Some(&Role::Qualifier), "{digits}");
            }
        }
    }

    #[test]
    fn values() {
        check("00", "095201234567891235");
        check("01", "09506000134352");
        check("01", "9506000134352");
        check("01", "614141999996");
        check("01", "12345670");
        check("235", "ABCDEFGHIJKLMNOPQRSTUVWXYZ!<");
        check("253", "9521141123454");
        check("253", "95211411234545678");
        check("255", "952114167890904711");
        check("402", "09520001234567897");
        check("7040", "1ABC");
        check("8003", "095211411234545678");
        check("8006", "095211411234540102");
        check("8010", "95211415PQ7/Z43");
        check("8011", "0");
        check("8013", "1987654Ad4X4bL5ttr2310c2K");
        check("8013", "12345_ABCDEFGHIJKLMCP");
        check("8013", "12345_!\"%&'()*+,-./LC");
        check("8013", "99999zzzzzzzzzzzzzzzzzzT2");
        check("8018", "952114112345678906");
    }

    #[test]
    fn refused() {
        check_refused("00", "095201234567891236", "wrong check digit: 6, and 5 is right");
        check_refused("01", "09506000134351", "wrong check digit: 1, and 2 is right");
        check_refused("01", "950600013435", "wrong check digit");
        check_refused("01", "0950600013435", "wrong check digit");
        check_refused("01", "0123456789", "has 14 (or 8, 12, 13) characters; this one has 10");
        check_refused("01", "0950600013435x", "has digits here, not `x` (U+0078)");
        check_refused("21", "", "has 1 to 20 characters; this one has 0");
        check_refused("21", "123456789012345678901", "has 1 to 20 characters; this one has 21");
        check_refused("21", "12 3", "CSET 82 (GS1 General Specifications 7.11) here, not U+0020");
        check_refused("21", "1#", "not `#` (U+0023)");
        check_refused("255", "9521141678909A", "has digits here");
        check_refused("401", "abc1", "GS1 Company Prefix");
        check_refused("7040", "AABC", "importer index");
        check_refused("8003", "195211411234545678", "wrong check digit");
        check_refused("8003", "19521141123451", "begins with 0");
        check_refused("8006", "095211411234540302", "piece and total");
        check_refused("8006", "095211411234540002", "piece and total");
        check_refused("8010", "9521abc", "CSET 39");
        check_refused("8011", "01", "no leading zeros");
        check_refused("8013", "1987654Ad4X4bL5ttr2310c2X", "check character pair");
        check_refused("8004", &"1".repeat(10_000), "has 4 to 30 characters; this one has 10000");
    }
}

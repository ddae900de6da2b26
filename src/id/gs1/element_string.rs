//! GS1 element strings with brackets: `(01)09506000134352(21)123` (General Specifications section 3).
//!
//! The order of the elements is free. A `(` within a value is written `\(`, as in the GS1 barcode syntax engine.

use super::{Ai, Element, QUALIFIERS_MAX, Qualifiers, build, refuse_longer};
use crate::id::{Identifier, Refusal, excerpt, refuse_controls};

/// Reads an element string.
pub(in crate::id) fn from_element_string(text: &str) -> Result<Identifier, Refusal> {
    refuse_longer(text, "an element string")?;
    refuse_controls(text)?;
    let mut primary: Option<Element> = None;
    let mut qualifiers: Qualifiers = [None; QUALIFIERS_MAX];
    let mut count = 0;
    let mut at = 0;
    while at < text.len() {
        let (ai, value_start) = read_ai(text, at)?;
        let value_end = value_end(text, value_start);
        let value = text.get(value_start..value_end).unwrap_or_default();
        let element = Element::new(ai, unescaped(value).map(Ok), value_start)?;
        match (ai.is_key(), primary) {
            (true, None) => primary = Some(element),
            (true, Some(other)) => {
                let rule = format!("AI {} and AI {} are two keys; an identifier has one", other.ai.digits, ai.digits);
                return Err(Refusal::new(at, rule));
            }
            (false, _) => {
                let Some(place) = qualifiers.get_mut(count) else {
                    return Err(Refusal::new(at, format!("a key has at most {QUALIFIERS_MAX} qualifiers")));
                };
                *place = Some(element);
                count += 1;
            }
        }
        at = value_end;
    }
    let Some(primary) = primary else {
        return Err(Refusal::new(0, "an element string has a key, such as (01)<14 digits>"));
    };
    qualifiers[..count].sort_by_key(|element| element.and_then(|element| primary.ai.rank(element.ai)));
    build(&primary, &qualifiers)
}

/// Reads an AI in brackets at `start`; returns it and the position behind it.
fn read_ai(text: &str, start: usize) -> Result<(&'static Ai, usize), Refusal> {
    let inside = text.get(start..).and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.split_once(')'));
    let digits = inside.map(|(digits, _)| digits).unwrap_or_default();
    if !(2..=4).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(start, "an AI is two to four digits in ( )"));
    }
    match Ai::find(digits) {
        Some(ai) => Ok((ai, start + digits.len() + 2)),
        None => {
            let digits = excerpt(digits);
            let rule = format!("AI {digits} is no part of an identifier; only keys and their qualifiers are");
            Err(Refusal::new(start, rule))
        }
    }
}

/// The end of a value: the next `(` without `\`.
fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let is_end = |at: &usize| bytes[*at] == b'(' && bytes[*at - 1] != b'\\';
    (start..bytes.len()).find(is_end).unwrap_or(bytes.len())
}

/// The characters of a value, with `\(` read as `(`.
fn unescaped(value: &str) -> impl Iterator<Item = u8> {
    let bytes = value.as_bytes();
    let is_escape = |at: usize| bytes[at] == b'\\' && bytes.get(at + 1) == Some(&b'(');
    (0..bytes.len()).filter(move |at| !is_escape(*at)).map(|at| bytes[at])
}

#[cfg(test)]
mod tests {
    use crate::id::{
        WrittenForm,
        gs1::tests::{check, check_refused},
    };

    #[test]
    fn element_strings() {
        let check = |text: &str, canonical: &str| check(text, WrittenForm::Gs1ElementString, canonical);
        check("(01)09506000134352(21)123", "/01/09506000134352/21/123");
        check("(01)9506000134352", "/01/09506000134352");
        check("(01)12345670", "/01/00000012345670");
        check("(21)s(10)l(01)09506000134352(22)v", "/01/09506000134352/22/v/10/l/21/s");
        check(r"(01)09506000134352(21)a\(21)b", "/01/09506000134352/21/a%2821%29b");
        check("(8020)R1(415)9521141123454", "/415/9521141123454/8020/R1");
        check("(00)095201234567891235", "/00/095201234567891235");
        check("(401)9521abc", "/401/9521abc");
        check("(402)09520001234567897", "/402/09520001234567897");
        check("(8017)952114112345678906(8019)1", "/8017/952114112345678906/8019/1");
    }

    #[test]
    fn refused() {
        check_refused("(", 0, "two to four digits");
        check_refused("(01", 0, "two to four digits");
        check_refused("()1", 0, "two to four digits");
        check_refused("(0a)1", 0, "two to four digits");
        check_refused("(17)251231(01)09506000134352", 0, "AI 17 is no part of an identifier");
        check_refused("(01)09506000134352(3103)000195", 18, "AI 3103 is no part of an identifier");
        check_refused("(21)1", 0, "has a key");
        check_refused("(01)09506000134352(00)095201234567891235", 18, "two keys");
        check_refused("(01)09506000134351", 4, "wrong check digit");
        check_refused("(01)09506000134352(21)", 22, "has 1 to 20 characters; this one has 0");
        check_refused("(01)09506000134352(21)a(21)b", 27, "given twice");
        check_refused("(01)09506000134352(21)a(235)b", 28, "does not go together");
        check_refused(
            "(01)09506000134352(8020)b",
            24,
            "AI 8020 (payment slip reference) does not qualify AI 01 (GTIN)",
        );
        check_refused("(01)09506000134352(22)a(10)b(21)c(21)d", 33, "at most 3 qualifiers");
        check_refused(r"(01)09506000134352(21)a\b", 22, r"not `\`");
        check_refused("(01)09506000134352(21)é", 22, "CSET 82");
        check_refused("(01)09506000134352(21)a\u{1d}b", 23, "control character U+001D");
        check_refused("(415)9521141123454", 5, "needs AI 8020");
        check_refused(&"(01)".repeat(2_500_000), 0, "at most 256 bytes; this one has 10000000");
    }
}

//! EPC URNs: `urn:epc:id:…`, `urn:epc:class:…`, `urn:epc:idpat:…` (GS1 EPC Tag Data Standard 2.2, section 6).
//!
//! An EPC URN writes a GS1 key as company prefix and reference, with a dot between them and without the check digit.
//! The length of the company prefix is lost on the way to the key; the inverse would need it, and is deliberately
//! absent. A pattern (`idpat`) with `*` for the serial number stands for its class, the key without a serial number.

use super::{Ai, Element, QUALIFIERS_MAX, Qualifiers, build, check_digit, percent_decoded, refuse_longer};
use crate::id::{Identifier, Refusal, refuse_controls};

/// A scheme of EPC URNs and the GS1 key that it writes.
struct Epc {
    /// `id` or `class`.
    kind: &'static str,
    name: &'static str,
    /// The AI of the key.
    ai: &'static str,
    /// Composition of the key's value from company prefix and reference.
    reference: Reference,
    /// Fields behind the reference.
    rest: Rest,
}

/// Composition of the key's value from company prefix and reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reference {
    /// Both are digits, this many together; a check digit follows.
    Digits(usize),
    /// As `Digits`, but the first digit of the reference comes first (indicator, extension digit).
    Indicator(usize),
    /// As `Digits`, with a zero in front (GRAI).
    Zero(usize),
    /// Any characters.
    Free,
}

/// Fields behind the reference in a URN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// A serial number at the end of the key's value.
    Serial,
    /// A qualifier with this AI.
    Qualifier(&'static str),
    /// The extension of a GLN; `0` stands for none.
    Extension,
    /// Piece and total, and a serial number.
    PieceTotalSerial,
}

/// Reads the text behind `urn:epc:`.
pub(in crate::id) fn from_epc_urn(urn: &str) -> Result<Identifier, Refusal> {
    refuse_longer(urn, "an EPC URN")?;
    refuse_controls(urn)?;
    let mut parts = urn.splitn(3, ':');
    let (kind, name, body) = match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(name), Some(body)) => (kind, name, body),
        _ => return Err(Refusal::new(urn.len(), "an EPC URN is urn:epc:id:<scheme>:<fields>, or class, or idpat")),
    };
    let is_pattern = kind.eq_ignore_ascii_case("idpat");
    let found = EPCS.iter().find(|epc| {
        let kind_fits = epc.kind.eq_ignore_ascii_case(kind) || is_pattern && epc.has_pattern();
        kind_fits && epc.name.eq_ignore_ascii_case(name)
    });
    let Some(epc) = found else {
        return Err(Refusal::new(0, "this EPC scheme has no GS1 Digital Link form"));
    };
    let start = urn.len() - body.len();
    read_fields(epc, body, is_pattern).map_err(|refusal| refusal.after(start))
}

/// Reads the fields behind the name of the scheme.
fn read_fields(epc: &Epc, body: &str, is_pattern: bool) -> Result<Identifier, Refusal> {
    let mut fields = Fields { rest: Some(body), left: epc.fields(), position: 0 };
    let (prefix, start) = fields.next("company prefix")?;
    let (reference, reference_start) = fields.next("reference")?;
    if !(6..=12).contains(&prefix.len()) || !is_digits(prefix) {
        return Err(Refusal::new(start, "the company prefix of an EPC URN has 6 to 12 digits"));
    }
    let mut value = key_value(epc.reference, prefix, reference, reference_start)?;
    let mut qualifiers: Qualifiers = [None; QUALIFIERS_MAX];
    if epc.rest == Rest::PieceTotalSerial {
        for name in ["piece", "total"] {
            let (digits, position) = fields.next(name)?;
            if digits.len() != 2 || !is_digits(digits) {
                return Err(Refusal::new(position, "piece and total have two digits each"));
            }
            value.extend_from_slice(digits.as_bytes());
        }
    }
    if epc.rest != Rest::Nothing {
        let (last, position) = fields.next("serial number")?;
        match epc.rest {
            _ if is_pattern && last == "*" => {}
            _ if is_pattern => return Err(Refusal::new(position, "a pattern has `*` for the serial number")),
            Rest::Extension if last == "0" => {}
            Rest::Serial if last.is_empty() => return Err(Refusal::new(position, "the serial number is not empty")),
            Rest::Serial => value.extend(percent_decoded(last, position).collect::<Result<Vec<_>, _>>()?),
            Rest::Nothing => {}
            Rest::Qualifier(ai) => qualifiers[0] = qualifier(ai, last, position)?,
            Rest::Extension => qualifiers[0] = qualifier("254", last, position)?,
            Rest::PieceTotalSerial => qualifiers[0] = qualifier("21", last, position)?,
        }
    }
    let Some(ai) = Ai::find(epc.ai) else {
        return Err(Refusal::new(0, "this EPC scheme has no GS1 key"));
    };
    build(&Element::new(ai, value.into_iter().map(Ok), 0)?, &qualifiers)
}

/// Builds the value of the key from company prefix and reference, with its check digit.
fn key_value(kind: Reference, prefix: &str, reference: &str, position: usize) -> Result<Vec<u8>, Refusal> {
    let mut value = Vec::new();
    let digits = match kind {
        Reference::Free => {
            value.extend_from_slice(prefix.as_bytes());
            value.extend(percent_decoded(reference, position).collect::<Result<Vec<_>, _>>()?);
            return Ok(value);
        }
        Reference::Digits(digits) | Reference::Indicator(digits) | Reference::Zero(digits) => digits,
    };
    if prefix.len() + reference.len() != digits || !is_digits(reference) {
        let rule = format!(
            "company prefix and reference have {digits} digits together; here are {} + {}",
            prefix.len(),
            reference.len()
        );
        return Err(Refusal::new(position, rule));
    }
    let (first, rest) = match kind {
        Reference::Indicator(_) => reference.split_at_checked(1).unwrap_or_default(),
        Reference::Zero(_) => ("0", reference),
        _ => ("", reference),
    };
    for part in [first, prefix, rest] {
        value.extend_from_slice(part.as_bytes());
    }
    value.push(check_digit(&value));
    Ok(value)
}

fn qualifier(digits: &str, value: &str, position: usize) -> Result<Option<Element>, Refusal> {
    let ai = Ai::find(digits);
    ai.map(|ai| Element::new(ai, percent_decoded(value, position), position)).transpose()
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Iterator over the fields of a URN, `left` of which remain; the last one takes all remaining dots.
struct Fields<'a> {
    rest: Option<&'a str>,
    left: usize,
    position: usize,
}

impl<'a> Fields<'a> {
    /// The next field and its position; a refusal calls the field `name`.
    fn next(&mut self, name: &str) -> Result<(&'a str, usize), Refusal> {
        let position = self.position;
        let Some(rest) = self.rest else {
            return Err(Refusal::new(position, format!("the field `{name}` of the EPC URN is missing")));
        };
        self.left = self.left.saturating_sub(1);
        let (field, after) = match rest.split_once('.') {
            Some((field, after)) if self.left > 0 => (field, Some(after)),
            _ => (rest, None),
        };
        self.rest = after;
        // No dot follows the last field; a missing field is reported at the end of the text.
        self.position += field.len() + usize::from(after.is_some());
        Ok((field, position))
    }
}

impl Epc {
    /// Number of fields of the scheme.
    fn fields(&self) -> usize {
        match self.rest {
            Rest::Nothing => 2,
            Rest::Serial | Rest::Qualifier(_) | Rest::Extension => 3,
            Rest::PieceTotalSerial => 5,
        }
    }

    /// True if the scheme has patterns (`idpat`) for the class without the serial number.
    fn has_pattern(&self) -> bool {
        self.kind == "id" && !matches!(self.rest, Rest::Nothing | Rest::Extension)
    }
}

const fn epc(name: &'static str, ai: &'static str, reference: Reference, rest: Rest) -> Epc {
    Epc { kind: "id", name, ai, reference, rest }
}

/// Every scheme that has a Digital Link form.
const EPCS: [Epc; 16] = {
    use Reference::{Digits, Free, Indicator, Zero};
    [
        epc("sgtin", "01", Indicator(13), Rest::Qualifier("21")),
        epc("sscc", "00", Indicator(17), Rest::Nothing),
        epc("sgln", "414", Digits(12), Rest::Extension),
        epc("pgln", "417", Digits(12), Rest::Nothing),
        epc("grai", "8003", Zero(12), Rest::Serial),
        epc("giai", "8004", Free, Rest::Nothing),
        epc("gsrn", "8018", Digits(17), Rest::Nothing),
        epc("gsrnp", "8017", Digits(17), Rest::Nothing),
        epc("gdti", "253", Digits(12), Rest::Serial),
        epc("cpi", "8010", Free, Rest::Qualifier("8011")),
        epc("sgcn", "255", Digits(12), Rest::Serial),
        epc("itip", "8006", Indicator(13), Rest::PieceTotalSerial),
        epc("ginc", "401", Free, Rest::Nothing),
        epc("gsin", "402", Digits(16), Rest::Nothing),
        epc("upui", "01", Indicator(13), Rest::Qualifier("235")),
        Epc { kind: "class", name: "lgtin", ai: "01", reference: Indicator(13), rest: Rest::Qualifier("10") },
    ]
};

#[cfg(test)]
mod tests {
    use crate::id::{
        WrittenForm,
        gs1::tests::{check, check_refused},
    };

    #[test]
    fn urns() {
        let check = |text: &str, canonical: &str| check(text, WrittenForm::Gs1EpcUrn, canonical);
        check("urn:epc:id:sgtin:9506000.013435.123", "/01/09506000134352/21/123");
        check("URN:EPC:id:sgtin:9506000.013435.32a%2Fb", "/01/09506000134352/21/32a%2Fb");
        check("urn:epc:id:sgtin:952876512345.0.1.5", "/01/09528765123457/21/1.5");
        check("urn:epc:id:sgtin:9521141.712345.x", "/01/79521141123453/21/x");
        check("urn:epc:id:sscc:9520123.0456789123", "/00/095201234567891235");
        check("urn:epc:id:sgln:9521141.12345.5678", "/414/9521141123454/254/5678");
        check("urn:epc:id:sgln:9521141.12345.32a%2Fb", "/414/9521141123454/254/32a%2Fb");
        check("urn:epc:id:sgln:952114112345..0", "/414/9521141123454");
        check("urn:epc:id:pgln:9521141.12345", "/417/9521141123454");
        check("urn:epc:id:grai:9521141.12345.5678", "/8003/095211411234545678");
        check("urn:epc:id:grai:9521141.12345.32a%2Fb", "/8003/0952114112345432a%2Fb");
        check("urn:epc:id:giai:9521141.5678", "/8004/95211415678");
        check("urn:epc:id:giai:9521141.32a%2Fb.c", "/8004/952114132a%2Fb.c");
        check("urn:epc:id:gsrn:9521141.1234567890", "/8018/952114112345678906");
        check("urn:epc:id:gsrnp:9521141.1234567890", "/8017/952114112345678906");
        check("urn:epc:id:gdti:9521141.12345.5678", "/253/95211411234545678");
        check("urn:epc:id:cpi:9521141.98765.12345", "/8010/952114198765/8011/12345");
        check("urn:epc:id:cpi:9521141.5PQ7%2FZ43.12345", "/8010/95211415PQ7%2FZ43/8011/12345");
        check("urn:epc:id:sgcn:9521141.67890.04711", "/255/952114167890904711");
        check("urn:epc:id:itip:9521141.012345.01.02.981", "/8006/095211411234540102/21/981");
        check("urn:epc:id:ginc:9521141.xyz", "/401/9521141xyz");
        check("urn:epc:id:gsin:9520001.123456789", "/402/95200011234567898");
        check("urn:epc:id:upui:9506000.013435.T", "/01/09506000134352/235/T");
        check("urn:epc:class:lgtin:9506000.013435.L1", "/01/09506000134352/10/L1");
        check("urn:epc:idpat:sgtin:9506000.013435.*", "/01/09506000134352");
        check("urn:epc:idpat:grai:9521141.12345.*", "/8003/09521141123454");
        check("urn:epc:idpat:itip:9521141.012345.01.02.*", "/8006/095211411234540102");
        check("urn:epc:id:sgtin:9506000.013435.*", "/01/09506000134352/21/%2A");
    }

    #[test]
    fn refused() {
        check_refused("urn:epc:id", 10, "urn:epc:id:<scheme>:<fields>");
        check_refused("urn:epc:tag:sgtin-96:3.9506000.013435.1", 8, "no GS1 Digital Link form");
        check_refused("urn:epc:id:gid:1.2.3", 8, "no GS1 Digital Link form");
        check_refused("urn:epc:class:sgtin:9506000.013435.1", 8, "no GS1 Digital Link form");
        check_refused("urn:epc:idpat:sgln:9521141.12345.*", 8, "no GS1 Digital Link form");
        check_refused("urn:epc:id:sgtin:95060.01343512.1", 17, "6 to 12 digits");
        check_refused("urn:epc:id:sgtin:950600a.013435.1", 17, "6 to 12 digits");
        check_refused("urn:epc:id:sgtin:9506000.01343.1", 25, "13 digits together; here are 7 + 5");
        check_refused("urn:epc:id:sgtin:9506000.01343x.1", 25, "13 digits together");
        check_refused("urn:epc:id:sgtin:9506000.013435", 31, "`serial number` of the EPC URN is missing");
        check_refused("urn:epc:id:sgtin:9506000.013435.", 32, "has 1 to 20 characters; this one has 0");
        check_refused("urn:epc:id:sgtin:9506000.013435.%2", 32, "two hexadecimal digits");
        check_refused("urn:epc:id:grai:9521141.12345.", 30, "serial number is not empty");
        check_refused("urn:epc:idpat:sgtin:9506000.013435.1", 35, "has `*` for the serial number");
        check_refused("urn:epc:id:itip:9521141.012345.1.02.981", 31, "two digits each");
        check_refused("urn:epc:id:itip:9521141.012345.03.02.981", 16, "piece and total");
        check_refused("urn:epc:id:cpi:9521141.98765.012", 29, "no leading zeros");
        check_refused("urn:epc:id:sscc:9520123.0456789123.1", 24, "17 digits together");
        check_refused(&format!("urn:epc:id:{}", ".".repeat(10_000_000)), 8, "at most 256 bytes; this one has 10000003");
    }
}

//! Data of the resource records of a value, encoded.

use crate::record::ValueView;

/// Order of all NAPTR records: they are alternatives.
const NAPTR_ORDER: u16 = 100;
/// Maximum length of a character-string (RFC 1035 section 3.3), in octets.
const STRING_OCTETS_MAX: usize = 255;

/// The service of a `URL` value in NAPTR records: a web page about the identifier, as the Object Name Service has it.
///
/// ONS 1.0.1 and the clients of its federation (AFNIC's) know `EPC+html`. ONS 2.0.1 has a URI in this place and the OID
/// resolution system (X.672) `ORS+COID`, `ORS+CINF`, `ORS+RINF`; neither has a service for a plain page. A value for
/// one of those services, or for one that a sector agreed upon, is registered as `SVC:<service>`.
pub const URL_SERVICE: &str = "EPC+html";

/// Prefix of the types of values that name their service.
const SERVICE_PREFIX: &str = "SVC:";

/// The service of a value that is a link: `URL` values and `SVC:<service>` values with data.
pub fn service<'a>(value: &ValueView<'a>) -> Option<&'a str> {
    let kind = value.kind;
    let service = match kind.split_at_checked(SERVICE_PREFIX.len()) {
        Some((prefix, service)) if prefix.eq_ignore_ascii_case(SERVICE_PREFIX) => service,
        _ if kind.eq_ignore_ascii_case("URL") => URL_SERVICE,
        _ => return None,
    };
    (!service.is_empty() && !value.data.is_empty()).then_some(service)
}

/// The preference of a value among those of one name: lower ones are tried first. It is the index, at most 65,535.
pub fn preference(value: &ValueView<'_>) -> u16 {
    u16::try_from(value.index).unwrap_or(u16::MAX)
}

/// Writes the data of a TXT record (RFC 1035 section 3.3.14): the string `<index> <type>`, then the value's data in
/// strings of 255 octets.
pub fn put_text(out: &mut Vec<u8>, value: &ValueView<'_>) {
    // The type of a value is far shorter than a string may be.
    let start = out.len();
    out.push(0);
    put_number(out, value.index);
    out.push(b' ');
    out.extend_from_slice(value.kind.as_bytes());
    out[start] = (out.len() - start - 1) as u8;
    value.data.chunks(STRING_OCTETS_MAX).for_each(|string| put_string(out, string));
}

/// Writes the data of a NAPTR record (RFC 3403 section 4.1): order, preference, flags, service, expression,
/// replacement.
pub fn put_naptr(out: &mut Vec<u8>, value: &ValueView<'_>, service: &str, regexp: &[u8]) {
    out.extend_from_slice(&NAPTR_ORDER.to_be_bytes());
    out.extend_from_slice(&preference(value).to_be_bytes());
    put_string(out, b"u");
    put_string(out, service.as_bytes());
    put_string(out, regexp);
    out.push(0);
}

/// Writes a character-string of at most 255 octets.
fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.push(string.len() as u8);
    out.extend_from_slice(string);
}

/// Writes a number in decimal digits.
fn put_number(out: &mut Vec<u8>, number: u32) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
}

/// The substitution expression that gives this URL for any name (RFC 3402 section 3.2); `None` if the expression does
/// not fit a character-string.
pub fn regexp(url: &[u8]) -> Option<Vec<u8>> {
    let mut regexp = b"!^.*$!".to_vec();
    for byte in url {
        // In the replacement, `!` would end the expression and `\` begin a reference to a match.
        if matches!(byte, b'!' | b'\\') {
            regexp.push(b'\\');
        }
        regexp.push(*byte);
    }
    regexp.push(b'!');
    (regexp.len() <= STRING_OCTETS_MAX).then_some(regexp)
}

/// Writes the data of a URI record (RFC 7553 section 4.5): priority, weight, and the target as it is.
pub fn put_uri(out: &mut Vec<u8>, value: &ValueView<'_>) {
    out.extend_from_slice(&preference(value).to_be_bytes());
    // One target for each priority: nothing to weigh.
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(value.data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Permissions;

    fn value<'a>(kind: &'a str, data: &'a str) -> ValueView<'a> {
        ValueView { index: 70_000, kind, data: data.as_bytes(), ttl: 60, permissions: Permissions::DEFAULT }
    }

    #[test]
    fn services() {
        assert_eq!(service(&value("URL", "x")), Some("EPC+html"));
        assert_eq!(service(&value("url", "x")), Some("EPC+html"));
        assert_eq!(service(&value("SVC:ORS+RINF", "x")), Some("ORS+RINF"));
        assert_eq!(service(&value("svc:epcis", "x")), Some("epcis"));
        assert_eq!(service(&value("SVC:", "x")), None);
        assert_eq!(service(&value("URL", "")), None);
        assert_eq!(service(&value("URLS", "x")), None);
        assert_eq!(service(&value("SV", "x")), None);
    }

    #[test]
    fn texts() {
        let text = |index: u32, data: &[u8]| {
            let mut out = Vec::new();
            put_text(&mut out, &ValueView { index, data, ..value("A", "") });
            out
        };
        assert_eq!(text(1, b""), b"\x031 A");
        assert_eq!(text(0, b"x"), b"\x030 A\x01x");
        assert_eq!(text(4_294_967_295, b""), b"\x0c4294967295 A");
        let long = text(1, &[7; 511]);
        assert_eq!((long[4], long[260], long[516], long.len()), (255, 255, 1, 518));
    }

    #[test]
    fn naptrs() {
        let mut out = Vec::new();
        put_naptr(&mut out, &value("URL", "a:b"), "S", b"!^.*$!a:b!");
        assert_eq!(out, b"\x00\x64\xff\xff\x01u\x01S\x0a!^.*$!a:b!\x00");
    }

    #[test]
    fn regexps() {
        assert_eq!(regexp(b"https://a.example/!\\1").unwrap(), br"!^.*$!https://a.example/\!\\1!");
        assert_eq!(regexp(&[b'a'; 248]).unwrap().len(), 255);
        assert_eq!(regexp(&[b'a'; 249]), None);
        assert_eq!(regexp(&[b'!'; 125]), None);
    }

    #[test]
    fn uris() {
        let mut out = Vec::new();
        put_uri(&mut out, &value("URL", "a:b"));
        assert_eq!(out, [0xff, 0xff, 0, 0, b'a', b':', b'b']);
    }
}

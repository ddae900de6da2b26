//! What a value says in the data of a resource record, in plain bytes.

use crate::record::Value;

/// The longest character-string (RFC 1035 section 3.3), in octets.
pub const STRING_OCTETS_MAX: usize = 255;

/// The service of a `URL` value in NAPTR records: a web page about the identifier, as the Object Name Service has it.
///
/// ONS 1.0.1 and the clients of its federation (AFNIC's) know `EPC+html`. ONS 2.0.1 has a URI in this place and the OID
/// resolution system (X.672) `ORS+COID`, `ORS+CINF`, `ORS+RINF`; neither has a service for a plain page. Whoever wants
/// those, or a service that a sector agreed upon, registers the value as `SVC:<service>`.
pub const URL_SERVICE: &str = "EPC+html";

/// What the values of services have before the service in their type.
const SERVICE_PREFIX: &str = "SVC:";

/// The service under which a value is found, when it is a link: `URL` values and `SVC:<service>` values with data.
pub fn service(value: &Value) -> Option<&str> {
    let kind = value.kind.as_str();
    let service = match kind.split_at_checked(SERVICE_PREFIX.len()) {
        Some((prefix, service)) if prefix.eq_ignore_ascii_case(SERVICE_PREFIX) => service,
        _ if kind.eq_ignore_ascii_case("URL") => URL_SERVICE,
        _ => return None,
    };
    (!service.is_empty() && !value.data.is_empty()).then_some(service)
}

/// The place of a value among its like: lower ones are to be tried first.
pub fn preference(value: &Value) -> u16 {
    u16::try_from(value.index).unwrap_or(u16::MAX)
}

/// The first string of a value's TXT record: `<index> <type>`.
pub fn text_head(value: &Value) -> String {
    format!("{} {}", value.index, value.kind)
}

/// The strings of a TXT record (RFC 1035 section 3.3.14): the head, then the data in strings of 255 octets.
pub fn text_strings<'a>(head: &'a str, data: &'a [u8]) -> Vec<&'a [u8]> {
    std::iter::once(head.as_bytes()).chain(data.chunks(STRING_OCTETS_MAX)).collect()
}

/// The substitution expression that gives a URL for whatever was asked (RFC 3402 section 3.2); `None` when it does not
/// fit a character-string.
pub fn regexp(url: &[u8]) -> Option<Vec<u8>> {
    let mut regexp = b"!^.*$!".to_vec();
    for byte in url {
        // In the replacement these two would end it, or refer back to a match.
        if matches!(byte, b'!' | b'\\') {
            regexp.push(b'\\');
        }
        regexp.push(*byte);
    }
    regexp.push(b'!');
    (regexp.len() <= STRING_OCTETS_MAX).then_some(regexp)
}

/// The data of a URI record (RFC 7553 section 4.5): priority, weight, and the target as it is.
pub fn uri(value: &Value) -> Vec<u8> {
    let mut data = Vec::with_capacity(4 + value.data.len());
    data.extend_from_slice(&preference(value).to_be_bytes());
    // One target for each priority: nothing to weigh.
    data.extend_from_slice(&[0, 0]);
    data.extend_from_slice(&value.data);
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Permissions;

    fn value(kind: &str, data: &str) -> Value {
        let (kind, data) = (kind.parse().unwrap(), data.to_owned().into());
        let permissions = Permissions::DEFAULT;
        Value { index: 70_000, kind, data, ttl: 60, timestamp: 0, permissions, references: Vec::new() }
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
    fn strings() {
        let lengths = |data: &[u8]| text_strings("1 A", data).iter().map(|string| string.len()).collect::<Vec<_>>();
        assert_eq!(lengths(b""), [3]);
        assert_eq!(lengths(&[0; 255]), [3, 255]);
        assert_eq!(lengths(&[0; 511]), [3, 255, 255, 1]);
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
        assert_eq!(uri(&value("URL", "a:b")), [0xff, 0xff, 0, 0, b'a', b':', b'b']);
    }
}

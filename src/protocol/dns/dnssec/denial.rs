//! Compact denial of existence (RFC 9824): one NSEC record, made for the question, denies the name or the type.
//!
//! | asked for | NSEC at the name that was asked | response code |
//! |---|---|---|
//! | a name that does not exist | `RRSIG NSEC NXNAME` | by [`hides_name_error`] |
//! | a name with only names below it | `RRSIG NSEC` | NOERROR |
//! | a type that an existing name does not have | the types that it has, `RRSIG NSEC` | NOERROR |
//! | DS at a delegation that has none | `NS RRSIG NSEC` (RFC 9824 section 3.4) | NOERROR |
//! | the type NXNAME | none | FORMERR with [`INVALID_QUERY_TYPE`] (section 3.5) |
//!
//! The bitmap names NSEC and RRSIG, so both have to exist: a question for NSEC gets, as an answer, the record that a
//! denial at that name would carry, and one for RRSIG its signatures, whether or not the name exists.
//!
//! The next name is the first that can follow (RFC 4471 section 3.1.2): `\000.` and the name. If that would pass 255
//! octets, it is a longer first label, then a greater one, then the same for the parent. The next name is always in
//! lower case: signing does not lower-case it (RFC 6840 section 5.1), and questions for one name differ in case.

use super::{canonical::lower, kind};
use crate::id::dns_name::NAME_OCTETS_MAX;

/// Extended error for a question about a type that stands in bitmaps only (RFC 9824 section 3.5).
pub const INVALID_QUERY_TYPE: u16 = 30;
/// EDNS flag DNSSEC OK: the client wants signatures (RFC 3225 section 3).
pub const EDNS_DNSSEC_OK: u16 = 0x8000;
/// EDNS flag Compact Answers OK: NXDOMAIN may stand beside a compact denial (RFC 9824 section 5.1). A signed response
/// copies the flag of the request.
pub const EDNS_COMPACT_ANSWERS_OK: u16 = 0x4000;

/// Maximum length of a label (RFC 1035 section 2.3.4), in octets.
const LABEL_OCTETS_MAX: usize = 63;
/// Maximum length of the bitmap of one window (RFC 4034 section 4.1.2), in octets.
const WINDOW_OCTETS_MAX: usize = 32;

/// Contents of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence<'a> {
    /// Nothing, neither at the name nor below it.
    Missing,
    /// Records of these types, in any order; none for a name with only names below it.
    Types(&'a [u16]),
}

/// True if a missing name gets NOERROR: these EDNS flags ask for a signed denial, and do not say that the client takes
/// NXNAME beside NXDOMAIN (RFC 9824 section 5.1).
pub fn hides_name_error(edns_flags: u16) -> bool {
    edns_flags & (EDNS_DNSSEC_OK | EDNS_COMPACT_ANSWERS_OK) == EDNS_DNSSEC_OK
}

/// The data of the NSEC record at `owner`, a name in or below `apex`, both in wire form and in any case.
pub fn nsec(owner: &[u8], apex: &[u8], existence: Existence<'_>) -> Vec<u8> {
    let mut rdata = next_name(&lower(owner), apex);
    let mut types = vec![kind::RRSIG, kind::NSEC];
    match existence {
        Existence::Missing => types.push(kind::NXNAME),
        Existence::Types(present) => types.extend_from_slice(present),
    }
    put_type_bitmap(&mut rdata, &mut types);
    rdata
}

/// The first name after `name` in canonical order; `name` is in lower case.
fn next_name(name: &[u8], apex: &[u8]) -> Vec<u8> {
    if name.len() + 2 <= NAME_OCTETS_MAX {
        return [b"\x01\x00", name].concat();
    }
    // No name below fits; next in order are the greater siblings, then those of the parent, and so on.
    let mut rest = name;
    while rest.len() > apex.len() {
        let Some((label, parent)) = rest[1..].split_at_checked(usize::from(rest[0])) else { break };
        let greater = if label.len() < LABEL_OCTETS_MAX && rest.len() < NAME_OCTETS_MAX {
            Some([label, b"\x00"].concat())
        } else {
            incremented(label)
        };
        if let Some(greater) = greater {
            // A label has at most 63 octets.
            return [&[greater.len() as u8], greater.as_slice(), parent].concat();
        }
        rest = parent;
    }
    // The last name of the zone has the apex after it (RFC 4034 section 4.1.1).
    lower(apex)
}

/// The least greater label of at most the same length. Upper-case letters are skipped: canonical order has none.
fn incremented(label: &[u8]) -> Option<Vec<u8>> {
    let last = label.iter().rposition(|&octet| octet != u8::MAX)?;
    let mut greater = label[..=last].to_vec();
    greater[last] = match label[last] {
        b'@' => b'[',
        octet => octet + 1,
    };
    Some(greater)
}

/// Appends the bitmap of these types (RFC 4034 section 4.1.2): for each window of 256 types that is not empty, its
/// number, the length of its bitmap, and the bitmap without its trailing zeros.
pub fn put_type_bitmap(out: &mut Vec<u8>, types: &mut [u16]) {
    types.sort_unstable();
    for window in types.chunk_by(|one, other| one >> 8 == other >> 8) {
        let [number, last] = window[window.len() - 1].to_be_bytes();
        let mut bitmap = [0; WINDOW_OCTETS_MAX];
        for kind in window {
            let [_, place] = kind.to_be_bytes();
            bitmap[usize::from(place / 8)] |= 0x80 >> (place % 8);
        }
        let octets = last / 8 + 1;
        out.extend_from_slice(&[number, octets]);
        out.extend_from_slice(&bitmap[..usize::from(octets)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APEX: &[u8] = b"\x02iD\x04test\x00";

    fn bitmap(types: &[u16]) -> Vec<u8> {
        let mut out = Vec::new();
        put_type_bitmap(&mut out, &mut types.to_vec());
        out
    }

    #[test]
    fn bitmaps() {
        let table: [(&[u16], &[u8]); 9] = [
            (&[], b""),
            (&[1], b"\x00\x01\x40"),
            (&[46, 47], b"\x00\x06\x00\x00\x00\x00\x00\x03"),
            (&[128, 46, 47], b"\x00\x11\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80"),
            (&[255], &[&[0, 32], &[0; 31][..], &[1]].concat()),
            (&[256], b"\x01\x01\x80"),
            (&[65_280], b"\xff\x01\x80"),
            (&[65_280, 16, 256, 16, 35], b"\x00\x05\x00\x00\x80\x00\x10\x01\x01\x80\xff\x01\x80"),
            // RFC 4034 section 4.3: A MX RRSIG NSEC TYPE1234.
            (&[1, 15, 46, 47, 1_234], &[&b"\x00\x06\x40\x01\x00\x00\x00\x03\x04\x1b"[..], &[0; 26], b"\x20"].concat()),
        ];
        for (types, expected) in table {
            assert_eq!(bitmap(types), expected, "{types:?}");
        }
    }

    #[test]
    fn rfc9824_section_3() {
        let table: [(Existence<'_>, &[u16]); 4] = [
            (Existence::Missing, &[46, 47, 128]),
            (Existence::Types(&[]), &[46, 47]),
            (Existence::Types(&[2]), &[2, 46, 47]),
            (Existence::Types(&[65_280, 256, 35, 16]), &[16, 35, 46, 47, 256, 65_280]),
        ];
        for (existence, types) in table {
            let expected = [b"\x01\x00\x01a\x02id\x04test\x00", &bitmap(types)[..]].concat();
            assert_eq!(nsec(b"\x01A\x02id\x04tEst\x00", APEX, existence), expected, "{existence:?}");
        }
    }

    #[test]
    fn rfc9824_section_5_1() {
        let table = [(0, false), (0x8000, true), (0xc000, false), (0x4000, false), (0xbfff, true), (0x3fff, false)];
        for (flags, hidden) in table {
            assert_eq!(hides_name_error(flags), hidden, "{flags:#x}");
        }
    }

    fn name(labels: &[&[u8]]) -> Vec<u8> {
        let mut name = Vec::new();
        for label in labels {
            name.push(label.len() as u8);
            name.extend_from_slice(label);
        }
        [&name, APEX].concat().to_ascii_lowercase()
    }

    #[test]
    fn rfc4471_names_without_room_below() {
        // Three full labels, the apex and the first label's length take 201 + 1 octets.
        let full = [b'm'; 63];
        let below = |first: &[u8]| name(&[first, &full, &full, &full]);
        let last = [0xff; 63];
        let table: [(Vec<u8>, Vec<u8>); 8] = [
            (below(&[b'a'; 51]), [&b"\x01\x00"[..], &below(&[b'a'; 51])].concat()),
            // 254 octets: a label can take one more, a name below would need two.
            (below(&[b'a'; 52]), below(&[&[b'a'; 52][..], b"\x00"].concat())),
            (below(&[b'a'; 53]), below(&[&[b'a'; 52][..], b"b"].concat())),
            (below(&[&[b'a'; 52][..], b"@"].concat()), below(&[&[b'a'; 52][..], b"["].concat())),
            (below(&[&[b'a'; 51][..], b"y\xff"].concat()), below(&[&[b'a'; 51][..], b"z"].concat())),
            // The parent has a full label.
            (below(&[0xff; 53]), name(&[&[&[b'm'; 62][..], b"n"].concat(), &full, &full])),
            // The grandparent has room.
            (name(&[&[0xff; 53], &last, &last, &last]), lower(APEX)),
            (
                name(&[&[0xff; 52], &last, &last, &[b'a'; 62], b"b"]),
                name(&[&[&[b'a'; 62][..], b"\x00"].concat(), b"b"]),
            ),
        ];
        for (row, (given, expected)) in table.into_iter().enumerate() {
            assert!(given.len() >= 253 && given.len() <= 255, "row {row}: {}", given.len());
            assert_eq!(next_name(&given, APEX), expected, "row {row}");
        }
    }
}

//! Canonical form and order (RFC 4034 section 6): the bytes of a set that a signature covers.

use std::borrow::Cow;

use super::{CLASS_IN, RrSet};

/// Place of the names in the data of a type: behind `octets` octets and `strings` character-strings there are `names`
/// names.
struct Names {
    octets: usize,
    strings: usize,
    names: usize,
}

/// Appends the records of a set in canonical form and order; equal records are written once (RFC 4034 section 6.3).
pub(super) fn put_records(out: &mut Vec<u8>, set: &RrSet<'_>) {
    let mut rdatas: Vec<Cow<'_, [u8]>> = set.rdatas.iter().map(|rdata| canonical_rdata(set.kind, rdata)).collect();
    rdatas.sort_unstable();
    rdatas.dedup();
    let owner = lower(set.owner);
    for rdata in rdatas {
        // A message holds no longer data; a longer one would only make a signature that does not verify.
        let octets = u16::try_from(rdata.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&owner);
        out.extend_from_slice(&set.kind.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        out.extend_from_slice(&set.ttl.to_be_bytes());
        out.extend_from_slice(&octets.to_be_bytes());
        out.extend_from_slice(&rdata);
    }
}

/// A name in lower case (RFC 4034 section 6.2). Length octets are below `A`, so that lower-casing leaves them as they
/// are.
pub(super) fn lower(name: &[u8]) -> Vec<u8> {
    name.to_ascii_lowercase()
}

/// The Labels field (RFC 4034 section 3.1.3): without the root, and without a `*` in front.
pub(super) fn label_count(owner: &[u8]) -> u8 {
    let mut at = 0;
    let mut count = 0;
    // A name of 255 octets has at most 127 labels.
    while let Some(&octets) = owner.get(at).filter(|&&octets| octets > 0) {
        count += 1;
        at += 1 + usize::from(octets);
    }
    if owner.starts_with(b"\x01*") { count - 1 } else { count }
}

/// Place of the names in the data of the types whose names are lower-cased (RFC 4034 section 6.2, without HINFO and
/// NSEC by RFC 6840 section 5.1, and without the obsolete SIG, NXT and A6); `None` for other types.
fn names_in(kind: u16) -> Option<Names> {
    let (octets, strings, names) = match kind {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => (0, 0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 0, 1),
        // PX
        26 => (2, 0, 2),
        // SRV
        33 => (6, 0, 1),
        // NAPTR
        35 => (4, 3, 1),
        _ => return None,
    };
    Some(Names { octets, strings, names })
}

/// The data with its names in lower case. Truncated data stays as it is: such data is never served.
fn canonical_rdata(kind: u16, rdata: &[u8]) -> Cow<'_, [u8]> {
    let Some((start, end)) = names_in(kind).and_then(|names| extent(rdata, &names)) else {
        return Cow::Borrowed(rdata);
    };
    if !rdata[start..end].iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(rdata);
    }
    let mut lowered = rdata.to_vec();
    lowered[start..end].make_ascii_lowercase();
    Cow::Owned(lowered)
}

/// Start and end of the names in the data.
fn extent(rdata: &[u8], names: &Names) -> Option<(usize, usize)> {
    let mut at = names.octets;
    for _ in 0..names.strings {
        at += 1 + usize::from(*rdata.get(at)?);
    }
    let start = at;
    for _ in 0..names.names {
        loop {
            let octets = usize::from(*rdata.get(at)?);
            at += 1 + octets;
            if octets == 0 {
                break;
            }
        }
    }
    (at <= rdata.len()).then_some((start, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(kind: u16, owner: &[u8], rdatas: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        put_records(&mut out, &RrSet { owner, kind, ttl: 0x0102_0304, rdatas });
        out
    }

    #[test]
    fn one_record_in_full() {
        let expected = b"\x01a\x02id\x00\x00\x10\x00\x01\x01\x02\x03\x04\x00\x03\x02Hi";
        assert_eq!(records(16, b"\x01A\x02iD\x00", &[b"\x02Hi"]), expected);
    }

    /// RFC 4034 section 6.3: as unsigned octets from the left, and a record that ends sorts before one that goes on.
    #[test]
    fn order_of_records() {
        type Octets<'a> = &'a [&'a [u8]];
        let table: [(Octets<'_>, Octets<'_>); 6] = [
            (&[b"b", b"a"], &[b"a", b"b"]),
            (&[b"aa", b"a"], &[b"a", b"aa"]),
            (&[b"a\x00", b"a"], &[b"a", b"a\x00"]),
            (&[b"\x80", b"\x7f", b"\xff"], &[b"\x7f", b"\x80", b"\xff"]),
            (&[b"a", b"a", b"A"], &[b"A", b"a"]),
            (&[], &[]),
        ];
        for (given, sorted) in table {
            let expected: Vec<u8> = sorted.iter().flat_map(|rdata| records(16, b"\x00", &[rdata])).collect();
            assert_eq!(records(16, b"\x00", given), expected, "{given:?}");
        }
    }

    /// Records whose names differ only in case are equal after lower-casing.
    #[test]
    fn the_same_record_in_two_spellings_is_one() {
        let (one, other): (&[u8], &[u8]) = (b"\x01a\x00", b"\x01A\x00");
        assert_eq!(records(2, b"\x00", &[one, other]), records(2, b"\x00", &[one]));
    }

    #[test]
    fn names_in_data() {
        let table: [(u16, &[u8], &[u8]); 15] = [
            (2, b"\x02NS\x01X\x00", b"\x02ns\x01x\x00"),
            (5, b"\x02CN\x00", b"\x02cn\x00"),
            (39, b"\x02DN\x00", b"\x02dn\x00"),
            (6, b"\x01A\x00\x01B\x00SERIALS-and-so-on-20", b"\x01a\x00\x01b\x00SERIALS-and-so-on-20"),
            (15, b"AA\x02MX\x00", b"AA\x02mx\x00"),
            (33, b"AABBCC\x02SV\x00", b"AABBCC\x02sv\x00"),
            (26, b"AA\x01A\x00\x01B\x00", b"AA\x01a\x00\x01b\x00"),
            (35, b"AABB\x01U\x03A+B\x04!^!X\x01R\x00", b"AABB\x01U\x03A+B\x04!^!X\x01r\x00"),
            (35, b"AABB\x00\x00\x00\x00", b"AABB\x00\x00\x00\x00"),
            // No names, or names that keep their case.
            (16, b"\x02TX", b"\x02TX"),
            (13, b"\x01C\x01O", b"\x01C\x01O"),
            (47, b"\x01N\x00\x00\x01\x40", b"\x01N\x00\x00\x01\x40"),
            (65_280, b"\x01N\x00", b"\x01N\x00"),
            // Cut off.
            (2, b"\x05NS", b"\x05NS"),
            (35, b"AABB\x09U", b"AABB\x09U"),
        ];
        for (kind, given, expected) in table {
            assert_eq!(canonical_rdata(kind, given), expected, "{kind} {given:?}");
        }
    }

    #[test]
    fn labels() {
        let table: [(&[u8], u8); 6] = [
            (b"\x00", 0),
            (b"\x02id\x04test\x00", 2),
            (b"\x01*\x02id\x04test\x00", 2),
            (b"\x02*a\x02id\x00", 2),
            (b"\x01a\x01*\x00", 2),
            (b"\x01*\x00", 0),
        ];
        for (owner, expected) in table {
            assert_eq!(label_count(owner), expected, "{owner:?}");
        }
        assert_eq!(label_count(&[&b"\x01a".repeat(127)[..], b"\x00"].concat()), 127);
    }
}

//! The part of the wire format that requests and responses share (RFC 1035 section 4): numbers, sizes, names, and the
//! head of a record.
//!
//! All other files of the room build on this one. Deliberately absent: whole messages (`request`, `response`).

/// Octets of a header (RFC 1035 section 4.1.1).
pub const HEADER_OCTETS: usize = 12;
/// Maximum length of a message (RFC 1035 section 4.2.2), in octets.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// Maximum length of a name (RFC 1035 section 2.3.4), in octets.
pub const NAME_OCTETS_MAX: usize = 255;
/// Maximum length of a label (RFC 1035 section 2.3.4), in octets.
pub const LABEL_OCTETS_MAX: u8 = 63;
/// Octets of type and class behind the name of a question (RFC 1035 section 4.1.2).
pub const QUESTION_FIXED_OCTETS: usize = 4;
/// Octets of a record beside its data, with an owner that is a pointer.
pub const RECORD_OCTETS: usize = 12;
/// Maximum length of a UDP response, in octets: such a datagram passes every path unfragmented (DNS flag day 2020).
pub const UDP_PAYLOAD_OCTETS_MAX: u16 = 1_232;
/// Maximum length of a UDP response to a client without EDNS (RFC 1035 section 4.2.1), in octets.
pub const UDP_PLAIN_OCTETS_MAX: u16 = 512;
/// The class of the Internet.
pub const CLASS_IN: u16 = 1;
/// The class of questions about the server itself.
pub const CLASS_CHAOS: u16 = 3;
/// The type of the record that carries EDNS (RFC 6891 section 6.1.1).
pub const TYPE_OPT: u16 = 41;
/// Octets of an OPT record without options (RFC 6891 section 6.1.2).
pub const OPT_OCTETS: usize = 11;
/// Octets of an option before its data (RFC 6891 section 6.1.2).
pub const OPTION_HEAD_OCTETS: usize = 4;

/// Types of records and of questions (IANA DNS resource record types).
pub mod kind {
    /// IPv4 address (RFC 1035).
    pub const A: u16 = 1;
    /// Name server (RFC 1035).
    pub const NS: u16 = 2;
    /// Start of a zone (RFC 1035).
    pub const SOA: u16 = 6;
    /// Host information, the answer to ANY (RFC 8482).
    pub const HINFO: u16 = 13;
    /// Text (RFC 1035).
    pub const TXT: u16 = 16;
    /// IPv6 address (RFC 3596).
    pub const AAAA: u16 = 28;
    /// Services by rewriting (RFC 3403).
    pub const NAPTR: u16 = 35;
    /// Delegation signer: a digest of a key of the zone below (RFC 4034).
    pub const DS: u16 = 43;
    /// Signature (RFC 4034).
    pub const RRSIG: u16 = 46;
    /// Denial (RFC 4034).
    pub const NSEC: u16 = 47;
    /// Key (RFC 4034).
    pub const DNSKEY: u16 = 48;
    /// Child's DS: the DS that the parent should have (RFC 7344).
    pub const CDS: u16 = 59;
    /// Child's DNSKEY: the key of which the parent should make DS records (RFC 7344).
    pub const CDNSKEY: u16 = 60;
    /// Mark of names that do not exist; only in the bitmaps of denials (RFC 9824).
    pub const NXNAME: u16 = 128;
    /// Anything (RFC 8482).
    pub const ANY: u16 = 255;
    /// Links (RFC 7553).
    pub const URI: u16 = 256;
    /// Whole records (private use, RFC 6895 section 3.1).
    pub const RECORD: u16 = 65_280;
    /// Whole delegations (private use, RFC 6895 section 3.1).
    pub const DELEGATION: u16 = 65_281;
}

/// Response codes (IANA DNS RCODEs).
pub mod rcode {
    /// Answered.
    pub const NOERROR: u16 = 0;
    /// The request could not be read.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
    /// The server does not support this kind of request.
    pub const NOTIMP: u16 = 4;
    /// The server will not answer.
    pub const REFUSED: u16 = 5;
    /// Another version of EDNS than 0 (RFC 6891 section 6.1.3).
    pub const BADVERS: u16 = 16;
    /// A server cookie that is not valid (RFC 7873 section 8).
    pub const BADCOOKIE: u16 = 23;
}

/// Bits of the second word of a header (RFC 1035 section 4.1.1, RFC 4035 section 3).
pub(super) mod flag {
    pub const RESPONSE: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const AUTHORITATIVE: u16 = 0x0400;
    pub const TRUNCATED: u16 = 0x0200;
    pub const RECURSION_DESIRED: u16 = 0x0100;
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    pub const CHECKING_DISABLED: u16 = 0x0010;
}

/// Bits of the flags of EDNS.
pub(super) mod edns_flag {
    /// DNSSEC OK (RFC 3225).
    pub const DNSSEC_OK: u16 = 0x8000;
    /// Compact answers OK (RFC 9824 section 5.1).
    pub const COMPACT_OK: u16 = 0x4000;
}

/// The labels of a name on the wire, from left to right, without the root.
pub fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (&octets, after) = rest.split_first().filter(|(octets, _)| **octets != 0)?;
        let (label, more) = after.split_at_checked(usize::from(octets))?;
        rest = more;
        Some(label)
    })
}

/// Reads two octets that are known to be there.
pub(super) fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// The fields of a record before its data (RFC 1035 section 4.1.3), the length of the data aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Offset of the owner in the message.
    pub owner_offset: usize,
    /// The type.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// TTL, in seconds.
    pub ttl: u32,
}

impl RecordHead {
    /// Writes the head of a record with `data_octets` octets of data; the owner is written as a pointer.
    pub fn put(self, out: &mut Vec<u8>, data_octets: u16) {
        out.extend_from_slice(&pointer(self.owner_offset));
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.class.to_be_bytes());
        out.extend_from_slice(&self.ttl.to_be_bytes());
        out.extend_from_slice(&data_octets.to_be_bytes());
    }
}

/// A pointer to an earlier place in the message (RFC 1035 section 4.1.4).
pub fn pointer(offset: usize) -> [u8; 2] {
    // Only names in the question and right behind it are pointed to, far below the 16,384 octets that a pointer
    // reaches.
    (0xc000 | offset as u16 & 0x3fff).to_be_bytes()
}

/// Writes a label of at most 63 octets.
pub fn put_label(out: &mut Vec<u8>, label: &[u8]) {
    out.push(label.len() as u8);
    out.extend_from_slice(label);
}

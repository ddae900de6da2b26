//! The part of the DNS wire format for one question and its answer (RFC 1035 section 4).
//!
//! All input comes from the network: every length is bounded and checked, and nothing is read past the end.

use std::net::IpAddr;

use rand::Rng as _;

use crate::protocol::dns::{
    kind,
    wire::{CLASS_IN, NAME_OCTETS_MAX, TYPE_OPT},
};

/// The private type for a whole record.
const TYPE_RECORD: u16 = kind::RECORD;
/// Maximum length of an answer over UDP that is not fragmented on its way, in bytes.
const EDNS_BYTES: u16 = 1_232;
/// Option code of an extended error (RFC 8914 section 2).
const OPTION_EXTENDED_ERROR: u16 = 15;
/// Length of the header, in bytes.
const HEADER_BYTES: usize = 12;
/// Maximum number of pointers followed for one name.
const POINTERS_MAX: usize = 16;
/// Maximum number of records of one type taken from a referral.
const REFERRAL_RECORDS_MAX: usize = 64;
/// Length of the last field of an SOA record, the negative TTL, in bytes (RFC 1035 section 3.3.13).
const SOA_MINIMUM_BYTES: usize = 4;
/// The flag RD, recursion desired (RFC 1035 section 4.1.1), in the upper byte.
const RECURSION_DESIRED: u8 = 0x01;

/// Recursion asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursion {
    /// The server is to walk for the client, if it offers that.
    Desired,
    /// The server is to answer for itself.
    Unwanted,
}

/// An encoded question, which recognises its answer.
#[derive(Clone, Debug)]
pub struct Question {
    id: [u8; 2],
    /// Name, type and class, as encoded.
    asked: Vec<u8>,
    message: Vec<u8>,
}

/// The parts of a response that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The response code, with its upper bits from EDNS.
    pub rcode: u16,
    /// True if the answer is truncated.
    pub truncated: bool,
    /// True if the server is authoritative for the name.
    pub authoritative: bool,
    /// The data of the first record that answers the question.
    pub record: Option<Vec<u8>>,
    /// Time for which the record, or its absence, may be cached, in seconds.
    pub ttl_seconds: Option<u32>,
    /// Records of a referral.
    pub referral: RawReferral,
    /// Code and text of an extended error.
    pub extended_error: Option<(u16, String)>,
}

/// The records in a response that make up a referral.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawReferral {
    /// NS records: the delegated name, the name of the server, and the TTL in seconds.
    pub servers: Vec<(Vec<u8>, Vec<u8>, u32)>,
    /// Addresses of servers, by the servers' names.
    pub addresses: Vec<(Vec<u8>, IpAddr)>,
    /// Data of DS records, by the delegated names.
    pub signers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Data of the private record with the whole delegation.
    pub state: Option<Vec<u8>>,
}

impl Question {
    /// A question for the record at a name, with a random id; `None` if the name does not fit the DNS.
    pub fn new(name: &str, recursion: Recursion) -> Option<Self> {
        let mut asked = Vec::with_capacity(name.len() + 6);
        for label in name.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            asked.push(length);
            asked.extend_from_slice(label.as_bytes());
        }
        asked.push(0);
        if asked.len() > NAME_OCTETS_MAX {
            return None;
        }
        asked.extend_from_slice(&TYPE_RECORD.to_be_bytes());
        asked.extend_from_slice(&CLASS_IN.to_be_bytes());
        let mut id = [0; 2];
        // A random id: an attacker off the path has to guess it, and the port.
        rand::rng().fill_bytes(&mut id);
        let flags = if recursion == Recursion::Desired { RECURSION_DESIRED } else { 0 };
        // One question and one additional record.
        let mut message = vec![id[0], id[1], flags, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        message.extend_from_slice(&asked);
        // OPT (RFC 6891 section 6.1.2): the root as its name, our size as its class, nothing else.
        message.push(0);
        message.extend_from_slice(&TYPE_OPT.to_be_bytes());
        message.extend_from_slice(&EDNS_BYTES.to_be_bytes());
        message.extend_from_slice(&[0; 6]);
        Some(Self { id, asked, message })
    }

    /// The message to send.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Parses a response; `None` if it is malformed, or no response to this question.
    pub fn read(&self, bytes: &[u8]) -> Option<Response> {
        let mut reader = Reader { bytes, at: 0 };
        let id = reader.take(2)?;
        let flags = reader.u16()?;
        let [questions, answers, authorities, additionals] =
            [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let is_response = flags & 0x8000 != 0 && flags & 0x7800 == 0;
        if id != self.id || !is_response || questions != 1 {
            return None;
        }
        if !reader.take(self.asked.len())?.eq_ignore_ascii_case(&self.asked) {
            return None;
        }
        let mut response = Response {
            rcode: flags & 0xf,
            truncated: flags & 0x0200 != 0,
            authoritative: flags & 0x0400 != 0,
            ..Response::default()
        };
        // A truncated message may end anywhere, so its records are not read.
        if response.truncated {
            return Some(response);
        }
        for _ in 0..answers {
            let record = reader.record()?;
            let answers_it = record.kind == TYPE_RECORD && record.class == CLASS_IN && self.is_name(&record.name);
            if answers_it && response.record.is_none() {
                response.record = Some(record.data.to_vec());
                response.ttl_seconds = Some(u32::from_be_bytes(record.ttl));
            }
        }
        for _ in 0..authorities {
            response.take_authority(&reader.record()?, bytes)?;
        }
        for _ in 0..additionals {
            let record = reader.record()?;
            if record.kind == TYPE_OPT {
                response.rcode |= u16::from(record.ttl[0]) << 4;
                response.extended_error = extended_error(record.data);
            } else {
                response.take_additional(record);
            }
        }
        Some(response)
    }

    /// True for the name of the question.
    fn is_name(&self, name: &[u8]) -> bool {
        self.asked.get(..self.asked.len() - 4).is_some_and(|asked| asked.eq_ignore_ascii_case(name))
    }
}

impl Response {
    /// Takes a record of the authority section: NS, DS, or the negative TTL of an SOA; `None` if it is malformed.
    fn take_authority(&mut self, record: &RawRecord<'_>, message: &[u8]) -> Option<()> {
        let ttl = u32::from_be_bytes(record.ttl);
        let RawReferral { servers, signers, .. } = &mut self.referral;
        match record.kind {
            _ if record.class != CLASS_IN => {}
            kind::NS if servers.len() < REFERRAL_RECORDS_MAX => {
                let mut reader = Reader { bytes: message, at: record.data_at };
                let server = reader.name().filter(|_| reader.at == record.data_at + record.data.len())?;
                servers.push((record.name.clone(), server, ttl));
            }
            kind::DS if signers.len() < REFERRAL_RECORDS_MAX => {
                signers.push((record.name.clone(), record.data.to_vec()));
            }
            kind::SOA if self.record.is_none() => {
                // RFC 2308 section 5: the lesser of the two TTLs.
                let minimum = u32::from_be_bytes(*record.data.last_chunk::<SOA_MINIMUM_BYTES>()?);
                self.ttl_seconds = Some(ttl.min(minimum));
            }
            _ => {}
        }
        Some(())
    }

    fn take_additional(&mut self, record: RawRecord<'_>) {
        let RawReferral { addresses, state, .. } = &mut self.referral;
        let address = match (record.kind, record.data) {
            (kind::A, &[a, b, c, d]) => Some(IpAddr::from([a, b, c, d])),
            (kind::AAAA, data) => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            (kind::DELEGATION, data) if record.class == CLASS_IN && state.is_none() => {
                *state = Some(data.to_vec());
                None
            }
            _ => None,
        };
        if let Some(address) = address.filter(|_| record.class == CLASS_IN && addresses.len() < REFERRAL_RECORDS_MAX) {
            addresses.push((record.name, address));
        }
    }
}

/// The extended error among the options of an OPT record.
fn extended_error(options: &[u8]) -> Option<(u16, String)> {
    let mut reader = Reader { bytes: options, at: 0 };
    loop {
        let code = reader.u16()?;
        let length = reader.u16()?;
        let data = reader.take(usize::from(length))?;
        if code == OPTION_EXTENDED_ERROR {
            let (info, text) = data.split_at_checked(2)?;
            return Some((u16::from_be_bytes([info[0], info[1]]), String::from_utf8_lossy(text).into_owned()));
        }
    }
}

/// A resource record in its message.
struct RawRecord<'a> {
    /// The owner's name, uncompressed.
    name: Vec<u8>,
    kind: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
    /// Offset of the data in the message.
    data_at: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let [high, low] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes([high, low]))
    }

    fn record(&mut self) -> Option<RawRecord<'a>> {
        let name = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.take(4)?.try_into().ok()?;
        let length = self.u16()?;
        let data_at = self.at;
        Some(RawRecord { name, kind, class, ttl, data: self.take(usize::from(length))?, data_at })
    }

    /// Reads a name, following pointers (RFC 1035 section 4.1.4), and continues behind the first of them.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut behind = None;
        let mut pointers = 0;
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => {
                    name.push(0);
                    self.at = behind.unwrap_or(self.at);
                    return (name.len() <= NAME_OCTETS_MAX).then_some(name);
                }
                1..=63 => {
                    name.push(length);
                    name.extend_from_slice(self.take(usize::from(length))?);
                }
                0xc0.. => {
                    let low = *self.take(1)?.first()?;
                    behind.get_or_insert(self.at);
                    // Pointers could form a loop: their number is bounded.
                    pointers += 1;
                    self.at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if self.at < HEADER_BYTES || pointers > POINTERS_MAX {
                        return None;
                    }
                }
                _ => return None,
            }
            if name.len() > NAME_OCTETS_MAX {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response to `question` with these flags, answers and additional records.
    fn response(question: &Question, flags: u16, answers: &[&[u8]], additionals: &[&[u8]]) -> Vec<u8> {
        let mut bytes = question.id.to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1, 0, answers.len() as u8, 0, 0, 0, additionals.len() as u8]);
        bytes.extend(&question.asked);
        answers.iter().chain(additionals).for_each(|record| bytes.extend(*record));
        bytes
    }

    fn record(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        bytes
    }

    /// Flags, answers and an additional record; what is read from them.
    type Case<'a> = (u16, Vec<&'a [u8]>, Option<&'a [u8]>, Response);

    /// Points to the name of the question.
    const POINTER: &[u8] = &[0xc0, 12];

    fn question() -> Question {
        Question::new("a.88.hdl.id.test.", Recursion::Unwanted).unwrap()
    }

    #[test]
    fn golden_question() {
        let question = question();
        let expected = b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x0288\x03hdl\x02id\x04test\x00\xff\x00\x00\x01\
            \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
        assert_eq!(&question.message()[2..], expected);
        for name in [&"a".repeat(64), "a..b", &"a.".repeat(128)] {
            assert!(Question::new(name, Recursion::Unwanted).is_none(), "{name}");
        }
        assert_eq!(Question::new("a.", Recursion::Desired).unwrap().message()[2..4], [1, 0]);
    }

    #[test]
    fn answers_are_read() {
        let question = question();
        let found = record(POINTER, TYPE_RECORD, b"data");
        let full = record(b"\x01A\x0288\x03hdl\x02id\x04TEST\x00", TYPE_RECORD, b"full");
        let other = record(b"\x01b\x00", TYPE_RECORD, b"other");
        let text = record(POINTER, 16, b"\x04text");
        let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0d\x00\x0f\x00\x09\x00\x12not you".as_slice();
        let badvers = b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00".as_slice();
        let some = |rcode, record: Option<&[u8]>| Response {
            rcode,
            record: record.map(<[u8]>::to_vec),
            authoritative: true,
            ttl_seconds: record.map(|_| 60),
            ..Response::default()
        };
        let table: [Case<'_>; 7] = [
            (0x8400, vec![&text, &other, &found], None, some(0, Some(b"data"))),
            (0x8400, vec![&full], None, some(0, Some(b"full"))),
            (0x8400, vec![], None, some(0, None)),
            (0x8403, vec![], None, some(3, None)),
            (0x8405, vec![], Some(opt), Response { extended_error: Some((18, "not you".into())), ..some(5, None) }),
            (0x8400, vec![], Some(badvers), some(16, None)),
            (0x8600, vec![&found], None, Response { truncated: true, ..some(0, None) }),
        ];
        for (flags, answers, additional, expected) in table {
            assert_eq!(question.read(&response(&question, flags, &answers, additional.as_slice())), Some(expected));
        }
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        let question = question();
        let good = response(&question, 0x8400, &[&record(POINTER, TYPE_RECORD, b"data")], &[]);
        assert!(question.read(&good).is_some());
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] ^= byte;
            bytes
        };
        // The id, no response, another opcode, no question, another name, another type.
        for (at, byte) in [(0, 1), (1, 0x80), (2, 0x80), (2, 0x08), (5, 1), (13, 3), (31, 1)] {
            assert_eq!(question.read(&changed(at, byte)), None, "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(question.read(&good[..length]), None, "{length} bytes");
        }
        let looping = response(&question, 0x8400, &[&record(&[0xc0, 33], TYPE_RECORD, b"")], &[]);
        assert_eq!(question.read(&looping), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_not(
            flags: u16,
            counts: [u8; 3],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let question = question();
            let mut bytes = question.id.to_vec();
            bytes.extend(flags.to_be_bytes());
            bytes.extend([0, 1, 0, counts[0], 0, counts[1], 0, counts[2]]);
            bytes.extend(&question.asked);
            bytes.extend(rest);
            let _ = question.read(&bytes);
        }

        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = question().read(&bytes);
        }
    }
}

//! Requests: decoding of messages from clients (RFC 1035 section 4, RFC 6891).
//!
//! A request is read in place; nothing is copied. A request that cannot be read gets FORMERR if it has a header to
//! answer to. A response gets silence: else two servers would answer each other without end.
//!
//! Deliberately absent: the answer (`responder`) and its encoding (`response`).

use super::wire::{
    HEADER_OCTETS, LABEL_OCTETS_MAX, NAME_OCTETS_MAX, OPTION_HEAD_OCTETS, QUESTION_FIXED_OCTETS, TYPE_OPT, edns_flag,
    flag, rcode, word,
};

/// The question of a request (RFC 1035 section 4.1.2).
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Name, type and class as the client wrote them.
    octets: &'a [u8],
}

impl<'a> Question<'a> {
    /// The whole question, as it goes back.
    pub fn octets(self) -> &'a [u8] {
        self.octets
    }

    /// The name on the wire, uncompressed, with the root octet, in the client's spelling.
    pub fn name(self) -> &'a [u8] {
        &self.octets[..self.octets.len() - QUESTION_FIXED_OCTETS]
    }

    /// The type.
    pub fn kind(self) -> u16 {
        word(self.octets, self.octets.len() - QUESTION_FIXED_OCTETS)
    }

    /// The class.
    pub fn class(self) -> u16 {
        word(self.octets, self.octets.len() - 2)
    }
}

/// EDNS data of a request (RFC 6891).
#[derive(Clone, Copy, Debug)]
pub struct Edns<'a> {
    /// Maximum length of a UDP response that the client takes, in octets.
    pub payload_octets_max: u16,
    /// The version.
    pub version: u8,
    pub(super) flags: u16,
    options: &'a [u8],
}

impl<'a> Edns<'a> {
    /// True if the client wants signatures (RFC 3225).
    pub fn dnssec_ok(self) -> bool {
        self.flags & edns_flag::DNSSEC_OK != 0
    }

    /// True if the client takes NXDOMAIN beside a compact denial (RFC 9824 section 5.1).
    pub fn compact_ok(self) -> bool {
        self.flags & edns_flag::COMPACT_OK != 0
    }

    /// The data of the first option with a code.
    pub fn option(self, code: u16) -> Option<&'a [u8]> {
        let mut rest = self.options;
        while !rest.is_empty() {
            let option = split_option(rest)?;
            if option.code == code {
                return Some(option.data);
            }
            rest = option.rest;
        }
        None
    }
}

/// A request with one question.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// The question.
    pub question: Question<'a>,
    /// The EDNS data, if the request has any.
    pub edns: Option<Edns<'a>>,
}

impl Request<'_> {
    /// True if the client wants signatures.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(Edns::dnssec_ok)
    }

    /// True if the client wants recursion (RFC 1035 section 4.1.1).
    pub fn recursion_desired(&self) -> bool {
        self.flags & flag::RECURSION_DESIRED != 0
    }
}

/// A message that is not answered from the zone.
#[derive(Clone, Copy, Debug)]
pub enum Rejected<'a> {
    /// No header, or a response: no answer is sent.
    Silent,
    /// The answer is a header alone.
    Header {
        /// The header.
        octets: [u8; HEADER_OCTETS],
        /// The response code in the header.
        rcode: u16,
    },
    /// A request without a question; its EDNS data may ask for a cookie (RFC 7873 section 5.4).
    NoQuestion {
        /// The header of the response, with FORMERR.
        octets: [u8; HEADER_OCTETS],
        /// The EDNS data.
        edns: Edns<'a>,
    },
}

impl<'a> Request<'a> {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`Rejected`] for a message that is not a query with one question (RFC 9619 section 4), or cannot be read to its
    /// end.
    pub fn read(message: &'a [u8]) -> Result<Self, Rejected<'a>> {
        if message.len() < HEADER_OCTETS {
            return Err(Rejected::Silent);
        }
        let id = word(message, 0);
        let flags = word(message, 2);
        if flags & flag::RESPONSE != 0 {
            return Err(Rejected::Silent);
        }
        // The rest of a message with another opcode may have any meaning.
        if flags & flag::OPCODE != 0 {
            return Err(rejected(id, flags, rcode::NOTIMP));
        }
        match read_body(message) {
            Some(Body { question: Some(question), edns }) => Ok(Self { id, flags, question, edns }),
            Some(Body { question: None, edns: Some(edns) }) => {
                Err(Rejected::NoQuestion { octets: header_alone(id, flags, rcode::FORMERR), edns })
            }
            _ => Err(rejected(id, flags, rcode::FORMERR)),
        }
    }
}

fn rejected(id: u16, flags: u16, rcode: u16) -> Rejected<'static> {
    Rejected::Header { octets: header_alone(id, flags, rcode), rcode }
}

/// The header of a response without any section.
fn header_alone(id: u16, flags: u16, rcode: u16) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    let flags = flag::RESPONSE | flags & (flag::OPCODE | flag::RECURSION_DESIRED) | rcode;
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets[2..4].copy_from_slice(&flags.to_be_bytes());
    octets
}

/// The part of a request behind its header, without the records that do not matter.
struct Body<'a> {
    question: Option<Question<'a>>,
    edns: Option<Edns<'a>>,
}

/// Reads the message behind its header; `None` if it is malformed.
fn read_body(message: &[u8]) -> Option<Body<'_>> {
    let (question, mut at) = match word(message, 4) {
        0 => (None, HEADER_OCTETS),
        1 => {
            let end = name_end(message, HEADER_OCTETS)? + QUESTION_FIXED_OCTETS;
            (Some(Question { octets: message.get(HEADER_OCTETS..end)? }), end)
        }
        _ => return None,
    };
    for _ in 0..u32::from(word(message, 6)) + u32::from(word(message, 8)) {
        at = read_record(message, at)?.end;
    }
    let mut edns = None;
    for _ in 0..word(message, 10) {
        let record = read_record(message, at)?;
        if record.kind == TYPE_OPT {
            // RFC 6891 section 6.1.1: one at most, at the root.
            if edns.is_some() || message[at] != 0 {
                return None;
            }
            edns = Some(read_edns(&record)?);
        }
        at = record.end;
    }
    (at == message.len()).then_some(Body { question, edns })
}

/// The fields of a record that are used.
pub(super) struct RawRecord<'a> {
    pub(super) kind: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
    pub(super) end: usize,
}

/// Reads the record at an offset; its name may be compressed.
pub(super) fn read_record(message: &[u8], at: usize) -> Option<RawRecord<'_>> {
    let fixed = skip_name(message, at)?;
    let head = message.get(fixed..fixed + 10)?;
    let data_start = fixed + 10;
    let end = data_start + usize::from(word(head, 8));
    let ttl = u32::from(word(head, 4)) << 16 | u32::from(word(head, 6));
    Some(RawRecord { kind: word(head, 0), class: word(head, 2), ttl, data: message.get(data_start..end)?, end })
}

fn read_edns<'a>(record: &RawRecord<'a>) -> Option<Edns<'a>> {
    let mut rest = record.data;
    while !rest.is_empty() {
        rest = split_option(rest)?.rest;
    }
    let version = (record.ttl >> 16) as u8;
    Some(Edns { payload_octets_max: record.class, version, flags: record.ttl as u16, options: record.data })
}

/// An option of EDNS (RFC 6891 section 6.1.2), and the options behind it.
struct RawOption<'a> {
    code: u16,
    data: &'a [u8],
    rest: &'a [u8],
}

/// Splits off the first option.
fn split_option(options: &[u8]) -> Option<RawOption<'_>> {
    let (head, rest) = options.split_at_checked(OPTION_HEAD_OCTETS)?;
    let (data, rest) = rest.split_at_checked(usize::from(word(head, 2)))?;
    Some(RawOption { code: word(head, 0), data, rest })
}

/// Offset of the end of an uncompressed name. A pointer in the question could only point at itself or into the header.
pub(super) fn name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let octets = *message.get(at)?;
        at += 1 + usize::from(octets);
        if octets > LABEL_OCTETS_MAX || at - start > NAME_OCTETS_MAX {
            return None;
        }
        if octets == 0 {
            return Some(at);
        }
    }
}

/// Offset of the end of a name that may be compressed; the target of a pointer is not read.
fn skip_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let octets = *message.get(at)?;
        match octets {
            0 => return Some(at + 1),
            1..=LABEL_OCTETS_MAX => at += 1 + usize::from(octets),
            0xc0.. => return (at + 2 <= message.len()).then_some(at + 2),
            _ => return None,
        }
        if at - start > NAME_OCTETS_MAX {
            return None;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::dns::wire::labels;

    pub(in crate::protocol::dns) const QUESTION: &[u8] = b"\x01a\x02id\x00\x00\x10\x00\x01";
    pub(in crate::protocol::dns) const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    /// A query with these counts and this body.
    pub(in crate::protocol::dns) fn query(counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 0x01, 0x10];
        counts.iter().for_each(|count| message.extend_from_slice(&count.to_be_bytes()));
        message.extend_from_slice(&body.concat());
        message
    }

    fn code(message: &[u8]) -> Option<u16> {
        match Request::read(message) {
            Ok(_) => Some(rcode::NOERROR),
            Err(Rejected::Silent) => None,
            Err(Rejected::NoQuestion { octets, .. }) => Some(u16::from(octets[3])),
            Err(Rejected::Header { octets, rcode }) => {
                assert_eq!((octets[..2].to_vec(), octets[2] & 0x80), (message[..2].to_vec(), 0x80));
                assert_eq!(u16::from(octets[3]), rcode);
                Some(rcode)
            }
        }
    }

    #[test]
    fn a_query() {
        let message = query([1, 0, 0, 1], &[QUESTION, OPT]);
        let request = Request::read(&message).unwrap();
        assert_eq!(request.question.name(), b"\x01a\x02id\x00");
        assert_eq!((request.question.kind(), request.question.class()), (16, 1));
        assert!(labels(request.question.name()).eq([&b"a"[..], b"id"]));
        let edns = request.edns.unwrap();
        assert_eq!(
            (edns.payload_octets_max, edns.version, edns.dnssec_ok(), edns.compact_ok()),
            (1_232, 0, true, false)
        );
        assert!(Request::read(&query([1, 0, 0, 0], &[QUESTION])).unwrap().edns.is_none());
    }

    #[test]
    fn options() {
        let options = b"\x00\x03\x00\x00\x00\x0a\x00\x02hi";
        let opt = [&OPT[..9], &(options.len() as u16).to_be_bytes(), options].concat();
        let message = query([1, 0, 0, 1], &[QUESTION, &opt]);
        let edns = Request::read(&message).unwrap().edns.unwrap();
        assert_eq!((edns.option(3), edns.option(10), edns.option(11)), (Some(&b""[..]), Some(&b"hi"[..]), None));
        for cut in 1..6 {
            let short =
                [&OPT[..9], &(options.len() as u16 - cut).to_be_bytes(), &options[..10 - cut as usize]].concat();
            let whole_option = cut == 6;
            let expected = if whole_option { 0 } else { rcode::FORMERR };
            assert_eq!(code(&query([1, 0, 0, 1], &[QUESTION, &short])), Some(expected), "{cut}");
        }
    }

    #[test]
    fn what_is_rejected() {
        let long_name: Vec<u8> = [&[1, b'x'].repeat(127)[..], &[0, 0, 16, 0, 1]].concat();
        let too_long: Vec<u8> = [&[1, b'x'].repeat(128)[..], &[0, 0, 16, 0, 1]].concat();
        let long_label: Vec<u8> = [&[64][..], &[b'x'; 64], &[0, 0, 16, 0, 1]].concat();
        let record: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x01x";
        for (message, expected) in [
            (query([1, 0, 0, 0], &[QUESTION]), Some(0)),
            (query([1, 0, 0, 0], &[&long_name]), Some(0)),
            (query([1, 1, 1, 2], &[QUESTION, record, record, record, OPT]), Some(0)),
            (query([0, 0, 0, 0], &[]), Some(1)),
            (query([0, 0, 0, 1], &[OPT]), Some(1)),
            (query([2, 0, 0, 0], &[QUESTION, QUESTION]), Some(1)),
            (query([1, 0, 0, 0], &[]), Some(1)),
            (query([1, 0, 0, 0], &[&QUESTION[..8]]), Some(1)),
            (query([1, 0, 0, 0], &[QUESTION, b"x"]), Some(1)),
            (query([1, 0, 0, 0], &[&too_long]), Some(1)),
            (query([1, 0, 0, 0], &[&long_label]), Some(1)),
            (query([1, 0, 0, 0], &[b"\xc0\x0c\x00\x10\x00\x01"]), Some(1)),
            (query([1, 0, 0, 1], &[QUESTION]), Some(1)),
            (query([1, 0, 0, 2], &[QUESTION, OPT, OPT]), Some(1)),
            (query([1, 0, 0, 1], &[QUESTION, b"\x01a", OPT]), Some(1)),
            (query([1, 0, 0, 1], &[QUESTION, &record[..12]]), Some(1)),
            (query([1, 0xffff, 0xffff, 0xffff], &[QUESTION, record]), Some(1)),
            (vec![0; 11], None),
            (vec![], None),
        ] {
            assert_eq!(code(&message), expected, "{message:02x?}");
        }
        let mut message = query([1, 0, 0, 0], &[QUESTION]);
        for opcode in 1..16 {
            message[2] = opcode << 3;
            assert_eq!(code(&message), Some(rcode::NOTIMP));
        }
        message[2] = 0x80;
        assert_eq!(code(&message), None);
    }

    #[test]
    fn every_prefix_and_every_changed_octet_is_read_without_panic() {
        let record: &[u8] = b"\x03www\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x01x";
        let message = query([1, 1, 0, 1], &[QUESTION, record, OPT]);
        for end in 0..message.len() {
            let read = Request::read(&message[..end]);
            assert!(read.is_err(), "{end}");
        }
        for at in 0..message.len() {
            for octet in 0..=255 {
                let mut changed = message.clone();
                changed[at] = octet;
                let _ = Request::read(&changed);
            }
        }
    }
}

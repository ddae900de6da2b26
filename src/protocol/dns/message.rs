//! DNS messages: what is read of a request, and how a response is put together (RFC 1035 section 4, RFC 6891).
//!
//! A request is looked at where it lies; nothing is copied. What cannot be read gets FORMERR as far as there is a header
//! to answer to, a response gets silence: two servers would never stop.
//!
//! Deliberately absent: what the answers are (`answer`), and which options this node gives (`Responder`).

use super::answer::{Answer, MESSAGE_OCTETS_MAX, RECORD_OCTETS};

/// Octets of a header (RFC 1035 section 4.1.1).
pub const HEADER_OCTETS: usize = 12;
/// The longest name on the wire (RFC 1035 section 2.3.4), in octets.
const NAME_OCTETS_MAX: usize = 255;
/// The longest label (RFC 1035 section 2.3.4), in octets.
const LABEL_OCTETS_MAX: u8 = 63;
/// The type of the record that carries EDNS (RFC 6891 section 6.1.1).
const TYPE_OPT: u16 = 41;
/// Octets of an OPT record without options (RFC 6891 section 6.1.2).
pub const OPT_OCTETS: usize = 11;
/// Octets of an option before its data (RFC 6891 section 6.1.2).
const OPTION_HEAD_OCTETS: usize = 4;
/// Option of padding (RFC 7830 section 3).
pub const OPTION_PADDING: u16 = 12;
/// The length that padded responses are a multiple of, in octets (RFC 8467 section 4.1).
pub const PADDING_BLOCK_OCTETS: usize = 468;

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
    /// The server does not do this kind of request.
    pub const NOTIMP: u16 = 4;
    /// The server will not answer.
    pub const REFUSED: u16 = 5;
    /// Another version of EDNS than 0 (RFC 6891 section 6.1.3).
    pub const BADVERS: u16 = 16;
    /// A server cookie that is not valid (RFC 7873 section 8).
    pub const BADCOOKIE: u16 = 23;
}

/// Bits of the second word of a header (RFC 1035 section 4.1.1, RFC 4035 section 3).
mod flag {
    pub const RESPONSE: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const AUTHORITATIVE: u16 = 0x0400;
    pub const TRUNCATED: u16 = 0x0200;
    pub const RECURSION_DESIRED: u16 = 0x0100;
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    pub const CHECKING_DISABLED: u16 = 0x0010;
}

/// Bits of the flags of EDNS.
mod edns_flag {
    /// DNSSEC OK (RFC 3225).
    pub const DNSSEC_OK: u16 = 0x8000;
    /// Compact answers OK (RFC 9824 section 5.1).
    pub const COMPACT_OK: u16 = 0x4000;
}

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
        &self.octets[..self.octets.len() - 4]
    }

    /// The type.
    pub fn kind(self) -> u16 {
        word(self.octets, self.octets.len() - 4)
    }

    /// The class.
    pub fn class(self) -> u16 {
        word(self.octets, self.octets.len() - 2)
    }
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

/// What a request says by EDNS (RFC 6891).
#[derive(Clone, Copy, Debug)]
pub struct Edns<'a> {
    /// The longest UDP response that the client takes, in octets.
    pub payload_octets_max: u16,
    /// The version.
    pub version: u8,
    flags: u16,
    options: &'a [u8],
}

impl<'a> Edns<'a> {
    /// Whether signatures are wanted (RFC 3225).
    pub fn dnssec_ok(self) -> bool {
        self.flags & edns_flag::DNSSEC_OK != 0
    }

    /// Whether a name that does not exist may be said to be so beside its compact denial (RFC 9824 section 5.1).
    pub fn compact_ok(self) -> bool {
        self.flags & edns_flag::COMPACT_OK != 0
    }

    /// The data of the first option with a code.
    pub fn option(self, code: u16) -> Option<&'a [u8]> {
        let mut rest = self.options;
        while !rest.is_empty() {
            let (option, data, more) = split_option(rest)?;
            if option == code {
                return Some(data);
            }
            rest = more;
        }
        None
    }
}

/// A request that asks one thing.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    id: u16,
    flags: u16,
    /// What is asked.
    pub question: Question<'a>,
    /// What the client says by EDNS, if it speaks it.
    pub edns: Option<Edns<'a>>,
}

impl Request<'_> {
    /// Whether signatures are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(Edns::dnssec_ok)
    }

    /// Whether others are to be asked for the answer (RFC 1035 section 4.1.1).
    pub fn recursion_desired(&self) -> bool {
        self.flags & flag::RECURSION_DESIRED != 0
    }
}

/// What is no request that can be answered from the zone.
#[derive(Clone, Copy, Debug)]
pub enum Rejected<'a> {
    /// No header, or a response: silence.
    Silent,
    /// A header goes back, and nothing else.
    Header {
        /// The header.
        octets: [u8; HEADER_OCTETS],
        /// Its response code.
        rcode: u16,
    },
    /// There is no question; what is said by EDNS may ask for a cookie (RFC 7873 section 5.4).
    NoQuestion {
        /// The header of the response, with FORMERR.
        octets: [u8; HEADER_OCTETS],
        /// What is said.
        edns: Edns<'a>,
    },
}

impl<'a> Request<'a> {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`Rejected`] for what is no query with one question (RFC 9619 section 4), or cannot be read to its end.
    pub fn read(message: &'a [u8]) -> Result<Self, Rejected<'a>> {
        if message.len() < HEADER_OCTETS {
            return Err(Rejected::Silent);
        }
        let (id, flags) = (word(message, 0), word(message, 2));
        if flags & flag::RESPONSE != 0 {
            return Err(Rejected::Silent);
        }
        // The rest of another opcode's message may mean anything.
        if flags & flag::OPCODE != 0 {
            return Err(rejected(id, flags, rcode::NOTIMP));
        }
        match read_body(message) {
            Some((Some(question), edns)) => Ok(Self { id, flags, question, edns }),
            Some((None, Some(edns))) => {
                Err(Rejected::NoQuestion { octets: header_alone(id, flags, rcode::FORMERR), edns })
            }
            _ => Err(rejected(id, flags, rcode::FORMERR)),
        }
    }
}

fn rejected(id: u16, flags: u16, rcode: u16) -> Rejected<'static> {
    Rejected::Header { octets: header_alone(id, flags, rcode), rcode }
}

/// The header of a response that says nothing else.
fn header_alone(id: u16, flags: u16, rcode: u16) -> [u8; HEADER_OCTETS] {
    let mut octets = [0; HEADER_OCTETS];
    let flags = flag::RESPONSE | flags & (flag::OPCODE | flag::RECURSION_DESIRED) | rcode;
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets[2..4].copy_from_slice(&flags.to_be_bytes());
    octets
}

/// Writes the response to a request without a question: its header, made anew with this response code, and its options.
pub fn write_options_alone(
    out: &mut Vec<u8>,
    header: [u8; HEADER_OCTETS],
    rcode: u16,
    options: &Options,
    payload: u16,
) {
    out.clear();
    out.extend_from_slice(&header);
    out[3] = out[3] & 0xf0 | (rcode & 0x0f) as u8;
    out[11] = 1;
    write_opt(out, 0, rcode, options, payload);
}

/// Reads what follows the header; `None` when it cannot be read.
fn read_body(message: &[u8]) -> Option<(Option<Question<'_>>, Option<Edns<'_>>)> {
    let (question, mut at) = match word(message, 4) {
        0 => (None, HEADER_OCTETS),
        1 => {
            let end = name_end(message, HEADER_OCTETS)? + 4;
            (Some(Question { octets: message.get(HEADER_OCTETS..end)? }), end)
        }
        _ => return None,
    };
    for _ in 0..u32::from(word(message, 6)) + u32::from(word(message, 8)) {
        at = record(message, at)?.end;
    }
    let mut edns = None;
    for _ in 0..word(message, 10) {
        let record = record(message, at)?;
        if record.kind == TYPE_OPT {
            // RFC 6891 section 6.1.1: one at most, at the root.
            if edns.is_some() || message[at] != 0 {
                return None;
            }
            edns = Some(read_edns(&record)?);
        }
        at = record.end;
    }
    (at == message.len()).then_some((question, edns))
}

/// A record, as far as it is looked at.
struct RecordSeen<'a> {
    kind: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
    end: usize,
}

fn record(message: &[u8], at: usize) -> Option<RecordSeen<'_>> {
    let fixed = skip_name(message, at)?;
    let head = message.get(fixed..fixed + 10)?;
    let data_start = fixed + 10;
    let end = data_start + usize::from(word(head, 8));
    let ttl = u32::from(word(head, 4)) << 16 | u32::from(word(head, 6));
    Some(RecordSeen { kind: word(head, 0), class: word(head, 2), ttl, data: message.get(data_start..end)?, end })
}

fn read_edns<'a>(record: &RecordSeen<'a>) -> Option<Edns<'a>> {
    let mut rest = record.data;
    while !rest.is_empty() {
        rest = split_option(rest)?.2;
    }
    let version = (record.ttl >> 16) as u8;
    Some(Edns { payload_octets_max: record.class, version, flags: record.ttl as u16, options: record.data })
}

/// Code and data of the first option, and what follows.
fn split_option(options: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = options.split_at_checked(OPTION_HEAD_OCTETS)?;
    let (data, rest) = rest.split_at_checked(usize::from(word(head, 2)))?;
    Some((word(head, 0), data, rest))
}

/// Where an uncompressed name ends. A pointer in the question could only point at itself or into the header.
fn name_end(message: &[u8], start: usize) -> Option<usize> {
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

/// Where a name that may be compressed ends; where a pointer leads does not matter.
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

/// Reads two octets that are known to be there.
fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// The OPT record of a response (RFC 6891 section 6.1), while it is made.
#[derive(Debug, Default)]
pub struct Options {
    /// Options, encoded.
    octets: Vec<u8>,
}

impl Options {
    /// Adds an option made of these pieces; their lengths are bounded by whoever chose them.
    pub fn push(&mut self, code: u16, pieces: [&[u8]; 2]) {
        let octets = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let Ok(octets) = u16::try_from(octets) else { return };
        self.octets.extend_from_slice(&code.to_be_bytes());
        self.octets.extend_from_slice(&octets.to_be_bytes());
        pieces.iter().for_each(|piece| self.octets.extend_from_slice(piece));
    }

    /// Octets of the whole record.
    pub fn record_octets(&self) -> usize {
        OPT_OCTETS + self.octets.len()
    }
}

/// Takes seconds off the TTLs of the first records of a response, which have pointers for owners. The response has this question.
pub fn count_down(out: &mut [u8], question: Question<'_>, records: u16, seconds: u32) {
    let mut at = HEADER_OCTETS + question.octets().len();
    for _ in 0..records {
        let Some(head) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<RECORD_OCTETS>()) else { return };
        let ttl = u32::from_be_bytes([head[6], head[7], head[8], head[9]]).saturating_sub(seconds);
        head[6..10].copy_from_slice(&ttl.to_be_bytes());
        at += RECORD_OCTETS + usize::from(word(head, 10));
    }
}

/// Fills a response up to a multiple of [`PADDING_BLOCK_OCTETS`], or to the longest message. Its last record has to be the
/// OPT record with these options.
pub fn pad(out: &mut Vec<u8>, options: &Options) {
    let octets = out.len() + OPTION_HEAD_OCTETS;
    let octets_padded = octets.next_multiple_of(PADDING_BLOCK_OCTETS).min(MESSAGE_OCTETS_MAX);
    // There may be no room for even an empty option.
    let Some(fill) = octets_padded.checked_sub(octets) else { return };
    let length_at = out.len() - options.octets.len() - 2;
    let data_octets = options.octets.len() + OPTION_HEAD_OCTETS + fill;
    // Both are less than the length of the message.
    out[length_at..length_at + 2].copy_from_slice(&(data_octets as u16).to_be_bytes());
    out.extend_from_slice(&OPTION_PADDING.to_be_bytes());
    out.extend_from_slice(&(fill as u16).to_be_bytes());
    out.resize(octets_padded, 0);
}

/// How a response is made of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// The OPT record, when the request had one, and the payload size that it names.
    pub edns: Option<(&'a Options, u16)>,
    /// Whether the zone is signed for this client: compact answers are only then understood.
    pub is_signed: bool,
    /// Whether others are asked for this client (RFC 1035 section 4.1.1).
    pub recursion_available: bool,
    /// The longest response that may be sent, in octets.
    pub octets_max: usize,
}

/// How a response turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// With all its records.
    Whole,
    /// Without records, with TC: the client asks again over TCP (RFC 2181 section 9, RFC 7766).
    Truncated,
}

/// Writes the response to a request, in place of what `out` held.
pub fn write_response(out: &mut Vec<u8>, request: &Request<'_>, answer: &Answer<'_>, shape: Shape<'_>) -> Fit {
    let opt_octets = shape.edns.map_or(0, |(options, _)| options.record_octets());
    let question = request.question.octets();
    let fits = |answer: &Answer<'_>| HEADER_OCTETS + question.len() + answer.octets() + opt_octets <= shape.octets_max;
    let shorter = if fits(answer) { None } else { answer.without_dispensable() };
    let answer = shorter.as_ref().unwrap_or(answer);
    let fit = if fits(answer) { Fit::Whole } else { Fit::Truncated };
    let mut flags =
        flag::RESPONSE | request.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED) | answer.rcode & 0x000f;
    if answer.authoritative {
        flags |= flag::AUTHORITATIVE;
    }
    if shape.recursion_available {
        flags |= flag::RECURSION_AVAILABLE;
    }
    let mut counts = answer.counts();
    if fit == Fit::Truncated {
        flags |= flag::TRUNCATED;
        counts = [0; 3];
    }
    counts[2] += u16::from(shape.edns.is_some());
    out.clear();
    for field in [request.id, flags, 1, counts[0], counts[1], counts[2]] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(question);
    if fit == Fit::Whole {
        answer.write(out);
    }
    if let Some((options, payload)) = shape.edns {
        // RFC 3225 section 3: the DO bit is copied; RFC 9824 section 5.1: so is CO in a signed response.
        let copied = if shape.is_signed { edns_flag::DNSSEC_OK | edns_flag::COMPACT_OK } else { edns_flag::DNSSEC_OK };
        let flags = request.edns.map_or(0, |edns| edns.flags & copied);
        write_opt(out, flags, answer.rcode, options, payload);
    }
    fit
}

fn write_opt(out: &mut Vec<u8>, flags: u16, rcode: u16, options: &Options, payload: u16) {
    out.push(0);
    out.extend_from_slice(&TYPE_OPT.to_be_bytes());
    out.extend_from_slice(&payload.to_be_bytes());
    // The upper octet of the response code, and version 0.
    out.extend_from_slice(&[(rcode >> 4) as u8, 0]);
    out.extend_from_slice(&flags.to_be_bytes());
    // An option is at most 64 KiB long, and this node gives four short ones.
    out.extend_from_slice(&(options.octets.len() as u16).to_be_bytes());
    out.extend_from_slice(&options.octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x01a\x02id\x00\x00\x10\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    /// A query with these counts and this body.
    fn query(counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
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

    // RFC 8467 section 4.1: to a multiple of 468 octets; and never beyond the longest message.
    #[test]
    fn a_padded_response_is_no_longer_than_a_message_may_be() {
        let mut options = Options::default();
        options.push(10, [b"hi", &[]]);
        for (octets, expected) in [
            (60, 468),
            (463, 468),
            (464, 468),
            (465, 936),
            (65_516, 65_520),
            (65_517, 65_535),
            (65_531, 65_535),
            (65_532, 65_532),
        ] {
            // One record of a private type fills it up.
            let mut message = query([1, 1, 0, 1], &[QUESTION, b"\x00\xff\x00\x00\x01\x00\x00\x00\x3c"]);
            let data_octets = octets - message.len() - 2 - options.record_octets();
            message.extend_from_slice(&(data_octets as u16).to_be_bytes());
            message.resize(message.len() + data_octets, 7);
            write_opt(&mut message, 0, 0, &options, 1_232);
            assert_eq!(message.len(), octets);
            pad(&mut message, &options);
            let edns = Request::read(&message).unwrap().edns.unwrap();
            assert_eq!((message.len(), edns.option(10)), (expected, Some(&b"hi"[..])), "{octets}");
            let fill = edns.option(OPTION_PADDING).map(<[u8]>::len);
            assert_eq!(fill, expected.checked_sub(octets + 4), "{octets}");
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

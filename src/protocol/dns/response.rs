//! Encoding of responses (RFC 1035 section 4, RFC 6891).
//!
//! A response is written in two steps, so that a cached answer is copied once, straight into the output:
//!
//! 1. [`start`] puts the question and the records of an answer behind room for the header;
//! 2. [`finish`] adds what depends on the client and the moment: header, SOA record, OPT record, and it drops records
//!    that do not fit.
//!
//! Deliberately absent: the choice of the answer and of the options that go with it (`writing`).

use std::ops::Range;

use super::{
    answer::AnswerHead,
    request::{Question, Request, name_end, read_record},
    soa::Soa,
    wire::{
        HEADER_OCTETS, MESSAGE_OCTETS_MAX, OPT_OCTETS, OPTION_HEAD_OCTETS, QUESTION_FIXED_OCTETS, RECORD_OCTETS,
        TYPE_OPT, UDP_PAYLOAD_OCTETS_MAX, edns_flag, flag, word,
    },
};

/// Option of padding (RFC 7830 section 3).
pub const OPTION_PADDING: u16 = 12;
/// Block size of padded responses, in octets (RFC 8467 section 4.1).
pub const PADDING_BLOCK_OCTETS: usize = 468;

/// The options of the OPT record of a response (RFC 6891 section 6.1), encoded.
#[derive(Debug, Default)]
pub struct Options {
    octets: Vec<u8>,
}

impl Options {
    /// Adds an option whose data is these pieces in a row; the caller bounds their lengths.
    pub fn push(&mut self, code: u16, pieces: [&[u8]; 2]) {
        let octets = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let Ok(octets) = u16::try_from(octets) else { return };
        self.octets.extend_from_slice(&code.to_be_bytes());
        self.octets.extend_from_slice(&octets.to_be_bytes());
        pieces.iter().for_each(|piece| self.octets.extend_from_slice(piece));
    }

    /// Octets of the whole OPT record.
    pub fn record_octets(&self) -> usize {
        OPT_OCTETS + self.octets.len()
    }

    /// Writes the OPT record.
    fn put(&self, out: &mut Vec<u8>, flags: u16, rcode: u16) {
        out.push(0);
        out.extend_from_slice(&TYPE_OPT.to_be_bytes());
        out.extend_from_slice(&UDP_PAYLOAD_OCTETS_MAX.to_be_bytes());
        // The upper octet of the response code, and version 0.
        out.extend_from_slice(&[(rcode >> 4) as u8, 0]);
        out.extend_from_slice(&flags.to_be_bytes());
        // An option is at most 64 KiB long, and this node gives four short ones.
        out.extend_from_slice(&(self.octets.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.octets);
    }
}

/// Parts of a response beside the records of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// The SOA record of a negative answer.
    pub soa: Option<&'a Soa>,
    /// The options, if the request has EDNS.
    pub options: Option<&'a Options>,
    /// True if the zone is signed for this client: only then is the flag of compact answers copied.
    pub is_signed: bool,
    /// True if the node walks for this client (RFC 1035 section 4.1.1).
    pub recursion_available: bool,
    /// Maximum length of the response, in octets.
    pub octets_max: usize,
}

/// Result of fitting a response to its maximum length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// All records fit.
    Whole,
    /// No records, and TC: the client asks again over TCP (RFC 2181 section 9, RFC 7766).
    Truncated,
}

/// Starts the response to a question, in place of the contents of `out`: room for the header, the question, and the
/// records of an answer.
pub fn start(out: &mut Vec<u8>, question: Question<'_>, records: &[u8]) {
    out.clear();
    out.extend_from_slice(&[0; HEADER_OCTETS]);
    out.extend_from_slice(question.octets());
    out.extend_from_slice(records);
}

/// Finishes a response that was started with the records of an answer; `head` is the head of that answer.
pub fn finish(out: &mut Vec<u8>, request: &Request<'_>, head: AnswerHead, shape: Shape<'_>) -> Fit {
    let records_at = HEADER_OCTETS + request.question.octets().len();
    let mut head = head;
    let added_octets = shape.soa.map_or(0, Soa::octets) + shape.options.map_or(0, Options::record_octets);
    let fits = |out: &Vec<u8>| out.len() + added_octets <= shape.octets_max;
    if !fits(out)
        && let Some(shorter) = head.without_dispensable()
    {
        out.truncate(out.len() - head.dispensable_octets);
        head = shorter;
    }
    let mut flags =
        flag::RESPONSE | request.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED) | head.rcode & 0x000f;
    if head.authoritative {
        flags |= flag::AUTHORITATIVE;
    }
    if shape.recursion_available {
        flags |= flag::RECURSION_AVAILABLE;
    }
    let mut counts = head.counts;
    let fit = if fits(out) { Fit::Whole } else { Fit::Truncated };
    match (fit, shape.soa) {
        (Fit::Truncated, _) => {
            flags |= flag::TRUNCATED;
            counts = [0; 3];
            out.truncate(records_at);
        }
        (Fit::Whole, Some(soa)) => {
            counts[1] += soa.count();
            put_before(out, records_at, |out| soa.put(out));
        }
        (Fit::Whole, None) => {}
    }
    if let Some(options) = shape.options {
        counts[2] += 1;
        // RFC 3225 section 3: the DO bit is copied; RFC 9824 section 5.1: so is CO in a signed response.
        let copied = if shape.is_signed { edns_flag::DNSSEC_OK | edns_flag::COMPACT_OK } else { edns_flag::DNSSEC_OK };
        let edns_flags = request.edns.map_or(0, |edns| edns.flags & copied);
        options.put(out, edns_flags, head.rcode);
    }
    let [answers, authorities, additionals] = counts;
    let fields = [request.id, flags, 1, answers, authorities, additionals];
    for (place, field) in out.chunks_exact_mut(2).zip(fields) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    fit
}

/// Writes records in front of those that begin at an offset: the SOA record comes first in the authority section, and
/// an answer with one has nothing in the answer section.
fn put_before(out: &mut Vec<u8>, at: usize, put: impl FnOnce(&mut Vec<u8>)) {
    let end = out.len();
    put(out);
    let octets = out.len() - end;
    out[at..].rotate_right(octets);
}

/// Writes the response to a request without a question: the header with this response code, and the options.
pub fn write_options_alone(out: &mut Vec<u8>, header: [u8; HEADER_OCTETS], rcode: u16, options: &Options) {
    out.clear();
    out.extend_from_slice(&header);
    out[3] = out[3] & 0xf0 | (rcode & 0x0f) as u8;
    out[11] = 1;
    options.put(out, 0, rcode);
}

/// Removes all records but the OPT record from a response, and sets TC: the client asks again over TCP. Returns false
/// for a response without a question, which has no records to remove.
pub fn truncate(out: &mut Vec<u8>) -> bool {
    let Some(places) = record_places(out) else { return false };
    let octets = places.opt.len();
    out.copy_within(places.opt, places.start);
    out.truncate(places.start + octets);
    out[2] |= (flag::TRUNCATED >> 8) as u8;
    out[6..HEADER_OCTETS].fill(0);
    out[HEADER_OCTETS - 1] = u8::from(octets > 0);
    true
}

/// Places of the records in a response.
struct RecordPlaces {
    /// Offset of the first record.
    start: usize,
    /// The OPT record; empty without one.
    opt: Range<usize>,
}

/// Finds the records of a response; `None` if it has no question, or cannot be read.
fn record_places(message: &[u8]) -> Option<RecordPlaces> {
    let header = message.first_chunk::<HEADER_OCTETS>().filter(|header| word(*header, 4) == 1)?;
    let start = name_end(message, HEADER_OCTETS)? + QUESTION_FIXED_OCTETS;
    let mut opt = 0..0;
    let mut at = start;
    for _ in 0..[6, 8, 10].map(|count_at| u32::from(word(header, count_at))).iter().sum() {
        let record = read_record(message, at)?;
        if record.kind == TYPE_OPT {
            opt = at..record.end;
        }
        at = record.end;
    }
    Some(RecordPlaces { start, opt })
}

/// Counts the TTLs of the first `records` records of a response down by `seconds`. Their owners are pointers, and the
/// response has this question.
pub fn count_down(out: &mut [u8], question: Question<'_>, records: u16, seconds: u32) {
    let mut at = HEADER_OCTETS + question.octets().len();
    for _ in 0..records {
        let Some(head) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<RECORD_OCTETS>()) else { return };
        let ttl = u32::from_be_bytes([head[6], head[7], head[8], head[9]]).saturating_sub(seconds);
        head[6..10].copy_from_slice(&ttl.to_be_bytes());
        at += RECORD_OCTETS + usize::from(word(head, 10));
    }
}

/// Pads a response to a multiple of [`PADDING_BLOCK_OCTETS`], or to the longest message. Its last record has to be the
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::dns::{
        answer::{Section, WireAnswer},
        request::tests::{OPT, QUESTION, query},
        wire::rcode,
    };

    /// A response that is truncated afterwards equals one that was written without records at once.
    #[test]
    fn a_response_that_is_truncated_has_header_question_and_options() {
        let mut answer = WireAnswer::from(AnswerHead { negative: true, ..AnswerHead::new(rcode::BADCOOKIE) });
        answer.push(Section::Authority, 47, 60, |out| out.extend_from_slice(b"some data"));
        let soa = Soa { apex_offset: 14, zone_offset: 14, serial: 7, ttl: 60, signed: None };
        let mut options = Options::default();
        options.push(10, [b"hi", &[]]);
        for (opt, options) in [(&[][..], None), (OPT, Some(&options))] {
            let message = query([1, 0, 0, u16::from(options.is_some())], &[QUESTION, opt]);
            let request = Request::read(&message).unwrap();
            let written = |octets_max| {
                let mut out = vec![7; 100];
                start(&mut out, request.question, answer.records());
                let shape = Shape { soa: Some(&soa), options, is_signed: true, recursion_available: true, octets_max };
                let fit = finish(&mut out, &request, answer.head, shape);
                (fit, out)
            };
            let (fit, mut whole) = written(1_232);
            assert_eq!(fit, Fit::Whole);
            // The SOA record stands first.
            let records_at = HEADER_OCTETS + QUESTION.len();
            assert_eq!(whole[records_at + 2..records_at + 4], [0, 6]);
            assert_eq!(whole[6..12], [0, 0, 0, 2, 0, u8::from(options.is_some())]);
            let (fit, truncated) = written(0);
            assert_eq!(fit, Fit::Truncated);
            // Once more changes nothing.
            for _ in 0..2 {
                assert!(truncate(&mut whole));
                assert_eq!(whole, truncated);
            }
        }
        let mut without_question = vec![0, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(!truncate(&mut without_question));
        assert_eq!(without_question[2], 0x80);
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
            options.put(&mut message, 0, 0);
            assert_eq!(message.len(), octets);
            pad(&mut message, &options);
            let edns = Request::read(&message).unwrap().edns.unwrap();
            assert_eq!((message.len(), edns.option(10)), (expected, Some(&b"hi"[..])), "{octets}");
            let fill = edns.option(OPTION_PADDING).map(<[u8]>::len);
            assert_eq!(fill, expected.checked_sub(octets + 4), "{octets}");
        }
    }
}

//! Answers in wire form: the part of a response between the question and the OPT record.
//!
//! Records are written for one place, right behind the question. So their owner is a pointer to the name in the
//! question (RFC 1035 section 4.1.4), and goes back in the spelling of whichever client asks. The SOA record of a
//! negative answer is no part of the answer: it changes with every registration, and is written when the answer leaves
//! (`soa`).

use super::wire::{
    CLASS_CHAOS, CLASS_IN, HEADER_OCTETS, MESSAGE_OCTETS_MAX, NAME_OCTETS_MAX, OPT_OCTETS, QUESTION_FIXED_OCTETS,
    RECORD_OCTETS, RecordHead, rcode,
};

/// Maximum length of the text of an extended error, in octets.
pub const EXTENDED_TEXT_OCTETS_MAX: usize = 64;
/// Maximum length of all options of this node together, in octets.
const OPTIONS_OCTETS_MAX: usize = 256;
/// Maximum length of a message beside its answer: header, the longest question, an OPT record with every option of this
/// node.
const REST_OCTETS_MAX: usize =
    HEADER_OCTETS + NAME_OCTETS_MAX + QUESTION_FIXED_OCTETS + OPT_OCTETS + OPTIONS_OCTETS_MAX;
/// Maximum length of the records of an answer together, in octets.
const RECORDS_OCTETS_MAX: usize = MESSAGE_OCTETS_MAX - REST_OCTETS_MAX;

/// An extended DNS error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError<'a> {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT; the rest beyond [`EXTENDED_TEXT_OCTETS_MAX`] octets is cut off.
    pub text: &'a str,
}

/// Section of a response (RFC 1035 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The records that were asked for.
    Answer = 0,
    /// The records of the zone that answers, or of the one to ask.
    Authority = 1,
    /// Records that save a further question.
    Additional = 2,
}

/// The section of a record, and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The section.
    pub section: Section,
    /// Offset of the owner in the message.
    pub owner_offset: usize,
}

impl RecordPlace {
    /// Place in a section for a record at the name that was asked.
    pub fn at_question(section: Section) -> Self {
        Self { section, owner_offset: HEADER_OCTETS }
    }
}

/// An answer without the octets of its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerHead {
    /// The response code.
    pub rcode: u16,
    /// True if the node answers for the name (AA, RFC 1035 section 4.1.1).
    pub authoritative: bool,
    /// True if the SOA record of the zone goes with the answer (RFC 2308 section 3).
    pub negative: bool,
    /// Offset in the name that was asked of the zone that answers; `None` for the zone of the node.
    pub apex_at: Option<u16>,
    /// For a referral, offset in the name that was asked of the name of the delegated prefix: all names below it get
    /// the same referral.
    pub cut_at: Option<u16>,
    /// The extended error, for a client that speaks EDNS.
    pub extended: Option<ExtendedError<'static>>,
    /// The number of records in each section.
    pub(super) counts: [u16; 3],
    /// Octets of the last record, if it may be left out first; else 0.
    pub(super) dispensable_octets: usize,
}

impl AnswerHead {
    /// The head of an answer with this response code and without records.
    pub fn new(rcode: u16) -> Self {
        Self { rcode, ..Self::default() }
    }

    /// The head of an authoritative answer without an error and without records.
    pub fn authoritative() -> Self {
        Self { authoritative: true, ..Self::new(rcode::NOERROR) }
    }

    /// Number of records in the answer section.
    pub fn answer_count(&self) -> u16 {
        self.counts[Section::Answer as usize]
    }

    /// Number of records, the SOA record of a negative answer aside.
    pub fn record_count(&self) -> u16 {
        self.counts.iter().sum()
    }

    /// The head of the answer without the record that may be left out first; `None` if there is none.
    pub(super) fn without_dispensable(self) -> Option<Self> {
        let [answer, authority, additional] = self.counts;
        let additional = additional.checked_sub(1).filter(|_| self.dispensable_octets > 0)?;
        Some(Self { counts: [answer, authority, additional], dispensable_octets: 0, ..self })
    }
}

/// An answer: its head and its records, for any client with the same question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireAnswer {
    /// Everything beside the records.
    pub head: AnswerHead,
    records: Vec<u8>,
}

impl From<AnswerHead> for WireAnswer {
    /// The answer with this head, without records yet.
    fn from(head: AnswerHead) -> Self {
        Self { head, records: Vec::new() }
    }
}

impl WireAnswer {
    /// An answer without records.
    pub fn empty(rcode: u16) -> Self {
        AnswerHead::new(rcode).into()
    }

    /// An authoritative answer without records yet.
    pub fn authoritative() -> Self {
        AnswerHead::authoritative().into()
    }

    /// An authoritative answer, with memory reserved for records of `octets` octets.
    pub fn with_room(octets: usize) -> Self {
        Self { head: AnswerHead::authoritative(), records: Vec::with_capacity(octets) }
    }

    /// The records, as they stand behind the question.
    pub fn records(&self) -> &[u8] {
        &self.records
    }

    /// Adds a record whose owner is the name that was asked; `write` writes its data. Returns false, and leaves the
    /// record out, if it does not fit a message.
    pub fn push(&mut self, section: Section, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.push_at(RecordPlace::at_question(section), kind, ttl, write)
    }

    /// Adds a record with an owner at a place of its own; otherwise as [`WireAnswer::push`].
    pub fn push_at(&mut self, place: RecordPlace, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let head = RecordHead { owner_offset: place.owner_offset, kind, class: CLASS_IN, ttl };
        self.push_record(place.section, head, write)
    }

    /// Adds a record of class CHAOS whose owner is the name that was asked.
    pub fn push_chaos(&mut self, section: Section, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.push_record(section, RecordHead { owner_offset: HEADER_OCTETS, kind, class: CLASS_CHAOS, ttl }, write)
    }

    /// Adds a last record to the additional section, to be left out first if the response is too long.
    pub fn push_dispensable(&mut self, owner_offset: usize, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.records.len();
        if self.push_at(RecordPlace { section: Section::Additional, owner_offset }, kind, ttl, write) {
            self.head.dispensable_octets = self.records.len() - start;
        }
    }

    fn push_record(&mut self, section: Section, head: RecordHead, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.records.len();
        head.put(&mut self.records, 0);
        write(&mut self.records);
        let data_octets = self.records.len() - start - RECORD_OCTETS;
        let fits = self.records.len() <= RECORDS_OCTETS_MAX;
        match u16::try_from(data_octets) {
            Ok(octets) if fits => {
                self.records[start + RECORD_OCTETS - 2..start + RECORD_OCTETS].copy_from_slice(&octets.to_be_bytes());
                self.head.counts[section as usize] += 1;
                true
            }
            _ => {
                self.records.truncate(start);
                false
            }
        }
    }

    /// Sets the TTL of every record of the answer section: records of a set have one TTL (RFC 2181 section 5.2). All of
    /// them must have been added with [`WireAnswer::push`].
    pub fn set_ttl(&mut self, ttl: u32) {
        let mut at = 0;
        for _ in 0..self.head.answer_count() {
            self.records[at + 6..at + 10].copy_from_slice(&ttl.to_be_bytes());
            let octets = u16::from_be_bytes([self.records[at + 10], self.records[at + 11]]);
            at += RECORD_OCTETS + usize::from(octets);
        }
    }

    /// TTL of the first record of the answer section, in seconds; `None` without records.
    pub fn answer_ttl(&self) -> Option<u32> {
        let octets = self.records.get(6..10).filter(|_| self.head.answer_count() > 0)?;
        Some(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]))
    }

    /// Drops the records behind the answer section.
    pub fn keep_answer_section(&mut self) {
        let octets = self.answer_data().iter().map(|data| RECORD_OCTETS + data.len()).sum();
        self.records.truncate(octets);
        self.head.counts = [self.head.answer_count(), 0, 0];
    }

    /// The data of the records of the answer section, in order; all of them must have been added with
    /// [`WireAnswer::push`].
    pub fn answer_data(&self) -> Vec<&[u8]> {
        let mut rest = self.records.as_slice();
        let data = (0..self.head.answer_count()).map_while(|_| {
            let (head, after) = rest.split_at_checked(RECORD_OCTETS)?;
            let (data, more) = after.split_at_checked(usize::from(u16::from_be_bytes([head[10], head[11]])))?;
            rest = more;
            Some(data)
        });
        data.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let mut answer = WireAnswer::empty(0);
        assert!(answer.push(Section::Answer, 16, 60, |out| out.extend_from_slice(b"\x01x")));
        assert!(answer.push(Section::Answer, 16, 70, |out| out.extend_from_slice(b"\x02yz")));
        answer.set_ttl(50);
        assert_eq!(answer.answer_data(), [&b"\x01x"[..], b"\x02yz"]);
        let additional = RecordPlace { section: Section::Additional, owner_offset: 20 };
        assert!(answer.push_at(additional, 1, 60, |out| out.extend_from_slice(&[192, 0, 2, 1])));
        let expected: &[&[u8]] = &[
            b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x32\x00\x02\x01x",
            b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x32\x00\x03\x02yz",
            b"\xc0\x14\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        ];
        assert_eq!(answer.records(), expected.concat());
        assert_eq!(answer.head.counts, [2, 0, 1]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut answer = WireAnswer::empty(0);
        let big = |octets: usize| move |out: &mut Vec<u8>| out.resize(out.len() + octets, 7);
        assert!(!answer.push(Section::Answer, 16, 60, big(RECORDS_OCTETS_MAX - RECORD_OCTETS + 1)));
        assert!(answer.push(Section::Answer, 16, 60, big(RECORDS_OCTETS_MAX - 2 * RECORD_OCTETS - 5)));
        assert!(!answer.push(Section::Answer, 16, 60, big(6)));
        assert!(answer.push(Section::Answer, 16, 60, big(5)));
        assert_eq!((answer.head.answer_count(), answer.records().len()), (2, RECORDS_OCTETS_MAX));
    }
}

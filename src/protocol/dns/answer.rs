//! Answers in wire form: what stands between the question and the OPT record of a response.
//!
//! Records are written for one place, right behind the question of the name that was asked. So their owner is a pointer to
//! the question (RFC 1035 section 4.1.4), and goes back in the client's own spelling, whatever that is next time. The SOA
//! record of a negative answer is not part of it: it changes with every registration, and is written when the answer leaves.

use super::{message::HEADER_OCTETS, zone::Soa};

/// The longest message (RFC 1035 section 4.2.2), in octets.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// The longest text of an extended error, in octets.
pub const EXTENDED_TEXT_OCTETS_MAX: usize = 64;
/// Octets of a record beside its data, with an owner that is a pointer.
pub(super) const RECORD_OCTETS: usize = 12;
/// What a message may need beside its answer: header, the longest question, an OPT record with every option of this node.
const REST_OCTETS_MAX: usize = HEADER_OCTETS + 255 + 4 + 11 + 256;
/// What the records of an answer may take together, in octets.
const RECORDS_OCTETS_MAX: usize = MESSAGE_OCTETS_MAX - REST_OCTETS_MAX;
/// The class of the Internet.
pub const CLASS_IN: u16 = 1;
/// The class of questions about the server itself.
pub const CLASS_CHAOS: u16 = 3;

/// An extended DNS error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT, at most [`EXTENDED_TEXT_OCTETS_MAX`] octets.
    pub text: &'static str,
}

/// Where in a response a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer = 0,
    /// Who says so.
    Authority = 1,
    /// What helps.
    Additional = 2,
}

/// An answer that may be kept for the next who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedAnswer {
    /// The response code.
    pub rcode: u16,
    /// Whether the node answers for the name (AA, RFC 1035 section 4.1.1).
    pub authoritative: bool,
    /// Whether the SOA record of the zone goes with it (RFC 2308 section 3).
    pub negative: bool,
    /// Where in the name that was asked the zone begins that the answer is of; nothing for the node's own.
    pub apex_at: Option<u16>,
    /// Where in the name that was asked the name of a delegated prefix begins, when the answer refers to others: all names below
    /// it get the same.
    pub cut_at: Option<u16>,
    /// More about the outcome, for a client that speaks EDNS.
    pub extended: Option<ExtendedError>,
    pub(super) counts: [u16; 3],
    pub(super) records: Vec<u8>,
    /// Octets of the last record, when it is left out first.
    pub(super) dispensable_octets: usize,
}

/// An answer on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The response code.
    pub rcode: u16,
    /// Whether the node answers for the name.
    pub authoritative: bool,
    /// The SOA record of a negative answer.
    pub soa: Option<&'a Soa>,
    counts: [u16; 3],
    records: &'a [u8],
    dispensable_octets: usize,
}

impl OwnedAnswer {
    /// An answer without records.
    pub fn empty(rcode: u16) -> Self {
        Self { rcode, ..Self::default() }
    }

    /// The answer with the SOA record that goes with it now.
    pub fn with_soa<'a>(&'a self, soa: Option<&'a Soa>) -> Answer<'a> {
        let Self { rcode, authoritative, counts, ref records, dispensable_octets, .. } = *self;
        Answer { rcode, authoritative, soa: soa.filter(|_| self.negative), counts, records, dispensable_octets }
    }

    /// Octets of its records.
    pub fn records_octets(&self) -> usize {
        self.records.len()
    }

    /// The number of records in the answer section.
    pub fn answer_count(&self) -> u16 {
        self.counts[0]
    }

    /// Adds a record whose owner is the name that was asked; `write` writes its data. False when it does not fit a message: then
    /// it is left out.
    pub fn push(&mut self, section: Section, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.push_at(section, HEADER_OCTETS, kind, ttl, write)
    }

    /// Adds a record of the class CHAOS, whose owner is the name that was asked.
    pub fn push_chaos(&mut self, section: Section, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.push_record(section, (HEADER_OCTETS, CLASS_CHAOS), kind, ttl, write)
    }

    /// Adds a record whose owner stands at an offset in the message.
    pub fn push_at(
        &mut self,
        section: Section,
        owner_offset: usize,
        kind: u16,
        ttl: u32,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        self.push_record(section, (owner_offset, CLASS_IN), kind, ttl, write)
    }

    /// Adds a last record to the additional section, which is left out first when the answer is too long.
    pub fn push_dispensable(&mut self, owner_offset: usize, kind: u16, ttl: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.records.len();
        if self.push_at(Section::Additional, owner_offset, kind, ttl, write) {
            self.dispensable_octets = self.records.len() - start;
        }
    }

    /// How many records there are, the SOA record of a negative answer aside.
    pub fn record_count(&self) -> u16 {
        self.counts.iter().sum()
    }

    fn push_record(
        &mut self,
        section: Section,
        (owner_offset, class): (usize, u16),
        kind: u16,
        ttl: u32,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let start = self.records.len();
        put_head(&mut self.records, (owner_offset, class), kind, ttl, 0);
        write(&mut self.records);
        let data_octets = self.records.len() - start - RECORD_OCTETS;
        let fits = self.records.len() <= RECORDS_OCTETS_MAX;
        match u16::try_from(data_octets) {
            Ok(octets) if fits => {
                self.records[start + RECORD_OCTETS - 2..start + RECORD_OCTETS].copy_from_slice(&octets.to_be_bytes());
                self.counts[section as usize] += 1;
                true
            }
            _ => {
                self.records.truncate(start);
                false
            }
        }
    }

    /// Gives every record of the answer section this TTL: records of a set have one (RFC 2181 section 5.2). All of them
    /// must have been added with [`OwnedAnswer::push`].
    pub fn set_ttl(&mut self, ttl: u32) {
        let mut at = 0;
        for _ in 0..self.counts[0] {
            self.records[at + 6..at + 10].copy_from_slice(&ttl.to_be_bytes());
            let octets = u16::from_be_bytes([self.records[at + 10], self.records[at + 11]]);
            at += RECORD_OCTETS + usize::from(octets);
        }
    }

    /// The TTL of the records of the answer section, in seconds; none without records.
    pub fn answer_ttl(&self) -> Option<u32> {
        let octets = self.records.get(6..10).filter(|_| self.counts[0] > 0)?;
        Some(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]))
    }

    /// Leaves out what stands behind the answer section.
    pub fn keep_answer_section(&mut self) {
        let octets = self.answer_data().iter().map(|data| RECORD_OCTETS + data.len()).sum();
        self.records.truncate(octets);
        self.counts = [self.counts[0], 0, 0];
    }

    /// The data of the records of the answer section, in order; all of them must have been added with
    /// [`OwnedAnswer::push`].
    pub fn answer_data(&self) -> Vec<&[u8]> {
        let mut rest = self.records.as_slice();
        let data = (0..self.counts[0]).map_while(|_| {
            let (head, after) = rest.split_at_checked(RECORD_OCTETS)?;
            let (data, more) = after.split_at_checked(usize::from(u16::from_be_bytes([head[10], head[11]])))?;
            rest = more;
            Some(data)
        });
        data.collect()
    }
}

impl Answer<'_> {
    /// The answer without the record that is left out first; `None` when there is none.
    pub(super) fn without_dispensable(&self) -> Option<Self> {
        let octets = self.records.len().checked_sub(self.dispensable_octets).filter(|_| self.dispensable_octets > 0)?;
        let [answer, authority, additional] = self.counts;
        let counts = [answer, authority, additional.checked_sub(1)?];
        Some(Self { counts, records: self.records.get(..octets)?, dispensable_octets: 0, ..*self })
    }

    /// Octets of its records.
    pub(super) fn octets(&self) -> usize {
        self.records.len() + self.soa.map_or(0, Soa::octets)
    }

    /// How many records there are in each section.
    pub(super) fn counts(&self) -> [u16; 3] {
        let [answer, authority, additional] = self.counts;
        [answer, authority + self.soa.map_or(0, Soa::count), additional]
    }

    /// Writes its records behind the question. The SOA record comes first: an answer with one has none in the answer section.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(soa) = self.soa {
            soa.write(out);
        }
        out.extend_from_slice(self.records);
    }
}

/// Writes what a record has before its data (RFC 1035 section 4.1.3); its owner stands at an offset in the message.
pub(super) fn put_head(out: &mut Vec<u8>, (owner_offset, class): (usize, u16), kind: u16, ttl: u32, data_octets: u16) {
    out.extend_from_slice(&pointer(owner_offset));
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&class.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&data_octets.to_be_bytes());
}

/// A pointer to an earlier place in the message (RFC 1035 section 4.1.4).
pub fn pointer(offset: usize) -> [u8; 2] {
    // Names are pointed to in the question and right behind it, far below the 16,384 octets that a pointer reaches.
    (0xc000 | offset as u16 & 0x3fff).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let mut answer = OwnedAnswer::empty(0);
        assert!(answer.push(Section::Answer, 16, 60, |out| out.extend_from_slice(b"\x01x")));
        assert!(answer.push(Section::Answer, 16, 70, |out| out.extend_from_slice(b"\x02yz")));
        answer.set_ttl(50);
        assert_eq!(answer.answer_data(), [&b"\x01x"[..], b"\x02yz"]);
        assert!(answer.push_at(Section::Additional, 20, 1, 60, |out| out.extend_from_slice(&[192, 0, 2, 1])));
        let mut out = Vec::new();
        answer.with_soa(None).write(&mut out);
        let expected: &[&[u8]] = &[
            b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x32\x00\x02\x01x",
            b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x32\x00\x03\x02yz",
            b"\xc0\x14\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
        ];
        assert_eq!(out, expected.concat());
        assert_eq!(answer.with_soa(None).counts(), [2, 0, 1]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut answer = OwnedAnswer::empty(0);
        let big = |octets: usize| move |out: &mut Vec<u8>| out.resize(out.len() + octets, 7);
        assert!(!answer.push(Section::Answer, 16, 60, big(RECORDS_OCTETS_MAX - RECORD_OCTETS + 1)));
        assert!(answer.push(Section::Answer, 16, 60, big(RECORDS_OCTETS_MAX - 2 * RECORD_OCTETS - 5)));
        assert!(!answer.push(Section::Answer, 16, 60, big(6)));
        assert!(answer.push(Section::Answer, 16, 60, big(5)));
        assert_eq!((answer.answer_count(), answer.records_octets()), (2, RECORDS_OCTETS_MAX));
    }
}

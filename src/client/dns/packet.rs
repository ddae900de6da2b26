//! The little of the DNS wire format that one question and its answer need (RFC 1035 section 4).
//!
//! Everything that is read comes from the network: bounded, checked, never trusted to end where it says.

use rand::Rng as _;

/// The private type under which a node gives the whole record.
const TYPE_RECORD: u16 = 65_280;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
/// How much an answer over UDP may hold without being cut up on its way, in bytes.
const EDNS_BYTES: u16 = 1_232;
/// Option code of an extended error (RFC 8914 section 2).
const OPTION_EXTENDED_ERROR: u16 = 15;
/// The header, in bytes.
const HEADER_BYTES: usize = 12;
/// The longest name on the wire, in octets.
const NAME_OCTETS_MAX: usize = 255;
/// How many pointers of one name are followed.
const POINTERS_MAX: usize = 16;

/// A question that was put into a message, and knows its answer when it sees it.
#[derive(Clone, Debug)]
pub struct Question {
    id: [u8; 2],
    /// Name, type and class.
    asked: Vec<u8>,
    message: Vec<u8>,
}

/// What of a response matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The response code, with its upper bits from EDNS.
    pub rcode: u16,
    /// True when the answer did not fit.
    pub truncated: bool,
    /// The data of the first record that answers the question.
    pub record: Option<Vec<u8>>,
    /// Code and text of an extended error.
    pub extended_error: Option<(u16, String)>,
}

impl Question {
    /// Asks for the record at a name, under a random id; `None` when the name does not fit the DNS.
    pub fn new(name: &str) -> Option<Self> {
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
        rand::rng().fill_bytes(&mut id);
        // One question and one additional record, no flags.
        let mut message = vec![id[0], id[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
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

    /// Reads a response; `None` when it is none to this question, or broken.
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
        let mut response = Response { rcode: flags & 0xf, truncated: flags & 0x0200 != 0, ..Response::default() };
        if response.truncated {
            return Some(response);
        }
        for _ in 0..answers {
            let record = reader.record()?;
            let answers_it = record.kind == TYPE_RECORD && record.class == CLASS_IN && self.is_name(&record.name);
            if answers_it && response.record.is_none() {
                response.record = Some(record.data.to_vec());
            }
        }
        for _ in 0..u32::from(authorities) + u32::from(additionals) {
            let record = reader.record()?;
            if record.kind == TYPE_OPT {
                response.rcode |= u16::from(record.ttl[0]) << 4;
                response.extended_error = extended_error(record.data);
            }
        }
        Some(response)
    }

    /// True for the name that was asked for.
    fn is_name(&self, name: &[u8]) -> bool {
        self.asked.get(..self.asked.len() - 4).is_some_and(|asked| asked.eq_ignore_ascii_case(name))
    }
}

/// The extended error among the options of an OPT record.
fn extended_error(options: &[u8]) -> Option<(u16, String)> {
    let mut reader = Reader { bytes: options, at: 0 };
    loop {
        let (code, length) = (reader.u16()?, reader.u16()?);
        let data = reader.take(usize::from(length))?;
        if code == OPTION_EXTENDED_ERROR {
            let (info, text) = data.split_at_checked(2)?;
            return Some((u16::from_be_bytes([info[0], info[1]]), String::from_utf8_lossy(text).into_owned()));
        }
    }
}

/// A resource record, where it was read.
struct RawRecord<'a> {
    /// Uncompressed.
    name: Vec<u8>,
    kind: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
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
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl = self.take(4)?.try_into().ok()?;
        let length = self.u16()?;
        Some(RawRecord { name, kind, class, ttl, data: self.take(usize::from(length))? })
    }

    /// Reads a name, following pointers (RFC 1035 section 4.1.4), and goes on behind it.
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
        Question::new("a.88.hdl.id.test.").unwrap()
    }

    #[test]
    fn golden_question() {
        let question = question();
        let expected = b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x0288\x03hdl\x02id\x04test\x00\xff\x00\x00\x01\
            \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
        assert_eq!(&question.message()[2..], expected);
        assert!(Question::new(&"a".repeat(64)).is_none());
        assert!(Question::new("a..b").is_none());
        assert!(Question::new(&"a.".repeat(128)).is_none());
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

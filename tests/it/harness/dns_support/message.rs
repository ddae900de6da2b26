//! Requests, valid and malformed, and a strict reader of responses.

use std::sync::atomic::{AtomicU16, Ordering};

pub const CLASS_IN: u16 = 1;
pub const CLASS_CHAOS: u16 = 3;

/// Types (RFC 1035 section 3.2.2 and others).
pub mod kind {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const SOA: u16 = 6;
    pub const TXT: u16 = 16;
    pub const NAPTR: u16 = 35;
    pub const OPT: u16 = 41;
    pub const DNSKEY: u16 = 48;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
    pub const URI: u16 = 256;
    pub const RECORD: u16 = 65_280;
}

/// Bits of the header (RFC 1035 section 4.1.1, RFC 6895 section 2), and flags of EDNS: DO (RFC 3225), CO (RFC 9824).
pub mod flag {
    pub const QR: u16 = 0x8000;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    pub const RA: u16 = 0x0080;
    pub const Z: u16 = 0x0040;
    pub const AD: u16 = 0x0020;
    pub const CD: u16 = 0x0010;
    pub const DO: u16 = 0x8000;
    pub const CO: u16 = 0x4000;
}

/// Options of EDNS.
pub mod option {
    pub const NSID: u16 = 3;
    pub const SUBNET: u16 = 8;
    pub const EXPIRE: u16 = 9;
    pub const COOKIE: u16 = 10;
    pub const EXTENDED_ERROR: u16 = 15;
}

/// An OPT record (RFC 6891 section 6.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Edns {
    pub payload: u16,
    /// Upper bits of the response code.
    pub rcode: u8,
    pub version: u8,
    pub flags: u16,
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Default for Edns {
    fn default() -> Self {
        Self { payload: 1_232, rcode: 0, version: 0, flags: 0, options: Vec::new() }
    }
}

impl Edns {
    pub fn bytes(&self) -> Vec<u8> {
        let mut options = Vec::new();
        for (code, data) in &self.options {
            options.extend([*code, data.len() as u16].map(u16::to_be_bytes).concat());
            options.extend(data);
        }
        let mut bytes = vec![0];
        bytes.extend([kind::OPT, self.payload].map(u16::to_be_bytes).concat());
        bytes.extend([self.rcode, self.version]);
        bytes.extend([self.flags, options.len() as u16].map(u16::to_be_bytes).concat());
        bytes.extend(options);
        bytes
    }

    /// Data of an option, which may occur at most once.
    pub fn option(&self, wanted: u16) -> Option<&[u8]> {
        let mut found = self.options.iter().filter(|(code, _)| *code == wanted);
        let first = found.next();
        assert!(found.next().is_none(), "option {wanted} twice: {self:?}");
        first.map(|(_, data)| data.as_slice())
    }
}

/// A question; the name in wire format.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub name: Vec<u8>,
    pub kind: u16,
    pub class: u16,
}

/// A request. Its parts are public, so that a test can make them malformed.
#[derive(Clone, Debug)]
pub struct Query {
    pub id: u16,
    pub flags: u16,
    pub questions: Vec<Question>,
    pub edns: Option<Edns>,
}

impl Query {
    /// A query as `dig +norecurse +noedns +noadflag` sends it, with a new id.
    pub fn new(name: &str, kind: u16) -> Self {
        static IDS: AtomicU16 = AtomicU16::new(0x1234);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Self { id, flags: 0, questions: vec![Question { name: wire(name), kind, class: CLASS_IN }], edns: None }
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub fn class(mut self, class: u16) -> Self {
        self.questions[0].class = class;
        self
    }

    pub fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    pub fn opcode(self, opcode: u16) -> Self {
        self.flags(opcode << 11)
    }

    /// Adds an OPT record.
    pub fn edns(mut self) -> Self {
        self.edns.get_or_insert_default();
        self
    }

    pub fn payload(mut self, octets: u16) -> Self {
        self.edns.get_or_insert_default().payload = octets;
        self
    }

    pub fn version(mut self, version: u8) -> Self {
        self.edns.get_or_insert_default().version = version;
        self
    }

    pub fn edns_flags(mut self, flags: u16) -> Self {
        self.edns.get_or_insert_default().flags |= flags;
        self
    }

    pub fn option(mut self, code: u16, data: &[u8]) -> Self {
        self.edns.get_or_insert_default().options.push((code, data.into()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let counts = [self.questions.len() as u16, 0, 0, u16::from(self.edns.is_some())];
        let mut bytes = [self.id, self.flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        for Question { name, kind, class } in &self.questions {
            bytes.extend(name);
            bytes.extend([*kind, *class].map(u16::to_be_bytes).concat());
        }
        bytes.extend(self.edns.iter().flat_map(Edns::bytes));
        bytes
    }
}

/// A name in wire format.
pub fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// A record of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The whole name in wire format.
    pub owner: Vec<u8>,
    /// Octets that the owner occupies in the message.
    pub owner_octets: usize,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    pub data: Vec<u8>,
}

impl Record {
    /// The character strings of a TXT record.
    pub fn strings(&self) -> Vec<String> {
        let (mut strings, mut rest) = (Vec::new(), self.data.as_slice());
        while let Some((&octets, behind)) = rest.split_first() {
            let (string, behind) = behind.split_at(octets.into());
            strings.push(string.escape_ascii().to_string());
            rest = behind;
        }
        strings
    }

    /// Last number of an SOA record: the TTL of negative answers (RFC 2308 section 4).
    pub fn soa_minimum(&self) -> u32 {
        self.soa_number(0)
    }

    pub fn soa_serial(&self) -> u32 {
        self.soa_number(4)
    }

    fn soa_number(&self, from_behind: usize) -> u32 {
        assert_eq!(self.kind, kind::SOA);
        let numbers = self.data[self.data.len() - 20..].chunks(4);
        u32::from_be_bytes(numbers.rev().nth(from_behind).unwrap().try_into().unwrap())
    }
}

/// A response, of which every octet was understood.
#[derive(Clone, Debug)]
pub struct Response {
    pub octets: usize,
    pub id: u16,
    pub flags: u16,
    pub questions: Vec<Question>,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    /// Additional records without the OPT record.
    pub additionals: Vec<Record>,
    pub edns: Option<Edns>,
}

impl Response {
    /// Reads a response; the error says what is malformed.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { message, at: 0 };
        let [id, flags] = [reader.u16()?, reader.u16()?];
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let mut questions = Vec::new();
        for _ in 0..counts[0] {
            questions.push(Question { name: reader.name()?, kind: reader.u16()?, class: reader.u16()? });
        }
        let mut section = |count| (0..count).map(|_| reader.record()).collect::<Result<Vec<_>, _>>();
        let (answers, authorities, mut additionals) = (section(counts[1])?, section(counts[2])?, section(counts[3])?);
        if reader.at != message.len() {
            return Err(format!("{} octets behind the message", message.len() - reader.at));
        }
        let mut opts = additionals.extract_if(.., |record| record.kind == kind::OPT);
        let edns = opts.next().map(|opt| edns(&opt)).transpose()?;
        if opts.next().is_some() {
            return Err("two OPT records".into());
        }
        drop(opts);
        let octets = message.len();
        Ok(Self { octets, id, flags, questions, answers, authorities, additionals, edns })
    }

    /// Name of the whole response code.
    pub fn status(&self) -> String {
        let upper = self.edns.as_ref().map_or(0, |edns| u16::from(edns.rcode) << 4);
        let name = match upper | self.flags & 0xf {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            16 => "BADVERS",
            23 => "BADCOOKIE",
            other => return format!("code {other}"),
        };
        name.into()
    }

    /// Flags that are set, as dig writes them: `qr aa rd`.
    pub fn flag_words(&self) -> String {
        let names = [
            (flag::QR, "qr"),
            (flag::AA, "aa"),
            (flag::TC, "tc"),
            (flag::RD, "rd"),
            (flag::RA, "ra"),
            (flag::Z, "z"),
            (flag::AD, "ad"),
            (flag::CD, "cd"),
        ];
        let set = names.into_iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| name);
        set.collect::<Vec<_>>().join(" ")
    }

    /// Code and text of the extended error (RFC 8914).
    pub fn extended_error(&self) -> Option<(u16, String)> {
        let data = self.edns.as_ref()?.option(option::EXTENDED_ERROR)?;
        Some((u16::from_be_bytes([data[0], data[1]]), String::from_utf8(data[2..].into()).unwrap()))
    }

    /// Summary in one line: `NOERROR · qr aa · answer TXT · authority -`.
    pub fn summary(&self) -> String {
        let [answer, authority] = [&self.answers, &self.authorities].map(|section| kinds(section));
        format!("{} · {} · answer {answer} · authority {authority}", self.status(), self.flag_words())
    }
}

/// Types of some records: `TXT TXT`.
pub fn kinds(records: &[Record]) -> String {
    let name = |record: &Record| match record.kind {
        kind::A => "A".into(),
        kind::NS => "NS".into(),
        kind::SOA => "SOA".into(),
        13 => "HINFO".into(),
        kind::TXT => "TXT".into(),
        28 => "AAAA".into(),
        kind::NAPTR => "NAPTR".into(),
        kind::URI => "URI".into(),
        other => format!("TYPE{other}"),
    };
    if records.is_empty() { "-".into() } else { records.iter().map(name).collect::<Vec<String>>().join(" ") }
}

fn edns(opt: &Record) -> Result<Edns, String> {
    if opt.owner != [0] {
        return Err("an OPT record with a name".into());
    }
    let [rcode, version, high, low] = opt.ttl.to_be_bytes();
    let mut reader = Reader { message: &opt.data, at: 0 };
    let mut options = Vec::new();
    while reader.at < opt.data.len() {
        let [code, octets] = [reader.u16()?, reader.u16()?];
        options.push((code, reader.take(octets.into())?.to_vec()));
    }
    Ok(Edns { payload: opt.class, rcode, version, flags: u16::from_be_bytes([high, low]), options })
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, octets: usize) -> Result<&'a [u8], String> {
        let taken = self.message.get(self.at..self.at + octets);
        self.at += octets;
        taken.ok_or_else(|| format!("ends within a field at {}", self.at))
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    /// Reads a name, whose pointers may only lead backwards (RFC 1035 section 4.1.4).
    fn name(&mut self) -> Result<Vec<u8>, String> {
        let (mut name, mut reader) = (Vec::new(), Reader { message: self.message, at: self.at });
        let (mut end, mut bound) = (None, self.at);
        loop {
            let octets = reader.take(1)?[0];
            match octets {
                0 => break,
                1..=63 => {
                    name.push(octets);
                    name.extend(reader.take(octets.into())?);
                }
                0xc0.. => {
                    let target = usize::from(octets & 0x3f) << 8 | usize::from(reader.take(1)?[0]);
                    end.get_or_insert(reader.at);
                    if target >= bound {
                        return Err(format!("a pointer to {target} from the name at {bound}"));
                    }
                    (bound, reader.at) = (target, target);
                }
                _ => return Err(format!("a label of the unknown kind {octets:#x}")),
            }
        }
        self.at = end.unwrap_or(reader.at);
        name.push(0);
        if name.len() > 255 { Err("a name of more than 255 octets".into()) } else { Ok(name) }
    }

    fn record(&mut self) -> Result<Record, String> {
        let begin = self.at;
        let owner = self.name()?;
        let owner_octets = self.at - begin;
        let [kind, class] = [self.u16()?, self.u16()?];
        let ttl = u32::from_be_bytes(self.take(4)?.try_into().unwrap());
        let octets = self.u16()?;
        let data = self.take(octets.into())?.to_vec();
        Ok(Record { owner, owner_octets, kind, class, ttl, data })
    }
}

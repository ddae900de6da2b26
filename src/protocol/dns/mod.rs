//! DNS: from a question to the records of its reply. No sockets and no messages; those are the server's.
//!
//! The node is authoritative for one [`Zone`], and everything in it follows from what is registered:
//!
//! | name | answers |
//! |---|---|
//! | the zone | SOA, NS; negative answers carry the SOA (RFC 2308) |
//! | `ns.` + the zone | the addresses of the node, where it listens on particular ones; so NS and MNAME resolve |
//! | the name of an identifier (`id::dns_name`) | TXT, NAPTR, URI, TYPE65280 |
//! | `ors-dummy.` + the name of an OID (X.672) | NAPTR only |
//! | a name with only names below it | no data: it exists (RFC 8020) |
//!
//! * **TXT**: a record for each value: the string `<index> <type>`, then the data in strings of 255 octets; the data may
//!   be any octets.
//! * **NAPTR** (RFC 3403): a record for each `URL` and `SVC:<service>` value: order 100, the index as preference, flags
//!   `u`, the service (of a `URL`: `EPC+html`), `!^.*$!<url>!`. One whose expression passes 255 octets is left out.
//! * **URI** (RFC 7553): the same values at any length: the index as priority, weight 0, the target as it is.
//! * **TYPE65280** (private use, RFC 6895 section 3.1): one record, the public record as the protobuf message
//!   `touchmark.v1.Record`.
//! * **ANY**: one HINFO record (RFC 8482 section 4.2), whatever is there.
//!
//! All records of a set have the shortest TTL among their values, for they must have one (RFC 2181 section 5.2). A reply
//! has to fit a message of 65,535 octets: what does not is left out, and the extended error "other" (RFC 8914 section
//! 4.1) says so; gRPC carries everything. Owner names are spelled as the question was, in any mix of cases.
//!
//! Outside: other classes, zone transfers and other zones are refused. What each outcome is called stands in
//! [`super::outcome`]. This file and `server::dns` alone know the DNS library.

pub mod cookie;
mod rdata;
mod zone;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hickory_proto::rr::{
    DNSClass, Name, RData, Record as ResourceRecord, RecordType,
    rdata::{A, AAAA, HINFO, NAPTR, NS, NULL, SOA, TXT},
};
use prost::Message as _;

pub use rdata::URL_SERVICE;
pub use zone::{ZONE_OCTETS_MAX, ZoneError, labels as zone_labels};

use super::{
    grpc::record_to_pb,
    outcome::{DnsRcode, Outcome},
};
use crate::{
    id::dns_name::{self, Below, NameMeaning, NameTarget},
    record::{Record, Value},
    resolver::{Answer, Resolver},
    store::ReadError,
};

/// The type of whole records (private use, RFC 6895 section 3.1).
pub const TYPE_RECORD: u16 = 65_280;
/// The type of URI records (RFC 7553).
pub const TYPE_URI: u16 = 256;
/// The longest message (RFC 1035 section 4.2.2), in octets.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// The longest text of an extended error, in octets.
pub const EXTENDED_TEXT_OCTETS_MAX: usize = 64;

/// How long the records of the zone itself may be kept, in seconds.
const ZONE_TTL_SECONDS: u32 = 3_600;
/// How long a negative answer may be kept, in seconds (RFC 2308 section 5): a registration shows within it.
const NEGATIVE_TTL_SECONDS: u32 = 60;
/// How long the answer to ANY may be kept, in seconds: long, so that the same is not asked often (RFC 8482 section 4.2).
const ANY_TTL_SECONDS: u32 = 3_600;
/// Secondaries of this zone: ask again after, retry after, give up after so many seconds (RFC 1035 section 3.3.13).
const REFRESH_RETRY_EXPIRE_SECONDS: [i32; 3] = [3_600, 600, 604_800];
/// Order of all NAPTR records: they are alternatives.
const NAPTR_ORDER: u16 = 100;
/// Octets of a header, of the longest name, and of the fields of a question and a record beside their names and data.
const HEADER_OCTETS: usize = 12;
const QUESTION_OCTETS_MAX: usize = dns_name::NAME_OCTETS_MAX + 4;
const RECORD_OCTETS: usize = 10;
/// Octets of an OPT record with an extended error (RFC 6891 section 6.1.2, RFC 8914 section 2).
const OPT_OCTETS_MAX: usize = 11 + 6 + EXTENDED_TEXT_OCTETS_MAX;
/// What the records of an answer may take together, in octets, with no name compressed.
const ANSWER_OCTETS_MAX: usize = MESSAGE_OCTETS_MAX - HEADER_OCTETS - QUESTION_OCTETS_MAX - OPT_OCTETS_MAX;

/// The zone for which the node answers.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    name_server: Name,
    mailbox: Name,
    octets: usize,
    addresses: Vec<IpAddr>,
}

impl Zone {
    /// The zone of a node that was given no other.
    pub const DEFAULT: &str = "id.test.";

    /// Reads the name of a zone, with or without the dot at its end.
    ///
    /// # Errors
    ///
    /// [`ZoneError`] for the root, for labels that host names do not have, for more than [`ZONE_OCTETS_MAX`] octets.
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        let labels = zone::labels(name)?;
        let below = |first: Option<&str>| {
            let labels = first.into_iter().chain(labels.iter().map(String::as_str));
            // The labels were checked; the library has nothing left to object to.
            Name::from_labels(labels.map(str::as_bytes)).map_err(|_| ZoneError::NoLabels { zone: name.into() })
        };
        Ok(Self {
            apex: below(None)?,
            name_server: below(Some("ns"))?,
            mailbox: below(Some("hostmaster"))?,
            octets: zone::octets(labels.iter().map(String::as_str)),
            addresses: Vec::new(),
        })
    }

    /// Gives `ns.` + the zone these addresses. Unspecified ones (`0.0.0.0`, `::`) say nothing to a client and are dropped;
    /// when none is left, the name has no addresses, and whoever delegates the zone has to know them.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().filter(|address| !address.is_unspecified()).collect();
        self
    }

    /// The length of the name on the wire, in octets with the root octet.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// The labels of a name that stand before the zone, from left to right; `None` outside the zone.
    fn relative<'a>(&self, name: &'a Name) -> Option<Vec<&'a [u8]>> {
        let mut labels: Vec<&[u8]> = name.iter().collect();
        let before = labels.len().checked_sub(self.apex.iter().len())?;
        let same = |(label, own): (&&[u8], &[u8])| label.eq_ignore_ascii_case(own);
        if !labels[before..].iter().zip(&self.apex).all(same) {
            return None;
        }
        labels.truncate(before);
        Some(labels)
    }
}

impl std::fmt::Display for Zone {
    /// The name, with the dot at its end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.apex.fmt(f)
    }
}

/// What a client asks (RFC 1035 section 4.1.2).
#[derive(Clone, Debug)]
pub struct Question {
    /// About which name, as the client spelled it.
    pub name: Name,
    /// For records of which type.
    pub kind: RecordType,
    /// In which class.
    pub class: DNSClass,
}

/// What goes back, without the parts that are the message's own.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The response code.
    pub rcode: DnsRcode,
    /// Whether the node answers for the name (AA, RFC 1035 section 4.1.1).
    pub authoritative: bool,
    /// Answer section.
    pub answers: Vec<ResourceRecord>,
    /// Authority section.
    pub authorities: Vec<ResourceRecord>,
    /// Additional section.
    pub additionals: Vec<ResourceRecord>,
    /// More about the outcome, for a client that speaks EDNS.
    pub extended: Option<ExtendedError>,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT, at most [`EXTENDED_TEXT_OCTETS_MAX`] octets.
    pub text: &'static str,
}

impl ExtendedError {
    /// The code for what has no other (RFC 8914 section 4.1).
    const OTHER: u16 = 0;
    /// A name outside the zone (RFC 8914 section 4.21).
    const NOT_AUTHORITATIVE: Self = Self { code: 20, text: "another zone" };
    /// A reply without some values.
    const LEFT_OUT: Self = Self { code: Self::OTHER, text: "values too long for this type are left out" };
}

impl Reply {
    /// A reply without records.
    pub fn empty(rcode: DnsRcode) -> Self {
        let (answers, authorities, additionals) = (Vec::new(), Vec::new(), Vec::new());
        Self { rcode, authoritative: false, answers, authorities, additionals, extended: None }
    }

    fn refused(extended: Option<ExtendedError>) -> Self {
        Self { extended, ..Self::empty(DnsRcode::Refused) }
    }
}

/// Answers questions about the names of a zone.
pub struct DnsResponder {
    resolver: Arc<Resolver>,
    zone: Zone,
    ledger_size: Box<dyn Fn() -> u64 + Send + Sync>,
    failures: AtomicU64,
}

impl DnsResponder {
    /// Answers for this zone from this resolver. The serial of the zone is what `ledger_size` gives, mod 2^32: it grows
    /// with every change of a record (RFC 1982).
    pub fn new(resolver: Arc<Resolver>, zone: Zone, ledger_size: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { resolver, zone, ledger_size: Box::new(ledger_size), failures: AtomicU64::new(0) }
    }

    /// Answers a question. Reads index and ledger where the cache does not help, which may block for a disk.
    pub fn respond(&self, question: &Question) -> Reply {
        if question.class != DNSClass::IN || is_meta(question.kind) {
            return Reply::refused(None);
        }
        let Some(relative) = self.zone.relative(&question.name) else {
            return Reply::refused(Some(ExtendedError::NOT_AUTHORITATIVE));
        };
        match relative.as_slice() {
            [] => self.apex(question),
            [label] if label.eq_ignore_ascii_case(b"ns") => self.name_server(question),
            labels => self.identifier(question, labels).unwrap_or_else(|error| self.failed(question, &error)),
        }
    }

    fn apex(&self, question: &Question) -> Reply {
        let record = |data| ResourceRecord::from_rdata(question.name.clone(), ZONE_TTL_SECONDS, data);
        match question.kind {
            RecordType::SOA => self.data(vec![record(RData::SOA(self.soa()))]),
            RecordType::NS => {
                let name_server = self.zone.name_server.clone();
                let additionals = self.addresses(&name_server).collect();
                Reply { additionals, ..self.data(vec![record(RData::NS(NS(name_server)))]) }
            }
            RecordType::ANY => self.data(vec![any(question)]),
            _ => self.no_data(None),
        }
    }

    fn name_server(&self, question: &Question) -> Reply {
        let of_type = |record: &ResourceRecord| record.record_type() == question.kind;
        match question.kind {
            RecordType::ANY if !self.zone.addresses.is_empty() => self.data(vec![any(question)]),
            _ => self.data(self.addresses(&question.name).filter(of_type).collect()),
        }
    }

    /// The addresses of the node as records.
    fn addresses(&self, owner: &Name) -> impl Iterator<Item = ResourceRecord> {
        self.zone.addresses.iter().map(|address| {
            let data = match *address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            };
            ResourceRecord::from_rdata(owner.clone(), ZONE_TTL_SECONDS, data)
        })
    }

    fn identifier(&self, question: &Question, labels: &[&[u8]]) -> Result<Reply, ReadError> {
        let Some(meaning) = dns_name::parse(labels, self.zone.octets) else {
            return Ok(self.without_data(Outcome::NotFound));
        };
        match self.answer(&meaning, labels)? {
            Answer::Found(found) => Ok(self.found(question, found.record(), meaning.ors_dummy)),
            Answer::NotFound if self.any_below(meaning.below.as_ref())? => Ok(self.no_data(None)),
            answer => Ok(self.without_data(Outcome::from(&answer))),
        }
    }

    /// Resolves the identifier that a name stands for.
    fn answer(&self, meaning: &NameMeaning, labels: &[&[u8]]) -> Result<Answer, ReadError> {
        let hash = match &meaning.target {
            None => return Ok(Answer::NotFound),
            Some(NameTarget::Identifier(identifier)) => return self.resolver.resolve(identifier),
            Some(NameTarget::Hash(hash)) => hash,
        };
        let Some(identifier) = self.resolver.by_name_hash(hash)? else { return Ok(Answer::NotFound) };
        // The index knows hashes for the longest zone; in this one the identifier may go by its own name.
        let name = dns_name::name_of(&identifier, self.zone.octets);
        let same = |(own, label): (&str, &&[u8])| label.eq_ignore_ascii_case(own.as_bytes());
        if name.labels().count() == labels.len() && name.labels().zip(labels).all(same) {
            self.resolver.resolve(&identifier)
        } else {
            Ok(Answer::NotFound)
        }
    }

    fn any_below(&self, below: Option<&Below>) -> Result<bool, ReadError> {
        match below {
            None => Ok(false),
            Some(Below::Keys(prefix)) => self.resolver.any_below(prefix),
            Some(Below::AnyNameHash) => self.resolver.any_name_hash(),
        }
    }

    /// The records of a type that a registered record has.
    fn found(&self, question: &Question, record: &Record, ors_dummy: bool) -> Reply {
        let mut set = RecordSet::new(question.name.clone());
        match question.kind {
            RecordType::NAPTR => record.values.iter().for_each(|value| set.push_naptr(value)),
            // X.672 asks below the name of an OID only so that a DNAME can rewrite it, and for NAPTR only.
            _ if ors_dummy => {}
            RecordType::TXT => record.values.iter().for_each(|value| set.push_text(value)),
            RecordType::ANY => return self.data(vec![any(question)]),
            RecordType::Unknown(TYPE_URI) => record.values.iter().for_each(|value| set.push_uri(value)),
            RecordType::Unknown(TYPE_RECORD) => set.push_record(record),
            _ => {}
        }
        let extended = set.left_out.then_some(ExtendedError::LEFT_OUT);
        Reply { extended, ..self.data(set.finish()) }
    }

    /// An answer with these records, or one that says that there are none.
    fn data(&self, answers: Vec<ResourceRecord>) -> Reply {
        if answers.is_empty() {
            return self.no_data(None);
        }
        Reply { authoritative: true, answers, ..Reply::empty(DnsRcode::NoError) }
    }

    /// The name exists and has no such records (RFC 2308 section 2.2).
    fn no_data(&self, extended: Option<ExtendedError>) -> Reply {
        let authorities = vec![self.negative_soa()];
        Reply { authoritative: true, authorities, extended, ..Reply::empty(DnsRcode::NoError) }
    }

    /// An outcome that has no records to show, as the table spells it.
    fn without_data(&self, outcome: Outcome) -> Reply {
        let spelling = outcome.spelling();
        let code = spelling.dns_extended.or((outcome == Outcome::Retired).then_some(ExtendedError::OTHER));
        let extended = code.map(|code| ExtendedError { code, text: spelling.word });
        match outcome {
            Outcome::NotFound | Outcome::Retired => Reply { rcode: spelling.dns, ..self.no_data(extended) },
            // Of these names the node says nothing with authority.
            _ => Reply { extended, ..Reply::empty(spelling.dns) },
        }
    }

    fn failed(&self, question: &Question, error: &ReadError) -> Reply {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // A broken disk fails every question: the first is told, then the second, the fourth, the eighth.
        if count.is_power_of_two() {
            tracing::error!(%error, name = %question.name, count, "questions over DNS cannot be answered");
        }
        Reply::empty(Outcome::Unavailable.spelling().dns)
    }

    /// The SOA record of a negative answer, which says how long it may be kept (RFC 2308 section 3).
    fn negative_soa(&self) -> ResourceRecord {
        let ttl = ZONE_TTL_SECONDS.min(NEGATIVE_TTL_SECONDS);
        ResourceRecord::from_rdata(self.zone.apex.clone(), ttl, RData::SOA(self.soa()))
    }

    fn soa(&self) -> SOA {
        let [refresh, retry, expire] = REFRESH_RETRY_EXPIRE_SECONDS;
        let (name_server, mailbox) = (self.zone.name_server.clone(), self.zone.mailbox.clone());
        // The cast takes the size mod 2^32.
        let serial = (self.ledger_size)() as u32;
        SOA::new(name_server, mailbox, serial, refresh, retry, expire, NEGATIVE_TTL_SECONDS)
    }
}

/// True for types that only questions have, ANY aside (RFC 6895 section 3.1): transfers and the like.
fn is_meta(kind: RecordType) -> bool {
    (128..=254).contains(&u16::from(kind))
}

/// The answer to ANY at a name that has records (RFC 8482 section 4.2).
fn any(question: &Question) -> ResourceRecord {
    let data = RData::HINFO(HINFO::new("RFC8482".into(), String::new()));
    ResourceRecord::from_rdata(question.name.clone(), ANY_TTL_SECONDS, data)
}

/// Records of one name and type, as many as a message holds.
struct RecordSet {
    owner: Name,
    records: Vec<ResourceRecord>,
    octets: usize,
    left_out: bool,
}

impl RecordSet {
    fn new(owner: Name) -> Self {
        Self { owner, records: Vec::new(), octets: 0, left_out: false }
    }

    /// Adds a record when its data, of so many octets, still fits.
    fn push(&mut self, ttl: u32, data_octets: usize, data: impl FnOnce() -> RData) {
        let octets = self.octets + self.owner.len() + 1 + RECORD_OCTETS + data_octets;
        if octets > ANSWER_OCTETS_MAX {
            self.left_out = true;
            return;
        }
        self.octets = octets;
        self.records.push(ResourceRecord::from_rdata(self.owner.clone(), ttl, data()));
    }

    fn push_text(&mut self, value: &Value) {
        let head = rdata::text_head(value);
        let strings = rdata::text_strings(&head, &value.data);
        let octets = strings.iter().map(|string| string.len() + 1).sum();
        self.push(value.ttl, octets, || RData::TXT(TXT::from_bytes(strings)));
    }

    fn push_naptr(&mut self, value: &Value) {
        let Some(service) = rdata::service(value) else { return };
        let Some(regexp) = rdata::regexp(&value.data) else {
            self.left_out = true;
            return;
        };
        // Order, preference; flags, service and expression with their lengths; the root.
        let octets = 4 + 2 + (1 + service.len()) + (1 + regexp.len()) + 1;
        let service = service.as_bytes().into();
        self.push(value.ttl, octets, || {
            let preference = rdata::preference(value);
            RData::NAPTR(NAPTR::new(NAPTR_ORDER, preference, (*b"u").into(), service, regexp.into(), Name::root()))
        });
    }

    fn push_uri(&mut self, value: &Value) {
        if rdata::service(value).is_some() {
            self.push(value.ttl, 4 + value.data.len(), || opaque(TYPE_URI, rdata::uri(value)));
        }
    }

    fn push_record(&mut self, record: &Record) {
        let message = record_to_pb(record);
        let ttl = record.values.iter().map(|value| value.ttl).min().unwrap_or(Value::TTL_SECONDS_DEFAULT);
        self.push(ttl, message.encoded_len(), || opaque(TYPE_RECORD, message.encode_to_vec()));
    }

    /// The records, with one TTL (RFC 2181 section 5.2).
    fn finish(mut self) -> Vec<ResourceRecord> {
        let ttl = self.records.iter().map(|record| record.ttl).min().unwrap_or_default();
        for record in &mut self.records {
            record.ttl = ttl;
        }
        self.records
    }
}

/// The data of a type that the library does not know.
fn opaque(code: u16, data: Vec<u8>) -> RData {
    RData::Unknown { code: RecordType::Unknown(code), rdata: NULL::with(data) }
}

#[cfg(test)]
pub(crate) mod tests;

//! From the bytes of a request to the bytes of its response.
//!
//! Most requests ask what was asked before: their answer lies ready in a cache, by name (in lower case) and type, and is
//! copied behind the question as the client spelled it. An answer follows from one identifier, or from there being none at
//! a name and below it. So a change outdates two kinds of topics (`cache::stamped`): the name of an identifier that changed,
//! and, when it is new, its name and all names above it, for whoever was told that they do not exist.
//!
//! The answers are authoritative and never older than the last change, so they leave with the TTL that they were
//! registered with, and not with what is left of it: counting down is for answers from other nodes.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    answer::{CLASS_CHAOS, CLASS_IN, ExtendedError, MESSAGE_OCTETS_MAX, OwnedAnswer, Section},
    authority::{Authority, Basis, KeySets, Said, without_data},
    cookie::{COOKIE_OPTION, CookieCheck, CookieSecrets},
    dnssec::{
        RrSet, SIGNATURE_KEEP_SECONDS, SignedRecord, Signer,
        denial::{Existence, INVALID_QUERY_TYPE},
    },
    kind,
    message::{Edns, Fit, Options, Question, Rejected, Request, Shape, labels, rcode, write_response},
    zone::{NEGATIVE_TTL_SECONDS, Soa, ZONE_TTL_SECONDS, Zone},
};
use crate::{
    cache::{
        CacheStats,
        stamped::{HashedKey, Kept, Stamp, StampedCache, Topics},
    },
    id::dns_name::{RelativeName, name_of_key},
    protocol::outcome::Outcome,
    registry::Changed,
    resolver::Resolver,
    store::ReadError,
};

/// The longest UDP response, in octets: what passes every path in one piece (DNS flag day 2020).
pub const UDP_PAYLOAD_OCTETS_MAX: u16 = 1_232;
/// The longest UDP response to a client without EDNS (RFC 1035 section 4.2.1), in octets.
const UDP_PLAIN_OCTETS_MAX: u16 = 512;
/// The longest name of this node that goes into answers, in octets: a character-string.
pub const IDENTITY_OCTETS_MAX: usize = 255;
/// Option of the name of the server (RFC 5001 section 2.3).
const OPTION_NSID: u16 = 3;
/// Option of extended errors (RFC 8914 section 2).
const OPTION_EXTENDED_ERROR: u16 = 15;
/// A name outside the zone (RFC 8914 section 4.21).
const NOT_AUTHORITATIVE: ExtendedError = ExtendedError { code: 20, text: "another zone" };

/// A type that nothing can have (RFC 9824 section 3.5).
const INVALID_TYPE: ExtendedError = ExtendedError { code: INVALID_QUERY_TYPE, text: "a type of denials only" };

/// Who asks, and how.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The address.
    pub address: IpAddr,
    /// What carries the response.
    pub transport: Transport,
    /// When, in seconds since 1970 UTC.
    pub now_unix: u64,
    /// Who decides how much a client gets whose address may be forged: one that has no valid cookie and comes by
    /// [`Transport::Datagram`].
    pub limiter: Option<&'a dyn Limiter>,
}

/// Decides how much of its answers goes to a client.
pub trait Limiter {
    /// What may be sent of this answer.
    fn allowance(&self, client: IpAddr, answer: &Summary) -> Allowance;
}

/// How much of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// All of it.
    Whole,
    /// No records, and TC: who is really there asks again over TCP.
    Truncated,
    /// Nothing.
    Nothing,
}

/// What carries a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, from a sender that may not be who it says.
    Datagram,
    /// A connection.
    Stream,
}

/// How far to go for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only what takes no disk: answers from the cache, and refusals.
    Cached,
    /// Index and ledger, too, which may block for a disk.
    Whole,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responded {
    /// Nothing is to be sent.
    Silent,
    /// The answer is not cached, and no more was wanted.
    NotCached,
    /// The response was written.
    Written(Summary),
    /// Nothing is to be sent, for the client has had enough.
    Withheld(Summary),
}

/// What a response says, for limits and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The response code.
    pub rcode: u16,
    /// The type that was asked; 0 where that is not known.
    pub kind: u16,
    /// Hash of name and type, or of the name alone where there are no records; 0 for what is no question of the zone.
    pub hash: u64,
    /// Whether there are records in the answer section.
    pub has_data: bool,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Whether it left without its records, for its length or for the client's allowance.
    pub truncated: bool,
}

/// What a responder is told about itself.
#[derive(Clone, Debug)]
pub struct ResponderOptions {
    /// The node's name for NSID (RFC 5001) and `id.server` (RFC 4892), at most [`IDENTITY_OCTETS_MAX`] octets; empty to
    /// give none.
    pub identity: String,
    /// How much memory cached answers may take, in bytes.
    pub cache_bytes_max: usize,
    /// The longest UDP response to a client without a valid cookie, in octets: at most [`UDP_PAYLOAD_OCTETS_MAX`].
    pub without_cookie_octets_max: u16,
    /// What cookies are made and verified with (RFC 9018).
    pub cookies: CookieSecrets,
}

/// Answers requests about the names of a zone.
pub struct Responder {
    authority: Authority,
    options: ResponderOptions,
    answers: StampedCache<KeptAnswer>,
    /// What answers from records depend on: their names.
    records: Topics,
    /// What answers without a record depend on: that nothing was registered at or below a name.
    absences: Topics,
    topic_seed: u64,
    failures: AtomicU64,
    /// What signs the zone, if it is signed.
    signing: RwLock<Option<Arc<Signing>>>,
}

/// A signer, and how many there were before it: answers that another one signed do not count any more.
struct Signing {
    signer: Signer,
    generation: u32,
}

#[derive(Debug)]
struct KeptAnswer {
    answer: OwnedAnswer,
    basis: Basis,
    stamp: Stamp,
    /// Generation of the signer and time of the signatures in it, for an answer that has some.
    signed: Option<(u32, u32)>,
}

impl Kept for KeptAnswer {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.answer.records_octets()
    }
}

/// What is looked up: the name in lower case, the type, whether signatures go with it.
struct CacheKey {
    octets: [u8; Self::OCTETS_MAX],
    len: usize,
}

impl CacheKey {
    /// The longest name, a type, and whether it is signed.
    const OCTETS_MAX: usize = 255 + 2 + 1;

    fn new(question: Question<'_>, is_signed: bool) -> Self {
        let name = question.name();
        let mut octets = [0; Self::OCTETS_MAX];
        // A question that was read has a name of at most 255 octets.
        octets[..name.len()].copy_from_slice(name);
        // Length octets are no letters, so that they stay as they are.
        octets[..name.len()].make_ascii_lowercase();
        octets[name.len()..name.len() + 2].copy_from_slice(&question.kind().to_be_bytes());
        octets[name.len() + 2] = u8::from(is_signed);
        Self { octets, len: name.len() + 3 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

impl Responder {
    /// Answers for this zone from this resolver. The serial of the zone is what `ledger_size` gives, mod 2^32: it grows
    /// with every change of a record (RFC 1982).
    pub fn new(
        resolver: Arc<Resolver>,
        zone: Zone,
        ledger_size: impl Fn() -> u64 + Send + Sync + 'static,
        options: ResponderOptions,
    ) -> Self {
        Self {
            authority: Authority { resolver, zone, ledger_size: Box::new(ledger_size) },
            answers: StampedCache::new(options.cache_bytes_max),
            options,
            records: Topics::default(),
            absences: Topics::default(),
            topic_seed: RandomState::new().hash_one(0),
            failures: AtomicU64::new(0),
            signing: RwLock::new(None),
        }
    }

    /// Signs the zone from now on, with these keys.
    pub fn set_signer(&self, signer: Signer) {
        let mut signing = self.signing.write().unwrap_or_else(PoisonError::into_inner);
        let generation = signing.as_ref().map_or(0, |before| before.generation + 1);
        *signing = Some(Arc::new(Signing { signer, generation }));
    }

    fn signing(&self) -> Option<Arc<Signing>> {
        self.signing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the response to a request, in place of what `out` held.
    pub fn respond(&self, message: &[u8], client: &Client<'_>, depth: Depth, out: &mut Vec<u8>) -> Responded {
        let request = match Request::read(message) {
            Ok(request) => request,
            Err(Rejected::Silent) => return Responded::Silent,
            Err(Rejected::Header { octets, rcode }) => {
                out.clear();
                out.extend_from_slice(&octets);
                return Responded::Written(Summary::of_error(rcode));
            }
        };
        let option = request.edns.and_then(|edns| edns.option(COOKIE_OPTION));
        let cookie = self.options.cookies.verify(option, client.address, client.now_unix);
        let signing = if request.dnssec_ok() { self.signing() } else { None };
        let mut writing =
            Writing { responder: self, request, client, out, cookie, signing, zone_at: None, hash: 0, cached: true };
        // RFC 7873 section 5.2.2.
        if cookie == CookieCheck::Malformed {
            return writing.write(&OwnedAnswer::empty(rcode::FORMERR));
        }
        match self.admit(&request) {
            Err(answer) => writing.write(&answer),
            Ok(zone_at) => self.respond_in_zone(&mut writing, zone_at, depth),
        }
    }

    /// Where the zone begins in the name that is asked, or the answer to what is not asked of the zone.
    fn admit(&self, request: &Request<'_>) -> Result<usize, OwnedAnswer> {
        // RFC 6891 section 6.1.3. Nothing else in the request can be relied on then.
        if request.edns.is_some_and(|edns| edns.version > 0) {
            return Err(OwnedAnswer::empty(rcode::BADVERS));
        }
        let question = request.question;
        match question.class() {
            // RFC 9824 section 3.5: this type stands in denials only.
            CLASS_IN if question.kind() == kind::NXNAME => {
                Err(OwnedAnswer { extended: Some(INVALID_TYPE), ..OwnedAnswer::empty(rcode::FORMERR) })
            }
            CLASS_IN if is_meta(question.kind()) => Err(OwnedAnswer::empty(rcode::REFUSED)),
            CLASS_IN => self
                .authority
                .zone
                .offset_in(question.name())
                .ok_or_else(|| OwnedAnswer { extended: Some(NOT_AUTHORITATIVE), ..OwnedAnswer::empty(rcode::REFUSED) }),
            CLASS_CHAOS => Err(self.chaos(question)),
            _ => Err(OwnedAnswer::empty(rcode::REFUSED)),
        }
    }

    fn respond_in_zone(&self, writing: &mut Writing<'_>, zone_at: usize, depth: Depth) -> Responded {
        let question = writing.request.question;
        writing.zone_at = Some(zone_at);
        if zone_at == 0 && question.kind() == kind::SOA {
            let (answer, serial) = self.authority.soa();
            return writing.write(&self.with_soa_signature(answer, serial, writing));
        }
        let key = CacheKey::new(question, writing.signing.is_some());
        let key = self.answers.hashed(key.as_bytes());
        writing.hash = key.hash();
        let hit = self.answers.read(key, |kept| {
            let topics = if kept.basis == Basis::Record { &self.records } else { &self.absences };
            (topics.is_current(kept.stamp) && writing.counts(kept.signed)).then(|| writing.write(&kept.answer))
        });
        match hit {
            Some(responded) => responded,
            None if depth == Depth::Cached => Responded::NotCached,
            None => {
                writing.cached = false;
                let answer = self.read(writing, zone_at, key);
                writing.write(&answer)
            }
        }
    }

    /// Reads an answer from index and ledger, and keeps it.
    fn read(&self, writing: &Writing<'_>, zone_at: usize, key: HashedKey<'_>) -> OwnedAnswer {
        let question = writing.request.question;
        // Taken before the answer is read: a change meanwhile outdates it.
        let topic = self.topic_of(&question.name()[..zone_at]);
        let stamps = [self.records.stamp(topic), self.absences.stamp(topic)];
        let keys = if zone_at == 0 { self.key_sets(writing.now()) } else { None };
        let mut said = match self.authority.answer(question, zone_at, keys.as_ref()) {
            Ok(said) => said,
            Err(error) => return self.failed(question, &error),
        };
        let signed = writing.signing.as_ref().map(|signing| {
            self.sign(signing, question, &mut said, writing.now());
            (signing.generation, writing.now())
        });
        let stamp = if said.basis == Basis::Record { stamps[0] } else { stamps[1] };
        let kept = KeptAnswer { answer: said.answer.clone(), basis: said.basis, stamp, signed };
        self.answers.put(key, kept);
        said.answer
    }

    /// Adds signatures to an answer, and the denial of what is not there (RFC 4035 section 3.1, RFC 9824).
    fn sign(&self, Signing { signer, .. }: &Signing, question: Question<'_>, said: &mut Said, now: u32) {
        let Said { answer, types, .. } = said;
        if let Some(ttl) = answer.answer_ttl() {
            let kind = if question.kind() == kind::ANY { kind::HINFO } else { question.kind() };
            let data = self.authority.signed_data(kind, answer);
            let rdatas: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            // What is in the additional section is not signed, and has to stand behind the signatures: it is left out.
            answer.keep_answer_section();
            let set = RrSet { owner: question.name(), kind, ttl, rdatas: &rdatas };
            push_signatures(answer, Section::Answer, ttl, &signer.rrsigs(&set, now));
        } else if answer.negative {
            let existence = match answer.rcode {
                rcode::NXDOMAIN => Existence::Missing,
                _ => Existence::Types(types),
            };
            let SignedRecord { rdata, rrsigs } = signer.denial(question.name(), existence, NEGATIVE_TTL_SECONDS, now);
            let put = |out: &mut Vec<u8>| out.extend_from_slice(&rdata);
            match question.kind() {
                // The bitmap says that these two are there, so they are (RFC 9824 section 3.2).
                kind::NSEC => {
                    *answer = OwnedAnswer { authoritative: true, ..OwnedAnswer::empty(rcode::NOERROR) };
                    answer.push(Section::Answer, kind::NSEC, NEGATIVE_TTL_SECONDS, put);
                    push_signatures(answer, Section::Answer, NEGATIVE_TTL_SECONDS, &rrsigs);
                }
                kind::RRSIG => {
                    *answer = OwnedAnswer { authoritative: true, ..OwnedAnswer::empty(rcode::NOERROR) };
                    push_signatures(answer, Section::Answer, NEGATIVE_TTL_SECONDS, &rrsigs);
                }
                _ => {
                    answer.push(Section::Authority, kind::NSEC, NEGATIVE_TTL_SECONDS, put);
                    push_signatures(answer, Section::Authority, NEGATIVE_TTL_SECONDS, &rrsigs);
                }
            }
        }
    }

    /// Adds the signature of the SOA record, which is kept for as long as the serial is the same.
    fn with_soa_signature(&self, mut answer: OwnedAnswer, serial: u32, writing: &Writing<'_>) -> OwnedAnswer {
        if let Some(signing) = &writing.signing {
            let signed = self.signed_soa(signing, serial, writing.now());
            push_signatures(&mut answer, Section::Answer, ZONE_TTL_SECONDS, &signed.rrsigs);
        }
        answer
    }

    fn signed_soa(&self, signing: &Signing, serial: u32, now: u32) -> Arc<SignedRecord> {
        signing.signer.soa(serial, ZONE_TTL_SECONDS, now, || self.authority.zone.soa_data(serial))
    }

    /// The sets of keys at the apex of a signed zone.
    fn key_sets(&self, now: u32) -> Option<KeySets> {
        let signing = self.signing()?;
        let signer = &signing.signer;
        let owned = |set: Vec<&[u8]>| set.into_iter().map(<[u8]>::to_vec).collect();
        Some(vec![
            (kind::DNSKEY, owned(signer.dnskeys())),
            (kind::CDS, signer.cds(now)),
            (kind::CDNSKEY, owned(signer.cdnskeys(now))),
        ])
    }

    fn failed(&self, question: Question<'_>, error: &ReadError) -> OwnedAnswer {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // A broken disk fails every question: the first is told, then the second, the fourth, the eighth.
        if count.is_power_of_two() {
            let name: String = labels(question.name()).map(|label| format!("{}.", label.escape_ascii())).collect();
            tracing::error!(%error, name, count, "questions over DNS cannot be answered; check the disk, then run `touchmark fsck`");
        }
        without_data(Outcome::Unavailable)
    }

    /// What the node says about itself (RFC 4892): its version and, where it has one, its name.
    fn chaos(&self, question: Question<'_>) -> OwnedAnswer {
        let name = question.name().to_ascii_lowercase();
        let text = match name.as_slice() {
            b"\x07version\x04bind\0" | b"\x07version\x06server\0" => concat!("touchmark ", env!("CARGO_PKG_VERSION")),
            b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => self.options.identity.as_str(),
            _ => "",
        };
        if text.is_empty() || !matches!(question.kind(), kind::TXT | kind::ANY) {
            return OwnedAnswer::empty(rcode::REFUSED);
        }
        let mut answer = OwnedAnswer { authoritative: true, ..OwnedAnswer::empty(rcode::NOERROR) };
        answer.push_chaos(Section::Answer, kind::TXT, 0, |out| {
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        });
        answer
    }

    /// Outdates cached answers about identifiers that changed: called after the index took a change, and before
    /// anyone gets its receipt.
    pub fn outdate(&self, changes: &[Changed]) {
        for Changed { key, created } in changes {
            let name = name_of_key(key, self.authority.zone.octets());
            self.records.outdate(self.topic_of_name(&name));
            if *created {
                self.visit_topics(&name, |topic| self.absences.outdate(topic));
            }
        }
    }

    /// What the cache of answers has done and holds.
    pub fn cache_stats(&self) -> CacheStats {
        self.answers.stats()
    }

    fn topic_of(&self, relative: &[u8]) -> u64 {
        // Below `ors-dummy.` the record of the name behind it answers (X.672).
        let own = relative.strip_prefix(b"\x09").and_then(|rest| rest.split_at_checked(ORS_DUMMY.len()));
        let relative = match own {
            Some((label, rest)) if label.eq_ignore_ascii_case(ORS_DUMMY) => rest,
            _ => relative,
        };
        let labels: Vec<&[u8]> = labels(relative).collect();
        labels.iter().rev().fold(self.topic_seed, |topic, label| next_topic(topic, label))
    }

    fn topic_of_name(&self, name: &RelativeName) -> u64 {
        name.labels().rev().fold(self.topic_seed, |topic, label| next_topic(topic, label.as_bytes()))
    }

    /// Visits the topics of a name and of all names above it.
    fn visit_topics(&self, name: &RelativeName, mut visit: impl FnMut(u64)) {
        let mut topic = self.topic_seed;
        for label in name.labels().rev() {
            topic = next_topic(topic, label.as_bytes());
            visit(topic);
        }
    }
}

/// First label of names that X.672 asks for.
const ORS_DUMMY: &[u8] = b"ors-dummy";

/// The topic of the name that has one more label than the name of `topic` (FNV-1a).
fn next_topic(topic: u64, label: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // No label holds this octet beside letters of one case, so that it tells where labels end.
    let hash = (topic ^ u64::from(b'.')).wrapping_mul(PRIME);
    let hash =
        label.iter().fold(hash, |hash, octet| (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(PRIME));
    hash ^ hash >> 32
}

fn push_signatures(answer: &mut OwnedAnswer, section: Section, ttl: u32, signatures: &[Vec<u8>]) {
    for signature in signatures {
        answer.push(section, kind::RRSIG, ttl, |out| out.extend_from_slice(signature));
    }
}

/// True for types that only questions have, ANY aside (RFC 6895 section 3.1): transfers and the like.
fn is_meta(kind: u16) -> bool {
    (128..=254).contains(&kind)
}

impl Summary {
    fn of_error(rcode: u16) -> Self {
        Self { rcode, kind: 0, hash: 0, has_data: false, cached: true, truncated: false }
    }
}

/// A response that is being written.
struct Writing<'a> {
    responder: &'a Responder,
    request: Request<'a>,
    client: &'a Client<'a>,
    out: &'a mut Vec<u8>,
    cookie: CookieCheck,
    /// What signs the response, when that is wanted and the zone is signed.
    signing: Option<Arc<Signing>>,
    /// Where the zone begins in the name that is asked, for a question of the zone.
    zone_at: Option<usize>,
    hash: u64,
    cached: bool,
}

impl Writing<'_> {
    fn write(&mut self, answer: &OwnedAnswer) -> Responded {
        let mut summary = self.summary(answer);
        let mut octets_max = self.octets_max();
        if let Some(limiter) = self.client.limiter.filter(|_| self.may_be_forged()) {
            match limiter.allowance(self.client.address, &summary) {
                Allowance::Whole => {}
                Allowance::Truncated => octets_max = 0,
                Allowance::Nothing => return Responded::Withheld(summary),
            }
        }
        let soa = self.zone_at.filter(|_| answer.negative).map(|at| self.soa(at));
        let options = self.request.edns.map(|edns| self.options(edns, answer.extended));
        let edns = options.as_ref().map(|options| (options, UDP_PAYLOAD_OCTETS_MAX));
        let mut answer = answer.with_soa(soa.as_ref());
        let compact_ok = self.request.edns.is_some_and(Edns::compact_ok);
        if answer.rcode == rcode::NXDOMAIN && self.signing.is_some() && !compact_ok {
            // RFC 9824 section 5.1: the denial says it, and a validator may know no better.
            answer.rcode = rcode::NOERROR;
        }
        let shape = Shape { edns, is_signed: self.signing.is_some(), octets_max };
        let fit = write_response(self.out, &self.request, &answer, shape);
        summary.truncated = fit == Fit::Truncated;
        Responded::Written(summary)
    }

    /// Now, as signatures count (RFC 4034 section 3.1.5).
    fn now(&self) -> u32 {
        self.client.now_unix as u32
    }

    /// Whether a kept answer counts that was signed so: by the signer of now, and not too long ago.
    fn counts(&self, signed: Option<(u32, u32)>) -> bool {
        match (signed, &self.signing) {
            (Some((generation, at)), Some(signing)) => {
                generation == signing.generation && self.now().wrapping_sub(at) < SIGNATURE_KEEP_SECONDS
            }
            _ => true,
        }
    }

    /// The SOA record that goes with a negative answer now.
    fn soa(&self, zone_at: usize) -> Soa {
        let soa = self.responder.authority.negative_soa(zone_at);
        let signed = self.signing.as_ref().map(|signing| self.responder.signed_soa(signing, soa.serial, self.now()));
        Soa { signed, ..soa }
    }

    fn summary(&self, answer: &OwnedAnswer) -> Summary {
        let has_data = answer.answer_count() > 0;
        let hash = match self.zone_at {
            // Whoever asks for many types of one name gets the same; only limits look at this.
            Some(at) if !has_data && answer.rcode == rcode::NOERROR && self.client.limiter.is_some() => {
                self.responder.topic_of(&self.request.question.name()[..at])
            }
            _ => self.hash,
        };
        let kind = self.request.question.kind();
        Summary { rcode: answer.rcode, kind, hash, has_data, cached: self.cached, truncated: false }
    }

    /// True for a datagram whose sender has not shown that it gets what is sent to its address.
    fn may_be_forged(&self) -> bool {
        self.client.transport == Transport::Datagram && !matches!(self.cookie, CookieCheck::Valid { .. })
    }

    /// The longest response that may be sent, in octets.
    fn octets_max(&self) -> usize {
        if self.client.transport == Transport::Stream {
            return MESSAGE_OCTETS_MAX;
        }
        // RFC 6891 section 6.2.3: less than 512 counts as 512.
        let payload = self.request.edns.map_or(UDP_PLAIN_OCTETS_MAX, |edns| edns.payload_octets_max);
        let most = match self.may_be_forged() {
            true => self.responder.options.without_cookie_octets_max.min(UDP_PAYLOAD_OCTETS_MAX),
            false => UDP_PAYLOAD_OCTETS_MAX,
        };
        payload.clamp(UDP_PLAIN_OCTETS_MAX, most.max(UDP_PLAIN_OCTETS_MAX)).into()
    }

    /// The options that go back: what was asked for, and what helps.
    fn options(&self, edns: Edns<'_>, extended: Option<ExtendedError>) -> Options {
        let ResponderOptions { identity, cookies, .. } = &self.responder.options;
        let mut options = Options::default();
        if !identity.is_empty() && edns.option(OPTION_NSID).is_some() {
            options.push(OPTION_NSID, [identity.as_bytes(), &[]]);
        }
        if let Some(cookie) = cookies.response_to(&self.cookie, self.client.address, self.client.now_unix) {
            options.push(COOKIE_OPTION, [&cookie, &[]]);
        }
        if let Some(ExtendedError { code, text }) = extended {
            options.push(OPTION_EXTENDED_ERROR, [&code.to_be_bytes(), text.as_bytes()]);
        }
        options
    }
}

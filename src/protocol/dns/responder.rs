//! From the bytes of a request to the bytes of its response.
//!
//! Most requests ask what was asked before: their answer lies ready in a cache, by name (in lower case) and type, and is
//! copied behind the question as the client spelled it. Which change outdates which answers stands in [`super::topics`].
//!
//! What the node answers for is never older than the last change, so it leaves with the TTL that it was registered with, and not
//! with what is left of it: counting down is for answers from other nodes, which are kept until their time is over.

use std::{
    fmt::Display,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    answer::{CLASS_CHAOS, CLASS_IN, ExtendedError, OwnedAnswer, Section},
    authority::{Asked, Authority, Basis},
    cookie::{COOKIE_OPTION, CookieCheck, CookieSecrets},
    delegation::GlueIndex,
    dnssec::{SIGNATURE_KEEP_SECONDS, Signer, denial::INVALID_QUERY_TYPE, keys::NoRandomness},
    exchange::{Allowance, Client, Responded, Summary},
    kept::{Age, CacheKey, KeptAnswer, KeptFrom, SignedBy, Variant},
    kind,
    message::{Edns, HEADER_OCTETS, Options, Question, Rejected, Request, labels, rcode, write_options_alone},
    records::without_data,
    signing::{Signing, push_signatures},
    topics::{NameStamp, NameTopics},
    walking::{Recursion, WalkFailure, Walkable, Walked, Walking},
    writing::Writing,
    zone::{ZONE_TTL_SECONDS, Zone},
};
use crate::{
    cache::{
        pool::Budget,
        stamped::{HashedKey, StampedCache},
    },
    id::{Identifier, dns_name::name_of_key},
    protocol::outcome::Outcome,
    registry::{Changed, Changes},
    resolver::{Depth, Resolver},
    store::{ReadError, Resident},
};

/// The longest UDP response, in octets: what passes every path in one piece (DNS flag day 2020).
pub const UDP_PAYLOAD_OCTETS_MAX: u16 = 1_232;
/// The longest name of this node that goes into answers, in octets: a character-string.
pub const IDENTITY_OCTETS_MAX: usize = 255;
/// How long an answer of the apex of a signed zone is kept, in seconds: what its keys do changes with time.
const KEY_SETS_KEEP_SECONDS: u32 = 60;
/// A name outside the zone (RFC 8914 section 4.21).
const NOT_AUTHORITATIVE: ExtendedError = ExtendedError { code: 20, text: "another zone" };

/// A type that nothing can have (RFC 9824 section 3.5).
const INVALID_TYPE: ExtendedError = ExtendedError { code: INVALID_QUERY_TYPE, text: "a type of denials only" };

/// What a responder is told about itself.
#[derive(Clone, Debug)]
pub struct ResponderOptions {
    /// The node's name for NSID (RFC 5001) and `id.server` (RFC 4892), at most [`IDENTITY_OCTETS_MAX`] octets; empty to
    /// give none.
    pub identity: String,
    /// How much memory cached answers may take.
    pub cache: Budget,
    /// The longest UDP response to a client without a valid cookie, in octets: at most [`UDP_PAYLOAD_OCTETS_MAX`].
    pub without_cookie_octets_max: u16,
    /// What cookies are made and verified with (RFC 9018).
    pub cookies: CookieSecrets,
}

/// Answers requests about the names of a zone.
pub struct Responder {
    pub(super) authority: Authority,
    pub(super) options: ResponderOptions,
    answers: StampedCache<KeptAnswer>,
    pub(super) topics: NameTopics,
    failures: AtomicU64,
    /// What signs the zone, if it is signed.
    signing: RwLock<Option<Arc<Signing>>>,
    recursion: OnceLock<Recursion>,
}

/// What came of reading an answer.
enum Read {
    /// This one.
    Answer(OwnedAnswer),
    /// It takes more than was wanted.
    OnDisk,
    /// It takes others.
    Walk(Box<Identifier>),
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
            authority: Authority { resolver, zone, ledger_size: Box::new(ledger_size), glue: GlueIndex::default() },
            answers: StampedCache::new(options.cache.clone()),
            options,
            topics: NameTopics::default(),
            failures: AtomicU64::new(0),
            signing: RwLock::new(None),
            recursion: OnceLock::new(),
        }
    }

    /// Offers recursion from now on; it is given before anything is asked, and once.
    pub fn set_recursion(&self, recursion: Recursion) {
        // A second one changes nothing.
        let _ = self.recursion.set(recursion);
    }

    /// Signs the zone from now on, with these keys; the first ones are given before anything is asked.
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
        self.respond_with(message, client, (depth, Walking::Ahead), out)
    }

    /// The same to a request that took a walk ([`Responded::Walk`]), with what came of it.
    pub fn respond_walked(
        &self,
        message: &[u8],
        client: &Client<'_>,
        walked: Result<&Walked, &WalkFailure>,
        out: &mut Vec<u8>,
    ) -> Responded {
        self.respond_with(message, client, (Depth::Whole, Walking::Over(walked)), out)
    }

    fn respond_with(
        &self,
        message: &[u8],
        client: &Client<'_>,
        (depth, walking): (Depth, Walking<'_>),
        out: &mut Vec<u8>,
    ) -> Responded {
        let request = match Request::read(message) {
            Ok(request) => request,
            Err(Rejected::Silent) => return Responded::Silent,
            Err(Rejected::Header { octets, rcode }) => {
                out.clear();
                out.extend_from_slice(&octets);
                return without_question(rcode, client, CookieCheck::None);
            }
            Err(Rejected::NoQuestion { octets, edns }) => return self.give_cookie(octets, edns, client, out),
        };
        let option = request.edns.and_then(|edns| edns.option(COOKIE_OPTION));
        let cookie = self.options.cookies.verify(option, client.address, client.now_unix);
        let signing = if request.dnssec_ok() { self.signing() } else { None };
        let recursion = self.recursion.get().filter(|recursion| (recursion.allow)(client.address));
        let mut writing = Writing {
            responder: self,
            request,
            client,
            out,
            cookie,
            signing,
            zone_at: None,
            hash: 0,
            cached: true,
            recursion,
            walking,
            age: None,
        };
        // RFC 7873 section 5.2.2.
        if cookie == CookieCheck::Malformed {
            return writing.write(&OwnedAnswer::empty(rcode::FORMERR));
        }
        match self.admit(&request) {
            Err(answer) => writing.write(&answer),
            Ok(zone_at) => self.respond_in_zone(&mut writing, zone_at, depth),
        }
    }

    /// Answers a request that asks for a cookie and nothing else (RFC 7873 section 5.4).
    fn give_cookie(
        &self,
        header: [u8; HEADER_OCTETS],
        edns: Edns<'_>,
        client: &Client<'_>,
        out: &mut Vec<u8>,
    ) -> Responded {
        let cookies = &self.options.cookies;
        let check = cookies.verify(edns.option(COOKIE_OPTION), client.address, client.now_unix);
        let mut options = Options::default();
        if let Some(cookie) = cookies.response_to(&check, client.address, client.now_unix) {
            options.push(COOKIE_OPTION, [&cookie, &[]]);
        }
        let rcode = match check {
            _ if edns.version > 0 => rcode::BADVERS,
            CookieCheck::None | CookieCheck::Malformed => rcode::FORMERR,
            CookieCheck::Invalid(_) => rcode::BADCOOKIE,
            CookieCheck::ClientOnly(_) | CookieCheck::Valid { .. } => rcode::NOERROR,
        };
        write_options_alone(out, header, rcode, &options, UDP_PAYLOAD_OCTETS_MAX);
        without_question(rcode, client, check)
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
        if let Walking::Over(Err(failure)) = writing.walking {
            // Nothing has to be read for that: whoever has had enough gets it in no time.
            writing.is_of_others(None);
            return writing.write(&failure.answer());
        }
        if question.kind() == kind::SOA && self.is_apex(question, zone_at) {
            return self.respond_soa(writing, zone_at, depth);
        }
        let is_recursive = writing.recursion.is_some() && writing.request.recursion_desired();
        let key = CacheKey::new(question, Variant { is_signed: writing.signing.is_some(), is_recursive });
        let key = self.answers.hashed(key.as_bytes());
        writing.hash = key.hash();
        let hit = self.answers.read(key, |kept| {
            let mut counts = self.topics.is_current(kept.stamp) && self.counts(kept.signed, writing.now());
            if let Some(walked) = kept.walked {
                let age = walked.age(writing.client.now_unix);
                counts &= age.is_some();
                if counts {
                    writing.is_of_others(age);
                }
            }
            // Nothing is signed here: others wait for what lies beside it.
            counts.then(|| writing.write_unless_to_sign(&kept.answer).ok_or_else(|| kept.answer.clone()))
        });
        match hit {
            Some(Ok(responded)) => return responded,
            // A signature takes as long as a disk.
            Some(Err(_)) if depth == Depth::Resident => return Responded::Deferred,
            Some(Err(answer)) => return writing.write(&answer),
            None => {}
        }
        if depth == Depth::Resident && writing.signing.is_some() {
            return Responded::Deferred;
        }
        writing.cached = false;
        let mut asked = Asked::new(question, zone_at, depth);
        (asked.now, asked.recursion) = (writing.now(), is_recursive);
        match self.read(writing, asked, key) {
            Read::Answer(answer) => writing.write(&answer),
            Read::OnDisk => Responded::Deferred,
            Read::Walk(identifier) => writing.instead_of_walk().unwrap_or(Responded::Walk(identifier)),
        }
    }

    fn is_apex(&self, question: Question<'_>, zone_at: usize) -> bool {
        zone_at == 0 || self.authority.is_homed_apex(&Asked::new(question, zone_at, Depth::Resident))
    }

    /// Reads an answer from index and ledger, and keeps it.
    fn read(&self, writing: &mut Writing<'_>, asked: Asked<'_>, key: HashedKey<'_>) -> Read {
        let (question, zone_at, depth, now) = (asked.question, asked.zone_at, asked.depth, asked.now);
        // Taken before the answer is read: a change meanwhile outdates it.
        let stamps = self.topics.stamps(&question.name()[..zone_at]);
        // The sets of keys go out unsigned, too.
        let has_keys = zone_at == 0 || is_of_keys(question.kind());
        let signing = if has_keys { self.signing() } else { writing.signing.clone() };
        let asked = Asked { signing: signing.as_deref(), ..asked };
        let mut said = match self.authority.answer(&asked) {
            Ok(Resident::Here(said)) => said,
            Ok(Resident::OnDisk) => return Read::OnDisk,
            Err(error) => return Read::Answer(self.not_read(question, &error)),
        };
        if let Some(walkable) = said.walkable.take() {
            return self.read_walked(writing, walkable, (key, stamps.on(Basis::Record)));
        }
        let signed = match (&said.cut, &writing.signing) {
            (Some(cut), signing) => self.authority.make_referral(&asked, cut, signing.as_deref()).map(|made| {
                said.answer = made;
            }),
            (None, Some(signing)) => signing.sign(&self.authority, question, &mut said, now),
            (None, None) => Ok(()),
        };
        if let Err(error) = signed {
            return Read::Answer(self.not_signed(question, error));
        }
        // Names that were never registered are asked in any number, and hardly one twice.
        if said.basis == Basis::NoRecord && signing.is_none() && depth == Depth::Resident {
            return Read::Answer(said.answer);
        }
        let keep_seconds = if has_keys { KEY_SETS_KEEP_SECONDS } else { SIGNATURE_KEEP_SECONDS };
        let signed = signing.map(|signing| SignedBy { generation: signing.generation, made_at: now, keep_seconds });
        let stamp = stamps.on(said.basis);
        self.answers.put(key, || KeptAnswer { answer: said.answer.clone(), stamp, signed, walked: None });
        Read::Answer(said.answer)
    }

    /// Reads an answer of others, and keeps it until its time is over.
    fn read_walked(
        &self,
        writing: &mut Writing<'_>,
        walkable: Walkable,
        (key, stamp): (HashedKey<'_>, NameStamp),
    ) -> Read {
        writing.is_of_others(None);
        let walked = match (writing.walking, writing.recursion) {
            (Walking::Over(walked), _) => match walked {
                Ok(walked) => Some(walked.clone()),
                Err(failure) => return Read::Answer(failure.answer()),
            },
            (Walking::Ahead, recursion) => recursion.and_then(|recursion| recursion.walker.kept(&walkable.identifier)),
        };
        let Some(walked) = walked else { return Read::Walk(Box::new(walkable.identifier)) };
        let answer = walkable.answer(writing.request.question.kind(), &walked);
        let seconds = answer.answer_ttl().unwrap_or(walked.ttl_seconds);
        writing.is_of_others(Some(Age { kept_seconds: 0, left_seconds: seconds }));
        // A newer answer in place of one that is over may come at any time.
        if seconds > 0 && !walked.stale {
            let made_at = writing.client.now_unix;
            let from = KeptFrom { made_at, expires_at: made_at + u64::from(seconds) };
            self.answers.put(key, || KeptAnswer { answer: answer.clone(), stamp, signed: None, walked: Some(from) });
        }
        Read::Answer(answer)
    }

    /// Whether a kept answer counts that a signer had to do with: the one of now, and not too long ago.
    fn counts(&self, signed: Option<SignedBy>, now: u32) -> bool {
        let is_current = |SignedBy { generation, made_at, keep_seconds }| {
            let same = self.signing().is_some_and(|signing| signing.generation == generation);
            same && now.wrapping_sub(made_at) < keep_seconds
        };
        signed.is_none_or(is_current)
    }

    /// Answers with the SOA record of an apex.
    fn respond_soa(&self, writing: &mut Writing<'_>, zone_at: usize, depth: Depth) -> Responded {
        let (answer, serial) = self.authority.soa(zone_at);
        if let Some(signing) = writing.signing.as_ref().filter(|_| depth == Depth::Resident) {
            let apex = self.authority.apex_of(writing.request.question.name(), answer.apex_at);
            if signing.kept_soa(&apex, serial, writing.now()).is_none() {
                return Responded::Deferred;
            }
        }
        writing.write(&self.with_soa_signature(answer, serial, writing))
    }

    /// Adds the signature of the SOA record, which is kept for as long as the serial is the same.
    fn with_soa_signature(&self, mut answer: OwnedAnswer, serial: u32, writing: &Writing<'_>) -> OwnedAnswer {
        if let Some(signing) = &writing.signing {
            let apex = self.authority.apex_of(writing.request.question.name(), answer.apex_at);
            match signing.soa(&self.authority.zone, &apex, serial, writing.now()) {
                Ok(signed) => {
                    let place = (Section::Answer, HEADER_OCTETS);
                    push_signatures(&mut answer, place, ZONE_TTL_SECONDS, &signed.rrsigs);
                }
                Err(error) => return self.not_signed(writing.request.question, error),
            }
        }
        answer
    }

    fn not_read(&self, question: Question<'_>, error: &ReadError) -> OwnedAnswer {
        self.failed(question, error, "check the disk, then run `touchmark fsck`")
    }

    /// The answer in place of one without its signatures, which a validator would take for a forged one.
    pub(super) fn not_signed(&self, question: Question<'_>, error: NoRandomness) -> OwnedAnswer {
        self.failed(question, &error, "nothing can be signed")
    }

    fn failed(&self, question: Question<'_>, error: &dyn Display, advice: &str) -> OwnedAnswer {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // What is broken fails every question: the first is told, then the second, the fourth, the eighth.
        if count.is_power_of_two() {
            let name: String = labels(question.name()).map(|label| format!("{}.", label.escape_ascii())).collect();
            tracing::error!(%error, name, count, "questions over DNS cannot be answered; {advice}");
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
    pub fn outdate(&self, changes: &Changes<'_>) {
        let Changes::Identifiers(changes) = changes else { return self.topics.outdate_all() };
        for Changed { key, created } in *changes {
            let name = name_of_key(key, self.authority.zone.octets());
            self.topics.outdate(&name, *created);
        }
    }
}

/// What comes of a response without a question: it is short, but who has had enough gets not even that.
fn without_question(rcode: u16, client: &Client<'_>, cookie: CookieCheck) -> Responded {
    let summary = Summary::of_error(rcode);
    let limiter = client.limiter.filter(|_| client.may_be_forged(cookie));
    match limiter.map(|limiter| limiter.allowance(client.address, &summary)) {
        Some(Allowance::Nothing) => Responded::Withheld(summary),
        Some(Allowance::Whole | Allowance::Truncated) | None => Responded::Written(summary),
    }
}

/// True for types that only questions have, ANY aside (RFC 6895 section 3.1): transfers and the like.
fn is_meta(kind: u16) -> bool {
    (128..=254).contains(&kind)
}

/// True for the types of which an apex has something that the keys say.
fn is_of_keys(kind: u16) -> bool {
    matches!(kind, kind::DNSKEY | kind::CDS | kind::CDNSKEY | kind::DS)
}

//! The responder: from the bytes of a request to the bytes of its response.
//!
//! Most requests repeat earlier ones: the answer lies in a cache, by name (in lower case) and type, and is copied behind
//! the question as the client spelled it. [`super::topics`] says which change invalidates an answer.
//!
//! ```text
//! request -- admit --+-- cache hit: records into the output --+-- Plan -- writing -- response
//!                    +-- read: Authority, then the cache -----+
//! ```
//!
//! A response is decided first, as a `Plan`, and then written. The sender applies the client's limits after that
//! ([`Responded::within`]).
//!
//! An answer of this node is never older than the last change: it leaves with the registered TTL. Only answers of other
//! nodes are counted down, and cached until they expire.

use std::{
    fmt::Display,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use super::{
    admission::admit,
    answer::{AnswerHead, ExtendedError, RecordPlace, Section, WireAnswer},
    authority::Authority,
    cached::{CacheHit, CacheKey, CachedAnswer, Expiry, Lifetime, SignerStamp, Variant},
    cookie::{COOKIE_OPTION, CookieCheck},
    delegation::GlueIndex,
    dnssec::{SIGNATURE_KEEP_SECONDS, Signer, keys::NoRandomness},
    exchange::{Client, Exchange, Responded, Summary},
    lookup::{Lookup, ZoneQuery},
    options::ResponderOptions,
    plan::{Age, Origin, Plan},
    records::without_data,
    referral::referral,
    request::{Edns, Question, Rejected, Request},
    response::{Fit, Options, start, truncate, write_options_alone},
    signing::{Signing, push_signatures},
    soa::Soa,
    topics::{Basis, NameStamp, NameTopics},
    walking::{WalkFailure, Walkable, Walking},
    wire::{HEADER_OCTETS, kind, labels, rcode},
    writing::write,
    zone::{ZONE_TTL_SECONDS, Zone},
};
use crate::{
    cache::stamped::{HashedKey, StampedCache},
    id::{Identifier, dns_name::name_of_key},
    protocol::outcome::Outcome,
    registry::{Changed, Changes},
    resolver::{Depth, Desk, recursion::Resolved},
    rights::Caller,
    store::{ReadError, Resident},
};

/// Seconds for which an answer at the apex of a signed zone is cached: the key sets there change with time.
const KEY_SETS_KEEP_SECONDS: u32 = 60;
/// Answers requests about the names of a zone.
pub struct Responder {
    authority: Authority,
    options: ResponderOptions,
    answers: StampedCache<CachedAnswer>,
    pub(super) topics: NameTopics,
    failures: AtomicU64,
    /// The signer, if the zone is signed; its generation for reads of the cache, which must not wait for the lock.
    signing: RwLock<Option<Arc<Signing>>>,
    signer_generation: AtomicU32,
}

/// Depth of a lookup, and the state of its walk.
#[derive(Clone, Copy)]
struct Effort<'a> {
    depth: Depth,
    walking: Walking<'a>,
}

/// Result of reading an answer.
enum ReadOutcome {
    /// The answer, and its source.
    Answer(WireAnswer, Origin),
    /// The answer needs more work than the depth allows, such as a read of a disk.
    OnDisk,
    /// The answer needs a walk for this identifier.
    Walk(Box<Identifier>),
}

impl Responder {
    /// A responder for this zone, over this desk. The serial of the zone is the result of `ledger_size`, mod 2^32: it
    /// grows with every change of a record (RFC 1982).
    pub fn new(
        desk: Desk,
        zone: Zone,
        ledger_size: impl Fn() -> u64 + Send + Sync + 'static,
        options: ResponderOptions,
    ) -> Self {
        Self {
            authority: Authority { desk, zone, ledger_size: Box::new(ledger_size), glue: GlueIndex::default() },
            answers: StampedCache::new(options.cache.clone()),
            options,
            topics: NameTopics::default(),
            failures: AtomicU64::new(0),
            signing: RwLock::new(None),
            signer_generation: AtomicU32::new(0),
        }
    }

    /// The desk that the answers come from.
    pub fn desk(&self) -> &Desk {
        &self.authority.desk
    }

    /// Signs the zone with this signer from now on. The first signer is set before the first request.
    pub fn set_signer(&self, signer: Signer) {
        let mut signing = self.signing.write().unwrap_or_else(PoisonError::into_inner);
        let generation = signing.as_ref().map_or(0, |before| before.generation + 1);
        *signing = Some(Arc::new(Signing { signer, generation }));
        self.signer_generation.store(generation, Ordering::Release);
    }

    fn signing(&self) -> Option<Arc<Signing>> {
        self.signing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the response to a request, in place of what `out` held.
    pub fn respond(&self, message: &[u8], client: &Client, depth: Depth, out: &mut Vec<u8>) -> Responded {
        self.respond_with(message, client, Effort { depth, walking: Walking::Ahead }, out)
    }

    /// Writes the response to a request that needed a walk ([`Responded::Walk`]), given the result of the walk.
    pub fn respond_walked(
        &self,
        message: &[u8],
        client: &Client,
        walked: Result<&Resolved, &WalkFailure>,
        out: &mut Vec<u8>,
    ) -> Responded {
        self.respond_with(message, client, Effort { depth: Depth::Whole, walking: Walking::Over(walked) }, out)
    }

    fn respond_with(&self, message: &[u8], client: &Client, effort: Effort<'_>, out: &mut Vec<u8>) -> Responded {
        let request = match Request::read(message) {
            Ok(request) => request,
            Err(Rejected::Silent) => return Responded::Silent,
            Err(Rejected::Header { octets, rcode }) => {
                out.clear();
                out.extend_from_slice(&octets);
                let limited = client.is_limited(CookieCheck::None);
                return Responded::Written(Summary::without_question(rcode, limited));
            }
            Err(Rejected::NoQuestion { octets, edns }) => return self.give_cookie(octets, edns, client, out),
        };
        let option = request.edns.and_then(|edns| edns.option(COOKIE_OPTION));
        let cookie = self.options.cookies.verify(option, client.address, client.now_unix);
        let signing = if request.dnssec_ok() { self.signing() } else { None };
        let recursion = self.authority.desk.walks_for(&Caller::anonymous(Some(client.address)));
        let exchange = Exchange { request, client, cookie, signing, recursion };
        // RFC 7873 section 5.2.2.
        let admitted = match cookie {
            CookieCheck::Malformed => Err(WireAnswer::empty(rcode::FORMERR)),
            _ => admit(&request, &self.authority.zone, &self.options.identity),
        };
        match admitted {
            Ok(zone_at) => self.respond_in_zone(&exchange, zone_at, effort, out),
            Err(answer) => {
                start(out, request.question, answer.records());
                self.write(&exchange, &Plan::new(answer.head), out)
            }
        }
    }

    /// Answers a request that asks for a cookie and nothing else (RFC 7873 section 5.4).
    fn give_cookie(
        &self,
        header: [u8; HEADER_OCTETS],
        edns: Edns<'_>,
        client: &Client,
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
        write_options_alone(out, header, rcode, &options);
        Responded::Written(Summary::without_question(rcode, client.is_limited(check)))
    }

    /// Answers a question of the zone: from the cache, else from index and ledger, else with the result of a walk.
    fn respond_in_zone(
        &self,
        exchange: &Exchange<'_>,
        zone_at: usize,
        effort: Effort<'_>,
        out: &mut Vec<u8>,
    ) -> Responded {
        let Effort { depth, walking } = effort;
        let question = exchange.request.question;
        if let Walking::Over(Err(failure)) = walking {
            // A failure needs no lookup: a client over its limit costs nothing more.
            return self.respond_failed_walk(exchange, zone_at, failure, out);
        }
        if question.kind() == kind::SOA && self.is_apex(question, zone_at) {
            return self.respond_soa(exchange, zone_at, depth, out);
        }
        let is_recursive = exchange.recursion && exchange.request.recursion_desired();
        let key = CacheKey::new(question, Variant { is_signed: exchange.signing.is_some(), is_recursive });
        let key = self.answers.hashed(key.as_bytes());
        if let Some(CacheHit { head, origin }) = self.cached(exchange, key, out) {
            let plan = Plan { origin, zone_at: Some(zone_at), hash: key.hash(), ..Plan::new(head) };
            return self.conclude(exchange, plan, depth, out);
        }
        // A signature takes as long as a read of a disk.
        if depth == Depth::Resident && exchange.signing.is_some() {
            return Responded::Deferred;
        }
        let query =
            ZoneQuery { now: exchange.now(), recursion: is_recursive, ..ZoneQuery::new(question, zone_at, depth) };
        let (answer, origin) = match self.read(exchange, query, walking, key) {
            ReadOutcome::Answer(answer, origin) => (answer, origin),
            ReadOutcome::OnDisk => return Responded::Deferred,
            ReadOutcome::Walk(identifier) => return self.respond_walk(exchange, zone_at, identifier, out),
        };
        start(out, question, answer.records());
        let zone_at = Some(zone_at);
        let plan = Plan { origin, zone_at, hash: key.hash(), cached: false, ..Plan::new(answer.head) };
        self.conclude(exchange, plan, depth, out)
    }

    /// Puts the records of a cached answer that is still valid into the output.
    fn cached(&self, exchange: &Exchange<'_>, key: HashedKey<'_>, out: &mut Vec<u8>) -> Option<CacheHit> {
        let generation = self.signer_generation.load(Ordering::Acquire);
        let question = exchange.request.question;
        self.answers.read(key, |cached| {
            let origin = cached.expiry.origin(generation, exchange.client.now_unix);
            let origin = origin.filter(|_| self.topics.is_current(cached.stamp))?;
            start(out, question, cached.answer.records());
            Some(CacheHit { head: cached.answer.head, origin })
        })
    }

    /// Adds the current SOA record to a negative answer, and writes the response. With [`Depth::Resident`] nothing is
    /// signed: the response is deferred instead.
    fn conclude(&self, exchange: &Exchange<'_>, plan: Plan<'_>, depth: Depth, out: &mut Vec<u8>) -> Responded {
        match self.negative_soa(exchange, &plan, depth) {
            Ok(Resident::Here(soa)) => self.write(exchange, &Plan { soa, ..plan }, out),
            Ok(Resident::OnDisk) => Responded::Deferred,
            Err(error) => {
                let answer = self.not_signed(exchange.request.question, error);
                start(out, exchange.request.question, answer.records());
                self.write(exchange, &Plan { head: answer.head, extended: answer.head.extended, ..plan }, out)
            }
        }
    }

    /// The SOA record of a negative answer; `OnDisk` if its signature is not cached and `depth` forbids to make one.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    fn negative_soa(
        &self,
        exchange: &Exchange<'_>,
        plan: &Plan<'_>,
        depth: Depth,
    ) -> Result<Resident<Option<Soa>>, NoRandomness> {
        let Some(zone_at) = plan.zone_at.filter(|_| plan.head.negative) else { return Ok(Resident::Here(None)) };
        let mut soa = self.authority.negative_soa(zone_at, plan.head.apex_at);
        if let Origin::Others(Some(age)) = plan.origin {
            soa.ttl = soa.ttl.min(age.left_seconds);
        }
        if let Some(signing) = plan.signing(exchange) {
            let zone = &self.authority.zone;
            let apex = zone.apex_of(exchange.request.question.name(), plan.head.apex_at);
            soa.signed = match depth {
                Depth::Whole => Some(signing.soa(zone, &apex, soa.serial, exchange.now())?),
                Depth::Resident => signing.kept_soa(&apex, soa.serial, exchange.now()),
            };
            if soa.signed.is_none() {
                return Ok(Resident::OnDisk);
            }
        }
        Ok(Resident::Here(Some(soa)))
    }

    /// Writes a response by its plan; the records of the answer stand in the output already.
    fn write(&self, exchange: &Exchange<'_>, plan: &Plan<'_>, out: &mut Vec<u8>) -> Responded {
        let summary = self.summary(exchange, plan);
        let fit = write(out, exchange, plan, &self.options);
        Responded::Written(Summary { truncated: fit == Fit::Truncated, ..summary })
    }

    fn summary(&self, exchange: &Exchange<'_>, plan: &Plan<'_>) -> Summary {
        let question = exchange.request.question;
        let limited = exchange.is_limited();
        let has_data = plan.head.answer_count() > 0;
        let hash = match plan.zone_at {
            // Different types of one name, and different names below a cut, get the same response: for limits they
            // count as one.
            Some(zone_at) if limited && !has_data && plan.head.rcode == rcode::NOERROR => {
                let same_at = plan.head.cut_at.map_or(0, usize::from).min(zone_at);
                self.topics.hash(&question.name()[same_at..zone_at])
            }
            _ => plan.hash,
        };
        let AnswerHead { rcode, .. } = plan.head;
        Summary { rcode, kind: question.kind(), limited, hash, has_data, cached: plan.cached, truncated: false }
    }

    /// Answers a walk that failed, with the reason in the extended error.
    fn respond_failed_walk(
        &self,
        exchange: &Exchange<'_>,
        zone_at: usize,
        failure: &WalkFailure,
        out: &mut Vec<u8>,
    ) -> Responded {
        let answer = failure.answer();
        start(out, exchange.request.question, answer.records());
        let extended = answer.head.extended.map(|extended| match extended.text {
            "" => ExtendedError { text: failure.reason(), ..extended },
            _ => extended,
        });
        let zone_at = Some(zone_at);
        let plan = Plan { origin: Origin::Others(None), extended, zone_at, ..Plan::new(answer.head) };
        self.write(exchange, &plan, out)
    }

    /// Defers to a walk. For a limited client, the output gets a truncated response, to send in place of a walk.
    fn respond_walk(
        &self,
        exchange: &Exchange<'_>,
        zone_at: usize,
        identifier: Box<Identifier>,
        out: &mut Vec<u8>,
    ) -> Responded {
        let head = AnswerHead::new(rcode::NOERROR);
        let origin = Origin::Others(None);
        let plan = Plan { origin, zone_at: Some(zone_at), cached: false, ..Plan::new(head) };
        let summary = self.summary(exchange, &plan);
        if summary.limited {
            start(out, exchange.request.question, &[]);
            write(out, exchange, &plan, &self.options);
            truncate(out);
        }
        Responded::Walk { identifier, summary }
    }

    fn is_apex(&self, question: Question<'_>, zone_at: usize) -> bool {
        zone_at == 0 || {
            let labels: Vec<&[u8]> = labels(&question.name()[..zone_at]).collect();
            self.authority.delegations().is_homed_apex(&labels)
        }
    }

    /// Reads an answer from index and ledger, and caches it.
    fn read(
        &self,
        exchange: &Exchange<'_>,
        query: ZoneQuery<'_>,
        walking: Walking<'_>,
        key: HashedKey<'_>,
    ) -> ReadOutcome {
        let question = query.question;
        // Taken before the answer is read: a change meanwhile invalidates the answer.
        let stamps = self.topics.stamps(&question.name()[..query.zone_at]);
        // Key sets go out to clients that want no signatures, too.
        let has_keys = query.zone_at == 0 || is_of_keys(question.kind());
        let keys = if has_keys { self.signing() } else { exchange.signing.clone() };
        let query = ZoneQuery { keys: keys.as_deref(), ..query };
        let found = match self.authority.answer(&query) {
            Ok(Resident::Here(found)) => found,
            Ok(Resident::OnDisk) => return ReadOutcome::OnDisk,
            Err(error) => return ReadOutcome::Answer(self.not_read(question, &error), Origin::Ours),
        };
        let signing = exchange.signing.as_deref();
        let mut basis = Basis::Record;
        let made = match found {
            Lookup::Walk(walkable) => {
                let stamped = StampedKey { key, stamp: stamps.on(Basis::Record) };
                return self.read_walked(exchange, &walkable, walking, stamped);
            }
            Lookup::Referral(cut) => referral(&self.authority.zone, &query, &cut, signing),
            Lookup::Answer(found) => {
                basis = found.basis;
                self.authority.sign(&query, found, signing)
            }
        };
        let answer = match made {
            Ok(answer) => answer,
            Err(error) => return ReadOutcome::Answer(self.not_signed(question, error), Origin::Ours),
        };
        // Unregistered names are asked in any number, and hardly ever twice: a cheap answer about one is not worth its
        // place in the cache.
        if basis == Basis::NoRecord && keys.is_none() && query.depth == Depth::Resident {
            return ReadOutcome::Answer(answer, Origin::Ours);
        }
        let keep_seconds = if has_keys { KEY_SETS_KEEP_SECONDS } else { SIGNATURE_KEEP_SECONDS };
        let expiry = keys.as_ref().map_or(Expiry::Never, |signing| {
            Expiry::WithSigner(SignerStamp { generation: signing.generation, made_at: query.now, keep_seconds })
        });
        self.answers.put(key, || CachedAnswer { answer: answer.clone(), stamp: stamps.on(basis), expiry });
        ReadOutcome::Answer(answer, Origin::Ours)
    }

    /// Makes an answer from the result of a walk, and caches it until it expires.
    fn read_walked(
        &self,
        exchange: &Exchange<'_>,
        walkable: &Walkable,
        walking: Walking<'_>,
        StampedKey { key, stamp }: StampedKey<'_>,
    ) -> ReadOutcome {
        let walked = match (walking, exchange.recursion) {
            (Walking::Over(Ok(walked)), _) => Some(walked.clone()),
            (Walking::Over(Err(failure)), _) => return ReadOutcome::Answer(failure.answer(), Origin::Others(None)),
            (Walking::Ahead, true) => self.authority.desk.kept(&walkable.identifier),
            (Walking::Ahead, false) => None,
        };
        let Some(walked) = walked else { return ReadOutcome::Walk(Box::new(walkable.identifier.clone())) };
        let answer = walkable.answer(exchange.request.question.kind(), &walked);
        let left_seconds = answer.answer_ttl().unwrap_or(walked.ttl_seconds);
        // A stale answer may be replaced by a newer one at any time.
        if left_seconds > 0 && !walked.stale {
            let made_at = exchange.client.now_unix;
            let expiry = Expiry::AtTime(Lifetime { made_at, expires_at: made_at + u64::from(left_seconds) });
            self.answers.put(key, || CachedAnswer { answer: answer.clone(), stamp, expiry });
        }
        ReadOutcome::Answer(answer, Origin::Others(Some(Age { kept_seconds: 0, left_seconds })))
    }

    /// Answers with the SOA record of an apex and its signature, which is cached while the serial stays the same.
    fn respond_soa(&self, exchange: &Exchange<'_>, zone_at: usize, depth: Depth, out: &mut Vec<u8>) -> Responded {
        let (mut answer, serial) = self.authority.soa(zone_at);
        if let Some(signing) = &exchange.signing {
            let zone = &self.authority.zone;
            let apex = zone.apex_of(exchange.request.question.name(), answer.head.apex_at);
            if depth == Depth::Resident && signing.kept_soa(&apex, serial, exchange.now()).is_none() {
                return Responded::Deferred;
            }
            match signing.soa(zone, &apex, serial, exchange.now()) {
                Ok(signed) => {
                    let place = RecordPlace::at_question(Section::Answer);
                    push_signatures(&mut answer, place, ZONE_TTL_SECONDS, &signed.rrsigs);
                }
                Err(error) => answer = self.not_signed(exchange.request.question, error),
            }
        }
        start(out, exchange.request.question, answer.records());
        self.write(exchange, &Plan { zone_at: Some(zone_at), ..Plan::new(answer.head) }, out)
    }

    fn not_read(&self, question: Question<'_>, error: &ReadError) -> WireAnswer {
        self.failed(question, error, "check the disk, then run `touchmark fsck`")
    }

    /// The answer in place of one that could not be signed: a validator would take an unsigned answer for a forged one.
    fn not_signed(&self, question: Question<'_>, error: NoRandomness) -> WireAnswer {
        self.failed(question, &error, "nothing can be signed")
    }

    fn failed(&self, question: Question<'_>, error: &dyn Display, advice: &str) -> WireAnswer {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // A fault fails every question: the first, second, fourth, eighth, … is logged.
        if count.is_power_of_two() {
            let name: String = labels(question.name()).map(|label| format!("{}.", label.escape_ascii())).collect();
            tracing::error!(%error, name, count, "questions over DNS cannot be answered; {advice}");
        }
        without_data(Outcome::Unavailable)
    }

    /// Invalidates cached answers about changed identifiers, once the index has a change and before its receipt goes out.
    pub fn outdate(&self, changes: &Changes<'_>) {
        let Changes::Identifiers(changes) = changes else { return self.topics.outdate_all() };
        for Changed { key, created } in *changes {
            let name = name_of_key(key, self.authority.zone.octets());
            self.topics.outdate(&name, *created);
        }
    }
}

/// Cache key of an answer, with the stamp of the topic on which it depends.
struct StampedKey<'a> {
    key: HashedKey<'a>,
    stamp: NameStamp,
}

/// True for the types whose answer at an apex follows from its keys.
fn is_of_keys(kind: u16) -> bool {
    matches!(kind, kind::DNSKEY | kind::CDS | kind::CDNSKEY | kind::DS)
}

//! From an answer to the bytes of a response to one client: how long it may be, which options go with it, what it shows.

use std::sync::Arc;

use super::{
    answer::{EXTENDED_TEXT_OCTETS_MAX, ExtendedError, MESSAGE_OCTETS_MAX, OwnedAnswer},
    cookie::{COOKIE_OPTION, CookieCheck},
    dnssec::SignedRecord,
    exchange::{Allowance, Client, Responded, Summary, Transport},
    kept::Age,
    message::{Edns, Fit, OPTION_PADDING, Options, Request, Shape, count_down, pad, rcode, write_response},
    responder::{Responder, ResponderOptions, UDP_PAYLOAD_OCTETS_MAX},
    signing::Signing,
    walking::{Recursion, Walking},
    zone::Soa,
};

/// The longest UDP response to a client without EDNS (RFC 1035 section 4.2.1), in octets.
const UDP_PLAIN_OCTETS_MAX: u16 = 512;
/// Option of the name of the server (RFC 5001 section 2.3).
const OPTION_NSID: u16 = 3;
/// Option of extended errors (RFC 8914 section 2).
const OPTION_EXTENDED_ERROR: u16 = 15;

/// A response that is being written.
pub(super) struct Writing<'a> {
    pub(super) responder: &'a Responder,
    pub(super) request: Request<'a>,
    pub(super) client: &'a Client<'a>,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) cookie: CookieCheck,
    /// What signs the response, when that is wanted and the zone is signed.
    pub(super) signing: Option<Arc<Signing>>,
    /// Where the zone begins in the name that is asked, for a question of the zone.
    pub(super) zone_at: Option<usize>,
    pub(super) hash: u64,
    pub(super) cached: bool,
    /// Recursion, when the client may have it.
    pub(super) recursion: Option<&'a Recursion>,
    /// How far the walk is that the answer may need.
    pub(super) walking: Walking<'a>,
    /// How old the answer is, when it is one of others: then nothing of it is signed.
    pub(super) age: Option<Age>,
}

impl Writing<'_> {
    /// Takes note that the answer is one of others, of this age.
    pub(super) fn is_of_others(&mut self, age: Option<Age>) {
        (self.age, self.signing) = (age, None);
    }

    /// What a client gets that may not make this node ask others now; `None` when it may.
    pub(super) fn instead_of_walk(&mut self) -> Option<Responded> {
        let limiter = self.client.limiter.filter(|_| self.client.may_be_forged(self.cookie))?;
        let answer = OwnedAnswer::empty(rcode::NOERROR);
        let summary = self.summary(&answer);
        match limiter.walk_allowance(self.client.address) {
            Allowance::Whole => None,
            Allowance::Truncated => Some(self.write_within(&answer, None, (summary, 0))),
            Allowance::Nothing => Some(Responded::Withheld(summary)),
        }
    }

    /// Writes the response with this answer. A negative one goes with the SOA record of now, which is signed first where
    /// nobody did that yet.
    pub(super) fn write(&mut self, answer: &OwnedAnswer) -> Responded {
        let (zone, now) = (&self.responder.authority.zone, self.now());
        match self.soa(answer, |signing, apex, serial| signing.soa(zone, apex, serial, now)) {
            Ok(soa) => self.write_with(answer, soa.as_ref()),
            Err(error) => self.write_with(&self.responder.not_signed(self.request.question, error), None),
        }
    }

    /// The same where nothing has to be signed for that; `None`, and nothing written, where it has.
    pub(super) fn write_unless_to_sign(&mut self, answer: &OwnedAnswer) -> Option<Responded> {
        let now = self.now();
        let soa = self.soa(answer, |signing, apex, serial| signing.kept_soa(apex, serial, now).ok_or(())).ok()?;
        Some(self.write_with(answer, soa.as_ref()))
    }

    fn write_with(&mut self, answer: &OwnedAnswer, soa: Option<&Soa>) -> Responded {
        let summary = self.summary(answer);
        let mut octets_max = self.octets_max();
        if let Some(limiter) = self.client.limiter.filter(|_| self.client.may_be_forged(self.cookie)) {
            match limiter.allowance(self.client.address, &summary) {
                Allowance::Whole => {}
                Allowance::Truncated => octets_max = 0,
                Allowance::Nothing => return Responded::Withheld(summary),
            }
        }
        self.write_within(answer, soa, (summary, octets_max))
    }

    /// Writes the response in so many octets, or without its records and with TC.
    fn write_within(
        &mut self,
        answer: &OwnedAnswer,
        soa: Option<&Soa>,
        (mut summary, octets_max): (Summary, usize),
    ) -> Responded {
        let options = self.request.edns.map(|edns| self.options(edns, answer.extended));
        let edns = options.as_ref().map(|options| (options, UDP_PAYLOAD_OCTETS_MAX));
        let records = answer.record_count();
        let mut answer = answer.with_soa(soa);
        let compact_ok = self.request.edns.is_some_and(Edns::compact_ok);
        if answer.rcode == rcode::NXDOMAIN && self.signing.is_some() && !compact_ok {
            // RFC 9824 section 5.1: the denial says it, and a validator may know no better.
            answer.rcode = rcode::NOERROR;
        }
        let recursion_available = self.recursion.is_some();
        let shape = Shape { edns, is_signed: self.signing.is_some(), recursion_available, octets_max };
        let fit = write_response(self.out, &self.request, &answer, shape);
        summary.truncated = fit == Fit::Truncated;
        // The SOA record of a negative answer is none of these, and has what is left of its time already.
        let seconds = self.age.map_or(0, |age| age.kept_seconds);
        if seconds > 0 && fit == Fit::Whole {
            count_down(self.out, self.request.question, records, seconds);
        }
        if let Some(options) = options.filter(|_| self.wants_padding()) {
            pad(self.out, &options);
        }
        Responded::Written(summary)
    }

    /// Now, as signatures count (RFC 4034 section 3.1.5).
    pub(super) fn now(&self) -> u32 {
        self.client.now_unix as u32
    }

    /// The SOA record that goes with a negative answer now; `signed` gives that of a serial with its signatures.
    fn soa<E>(
        &self,
        answer: &OwnedAnswer,
        signed: impl FnOnce(&Signing, &[u8], u32) -> Result<Arc<SignedRecord>, E>,
    ) -> Result<Option<Soa>, E> {
        let Some(zone_at) = self.zone_at.filter(|_| answer.negative) else { return Ok(None) };
        let authority = &self.responder.authority;
        let mut soa = authority.negative_soa(zone_at, answer.apex_at);
        if let Some(age) = self.age {
            soa.ttl = soa.ttl.min(age.left_seconds);
        }
        if let Some(signing) = &self.signing {
            let apex = authority.apex_of(self.request.question.name(), answer.apex_at);
            soa.signed = Some(signed(signing, &apex, soa.serial)?);
        }
        Ok(Some(soa))
    }

    fn summary(&self, answer: &OwnedAnswer) -> Summary {
        let has_data = answer.answer_count() > 0;
        let hash = match self.zone_at {
            // Whoever asks for many types of one name gets the same, and for many names below a cut; only limits look at this.
            Some(at) if !has_data && answer.rcode == rcode::NOERROR && self.client.limiter.is_some() => {
                let same_at = answer.cut_at.map_or(0, usize::from).min(at);
                self.responder.topics.hash(&self.request.question.name()[same_at..at])
            }
            _ => self.hash,
        };
        let kind = self.request.question.kind();
        Summary { rcode: answer.rcode, kind, hash, has_data, cached: self.cached, truncated: false }
    }

    fn wants_padding(&self) -> bool {
        let edns = self.request.edns.filter(|_| self.client.transport == Transport::EncryptedStream);
        edns.is_some_and(|edns| edns.option(OPTION_PADDING).is_some())
    }

    /// The longest response that may be sent, in octets.
    fn octets_max(&self) -> usize {
        if self.client.transport != Transport::Datagram {
            return MESSAGE_OCTETS_MAX;
        }
        // RFC 6891 section 6.2.3: less than 512 counts as 512.
        let payload = self.request.edns.map_or(UDP_PLAIN_OCTETS_MAX, |edns| edns.payload_octets_max);
        let most = match self.client.may_be_forged(self.cookie) {
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
            let text = match self.walking {
                Walking::Over(Err(failure)) if text.is_empty() => cut_off(failure.reason()),
                _ => text,
            };
            options.push(OPTION_EXTENDED_ERROR, [&code.to_be_bytes(), text.as_bytes()]);
        }
        options
    }
}

/// As much of a reason as an extended error holds.
fn cut_off(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(EXTENDED_TEXT_OCTETS_MAX)]
}

//! What is asked of the zone, and the answers to what is not.

use super::{
    answer::{AnswerHead, ExtendedError, Section, WireAnswer},
    dnssec::denial::INVALID_QUERY_TYPE,
    request::{Question, Request},
    wire::{CLASS_CHAOS, CLASS_IN, kind, rcode},
    zone::Zone,
};

/// A name outside the zone (RFC 8914 section 4.21).
const NOT_AUTHORITATIVE: ExtendedError<'static> = ExtendedError { code: 20, text: "another zone" };

/// A type that nothing can have (RFC 9824 section 3.5).
const INVALID_TYPE: ExtendedError<'static> = ExtendedError { code: INVALID_QUERY_TYPE, text: "a type of denials only" };

/// Where the zone begins in the name that is asked, or the answer to what is not asked of the zone.
///
/// # Errors
///
/// That answer: an error, or what the node says about itself.
pub(super) fn admit(request: &Request<'_>, zone: &Zone, identity: &str) -> Result<usize, WireAnswer> {
    // RFC 6891 section 6.1.3. Nothing else in the request can be relied on then.
    if request.edns.is_some_and(|edns| edns.version > 0) {
        return Err(WireAnswer::empty(rcode::BADVERS));
    }
    let refused = |rcode: u16, extended: ExtendedError<'static>| {
        WireAnswer::from(AnswerHead { extended: Some(extended), ..AnswerHead::new(rcode) })
    };
    let question = request.question;
    match question.class() {
        // RFC 9824 section 3.5: this type stands in denials only.
        CLASS_IN if question.kind() == kind::NXNAME => Err(refused(rcode::FORMERR, INVALID_TYPE)),
        CLASS_IN if is_meta(question.kind()) => Err(WireAnswer::empty(rcode::REFUSED)),
        CLASS_IN => {
            let zone_at = zone.offset_in(question.name());
            zone_at.ok_or_else(|| refused(rcode::REFUSED, NOT_AUTHORITATIVE))
        }
        CLASS_CHAOS => Err(chaos(question, identity)),
        _ => Err(WireAnswer::empty(rcode::REFUSED)),
    }
}

/// What the node says about itself (RFC 4892): its version and, where it has one, its name.
fn chaos(question: Question<'_>, identity: &str) -> WireAnswer {
    let name = question.name().to_ascii_lowercase();
    let text = match name.as_slice() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => concat!("touchmark ", env!("CARGO_PKG_VERSION")),
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => identity,
        _ => "",
    };
    if text.is_empty() || !matches!(question.kind(), kind::TXT | kind::ANY) {
        return WireAnswer::empty(rcode::REFUSED);
    }
    let mut answer = WireAnswer::authoritative();
    answer.push_chaos(Section::Answer, kind::TXT, 0, |out| {
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    });
    answer
}

/// True for types that only questions have, ANY aside (RFC 6895 section 3.1): transfers and the like.
fn is_meta(kind: u16) -> bool {
    (128..=254).contains(&kind)
}

//! Admission of a question to the zone, and the answers to the questions that are not admitted.

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

/// Returns the offset of the zone in the name that is asked.
///
/// # Errors
///
/// The answer to a question outside the zone: an error, or the node's answer about itself.
pub(super) fn admit(request: &Request<'_>, zone: &Zone, identity: &str) -> Result<usize, WireAnswer> {
    // RFC 6891 section 6.1.3: with another version, nothing else in the request can be relied on.
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

/// The node's answer about itself (RFC 4892): its version and, if it has one, its name.
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

/// True for types that stand in questions only, ANY aside (RFC 6895 section 3.1): zone transfers and the like.
fn is_meta(kind: u16) -> bool {
    (128..=254).contains(&kind)
}

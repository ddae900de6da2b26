//! From a plan to the bytes of a response to one client: its maximum length and its options.
//!
//! Everything needed is passed in; this file looks nothing up and calls nobody back.

use super::{
    answer::{AnswerHead, EXTENDED_TEXT_OCTETS_MAX, ExtendedError},
    cookie::COOKIE_OPTION,
    exchange::{Exchange, Transport},
    options::ResponderOptions,
    plan::{Origin, Plan},
    request::Edns,
    response::{Fit, OPTION_PADDING, Options, Shape, count_down, finish, pad},
    wire::{MESSAGE_OCTETS_MAX, UDP_PAYLOAD_OCTETS_MAX, UDP_PLAIN_OCTETS_MAX, rcode},
};

/// Option of the name of the server (RFC 5001 section 2.3).
const OPTION_NSID: u16 = 3;
/// Option of extended errors (RFC 8914 section 2).
const OPTION_EXTENDED_ERROR: u16 = 15;

/// Writes the response to a client: `out` begins with the question and the records of the answer (`response::start`).
pub(super) fn write(out: &mut Vec<u8>, exchange: &Exchange<'_>, plan: &Plan<'_>, own: &ResponderOptions) -> Fit {
    let request = &exchange.request;
    if let Origin::Others(Some(age)) = plan.origin {
        // The SOA record of a negative answer comes later, and its TTL is the remaining one already.
        count_down(out, request.question, plan.head.record_count(), age.kept_seconds);
    }
    let options = request.edns.map(|edns| options(edns, exchange, plan, own));
    let is_signed = plan.signing(exchange).is_some();
    let compact_ok = request.edns.is_some_and(Edns::compact_ok);
    let mut head = plan.head;
    if head.rcode == rcode::NXDOMAIN && is_signed && !compact_ok {
        // RFC 9824 section 5.1: the denial says that the name does not exist, and a validator may not expect NXDOMAIN
        // with it.
        head = AnswerHead { rcode: rcode::NOERROR, ..head };
    }
    let shape = Shape {
        soa: plan.soa.as_ref(),
        options: options.as_ref(),
        is_signed,
        recursion_available: exchange.recursion,
        octets_max: octets_max(exchange, own),
    };
    let fit = finish(out, request, head, shape);
    if let Some(options) = options.filter(|_| wants_padding(exchange)) {
        pad(out, &options);
    }
    fit
}

/// Maximum length of the response, in octets.
fn octets_max(exchange: &Exchange<'_>, own: &ResponderOptions) -> usize {
    if exchange.client.transport != Transport::Datagram {
        return MESSAGE_OCTETS_MAX;
    }
    // RFC 6891 section 6.2.3: less than 512 counts as 512.
    let payload = exchange.request.edns.map_or(UDP_PLAIN_OCTETS_MAX, |edns| edns.payload_octets_max);
    let most = match exchange.may_be_forged() {
        true => own.without_cookie_octets_max.min(UDP_PAYLOAD_OCTETS_MAX),
        false => UDP_PAYLOAD_OCTETS_MAX,
    };
    payload.clamp(UDP_PLAIN_OCTETS_MAX, most.max(UDP_PLAIN_OCTETS_MAX)).into()
}

/// True if the request asks for padding, over a connection whose observers see lengths (RFC 8467 section 4.1).
fn wants_padding(exchange: &Exchange<'_>) -> bool {
    let edns = exchange.request.edns.filter(|_| exchange.client.transport == Transport::EncryptedStream);
    edns.is_some_and(|edns| edns.option(OPTION_PADDING).is_some())
}

/// Options of the response: those asked for, and an extended error.
fn options(edns: Edns<'_>, exchange: &Exchange<'_>, plan: &Plan<'_>, own: &ResponderOptions) -> Options {
    let mut options = Options::default();
    if !own.identity.is_empty() && edns.option(OPTION_NSID).is_some() {
        options.push(OPTION_NSID, [own.identity.as_bytes(), &[]]);
    }
    let client = exchange.client;
    if let Some(cookie) = own.cookies.response_to(&exchange.cookie, client.address, client.now_unix) {
        options.push(COOKIE_OPTION, [&cookie, &[]]);
    }
    if let Some(ExtendedError { code, text }) = plan.extended {
        options.push(OPTION_EXTENDED_ERROR, [&code.to_be_bytes(), cut_off(text).as_bytes()]);
    }
    options
}

/// The part of a text that fits an extended error.
fn cut_off(text: &str) -> &str {
    &text[..text.floor_char_boundary(EXTENDED_TEXT_OCTETS_MAX)]
}

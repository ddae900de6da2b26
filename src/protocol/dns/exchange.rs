//! Who asks, and what comes of it.

use std::net::IpAddr;

use super::cookie::CookieCheck;
use crate::id::Identifier;

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

impl Client<'_> {
    /// True for a datagram whose sender has not shown that it gets what is sent to its address.
    pub(super) fn may_be_forged(&self, cookie: CookieCheck) -> bool {
        self.transport == Transport::Datagram && !matches!(cookie, CookieCheck::Valid { .. })
    }
}

/// Decides how much of its answers goes to a client.
pub trait Limiter {
    /// What may be sent of this answer.
    fn allowance(&self, client: IpAddr, answer: &Summary) -> Allowance;

    /// What may be sent to whoever asks for what takes a walk: all of it only if others may be asked. A walk costs others and this node
    /// many times what a question costs.
    fn walk_allowance(&self, client: IpAddr) -> Allowance;
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
    /// A connection that others see the lengths of, and nothing else: a response is padded when its request is (RFC 7830,
    /// RFC 8467 section 4.1).
    EncryptedStream,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responded {
    /// Nothing is to be sent.
    Silent,
    /// The answer takes more than was wanted.
    Deferred,
    /// Others have to be asked about this identifier; what they say goes to [`super::Responder::respond_walked`].
    Walk(Box<Identifier>),
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
    /// Hash of name and type, or of the name alone where there are no records, or of that of the prefix where it is delegated; 0 for
    /// what is no question of the zone.
    pub hash: u64,
    /// Whether there are records in the answer section.
    pub has_data: bool,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Whether it left without its records, for its length or for the client's allowance.
    pub truncated: bool,
}

impl Summary {
    pub(super) fn of_error(rcode: u16) -> Self {
        Self { rcode, kind: 0, hash: 0, has_data: false, cached: true, truncated: false }
    }
}

//! A request, its client, and the result of answering it.

use std::{net::IpAddr, sync::Arc};

use super::{cookie::CookieCheck, request::Request, response::truncate, signing::Signing};
use crate::id::Identifier;

/// The client of a request.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The address.
    pub address: IpAddr,
    /// Transport of the response.
    pub transport: Transport,
    /// Time of the request, in seconds since 1970 UTC.
    pub now_unix: u64,
    /// True if responses to the address are limited while it may be forged: over [`Transport::Datagram`], without a
    /// valid cookie.
    pub has_limits: bool,
}

impl Client {
    /// True for a datagram without a valid cookie: nothing shows that its sender receives what is sent to its address.
    pub(super) fn may_be_forged(&self, cookie: CookieCheck) -> bool {
        self.transport == Transport::Datagram && !matches!(cookie, CookieCheck::Valid { .. })
    }

    /// True for a client whose responses are limited.
    pub(super) fn is_limited(&self, cookie: CookieCheck) -> bool {
        self.has_limits && self.may_be_forged(cookie)
    }
}

/// A request with one question, and the facts known about its client.
pub(super) struct Exchange<'a> {
    pub(super) request: Request<'a>,
    pub(super) client: &'a Client,
    pub(super) cookie: CookieCheck,
    /// The signer, if the client wants signatures and the zone is signed.
    pub(super) signing: Option<Arc<Signing>>,
    /// True if this node walks for the client.
    pub(super) recursion: bool,
}

impl Exchange<'_> {
    /// Time of the request, as signatures count time (RFC 4034 section 3.1.5).
    pub(super) fn now(&self) -> u32 {
        self.client.now_unix as u32
    }

    /// As [`Client::may_be_forged`].
    pub(super) fn may_be_forged(&self) -> bool {
        self.client.may_be_forged(self.cookie)
    }

    /// As [`Client::is_limited`].
    pub(super) fn is_limited(&self) -> bool {
        self.client.is_limited(self.cookie)
    }
}

/// The part of a response that a client may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// The whole response.
    Whole,
    /// No records, and TC: a client that is really there asks again over TCP.
    Truncated,
    /// No response.
    Nothing,
}

/// Transport of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, from an address that may be forged.
    Datagram,
    /// A connection.
    Stream,
    /// A connection whose observers see lengths and nothing else: a response is padded if its request is (RFC 7830, RFC
    /// 8467 section 4.1).
    EncryptedStream,
}

/// Result of answering a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responded {
    /// No response is sent.
    Silent,
    /// The answer needs more work than the caller's [`Depth`](crate::resolver::Depth) allows.
    Deferred,
    /// The answer needs a recursive walk. For a limited client a response is written, without records and with TC: it
    /// is sent in place of a walk that the client may not cause now.
    Walk {
        /// The identifier to walk for; pass the result of the walk to [`super::Responder::respond_walked`].
        identifier: Box<Identifier>,
        /// Summary of the response, for limits.
        summary: Summary,
    },
    /// The response was written.
    Written(Summary),
    /// No response is sent: the client's limit is used up.
    Withheld(Summary),
}

impl Responded {
    /// Applies an allowance to the result. A response that is to be truncated loses its records in place.
    #[must_use]
    pub fn within(self, allowance: Allowance, response: &mut Vec<u8>) -> Self {
        match (self, allowance) {
            (Self::Written(summary) | Self::Walk { summary, .. }, Allowance::Truncated) => {
                Self::Written(Summary { truncated: truncate(response), ..summary })
            }
            (Self::Written(summary) | Self::Walk { summary, .. }, Allowance::Nothing) => Self::Withheld(summary),
            (responded, _) => responded,
        }
    }
}

/// Summary of a response, for limits and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The response code.
    pub rcode: u16,
    /// The type in the question; 0 if unknown.
    pub kind: u16,
    /// True if the response counts against limits: its client has limits and may be forged.
    pub limited: bool,
    /// Hash of name and type; of the name alone for an answer without records; of the name of the prefix for a
    /// delegation; 0 for a request that is no question of the zone.
    pub hash: u64,
    /// True if the answer section has records.
    pub has_data: bool,
    /// True for a cache hit, and for a response that a cache could not have made cheaper.
    pub cached: bool,
    /// True if the response was truncated, for its length or for the client's allowance.
    pub truncated: bool,
}

impl Summary {
    /// Summary of a response without a question.
    pub(super) fn without_question(rcode: u16, limited: bool) -> Self {
        Self { rcode, kind: 0, limited, hash: 0, has_data: false, cached: true, truncated: false }
    }
}

//! A request and its client, and what comes of it.

use std::{net::IpAddr, sync::Arc};

use super::{cookie::CookieCheck, request::Request, response::truncate, signing::Signing};
use crate::id::Identifier;

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The address.
    pub address: IpAddr,
    /// What carries the response.
    pub transport: Transport,
    /// When, in seconds since 1970 UTC.
    pub now_unix: u64,
    /// Whether there are limits on what goes to the address while it may be forged: when there is no valid cookie, over
    /// [`Transport::Datagram`].
    pub has_limits: bool,
}

impl Client {
    /// True for a datagram whose sender has not shown that it gets what is sent to its address.
    pub(super) fn may_be_forged(&self, cookie: CookieCheck) -> bool {
        self.transport == Transport::Datagram && !matches!(cookie, CookieCheck::Valid { .. })
    }

    /// True for a client whose answers are limited.
    pub(super) fn is_limited(&self, cookie: CookieCheck) -> bool {
        self.has_limits && self.may_be_forged(cookie)
    }
}

/// A request with one question, and what is known of its client.
pub(super) struct Exchange<'a> {
    pub(super) request: Request<'a>,
    pub(super) client: &'a Client,
    pub(super) cookie: CookieCheck,
    /// The signer, for a client that wants signatures of a zone that has them.
    pub(super) signing: Option<Arc<Signing>>,
    /// Whether this node walks for the client.
    pub(super) recursion: bool,
}

impl Exchange<'_> {
    /// Now, as signatures count (RFC 4034 section 3.1.5).
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
    /// The answer needs a recursive walk. What was written is for a client that may not cause one now: a response without records,
    /// with TC.
    Walk {
        /// What others have to be asked about; pass what they say to [`super::Responder::respond_walked`].
        identifier: Box<Identifier>,
        /// What was written, for limits.
        summary: Summary,
    },
    /// The response was written.
    Written(Summary),
    /// Nothing is to be sent, for the client has had enough.
    Withheld(Summary),
}

impl Responded {
    /// What comes of it for a client that gets no more than this. A response that is to be truncated loses its records where it lies.
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

/// What a response says, for limits and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The response code.
    pub rcode: u16,
    /// The type that was asked; 0 where that is not known.
    pub kind: u16,
    /// Whether limits count it: its client may be forged, and has limits.
    pub limited: bool,
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
    /// What a response without a question says.
    pub(super) fn without_question(rcode: u16, limited: bool) -> Self {
        Self { rcode, kind: 0, limited, hash: 0, has_data: false, cached: true, truncated: false }
    }
}

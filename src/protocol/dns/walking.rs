//! Recursion: answers for names that others answer for, to clients that ask for them and may (RFC 1034 section 4.3.1).
//!
//! Who walks down the tree stands elsewhere: here it is a [`Walker`], which knows what it kept, and whoever called the responder asks
//! for a walk ([`super::Responded::Walk`]) when that is not enough, and comes back with what came of it
//! ([`super::Responder::respond_walked`]).
//!
//! An answer of others is never authoritative and carries no signatures; it leaves with the rest of its time to live, and counts that
//! down. A negative one goes with the SOA record of the zone of this node, which says for how long (RFC 2308 section 5): the zones of
//! others are not seen from here. A client that validates asks without recursion and follows the referrals.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{
    answer::{ExtendedError, WireAnswer},
    records::{found, or_no_data, whole, without_data},
    wire::{kind, rcode},
};
use crate::{
    id::{
        Identifier,
        dns_name::{NameMeaning, NameTarget},
    },
    protocol::outcome::Outcome,
    record::{Record, Value},
};

/// An answer whose time is over (RFC 8914 section 4.4).
const STALE: ExtendedError<'static> = ExtendedError { code: 3, text: "" };
/// Nobody who answers for the name could be asked (RFC 8914 section 4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;
/// Another reason (RFC 8914 section 4.1).
const OTHER: u16 = 0;

/// Knows what other nodes said.
pub trait Walker: Send + Sync {
    /// What is kept about an identifier, as long as it counts. It never waits: it is called between two datagrams.
    fn kept(&self, identifier: &Identifier) -> Option<Walked>;
}

/// What other nodes said about an identifier.
#[derive(Clone, Debug)]
pub struct Walked {
    /// What it was.
    pub answer: WalkedAnswer,
    /// For how many seconds it may still be kept.
    pub ttl_seconds: u32,
    /// True when its time is over, and nothing newer can be had (RFC 8767).
    pub stale: bool,
}

/// What there is about an identifier.
#[derive(Clone, Debug)]
pub enum WalkedAnswer {
    /// A record, as far as anyone may read it.
    Found(Arc<Record>),
    /// None.
    NotFound,
    /// One that was retired.
    Retired,
    /// One that was erased.
    Erased,
    /// One of which nothing may be read.
    Denied,
}

/// Why others gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkFailure {
    /// Nobody who answers for the identifier could be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody is known who answers for the identifier.
    #[error("{}", Outcome::NotResponsible.spelling().word)]
    NotResponsible,
    /// Something else, such as that too many walks are under way, or that what came does not verify.
    #[error("{0}")]
    Other(String),
}

impl WalkFailure {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unreachable(reason) | Self::Other(reason) => reason,
            Self::NotResponsible => Outcome::NotResponsible.spelling().word,
        }
    }

    /// The answer that says so; the reason goes beside it.
    pub(super) fn answer(&self) -> WireAnswer {
        let code = match self {
            Self::Unreachable(_) => NO_REACHABLE_AUTHORITY,
            Self::Other(_) => OTHER,
            Self::NotResponsible => return without_data(Outcome::NotResponsible),
        };
        let mut answer = without_data(Outcome::Unavailable);
        answer.head.extended = Some(ExtendedError { code, text: "" });
        answer
    }
}

/// Recursion, on a node that offers it.
pub struct Recursion {
    /// Knows what other nodes said.
    pub walker: Arc<dyn Walker>,
    /// For whom.
    pub allow: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl fmt::Debug for Recursion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recursion")
    }
}

/// How far a walk is when a request is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Walking<'a> {
    /// There may be one.
    Ahead,
    /// It is over, and came to this.
    Over(Result<&'a Walked, &'a WalkFailure>),
}

/// A question that others can answer.
pub(super) struct Walkable {
    pub(super) identifier: Identifier,
    has_below: bool,
    ors_dummy: bool,
}

/// False for types that zones have and identifiers do not: with those, a client follows referrals itself.
pub(super) fn can_be_walked(asked: u16) -> bool {
    use kind::{CDNSKEY, CDS, DELEGATION, DNSKEY, DS, NS, NSEC, RRSIG, SOA};
    !matches!(asked, NS | SOA | DS | RRSIG | NSEC | DNSKEY | CDS | CDNSKEY | DELEGATION)
}

impl Walkable {
    /// What a name means; `None` when no identifier has it.
    pub(super) fn of(meaning: NameMeaning) -> Option<Self> {
        let has_below = meaning.below.is_some();
        match meaning.target {
            Some(NameTarget::Identifier(identifier)) => {
                Some(Self { identifier, has_below, ors_dummy: meaning.ors_dummy })
            }
            _ => None,
        }
    }

    /// What others said, as an answer of this type.
    pub(super) fn answer(&self, kind: u16, walked: &Walked) -> WireAnswer {
        let mut answer = match &walked.answer {
            WalkedAnswer::Found(record) if kind == kind::RECORD && !self.ors_dummy => whole(record),
            WalkedAnswer::Found(record) => {
                let values: Vec<_> = record.values.iter().map(Value::view).collect();
                found(kind, &values, self.ors_dummy)
            }
            // Whether there are names below is not known; where there can be, the name may exist (RFC 8020).
            WalkedAnswer::NotFound if self.has_below => or_no_data(WireAnswer::empty(rcode::NOERROR)),
            WalkedAnswer::NotFound => without_data(Outcome::NotFound),
            WalkedAnswer::Retired => without_data(Outcome::Retired),
            WalkedAnswer::Erased => without_data(Outcome::Erased),
            WalkedAnswer::Denied => without_data(Outcome::Denied),
        };
        answer.head.authoritative = false;
        if let Some(ttl) = answer.answer_ttl() {
            answer.set_ttl(ttl.min(walked.ttl_seconds));
        }
        if walked.stale {
            answer.head.extended.get_or_insert(STALE);
        }
        answer
    }
}

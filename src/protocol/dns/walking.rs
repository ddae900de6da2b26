//! Recursion: answers for names that other nodes answer for, to clients that ask for recursion and may have it (RFC
//! 1034 section 4.3.1).
//!
//! The desk has cached answers of other nodes. When those are not enough, the caller of the responder is told to walk
//! ([`super::Responded::Walk`]), and comes back with the result ([`super::Responder::respond_walked`]).
//!
//! An answer of other nodes is never authoritative and carries no signatures; its TTL is counted down. A negative
//! answer goes with the SOA record of the zone of this node, which gives its TTL (RFC 2308 section 5): the zones of
//! other nodes are not seen from here. A client that validates asks without recursion and follows the referrals.

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
    resolver::{
        Answer, NoAnswer,
        recursion::{RecursionError, Resolved},
    },
};

/// A stale answer (RFC 8914 section 4.4).
const STALE: ExtendedError<'static> = ExtendedError { code: 3, text: "" };
/// No reachable authority: no node that answers for the name could be asked (RFC 8914 section 4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;
/// Another reason (RFC 8914 section 4.1).
const OTHER: u16 = 0;

/// Error of a walk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkFailure {
    /// No node that answers for the identifier could be reached.
    #[error("{0}")]
    Unreachable(String),
    /// No node is known that answers for the identifier.
    #[error("{}", Outcome::NotResponsible.spelling().word)]
    NotResponsible,
    /// Any other error, such as too many walks at once, or an answer that does not verify.
    #[error("{0}")]
    Other(String),
}

impl From<NoAnswer> for WalkFailure {
    fn from(none: NoAnswer) -> Self {
        use RecursionError::{BrokenOff, NotResponsible, Overloaded, Unverified};
        let NoAnswer::Walk(walk) = &none else { return Self::Other(none.to_string()) };
        match &walk.error {
            NotResponsible { .. } => Self::NotResponsible,
            // Sites were reached: their answers did not verify.
            Unverified { .. } | Overloaded { .. } | BrokenOff => Self::Other(none.to_string()),
            _ => Self::Unreachable(none.to_string()),
        }
    }
}

impl WalkFailure {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unreachable(reason) | Self::Other(reason) => reason,
            Self::NotResponsible => Outcome::NotResponsible.spelling().word,
        }
    }

    /// The answer for the failure, without its reason in words.
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

/// State of the walk when a request is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Walking<'a> {
    /// Not started: the answer may need one.
    Ahead,
    /// Finished, with this result.
    Over(Result<&'a Resolved, &'a WalkFailure>),
}

/// A question that other nodes can answer.
pub(super) struct Walkable {
    pub(super) identifier: Identifier,
    has_below: bool,
    ors_dummy: bool,
}

/// False for types that zones have and identifiers do not: for those, a client follows referrals itself.
pub(super) fn can_be_walked(asked: u16) -> bool {
    use kind::{CDNSKEY, CDS, DELEGATION, DNSKEY, DS, NS, NSEC, RRSIG, SOA};
    !matches!(asked, NS | SOA | DS | RRSIG | NSEC | DNSKEY | CDS | CDNSKEY | DELEGATION)
}

impl Walkable {
    /// The question for the identifier that a name stands for; `None` if it stands for none.
    pub(super) fn of(meaning: NameMeaning) -> Option<Self> {
        let has_below = meaning.below.is_some();
        match meaning.target {
            Some(NameTarget::Identifier(identifier)) => {
                Some(Self { identifier, has_below, ors_dummy: meaning.ors_dummy })
            }
            _ => None,
        }
    }

    /// The answer of this type from the result of a walk.
    pub(super) fn answer(&self, kind: u16, walked: &Resolved) -> WireAnswer {
        let mut answer = match &walked.resolution.answer {
            Answer::Found(answer) if kind == kind::RECORD && !self.ors_dummy => whole(&answer.record()),
            Answer::Found(answer) => found(kind, &answer.values(), self.ors_dummy),
            // The zones of other nodes are not seen from here: a name that can have names below it may exist (RFC
            // 8020).
            Answer::NotFound if self.has_below => or_no_data(WireAnswer::empty(rcode::NOERROR)),
            answer => without_data(Outcome::from(answer)),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{id::Prefix, resolver::recursion::Reasons};

    #[test]
    fn what_failures_are_over_dns() {
        let prefix = || Arc::new(Prefix::parse("88.118").unwrap());
        for (error, expected) in [
            (RecursionError::NotResponsible { identifier: "88.118/a".into() }, "NotResponsible"),
            (RecursionError::Unverified { prefix: prefix(), reasons: Reasons::default() }, "Other(\"no site of"),
            (RecursionError::Overloaded { limit: 1, what: "walks" }, "Other(\"1 walks"),
            (RecursionError::BrokenOff, "Other("),
            (RecursionError::AllFailed { prefix: prefix(), reasons: Reasons::default() }, "Unreachable(\"no site of"),
            (RecursionError::NoSite { prefix: prefix(), missing: "is asked" }, "Unreachable("),
        ] {
            let failure = format!("{:?}", WalkFailure::from(NoAnswer::from(error.clone())));
            assert!(failure.starts_with(expected), "{error:?}: {failure}");
        }
    }
}

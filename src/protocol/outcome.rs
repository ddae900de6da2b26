//! The table of outcomes: the name and code of each in each protocol.

use crate::{
    registry::Refusal,
    resolver::{Answer, AnswerKind, Busy, NoAnswer, ProveError, recursion::RecursionError},
};

/// Outcome of a query or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A record was found, or a command carried out.
    Success,
    /// Nothing is registered under the identifier.
    NotFound,
    /// The record was retired.
    Retired,
    /// The record was erased, with all its values.
    Erased,
    /// The node refers to another one.
    Delegated,
    /// The node does not answer for the identifier, and knows no node that does.
    NotResponsible,
    /// A permit is missing.
    Denied,
    /// The query or command breaks a rule.
    Invalid,
    /// The identifier is registered already.
    AlreadyExists,
    /// The record is not in the state that the command needs.
    FailedPrecondition,
    /// Too much at once; try again later.
    TryLater,
    /// The node cannot do it now.
    Unavailable,
    /// The program has a bug: an invariant does not hold.
    Internal,
}

/// DNS response codes (RFC 1035 section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRcode {
    /// 0, answered.
    NoError,
    /// 2, the server failed.
    ServFail,
    /// 3, the name does not exist.
    NxDomain,
    /// 5, the server will not answer.
    Refused,
}

/// Codes and word of one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// gRPC status code (`google.rpc.Code`). A single `Resolve` that ends in not found, retired, delegated or denied
    /// has status OK, with the outcome as a variant of the answer.
    pub grpc: i32,
    /// DNS response code.
    pub dns: DnsRcode,
    /// Extended DNS error (RFC 8914), if one adds anything.
    pub dns_extended: Option<u16>,
    /// Status code of HTTP (RFC 9110 section 15).
    pub http: u16,
    /// Exit code of the command line.
    pub exit: u8,
    /// The outcome in words.
    pub word: &'static str,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::NotFound,
        Self::Retired,
        Self::Erased,
        Self::Delegated,
        Self::NotResponsible,
        Self::Denied,
        Self::Invalid,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::TryLater,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Returns the outcome of a status or a refusal with this gRPC code. Of outcomes that share a code, it is the one
    /// that is never a variant of an answer.
    pub fn of_grpc_code(code: i32) -> Option<Self> {
        let in_answers =
            |outcome: Self| matches!(outcome, Self::Retired | Self::Erased | Self::Delegated | Self::NotResponsible);
        Self::ALL.into_iter().find(|outcome| outcome.spelling().grpc == code && !in_answers(*outcome))
    }

    /// Returns the row of the table.
    pub fn spelling(self) -> Spelling {
        use DnsRcode::{NoError, NxDomain, Refused, ServFail};
        let row = |grpc, dns, dns_extended, http, exit, word| Spelling { grpc, dns, dns_extended, http, exit, word };
        match self {
            Self::Success => row(0, NoError, None, 200, 0, "ok"),
            Self::NotFound => row(5, NxDomain, None, 404, 3, "not found"),
            // RFC 8914 code 0, Other. A retired name stays in existence, with no data: it is never registered again.
            Self::Retired => row(9, NoError, Some(0), 410, 4, "retired"),
            // As for a retired name.
            Self::Erased => row(9, NoError, Some(0), 410, 4, "erased"),
            // A referral needs no extended error; 20, Not Authoritative, is for answers without one. 421: Misdirected
            // Request; the answer names the sites, and HTTP has no redirection to several of them.
            Self::Delegated => row(9, NoError, Some(20), 421, 5, "delegated"),
            Self::NotResponsible => row(9, Refused, Some(20), 421, 5, "not responsible"),
            // 18: Prohibited.
            Self::Denied => row(7, Refused, Some(18), 403, 6, "denied"),
            Self::Invalid => row(3, NxDomain, None, 400, 2, "invalid"),
            Self::AlreadyExists => row(6, ServFail, None, 409, 7, "already exists"),
            Self::FailedPrecondition => row(9, ServFail, None, 409, 8, "failed precondition"),
            Self::TryLater => row(8, ServFail, None, 429, 9, "try later"),
            Self::Unavailable => row(14, ServFail, None, 503, 9, "unavailable"),
            Self::Internal => row(13, ServFail, None, 500, 1, "internal error"),
        }
    }
}

impl From<AnswerKind> for Outcome {
    fn from(kind: AnswerKind) -> Self {
        match kind {
            AnswerKind::Found => Self::Success,
            AnswerKind::Erased => Self::Erased,
            AnswerKind::Retired => Self::Retired,
            AnswerKind::NotFound => Self::NotFound,
            AnswerKind::Delegated => Self::Delegated,
            AnswerKind::NotResponsible => Self::NotResponsible,
            AnswerKind::Denied => Self::Denied,
        }
    }
}

impl From<&Answer> for Outcome {
    fn from(answer: &Answer) -> Self {
        answer.kind().into()
    }
}

impl From<&NoAnswer> for Outcome {
    fn from(none: &NoAnswer) -> Self {
        match none {
            NoAnswer::Busy(Busy::Full { .. }) | NoAnswer::NoRoom(_) => Self::TryLater,
            NoAnswer::ToCome { .. } => Self::Invalid,
            NoAnswer::Walk(failed) => Self::from(&failed.error),
            NoAnswer::Busy(Busy::Stopping) | NoAnswer::Read(_) => Self::Unavailable,
            NoAnswer::Proof(error) => match error {
                ProveError::NotFound { .. } => Self::NotFound,
                ProveError::NotPublic { .. } => Self::Denied,
                ProveError::ToCome { .. } | ProveError::NoSuchValue { .. } => Self::Invalid,
                ProveError::Read(_) => Self::Unavailable,
            },
        }
    }
}

impl From<&RecursionError> for Outcome {
    fn from(error: &RecursionError) -> Self {
        match error {
            RecursionError::NotResponsible { .. } => Self::NotResponsible,
            RecursionError::Overloaded { .. } => Self::TryLater,
            _ => Self::Unavailable,
        }
    }
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Invalid { .. } | Refusal::Unreadable { .. } | Refusal::TooMany { .. } | Refusal::BatchTooLong => {
                Self::Invalid
            }
            Refusal::AlreadyExists { .. } => Self::AlreadyExists,
            Refusal::NotFound { .. } => Self::NotFound,
            Refusal::Retired { .. }
            | Refusal::Immutable { .. }
            | Refusal::Erased { .. }
            | Refusal::VersionMismatch { .. }
            | Refusal::SaidAlready { .. }
            | Refusal::Withdrawn { .. }
            | Refusal::RequestReused { .. } => Self::FailedPrecondition,
            Refusal::Delegated { .. } => Self::Delegated,
            Refusal::NotResponsible { .. } => Self::NotResponsible,
            Refusal::TryLater => Self::TryLater,
            Refusal::Unavailable { .. } => Self::Unavailable,
            Refusal::Mirror { .. } => Self::Delegated,
            Refusal::Denied { .. } => Self::Denied,
            Refusal::Internal { .. } => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_refusals_are_read_back() {
        let codes = [0, 3, 5, 6, 7, 8, 9, 14].map(|code| Outcome::of_grpc_code(code).unwrap().spelling().word);
        let words = ["ok", "invalid", "not found", "already exists", "denied", "try later", "failed precondition"];
        assert_eq!(codes[..7], words);
        assert_eq!((codes[7], Outcome::of_grpc_code(2)), ("unavailable", None));
    }

    #[test]
    fn every_row() {
        let table: Vec<_> = Outcome::ALL
            .iter()
            .map(|outcome| {
                let Spelling { grpc, dns, dns_extended, http, exit, word } = outcome.spelling();
                format!(
                    "{word}: {grpc} {dns:?} {} {http} {exit}",
                    dns_extended.map_or("-".into(), |code| code.to_string())
                )
            })
            .collect();
        assert_eq!(
            table,
            [
                "ok: 0 NoError - 200 0",
                "not found: 5 NxDomain - 404 3",
                "retired: 9 NoError 0 410 4",
                "erased: 9 NoError 0 410 4",
                "delegated: 9 NoError 20 421 5",
                "not responsible: 9 Refused 20 421 5",
                "denied: 7 Refused 18 403 6",
                "invalid: 3 NxDomain - 400 2",
                "already exists: 6 ServFail - 409 7",
                "failed precondition: 9 ServFail - 409 8",
                "try later: 8 ServFail - 429 9",
                "unavailable: 14 ServFail - 503 9",
                "internal error: 13 ServFail - 500 1",
            ]
        );
    }
}

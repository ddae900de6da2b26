//! Rate limiting of DNS responses: the account of a response, and the effect of a verdict.

use crate::{
    protocol::dns::{Allowance, Responded, Summary, rcode},
    server::datagram::rate::{AnswerClass, RateKey, Verdict},
};

/// Account of a response; `None` if the client has no limits, or nothing was written.
pub(super) fn rate_key(responded: &Responded) -> Option<RateKey> {
    match responded {
        Responded::Written(summary) if summary.limited => Some(of_summary(summary)),
        // A walk costs other nodes and this one many times as much as a question.
        Responded::Walk { summary, .. } if summary.limited => Some(RateKey { class: AnswerClass::Walk, name_hash: 0 }),
        _ => None,
    }
}

fn of_summary(summary: &Summary) -> RateKey {
    let class = match summary.rcode {
        rcode::NOERROR if summary.has_data => AnswerClass::Positive,
        rcode::NOERROR => AnswerClass::NoData,
        rcode::NXDOMAIN => AnswerClass::NxDomain,
        _ => AnswerClass::Error,
    };
    // All names that do not exist share an account: in an attack they are random.
    let name_hash = if class == AnswerClass::NxDomain { 0 } else { summary.hash };
    RateKey { class, name_hash }
}

/// Part of a response that a verdict allows.
pub(super) fn allowance(verdict: Verdict) -> Allowance {
    match verdict {
        Verdict::Send => Allowance::Whole,
        Verdict::Slip => Allowance::Truncated,
        Verdict::Drop => Allowance::Nothing,
    }
}

//! On which account a response over DNS is counted, and what is done by the verdict on it.

use crate::{
    protocol::dns::{Allowance, Responded, Summary, rcode},
    server::datagram::rate::{AnswerClass, RateKey, Verdict},
};

/// The account of a response; `None` where the client is not limited, or nothing was written.
pub(super) fn rate_key(responded: &Responded) -> Option<RateKey> {
    match responded {
        Responded::Written(summary) if summary.limited => Some(of_summary(summary)),
        // A walk costs others and this node many times what a question costs.
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
    // All names that do not exist are one: they are random when somebody makes us send them.
    let name_hash = if class == AnswerClass::NxDomain { 0 } else { summary.hash };
    RateKey { class, name_hash }
}

/// How much of a response a verdict lets through.
pub(super) fn allowance(verdict: Verdict) -> Allowance {
    match verdict {
        Verdict::Send => Allowance::Whole,
        Verdict::Slip => Allowance::Truncated,
        Verdict::Drop => Allowance::Nothing,
    }
}

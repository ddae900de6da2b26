//! Whose account a response is counted on: from what it says to a verdict of the [`RateLimiter`], and back.

use std::net::IpAddr;

use super::rate::{AnswerClass, RateLimiter, Verdict};
use crate::protocol::dns::{Allowance, Responded, Summary, rcode};

/// Response-rate limits at one time.
pub(super) struct Limits<'a> {
    pub(super) limiter: &'a RateLimiter,
    /// Milliseconds since some time.
    pub(super) now_ms: u64,
}

impl Limits<'_> {
    /// Counts a response to a client that may be forged; says how much of it may be sent.
    pub(super) fn allowance(&self, client: IpAddr, responded: &Responded) -> Allowance {
        let (class, hash) = match responded {
            Responded::Written(summary) if summary.limited => account(summary),
            // A walk costs others and this node many times what a question costs.
            Responded::Walk { summary, .. } if summary.limited => (AnswerClass::Walk, 0),
            _ => return Allowance::Whole,
        };
        match self.limiter.check(client, class, hash, self.now_ms) {
            Verdict::Send => Allowance::Whole,
            Verdict::Slip => Allowance::Truncated,
            Verdict::Drop => Allowance::Nothing,
        }
    }
}

/// The class of a response, and the hash of what it is about.
fn account(summary: &Summary) -> (AnswerClass, u64) {
    match summary.rcode {
        rcode::NOERROR if summary.has_data => (AnswerClass::Positive, summary.hash),
        rcode::NOERROR => (AnswerClass::NoData, summary.hash),
        // All names that do not exist are one: they are random when somebody makes us send them.
        rcode::NXDOMAIN => (AnswerClass::NxDomain, 0),
        _ => (AnswerClass::Error, summary.hash),
    }
}

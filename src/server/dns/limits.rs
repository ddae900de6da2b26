//! Whose account an answer is counted on: from what a response says to a verdict of the [`RateLimiter`], and back.

use std::net::IpAddr;

use super::rate::{AnswerClass, RateLimiter, Verdict};
use crate::protocol::dns::{Allowance, Limiter, Summary, message::rcode};

/// Response-rate limits at one time.
pub(super) struct Limits<'a> {
    pub(super) limiter: &'a RateLimiter,
    /// Milliseconds since some time.
    pub(super) now_ms: u64,
}

impl Limits<'_> {
    fn check(&self, client: IpAddr, class: AnswerClass, hash: u64) -> Allowance {
        match self.limiter.check(client, class, hash, self.now_ms) {
            Verdict::Send => Allowance::Whole,
            Verdict::Slip => Allowance::Truncated,
            Verdict::Drop => Allowance::Nothing,
        }
    }
}

impl Limiter for Limits<'_> {
    fn allowance(&self, client: IpAddr, answer: &Summary) -> Allowance {
        let class = match answer.rcode {
            rcode::NOERROR if answer.has_data => AnswerClass::Positive,
            rcode::NOERROR => AnswerClass::NoData,
            rcode::NXDOMAIN => AnswerClass::NxDomain,
            _ => AnswerClass::Error,
        };
        // All names that do not exist are one: they are random when somebody makes us send them.
        let hash = if class == AnswerClass::NxDomain { 0 } else { answer.hash };
        self.check(client, class, hash)
    }

    fn walk_allowance(&self, client: IpAddr) -> Allowance {
        self.check(client, AnswerClass::Walk, 0)
    }
}

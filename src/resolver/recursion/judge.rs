//! Validation of replies: relevance to the query, scope of the site's delegation, and proofs if evidence is required.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Inner,
    answers::ttl_seconds,
    delegations::Known,
    error::ReasonKind,
    options::TTL_SECONDS_MAX,
    place::Place,
    resolved::{HopOutcome, Verification},
    upstream::{SiteQuestion, SiteReply, Target, UpstreamError},
    verify::Claim,
};
use crate::{
    id::Identifier,
    record::{Endpoint, Record, Status},
    resolver::{Answer, Evidence},
};

/// A valid reply.
#[derive(Debug)]
pub(super) enum Judged {
    /// A referral: the walk goes on.
    Referral(Lead),
    /// An answer: the walk ends.
    Answer(Final),
}

/// Content of a valid referral.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) known: Known,
    pub(super) ttl_seconds: u32,
    /// Verification of the referral alone.
    pub(super) verification: Verification,
}

/// Content of a valid answer.
#[derive(Debug)]
pub(super) struct Final {
    pub(super) answer: Answer,
    /// Verification of the whole chain.
    pub(super) verification: Verification,
    pub(super) withheld: Box<[u32]>,
    pub(super) endpoint: Endpoint,
    pub(super) lag_seconds: Option<u32>,
    pub(super) ttl_seconds: u32,
    /// Time of the query, from which the TTL counts.
    pub(super) asked: Instant,
}

/// Kind and text of a fault.
type Wrong = (ReasonKind, String);

impl Inner {
    /// Validates the reply to a query that was sent at `asked`.
    pub(super) fn judge(
        &self,
        question: &SiteQuestion,
        place: &Place,
        target: &Target,
        reply: Result<SiteReply, UpstreamError>,
        asked: Instant,
    ) -> Result<Judged, Wrong> {
        let reply = reply.map_err(|error| (kind_of(&error), error.to_string()))?;
        belongs(&question.identifier, place, &reply.answer)?;
        let claim = Claim {
            key: target.key.as_deref(),
            prefix: &place.prefix,
            identifier: &question.identifier,
            evidence: question.evidence,
            reply: &reply,
        };
        let shown = match question.evidence {
            Evidence::None => Default::default(),
            _ => self.verifier.verify(&claim).map_err(|unproven| (ReasonKind::Unverified, unproven.to_string()))?,
        };
        if shown.verification < Verification::by(question.evidence) {
            return Err((ReasonKind::Unverified, "does not prove as much as is asked for".into()));
        }
        let said_ttl = reply.ttl_seconds.unwrap_or(TTL_SECONDS_MAX);
        let ttl_seconds = ttl_seconds(&reply.answer).min(said_ttl);
        let verification = shown.verification.min(place.verification);
        // A delegation is valid no longer than its parent's; a proven answer no longer than the delegation it rests on.
        let until = asked + Duration::from_secs(u64::from(ttl_seconds));
        let until = place.until.map_or(until, |bound| bound.min(until));
        let ttl_bound = u32::try_from(until.saturating_duration_since(asked).as_secs()).unwrap_or(ttl_seconds);
        let answer_ttl = if question.evidence == Evidence::None { ttl_seconds } else { ttl_seconds.min(ttl_bound) };
        Ok(match reply.answer {
            Answer::Delegated(referral) => Judged::Referral(Lead {
                known: Known {
                    prefix: Arc::new(referral.prefix.clone()),
                    delegation: Arc::new(referral.delegation.clone()),
                    verification,
                    until,
                    said_by: (Arc::clone(&place.prefix), target.endpoint),
                    quiet_until: None,
                    turn: Arc::default(),
                },
                ttl_seconds: ttl_bound,
                verification: shown.verification,
            }),
            answer => Judged::Answer(Final {
                answer: if question.evidence == Evidence::None { answer } else { only_proven(answer) },
                verification,
                withheld: shown.withheld,
                endpoint: target.endpoint,
                lag_seconds: reply.lag_seconds,
                ttl_seconds: answer_ttl,
                asked,
            }),
        })
    }
}

impl Judged {
    /// Outcome, TTL in seconds and verification for the hop.
    pub(super) fn shown(&self) -> (HopOutcome, u32, Verification) {
        match self {
            Self::Referral(lead) => {
                let prefix = Arc::clone(&lead.known.prefix);
                (HopOutcome::Referral { prefix }, lead.ttl_seconds, lead.verification)
            }
            Self::Answer(end) => {
                (HopOutcome::Answer { said: end.answer.kind().as_str() }, end.ttl_seconds, end.verification)
            }
        }
    }
}

fn kind_of(error: &UpstreamError) -> ReasonKind {
    match error {
        UpstreamError::Unreachable { .. } => ReasonKind::Silent,
        UpstreamError::Refused { .. } => ReasonKind::Refused,
        UpstreamError::Garbled { .. } => ReasonKind::Garbled,
    }
}

/// Checks that the answer is about the identifier and within the site's delegation.
fn belongs(identifier: &Identifier, place: &Place, answer: &Answer) -> Result<(), Wrong> {
    let about = |other: &Identifier| match other.key() == identifier.key() {
        true => Ok(()),
        false => Err((ReasonKind::Garbled, format!("tells of {other}, which was not asked for"))),
    };
    match answer {
        Answer::Found(found) => match &*found.record() {
            record if record.status == Status::Active => about(&record.identifier),
            _ => Err((ReasonKind::Garbled, "gives a record that has ended as one that has not".into())),
        },
        Answer::Retired(tombstone) => about(&tombstone.identifier),
        Answer::NotFound | Answer::Denied => Ok(()),
        Answer::NotResponsible => {
            Err((ReasonKind::Lame, format!("does not answer for {}, which is delegated to it", place.prefix)))
        }
        Answer::Delegated(referral) => {
            let (from, to) = (&place.prefix, &referral.prefix);
            if !from.contains(to) || !to.covers(identifier.key()) {
                return Err((ReasonKind::Loop, format!("leads to {to}, which is elsewhere")));
            }
            // A strictly longer prefix: no walk comes twice to one place.
            match to.path().len() > from.path().len() {
                true => Ok(()),
                false => Err((ReasonKind::Loop, format!("leads back to {to}"))),
            }
        }
    }
}

/// The proven part of an answer. Edges are left out: any entry may carry some, and no proof shows that they are
/// complete.
fn only_proven(answer: Answer) -> Answer {
    let Answer::Found(found) = answer else { return answer };
    let record = found.record();
    Answer::found(Record {
        identifier: record.identifier.clone(),
        values: record.values.clone(),
        values_erased: record.values_erased.clone(),
        edges_truncated: record.edges_truncated || !record.edges.is_empty() || record.outputs.is_some(),
        edges: Vec::new(),
        outputs: None,
        status: record.status,
        version: record.version,
    })
}

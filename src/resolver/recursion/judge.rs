//! Whether what a site said counts: it belongs to the question, to what was delegated to the site, and verifies, when that is asked for.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Inner,
    answers::ttl_seconds,
    delegations::Known,
    error::ReasonKind,
    options::TTL_SECONDS_MAX,
    resolved::{HopOutcome, Verification},
    upstream::{SiteQuestion, SiteReply, Target, UpstreamError},
    verify::Claim,
    walk::Place,
};
use crate::{
    id::Identifier,
    record::{Endpoint, Record, Status},
    resolver::{Answer, Evidence},
};

/// What a site said, and counts.
#[derive(Debug)]
pub(super) enum Judged {
    /// It leads on.
    Referral(Lead),
    /// It ends the walk.
    Answer(Final),
}

/// Where it leads.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) known: Known,
    pub(super) ttl_seconds: u32,
    /// Of the referral alone.
    pub(super) verification: Verification,
}

/// How it ends.
#[derive(Debug)]
pub(super) struct Final {
    pub(super) answer: Answer,
    /// Of the whole chain.
    pub(super) verification: Verification,
    pub(super) withheld: Box<[u32]>,
    pub(super) endpoint: Endpoint,
    pub(super) lag_seconds: Option<u32>,
    pub(super) ttl_seconds: u32,
    /// When it was asked for, which its time begins with.
    pub(super) asked: Instant,
}

/// What is wrong with it.
type Wrong = (ReasonKind, String);

impl Inner {
    /// Judges the reply to a question that was asked at a time.
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
        // Nobody speaks for longer than it was delegated to him; what he proves counts no longer than the delegation that it rests on.
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
    /// As a hop shows it.
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

/// Whether what was said is about the identifier, and for the site to say.
fn belongs(identifier: &Identifier, place: &Place, answer: &Answer) -> Result<(), Wrong> {
    let about = |other: &Identifier| match other.key() == identifier.key() {
        true => Ok(()),
        false => Err((ReasonKind::Garbled, format!("tells of {other}, which was not asked for"))),
    };
    match answer {
        Answer::Found(found) if found.record().status == Status::Active => about(&found.record().identifier),
        Answer::Found(_) => Err((ReasonKind::Garbled, "gives a record that has ended as one that has not".into())),
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
            // Strictly longer, so that no walk comes twice to one place.
            match to.path().len() > from.path().len() {
                true => Ok(()),
                false => Err((ReasonKind::Loop, format!("leads back to {to}"))),
            }
        }
    }
}

/// What of an answer its proof covers: edges come with any entry, and no proof of one says that these are all.
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

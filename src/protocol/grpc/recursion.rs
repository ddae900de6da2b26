//! Answers that came from other nodes, as messages.

use super::{Encoded, answer_to_pb, delegation_to_pb, filtered, pb, record_to_pb, whole_answer};
use crate::{
    protocol::outcome::Outcome,
    resolver::{
        Filter,
        recursion::{Hop, HopOutcome, RecursionError, Resolved, Said, Source, Traced, Verification},
    },
};

/// Encodes an answer; what it says is encoded once and kept with it, how it was come by is said anew each time.
///
/// `asked` is the identifier as the client wrote it.
pub fn encode_resolved(resolved: &Resolved, asked: &str, filter: &Filter) -> Encoded {
    // What stays the same with every client, with how it was come by.
    let lasting = |said: &Said| {
        let lasting = pb::Resolution { ttl: 0, stale: false, cached: false, ..resolution_to_pb(resolved, &[]) };
        let lasting = pb::Answer { resolution: Some(lasting), ..pb::Answer::default() };
        whole_answer(said_to_pb(said, asked, filter)).with(&lasting)
    };
    let said = match &resolved.answer.said {
        Said::Found(_) if filter.takes_all() => Encoded(resolved.answer.rendered(|said| lasting(said).0)),
        said => lasting(said),
    };
    // Of a message that comes twice the fields add up (Protocol Buffers, "Last One Wins").
    let (ttl, stale, cached) = (resolved.ttl_seconds, resolved.stale, resolved.source == Source::Cache);
    let now = pb::Resolution { ttl, stale, cached, ..pb::Resolution::default() };
    said.with(&pb::Answer { resolution: Some(now), ..pb::Answer::default() })
}

/// Encodes a walk and what it came to.
pub fn encode_traced(traced: &Traced, asked: &str, filter: &Filter) -> Encoded {
    let (outcome, resolution) = match &traced.result {
        Ok(resolved) => (said_to_pb(&resolved.answer.said, asked, filter), resolution_to_pb(resolved, &traced.hops)),
        Err(error) => {
            let hops = traced.hops.iter().map(hop_to_pb).collect();
            (failed_to_pb(error, asked), pb::Resolution { hops, ..pb::Resolution::default() })
        }
    };
    let resolution = pb::Answer { resolution: Some(resolution), ..pb::Answer::default() };
    whole_answer(outcome).with(&resolution)
}

/// Encodes why there is no answer.
pub fn encode_failed(error: &RecursionError, asked: &str) -> Encoded {
    whole_answer(failed_to_pb(error, asked))
}

/// Why there is no answer, as a message.
pub fn failed_to_pb(error: &RecursionError, asked: &str) -> pb::answer::Outcome {
    match failure(error) {
        Outcome::NotResponsible => pb::answer::Outcome::NotResponsible(pb::NotResponsible { identifier: asked.into() }),
        outcome => pb::answer::Outcome::Failed(pb::Failed {
            identifier: asked.into(),
            code: outcome.spelling().grpc,
            reason: error.to_string(),
        }),
    }
}

/// What a failed walk comes to.
pub fn failure(error: &RecursionError) -> Outcome {
    match error {
        RecursionError::NotResponsible { .. } => Outcome::NotResponsible,
        RecursionError::Overloaded { .. } => Outcome::TryLater,
        _ => Outcome::Unavailable,
    }
}

/// What a site's answer comes to.
pub fn outcome_of_said(said: &Said) -> Outcome {
    match said {
        Said::Found(_) => Outcome::Success,
        Said::Retired(tombstone) if tombstone.erased => Outcome::Erased,
        Said::Retired(_) => Outcome::Retired,
        Said::NotFound => Outcome::NotFound,
        Said::Denied => Outcome::Denied,
        Said::NotResponsible => Outcome::NotResponsible,
        Said::Referral(_) => Outcome::Delegated,
    }
}

/// What a site said, as a message.
pub fn said_to_pb(said: &Said, asked: &str, filter: &Filter) -> pb::answer::Outcome {
    use pb::answer::Outcome;
    let identifier = || asked.to_owned();
    match said {
        Said::Found(record) if filter.takes_all() => Outcome::Found(record_to_pb(record)),
        Said::Found(record) => Outcome::Found(filtered(record, filter)),
        Said::Retired(tombstone) => {
            answer_to_pb(&crate::resolver::Answer::Retired(tombstone.clone().into()), asked, filter)
        }
        Said::NotFound => Outcome::NotFound(pb::NotFound { identifier: identifier() }),
        Said::Denied => Outcome::Denied(pb::Denied { identifier: identifier() }),
        Said::NotResponsible => Outcome::NotResponsible(pb::NotResponsible { identifier: identifier() }),
        Said::Referral(referral) => Outcome::Delegated(pb::Delegated {
            identifier: identifier(),
            prefix: referral.prefix.to_string(),
            delegation: Some(delegation_to_pb(&referral.delegation)),
            ledger_index: referral.ledger_index,
        }),
    }
}

fn resolution_to_pb(resolved: &Resolved, hops: &[Hop]) -> pb::Resolution {
    let answer = &resolved.answer;
    pb::Resolution {
        ttl: resolved.ttl_seconds,
        stale: resolved.stale,
        verification: verification_to_pb(answer.verification).into(),
        prefix: answer.prefix.to_string(),
        endpoint: answer.endpoint.to_string(),
        cached: resolved.source == Source::Cache,
        hops: hops.iter().map(hop_to_pb).collect(),
        lag_seconds: answer.lag_seconds,
        values_withheld: answer.withheld.to_vec(),
    }
}

fn hop_to_pb(hop: &Hop) -> pb::Hop {
    let said = match &hop.outcome {
        HopOutcome::Referral { prefix } => format!("referral to {prefix}"),
        HopOutcome::Answer { said } => (*said).into(),
        HopOutcome::Failed { reason } => reason.to_string(),
    };
    pb::Hop {
        prefix: hop.prefix.to_string(),
        endpoint: hop.endpoint.to_string(),
        duration_us: u64::try_from(hop.took.as_micros()).unwrap_or(u64::MAX),
        said,
        ttl: hop.ttl_seconds,
        verification: verification_to_pb(hop.verification).into(),
        cached: hop.source == Source::Cache,
    }
}

fn verification_to_pb(verification: Verification) -> pb::resolution::Verification {
    match verification {
        Verification::None => pb::resolution::Verification::None,
        Verification::Included => pb::resolution::Verification::Included,
        Verification::Latest => pb::resolution::Verification::Latest,
    }
}

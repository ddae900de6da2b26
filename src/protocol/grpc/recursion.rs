//! Encoding of answers from other nodes.

use super::{Encoded, answer_to_pb, pb, whole_answer};
use crate::{
    protocol::outcome::Outcome,
    resolver::{
        Answer, Filter, NoAnswer,
        recursion::{Hop, HopOutcome, Resolved, Source, Verification},
    },
};

/// Encodes an answer. The answer itself is encoded once and cached with it; TTL, staleness and cache hit are encoded
/// anew each time.
///
/// `asked` is the identifier as the client wrote it.
pub fn encode_resolved(resolved: &Resolved, asked: &str, filter: &Filter) -> Encoded {
    // The part that is the same for every client.
    let lasting = |answer: &Answer| {
        let lasting = pb::Resolution { ttl: 0, stale: false, cached: false, ..resolution_to_pb(resolved, &[]) };
        let lasting = pb::Answer { resolution: Some(lasting), ..pb::Answer::default() };
        whole_answer(answer_to_pb(answer, asked, filter)).with(&lasting)
    };
    let said = match &resolved.resolution.answer {
        Answer::Found(_) if filter.takes_all() => Encoded(resolved.resolution.rendered(|answer| lasting(answer).0)),
        answer => lasting(answer),
    };
    // Parsers merge a submessage field that occurs twice (Protocol Buffers, "Last One Wins").
    let (ttl, stale, cached) = (resolved.ttl_seconds, resolved.stale, resolved.source == Source::Cache);
    let now = pb::Resolution { ttl, stale, cached, ..pb::Resolution::default() };
    said.with(&pb::Answer { resolution: Some(now), ..pb::Answer::default() })
}

/// Encodes an answer with the hops of the walk that brought it.
pub fn encode_traced(resolved: &Resolved, hops: &[Hop], asked: &str, filter: &Filter) -> Encoded {
    let resolution = Some(resolution_to_pb(resolved, hops));
    let resolution = pb::Answer { resolution, ..pb::Answer::default() };
    whole_answer(answer_to_pb(&resolved.resolution.answer, asked, filter)).with(&resolution)
}

/// Encodes the reason for a missing answer, with the hops of its walk if they were recorded.
pub fn encode_failed(none: &NoAnswer, asked: &str) -> Encoded {
    let failed = whole_answer(failed_to_pb(none, asked));
    let NoAnswer::Walk(walk) = none else { return failed };
    let Some(hops) = &walk.hops else { return failed };
    let resolution = pb::Resolution { hops: hops.iter().map(hop_to_pb).collect(), ..pb::Resolution::default() };
    failed.with(&pb::Answer { resolution: Some(resolution), ..pb::Answer::default() })
}

/// The reason for a missing answer as a message.
pub fn failed_to_pb(none: &NoAnswer, asked: &str) -> pb::answer::Outcome {
    match Outcome::from(none) {
        Outcome::NotResponsible => pb::answer::Outcome::NotResponsible(pb::NotResponsible { identifier: asked.into() }),
        outcome => pb::answer::Outcome::Failed(pb::Failed {
            identifier: asked.into(),
            code: outcome.spelling().grpc,
            reason: none.to_string(),
        }),
    }
}

fn resolution_to_pb(resolved: &Resolved, hops: &[Hop]) -> pb::Resolution {
    let answer = &resolved.resolution;
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

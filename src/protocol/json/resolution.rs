//! Resolution of a recursive node, as a part of a line: source, verification and hops.

use serde::Serialize;

use super::write::{answer_to_json, to_json};
use crate::protocol::grpc::pb::{self, answer::Outcome, resolution::Verification};

#[derive(Serialize)]
struct LineResolution<'a> {
    ttl: u32,
    stale: bool,
    verification: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    prefix: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    endpoint: &'a str,
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u32>,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    values_withheld: &'a [u32],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hops: Vec<LineHop<'a>>,
}

#[derive(Serialize)]
struct LineHop<'a> {
    prefix: &'a str,
    endpoint: &'a str,
    duration_us: u64,
    said: &'a str,
    ttl: u32,
    verification: &'static str,
    cached: bool,
}

/// Writes [`answer_to_json`], with `resolution` beside it if another node answered.
pub fn resolved_to_json(outcome: &Outcome, resolution: Option<&pb::Resolution>) -> String {
    let line = answer_to_json(outcome);
    match (line.strip_suffix('}'), resolution) {
        (Some(open), Some(resolution)) => format!("{open},\"resolution\":{}}}", to_json(&line_resolution(resolution))),
        _ => line,
    }
}

fn line_resolution(resolution: &pb::Resolution) -> LineResolution<'_> {
    LineResolution {
        ttl: resolution.ttl,
        stale: resolution.stale,
        verification: verification_text(resolution.verification()),
        prefix: &resolution.prefix,
        endpoint: &resolution.endpoint,
        cached: resolution.cached,
        lag_seconds: resolution.lag_seconds,
        values_withheld: &resolution.values_withheld,
        hops: resolution.hops.iter().map(line_hop).collect(),
    }
}

fn line_hop(hop: &pb::Hop) -> LineHop<'_> {
    LineHop {
        prefix: &hop.prefix,
        endpoint: &hop.endpoint,
        duration_us: hop.duration_us,
        said: &hop.said,
        ttl: hop.ttl,
        verification: verification_text(hop.verification()),
        cached: hop.cached,
    }
}

/// The verification in one word.
pub fn verification_text(verification: Verification) -> &'static str {
    match verification {
        Verification::None | Verification::Unspecified => "none",
        Verification::Included => "included",
        Verification::Latest => "latest",
    }
}

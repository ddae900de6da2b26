//! Records and their history: `/v1/records/{identifier}`, `/v1/history/{identifier}`.
//!
//! The identifier in the path may be percent-encoded, and in any written form; slashes need no encoding, `?`, `#` and
//! `%` do. The JSON is that of the command line with `--json`; the status is that of the table of outcomes.

use axum::{
    Extension, Router,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderName, header},
    response::Response,
    routing::get,
};
use serde::Deserialize;

use super::{
    listener::Peer,
    reply::{Problem, json},
};
use crate::{
    id::Identifier,
    protocol::{
        grpc::{HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, answer_to_pb, failed_to_pb, history_to_pb},
        json::{Point, answer_to_json, history_to_json, point},
        outcome::Outcome,
    },
    resolver::{Desk, Evidence, Filter, Follow, How, Moment, NoAnswer, Question, Reply, Resolved},
    rights::Caller,
};

/// Header with the origin of another node's answer.
const RESOLUTION: HeaderName = HeaderName::from_static("touchmark-resolution");

/// The routes.
pub(super) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/v1/records/{*identifier}", get(record))
        .route("/v1/history/{*identifier}", get(history))
        .with_state(desk)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordQuery {
    as_of: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    limit: Option<u32>,
    before: Option<u64>,
}

async fn record(
    State(desk): State<Desk>,
    peer: Option<Extension<Peer>>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<RecordQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (asked, identifier) = identifier(path)?;
    let RecordQuery { as_of } = parameters(query)?;
    let moment = as_of.map(|text| point(&text)).transpose();
    let moment = moment.map_err(|rule| Problem::invalid(format!("as_of: {rule}")))?.map(|at| match at {
        Point::Index(index) => Moment::Index(index),
        Point::Time(time_ms) => Moment::Time(time_ms),
    });
    let caller = Caller::anonymous(peer.map(|Extension(Peer(address))| address));
    let (evidence, follow) = (Evidence::None, Follow::Wanted);
    let question = Question { identifier, moment, evidence, delegated: None, caller, follow };
    match desk.ask(question).await {
        Ok(reply) => Ok(found(&reply, &asked)),
        // The failure of a walk is reported in the form of an answer.
        Err(none @ (NoAnswer::Walk(_) | NoAnswer::NoRoom(_))) => {
            Ok(json(Outcome::from(&none).spelling().http, answer_to_json(&failed_to_pb(&none, &asked))))
        }
        Err(none) => Err(Problem::without_answer(&none)),
    }
}

fn found(reply: &Reply, asked: &str) -> Response {
    let body = answer_to_json(&answer_to_pb(&reply.answer, asked, &Filter::default()));
    let mut response = json(Outcome::from(&reply.answer).spelling().http, body);
    if let How::Walked { resolved, .. } = &reply.how {
        for (name, value) in resolution_head(resolved) {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// Headers of another node's answer: its TTL, and its verification.
fn resolution_head(resolved: &Resolved) -> [(HeaderName, String); 2] {
    let answer = &resolved.resolution;
    let stale = if resolved.stale { ", stale" } else { "" };
    let withheld: Vec<String> = answer.withheld.iter().map(u32::to_string).collect();
    let withheld = if withheld.is_empty() { String::new() } else { format!(", withheld={}", withheld.join("+")) };
    let verification = answer.verification.as_str();
    let how =
        format!("verification={verification}, endpoint={}, prefix={}{withheld}{stale}", answer.endpoint, answer.prefix);
    [(header::CACHE_CONTROL, format!("max-age={}", resolved.ttl_seconds)), (RESOLUTION, how)]
}

async fn history(
    State(desk): State<Desk>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (asked, identifier) = identifier(path)?;
    let HistoryQuery { limit, before } = parameters(query)?;
    let limit = limit.unwrap_or(HISTORY_LIMIT_DEFAULT);
    if !(1..=HISTORY_LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("limit: {limit} versions in one page; ask for 1 to {HISTORY_LIMIT_MAX}")));
    }
    let page = desk.history(identifier, before, limit as usize).await;
    let page = page.map_err(|none| Problem::without_answer(&none))?;
    if page.versions.is_empty() && before.is_none() {
        return Err(Problem::not_found(format!("nothing was ever registered under `{asked}`")));
    }
    Ok(json(Outcome::Success.spelling().http, history_to_json(&history_to_pb(&page))))
}

/// The identifier of a path, as written and parsed.
fn identifier(path: Result<Path<String>, PathRejection>) -> Result<(String, Identifier), Problem> {
    let Path(asked) = path.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let identifier = Identifier::parse(&asked).map_err(|error| Problem::invalid(error.to_string()))?;
    Ok((asked, identifier))
}

/// The parameters of a query.
pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(parameters)| parameters).map_err(|rejection| Problem::invalid(rejection.body_text()))
}

//! Records and their history: `/v1/records/{identifier}`, `/v1/history/{identifier}`.
//!
//! The identifier stands in the path as it is or percent-encoded, in any written form; slashes need no encoding, `?`, `#` and `%`
//! do. The JSON is what the command line prints with `--json`; the status is that of the table of outcomes.

use std::sync::Arc;

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
    reply::{Problem, Reader, json},
};
use crate::{
    id::Identifier,
    protocol::{
        grpc::{
            HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, answer_to_pb, failed_to_pb, failure, history_to_pb,
            outcome_of_said, said_to_pb,
        },
        json::{Point, answer_to_json, history_to_json, point},
        outcome::Outcome,
    },
    resolver::{
        Filter, HistoryError, Moment, Resolver,
        recursion::{RecursionError, Resolved},
    },
    server::recursive::{Recursive, is_elsewhere, start_of},
};

/// How an answer of another node was come by.
const RESOLUTION: HeaderName = HeaderName::from_static("touchmark-resolution");

#[derive(Clone)]
struct Records {
    resolver: Arc<Resolver>,
    recursive: Option<Recursive>,
    reader: Reader,
}

/// The routes.
pub(super) fn routes(resolver: Arc<Resolver>, recursive: Option<Recursive>, reader: Reader) -> Router {
    Router::new()
        .route("/v1/records/{*identifier}", get(record))
        .route("/v1/history/{*identifier}", get(history))
        .with_state(Records { resolver, recursive, reader })
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
    State(Records { resolver, recursive, reader }): State<Records>,
    peer: Option<Extension<Peer>>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<RecordQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (asked, identifier) = identifier(path)?;
    let of = identifier.clone();
    let RecordQuery { as_of } = parameters(query)?;
    let moment = as_of.map(|text| point(&text)).transpose();
    let moment = moment.map_err(|rule| Problem::invalid(format!("as_of: {rule}")))?.map(|at| match at {
        Point::Index(index) => Moment::Index(index),
        Point::Time(time_ms) => Moment::Time(time_ms),
    });
    let prefixes = Arc::clone(resolver.prefixes());
    let read = reader.read(move || match moment {
        Some(moment) => resolver.resolve_at(&of, moment),
        None => resolver.resolve(&of).map_err(HistoryError::from),
    });
    let answer = read.await?.map_err(|error| without_answer(&error))?;
    let client = peer.map(|Extension(Peer(address))| address);
    if let Some(recursive) = recursive.filter(|recursive| moment.is_none() && recursive.allows(client))
        && is_elsewhere(&answer)
    {
        let start = || start_of(&prefixes.responsibility(identifier.key()));
        return Ok(walked(&recursive.recursor.resolve_from(&identifier, start).await, &asked));
    }
    let body = answer_to_json(&answer_to_pb(&answer, &asked, &Filter::default()));
    Ok(json(Outcome::from(&answer).spelling().http, body))
}

/// What other nodes said.
fn walked(result: &Result<Resolved, RecursionError>, asked: &str) -> Response {
    let resolved = match result {
        Ok(resolved) => resolved,
        Err(error) => return json(failure(error).spelling().http, answer_to_json(&failed_to_pb(error, asked))),
    };
    let said = &resolved.answer.said;
    let body = answer_to_json(&said_to_pb(said, asked, &Filter::default()));
    let mut response = json(outcome_of_said(said).spelling().http, body);
    for (name, value) in resolution_head(resolved) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// How an answer was come by, as heads: how long it may be kept, and what was verified.
fn resolution_head(resolved: &Resolved) -> [(HeaderName, String); 2] {
    let answer = &resolved.answer;
    let stale = if resolved.stale { ", stale" } else { "" };
    let withheld: Vec<String> = answer.withheld.iter().map(u32::to_string).collect();
    let withheld = if withheld.is_empty() { String::new() } else { format!(", withheld={}", withheld.join("+")) };
    let verification = answer.verification.as_str();
    let how =
        format!("verification={verification}, endpoint={}, prefix={}{withheld}{stale}", answer.endpoint, answer.prefix);
    [(header::CACHE_CONTROL, format!("max-age={}", resolved.ttl_seconds)), (RESOLUTION, how)]
}

async fn history(
    State(Records { resolver, reader, .. }): State<Records>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (asked, identifier) = identifier(path)?;
    let HistoryQuery { limit, before } = parameters(query)?;
    let limit = limit.unwrap_or(HISTORY_LIMIT_DEFAULT);
    if !(1..=HISTORY_LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("limit: {limit} versions in one page; ask for 1 to {HISTORY_LIMIT_MAX}")));
    }
    let read = reader.read(move || resolver.history(&identifier, before, limit as usize));
    let page = read.await?.map_err(|error| without_answer(&error))?;
    if page.versions.is_empty() && before.is_none() {
        return Err(Problem::not_found(format!("nothing was ever registered under `{asked}`")));
    }
    Ok(json(Outcome::Success.spelling().http, history_to_json(&history_to_pb(&page))))
}

/// The identifier of a path, and how it was written.
fn identifier(path: Result<Path<String>, PathRejection>) -> Result<(String, Identifier), Problem> {
    let Path(asked) = path.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let identifier = Identifier::parse(&asked).map_err(|error| Problem::invalid(error.to_string()))?;
    Ok((asked, identifier))
}

/// The parameters behind the `?`.
pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(parameters)| parameters).map_err(|rejection| Problem::invalid(rejection.body_text()))
}

fn without_answer(error: &HistoryError) -> Problem {
    match error {
        HistoryError::ToCome { .. } => Problem::invalid(error.to_string()),
        HistoryError::Read(error) => Problem::unreadable(error),
    }
}

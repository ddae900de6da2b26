//! The routes of a witness (C2SP tlog-witness): `POST /add-checkpoint`, `GET /<hex SHA-256 of the origin>/checkpoint`.
//!
//! Bodies are bounded in size and time. The number of requests that are judged at once is bounded, too, as each waits
//! for a disk. Clients are not authenticated: a checkpoint that its log did not sign is refused.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tokio::sync::Semaphore;

use crate::{
    tlog::witness::{REQUEST_BYTES_MAX, Refusal, SIZE_CONTENT_TYPE},
    witness::Witness,
};

/// Timeout of a request, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of requests that are judged at once; more get 503.
const JUDGED_AT_ONCE_MAX: usize = 64;

/// Clock, in seconds since 1970 UTC.
pub type Seconds = Arc<dyn Fn() -> u64 + Send + Sync>;

#[derive(Clone)]
struct Shared {
    witness: Arc<Witness>,
    clock: Seconds,
    room: Arc<Semaphore>,
}

/// The routes of a witness.
pub fn routes(witness: Arc<Witness>, clock: Seconds) -> Router {
    let shared = Shared { witness, clock, room: Arc::new(Semaphore::new(JUDGED_AT_ONCE_MAX)) };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(latest))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(shared)
}

/// Ends a request after [`REQUEST_TIMEOUT`]; a write that it has begun is completed.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

async fn add_checkpoint(State(shared): State<Shared>, body: Bytes) -> Response {
    let Shared { witness, clock, room } = shared;
    let Ok(permit) = room.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n").into_response();
    };
    let judged = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        witness.add_checkpoint(&body, clock())
    });
    match judged.await {
        Ok(Ok(Ok(line))) => line.into_response(),
        Ok(Ok(Err(refusal))) => refused(refusal),
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

fn refused(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = format!("{refusal}\n");
    match refusal {
        Refusal::Conflict { .. } => (status, [(CONTENT_TYPE, SIZE_CONTENT_TYPE)], body).into_response(),
        _ => (status, body).into_response(),
    }
}

async fn latest(State(shared): State<Shared>, Path(origin): Path<String>) -> Response {
    match tokio::task::spawn_blocking(move || shared.witness.latest(&origin)).await {
        Ok(Some(note)) => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "nothing was cosigned for this log\n").into_response(),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(reason: &str) -> Response {
    tracing::error!(reason, "a witness cannot read or write what it remembers; nothing was promised");
    (StatusCode::INTERNAL_SERVER_ERROR, "the witness cannot write what it is to promise\n").into_response()
}

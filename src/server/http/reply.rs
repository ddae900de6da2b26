//! Responses: texts, JSON, and problems (RFC 9457); and reads of files.

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    protocol::{json::problem_to_json, outcome::Outcome},
    resolver::{NoAnswer, ReadPool, ReadShare},
};

/// Value of Retry-After, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// A problem response (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: u16,
    title: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into() }
    }

    /// Problem of an outcome, as the table of outcomes spells it.
    pub(super) fn of(outcome: Outcome, detail: impl Into<String>) -> Self {
        let spelling = outcome.spelling();
        Self::new(spelling.http, spelling.word, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::of(Outcome::NotFound, detail)
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::of(Outcome::Invalid, detail)
    }

    /// Problem of a question without an answer.
    pub(super) fn without_answer(none: &NoAnswer) -> Self {
        match none {
            NoAnswer::Read(error) => Self::unreadable(error),
            none => Self::of(Outcome::from(none), none.to_string()),
        }
    }

    /// Problem of a failed read; logs the error.
    pub(super) fn unreadable(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request over HTTP could not be answered; check the disk, then run `touchmark fsck`");
        Self::of(Outcome::Unavailable, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, title, detail } = self;
        let body = problem_to_json(title, status, &detail);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json"), NOT_KEPT], body).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}

/// Cache control of responses that change: caches must revalidate.
pub(super) const NOT_KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

/// A JSON response.
pub(super) fn json(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json"), NOT_KEPT], body).into_response()
}

/// Runs a read of files in the desk's pool.
///
/// # Errors
///
/// A problem if the pool is full, or the node is stopping.
pub(super) async fn read<T: Send + 'static>(
    reads: &ReadPool,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    reads.run(ReadShare::Files, read).await.map_err(|busy| Problem::without_answer(&busy.into()))
}

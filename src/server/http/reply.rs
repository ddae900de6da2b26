//! What goes back: texts, JSON, and what is wrong (RFC 9457); and reads that may wait for a disk.

use std::sync::Arc;

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use crate::protocol::{json::problem_to_json, outcome::Outcome};

/// The most reads at once that may wait for a disk; more wait for one of them.
const READS_MAX: usize = 8;
/// After how many seconds to ask again, where the node says so.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request has no answer.
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

    /// Spells an outcome as the one table does.
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

    /// A file could not be read.
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

/// Said of what changes: a cache asks again before it gives it out.
pub(super) const NOT_KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

/// A JSON document.
pub(super) fn json(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json"), NOT_KEPT], body).into_response()
}

/// Reads on the blocking pool, [`READS_MAX`] at a time.
#[derive(Clone, Debug)]
pub(super) struct Reader(Arc<Semaphore>);

impl Default for Reader {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READS_MAX)))
    }
}

impl Reader {
    /// What a read gives that may wait for a disk.
    ///
    /// # Errors
    ///
    /// A problem when the node is ending.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let ending = || Problem::of(Outcome::Unavailable, "the node is stopping");
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(|_| ending())?;
        let read = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(place);
            read
        });
        read.await.map_err(|_| ending())
    }
}

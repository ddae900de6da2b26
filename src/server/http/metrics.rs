//! `/metrics` in OpenMetrics text, as Prometheus reads it, and counts of HTTP responses by status.
//!
//! Each source counts for itself, and is asked at each scrape ([`MetricList`]).

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::reply::{NOT_KEPT, Problem, read};
use crate::{
    protocol::outcome::Outcome,
    resolver::ReadPool,
    server::metrics::{Metered, MetricList, OPEN_METRICS, Out},
};

/// HTTP status codes that are counted.
const STATUS_CODES: std::ops::Range<u16> = 100..600;

/// Counts of HTTP responses by status.
#[derive(Debug)]
pub(super) struct HttpCounts(Vec<AtomicU64>);

impl Default for HttpCounts {
    fn default() -> Self {
        Self(STATUS_CODES.map(|_| AtomicU64::default()).collect())
    }
}

impl HttpCounts {
    pub(super) fn count(&self, status: u16) {
        let place = status.checked_sub(STATUS_CODES.start).map(usize::from);
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts without the zeros.
    fn counted(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUS_CODES.zip(self.0.iter().map(|count| count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }
}

impl Metered for HttpCounts {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        let codes: Vec<(String, u64)> = self.counted().map(|(code, count)| (code.to_string(), count)).collect();
        let codes = codes.iter().map(|(code, count)| ([("code", code.as_str())], *count));
        out.counters("touchmark_http_responses", "Responses over HTTP", codes)
    }
}

#[derive(Clone)]
struct Metrics {
    list: MetricList,
    reads: ReadPool,
}

/// The routes.
pub(super) fn routes(list: MetricList, reads: ReadPool) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Metrics { list, reads })
}

async fn metrics(State(Metrics { list, reads }): State<Metrics>) -> Result<Response, Problem> {
    // Some sources read a file.
    let text = read(&reads, move || list.text()).await?;
    let text = text.map_err(|error| Problem::of(Outcome::Unavailable, format!("no metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS), NOT_KEPT], text).into_response())
}

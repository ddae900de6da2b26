//! `/healthz`: the process answers. `/readyz`: the node takes writes, and the index follows the ledger.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::reply::NOT_KEPT;
use crate::registry::stats::Stats;

/// The routes.
pub(super) fn routes(stats: Arc<Stats>) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).with_state(stats)
}

/// 200 with `ok`, or 503 with the reason.
async fn ready(State(stats): State<Arc<Stats>>) -> Response {
    let (status, text) = match stats.ready() {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    (status, [NOT_KEPT], text).into_response()
}

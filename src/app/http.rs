//! The HTTP listener of a node: what it answers from, and where.

use std::sync::Arc;

use super::AppError;
use crate::{
    config::Config,
    ledger::Ledger,
    server::http::{self, HttpLimits, HttpParts, HttpServer, PublishedCheckpoint},
};

/// Starts the listener, where one is wanted.
///
/// # Errors
///
/// [`AppError::Listen`] when the address cannot be bound.
pub(super) async fn listen(config: &Config, parts: HttpParts) -> Result<Option<HttpServer>, AppError> {
    let Some(address) = config.http else { return Ok(None) };
    let started = HttpServer::start(address, http::routes(parts), HttpLimits::default()).await;
    started.map(Some).map_err(|source| AppError::Listen { address, what: "HTTP", source })
}

/// Hands out the ledger's newest checkpoint.
pub(super) fn newest_checkpoint(ledger: &Arc<Ledger>) -> PublishedCheckpoint {
    let ledger = Arc::clone(ledger);
    PublishedCheckpoint(Arc::new(move || ledger.checkpoint().note))
}

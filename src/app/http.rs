//! The HTTP listener of a node: what it answers from, and where.

use super::AppError;
use crate::{
    config::Config,
    server::http::{self, HttpLimits, HttpParts, HttpServer},
};

/// Starts the listener, where one is wanted.
///
/// # Errors
///
/// [`AppError::Listen`] when the address cannot be bound.
pub(super) async fn listen(config: &Config, parts: HttpParts) -> Result<Option<HttpServer>, AppError> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let started = HttpServer::start(address, http::routes(parts), HttpLimits::default()).await;
    started.map(Some).map_err(|source| AppError::Listen { address, what: "HTTP", source })
}

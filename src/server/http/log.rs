//! The ledger as a C2SP tlog-tiles log: `/log/checkpoint`, `/log/tile/…`.
//!
//! Tiles never change, and neither do partial ones: both can be cached for good. The checkpoint is the newest published
//! one. A bundle of entries of maximum length is 16 MiB, and there are as many at once as connections; most have some
//! 100 KiB.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::reply::{NOT_KEPT, Problem, read};
use crate::{
    ledger::{Ledger, LedgerError, Publication},
    protocol::outcome::Outcome,
    resolver::ReadPool,
    tlog::tiles::TilePath,
};

/// Cache control of a tile: a year, the most that caches heed, and without revalidation.
const KEPT: &str = "public, max-age=31536000, immutable";

#[derive(Clone)]
struct Log {
    ledger: Arc<Ledger>,
    reads: ReadPool,
}

/// The routes.
pub(super) fn routes(ledger: Arc<Ledger>, publication: Arc<Publication>, reads: ReadPool) -> Router {
    let tiles = Router::new().route("/log/tile/{*path}", get(tile)).with_state(Log { ledger, reads });
    tiles.merge(Router::new().route("/log/checkpoint", get(newest)).with_state(publication))
}

async fn newest(State(publication): State<Arc<Publication>>) -> Result<Response, Problem> {
    let newest = publication.newest();
    match newest.is_empty() {
        false => Ok(note(&newest)),
        true => Err(Problem::of(Outcome::Unavailable, "this mirror has nothing from its primary yet")),
    }
}

async fn tile(State(Log { ledger, reads }): State<Log>, Path(path): Path<String>) -> Result<Response, Problem> {
    let Some(asked) = TilePath::parse(&path) else {
        return Err(Problem::not_found(format!("`{path}` is not the path of a tile (C2SP tlog-tiles)")));
    };
    let read = read(&reads, move || match asked {
        TilePath::Hashes { level, tile } => ledger.tile(level, tile.index(), tile.width()),
        TilePath::Entries(tile) => ledger.bundle(tile.index(), tile.width()),
    });
    tile_response(asked, read.await?)
}

/// A checkpoint as a response.
pub(super) fn note(text: &str) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), NOT_KEPT], text.to_owned()).into_response()
}

/// A tile as a response.
pub(super) fn tile_response(asked: TilePath, read: Result<Option<Vec<u8>>, LedgerError>) -> Result<Response, Problem> {
    match read {
        Ok(Some(bytes)) => {
            Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, KEPT)], bytes)
                .into_response())
        }
        Err(error @ LedgerError::NotHeld { .. }) => Err(Problem::not_found(error.to_string())),
        Ok(None) => Err(Problem::not_found(format!("the newest checkpoint does not cover the tile `{asked}`"))),
        Err(error) => Err(Problem::unreadable(&error)),
    }
}

//! The verifiable index over HTTP, in the form of VIndex, and its output log, in that of C2SP tlog-tiles.
//!
//! ```text
//! GET /vindex/lookup/<64 hexadecimal digits>     200 JSON (protocol::json), 400, 413 list too long, 503 catching up
//! GET /vindex/checkpoint                         the output log's newest checkpoint
//! GET /vindex/tile/<L>/<N>[.p/<W>]               hashes
//! GET /vindex/tile/entries/<N>[.p/<W>]           leaves: length (16 bits, big-endian), leaf
//! ```
//!
//! Tiles beyond the newest signed checkpoint are 404. Reads that may wait for a disk run in the desk's read pool.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use data_encoding::HEXLOWER_PERMISSIVE;

use super::{
    log::{note, tile_response},
    reply::{Problem, json, read},
};
use crate::{
    protocol::{json::lookup_to_json, outcome::Outcome},
    resolver::Desk,
    tlog::tiles::TilePath,
    vindex::{Lookups, NoLookup},
};

#[derive(Clone)]
struct Index {
    desk: Desk,
    lookups: Lookups,
}

/// Routes of the verifiable index; none if the node has none.
pub(super) fn routes(desk: Desk) -> Router {
    let Some(lookups) = desk.lookups().cloned() else { return Router::new() };
    Router::new()
        .route("/vindex/lookup/{key}", get(lookup))
        .route("/vindex/checkpoint", get(checkpoint))
        .route("/vindex/tile/{*path}", get(tile))
        .with_state(Index { desk, lookups })
}

async fn lookup(State(Index { desk, .. }): State<Index>, Path(key): Path<String>) -> Result<Response, Problem> {
    let decoded = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok().and_then(|key| key.try_into().ok());
    let key = decoded.ok_or_else(|| {
        Problem::invalid("a key is 64 hexadecimal digits: SHA-256 of id:, out: or in: and the identifier")
    })?;
    let found = desk.look_up(key).await.map_err(|none| Problem::without_answer(&none))?;
    match found.ok_or_else(|| Problem::not_found("this node has no verifiable index"))? {
        Ok(lookup) => Ok(json(200, lookup_to_json(&lookup))),
        Err(refused @ NoLookup::TooMany { .. }) => Err(Problem::new(413, "list too long", refused.to_string())),
        Err(refused) => Err(Problem::of(Outcome::Unavailable, refused.to_string())),
    }
}

async fn checkpoint(State(Index { lookups, .. }): State<Index>) -> Result<Response, Problem> {
    let last = lookups.output_log().and_then(|log| log.last());
    let last = last.ok_or_else(|| Problem::of(Outcome::Unavailable, "the output log has no checkpoint yet"))?;
    Ok(note(&last.checkpoint.note))
}

async fn tile(State(Index { desk, lookups }): State<Index>, Path(path): Path<String>) -> Result<Response, Problem> {
    let asked = TilePath::parse(&path);
    let (Some(asked), Some(log)) = (asked, lookups.output_log().map(Arc::clone)) else {
        return Err(Problem::not_found(format!("`{path}` is not the path of a tile (C2SP tlog-tiles)")));
    };
    let tile = read(desk.reads(), move || match asked {
        TilePath::Hashes { level, tile } => log.tile(level, tile.index(), tile.width()),
        TilePath::Entries(tile) => log.bundle(tile.index(), tile.width()),
    });
    tile_response(asked, tile.await?)
}

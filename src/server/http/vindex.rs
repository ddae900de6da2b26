//! The verifiable index over HTTP, as VIndex has it, and its output log, as C2SP tlog-tiles has it.
//!
//! ```text
//! GET /vindex/lookup/<64 hexadecimal digits>     200 JSON (protocol::json), 400, 413 list too long, 503 catching up
//! GET /vindex/checkpoint                         the output log's newest checkpoint
//! GET /vindex/tile/<L>/<N>[.p/<W>]               hashes
//! GET /vindex/tile/entries/<N>[.p/<W>]           leaves: length (16 bits, big-endian), leaf
//! ```
//!
//! Tiles wider than what was signed for are 404. What may wait for a disk runs on the blocking pool.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::{
    ledger::{LeafLog, LedgerError},
    protocol::json::lookup_to_json,
    vindex::{Lookups, NoLookup},
};

/// Hashes or entries of a full tile.
const TILE_WIDTH: u64 = 256;
/// The highest level of a tile (C2SP tlog-tiles).
const LEVEL_MAX: u8 = 63;

/// The routes of the verifiable index; none when the node has none.
pub fn routes(lookups: Option<Lookups>) -> Router {
    let Some(lookups) = lookups else { return Router::new() };
    Router::new()
        .route("/vindex/lookup/{key}", get(lookup))
        .route("/vindex/checkpoint", get(checkpoint))
        .route("/vindex/tile/{*tile}", get(tile))
        .with_state(lookups)
}

async fn lookup(State(lookups): State<Lookups>, Path(key): Path<String>) -> Response {
    let decoded = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok().and_then(|key| key.try_into().ok());
    let Some(key) = decoded else {
        return (
            StatusCode::BAD_REQUEST,
            "a key is 64 hexadecimal digits: SHA-256 of id:, out: or in: and the identifier\n",
        )
            .into_response();
    };
    match lookups.lookup(&key) {
        Ok(lookup) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, lookup_to_json(&lookup)).into_response()
        }
        Err(refused) => {
            let status = match refused {
                NoLookup::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                NoLookup::CatchingUp { .. } | NoLookup::Refusing { .. } => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, format!("{refused}\n")).into_response()
        }
    }
}

async fn checkpoint(State(lookups): State<Lookups>) -> Response {
    match lookups.output_log().and_then(|log| log.last()) {
        Some(last) => {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
            (headers, last.checkpoint.note.to_string()).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the output log has no checkpoint yet\n").into_response(),
    }
}

async fn tile(State(lookups): State<Lookups>, Path(path): Path<String>) -> Response {
    let (Some(tile), Some(log)) = (Tile::parse(&path), lookups.output_log()) else {
        return (StatusCode::NOT_FOUND, "no such tile\n").into_response();
    };
    let log = Arc::clone(log);
    match tokio::task::spawn_blocking(move || tile.read(&log)).await {
        Ok(Ok(Some(bytes))) => {
            let immutable = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
            ([(header::CONTENT_TYPE, "application/octet-stream"), immutable], Body::from(bytes)).into_response()
        }
        Ok(Ok(None)) => (StatusCode::NOT_FOUND, "no such tile\n").into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "a tile of the output log could not be read");
            (StatusCode::INTERNAL_SERVER_ERROR, "the tile could not be read\n").into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the tile could not be read\n").into_response(),
    }
}

/// A part of the output log that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// The level of hashes; `None` for entries.
    level: Option<u8>,
    number: u64,
    /// 1 to 256.
    width: u64,
}

impl Tile {
    /// Reads `<L>/<N>` or `entries/<N>`, with `.p/<W>` behind it or without; N in groups of three digits, all but the last
    /// with an `x` before it.
    fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = match level {
            "entries" => None,
            level => {
                Some(decimal(level).and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= LEVEL_MAX)?)
            }
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, decimal(width).filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (rest, TILE_WIDTH),
        };
        let (mut groups, mut value) = (number.split('/').peekable(), 0_u64);
        let is_long = groups.clone().count() > 1;
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
            if digits.len() != 3
                || !digits.bytes().all(|digit| digit.is_ascii_digit())
                || (is_long && value == 0 && group == "x000")
            {
                return None;
            }
            value = value.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        Some(Self { level, number: value, width })
    }

    /// The bytes of the tile; `None` when it is not covered by what was signed for.
    fn read(self, log: &LeafLog) -> Result<Option<Vec<u8>>, LedgerError> {
        let level = self.level.unwrap_or(0);
        let have = log.size().checked_shr(8 * u32::from(level)).unwrap_or(0);
        let Some(start) = self
            .number
            .checked_mul(TILE_WIDTH)
            .filter(|start| start.checked_add(self.width).is_some_and(|end| end <= have))
        else {
            return Ok(None);
        };
        if self.level.is_some() {
            let hashes = log.hashes(usize::from(level), start, self.width as usize)?;
            return Ok(Some(hashes.iter().flat_map(|hash| hash.0).collect()));
        }
        let mut bytes = Vec::new();
        for index in start..start + self.width {
            let leaf = log.leaf(index)?;
            // A leaf is at most 65,535 bytes long.
            bytes.extend_from_slice(&(leaf.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&leaf);
        }
        Ok(Some(bytes))
    }
}

/// A decimal number without leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|digit| digit.is_ascii_digit()));
    text.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_tiles() {
        let tile = |level, number, width| Some(Tile { level, number, width });
        let table = [
            ("0/000", tile(Some(0), 0, 256)),
            ("63/x001/x234/067", tile(Some(63), 1_234_067, 256)),
            ("entries/012.p/7", tile(None, 12, 7)),
            ("entries/x001/000.p/255", tile(None, 1_000, 255)),
            ("64/000", None),
            ("00/000", None),
            ("0/0", None),
            ("0/x000/001", None),
            ("0/001/001", None),
            ("0/x001", None),
            ("0/000.p/0", None),
            ("0/000.p/256", None),
            ("0/000.p/01", None),
            ("0/+01", None),
            ("data/000", None),
            ("0", None),
            ("0/x999/x999/x999/x999/x999/x999/999", None),
        ];
        for (path, expected) in table {
            assert_eq!(Tile::parse(path), expected, "{path}");
        }
    }
}

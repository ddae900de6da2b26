//! The bootstrap registry: `/bootstrap.json`, generated from the delegations.
//!
//! Clients cache it, as its head allows, and do not fetch it for every question (IIIDAP bootstrap; RFC 9224 section 6).
//! The document is written once for each change of a prefix, and has an ETag, so that a client with the current one
//! gets 304.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::reply::{Problem, read};
use crate::{
    protocol::json::bootstrap_to_json,
    record::Delegation,
    resolver::Desk,
    store::{PrefixVersion, Prefixes},
};

/// Number of prefixes that are read at once.
const PAGE_PREFIXES: usize = 1_000;

#[derive(Clone)]
struct Bootstrap {
    desk: Desk,
    written: Arc<Mutex<Option<Written>>>,
}

/// The document as last written.
#[derive(Clone)]
struct Written {
    generation: u64,
    body: Bytes,
    /// ETag of the body; stays the same over a restart.
    tag: String,
    /// Minimum TTL of the delegations, in seconds.
    keep_seconds: u32,
}

/// The routes.
pub(super) fn routes(desk: Desk) -> Router {
    Router::new().route("/bootstrap.json", get(document)).with_state(Bootstrap { desk, written: Arc::default() })
}

async fn document(State(bootstrap): State<Bootstrap>, headers: HeaderMap) -> Result<Response, Problem> {
    let Bootstrap { desk, written } = bootstrap;
    let reads = desk.reads().clone();
    let written = read(&reads, move || newest(&desk, &written)).await?;
    let tag = written.tag;
    let head = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, format!("public, max-age={}", written.keep_seconds)),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*".into()),
    ];
    let has_it = |tags: &str| tags.split(',').any(|given| matches!(given.trim(), "*") || given.trim() == tag);
    if headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(has_it) {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    Ok((head, [(header::CONTENT_TYPE, "application/json")], written.body).into_response())
}

/// The current document.
fn newest(desk: &Desk, written: &Mutex<Option<Written>>) -> Written {
    let prefixes = desk.prefixes();
    // Concurrent requests wait here, and find the document that the first one wrote.
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = prefixes.generation();
    match &*written {
        Some(same) if same.generation == generation => same.clone(),
        _ => {
            let fresh = write(desk, prefixes, generation);
            *written = Some(fresh.clone());
            fresh
        }
    }
}

fn write(desk: &Desk, prefixes: &Prefixes, generation: u64) -> Written {
    let mut all: Vec<Arc<PrefixVersion>> = Vec::new();
    loop {
        let page = prefixes.list(all.last().map(|last| &last.prefix), PAGE_PREFIXES);
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let publication_ms = all.iter().map(|version| version.version.time_ms).max().unwrap_or(0);
    let ttls = all.iter().filter_map(|version| version.delegation()).map(Delegation::ttl_seconds);
    let keep_seconds = ttls.min().unwrap_or(Delegation::TTL_SECONDS_DEFAULT);
    let delegated = all.iter().map(|version| &**version);
    let body = bootstrap_to_json(desk.origin(), publication_ms, delegated);
    let hash = Sha256::digest(&body);
    let tag = format!("\"{}\"", HEXLOWER.encode(&hash[..16]));
    Written { generation, body: body.into(), tag, keep_seconds }
}

//! The bootstrap registry: `/bootstrap.json`, made from the delegations.
//!
//! Clients keep it, as its head says, and do not fetch it for every question (IIIDAP bootstrap; RFC 9224 section 6). It is written once
//! for each change of a prefix, and has a tag, so that whoever has it already is told so.

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

/// Prefixes that are read at once.
const PAGE_PREFIXES: usize = 1_000;

#[derive(Clone)]
struct Bootstrap {
    desk: Desk,
    written: Arc<Mutex<Option<Written>>>,
}

/// The document as it was written last.
#[derive(Clone)]
struct Written {
    generation: u64,
    body: Bytes,
    /// Of the body: it stays the same over a restart.
    tag: String,
    /// The shortest time for which one of its delegations may be kept, in seconds.
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

/// The document as it stands now.
fn newest(desk: &Desk, written: &Mutex<Option<Written>>) -> Written {
    let prefixes = desk.prefixes();
    // Whoever comes second waits here, and finds what the first one wrote.
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

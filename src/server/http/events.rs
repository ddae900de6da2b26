//! The feed of changes as server-sent events (WHATWG HTML section 9.2): `/events?from=INDEX&prefix=…`.
//!
//! ```text
//! id: 4711                      the ledger index
//! event: update                 create, update, retire, event, erase; delegate, home, revoke
//! data: {"change":"update",…}   as `touchmark history --json` prints it, without differences
//! ```
//!
//! A browser that loses the connection reconnects with `Last-Event-ID`, and gets the entries after that index; the
//! header takes precedence over `from`. Without either the feed begins with the next entry. After 15 seconds without an
//! event, and after many entries outside the prefix, an `id` alone reports the position of the feed. A client that does
//! not read its events is cut off ([`super::HttpLimits`]).

use std::{convert::Infallible, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use super::{
    listener::Peer,
    records::parameters,
    reply::{NOT_KEPT, Problem},
};
use crate::{
    id::Subtree,
    protocol::{
        grpc::{prefix_to_pb, shown_to_pb},
        json::{change_to_json, change_word, prefix_to_json, prefix_word},
        outcome::Outcome,
    },
    resolver::feed::{Fed, Feed, FeedError, Feeds},
    server::admission::{Share, Shares},
};

const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Clone)]
struct Events {
    feeds: Arc<Feeds>,
    readers: Arc<Shares>,
}

/// The routes.
pub(super) fn routes(feeds: Arc<Feeds>, readers: Arc<Shares>) -> Router {
    Router::new().route("/events", get(events)).with_state(Events { feeds, readers })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    from: Option<u64>,
    #[serde(default)]
    prefix: String,
}

async fn events(
    State(Events { feeds, readers }): State<Events>,
    peer: Option<Extension<Peer>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let EventsQuery { from, prefix } = parameters(query)?;
    let from = match headers.get(LAST_EVENT_ID) {
        Some(last) => Some(behind(last.as_bytes())?),
        None => from,
    };
    let subtree = Subtree::parse(&prefix).map_err(|error| Problem::invalid(format!("prefix: {error}")))?;
    let reader = readers.enter(peer.map(|Extension(Peer(address))| address));
    let reader = reader.map_err(|error| Problem::of(Outcome::TryLater, error.to_string()))?;
    let feed = feeds.begin(from, subtree).map_err(|error| refused(&error))?;
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        NOT_KEPT,
        // Else proxies buffer responses.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((head, Body::from_stream(stream::unfold(Some((feed, reader)), next))).into_response())
}

/// Index of the entry after the last one that the client has.
fn behind(last: &[u8]) -> Result<u64, Problem> {
    let last = std::str::from_utf8(last).ok().and_then(|last| last.trim().parse::<u64>().ok());
    let next = last.and_then(|last| last.checked_add(1));
    next.ok_or_else(|| Problem::invalid("Last-Event-ID is not the ledger index of an event"))
}

fn refused(error: &FeedError) -> Problem {
    let outcome = match error {
        FeedError::TooMany => Outcome::TryLater,
        FeedError::ToCome { .. } => Outcome::Invalid,
        FeedError::Closed { .. } | FeedError::Read(_) => Outcome::Unavailable,
    };
    Problem::of(outcome, error.to_string())
}

/// The next event of a feed, while there is one.
async fn next(feed: Option<(Feed, Share)>) -> Option<(Result<Bytes, Infallible>, Option<(Feed, Share)>)> {
    let (mut feed, reader) = feed?;
    match feed.next().await {
        Ok(fed) => Some((Ok(event(&fed).into()), Some((feed, reader)))),
        Err(FeedError::Read(error)) => {
            tracing::error!(%error, "a feed ended, because the ledger could not be read");
            None
        }
        Err(error) => Some((Ok(format!(": {error}\n\n").into()), None)),
    }
}

fn event(fed: &Fed) -> String {
    match fed {
        Fed::Change(shown) => {
            let change = shown_to_pb(shown);
            let index = shown.past.record.version.ledger_index;
            format!("id: {index}\nevent: {}\ndata: {}\n\n", change_word(&change), change_to_json(&change))
        }
        Fed::Prefix(version) => {
            let state = prefix_to_pb(version);
            let index = version.version.ledger_index;
            format!("id: {index}\nevent: {}\ndata: {}\n\n", prefix_word(&state), prefix_to_json(&state))
        }
        Fed::Upto(0) => ": nothing yet\n\n".into(),
        Fed::Upto(next) => format!(": nothing else\nid: {}\n\n", next - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_client_left_off() {
        let table =
            [("0", Some(1)), (" 41 ", Some(42)), ("", None), ("-1", None), ("x", None), ("18446744073709551615", None)];
        for (last, expected) in table {
            assert_eq!(behind(last.as_bytes()).ok(), expected, "{last}");
        }
        assert_eq!(behind(b"\xff").ok(), None);
    }

    #[test]
    fn how_far_it_has_come() {
        assert_eq!(event(&Fed::Upto(0)), ": nothing yet\n\n");
        assert_eq!(event(&Fed::Upto(7)), ": nothing else\nid: 6\n\n");
    }
}

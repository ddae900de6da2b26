//! The ledger for mirrors, with values and salts: `/log/replica?from=INDEX[&only=PREFIX]…` (records:
//! `protocol::replica`).
//!
//! The stream is confidential: it has values that nobody may read without a permit, and the salts of all commitments.
//! Only clients of the configured networks get it. A mirror learns of a batch as soon as its receipts go out; a slow
//! mirror is read for slowly, a page at a time, and delays nobody. Checkpoints for past pages are signed on the fly:
//! each is of a tree that was signed before.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderName, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    listener::Peer,
    reply::{NOT_KEPT, Problem, read},
};
use crate::{
    entry::{EntryKind, EntrySubject, without_place},
    follow::{self, Follower, Span, Taken, Watch},
    id::Subtree,
    ledger::{EntryBytes, Ledger, LedgerError, PREFIXES_MAX},
    network::Network,
    protocol::{
        outcome::Outcome,
        replica::{ALIVE_INTERVAL_MS, BATCH_ENTRIES_MAX, PAGE_BYTES_MAX, Record},
    },
    registry::Clock,
    resolver::{ReadPool, feed::Feeds},
    rights,
};

/// Maximum number of mirrors that are served at once.
const REPLICAS_MAX: usize = 16;
/// Maximum length of a query, in bytes.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// Source of the stream for mirrors.
pub enum Replicas {
    /// This node serves clients of these networks; the clock is for signs of life.
    Served(Vec<Network>, Clock),
    /// The primary at this address: this node is a mirror itself.
    At(String),
}

#[derive(Clone)]
struct Served {
    ledger: Arc<Ledger>,
    feeds: Arc<Feeds>,
    reads: ReadPool,
    replicas: Arc<Replicas>,
    places: Arc<Semaphore>,
}

/// The routes.
pub(super) fn routes(ledger: Arc<Ledger>, feeds: Arc<Feeds>, reads: ReadPool, replicas: Replicas) -> Router {
    let (replicas, places) = (Arc::new(replicas), Arc::new(Semaphore::new(REPLICAS_MAX)));
    Router::new().route("/log/replica", get(replica)).with_state(Served { ledger, feeds, reads, replicas, places })
}

async fn replica(
    State(served): State<Served>,
    peer: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (networks, clock) = match &*served.replicas {
        Replicas::Served(networks, clock) => (networks, Arc::clone(clock)),
        Replicas::At(primary) => {
            return Err(Problem::of(
                Outcome::Delegated,
                format!("this node is a mirror of {primary}; mirrors are served there"),
            ));
        }
    };
    let address = peer.map(|Extension(Peer(address))| address);
    rights::may_mirror(networks, address).map_err(|denied| Problem::of(Outcome::Denied, denied.reason))?;
    let asked = Asked::parse(query.as_deref().unwrap_or_default()).map_err(Problem::invalid)?;
    let place = Arc::clone(&served.places).try_acquire_owned().map_err(|_| {
        Problem::of(Outcome::TryLater, format!("{REPLICAS_MAX} mirrors are served, which is the limit"))
    })?;
    let watch = served.feeds.watch();
    let entries = watch.entries();
    if asked.from > entries {
        return Err(Problem::new(
            409,
            "still to come",
            format!("ledger index {} is still to come; the ledger has {entries} entries", asked.from),
        ));
    }
    let stream = Stream {
        ledger: served.ledger,
        reads: served.reads,
        watch,
        clock,
        next: asked.from,
        only: asked.only,
        is_new: true,
        _place: place,
    };
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        NOT_KEPT,
        // Else proxies buffer responses.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((head, Body::from_stream(stream::unfold(stream, Stream::next))).into_response())
}

/// Query of a mirror.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    from: u64,
    only: Vec<Subtree>,
}

impl Asked {
    /// Reads a query: `from` once, `only` any number of times.
    fn parse(query: &str) -> Result<Self, String> {
        if query.len() > QUERY_BYTES_MAX {
            return Err(format!("{} bytes of query; the limit is {QUERY_BYTES_MAX}", query.len()));
        }
        let (mut from, mut only) = (None, Vec::new());
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = decoded(value).ok_or_else(|| format!("{name}: it is not percent-encoded UTF-8"))?;
            match name {
                "from" if from.is_none() => {
                    let index = value.parse().map_err(|_| format!("from: `{value}` is not a ledger index"))?;
                    from = Some(index);
                }
                "only" if only.len() < PREFIXES_MAX => {
                    only.push(Subtree::parse(&value).map_err(|error| format!("only: {error}"))?);
                }
                "only" => return Err(format!("only: more than {PREFIXES_MAX} prefixes")),
                _ => return Err(format!("`{name}` is not asked here: give from once, and only")),
            }
        }
        Ok(Self { from: from.ok_or("from: give the ledger index to begin with")?, only })
    }
}

/// Decodes the percent-encoding of a query's value.
fn decoded(value: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.bytes());
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?);
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Stream of one mirror.
struct Stream {
    ledger: Arc<Ledger>,
    reads: ReadPool,
    watch: Watch,
    clock: Clock,
    next: u64,
    only: Vec<Subtree>,
    /// True until something was sent.
    is_new: bool,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// The next piece of the stream; `None` if the node stops or its ledger cannot be read.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.is_new {
            self.is_new = false;
            let (ledger, size) = (Arc::clone(&self.ledger), self.next);
            let read = read(&self.reads, move || beginning(&ledger, size)).await.ok()?;
            let mut piece = self.alive();
            piece.extend(self.told(read)?);
            return Some((Ok(piece.into()), self));
        }
        loop {
            let entries = self.watch.entries();
            if self.next < entries {
                let (ledger, only, next) = (Arc::clone(&self.ledger), self.only.clone(), self.next);
                let mut piece = self.alive();
                let read = read(&self.reads, move || page(&ledger, &only, next, entries)).await.ok()?;
                let (records, behind) = self.told(read)?;
                piece.extend(records);
                self.next = behind;
                return Some((Ok(piece.into()), self));
            }
            let wait = Duration::from_millis(ALIVE_INTERVAL_MS);
            match tokio::time::timeout(wait, self.watch.changed()).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(_) => return Some((Ok(self.alive().into()), self)),
            }
        }
    }

    fn alive(&self) -> Vec<u8> {
        let mut piece = Vec::new();
        // The size of the ledger, not the limit of followers: the entries between may lack values that an erasure is
        // overwriting just now.
        Record::Alive { size: self.ledger.size(), time_ms: (self.clock)() }.put(&mut piece);
        piece
    }

    fn told<T>(&self, read: Result<T, LedgerError>) -> Option<T> {
        read.inspect_err(|error| tracing::error!(%error, entry = self.next, "the stream of a mirror ended")).ok()
    }
}

/// Records that show a mirror that it holds the beginning of this ledger.
fn beginning(ledger: &Ledger, size: u64) -> Result<Vec<u8>, LedgerError> {
    let mut records = Vec::new();
    if size > 0 {
        put_checkpoint(ledger, size, &mut records)?;
    }
    Ok(records)
}

/// A page of entries from `start` on, before `end`, with their checkpoint; and the index after the last one.
fn page(ledger: &Ledger, only: &[Subtree], start: u64, end: u64) -> Result<(Vec<u8>, u64), LedgerError> {
    let end = end.min(start.saturating_add(BATCH_ENTRIES_MAX as u64));
    let mut page = Page { ledger, only, start, records: Vec::new() };
    let next = follow::read(ledger, Span { start, end, at_once: BATCH_ENTRIES_MAX }, &mut page)?;
    let mut records = page.records;
    put_checkpoint(ledger, next, &mut records)?;
    Ok((records, next))
}

/// Records of one page.
struct Page<'a> {
    ledger: &'a Ledger,
    only: &'a [Subtree],
    start: u64,
    records: Vec<u8>,
}

impl Follower for Page<'_> {
    type Error = LedgerError;

    fn take(&mut self, index: u64, bytes: &EntryBytes) -> Result<Taken, LedgerError> {
        let entry = bytes.decode()?;
        let erases = entry.kind == EntryKind::Erase;
        // The mirror must hold the erased entries under a signed checkpoint before the erasure comes.
        if erases && index > self.start {
            return Ok(Taken::Refused);
        }
        let concerns = |subject: EntrySubject| self.only.iter().any(|subtree| subject.concerns(subtree));
        let record = match self.only.is_empty() || entry.subject().is_some_and(concerns) {
            true => Record::Entry(without_place(bytes.as_bytes()).map_err(|torn| bytes.damaged(torn))?),
            false => {
                let mut text = Vec::new();
                self.ledger.put_text(&entry, &mut text)?;
                Record::Outside(text)
            }
        };
        record.put(&mut self.records);
        Ok(if erases || self.records.len() >= PAGE_BYTES_MAX { Taken::Last } else { Taken::More })
    }
}

/// Appends a signed checkpoint of the first `size` entries, which an earlier checkpoint covers too.
fn put_checkpoint(ledger: &Ledger, size: u64, out: &mut Vec<u8>) -> Result<(), LedgerError> {
    if let Some(reason) = ledger.halted() {
        return Err(LedgerError::Stopped { reason: reason.into() });
    }
    let newest = ledger.checkpoint();
    let signed = match newest.size == size {
        true => newest,
        false => ledger.signer()?.sign(size, ledger.root(size)?)?,
    };
    Record::Checkpoint(signed.note.as_bytes().into()).put(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mirror_asks_for() {
        let asked = |from, only: &[&str]| Asked {
            from,
            only: only.iter().map(|prefix| Subtree::parse(prefix).unwrap()).collect(),
        };
        let table = [
            ("from=0", Some(asked(0, &[]))),
            ("from=7&only=88.1&only=urn%3aoid%3A2.999", Some(asked(7, &["88.1", "urn:oid:2.999"]))),
            ("", None),
            ("from=x", None),
            ("from=1&from=2", None),
            ("from=1&only=88..1", None),
            ("from=1&only=%4", None),
            ("from=1&only=%ff", None),
            ("from=1&until=2", None),
        ];
        for (query, expected) in table {
            assert_eq!(Asked::parse(query).ok(), expected, "{query}");
        }
        assert!(Asked::parse(&format!("from=1{}", "&only=88.1".repeat(PREFIXES_MAX + 1))).is_err());
        assert!(Asked::parse(&"&".repeat(QUERY_BYTES_MAX + 1)).is_err());
    }
}

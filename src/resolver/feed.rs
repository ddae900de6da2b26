//! The feed of changes: every entry of the ledger from an index on, in order, each once; then new entries as they come.
//!
//! A [`Feed`] reads the ledger itself, a page at a time, and keeps one page: a slow client slows down its own feed
//! only. New entries are announced by [`Feeds::advance`], which is called after a batch was applied to the index and
//! before its receipts go out: a feed never shows an entry that a query would not see.
//!
//! From the receipt of an erasure on, erased values are not shown: a page read before is read again.
//!
//! Only public values are shown, as in a history. While a prefix filters out all entries for long, the feed reports its
//! position ([`Fed::Upto`]), so that a client need not resume from its old start.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    follow::{self, Erasures, Follower, Horizon, Span, Taken, Watch},
    id::Subtree,
    ledger::EntryBytes,
    rights::{self, Rights, View},
    store::{PastVersion, PrefixVersion, ReadError, Records},
};

/// Maximum number of feeds open at once.
pub const FEEDS_MAX: usize = 64;
/// Maximum number of entries that a feed reads ahead of its client; fewer if they are long.
pub const PAGE_ENTRIES_MAX: u64 = 256;
/// Bytes of entries that a feed reads ahead at most; the last entry may exceed them.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Maximum number of pages that all feeds together read at once.
const READS_MAX: usize = 4;
/// Number of filtered entries after which a feed reports its position.
const PASSED_ENTRIES_MAX: u64 = 16_384;
/// Interval at which an idle feed reports its position, as a sign of life.
pub const UPTO_INTERVAL: Duration = Duration::from_secs(15);

/// All feeds of a ledger: opens them and tells them of new entries.
pub struct Feeds {
    records: Records,
    horizon: Horizon,
    places: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// An open feed of one client.
pub struct Feed {
    records: Records,
    reads: Arc<Semaphore>,
    watch: Watch,
    subtree: Subtree,
    page: VecDeque<Paged>,
    /// Erasures that were finished before the page was read.
    page_erasures: Erasures,
    /// Index of the entry after the page.
    next: u64,
    /// Index of the entry after the last one that the client was told of.
    told: u64,
    told_at: Instant,
    _place: OwnedSemaphorePermit,
}

/// An entry on a page.
enum Paged {
    Change(Shown),
    Prefix(PrefixVersion),
}

impl Paged {
    fn ledger_index(&self) -> u64 {
        match self {
            Self::Change(shown) => shown.past.record.version.ledger_index,
            Self::Prefix(version) => version.version.ledger_index,
        }
    }
}

/// Item of a feed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fed {
    /// A change of a record.
    Change(Box<Shown>),
    /// A statement about a prefix.
    Prefix(Box<PrefixVersion>),
    /// Position: every entry before this ledger index was given or filtered out.
    Upto(u64),
}

/// A change under public rights.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The version made by the change; its record holds only values that anyone may read.
    pub past: PastVersion,
    /// Number of values of the version that are not public.
    pub withheld: usize,
}

/// Error of a feed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// [`FEEDS_MAX`] feeds are open.
    #[error("{FEEDS_MAX} feeds are open, which is the limit; try again later")]
    TooMany,
    /// The start lies beyond the ledger's end: the client has the index from another ledger.
    #[error("ledger index {from} is still to come; the ledger has {entries} entries")]
    ToCome {
        /// The requested start.
        from: u64,
        /// Number of entries that the index has applied.
        entries: u64,
    },
    /// The node is stopping.
    #[error("the node is stopping; the feed goes on at ledger index {next}")]
    Closed {
        /// Index of the first entry that was not given.
        next: u64,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Feeds {
    /// Feeds over a ledger whose entries are all in the index.
    pub fn new(records: Records) -> Self {
        let entries = records.ledger().size();
        Self {
            records,
            horizon: Horizon::new(entries),
            places: Arc::new(Semaphore::new(FEEDS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        }
    }

    /// Announces to all feeds that the index has applied the whole ledger.
    pub fn advance(&self) {
        self.horizon.advance(self.records.ledger().size());
    }

    /// Ends all feeds and refuses new ones.
    pub fn close(&self) {
        self.horizon.close();
    }

    /// The horizon of the feeds, for other readers of the ledger.
    pub fn watch(&self) -> Watch {
        self.horizon.subscribe()
    }

    /// Number of open feeds.
    pub fn count(&self) -> usize {
        FEEDS_MAX - self.places.available_permits()
    }

    /// Opens a feed at a ledger index; without one, at the end of the ledger.
    ///
    /// # Errors
    ///
    /// [`FeedError::TooMany`], [`FeedError::ToCome`].
    pub fn begin(&self, from: Option<u64>, subtree: Subtree) -> Result<Feed, FeedError> {
        let watch = self.horizon.subscribe();
        let entries = watch.entries();
        let from = from.unwrap_or(entries);
        if from > entries {
            return Err(FeedError::ToCome { from, entries });
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| FeedError::TooMany)?;
        Ok(Feed {
            records: self.records.clone(),
            reads: Arc::clone(&self.reads),
            watch,
            subtree,
            page: VecDeque::new(),
            page_erasures: Erasures::default(),
            next: from,
            told: from,
            told_at: Instant::now(),
            _place: place,
        })
    }
}

impl Feed {
    /// Waits for the next item. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`FeedError::Closed`] if the node is stopping, [`FeedError::Read`]; the feed ends with either.
    pub async fn next(&mut self) -> Result<Fed, FeedError> {
        loop {
            let Some(entries) = self.watch.look() else { return Err(FeedError::Closed { next: self.told }) };
            if self.page_erasures.is_outdated(self.records.ledger())
                && let Some(first) = self.page.front()
            {
                self.next = first.ledger_index();
                self.page.clear();
            }
            if let Some(paged) = self.page.pop_front() {
                self.told = paged.ledger_index() + 1;
                self.told_at = Instant::now();
                return Ok(match paged {
                    Paged::Change(shown) => Fed::Change(Box::new(shown)),
                    Paged::Prefix(version) => Fed::Prefix(Box::new(version)),
                });
            }
            if self.next - self.told >= PASSED_ENTRIES_MAX {
                return Ok(self.upto());
            }
            if self.next < entries {
                self.read(entries).await?;
                continue;
            }
            tokio::select! {
                is_open = self.watch.changed() => if !is_open {
                    return Err(FeedError::Closed { next: self.told });
                },
                () = tokio::time::sleep_until(self.told_at + UPTO_INTERVAL) => return Ok(self.upto()),
            }
        }
    }

    fn upto(&mut self) -> Fed {
        self.told = self.next;
        self.told_at = Instant::now();
        Fed::Upto(self.next)
    }

    /// Reads the next page on the blocking pool.
    async fn read(&mut self, end: u64) -> Result<(), FeedError> {
        let closed = FeedError::Closed { next: self.told };
        let Ok(permit) = Arc::clone(&self.reads).acquire_owned().await else { return Err(closed) };
        let (records, subtree, start) = (self.records.clone(), self.subtree.clone(), self.next);
        self.page_erasures = Erasures::now(records.ledger());
        let read = tokio::task::spawn_blocking(move || {
            let page = read_page(&records, &subtree, start, end);
            drop(permit);
            page
        });
        // The blocking pool refuses work only while the runtime shuts down.
        let Ok(page) = read.await else { return Err(closed) };
        (self.page, self.next) = page?;
        Ok(())
    }
}

/// Entries of a subtree from `start` on, before `end`, and the index after the last one looked at.
fn read_page(records: &Records, subtree: &Subtree, start: u64, end: u64) -> Result<(VecDeque<Paged>, u64), ReadError> {
    let mut page = Page { subtree, entries: VecDeque::new(), bytes: 0 };
    let mut next = start;
    // Entries read at once are all looked at; reading goes on only while none of them is shown.
    while next < end && page.entries.is_empty() && next - start < PASSED_ENTRIES_MAX {
        let before = next;
        let span = Span { start: next, end: end.min(next + PAGE_ENTRIES_MAX), at_once: PAGE_ENTRIES_MAX as usize };
        next = follow::read(records.ledger(), span, &mut page)?;
        if next == before {
            break;
        }
    }
    Ok((page.entries, next))
}

/// Page under construction: the entries read that the feed shows.
struct Page<'a> {
    subtree: &'a Subtree,
    entries: VecDeque<Paged>,
    /// Size of these entries in the ledger, in bytes.
    bytes: usize,
}

impl Follower for Page<'_> {
    type Error = ReadError;

    fn take(&mut self, _index: u64, bytes: &EntryBytes) -> Result<Taken, ReadError> {
        // An edge node holds only the hash of such an entry.
        if bytes.outside()?.is_some() {
            return Ok(Taken::More);
        }
        let entry = bytes.decode()?;
        let shown = if let Some(version) = PrefixVersion::of(&entry)? {
            self.subtree.covers_bytes(version.prefix.path()).then_some(Paged::Prefix(version))
        } else {
            let past = PastVersion::of(&entry)?;
            self.subtree.covers(past.record.identifier.key()).then(|| Paged::Change(Shown::new(past)))
        };
        let Some(shown) = shown else { return Ok(Taken::More) };
        self.entries.push_back(shown);
        self.bytes += bytes.len();
        Ok(if self.bytes >= PAGE_BYTES_MAX { Taken::Last } else { Taken::More })
    }
}

impl Shown {
    /// The public form of a version.
    pub(super) fn new(mut past: PastVersion) -> Self {
        let View { values, withheld } = rights::view(std::mem::take(&mut past.record.values), Rights::PUBLIC);
        past.record.values = values;
        Self { past, withheld }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Draft, EntryKind, ErasedValues, Erasure, Principal, Reason, Statement},
        id::Identifier,
        ledger::{DataDir, EdgesAfter, KeySource, LedgerError, Mark, Opening},
        record::{Permissions, Value, Values},
        store::memory::MemoryEntries,
    };

    fn draft(identifier: &str, erasure: Option<&Erasure>) -> Draft {
        let value = Value {
            index: 1,
            kind: "N".parse().unwrap(),
            data: b"secret".to_vec().into(),
            ttl: 60,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        };
        let statement = Statement {
            kind: if erasure.is_some() { EntryKind::Erase } else { EntryKind::Create },
            identifier: &Identifier::parse(identifier).unwrap(),
            principal: &Principal::LOOPBACK,
            values: &Values::new(if erasure.is_some() { Vec::new() } else { vec![value] }).unwrap(),
            edges: &[],
            outputs: None,
            request: None,
            erasure,
        };
        Draft::new(&statement, [7; 32]).unwrap()
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_not_shown_after_it_was_erased() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let mut appender = recovered.appender;
        let mut batch = appender.begin(1).unwrap();
        let identifiers = ["88.1/a", "88.1/b", "88.1/c"];
        let pushed = identifiers.map(|name| batch.push(&draft(name, None), 1, None, EdgesAfter::None).unwrap());
        batch.commit().unwrap();
        let feeds =
            Feeds::new(Records::new(Arc::new(MemoryEntries::new(Arc::clone(&recovered.ledger))), recovered.ledger));
        let mut feed = feeds.begin(Some(0), Subtree::parse("88.1").unwrap()).unwrap();
        let mut seen = Vec::new();
        for index in 0..3 {
            let Fed::Change(shown) = feed.next().await.unwrap() else { panic!("a change comes") };
            let record = shown.past.record;
            seen.push((record.version.ledger_index, record.values.len()));
            if index == 0 {
                let erasure = Erasure::of_record(Reason::new("r").unwrap());
                let mut erasing = appender.begin_erasing(2, ErasedValues::All).unwrap();
                erasing.redact_all(pushed[1].index).unwrap();
                let draft = draft("88.1/b", Some(&erasure));
                let previous = pushed[1].index;
                erasing.push(&draft, 2, previous, EdgesAfter::None).unwrap().commit().unwrap();
                appender.finish_erasing().unwrap();
            }
        }
        assert_eq!(seen, [(0, 1), (1, 0), (2, 1)]);
    }
}

//! The feed of changes: every entry of the ledger from an index on, in order, each once; then those to come.
//!
//! A [`Feed`] reads the ledger itself, a page at a time, and keeps one page: whoever takes slowly is read for slowly, and
//! nobody else waits. What is new it learns from [`Feeds::advance`], which is called when a batch was applied to the index and
//! before its receipts go out: a feed never shows what a question would not see.
//!
//! What an erasure takes away is not shown any more from its receipt on: a page from before is read again.
//!
//! What anyone may read is shown, as in a history. When a prefix lets nothing by for long, the feed says how far it has come
//! ([`Fed::Upto`]), so that a client that comes back need not begin where it began.

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

/// The most feeds at once.
pub const FEEDS_MAX: usize = 64;
/// The most entries that a feed has read ahead of its client; fewer when they are long.
pub const PAGE_ENTRIES_MAX: u64 = 256;
/// How many bytes of entries a feed reads ahead; the last one may pass it.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// The most pages that are read for all feeds at once.
const READS_MAX: usize = 4;
/// How many entries a feed passes over before it says how far it has come.
const PASSED_ENTRIES_MAX: u64 = 16_384;
/// How often a feed that has nothing to give says how far it has come: a sign of life, too.
pub const UPTO_INTERVAL: Duration = Duration::from_secs(15);

/// Where feeds begin, and where they learn what is new.
pub struct Feeds {
    records: Records,
    horizon: Horizon,
    places: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// Some entries from an index on.
pub struct Feed {
    records: Records,
    reads: Arc<Semaphore>,
    watch: Watch,
    subtree: Subtree,
    page: VecDeque<Paged>,
    /// Those that were finished before the page was read.
    page_erasures: Erasures,
    /// The entry behind the page.
    next: u64,
    /// The entry behind what the client was told of.
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

/// What a feed gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Fed {
    /// A change of a record.
    Change(Box<Shown>),
    /// What was said of a prefix.
    Prefix(Box<PrefixVersion>),
    /// Everything before this ledger index was given, or is not asked for.
    Upto(u64),
}

/// A change as anyone may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The version that it made; of its record, only values that anyone may read.
    pub past: PastVersion,
    /// How many of its values nobody may read without a permit.
    pub withheld: usize,
}

/// Why there is no feed, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// There are as many as there may be.
    #[error("{FEEDS_MAX} feeds are open, which is the limit; try again later")]
    TooMany,
    /// Whoever knows of this entry has it from another ledger.
    #[error("ledger index {from} is still to come; the ledger has {entries} entries")]
    ToCome {
        /// Where the feed was to begin.
        from: u64,
        /// How many entries there are.
        entries: u64,
    },
    /// The node stops.
    #[error("the node is stopping; the feed goes on at ledger index {next}")]
    Closed {
        /// The first entry that was not given.
        next: u64,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Feeds {
    /// Feeds of a ledger whose entries are all in the index.
    pub fn new(records: Records) -> Self {
        let entries = records.ledger().size();
        Self {
            records,
            horizon: Horizon::new(entries),
            places: Arc::new(Semaphore::new(FEEDS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        }
    }

    /// Takes note that the index has applied the ledger as it is now.
    pub fn advance(&self) {
        self.horizon.advance(self.records.ledger().size());
    }

    /// Ends every feed, and lets none begin.
    pub fn close(&self) {
        self.horizon.close();
    }

    /// How far feeds may go, for whoever reads the ledger itself.
    pub fn watch(&self) -> Watch {
        self.horizon.subscribe()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        FEEDS_MAX - self.places.available_permits()
    }

    /// Begins a feed at a ledger index, or with what is to come.
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
    /// What comes next; waits for it. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`FeedError::Closed`] when the node stops, [`FeedError::Read`]; the feed is over then.
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

    /// Reads the next page, on the blocking pool.
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
        // A pool that takes no more work belongs to a runtime that ends.
        let Ok(page) = read.await else { return Err(closed) };
        (self.page, self.next) = page?;
        Ok(())
    }
}

/// Entries of a subtree from `start` on, before `end`, and the index behind the last one that was looked at.
fn read_page(records: &Records, subtree: &Subtree, start: u64, end: u64) -> Result<(VecDeque<Paged>, u64), ReadError> {
    let mut page = Page { subtree, entries: VecDeque::new(), bytes: 0 };
    let mut next = start;
    // All that was read at once is looked at; more only while nothing of it is shown.
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

/// What a feed shows of the entries that were read.
struct Page<'a> {
    subtree: &'a Subtree,
    entries: VecDeque<Paged>,
    /// Bytes of these entries in the ledger.
    bytes: usize,
}

impl Follower for Page<'_> {
    type Error = ReadError;

    fn take(&mut self, _index: u64, bytes: &EntryBytes) -> Result<Taken, ReadError> {
        // An edge node has no more of it than its hash.
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
    /// What anyone may see of a version.
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

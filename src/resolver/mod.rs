//! The read core: query in, answer out.
//!
//! A question goes to the cache; on a miss one thread reads index and ledger for all who ask the same, and keeps the
//! answer. Not found, retired, delegated and denied are answers like any other, and are kept like any other. A cached
//! answer costs a hash, a short lock and a counter.
//!
//! An answer is never older than the last change that was acknowledged: the write core calls [`Resolver::outdate`]
//! after it applied a change and before it gives out the receipt.
//!
//! Deliberately absent: transports, DNS names (`id::dns_name`), permits: only what anyone may read gets this far.

pub mod feed;
mod history;
mod prove;
mod recall;
pub mod recursion;
mod trace;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
pub use history::{Change, Difference, History, HistoryError, Moment};
pub use prove::{Disclosure, EntryProof, ProveError, Subject};
pub use recall::{Holder, RecallRequest, RecallStep, Recalled};
pub use trace::{
    Names, NodeState, NodeTotal, Sum, TimeRule, TraceDirection, TraceLimits, TraceRequest, TraceSink, TraceStep,
    TraceSummary, TracedEdge, TracedNode, Truncation,
};

use crate::{
    cache::{Cache, CacheStats, pool::Budget},
    id::{Identifier, Key, KeyPrefix, dns_name::NameHash},
    record::{Record, Status, Value, ValueView, Version},
    store::{Newest, PrefixVersion, Prefixes, ReadError, Records, Resident, Responsibility},
};

/// What an identifier resolves to.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An active record, as far as anyone may read it.
    Found(Arc<Found>),
    /// The record was retired, or erased.
    Retired(Arc<Tombstone>),
    /// Nothing was ever registered under the identifier here.
    NotFound,
    /// Other nodes answer for the identifier: what the ledger says of the longest delegated prefix that covers it.
    Delegated(Arc<PrefixVersion>),
    /// No prefix that covers the identifier is homed here, or delegated from here.
    NotResponsible,
    /// The record exists, and none of its values may leave without a permit.
    Denied,
}

/// An active record with the values that anyone may read.
#[derive(Debug)]
pub struct Found {
    record: Record,
    rendered: OnceLock<Bytes>,
}

/// What is left of a record that was retired or erased.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// The identifier, as it was first registered.
    pub identifier: Identifier,
    /// The version that ended it.
    pub version: Version,
    /// True when it ended by being erased.
    pub erased: bool,
}

/// Which values of a record are asked for: these types or these indexes; all when neither is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Types; ASCII case does not count, and one that ends in "." takes everything below it.
    pub types: Vec<String>,
    /// Indexes.
    pub indexes: Vec<u32>,
}

impl Filter {
    /// True when every value is asked for.
    pub fn takes_all(&self) -> bool {
        self.types.is_empty() && self.indexes.is_empty()
    }

    /// True when the value is asked for.
    pub fn takes(&self, value: &Value) -> bool {
        self.takes_all()
            || self.indexes.contains(&value.index)
            || self.types.iter().any(|wanted| value.kind.matches(wanted))
    }
}

impl Found {
    /// Keeps what anyone may read of a record; `None` when the record has values, and none of them may be read.
    fn public(mut record: Record) -> Option<Self> {
        let none = record.values.is_empty();
        record.values = record.values.only_public();
        if record.values.is_empty() && !none {
            return None;
        }
        Some(Self { record, rendered: OnceLock::new() })
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record as one front end writes it, written once and kept with the answer. One front end alone may use this.
    pub fn rendered(&self, render: impl FnOnce(&Record) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(&self.record)).clone()
    }

    /// About how many bytes the answer keeps in memory, its rendered form included.
    fn bytes(&self) -> usize {
        let values: usize = self.record.values.iter().map(|value| 2 * value.data.len() + 160).sum();
        values + 3 * self.record.identifier.as_str().len() + 320 * self.record.edges.len() + 256
    }
}

impl Answer {
    fn of(record: Option<Record>) -> Self {
        match record {
            None => Self::NotFound,
            Some(record) if record.status != Status::Active => {
                let erased = record.status == Status::Erased;
                Self::Retired(Arc::new(Tombstone { identifier: record.identifier, version: record.version, erased }))
            }
            Some(record) => Found::public(record).map_or(Self::Denied, |found| Self::Found(Arc::new(found))),
        }
    }

    fn seen(&self) -> Seen<'_> {
        match self {
            Self::Found(found) => Seen::Found(found.record.values.iter().map(Value::view).collect()),
            Self::Retired(tombstone) if tombstone.erased => Seen::Erased,
            Self::Retired(_) => Seen::Retired,
            Self::NotFound => Seen::NotFound,
            Self::Delegated(version) => Seen::Delegated(version),
            Self::NotResponsible => Seen::NotResponsible,
            Self::Denied => Seen::Denied,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Found(found) => found.bytes(),
            Self::Retired(tombstone) => 160 + 2 * tombstone.identifier.as_str().len(),
            // It is shared with all answers that say the same.
            Self::Delegated(_) => 64,
            Self::NotFound | Self::NotResponsible | Self::Denied => 0,
        }
    }
}

/// How far to go for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What lies in memory, and nothing that may wait for a disk.
    Resident,
    /// All of index and ledger, which may wait for a disk.
    Whole,
}

/// What there is about an identifier: an answer that was kept, or the newest entry as it lies in the ledger.
#[derive(Debug)]
pub struct Reading(Source);

#[derive(Debug)]
enum Source {
    Answer(Answer),
    Newest(Newest),
}

/// An answer whose values lie where they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// As [`Answer::Found`]: the values that anyone may read.
    Found(Vec<ValueView<'a>>),
    /// As [`Answer::Retired`].
    Retired,
    /// As [`Answer::Retired`], of a record that was erased.
    Erased,
    /// As [`Answer::NotFound`].
    NotFound,
    /// As [`Answer::Delegated`].
    Delegated(&'a Arc<PrefixVersion>),
    /// As [`Answer::NotResponsible`].
    NotResponsible,
    /// As [`Answer::Denied`].
    Denied,
}

impl Reading {
    /// What the reading says.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] when the entry cannot be read.
    pub fn seen(&self) -> Result<Seen<'_>, ReadError> {
        let newest = match &self.0 {
            Source::Answer(answer) => return Ok(answer.seen()),
            Source::Newest(newest) => newest,
        };
        let mut values = match newest.values()? {
            Ok(values) => values,
            Err(Status::Erased) => return Ok(Seen::Erased),
            Err(_) => return Ok(Seen::Retired),
        };
        let none = values.is_empty();
        values.retain(|value| value.permissions.public_read());
        // As for `Found::public`.
        Ok(if values.is_empty() && !none { Seen::Denied } else { Seen::Found(values) })
    }
}

/// What an entry of the cache is counted for beside its key and its answer, in bytes.
const CACHE_ENTRY_BYTES: usize = 128;

/// Answers questions about identifiers.
pub struct Resolver {
    records: Records,
    prefixes: Arc<Prefixes>,
    cache: Cache<Key, Answer>,
    /// Entries that the index has applied: the ledger has those of a batch before the index has any of them.
    applied: AtomicU64,
}

impl Resolver {
    /// A resolver over a ledger whose entries are all in the index, with a cache of this budget.
    pub fn new(records: Records, prefixes: Arc<Prefixes>, cache: impl Into<Budget>) -> Self {
        let weigh = |key: &Key, answer: &Answer| CACHE_ENTRY_BYTES + 2 * key.as_bytes().len() + answer.bytes();
        let applied = AtomicU64::new(records.ledger().size());
        Self { records, prefixes, cache: Cache::new(cache, weigh), applied }
    }

    /// The name of the node's ledger.
    pub fn origin(&self) -> &str {
        self.records.ledger().verifier().name()
    }

    /// What verifies the checkpoints of the node's ledger (C2SP signed-note vkey).
    pub fn verifier_key(&self) -> &str {
        self.records.ledger().verifier().text()
    }

    /// Which identifiers this node answers for.
    pub fn prefixes(&self) -> &Arc<Prefixes> {
        &self.prefixes
    }

    /// The answer about identifiers that others answer for; `None` when this node does.
    fn elsewhere(&self, key: &Key) -> Option<Answer> {
        match self.prefixes.responsibility(key) {
            Responsibility::Home => None,
            Responsibility::Delegated(version) => Some(Answer::Delegated(version)),
            Responsibility::Elsewhere => Some(Answer::NotResponsible),
        }
    }

    /// Resolves an identifier. Reads index and ledger on a miss, which may block for a disk.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when index or ledger cannot be read.
    pub fn resolve(&self, identifier: &Identifier) -> Result<Answer, ReadError> {
        let key = identifier.key();
        self.cache.get_or_fill(key, || match self.elsewhere(key) {
            Some(answer) => Ok(answer),
            None => Ok(Answer::of(self.records.latest(key)?)),
        })
    }

    /// Reads what there is about an identifier, for a front end with a cache of its own: nothing new is kept here.
    ///
    /// # Errors
    ///
    /// As for [`Resolver::resolve`].
    pub fn read(&self, identifier: &Identifier, depth: Depth) -> Result<Resident<Reading>, ReadError> {
        let key = identifier.key();
        if let Some(answer) = self.cache.peek(key) {
            return Ok(Resident::Here(Reading(Source::Answer(answer))));
        }
        if let Some(answer) = self.elsewhere(key) {
            return Ok(Resident::Here(Reading(Source::Answer(answer))));
        }
        let newest = match depth {
            Depth::Resident => self.records.newest_resident(key)?,
            Depth::Whole => Resident::Here(self.records.newest(key)?),
        };
        Ok(newest.map(|newest| Reading(newest.map_or(Source::Answer(Answer::NotFound), Source::Newest))))
    }

    /// The whole answer of a reading. It takes more than the reading when edges leave the record.
    ///
    /// # Errors
    ///
    /// As for [`Resolver::resolve`].
    pub fn whole(&self, reading: Reading, depth: Depth) -> Result<Resident<Answer>, ReadError> {
        let newest = match reading.0 {
            Source::Answer(answer) => return Ok(Resident::Here(answer)),
            Source::Newest(newest) => newest,
        };
        let record = match depth {
            Depth::Resident => self.records.record_resident(&newest)?,
            Depth::Whole => Resident::Here(self.records.record(&newest)?),
        };
        Ok(record.map(|record| Answer::of(Some(record))))
    }

    /// The identifier that is known by a hash of its key; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As for [`Resolver::resolve`].
    pub fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Identifier>, ReadError> {
        self.records.by_name_hash(hash)
    }

    /// True when anything is registered below a prefix.
    ///
    /// # Errors
    ///
    /// As for [`Resolver::resolve`].
    pub fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        Ok(self.records.store().any_below(prefix)?)
    }

    /// True when any identifier is known by a hash.
    ///
    /// # Errors
    ///
    /// As for [`Resolver::resolve`].
    pub fn any_name_hash(&self) -> Result<bool, ReadError> {
        Ok(self.records.store().any_name_hash()?)
    }

    /// Whole records below a prefix in order of their keys, past the cache: for an export.
    ///
    /// # Errors
    ///
    /// As for [`Resolver::resolve`].
    pub fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.records.scan(prefix, after, limit)
    }

    /// Takes note that the index has applied the ledger as it is now, and forgets what is cached about identifiers that
    /// changed.
    pub fn outdate<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        self.applied.store(self.records.ledger().size(), Ordering::Release);
        for key in keys {
            self.cache.invalidate(key);
        }
    }

    /// As [`Resolver::outdate`], when it changed who answers for a prefix: nothing that is cached counts any more.
    pub fn outdate_all(&self) {
        self.applied.store(self.records.ledger().size(), Ordering::Release);
        self.cache.clear();
    }

    /// What the cache has done and holds.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

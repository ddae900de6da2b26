//! The read core: query in, answer out.
//!
//! Front ends ask the [`Desk`], which decides who answers and on which thread a read that may wait for a disk runs; the
//! [`Resolver`] beneath it reads index and ledger. Not found, retired, delegated and denied are answers like any other,
//! and are cached like any other. A cache hit costs a hash, a short lock and a counter.
//!
//! An answer is never older than the last acknowledged change: the write core calls [`Desk::outdate`] after it has
//! applied a change and before it gives out the receipt.
//!
//! Deliberately absent: transports, DNS names (`id::dns_name`), and the rules of who may read what ([`crate::rights`]).

mod answer;
mod desk;
mod evidence;
pub mod feed;
mod history;
mod packed;
mod prove;
mod recall;
pub mod recursion;
mod trace;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub use answer::{Answer, AnswerKind, AnswerView, Found, FoundForm, Referral, Tombstone, WholeRecord};
pub use desk::{
    Busy, Desk, DeskParts, FailedWalk, Follow, How, NoAnswer, NoRoom, Question, ReadCounts, ReadPool, ReadShare,
    Recursive, Reply, Tracer, WalkLimits,
};
pub use evidence::{Evidence, Proofs, ProvenPrefix};
pub use history::{Change, Difference, History, HistoryError, Moment};
pub use packed::{PackedHead, PackedRecord, PackedValue};
pub use prove::{Disclosure, EntryProof, ProveError, Subject};
pub use recall::{Holder, RecallRequest, RecallStep, Recalled};
pub use recursion::Resolved;
pub use trace::{
    Names, NodeState, NodeTotal, Sum, TimeRule, TraceDirection, TraceLimits, TraceRequest, TraceSink, TraceStep,
    TraceSummary, TracedEdge, TracedNode, Truncation,
};

use crate::{
    cache::{Boarded, Cache, CacheStats, pool::Budget},
    id::{Identifier, Key, KeyPrefix, dns_name::NameHash},
    record::{Permissions, Record, Status, Value},
    rights::{self, Rights},
    store::{Newest, Prefixes, ReadError, Records, Resident, Responsibility},
};

/// True for values that everybody may read.
fn is_public(permissions: Permissions) -> bool {
    Rights::PUBLIC.may_read(permissions)
}

/// Selection of a record's values by type or index; a value that matches either is taken, and an empty filter takes
/// all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Types, compared without ASCII case; a type that ends in "." takes every type below it.
    pub types: Vec<String>,
    /// Indexes.
    pub indexes: Vec<u32>,
}

impl Filter {
    /// True if the filter is empty.
    pub fn takes_all(&self) -> bool {
        self.types.is_empty() && self.indexes.is_empty()
    }

    /// True if the filter takes the value.
    pub fn takes(&self, value: &Value) -> bool {
        self.takes_all()
            || self.indexes.contains(&value.index)
            || self.types.iter().any(|wanted| value.kind.matches(wanted))
    }
}

/// Extent of a read of index and ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Data in memory only; such a read never waits for a disk.
    Resident,
    /// All of index and ledger; such a read may wait for a disk.
    Whole,
}

/// Result of a read: a cached answer, or the newest entry as stored in the ledger.
#[derive(Debug)]
pub struct Reading(Source);

#[derive(Debug)]
enum Source {
    Answer(Answer),
    Newest(Newest),
}

impl Reading {
    fn of(newest: Option<Newest>) -> Self {
        Self(newest.map_or(Source::Answer(Answer::NotFound), Source::Newest))
    }

    /// The answer under public rights, with its values borrowed from the stored bytes.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ledger`] if the entry cannot be read.
    pub fn view(&self) -> Result<AnswerView<'_>, ReadError> {
        let newest = match &self.0 {
            Source::Answer(answer) => return Ok(answer.view()),
            Source::Newest(newest) => newest,
        };
        let values = match newest.values()? {
            Ok(values) => values,
            Err(Status::Erased) => return Ok(AnswerView::Erased),
            Err(_) => return Ok(AnswerView::Retired),
        };
        let view = rights::view(values, Rights::PUBLIC);
        Ok(if view.is_denied() { AnswerView::Denied } else { AnswerView::Found(view.values) })
    }
}

/// Bytes that a cache entry is charged on top of its key and its answer.
const CACHE_ENTRY_BYTES: usize = 128;

/// Answers questions about identifiers from cache, index and ledger.
pub struct Resolver {
    records: Records,
    prefixes: Arc<Prefixes>,
    cache: Arc<Cache<Key, Answer>>,
    /// Number of entries that the index has applied; the ledger's size runs ahead of it while a batch is being applied.
    applied: AtomicU64,
}

impl Resolver {
    /// A resolver over a ledger whose entries are all in the index, with a cache of this budget.
    pub fn new(records: Records, prefixes: Arc<Prefixes>, cache: impl Into<Budget>) -> Self {
        let weigh = |key: &Key, answer: &Answer| CACHE_ENTRY_BYTES + 2 * key.as_bytes().len() + answer.bytes();
        let applied = AtomicU64::new(records.ledger().size());
        Self { records, prefixes, cache: Arc::new(Cache::new(cache, weigh)), applied }
    }

    /// The name of the node's ledger.
    pub fn origin(&self) -> &str {
        self.records.ledger().verifier().name()
    }

    /// Verifier key of the checkpoints of the node's ledger (C2SP signed-note vkey).
    pub fn verifier_key(&self) -> &str {
        self.records.ledger().verifier().text()
    }

    /// Prefixes that decide whether this node answers, refers, or is not responsible.
    pub fn prefixes(&self) -> &Arc<Prefixes> {
        &self.prefixes
    }

    /// The referral or [`Answer::NotResponsible`] for an identifier of another node; `None` if this node answers for
    /// it.
    fn elsewhere(&self, key: &Key) -> Option<Answer> {
        match self.prefixes.responsibility(key) {
            Responsibility::Home => None,
            // A prefix without a delegation gives no site to refer to.
            Responsibility::Delegated(version) => Some(
                Referral::of(&version).map_or(Answer::NotResponsible, |referral| Answer::Delegated(Arc::new(referral))),
            ),
            Responsibility::Elsewhere => Some(Answer::NotResponsible),
        }
    }

    /// The cached answer about a key, or the part in filling the cache. See [`Cache::board`].
    fn board(&self, key: &Key) -> Boarded<Key, Answer> {
        self.cache.board(key)
    }

    /// The answer about a key from prefixes, index and ledger; may wait for a disk.
    fn answer_blocking(&self, key: &Key) -> Result<Answer, ReadError> {
        match self.elsewhere(key) {
            Some(answer) => Ok(answer),
            None => Ok(Answer::of_record(self.records.latest(key)?, Rights::PUBLIC)),
        }
    }

    /// The answer about a key from prefixes, index and ledger, without the cache and only from memory.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    fn answer_resident(&self, key: &Key) -> Result<Resident<Answer>, ReadError> {
        if let Some(answer) = self.elsewhere(key) {
            return Ok(Resident::Here(answer));
        }
        match self.records.newest_resident(key)? {
            Resident::Here(Some(newest)) => self.whole(Reading(Source::Newest(newest)), Depth::Resident),
            Resident::Here(None) => Ok(Resident::Here(Answer::NotFound)),
            Resident::OnDisk => Ok(Resident::OnDisk),
        }
    }

    /// The reading of an identifier, only from memory, for a front end with its own cache: it adds nothing to this one.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    fn read_resident(&self, identifier: &Identifier) -> Result<Resident<Reading>, ReadError> {
        if let Some(answer) = self.at_hand(identifier.key()) {
            return Ok(Resident::Here(Reading(Source::Answer(answer))));
        }
        Ok(self.records.newest_resident(identifier.key())?.map(Reading::of))
    }

    /// As [`Resolver::read_resident`], from all of index and ledger; may wait for a disk.
    fn read_blocking(&self, identifier: &Identifier) -> Result<Reading, ReadError> {
        match self.at_hand(identifier.key()) {
            Some(answer) => Ok(Reading(Source::Answer(answer))),
            None => Ok(Reading::of(self.records.newest(identifier.key())?)),
        }
    }

    /// The answer from the cache or the prefixes, without the index.
    fn at_hand(&self, key: &Key) -> Option<Answer> {
        self.cache.peek(key).or_else(|| self.elsewhere(key))
    }

    /// The whole answer of a reading. If edges leave the record, index and ledger are read again.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    pub fn whole(&self, reading: Reading, depth: Depth) -> Result<Resident<Answer>, ReadError> {
        let newest = match reading.0 {
            Source::Answer(answer) => return Ok(Resident::Here(answer)),
            Source::Newest(newest) => newest,
        };
        let record = match depth {
            Depth::Resident => self.records.record_resident(&newest)?,
            Depth::Whole => Resident::Here(self.records.record(&newest)?),
        };
        Ok(record.map(|record| Answer::of_record(Some(record), Rights::PUBLIC)))
    }

    /// The identifier whose key has this hash; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    pub fn by_name_hash(&self, hash: &NameHash) -> Result<Option<Identifier>, ReadError> {
        self.records.by_name_hash(hash)
    }

    /// True if anything is registered below a prefix.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    pub fn any_below(&self, prefix: &KeyPrefix) -> Result<bool, ReadError> {
        self.records.entries().any_below(prefix)
    }

    /// True if any identifier has a name hash.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    pub fn any_name_hash(&self) -> Result<bool, ReadError> {
        self.records.entries().any_name_hash()
    }

    /// Whole records below a prefix in order of their keys, without the cache: for an export.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if index or ledger cannot be read.
    pub fn scan(&self, prefix: &KeyPrefix, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.records.scan(prefix, after, limit)
    }

    /// Records that the index has applied the whole ledger, and invalidates the cached answers about these keys.
    pub fn outdate<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        self.applied.store(self.records.ledger().size(), Ordering::Release);
        for key in keys {
            self.cache.invalidate(key);
        }
    }

    /// As [`Resolver::outdate`], after a change of prefixes: invalidates the whole cache.
    pub fn outdate_all(&self) {
        self.applied.store(self.records.ledger().size(), Ordering::Release);
        self.cache.clear();
    }

    /// Counters and size of the cache.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

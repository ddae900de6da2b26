//! Audit of a whole log: everything signed, recomputed from the entries.
//!
//! ```text
//! index's checkpoint -> its leaves: (size, map root, ledger root) each            outputs
//! ledger's checkpoint -> workers: bundles -> leaf hashes, tiles, entry texts      pipeline
//!   -> one collector, in order: tree, times, chains, map; compares both roots at each leaf's size   collect
//! ```
//!
//! A log is a [`LogSource`]: bundles of entries, tiles of hashes and a checkpoint in the format of C2SP tlog-tiles,
//! from any place. For a log of another program, only tree and signature are checked. The first difference is reported
//! with its index. Memory: 32 bytes an entry, about 50 an identifier, and the map when the index is audited.
//! Deliberately absent: values, to which entries only commit; consistency with an older view of the log, which an older
//! checkpoint proves.

mod collect;
mod directory;
mod outputs;
mod pipeline;

use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use collect::Collector;
pub use directory::{LedgerSource, OutputSource};
use pipeline::Stream;

use crate::{
    entry::EntryText,
    id::{Identifier, Prefix, excerpt},
    tlog::{Hash, SignedCheckpoint, note::VerifierKey, read_checkpoint},
    vindex::{
        keys::{keys_of_identifiers, prefix_key},
        trie::Bytes32,
    },
};

/// Number of hashes of a full tile, and of entries of a full bundle (C2SP tlog-tiles).
pub const TILE_WIDTH: usize = 256;
/// Prefix of the text of every entry of this program.
const OURS: &[u8] = b"touchmark/1 ";
/// Maximum number of threads that fetch and hash.
const THREADS_MAX: usize = 16;
/// Maximum time for which a log may lag behind its index: it publishes once a second, and may wait for witnesses.
const LOG_BEHIND_MAX: Duration = Duration::from_secs(5);
/// Delay before the checkpoint of a lagging log is fetched again.
const LOG_RETRY: Duration = Duration::from_millis(250);

/// A log to read, from any thread.
pub trait LogSource: Sync {
    /// The newest checkpoint, a signed note.
    ///
    /// # Errors
    ///
    /// A sentence with the cause.
    fn checkpoint(&self) -> Result<Vec<u8>, String>;

    /// The first `width` entries of a bundle, each behind its length as 16 bits, big-endian.
    ///
    /// # Errors
    ///
    /// As for [`LogSource::checkpoint`].
    fn entries(&self, bundle: u64, width: usize) -> Result<Vec<u8>, String>;

    /// The first `width` hashes of a tile.
    ///
    /// # Errors
    ///
    /// As for [`LogSource::checkpoint`].
    fn hashes(&self, level: usize, tile: u64, width: usize) -> Result<Vec<u8>, String>;
}

/// An audit to run.
pub struct Audit<'a> {
    /// The log.
    pub log: &'a dyn LogSource,
    /// The output log of the log's verifiable index, if that is to be audited.
    pub index: Option<&'a dyn LogSource>,
    /// The key that signs both; without one no signature is checked.
    pub verifier: Option<&'a VerifierKey>,
    /// Number of threads that fetch and hash: more for a log over a network.
    pub threads: usize,
}

/// Report on a sound log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditReport {
    /// The name of the log.
    pub origin: String,
    /// Number of entries.
    pub entries: u64,
    /// Root of the log's tree.
    pub root: Hash,
    /// Content of the entries.
    pub content: Content,
    /// Report on the verifiable index, if it was audited.
    pub index: Option<IndexReport>,
}

/// Content of the entries of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Entries of this program, each well-formed and in its place.
    Ours {
        /// Number of identifiers in the log.
        identifiers: u64,
    },
    /// Entries of another program; only tree and signature were checked.
    Foreign,
}

/// Report on a sound output log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexReport {
    /// Number of leaves, each of which agrees with the entries.
    pub leaves: u64,
    /// Size of the log that the last leaf covers.
    pub covers: u64,
    /// Number of keys of the map.
    pub keys: u64,
}

/// Reason for which a log did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The log or its index could not be read.
    #[error("{0}")]
    Source(String),
    /// An entry is wrong, or its hash in the log.
    #[error("entry {index}: {what}")]
    Entry {
        /// Index of the entry in the log.
        index: u64,
        /// The difference.
        what: String,
    },
    /// A leaf of the output log is wrong, or contradicts the entries.
    #[error("leaf {index} of the output log: {what}")]
    OutputLeaf {
        /// Index of the leaf in the output log.
        index: u64,
        /// The difference.
        what: String,
    },
    /// A checkpoint is wrong.
    #[error("the checkpoint of {log}: {what}")]
    Checkpoint {
        /// The log with the checkpoint.
        log: &'static str,
        /// The difference.
        what: String,
    },
}

/// Progress of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Entries checked.
    pub done: u64,
    /// Entries in all.
    pub total: u64,
}

/// Number of processors of this machine, at most 16.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX)
}

impl Audit<'_> {
    /// Reads and checks the whole log.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: the first difference.
    pub fn run(&self, progress: &mut dyn FnMut(Audited)) -> Result<AuditReport, AuditError> {
        // The index first: the log's checkpoint, fetched later, covers it, sooner or later.
        let outputs = self.index.map(|index| outputs::read(index, self.verifier, self.threads)).transpose()?;
        let covered = outputs.as_ref().and_then(|outputs| outputs.last()).map_or(0, |last| last.size);
        let (origin, checkpoint) = self.checkpoint_of(covered)?;
        let size = checkpoint.size;
        let is_ours = self.is_ours(size)?;
        if outputs.is_some() && !is_ours {
            return Err(AuditError::Source("the entries are not ours, and only ours can be indexed again".into()));
        }
        let leaves = outputs.as_ref().map_or(0, |outputs| outputs.len() as u64);
        let mut collector = Collector::new(outputs, size)?;
        let read = |index, entry: &[u8]| {
            if !is_ours {
                return Ok(None);
            }
            Facts::read(entry).map(Some).map_err(|what| AuditError::Entry { index, what })
        };
        let bad = |index, what| AuditError::Entry { index, what };
        let stream = Stream { source: self.log, size, threads: self.threads.clamp(1, THREADS_MAX), bad };
        stream.run(read, |chunk| {
            collector.take(chunk)?;
            progress(Audited { done: collector.size(), total: size });
            Ok(())
        })?;
        let collected = collector.finish(self.log, &checkpoint)?;
        let covers = collected.covers;
        let index = self.index.map(|_| IndexReport { leaves, covers, keys: collected.keys });
        let identifiers = collected.identifiers;
        let content = if is_ours { Content::Ours { identifiers } } else { Content::Foreign };
        Ok(AuditReport { origin, entries: size, root: checkpoint.root, content, index })
    }

    /// The log's checkpoint. Waits until it covers as much as the index does, which may be a publication ahead.
    fn checkpoint_of(&self, covered: u64) -> Result<(String, SignedCheckpoint), AuditError> {
        let began = Instant::now();
        loop {
            let (origin, checkpoint) = signed(self.log, "the log", self.verifier)?;
            if checkpoint.size >= covered || began.elapsed() >= LOG_BEHIND_MAX {
                return Ok((origin, checkpoint));
            }
            thread::sleep(LOG_RETRY);
        }
    }

    /// True if the log is of this program, as its first entry tells.
    fn is_ours(&self, size: u64) -> Result<bool, AuditError> {
        if size == 0 {
            return Ok(true);
        }
        let width = usize::try_from(size).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        let bundle = self.log.entries(0, width).map_err(AuditError::Source)?;
        Ok(bundle.get(2..).is_some_and(|first| first.starts_with(OURS)))
    }
}

/// The checkpoint of a source; its signature is checked if there is a key.
fn signed(
    source: &dyn LogSource,
    log: &'static str,
    verifier: Option<&VerifierKey>,
) -> Result<(String, SignedCheckpoint), AuditError> {
    let note = source.checkpoint().map_err(AuditError::Source)?;
    let bad = |what: String| AuditError::Checkpoint { log, what };
    let (origin, checkpoint) =
        read_checkpoint(&note).ok_or_else(|| bad("it is no signed note with a checkpoint in it".into()))?;
    match verifier {
        Some(verifier) if verifier.verify(&note).is_none() => {
            Err(bad(format!("it is not signed by `{}` with the given key; its origin is `{origin}`", verifier.name())))
        }
        _ => Ok((origin, checkpoint)),
    }
}

/// The facts about one of our entries that the collector needs.
struct Facts {
    time_ms: u64,
    previous: Option<(u64, Hash)>,
    /// The key of the entry's identifier.
    key: Bytes32,
    /// The other keys; most entries have none, and then nothing is allocated.
    more_keys: Vec<Bytes32>,
}

impl Facts {
    /// Parses an entry's text, which has to be well-formed in every part.
    fn read(text: &[u8]) -> Result<Self, String> {
        let entry = EntryText::parse(text).map_err(|error| error.to_string())?;
        if entry.kind.is_about_prefix() {
            let prefix = Prefix::parse(&entry.identifier).ok().filter(|prefix| prefix.as_str() == entry.identifier);
            let prefix =
                prefix.ok_or_else(|| format!("`{}` is no prefix in its canonical form", excerpt(&entry.identifier)))?;
            let key = prefix_key(&prefix);
            let more_keys = Vec::new();
            return Ok(Self { time_ms: entry.time_ms, previous: entry.previous, key, more_keys });
        }
        let identifier = canonical(&entry.identifier)
            .ok_or_else(|| format!("`{}` is no identifier in its canonical form", excerpt(&entry.identifier)))?;
        let ends = |ends: &mut dyn Iterator<Item = &str>, what: &str| -> Result<Vec<Identifier>, String> {
            let no = |to| format!("{what} `{}`, which is no identifier in its canonical form", excerpt(to));
            ends.map(|to| canonical(to).ok_or_else(|| no(to))).collect()
        };
        let targets = ends(&mut entry.edges.iter().map(|edge| &*edge.to), "an edge leads to")?;
        let outputs = ends(&mut entry.outputs.iter().map(|output| &**output), "an output is")?;
        let mut key = None;
        let mut more_keys = Vec::new();
        keys_of_identifiers(&identifier, &targets, &outputs, |given| match key {
            None => key = Some(given),
            Some(_) => more_keys.push(given),
        });
        let key = key.ok_or("it has no key")?;
        Ok(Self { time_ms: entry.time_ms, previous: entry.previous, key, more_keys })
    }
}

/// The identifier of a text that is its canonical form; `None` for any other text.
fn canonical(text: &str) -> Option<Identifier> {
    Identifier::parse(text).ok().filter(|identifier| identifier.as_str() == text)
}

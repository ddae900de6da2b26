//! Jobs over a whole data directory while no node runs on it: `fsck` and `rebuild`.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    path::Path,
};

use data_encoding::BASE64;

use super::{AppError, Progress, entropy, index, report};
use crate::{
    config::Config,
    entry::StoredEntry,
    id::KeyPrefix,
    ledger::{
        self, DataDir, KeySource, LeafLog, LeafLogCheck, Ledger, LedgerError, Mark, MirrorOf, Opening, Position, Seen,
    },
    registry::apply::{self, change_of},
    server::dns::keys,
    store::{
        Direction, EdgeEnd, EdgeMove, EdgeOrigin, IndexChange, Store,
        local::{
            EdgeStateAt, LocalStore,
            seal::{self, Seal, check_seal},
        },
    },
    vindex::keys::ORIGIN_SUFFIX,
};

/// Keys that are read at once when the index is counted.
const SCAN_KEYS: usize = 10_000;

/// What `fsck` found in a sound data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckReport {
    /// Entries in the ledger.
    pub entries: u64,
    /// Identifiers ever registered.
    pub identifiers: u64,
    /// Entries that the last signed checkpoint covers.
    pub signed: u64,
    /// Root of the tree, base64.
    pub root: String,
    /// Bytes behind the last entry, of a write that was cut off before it was acknowledged.
    pub torn_bytes: u64,
    /// Identifiers in the index.
    pub index_entries: u64,
    /// The verifier key of the ledger.
    pub verifier_key: String,
    /// Leaves of the output log of the verifiable index.
    pub output_leaves: u64,
    /// Whether the index was closed cleanly, so that each of its files could be compared with its seal.
    pub sealed: bool,
}

/// What `rebuild` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildReport {
    /// Ledger entries applied to the new index.
    pub entries: u64,
}

/// Checks everything in a data directory: the ledger, the tree against the entries, the index against the ledger.
///
/// # Errors
///
/// [`AppError`] names the first bad entry or file.
pub fn fsck(data: &Path, progress: &mut dyn FnMut(Progress)) -> Result<FsckReport, AppError> {
    fsck_open(&DataDir::open(data)?, progress)
}

/// As [`fsck`], of a directory that is open.
pub(super) fn fsck_open(directory: &DataDir, progress: &mut dyn FnMut(Progress)) -> Result<FsckReport, AppError> {
    if keys::file(directory.path()).exists() {
        keys::keys(directory.path())?;
    }
    if let Some(of) = MirrorOf::read(directory)? {
        Seen::open(directory.path(), &of.key)?;
    }
    let seal = check_seal(directory)?;
    if let Seal::Broken(what) = &seal {
        return Err(AppError::Index { what: format!("index: {what}") });
    }
    let checked = compare(directory, &seal, progress);
    // Opening the index broke the seal. Whatever was found, the index is as it was closed.
    let sealed = if seal == Seal::Whole { seal::seal(directory) } else { Ok(()) };
    let report = checked?;
    sealed?;
    Ok(report)
}

/// Checks the ledger, and the index against it.
fn compare(directory: &DataDir, seal: &Seal, progress: &mut dyn FnMut(Progress)) -> Result<FsckReport, AppError> {
    let total = index::ledger_bytes(directory)?;
    let mut check = IndexCheck::open(directory)?;
    if *seal == Seal::Absent {
        ledger::audit::<AppError>(directory, |position, entry| check.catch_up(position, entry))?;
    }
    let audit = ledger::audit::<AppError>(directory, |position, entry| {
        report(progress, position.0, total);
        check.entry(position, entry)
    })?;
    if *seal == Seal::Whole && audit.torn_bytes > 0 {
        let what = format!("the ledger was closed cleanly, and {} bytes follow its last entry", audit.torn_bytes);
        return Err(AppError::Index { what });
    }
    let (identifiers, index_entries) = check.finish()?;
    let output = check_output_log(directory, seal)?;
    report(progress, total, total);
    Ok(FsckReport {
        entries: audit.entries,
        identifiers,
        signed: audit.signed,
        root: BASE64.encode(&audit.root.0),
        torn_bytes: audit.torn_bytes + output.unsigned_bytes,
        output_leaves: output.leaves,
        index_entries,
        verifier_key: audit.verifier_key,
        sealed: *seal == Seal::Whole,
    })
}

/// Checks the output log of the verifiable index, where there is one. Whether it says the right thing is for an audit.
fn check_output_log(directory: &DataDir, seal: &Seal) -> Result<LeafLogCheck, AppError> {
    let none = LeafLogCheck { leaves: 0, unsigned_bytes: 0 };
    if !directory.vindex().exists() {
        return Ok(none);
    }
    let key = Ledger::open_to_read(directory)?.signer()?.with_suffix(ORIGIN_SUFFIX).map_err(LedgerError::from)?;
    let output = LeafLog::check(&directory.vindex(), key)?.unwrap_or(none);
    if *seal == Seal::Whole && output.unsigned_bytes > 0 {
        let bytes = output.unsigned_bytes;
        let what = format!("the node was stopped cleanly, and {bytes} bytes follow the last leaf of the output log");
        return Err(AppError::Index { what });
    }
    Ok(output)
}

/// Throws the index away and makes it again from the ledger.
///
/// # Errors
///
/// [`AppError`]; running it again begins anew.
pub fn rebuild(data: &Path, progress: &mut dyn FnMut(Progress)) -> Result<RebuildReport, AppError> {
    let directory = DataDir::open(data)?;
    index::remove(&directory)?;
    let config = Config { data: data.into(), ..Config::default() };
    let opening = Opening::new(&directory, KeySource { origin: &config.origin, seed: entropy()() })?;
    let store = index::open_or_rebuild(&directory, &opening, &config)?;
    let total = opening.bytes()?;
    // Nothing is signed: that is for a node, which may have witnesses to ask first.
    let replayed = opening.recover::<AppError>(Mark::START, |frame| {
        store.ready()?;
        apply::apply_frame(&*store, frame)?;
        report(progress, frame.end().0, total);
        Ok(())
    })?;
    index::close(&store, &directory)?;
    report(progress, total, total);
    Ok(RebuildReport { entries: replayed.size() })
}

/// Compares the index with the ledger while the ledger is checked, entry by entry.
struct IndexCheck {
    store: LocalStore,
    /// Entries that were applied when the index was opened.
    applied: u64,
    identifiers: u64,
    newest: u64,
    /// Every state of every edge that the ledger says.
    edges: Tally,
}

impl IndexCheck {
    /// Opens the index; what it has not applied is applied first, in memory.
    fn open(directory: &DataDir) -> Result<Self, AppError> {
        let store = index::open(directory, &Config { data: directory.path().into(), ..Config::default() })?;
        let applied = index::mark(&store).entries;
        Ok(Self { store, applied, identifiers: 0, newest: 0, edges: Tally::default() })
    }

    /// Applies an entry that the index did not see before the node stopped.
    fn catch_up(&self, position: Position, entry: &StoredEntry<'_>) -> Result<(), AppError> {
        if entry.index >= self.applied {
            let upto = self.store.durable();
            self.store.apply(vec![change_of(position, entry)?], upto)?;
        }
        Ok(())
    }

    fn entry(&mut self, position: Position, entry: &StoredEntry<'_>) -> Result<(), AppError> {
        let change = change_of(position, entry)?;
        let bad = |what: &str| AppError::Index { what: format!("the index {what} of ledger entry {}", entry.index) };
        let latest = self.store.latest(&change.key)?.ok_or_else(|| bad("does not know the identifier"))?;
        if latest < position {
            return Err(bad("has an older entry for the identifier"));
        }
        if latest == position {
            self.newest += 1;
            if let Some(hash) = &change.name_hash
                && self.store.by_name_hash(hash)? != Some(position)
            {
                return Err(bad("does not know the name hash"));
            }
        }
        if let Some(request) = &change.request
            && self.store.by_request(request)? != Some(position)
        {
            return Err(bad("does not know the request"));
        }
        if entry.version == 1 {
            self.identifiers += 1;
        }
        self.edges.add_all(change);
        Ok(())
    }

    /// Checks what only the whole shows: that the index knows nothing beyond the ledger, and every edge.
    fn finish(self) -> Result<(u64, u64), AppError> {
        let everything = KeyPrefix::from_bytes([]);
        let (mut known, mut after) = (0, None);
        loop {
            let page = self.store.scan(&everything, after.as_ref(), SCAN_KEYS)?;
            known += page.len() as u64;
            match page.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        if known != self.identifiers || self.newest != self.identifiers {
            return Err(AppError::Index {
                what: format!(
                    "the index knows {known} identifiers, {} of them by their newest entry; the ledger registered {}",
                    self.newest, self.identifiers
                ),
            });
        }
        let mut indexed = Tally::default();
        self.store.each_edge_state(|state| indexed.add(&state))?;
        if indexed != self.edges {
            return Err(AppError::Index {
                what: format!(
                    "the index knows {} states of edges, the ledger {}, and they are not the same",
                    indexed.count, self.edges.count
                ),
            });
        }
        Ok((self.identifiers, known))
    }
}

/// What a set of edge states comes to, in whatever order they are added: their number, and the sum of their hashes. A
/// ledger may hold more of them than fit in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u128,
}

impl Tally {
    fn add(&mut self, state: &EdgeStateAt) {
        let half = |nth: u8| {
            let mut hasher = DefaultHasher::new();
            (nth, state).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        self.count += 1;
        self.sum = self.sum.wrapping_add(half(0) << 64 | half(1));
    }

    /// Adds what an entry does to its edges, as both of their ends have it.
    fn add_all(&mut self, change: IndexChange) {
        let IndexChange { index, key, position, edges, .. } = change;
        for EdgeMove { kind, origin, other, op } in edges {
            let (from, to) = match origin {
                EdgeOrigin::Record => (key.clone(), other),
                EdgeOrigin::Event => (other, key.clone()),
            };
            for (direction, key, other) in [(Direction::Out, from.clone(), to.clone()), (Direction::In, to, from)] {
                let end = EdgeEnd { origin, kind, other };
                self.add(&EdgeStateAt { direction, key, end, index, op, position });
            }
        }
    }
}

//! Jobs over a whole data directory while no node runs on it: `fsck` and `rebuild`.

use std::{collections::HashMap, path::Path};

use data_encoding::BASE64;

use super::{
    AppError, Progress, START, entropy, file_error,
    index::{self, Seal},
    report,
};
use crate::{
    config::Config,
    id::{Key, KeyPrefix},
    ledger::{self, DataDir, KeySource, Opening, Position, StoredEntry},
    record::EdgeType,
    registry::apply::{self, change_of},
    store::{EdgeOp, IndexedEdge, Store},
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
    let directory = DataDir::open(data)?;
    let seal = index::check_seal(&directory)?;
    if let Seal::Broken(what) = &seal {
        return Err(AppError::Index { what: format!("index: {what}") });
    }
    let mut expected = ExpectedIndex::default();
    let total = segment_bytes(data)?;
    let audit = ledger::audit::<AppError>(&directory, |position, entry| {
        expected.add(position, entry)?;
        report(progress, position.0, total);
        Ok(())
    })?;
    if seal == Seal::Whole && audit.torn_bytes > 0 {
        let what = format!("the ledger was closed cleanly, and {} bytes follow its last entry", audit.torn_bytes);
        return Err(AppError::Index { what });
    }
    let index_entries = check_index(&directory, &audit.verifier_key, &expected)?;
    if seal == Seal::Whole {
        index::seal(&directory)?;
    }
    report(progress, total, total);
    Ok(FsckReport {
        entries: audit.entries,
        identifiers: expected.identifiers,
        signed: audit.signed,
        root: BASE64.encode(&audit.root.0),
        torn_bytes: audit.torn_bytes,
        index_entries,
        verifier_key: audit.verifier_key,
        sealed: seal == Seal::Whole,
    })
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
    let recovered = opening.recover::<AppError>(START, |frame| {
        apply::apply_frame(&*store, frame)?;
        report(progress, frame.end().0, total);
        Ok(())
    })?;
    index::close(&store, &directory)?;
    report(progress, total, total);
    Ok(RebuildReport { entries: recovered.ledger.checkpoint().size })
}

//! Jobs over a whole data directory without a running node: `fsck` and `rebuild`.

use std::path::Path;

use data_encoding::BASE64;

use super::{AppError, Progress, entropy, index, report};
use crate::{
    config::Config,
    ledger::{self, DataDir, KeySource, LeafLog, LeafLogCheck, Ledger, LedgerError, Mark, MirrorOf, Opening, Seen},
    registry::apply,
    server::dns::keys,
    store::{
        PositionIndex as _,
        local::{
            IndexCheck,
            seal::{self, Seal, check_seal},
        },
    },
    vindex::keys::ORIGIN_SUFFIX,
};

/// Findings of `fsck` in a sound data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckReport {
    /// Number of entries in the ledger.
    pub entries: u64,
    /// Number of identifiers ever registered.
    pub identifiers: u64,
    /// Number of entries under the last signed checkpoint.
    pub signed: u64,
    /// Root hash of the tree, base64.
    pub root: String,
    /// Bytes of torn writes after the last entry and the last leaf of the output log; such a write was never
    /// acknowledged.
    pub torn_bytes: u64,
    /// Number of identifiers in the index.
    pub index_entries: u64,
    /// Verifier key of the ledger.
    pub verifier_key: String,
    /// Number of leaves in the output log of the verifiable index.
    pub output_leaves: u64,
    /// True if the index was closed cleanly, so that its files were compared with its seal.
    pub sealed: bool,
}

/// Result of `rebuild`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildReport {
    /// Number of ledger entries applied to the new index.
    pub entries: u64,
}

/// Checks a whole data directory: the ledger, the tree against the entries, the index against the ledger.
///
/// # Errors
///
/// [`AppError`] with the first bad entry or file.
pub fn fsck(data: &Path, progress: &mut dyn FnMut(Progress)) -> Result<FsckReport, AppError> {
    fsck_open(&DataDir::open(data)?, progress)
}

/// As [`fsck`], for an open directory.
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
    // Opening the index broke the seal. The checks change no file of the index, so it is sealed again whatever they
    // found.
    let sealed = if seal == Seal::Whole { seal::seal(directory) } else { Ok(()) };
    let report = checked?;
    sealed?;
    Ok(report)
}

/// Checks the ledger, and the index against the ledger.
fn compare(directory: &DataDir, seal: &Seal, progress: &mut dyn FnMut(Progress)) -> Result<FsckReport, AppError> {
    let total = index::ledger_bytes(directory)?;
    let mut check = IndexCheck::new(index::open(directory, &config_of(directory))?);
    if *seal == Seal::Absent {
        ledger::audit::<AppError>(directory, |position, entry| {
            Ok(check.catch_up(position, entry, apply::change_of(entry)?)?)
        })?;
    }
    let audit = ledger::audit::<AppError>(directory, |position, entry| {
        report(progress, position.0, total);
        Ok(check.entry(position, entry, apply::change_of(entry)?)?)
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

/// Configuration to open the index of a directory for a check.
fn config_of(directory: &DataDir) -> Config {
    Config { data: directory.path().into(), ..Config::default() }
}

/// Checks the output log of the verifiable index, if there is one. The content is checked by an audit, not here.
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

/// Removes the index and rebuilds it from the ledger.
///
/// # Errors
///
/// [`AppError`]; a second run starts over.
pub fn rebuild(data: &Path, progress: &mut dyn FnMut(Progress)) -> Result<RebuildReport, AppError> {
    let directory = DataDir::open(data)?;
    index::remove(&directory)?;
    let config = Config { data: data.into(), ..Config::default() };
    let opening = Opening::new(&directory, KeySource { origin: &config.origin, seed: entropy()() })?;
    let store = index::open_or_rebuild(&directory, &opening, &config)?;
    let total = opening.bytes()?;
    // Nothing is signed: only a node may sign, after it has asked its witnesses.
    let replayed = opening.recover::<AppError>(Mark::START, |frame| {
        apply::apply_frame(&store, frame)?;
        report(progress, frame.end().0, total);
        Ok(())
    })?;
    store.close()?;
    seal::seal(&directory)?;
    report(progress, total, total);
    Ok(RebuildReport { entries: replayed.size() })
}

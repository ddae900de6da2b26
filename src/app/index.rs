//! The index directory: opened, rebuilt if unusable, sealed on close (`store::local::seal`).

use std::{fs, io, sync::Arc};

use super::{AppError, file_error};
use crate::{
    config::{Config, Sizes},
    ledger::{DataDir, Opening},
    store::{
        StoreError,
        local::{LocalIndex, LocalOptions, seal::unseal},
    },
};

/// Opens the index; rebuilds an index that is damaged or belongs to another state of the ledger.
///
/// # Errors
///
/// [`AppError`] if the directory cannot be removed, or the engine fails in it.
pub(super) fn open_or_rebuild(
    directory: &DataDir,
    opening: &Opening,
    config: &Config,
) -> Result<Arc<LocalIndex>, AppError> {
    let reason = match open(directory, config) {
        Ok(store) if opening.fits(store.mark())? => return Ok(Arc::new(store)),
        Ok(store) => {
            drop(store);
            "it was made over another state of the ledger".to_owned()
        }
        Err(StoreError::Damaged { what, .. }) => what,
        Err(error) => return Err(error.into()),
    };
    tracing::warn!(reason, "the index does not serve; making it again from the ledger");
    remove(directory)?;
    Ok(Arc::new(open(directory, config)?))
}

/// Opens the index as stored, and breaks its seal.
///
/// # Errors
///
/// [`StoreError`].
pub(super) fn open(directory: &DataDir, config: &Config) -> Result<LocalIndex, StoreError> {
    unseal(directory).map_err(|error| StoreError::Engine {
        path: directory.index().display().to_string(),
        reason: error.source.to_string(),
    })?;
    let sync = directory.tree_sync();
    LocalIndex::open(
        &directory.index(),
        LocalOptions {
            block_cache_bytes: Sizes::here(config).index_bytes,
            overlay_entries_max: config.index.overlay_entries_max,
            before_mark: Box::new(move |_| sync()),
            ..LocalOptions::default()
        },
    )
}

/// Removes the index.
///
/// # Errors
///
/// [`AppError::System`].
pub(super) fn remove(directory: &DataDir) -> Result<(), AppError> {
    unseal(directory)?;
    match fs::remove_dir_all(directory.index()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", &directory.index(), error)),
        _ => Ok(()),
    }
}

/// Size of the ledger's segments in bytes.
///
/// # Errors
///
/// [`AppError::System`].
pub(super) fn ledger_bytes(directory: &DataDir) -> Result<u64, AppError> {
    let segments = directory.path().join("ledger/segments");
    let sum = || -> io::Result<u64> { fs::read_dir(&segments)?.map(|item| Ok(item?.metadata()?.len())).sum() };
    sum().map_err(|error| file_error("read", &segments, error))
}

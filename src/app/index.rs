//! The index directory: opened, rebuilt when it does not serve, sealed when it is closed.
//!
//! The seal (`DIR/index.seal`) lists every file of a cleanly closed index with its length and CRC-32C, so that `fsck` finds
//! a flipped bit anywhere in it, also in places that the engine does not look at. Opening the index breaks the seal.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{AppError, file_error};
use crate::{
    config::{Config, Sizes},
    ledger::{DataDir, Mark, Opening},
    store::{
        Store, StoreError,
        local::{LocalOptions, LocalStore},
    },
};

/// What was found about the seal of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// The index was not closed cleanly, or never opened: there is no seal.
    Absent,
    /// Every file is as it was closed.
    Whole,
    /// The first difference.
    Broken(String),
}

/// Opens the index; one that cannot be opened, or was made over another ledger, is thrown away and begun anew.
///
/// # Errors
///
/// [`AppError`] when the directory cannot be removed or the engine cannot work in it.
pub(super) fn open_or_rebuild(
    directory: &DataDir,
    opening: &Opening,
    config: &Config,
) -> Result<Arc<LocalStore>, AppError> {
    let reason = match open(directory, config) {
        Ok(store) if opening.fits(mark(&store))? => return Ok(Arc::new(store)),
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

/// Opens the index as it is, and breaks its seal.
///
/// # Errors
///
/// [`StoreError`].
pub(super) fn open(directory: &DataDir, config: &Config) -> Result<LocalStore, StoreError> {
    let engine = |error: io::Error| StoreError::Engine {
        path: directory.index().display().to_string(),
        reason: error.to_string(),
    };
    unseal(directory).map_err(engine)?;
    let sync = directory.tree_sync();
    LocalStore::open(
        &directory.index(),
        LocalOptions {
            block_cache_bytes: Sizes::here(config).index_bytes,
            overlay_entries_max: config.index.overlay_entries_max,
            before_mark: Box::new(move |_| sync()),
            ..LocalOptions::default()
        },
    )
}

/// Up to where the index is durable, in the ledger's terms.
pub(super) fn mark(store: &dyn Store) -> Mark {
    let applied = store.durable();
    Mark { entries: applied.entries, position: applied.next }
}

/// Merges, closes and seals the index.
///
/// # Errors
///
/// [`AppError`]; the index then has no seal, and the next start replays or rebuilds.
pub(super) fn close(store: &Arc<LocalStore>, directory: &DataDir) -> Result<(), AppError> {
    store.close()?;
    seal(directory)
}

/// Throws the index away.
///
/// # Errors
///
/// [`AppError::System`].
pub(super) fn remove(directory: &DataDir) -> Result<(), AppError> {
    unseal(directory).map_err(|error| file_error("remove", &seal_path(directory), error))?;
    match fs::remove_dir_all(directory.index()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", &directory.index(), error)),
        _ => Ok(()),
    }
}

/// Writes the seal of a closed index.
///
/// # Errors
///
/// [`AppError::System`].
pub(super) fn seal(directory: &DataDir) -> Result<(), AppError> {
    let write = || -> io::Result<()> {
        let (path, listing) = (seal_path(directory), listing(&directory.index())?);
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(listing.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory.path())?.sync_all()
    };
    write().map_err(|error| file_error("write", &seal_path(directory), error))
}

/// Compares the files of a closed index with its seal.
///
/// # Errors
///
/// [`AppError::System`] when a file cannot be read.
pub(super) fn check_seal(directory: &DataDir) -> Result<Seal, AppError> {
    let sealed = match fs::read(seal_path(directory)) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seal::Absent),
        Err(error) => return Err(file_error("read", &seal_path(directory), error)),
    };
    let found = listing(&directory.index()).map_err(|error| file_error("read", &directory.index(), error))?;
    if sealed == found.as_bytes() {
        return Ok(Seal::Whole);
    }
    let sealed = String::from_utf8_lossy(&sealed);
    let lines = || sealed.lines().map(Some).chain(std::iter::repeat(None));
    let different = found.lines().zip(lines()).find(|(found, sealed)| Some(*found) != *sealed);
    let what = different.map_or("a file is missing".into(), |(found, _)| {
        let name = found.rsplit(' ').next().unwrap_or(found);
        format!("`{name}` is not as it was when the index was closed")
    });
    Ok(Seal::Broken(what))
}

/// The bytes that the ledger's segments take.
///
/// # Errors
///
/// [`AppError::System`].
pub(super) fn ledger_bytes(directory: &DataDir) -> Result<u64, AppError> {
    let segments = directory.path().join("ledger/segments");
    let sum = || -> io::Result<u64> { fs::read_dir(&segments)?.map(|item| Ok(item?.metadata()?.len())).sum() };
    sum().map_err(|error| file_error("read", &segments, error))
}

fn unseal(directory: &DataDir) -> io::Result<()> {
    match fs::remove_file(seal_path(directory)) {
        Ok(()) => File::open(directory.path())?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn seal_path(directory: &DataDir) -> PathBuf {
    directory.path().join("index.seal")
}

/// One line for each file below the index directory: checksum, length, path; in order of the paths.
fn listing(index: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    let mut pending = vec![index.to_path_buf()];
    while let Some(path) = pending.pop() {
        for item in fs::read_dir(path)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                pending.push(item.path());
            } else {
                files.push(item.path());
            }
        }
    }
    files.sort();
    let mut listing = String::new();
    for path in files {
        let (checksum, len) = checksum(&path)?;
        let name = path.strip_prefix(index).unwrap_or(&path).display().to_string();
        let _ = writeln!(listing, "{checksum:08x} {len} {name}");
    }
    Ok(listing)
}

fn checksum(path: &Path) -> io::Result<(u32, u64)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut checksum, mut len) = (0, 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((checksum, len)),
            count => {
                checksum = crc32c::crc32c_append(checksum, &buffer[..count]);
                len += count as u64;
            }
        }
    }
}

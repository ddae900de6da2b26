//! The seal of a closed index (`DIR/index.seal`): the length and CRC-32C of every file of the index, so that `fsck`
//! finds a flipped bit anywhere in them, also where the engine does not look. Opening the index breaks the seal.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::ledger::DataDir;

/// A file of the index or its seal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub struct SealError {
    /// The operation.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> SealError {
    SealError { what, path: path.into(), source }
}

/// State of the seal of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// The index was not closed cleanly, or never opened: there is no seal.
    Absent,
    /// Every file is unchanged since the index was closed.
    Whole,
    /// The first difference.
    Broken(String),
}

/// Writes the seal of a closed index.
///
/// # Errors
///
/// [`SealError`].
pub fn seal(directory: &DataDir) -> Result<(), SealError> {
    let write = || -> io::Result<()> {
        let path = seal_path(directory);
        let listing = listing(&directory.index())?;
        // A crash leaves no seal or a whole one: it gets its name after its content is durable.
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(listing.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory.path())?.sync_all()
    };
    write().map_err(|error| failed("write", &seal_path(directory), error))
}

/// Compares the files of a closed index with its seal.
///
/// # Errors
///
/// [`SealError`] when a file cannot be read.
pub fn check_seal(directory: &DataDir) -> Result<Seal, SealError> {
    let sealed = match fs::read(seal_path(directory)) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seal::Absent),
        Err(error) => return Err(failed("read", &seal_path(directory), error)),
    };
    let found = listing(&directory.index()).map_err(|error| failed("read", &directory.index(), error))?;
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

/// Breaks the seal, if there is one, before the index is opened and changed.
///
/// # Errors
///
/// [`SealError`].
pub fn unseal(directory: &DataDir) -> Result<(), SealError> {
    let removed = match fs::remove_file(seal_path(directory)) {
        Ok(()) => File::open(directory.path()).and_then(|directory| directory.sync_all()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|error| failed("remove", &seal_path(directory), error))
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
    let mut checksum = 0;
    let mut len = 0;
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

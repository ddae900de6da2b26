//! The data directory: its format, its layout, its lock, and its modes.
//!
//! Segments hold values that are not public, and salts: everything in the directory is for its owner alone, whatever the
//! umask of the process, and whatever an earlier version left.

use std::{
    fs::{File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::Mode;

use super::LedgerError;

/// Content of the `FORMAT` file of a directory of this version. Another layout takes another number.
pub(super) const FORMAT: &str = "touchmark data 1";

/// Name of the `FORMAT` file until it is whole.
const FORMAT_TEMPORARY: &str = "FORMAT.new";
/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Name of the ledger's folder.
const LEDGER: &str = "ledger";

/// An open data directory, locked until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is being started right now holds a copy of the handle.
        let _ = self.lock.unlock();
    }
}

impl DataDir {
    /// Opens a data directory; creates it if it is missing or empty.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Format`] for a directory of another version; [`LedgerError::Foreign`] for one that is no data
    /// directory; [`LedgerError::Locked`] if it is in use; [`LedgerError::Io`].
    pub fn open_or_create(path: &Path) -> Result<Self, LedgerError> {
        keep_private();
        std::fs::create_dir_all(path).map_err(|error| LedgerError::io("cannot create", path, error))?;
        if is_new(path).map_err(|error| LedgerError::io("cannot list", path, error))? {
            write_format(path).map_err(|error| LedgerError::io("cannot write to", path, error))?;
        }
        let directory = Self::open(path)?;
        // The path itself may be a symbolic link, and is the directory all the same.
        if let Err(error) = path.canonicalize().and_then(|path| take_from_others(&path)) {
            tracing::warn!(
                path = %path.display(), %error,
                "others may read the data directory, and its modes cannot be changed: make it belong to this user"
            );
        }
        Ok(directory)
    }

    /// Opens a data directory that exists.
    ///
    /// # Errors
    ///
    /// As for [`DataDir::open_or_create`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        keep_private();
        let format = path.join("FORMAT");
        let lock = match File::open(&format) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_dir() => {
                return Err(LedgerError::Foreign { path: path.into() });
            }
            Err(error) => return Err(LedgerError::io("cannot open", &format, error)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Locked { path: path.into() }),
            Err(TryLockError::Error(error)) => return Err(LedgerError::io("cannot lock", &format, error)),
        }
        let found = std::fs::read(&format).map_err(|error| LedgerError::io("cannot read", &format, error))?;
        if found != format!("{FORMAT}\n").as_bytes() {
            let found = String::from_utf8_lossy(&found).trim_end().chars().take(40).collect();
            return Err(LedgerError::Format { path: path.into(), found });
        }
        Ok(Self { path: path.into(), lock })
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the index.
    pub fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// Path of the output log of the verifiable index.
    pub fn vindex(&self) -> PathBuf {
        self.path.join("vindex")
    }

    /// True if the directory has a signing key.
    pub fn has_key(&self) -> bool {
        self.key().exists()
    }

    /// Returns a function that makes the files of the tree durable; called before the index is marked as applied
    /// (`ledger::recover`).
    pub fn tree_sync(&self) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
        let tree = self.tree();
        move || {
            let mut files = std::fs::read_dir(&tree)?;
            files.try_for_each(|file| File::open(file?.path())?.sync_data())
        }
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.path.join(LEDGER)
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.ledger().join("segments")
    }

    pub(super) fn redactions(&self) -> PathBuf {
        self.ledger().join("redactions")
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.ledger().join("tree")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.ledger().join("key")
    }

    pub(super) fn mirror(&self) -> PathBuf {
        self.ledger().join("mirror")
    }

    /// Path of the note that this directory was a mirror's and its ledger continues under its primary's key.
    pub fn promoted(&self) -> PathBuf {
        self.ledger().join("promoted")
    }

    pub(super) fn signed_head(&self) -> PathBuf {
        self.ledger().join("signed_head")
    }
}

/// Path of a mirror's state about its primary, beside its ledger.
pub(super) fn seen(data: &Path) -> PathBuf {
    data.join(LEDGER).join("seen")
}

/// Makes every file that this process creates from now on for its owner alone: engines and libraries create files of
/// their own.
fn keep_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Takes the rights of group and others from a path and everything below it. Symbolic links are left as they are.
fn take_from_others(path: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    let mode = metadata.permissions().mode();
    if !metadata.is_symlink() && mode & OTHERS != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !OTHERS))?;
    }
    if metadata.is_dir() {
        for item in std::fs::read_dir(path)? {
            take_from_others(&item?.path())?;
        }
    }
    Ok(())
}

/// True if the directory holds nothing but what [`write_format`] leaves when it is cut off.
fn is_new(path: &Path) -> io::Result<bool> {
    for item in std::fs::read_dir(path)? {
        let item = item?;
        let is_ours = match item.file_name().to_str() {
            Some(FORMAT_TEMPORARY) => true,
            Some(LEDGER) => item.file_type()?.is_dir() && std::fs::read_dir(item.path())?.next().is_none(),
            _ => false,
        };
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_format(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path.join(LEDGER))?;
    let temporary = path.join(FORMAT_TEMPORARY);
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path.join("FORMAT"))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_may_have_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = DataDir::open_or_create(&path).unwrap();
        assert!(matches!(DataDir::open_or_create(&path), Err(LedgerError::Locked { .. })));
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn everything_in_it_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        drop(DataDir::open_or_create(&path).unwrap());
        let file = path.join("ledger/segment");
        std::fs::write(&file, "x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&path), mode(&path.join(LEDGER)), mode(&file)], [0o700, 0o700, 0o600]);
        // As an earlier version left it.
        for (path, mode) in [(&path, 0o755), (&path.join(LEDGER), 0o775), (&file, 0o644)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let outside = directory.path().join("outside");
        std::fs::write(&outside, "x").unwrap();
        std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        drop(DataDir::open_or_create(&path).unwrap());
        assert_eq!([mode(&path), mode(&path.join(LEDGER)), mode(&file)], [0o700, 0o700, 0o600]);
        assert_eq!(mode(&outside), 0o644);
        let (link, real) = (directory.path().join("data-link"), path);
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::fs::set_permissions(real.join("ledger/segment"), std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(DataDir::open_or_create(&link).unwrap());
        assert_eq!(mode(&real.join("ledger/segment")), 0o600);
    }

    #[test]
    fn making_it_can_be_cut_off_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join(LEDGER)).unwrap();
        std::fs::write(path.join(FORMAT_TEMPORARY), "touch").unwrap();
        drop(DataDir::open_or_create(path).unwrap());
        DataDir::open(path).unwrap();
        std::fs::remove_file(path.join("FORMAT")).unwrap();
        std::fs::write(path.join(LEDGER).join("key"), "x").unwrap();
        assert!(matches!(DataDir::open_or_create(path), Err(LedgerError::Foreign { .. })));
    }

    #[test]
    fn another_version_and_a_foreign_directory_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        drop(DataDir::open_or_create(path).unwrap());
        std::fs::write(path.join("FORMAT"), "touchmark data 2\n").unwrap();
        let refused = DataDir::open_or_create(path).unwrap_err().to_string();
        assert!(refused.contains("`touchmark data 2`") && refused.contains("`touchmark data 1`"), "{refused}");
        std::fs::rename(path.join("FORMAT"), path.join("letter.txt")).unwrap();
        assert!(matches!(DataDir::open_or_create(path), Err(LedgerError::Foreign { .. })));
    }
}

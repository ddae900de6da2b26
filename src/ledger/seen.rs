//! State of a mirror about its primary, beside the ledger that it holds: the file `DIR/ledger/seen`.
//!
//! ```text
//! touchmark seen 1                 written whole or not at all, at most once a second
//! explained <entries>              every value missing in so many entries was erased by one of them
//! <a signed checkpoint>            behind an empty line: the largest that was seen and not held whole
//! ```
//!
//! A primary that is lost may have signed more than its mirror received. The checkpoint tells when the mirror is
//! promoted; it is verified again when it is read.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    CHECKPOINT_BYTES_MAX, LedgerError, data_dir,
    keys::{remove, write_whole},
};
use crate::tlog::{SignedCheckpoint, note::VerifierKey};

/// First line of the file.
const HEAD: &str = "touchmark seen 1";
/// Maximum size of the file, in bytes: a checkpoint and the lines before it.
const FILE_BYTES_MAX: u64 = CHECKPOINT_BYTES_MAX as u64 + 256;
/// Number of newly explained entries after which the file is written again; the next start checks the rest again.
const EXPLAINED_STEP: u64 = 65_536;

/// State of a mirror about its primary. Cheap to update, from any thread; one thread writes the file.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    explained: u64,
    newest: Option<SignedCheckpoint>,
    /// Number of explained entries in the file.
    explained_written: u64,
    is_newest_written: bool,
}

impl Seen {
    /// Reads the file of a data directory; without a file nothing is known.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the file cannot be read, or its checkpoint is not signed by the
    /// primary's key.
    pub fn open(data: &Path, verifier: &VerifierKey) -> Result<Self, LedgerError> {
        let path = data_dir::seen(data);
        let text = match fs::metadata(&path).and_then(|found| match found.len() {
            0..=FILE_BYTES_MAX => fs::read_to_string(&path).map(Some),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(String::new()),
            Err(error) => return Err(LedgerError::io("cannot read", &path, error)),
        };
        let known = text.map_or_else(|| Some(Known::NOTHING), |text| Known::parse(&text, verifier));
        let known = known.ok_or_else(|| {
            LedgerError::damaged(
                &path,
                "does not say what was seen of the primary: restore it from a copy; without it nobody knows what the primary signed and \
                 this mirror never received",
            )
        })?;
        Ok(Self { path, known: Mutex::new(known) })
    }

    /// Renames a damaged file, and returns its new path.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn set_aside(data: &Path) -> Result<PathBuf, LedgerError> {
        let path = data_dir::seen(data);
        let aside = path.with_extension("damaged");
        fs::rename(&path, &aside).map_err(|error| LedgerError::io("cannot move away", &path, error))?;
        Ok(aside)
    }

    /// The largest checkpoint seen that the mirror did not hold all of at that time.
    pub fn newest(&self) -> Option<SignedCheckpoint> {
        self.known().newest.clone()
    }

    /// Number of entries, from the first on, of which every missing value was erased by one of them.
    pub fn explained(&self) -> u64 {
        self.known().explained
    }

    /// Notes a verified checkpoint that the mirror does not hold all of.
    pub fn see(&self, checkpoint: &SignedCheckpoint) {
        let mut known = self.known();
        if known.newest.as_ref().is_none_or(|newest| newest.size < checkpoint.size) {
            (known.newest, known.is_newest_written) = (Some(checkpoint.clone()), false);
        }
    }

    /// Notes that every value missing in the first `entries` entries was erased by one of them.
    pub fn explain(&self, entries: u64) {
        let mut known = self.known();
        known.explained = known.explained.max(entries);
    }

    /// Writes the file if it is out of date by a checkpoint or by many explained entries; it is durable on return.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the file is unchanged then.
    pub fn write(&self) -> Result<(), LedgerError> {
        let known = self.known().clone();
        match known.is_newest_written && known.explained < known.explained_written.saturating_add(EXPLAINED_STEP) {
            true => Ok(()),
            false => self.write_known(&known),
        }
    }

    /// Writes the file if it is out of date at all, at the end.
    ///
    /// # Errors
    ///
    /// As for [`Seen::write`].
    pub fn flush(&self) -> Result<(), LedgerError> {
        let known = self.known().clone();
        match known.is_newest_written && known.explained == known.explained_written {
            true => Ok(()),
            false => self.write_known(&known),
        }
    }

    fn write_known(&self, written: &Known) -> Result<(), LedgerError> {
        let done = write_whole(&self.path, written.text().as_bytes());
        done.map_err(|error| LedgerError::io("cannot write", &self.path, error))?;
        let mut known = self.known();
        known.explained_written = written.explained;
        // A larger checkpoint may have been seen while the file was written.
        known.is_newest_written = known.size() == written.size();
        Ok(())
    }

    /// Removes the file, when the directory ceases to be a mirror's.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(super) fn remove(data: &Path) -> Result<(), LedgerError> {
        remove(&data_dir::seen(data))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    const NOTHING: Self = Self { explained: 0, newest: None, explained_written: 0, is_newest_written: true };

    fn parse(text: &str, verifier: &VerifierKey) -> Option<Self> {
        let rest = text.strip_prefix(HEAD)?.strip_prefix("\nexplained ")?;
        let (explained, rest) = rest.split_once('\n')?;
        let explained = explained.parse().ok()?;
        let newest = match rest.strip_prefix('\n') {
            Some(note) => Some(verifier.verify(note.as_bytes())?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { explained, newest, explained_written: explained, is_newest_written: true })
    }

    fn text(&self) -> String {
        let note = self.newest.as_ref().map_or_else(String::new, |newest| format!("\n{}", newest.note));
        format!("{HEAD}\nexplained {}\n{note}", self.explained)
    }

    fn size(&self) -> Option<u64> {
        self.newest.as_ref().map(|newest| newest.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{Hash, LedgerKey};

    #[test]
    fn the_largest_is_kept_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("ledger")).unwrap();
        let path = directory.path().join("ledger/seen");
        let key = LedgerKey::open_or_create(&directory.path().join("key"), "id.test/ledger", [1; 32]).unwrap();
        let other = LedgerKey::open_or_create(&directory.path().join("other"), "id.test/ledger", [2; 32]).unwrap();
        let open = || Seen::open(directory.path(), key.verifier());
        let seen = open().unwrap();
        assert_eq!((seen.newest(), seen.explained()), (None, 0));
        for size in [3, 9, 5] {
            seen.see(&key.sign(size, Hash([size as u8; 32])).unwrap());
        }
        seen.explain(4);
        seen.write().unwrap();
        let again = open().unwrap();
        assert_eq!((again.newest().unwrap().size, again.explained()), (9, 4));
        assert_eq!(again.newest(), seen.newest());

        // Small steps are not written before the end.
        let written = fs::read(&path).unwrap();
        again.explain(7);
        again.write().unwrap();
        assert_eq!(fs::read(&path).unwrap(), written);
        again.flush().unwrap();
        assert_eq!((open().unwrap().explained(), open().unwrap().newest().unwrap().size), (7, 9));
        again.explain(7 + EXPLAINED_STEP);
        again.write().unwrap();
        assert_eq!(open().unwrap().explained(), 7 + EXPLAINED_STEP);

        let good = fs::read_to_string(&path).unwrap();
        let forged = other.sign(99, Hash([0; 32])).unwrap().note;
        let table = [
            String::new(),
            good.replace("seen 1", "seen 2"),
            good.replace("explained ", "explained x"),
            good.replace("\n9\n", "\n8\n"),
            format!("{HEAD}\nexplained 7\n\n{forged}"),
            good.repeat(9),
        ];
        for bad in table {
            fs::write(&path, &bad).unwrap();
            assert!(matches!(open(), Err(LedgerError::Damaged { .. })), "{bad}");
        }
        Seen::remove(directory.path()).unwrap();
        Seen::remove(directory.path()).unwrap();
        assert_eq!(open().unwrap().newest(), None);
    }
}

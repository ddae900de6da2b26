//! The file of a ledger's key: `PRIVATE+KEY+<origin>+<id>+<base64 of type and seed>`, readable by its owner alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::LedgerError;
use crate::tlog::LedgerKey;

impl LedgerKey {
    /// Reads the key file; if there is none, makes a key from `seed` and writes it, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the file holds no key; [`LedgerError::Origin`] if a new key
    /// cannot have this origin.
    pub fn open_or_create(path: &Path, origin: &str, seed: [u8; 32]) -> Result<Self, LedgerError> {
        match std::fs::read_to_string(path) {
            Ok(text) => text
                .strip_suffix('\n')
                .and_then(Self::parse)
                .ok_or_else(|| LedgerError::damaged(path, "holds no signing key of this format")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::new(origin, seed)?;
                key.write(path)?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(LedgerError::damaged(path, "holds no signing key of this format"))
            }
            Err(error) => Err(LedgerError::io("cannot read", path, error)),
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the file holds no key.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        match path.try_exists() {
            // The file exists, so neither origin nor seed is used.
            Ok(true) => Self::open_or_create(path, "unused", [0; 32]),
            Ok(false) => Err(LedgerError::io("cannot read", path, io::ErrorKind::NotFound.into())),
            Err(error) => Err(LedgerError::io("cannot read", path, error)),
        }
    }

    /// Writes the key to a file, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the file is unchanged then.
    pub fn write(&self, path: &Path) -> Result<(), LedgerError> {
        write_secret(path, &self.to_text()).map_err(|error| LedgerError::io("cannot write", path, error))
    }
}

/// Writes a file that only its owner may read, whole or not at all; a line end is appended to `text`.
///
/// # Errors
///
/// Error of the system; the file is unchanged then.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::Hash;

    fn key(directory: &Path) -> LedgerKey {
        LedgerKey::open_or_create(&directory.join("key"), "example.test/log", [7; 32]).unwrap()
    }

    #[test]
    fn a_key_survives_and_signs_what_others_verify() {
        let directory = tempfile::tempdir().unwrap();
        let first = key(directory.path());
        let again = LedgerKey::open_or_create(&directory.path().join("key"), "other.test", [8; 32]).unwrap();
        assert_eq!(first.verifier_key(), again.verifier_key());
        assert_eq!(again.origin(), "example.test/log");
        let checkpoint = first.sign(3, Hash([9; 32])).unwrap();
        assert_eq!(again.verify(checkpoint.note.as_bytes()), Some(checkpoint.clone()));
        let flipped = checkpoint.note.replace("\n3\n", "\n4\n");
        assert_eq!(again.verify(flipped.as_bytes()), None);
    }

    #[test]
    fn every_seed_makes_a_key_that_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        for seed in 0..=255 {
            let path = directory.path().join(seed.to_string());
            let made = LedgerKey::open_or_create(&path, "example.test/log", [seed; 32]).unwrap();
            let again = LedgerKey::open_or_create(&path, "example.test/log", [0; 32]).unwrap();
            assert_eq!(made.verifier_key(), again.verifier_key());
        }
    }

    #[test]
    fn an_origin_that_cannot_name_a_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for origin in ["", "two words", "a+b", "é", &"x".repeat(101)] {
            let made = LedgerKey::open_or_create(&directory.path().join("key"), origin, [7; 32]);
            assert!(matches!(made, Err(LedgerError::Origin { .. })), "{origin}");
        }
    }
}

//! Keys of a data directory's ledger: its own key, which signs it, or on a mirror the primary's key, which verifies it.
//!
//! ```text
//! touchmark mirror 1            DIR/ledger/mirror, written whole or not at all
//! key <verifier key of the primary (C2SP signed-note vkey)>
//! url <URL of the primary's log: its checkpoint lies at <url>/checkpoint>
//! only <prefix>                 an edge node keeps only these prefixes; one line each, none for a whole mirror
//! ```
//!
//! If that file exists, the directory is a mirror's, whatever else it holds: no private key is used, and nothing is
//! signed.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use super::{DataDir, LedgerError};
use crate::{
    id::Subtree,
    tlog::{LedgerKey, note::VerifierKey},
};

/// First line of the file.
const HEAD: &str = "touchmark mirror 1";
/// Maximum size of the file, in bytes: a key, a URL, and prefixes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Maximum number of prefixes that an edge node keeps.
pub const PREFIXES_MAX: usize = 256;

/// Key of a ledger's checkpoints.
#[derive(Debug)]
pub(super) enum Keys {
    /// This node's own key, which signs.
    Own(Box<LedgerKey>),
    /// The key of the mirrored primary, which verifies.
    Mirrored(Box<VerifierKey>),
}

impl Keys {
    /// Reads the key of a directory.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if there is no key, or it cannot be read.
    pub(super) fn open(directory: &DataDir) -> Result<Self, LedgerError> {
        if let Some(mirror) = MirrorOf::read(directory)? {
            return Ok(Self::Mirrored(Box::new(mirror.key)));
        }
        let path = directory.key();
        if !path.exists() {
            return Err(LedgerError::damaged(&path, "is missing"));
        }
        LedgerKey::open(&path).map(|key| Self::Own(Box::new(key)))
    }

    /// Key that verifies the ledger's checkpoints.
    pub(super) fn verifier(&self) -> &VerifierKey {
        match self {
            Self::Own(key) => key.verifier(),
            Self::Mirrored(verifier) => verifier,
        }
    }

    /// Key that signs the ledger's checkpoints.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoKey`] on a mirror.
    pub(super) fn signer(&self) -> Result<&LedgerKey, LedgerError> {
        match self {
            Self::Own(key) => Ok(key),
            Self::Mirrored(verifier) => Err(LedgerError::NoKey { origin: verifier.name().into() }),
        }
    }
}

/// Source of a mirror.
#[derive(Clone, Debug)]
pub struct MirrorOf {
    /// Key that verifies the primary's checkpoints.
    pub key: VerifierKey,
    /// URL of the primary's log.
    pub url: String,
    /// Prefixes that an edge node keeps; empty if everything is kept.
    pub only: Vec<String>,
}

impl MirrorOf {
    /// Reads the source of a directory's mirror; `None` if the directory is no mirror's.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the file cannot be read.
    pub fn read(directory: &DataDir) -> Result<Option<Self>, LedgerError> {
        let path = directory.mirror();
        let text = match fs::metadata(&path).and_then(|found| match found.len() {
            0..=FILE_BYTES_MAX => fs::read_to_string(&path),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(LedgerError::io("cannot read", &path, error)),
        };
        let read = Self::parse(&text);
        read.map(Some).ok_or_else(|| LedgerError::damaged(&path, "does not say what this directory is a mirror of"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        lines.next().filter(|head| *head == HEAD)?;
        let key = VerifierKey::of_log(lines.next()?.strip_prefix("key ")?).ok()?;
        let url = lines.next()?.strip_prefix("url ").filter(|url| !url.is_empty())?.to_owned();
        let only: Vec<String> =
            lines.map(|line| line.strip_prefix("only ").map(str::to_owned)).collect::<Option<_>>()?;
        let mirror = Self { key, url, only };
        (mirror.only.len() <= PREFIXES_MAX && mirror.subtrees().is_some()).then_some(mirror)
    }

    fn text(&self) -> String {
        let Self { key, url, only } = self;
        let only: String = only.iter().map(|prefix| format!("only {prefix}\n")).collect();
        format!("{HEAD}\nkey {}\nurl {url}\n{only}", key.text())
    }

    /// Subtrees that an edge node keeps; empty if everything is kept, `None` if a prefix is malformed.
    pub fn subtrees(&self) -> Option<Vec<Subtree>> {
        self.only.iter().map(|prefix| Subtree::parse(prefix).ok()).collect()
    }

    /// Writes the file: from here on the directory is a mirror's.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the file is unchanged then. [`LedgerError::Damaged`] if the file could not be read again.
    pub fn write(&self, directory: &DataDir) -> Result<(), LedgerError> {
        let (path, text) = (directory.mirror(), self.text());
        if Self::parse(&text).is_none() {
            return Err(LedgerError::damaged(
                &path,
                "cannot say what it is a mirror of: URL and prefixes are one line each",
            ));
        }
        write_whole(&path, text.as_bytes()).map_err(|error| LedgerError::io("cannot write", &path, error))
    }

    /// Removes the file: from here on the directory is its own. Its key must exist.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if there is no key.
    pub fn remove(directory: &DataDir) -> Result<(), LedgerError> {
        if !directory.key().exists() {
            return Err(LedgerError::damaged(&directory.key(), "is missing"));
        }
        let path = directory.mirror();
        let removed = fs::remove_file(&path).and_then(|()| File::open(directory.ledger())?.sync_all());
        removed.map_err(|error| LedgerError::io("cannot remove", &path, error))
    }
}

/// Removes a file, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LedgerError::io("cannot remove", path, error)),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        assert!(MirrorOf::read(&data).unwrap().is_none());
        let mirror = |url: &str, only: &[&str]| MirrorOf {
            key: VerifierKey::of_log(KEY).unwrap(),
            url: url.into(),
            only: only.iter().map(|&prefix| prefix.into()).collect(),
        };
        for only in [&[][..], &["88.1", "urn:oid:2.999"]] {
            let written = mirror("http://a.example/log", only);
            written.write(&data).unwrap();
            let read = MirrorOf::read(&data).unwrap().unwrap();
            assert_eq!((read.key.text(), &read.url, &read.only), (KEY, &written.url, &written.only));
            assert_eq!(read.subtrees().unwrap().len(), only.len());
        }
        for (url, only) in [("a\nb", &[][..]), ("", &[]), ("http://a", &["88..1"]), ("http://a", &["88.1\nkey x"])] {
            assert!(mirror(url, only).write(&data).is_err(), "{url} {only:?}");
        }
        assert!(MirrorOf::remove(&data).is_err(), "there is no key");
        let path = directory.path().join("ledger/mirror");
        let good = fs::read_to_string(&path).unwrap();
        for bad in [String::new(), good.replace("mirror 1", "mirror 2"), good.replace("+530d", "+530e"), good + "x"] {
            fs::write(&path, &bad).unwrap();
            assert!(MirrorOf::read(&data).is_err(), "{bad}");
        }
    }
}

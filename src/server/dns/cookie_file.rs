//! The file with the secrets of DNS cookies ([`CookieSecrets`]): a set of servers that answer on one address shares it.
//!
//! The node's own file is made at the first start, so that clients keep their cookies over a restart. A file that was
//! named by the configuration is only read: one that is missing there is a mistake.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;

use crate::protocol::dns::cookie::{CookieSecretError, CookieSecrets, SECRET_OCTETS};

/// The name of the file in the data directory.
pub const COOKIE_FILE: &str = "dns_cookie_secret";
/// The longest file, in bytes: two secrets and what is said about them.
const FILE_BYTES_MAX: u64 = 4_096;

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum CookieFileError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no such file.
    #[error("{} is not a file of DNS cookie secrets: it has more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// The file holds no secrets.
    #[error("the DNS cookie secrets in {} cannot be used: {source}", path.display())]
    Secrets {
        /// Which file.
        path: PathBuf,
        /// What is wrong with them.
        source: CookieSecretError,
    },
}

/// Reads a file.
///
/// # Errors
///
/// [`CookieFileError`].
pub fn read(path: &Path) -> Result<CookieSecrets, CookieFileError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|source| CookieFileError::io("open", path, source))?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|source| CookieFileError::io("read", path, source))?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(CookieFileError::TooLong { path: path.into() });
    }
    CookieSecrets::from_text(&text).map_err(|source| CookieFileError::Secrets { path: path.into(), source })
}

/// Reads a file, or makes it, readable by its owner alone, with `random` as its secret.
///
/// # Errors
///
/// [`CookieFileError`].
pub fn read_or_create(path: &Path, random: [u8; SECRET_OCTETS]) -> Result<CookieSecrets, CookieFileError> {
    match read(path) {
        Err(CookieFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            write(path, random).map_err(|source| CookieFileError::io("write", path, source))?;
            read(path)
        }
        found => found,
    }
}

impl CookieFileError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, secret: [u8; SECRET_OCTETS]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{}", HEXLOWER.encode(&secret))?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_own_file_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(COOKIE_FILE);
        let cookie = |secrets: CookieSecrets| secrets.response_option([1; 8], [192, 0, 2, 1].into(), 1_000);
        let first = cookie(read_or_create(&path, [0xa5; 16]).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(cookie(read_or_create(&path, [0x5a; 16]).unwrap()), first);
        assert_eq!(cookie(read(&path).unwrap()), first);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn refusals_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(COOKIE_FILE);
        let check = |message: &str| {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(message) && error.contains(COOKIE_FILE), "{error}");
        };
        check("cannot open");
        for (bytes, message) in [
            (vec![0xff; 10], "cannot read"),
            (vec![b'#'; 4_097], "has more than 4096 bytes"),
            (b"secret\n".to_vec(), "cannot be used: line 1 holds no secret of 32 hexadecimal digits"),
            (Vec::new(), "cannot be used: 0 secrets; 1 to 2 can be used"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            check(message);
            assert!(read_or_create(&path, [1; 16]).is_err(), "a file that is there is never replaced");
        }
    }
}

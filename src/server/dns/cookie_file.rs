//! The file with the secrets of DNS cookies ([`CookieSecrets`]), shared by a set of servers that answer on one address.
//!
//! A node without such a file generates a secret at every start: after a restart its clients get new cookies, and
//! notice nothing else.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::protocol::dns::cookie::{CookieSecretError, CookieSecrets};

/// Maximum length of the file, in bytes: two secrets and comments.
const FILE_BYTES_MAX: u64 = 4_096;

/// Error of reading the secrets.
#[derive(Debug, thiserror::Error)]
pub enum CookieFileError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Operation that failed.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file is too long to be such a file.
    #[error("{} is not a file of DNS cookie secrets: it has more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file holds no usable secrets.
    #[error("the DNS cookie secrets in {} cannot be used: {source}", path.display())]
    Secrets {
        /// Path of the file.
        path: PathBuf,
        /// Error in the secrets.
        source: CookieSecretError,
    },
}

/// Reads the secrets from a file.
///
/// # Errors
///
/// [`CookieFileError`] if the file cannot be read, or holds no usable secrets.
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

impl CookieFileError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets");
        std::fs::write(&path, "# from 2026 on\n445536bcd2513298075a5d379663c962\n").unwrap();
        let made = read(&path).unwrap().response_option([1; 8], [192, 0, 2, 1].into(), 1_000);
        let secret = b"\x44\x55\x36\xbc\xd2\x51\x32\x98\x07\x5a\x5d\x37\x96\x63\xc9\x62";
        let expected = CookieSecrets::new(*secret, None).response_option([1; 8], [192, 0, 2, 1].into(), 1_000);
        assert_eq!(made, expected);
    }

    #[test]
    fn refusals_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets");
        let check = |message: &str| {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(message) && error.contains("/secrets"), "{error}");
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
        }
    }
}

//! The data directory of a mirror: which ledger it mirrors, checked against the settings at every start.

use crate::{
    ledger::{DataDir, LedgerError, MirrorOf},
    tlog::note::VerifierKey,
};

/// Settings of a mirror.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Base URL of the primary's log, whose checkpoint lies at `<url>/checkpoint`.
    pub url: &'a str,
    /// The primary's verifier key; required at the first start.
    pub key: Option<&'a str>,
    /// Prefixes that an edge node keeps; empty for everything, `None` if the settings do not say.
    pub only: Option<&'a [String]>,
}

/// Error of preparing or promoting a directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The settings do not fit the directory.
    #[error("{what}")]
    Refused {
        /// The conflict, with advice.
        what: String,
    },
    /// The directory cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Returns the ledger that a directory mirrors, by the directory or the settings; `None` if the directory holds a
/// ledger of its own. The first start writes the settings into the directory, which is a mirror's from then on.
///
/// # Errors
///
/// [`DirectoryError`].
pub fn prepare(directory: &DataDir, asked: Option<Asked<'_>>) -> Result<Option<MirrorOf>, DirectoryError> {
    let refused = |what: String| Err(DirectoryError::Refused { what });
    let known = MirrorOf::read(directory)?;
    let Some(Asked { url, key, only }) = asked else { return Ok(known) };
    let Some(known) = known else {
        if directory.has_key() {
            let path = directory.path().display();
            return refused(format!(
                "{path} holds a ledger of its own, with its key; if it was promoted, take `of` in [mirror] (--mirror-of) out of the configuration, else give the mirror a \
                 new directory"
            ));
        }
        let Some(key) = key else {
            return refused(
                "the first start of a mirror needs the primary's key, from the operator: --mirror-key".into(),
            );
        };
        let key = VerifierKey::of_log(key).map_err(|error| DirectoryError::Refused { what: error.to_string() })?;
        let mirror = MirrorOf { key, url: url.into(), only: only.unwrap_or_default().into() };
        mirror.write(directory)?;
        return Ok(Some(mirror));
    };
    if let Some(key) = key.filter(|key| *key != known.key.text()) {
        return refused(format!(
            "this directory mirrors the ledger with the key {}, not {key}; give a mirror of another ledger a new directory",
            known.key.text()
        ));
    }
    if let Some(only) = only.filter(|only| **only != *known.only) {
        let words = |only: &[String]| if only.is_empty() { "everything".into() } else { only.join(", ") };
        let (held, asked) = (words(&known.only), words(only));
        return refused(format!(
            "this directory keeps {held}, not {asked}; give a mirror of other prefixes a new directory"
        ));
    }
    let moved = MirrorOf { url: url.into(), ..known.clone() };
    if moved.url != known.url {
        moved.write(directory)?;
    }
    Ok(Some(moved))
}

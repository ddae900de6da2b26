//! What the data directory of a mirror says, and what the mirror is told when it starts.

use crate::{
    ledger::{DataDir, LedgerError, MirrorOf},
    tlog::note::VerifierKey,
};

/// What a node is told to mirror.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where the primary's log is: its checkpoint lies at `<url>/checkpoint`.
    pub url: &'a str,
    /// The primary's verifier key; the first start needs it.
    pub key: Option<&'a str>,
    /// The prefixes that an edge node keeps; `None` when nothing is said, empty when everything is kept.
    pub only: Option<&'a [String]>,
}

/// Why a directory cannot be that of this mirror, or cannot be promoted.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// What is asked does not fit the directory.
    #[error("{what}")]
    Refused {
        /// What is in the way, and what to do.
        what: String,
    },
    /// The directory cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What a directory mirrors, as it says or as it is told to now; `None` when it is a ledger of its own. What is said at the first
/// start is remembered, and the directory is a mirror's from then on.
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

//! Why the ledger could not be opened, read or written: what is in the way, where, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{BATCH_BYTES_MAX, Position, data_dir};
use crate::{codec::Torn, tlog::BadOrigin};

/// Why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused. When writing failed, nothing of the batch is left.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds what this program does not write.
    #[error("{} {what}", path.display())]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The directory was written by another version.
    #[error("{} is of format `{found}`; this version reads and writes `{}`", path.display(), data_dir::FORMAT)]
    Format {
        /// The data directory.
        path: PathBuf,
        /// What its `FORMAT` file says.
        found: String,
    },
    /// The directory holds files, and none of them says that it is a data directory.
    #[error(
        "{} is not empty and has no FORMAT file, so it is no data directory; give one that is, or an empty or missing one",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Someone else has the directory open.
    #[error("{} is in use by another process; one node at a time may have it open", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The ledger holds less than, or other than, what it has signed.
    #[error(
        "the ledger has {size} entries, and its last checkpoint signed {signed}, {difference}: entries that receipts were \
         given for are missing; refusing to sign a second history. Restore the newest copy of the data directory"
    )]
    BehindSignedHead {
        /// Entries found.
        size: u64,
        /// Entries signed.
        signed: u64,
        /// What differs, in words.
        difference: &'static str,
    },
    /// An erasure counts, and not all of what it erased is gone yet.
    #[error(
        "the erasure of entry {index} was cut off, and some of what it erased may still be there: start the node once, which \
         finishes it"
    )]
    ErasureCutOff {
        /// The erase entry.
        index: u64,
    },
    /// A mirror has no key of its own.
    #[error(
        "this directory is a mirror of `{origin}` and has no key to sign with: its primary signs, or `touchmark promote`"
    )]
    NoKey {
        /// The ledger.
        origin: String,
    },
    /// A key is not that of the ledger.
    #[error("the key file holds the key {found}, and this ledger's is {expected}")]
    OtherKey {
        /// The verifier key of what was found.
        found: String,
        /// That of the ledger.
        expected: String,
    },
    /// What the primary signed is not what was taken from it.
    #[error("the checkpoint of {signed} entries does not fit the {size} that were taken: nothing of them was written")]
    OtherTree {
        /// Entries that the ledger would have.
        size: u64,
        /// Entries that the checkpoint covers.
        signed: u64,
    },
    /// A batch has no room for an entry.
    #[error(
        "a batch with the entry would take {bytes} bytes; the limit is {BATCH_BYTES_MAX}: nothing of it was written"
    )]
    BatchTooLong {
        /// How long it would be.
        bytes: usize,
    },
    /// The node keeps chosen prefixes alone.
    #[error("ledger entry {index} is outside the prefixes that this node keeps; ask its primary")]
    NotHeld {
        /// The entry.
        index: u64,
    },
    /// The origin cannot name a key.
    #[error(transparent)]
    Origin(#[from] BadOrigin),
    /// A proof was asked for over a tree that is not there.
    #[error("{asked} entries were asked about; there are {entries}")]
    OutOfTree {
        /// The tree or the entry, counted from 1.
        asked: u64,
        /// How many there are.
        entries: u64,
    },
    /// An earlier failure left the state of the disk unknown.
    #[error("the ledger takes no more entries until the node is started again, because earlier it {reason}")]
    Stopped {
        /// The earlier failure.
        reason: String,
    },
}

impl LedgerError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }

    pub(super) fn damaged(path: &Path, what: &str) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }

    pub(super) fn entry(position: Position, torn: Torn) -> Self {
        Self::Damaged { path: "entry".into(), what: format!("at position {position} cannot be read: {torn}") }
    }
}

//! Failures of opening, reading or writing the ledger: what is in the way, where, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{BATCH_BYTES_MAX, data_dir};
use crate::{
    codec::Torn,
    entry::Locator,
    tlog::{BadOrigin, SignedCheckpoint},
};

/// Failure of opening, reading or writing the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused. After a failed write, nothing of the batch is left.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The failed operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A file holds something that this program does not write.
    #[error("{} {what}", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// The damage, in words.
        what: String,
    },
    /// The directory was written by another version.
    #[error("{} is of format `{found}`; this version reads and writes `{}`", path.display(), data_dir::FORMAT)]
    Format {
        /// The data directory.
        path: PathBuf,
        /// Content of its `FORMAT` file.
        found: String,
    },
    /// The directory holds files, but no `FORMAT` file: it is no data directory.
    #[error(
        "{} is not empty and has no FORMAT file, so it is no data directory; give one that is, or an empty or missing one",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the directory open.
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
        /// Number of entries found.
        size: u64,
        /// Number of entries signed.
        signed: u64,
        /// The difference, in words.
        difference: &'static str,
    },
    /// The signed head is not the one that this process stored last: another one signs.
    #[error(
        "the signed head is that of {} where this process left that of {}: another process writes this ledger; stop one of \
         them, then start the other again",
        entries(*found), entries(*expected)
    )]
    HeadMoved {
        /// Number of entries of the checkpoint that was expected; `None` for none at all.
        expected: Option<u64>,
        /// Number of entries of the checkpoint found; `None` for none at all.
        found: Option<u64>,
    },
    /// An erasure counts, and some of the erased values may still be on the disk.
    #[error(
        "the erasure of entry {index} was cut off, and some of what it erased may still be there: start the node once, which \
         finishes it"
    )]
    ErasureCutOff {
        /// Index of the erase entry.
        index: u64,
    },
    /// A mirror has no key of its own.
    #[error(
        "this directory is a mirror of `{origin}` and has no key to sign with: its primary signs, or `touchmark promote`"
    )]
    NoKey {
        /// Origin of the ledger.
        origin: String,
    },
    /// A key is not that of the ledger.
    #[error("the key file holds the key {found}, and this ledger's is {expected}")]
    OtherKey {
        /// Verifier key found.
        found: String,
        /// Verifier key of the ledger.
        expected: String,
    },
    /// The primary's checkpoint does not fit the entries taken from it.
    #[error("the checkpoint of {signed} entries does not fit the {size} that were taken: nothing of them was written")]
    OtherTree {
        /// Number of entries that the ledger would have.
        size: u64,
        /// Number of entries that the checkpoint covers.
        signed: u64,
    },
    /// The batch has no room for an entry.
    #[error(
        "a batch with the entry would take {bytes} bytes; the limit is {BATCH_BYTES_MAX}: nothing of it was written"
    )]
    BatchTooLong {
        /// Size of the batch with the entry, in bytes.
        bytes: usize,
    },
    /// The entry is outside the prefixes that this node keeps.
    #[error("ledger entry {index} is outside the prefixes that this node keeps; ask its primary")]
    NotHeld {
        /// Index of the entry.
        index: u64,
    },
    /// The origin cannot be the name of a key.
    #[error(transparent)]
    Origin(#[from] BadOrigin),
    /// A proof was asked for over a tree that does not exist.
    #[error("{asked} entries were asked about; there are {entries}")]
    OutOfTree {
        /// Size of the tree, or number of the entry from 1, that was asked about.
        asked: u64,
        /// Number of entries there.
        entries: u64,
    },
    /// An earlier failure left the content of the disk unknown.
    #[error("the ledger takes no more entries until the node is started again, because earlier it {reason}")]
    Stopped {
        /// The earlier failure.
        reason: String,
    },
}

/// The extent of a signed head, in words.
fn entries(size: Option<u64>) -> String {
    size.map_or_else(|| "nothing".into(), |size| format!("{size} entries"))
}

impl LedgerError {
    pub(super) fn head_moved(expected: Option<&SignedCheckpoint>, found: Option<&SignedCheckpoint>) -> Self {
        let size = |head: Option<&SignedCheckpoint>| head.map(|head| head.size);
        Self::HeadMoved { expected: size(expected), found: size(found) }
    }

    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }

    pub(super) fn damaged(path: &Path, what: &str) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }

    pub(super) fn entry(Locator(position): Locator, torn: Torn) -> Self {
        Self::Damaged { path: "entry".into(), what: format!("at position {position} cannot be read: {torn}") }
    }
}

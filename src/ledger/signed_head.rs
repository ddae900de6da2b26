//! Signed head: the last checkpoint that the ledger signed, in the file `signed_head`.
//!
//! A checkpoint is stored here before it is published: in two slots of 512 bytes, written in turn, each a whole note
//! padded with zeros, so that a torn write leaves the other slot. At start the ledger must hold at least what the
//! newest readable slot signed, with the same root: otherwise entries with receipts are missing, and the node refuses
//! to sign a contradiction.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{Head, LedgerError};
use crate::tlog::{SignedCheckpoint, note::VerifierKey};

/// Maximum length of a checkpoint, in bytes.
pub const SLOT_BYTES: usize = 512;
/// Damage of a head that holds something else.
const NO_CHECKPOINT: &str = "holds no checkpoint signed with this ledger's key";

/// The file of the last signed checkpoint.
#[derive(Debug)]
pub(super) struct SignedHead {
    path: PathBuf,
    key: VerifierKey,
    file: File,
    /// Both slots, as this process read or wrote them last.
    known: [u8; 2 * SLOT_BYTES],
    next_slot: usize,
    unsynced: bool,
}

/// Content of the slots of a `signed_head` file.
#[derive(Debug)]
pub(super) struct Slots {
    /// The newest whole checkpoint, and its slot.
    pub(super) newest: Option<(usize, SignedCheckpoint)>,
    /// Slots that hold something other than a checkpoint.
    pub(super) unreadable: Vec<usize>,
}

impl SignedHead {
    /// Opens the file, or creates an empty one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if the file is not empty and neither slot can be read.
    pub(super) fn open(path: &Path, key: &VerifierKey) -> Result<Self, LedgerError> {
        let file = open_or_create(path).map_err(|error| LedgerError::io("cannot open", path, error))?;
        let slots = read_slots(path, key)?;
        if slots.newest.is_none() && !slots.unreadable.is_empty() {
            return Err(LedgerError::damaged(path, NO_CHECKPOINT));
        }
        if !slots.unreadable.is_empty() {
            tracing::warn!(file = %path.display(), "one slot of the signed head was torn; the other one is whole and counts");
        }
        let next_slot = slots.newest.as_ref().map_or(0, |(slot, _)| 1 - slot);
        let known = read_both(&file).map_err(|error| LedgerError::io("cannot read", path, error))?;
        Ok(Self { path: path.into(), key: key.clone(), file, known, next_slot, unsynced: false })
    }

    /// True if the file still is as this process left it, with this checkpoint as the newest one.
    fn is(&self, expected: Option<&SignedCheckpoint>) -> Result<bool, LedgerError> {
        let newest = &self.known[(1 - self.next_slot) * SLOT_BYTES..][..SLOT_BYTES];
        let is_newest = match expected {
            Some(expected) => *newest == slots(&self.path, &[expected])?[..],
            None => newest.iter().all(|&byte| byte == 0),
        };
        let found = read_both(&self.file).map_err(|error| LedgerError::io("cannot read", &self.path, error))?;
        Ok(is_newest && found == self.known)
    }
}

impl Head for SignedHead {
    fn load(&self) -> Result<Option<SignedCheckpoint>, LedgerError> {
        let slots = read_slots(&self.path, &self.key)?;
        match slots.newest {
            None if !slots.unreadable.is_empty() => Err(LedgerError::damaged(&self.path, NO_CHECKPOINT)),
            newest => Ok(newest.map(|(_, newest)| newest)),
        }
    }

    /// The data directory is locked by the one process that has it open, but not every file system keeps locks: the slots
    /// are read back, so that a second writer is found with its first checkpoint.
    fn replace(&mut self, old: Option<&SignedCheckpoint>, new: &SignedCheckpoint) -> Result<(), LedgerError> {
        if !self.is(old)? {
            return Err(LedgerError::head_moved(old, self.load()?.as_ref()));
        }
        let slot = slots(&self.path, &[new])?;
        let written = self.file.write_all_at(&slot, (self.next_slot * SLOT_BYTES) as u64);
        written.map_err(|error| LedgerError::io("cannot write", &self.path, error))?;
        self.known[self.next_slot * SLOT_BYTES..][..SLOT_BYTES].copy_from_slice(&slot);
        self.next_slot = 1 - self.next_slot;
        self.unsynced = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LedgerError> {
        if self.unsynced {
            self.file.sync_data().map_err(|error| LedgerError::io("cannot sync", &self.path, error))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Encodes checkpoints, one for each slot.
///
/// # Errors
///
/// [`LedgerError::Damaged`] if a checkpoint is too long for a slot.
pub(super) fn slots(path: &Path, checkpoints: &[&SignedCheckpoint]) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = vec![0; SLOT_BYTES * checkpoints.len()];
    for (slot, checkpoint) in bytes.chunks_exact_mut(SLOT_BYTES).zip(checkpoints) {
        let note = checkpoint.note.as_bytes();
        let Some(start) = slot.get_mut(..note.len()) else {
            return Err(LedgerError::damaged(path, "has slots too short for this ledger's checkpoints"));
        };
        start.copy_from_slice(note);
    }
    Ok(bytes)
}

/// Both slots of a file; what the file does not hold yet is zeros.
fn read_both(file: &File) -> io::Result<[u8; 2 * SLOT_BYTES]> {
    let (mut bytes, mut len) = ([0; 2 * SLOT_BYTES], 0);
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], len as u64)? {
            0 => break,
            more => len += more,
        }
    }
    Ok(bytes)
}

/// Opens the file; a new file's name is made durable before anything is signed, so that a missing file is a sign of
/// damage.
fn open_or_create(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if let Some(directory) = path.parent().filter(|_| is_new) {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// Reads both slots and verifies their checkpoints.
///
/// # Errors
///
/// [`LedgerError::Io`].
pub(super) fn read_slots(path: &Path, key: &VerifierKey) -> Result<Slots, LedgerError> {
    let bytes = std::fs::read(path).map_err(|error| LedgerError::io("cannot read", path, error))?;
    let mut slots = Slots { newest: None, unreadable: Vec::new() };
    for (slot, bytes) in bytes.chunks(SLOT_BYTES).enumerate() {
        let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if len == 0 {
            continue;
        }
        match key.verify(&bytes[..len]).filter(|_| slot < 2) {
            Some(found) => {
                if slots.newest.as_ref().is_none_or(|(_, newest)| newest.size <= found.size) {
                    slots.newest = Some((slot, found));
                }
            }
            None => slots.unreadable.push(slot),
        }
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::head::contract,
        tlog::{Hash, LedgerKey},
    };

    fn key(directory: &Path) -> LedgerKey {
        LedgerKey::open_or_create(&directory.join("key"), "example.test/log", [7; 32]).unwrap()
    }

    #[test]
    fn the_file_keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = (key(directory.path()), directory.path().join("signed_head"));
        contract::check(&key, &mut || Box::new(SignedHead::open(&path, key.verifier()).unwrap()));
    }

    #[test]
    fn the_signed_head_survives_a_torn_slot() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = (key(directory.path()), directory.path().join("signed_head"));
        let mut head = SignedHead::open(&path, key.verifier()).unwrap();
        assert_eq!(head.load().unwrap(), None);
        let mut old = None;
        for size in 1..=5 {
            let new = key.sign(size, Hash([size as u8; 32])).unwrap();
            head.replace(old.as_ref(), &new).unwrap();
            old = Some(new);
        }
        let newest_is = |size: u64| {
            let newest = SignedHead::open(&path, key.verifier()).unwrap().load().unwrap();
            assert_eq!(newest.map(|newest| newest.size), Some(size));
        };
        newest_is(5);
        // Sizes 1, 3 and 5 went to slot 0, 2 and 4 to slot 1.
        head.file.write_all_at(b"torn", 100).unwrap();
        newest_is(4);
        head.file.write_all_at(b"torn", 612).unwrap();
        assert!(matches!(SignedHead::open(&path, key.verifier()), Err(LedgerError::Damaged { .. })));
    }
}

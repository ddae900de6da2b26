//! Checkpoints: the ledger's size and root, signed; and the key that signs them.
//!
//! A checkpoint is a C2SP tlog-checkpoint in a C2SP signed note, made with `tlog_tiles` and `signed_note`. The last one
//! signed is kept in `signed_head` before anyone gets to see it: two slots of 512 bytes, written in turn, each a whole
//! note padded with zeros, so that a torn write leaves the other one. At start the ledger must hold at least what the newest
//! readable slot signed, with the same root: otherwise entries that somebody holds a receipt for are gone, and the node
//! refuses to sign anything that would contradict it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use signed_note::{Note, StandardSigner};
use tlog_tiles::{Checkpoint, Hash};

use super::{CheckpointVerifier, LedgerError};

/// Type byte of an Ed25519 key in a signed note (C2SP signed-note).
const ED25519: u8 = 0x01;
/// The longest origin (the name of the ledger and its key), in bytes: a checkpoint must fit a slot.
pub const ORIGIN_BYTES_MAX: usize = 100;
/// The longest checkpoint that is kept, in bytes.
pub const SLOT_BYTES: usize = 512;

/// A signed tree head.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedCheckpoint {
    /// The number of entries.
    pub size: u64,
    /// Root of the tree of these entries.
    pub root: Hash,
    /// The signed note, as clients and witnesses get it.
    pub note: Arc<str>,
}

/// The key of one ledger, named by the ledger's origin.
pub struct LedgerKey {
    origin: String,
    seed: [u8; 32],
    signer: StandardSigner,
    verifier: CheckpointVerifier,
}

impl std::fmt::Debug for LedgerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerKey({})", self.verifier_key())
    }
}

impl LedgerKey {
    /// Reads the key file, or makes a key from `seed` and writes it, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], [`LedgerError::Damaged`] when the file holds no key, [`LedgerError::Origin`] when a new key cannot
    /// have this origin.
    pub fn open_or_create(path: &Path, origin: &str, seed: [u8; 32]) -> Result<Self, LedgerError> {
        match std::fs::read_to_string(path) {
            Ok(text) => text
                .strip_suffix('\n')
                .and_then(Self::parse)
                .ok_or_else(|| LedgerError::damaged(path, "holds no signing key of this format")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = encode_key(origin, seed)?;
                write_secret(path, &text).map_err(|error| LedgerError::io("cannot write", path, error))?;
                Self::parse(&text).ok_or_else(|| LedgerError::Origin { origin: origin.into() })
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
    /// [`LedgerError::Io`], [`LedgerError::Damaged`] when the file holds no key.
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
    /// [`LedgerError::Io`]; the file is then what it was.
    pub fn write(&self, path: &Path) -> Result<(), LedgerError> {
        let text = encode_key(&self.origin, self.seed)?;
        write_secret(path, &text).map_err(|error| LedgerError::io("cannot write", path, error))
    }

    /// Takes apart `PRIVATE+KEY+<origin>+<id>+<base64 of type and seed>`.
    fn parse(text: &str) -> Option<Self> {
        // Neither name nor id can hold a plus; the base64 of the key can.
        let (origin, rest) = text.strip_prefix("PRIVATE+KEY+")?.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let seed: [u8; 32] = BASE64.decode(key.as_bytes()).ok()?.get(1..)?.try_into().ok()?;
        // Other spellings of the same key are refused, so that a flipped bit anywhere in the file is noticed.
        if encode_key(origin, seed).ok()? != text {
            return None;
        }
        Self::of_seed(origin, seed)
    }

    fn of_seed(origin: &str, seed: [u8; 32]) -> Option<Self> {
        let signer = StandardSigner::new(&private_key(origin, seed)).ok()?;
        let verifier = CheckpointVerifier::of_key(origin, SigningKey::from_bytes(&seed).verifying_key())?;
        Some(Self { origin: origin.into(), seed, signer, verifier })
    }

    /// The same key for a second log, whose name is longer by `suffix`. Signatures do not pass from one log to the other: the
    /// name is the first line of what is signed.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Origin`] when the name cannot name a key.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, LedgerError> {
        let origin = format!("{}{suffix}", self.origin);
        Self::of_seed(&origin, self.seed).ok_or(LedgerError::Origin { origin })
    }

    /// The name of the ledger and of its key.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The verifier key that auditors and witnesses need (C2SP signed-note vkey).
    pub fn verifier_key(&self) -> &str {
        self.verifier.text()
    }

    /// What verifies this key's checkpoints.
    pub fn verifier(&self) -> &CheckpointVerifier {
        &self.verifier
    }

    /// Signs a tree head.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Origin`] when the origin cannot stand in a checkpoint.
    pub fn sign(&self, size: u64, root: Hash) -> Result<SignedCheckpoint, LedgerError> {
        let origin = || LedgerError::Origin { origin: self.origin.clone() };
        let text = Checkpoint::new(&self.origin, size, root, "").map_err(|_| origin())?.to_bytes();
        let mut note = Note::new(&text, &[]).map_err(|_| origin())?;
        note.add_sigs(&[&self.signer]).map_err(|_| origin())?;
        let note = String::from_utf8(note.to_bytes()).map_err(|_| origin())?;
        Ok(SignedCheckpoint { size, root, note: note.into() })
    }

    /// Checks that a note is a checkpoint signed with this key.
    pub fn verify(&self, note: &[u8]) -> Option<SignedCheckpoint> {
        self.verifier.verify(note)
    }
}

fn encode_key(origin: &str, seed: [u8; 32]) -> Result<String, LedgerError> {
    let printable = origin.bytes().all(|byte| byte.is_ascii_graphic());
    if !signed_note::is_key_name_valid(origin) || origin.len() > ORIGIN_BYTES_MAX || !printable {
        return Err(LedgerError::Origin { origin: origin.into() });
    }
    Ok(private_key(origin, seed))
}

fn private_key(origin: &str, seed: [u8; 32]) -> String {
    let public = SigningKey::from_bytes(&seed).verifying_key();
    let id = signed_note::key_id(origin, &[&[ED25519], public.as_bytes().as_slice()].concat());
    let private = BASE64.encode(&[&[ED25519], seed.as_slice()].concat());
    format!("PRIVATE+KEY+{origin}+{id:08x}+{private}")
}

/// Writes a file that only its owner may read, whole or not at all; a line end is added.
///
/// # Errors
///
/// What the system said; the file is then what it was.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// The file that remembers the last checkpoint signed.
#[derive(Debug)]
pub(super) struct SignedHead {
    path: PathBuf,
    file: File,
    next_slot: usize,
    unsynced: bool,
}

/// What the slots of a `signed_head` file hold.
#[derive(Debug)]
pub(super) struct Slots {
    /// The newest checkpoint that is whole, and the slot it lies in.
    pub(super) newest: Option<(usize, SignedCheckpoint)>,
    /// Slots that hold something else than a checkpoint.
    pub(super) unreadable: Vec<usize>,
}

impl SignedHead {
    /// Opens the file, or makes an empty one.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], or [`LedgerError::Damaged`] when neither slot can be read though something was written.
    pub(super) fn open(path: &Path, key: &CheckpointVerifier) -> Result<(Self, Option<SignedCheckpoint>), LedgerError> {
        let file = open_or_create(path).map_err(|error| LedgerError::io("cannot open", path, error))?;
        let slots = read_slots(path, key)?;
        if slots.newest.is_none() && !slots.unreadable.is_empty() {
            return Err(LedgerError::damaged(path, "holds no checkpoint signed with this ledger's key"));
        }
        if !slots.unreadable.is_empty() {
            tracing::warn!(file = %path.display(), "one slot of the signed head was torn; the other one is whole and counts");
        }
        let next_slot = slots.newest.as_ref().map_or(0, |(slot, _)| 1 - slot);
        Ok((Self { path: path.into(), file, next_slot, unsynced: false }, slots.newest.map(|(_, newest)| newest)))
    }

    /// Remembers a checkpoint; it survives the process from here on, and a power cut after [`SignedHead::sync`].
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the checkpoint must then not be given to anyone.
    pub(super) fn store(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), LedgerError> {
        let slot = slots(&self.path, &[checkpoint])?;
        let written = self.file.write_all_at(&slot, (self.next_slot * SLOT_BYTES) as u64);
        written.map_err(|error| LedgerError::io("cannot write", &self.path, error))?;
        self.next_slot = 1 - self.next_slot;
        self.unsynced = true;
        Ok(())
    }

    /// Makes the last checkpoint durable, if it is not yet.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub(super) fn sync(&mut self) -> Result<(), LedgerError> {
        if self.unsynced {
            self.file.sync_data().map_err(|error| LedgerError::io("cannot sync", &self.path, error))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Checkpoints as they lie in their slots.
///
/// # Errors
///
/// [`LedgerError::Damaged`] when one is too long for a slot.
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

/// A new file is durable by its name before anything is signed: later on, that it is missing means something.
fn open_or_create(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if let Some(directory) = path.parent().filter(|_| is_new) {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// Reads both slots and verifies what they hold.
///
/// # Errors
///
/// [`LedgerError::Io`].
pub(super) fn read_slots(path: &Path, key: &CheckpointVerifier) -> Result<Slots, LedgerError> {
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

    #[test]
    fn the_signed_head_survives_a_torn_slot() {
        let directory = tempfile::tempdir().unwrap();
        let (key, path) = (key(directory.path()), directory.path().join("signed_head"));
        let (mut head, none) = SignedHead::open(&path, key.verifier()).unwrap();
        assert_eq!(none, None);
        for size in 1..=5 {
            head.store(&key.sign(size, Hash([size as u8; 32])).unwrap()).unwrap();
        }
        let newest_is = |size: u64| {
            let (_, newest) = SignedHead::open(&path, key.verifier()).unwrap();
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

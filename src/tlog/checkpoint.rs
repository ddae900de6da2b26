//! Checkpoints: size and root of a log, signed; and the key that signs them.
//!
//! A checkpoint is a C2SP tlog-checkpoint in a C2SP signed note, made with `tlog_tiles` and `signed_note`. Deliberately
//! absent: the files in which key and checkpoint are kept (`ledger`).

use std::sync::Arc;

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use signed_note::{Note, StandardSigner};
use tlog_tiles::{Checkpoint, Hash};

use super::note::{KeyType, VerifierKey, is_key_name};

/// Type byte of an Ed25519 key in a signed note (C2SP signed-note).
const ED25519: u8 = 0x01;
/// Maximum length of an origin (the name of the ledger and of its key), in bytes: a checkpoint must fit a slot.
pub const ORIGIN_BYTES_MAX: usize = 100;

/// Error of an origin that cannot name a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("origin `{origin}` is not 1 to {ORIGIN_BYTES_MAX} printable ASCII characters without spaces and `+`")]
pub struct BadOrigin {
    /// The origin.
    pub origin: String,
}

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
    verifier: VerifierKey,
}

impl std::fmt::Debug for LedgerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerKey({})", self.verifier_key())
    }
}

impl LedgerKey {
    /// The key of a ledger from its origin and its seed.
    ///
    /// # Errors
    ///
    /// [`BadOrigin`].
    pub fn new(origin: &str, seed: [u8; 32]) -> Result<Self, BadOrigin> {
        let printable = origin.bytes().all(|byte| byte.is_ascii_graphic());
        let key = (printable && origin.len() <= ORIGIN_BYTES_MAX).then(|| Self::of_seed(origin, seed)).flatten();
        key.ok_or_else(|| BadOrigin { origin: origin.into() })
    }

    /// Parses `PRIVATE+KEY+<origin>+<id>+<base64 of type and seed>`; `None` if the text is not in the form of
    /// [`LedgerKey::to_text`].
    pub fn parse(text: &str) -> Option<Self> {
        // Neither name nor id can hold a plus; the base64 of the key can.
        let (origin, rest) = text.strip_prefix("PRIVATE+KEY+")?.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let seed: [u8; 32] = BASE64.decode(key.as_bytes()).ok()?.get(1..)?.try_into().ok()?;
        // Other spellings of the same key are refused, so that a flipped bit anywhere in the text is detected.
        Self::new(origin, seed).ok().filter(|key| key.to_text() == text)
    }

    /// The key as text, with its secret.
    pub fn to_text(&self) -> String {
        private_key(&self.origin, self.seed)
    }

    fn of_seed(origin: &str, seed: [u8; 32]) -> Option<Self> {
        let signer = StandardSigner::new(&private_key(origin, seed)).ok()?;
        let verifier = VerifierKey::new(origin, KeyType::Log, SigningKey::from_bytes(&seed).verifying_key());
        is_key_name(origin).then_some(Self { origin: origin.into(), seed, signer, verifier })
    }

    /// The same key for a second log, whose name is longer by `suffix`. A signature for one log is not valid for the
    /// other: the name is the first line of the signed text.
    ///
    /// # Errors
    ///
    /// [`BadOrigin`] if the name cannot name a key.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, BadOrigin> {
        let origin = format!("{}{suffix}", self.origin);
        Self::of_seed(&origin, self.seed).ok_or(BadOrigin { origin })
    }

    /// The name of the ledger and of its key.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The verifier key that auditors and witnesses need (C2SP signed-note vkey).
    pub fn verifier_key(&self) -> &str {
        self.verifier.text()
    }

    /// The verifier key of this key's checkpoints.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a tree head.
    ///
    /// # Errors
    ///
    /// [`BadOrigin`] if the origin cannot stand in a checkpoint.
    pub fn sign(&self, size: u64, root: Hash) -> Result<SignedCheckpoint, BadOrigin> {
        let origin = || BadOrigin { origin: self.origin.clone() };
        let text = Checkpoint::new(&self.origin, size, root, "").map_err(|_| origin())?.to_bytes();
        let mut note = Note::new(&text, &[]).map_err(|_| origin())?;
        note.add_sigs(&[&self.signer]).map_err(|_| origin())?;
        let note = String::from_utf8(note.to_bytes()).map_err(|_| origin())?;
        Ok(SignedCheckpoint { size, root, note: note.into() })
    }

    /// Verifies that a note is a checkpoint signed with this key; `None` if not.
    pub fn verify(&self, note: &[u8]) -> Option<SignedCheckpoint> {
        self.verifier.verify(note)
    }
}

fn private_key(origin: &str, seed: [u8; 32]) -> String {
    let public = SigningKey::from_bytes(&seed).verifying_key();
    let id = signed_note::key_id(origin, &[&[ED25519], public.as_bytes().as_slice()].concat());
    let private = BASE64.encode(&[&[ED25519], seed.as_slice()].concat());
    format!("PRIVATE+KEY+{origin}+{id:08x}+{private}")
}

/// Reads origin, size and root of a signed note; no signature is verified.
pub fn read_checkpoint(note: &[u8]) -> Option<(String, SignedCheckpoint)> {
    let parsed = Note::from_bytes(note).ok()?;
    let checkpoint = Checkpoint::from_bytes(parsed.text()).ok()?;
    let note = std::str::from_utf8(note).ok()?;
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    Some((checkpoint.origin().into(), SignedCheckpoint { size, root, note: note.into() }))
}

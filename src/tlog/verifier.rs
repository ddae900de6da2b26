//! Verifying checkpoints with nothing but a verifier key (C2SP signed-note vkey): what auditors and clients do.

use data_encoding::BASE64;
use ed25519_dalek::VerifyingKey;
use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::Checkpoint;

use super::SignedCheckpoint;

/// Type byte of an Ed25519 key in a signed note (C2SP signed-note).
const ED25519: u8 = 0x01;

/// A text is no Ed25519 verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a verifier key of the form name+id+key, with an Ed25519 key", crate::id::excerpt(text))]
pub struct VerifierKeyError {
    /// What was given.
    pub text: String,
}

/// Verifies the checkpoints of one log: name, and public key.
#[derive(Clone)]
pub struct CheckpointVerifier {
    name: String,
    key: VerifyingKey,
    text: String,
    verifier: StandardVerifier,
}

impl std::fmt::Debug for CheckpointVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CheckpointVerifier({})", self.text)
    }
}

impl CheckpointVerifier {
    /// Reads a verifier key, `name+8 hexadecimal digits+base64 of type and key`.
    ///
    /// # Errors
    ///
    /// [`VerifierKeyError`], also for keys of another type than Ed25519.
    pub fn new(text: &str) -> Result<Self, VerifierKeyError> {
        let read = || {
            // Neither name nor id can hold a plus; the base64 of the key can.
            let mut parts = text.splitn(3, '+');
            let (name, _id, key) = (parts.next()?, parts.next()?, parts.next()?);
            let bytes: [u8; 33] = BASE64.decode(key.as_bytes()).ok()?.try_into().ok()?;
            let [ED25519, key @ ..] = bytes else { return None };
            let verifier = Self::of_key(name, VerifyingKey::from_bytes(&key).ok()?)?;
            // The id belongs to name and key.
            (verifier.text == text).then_some(verifier)
        };
        read().ok_or_else(|| VerifierKeyError { text: text.into() })
    }

    /// The verifier of a name and a public key; `None` when the name cannot name a key.
    pub(super) fn of_key(name: &str, key: VerifyingKey) -> Option<Self> {
        if !signed_note::is_key_name_valid(name) {
            return None;
        }
        let text = signed_note::new_ed25519_verifier_key(name, &key);
        let verifier = StandardVerifier::new(&text).ok()?;
        Some(Self { name: name.into(), key, text, verifier })
    }

    /// The verifier of a log that the same key signs, and whose name is longer by `suffix`.
    pub fn with_suffix(&self, suffix: &str) -> Option<Self> {
        Self::of_key(&format!("{}{suffix}", self.name), self.key)
    }

    /// The name of the log and of its key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The verifier key.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes a note as a checkpoint of this log if it is signed with the key; its origin has to be the name of the key.
    pub fn verify(&self, note: &[u8]) -> Option<SignedCheckpoint> {
        let parsed = Note::from_bytes(note).ok()?;
        let verifier: Box<dyn Verifier> = Box::new(self.verifier.clone());
        parsed.verify(&VerifierList::new(vec![verifier])).ok()?;
        let (origin, checkpoint) = read_checkpoint(note)?;
        (origin == self.name).then_some(checkpoint)
    }
}

/// Reads origin, size and root of a signed note, and checks no signature.
pub fn read_checkpoint(note: &[u8]) -> Option<(String, SignedCheckpoint)> {
    let parsed = Note::from_bytes(note).ok()?;
    let checkpoint = Checkpoint::from_bytes(parsed.text()).ok()?;
    let note = std::str::from_utf8(note).ok()?;
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    Some((checkpoint.origin().into(), SignedCheckpoint { size, root, note: note.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published in C2SP signed-note.
    const PUBLISHED: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn reads_what_is_published_and_refuses_the_rest() {
        let verifier = CheckpointVerifier::new(PUBLISHED).unwrap();
        assert_eq!((verifier.name(), verifier.text()), ("example.com/foo", PUBLISHED));
        let derived = verifier.with_suffix("/index/v1").unwrap();
        assert_eq!(derived.name(), "example.com/foo/index/v1");
        assert!(derived.text().ends_with("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"), "{derived:?}");
        assert_eq!(CheckpointVerifier::new(derived.text()).unwrap().text(), derived.text());
        for wrong in ["", "a+b", &PUBLISHED.replace("530d903a", "530d903b"), &PUBLISHED.replace("+Ae", "+Be")] {
            assert!(CheckpointVerifier::new(wrong).is_err(), "{wrong}");
        }
        assert!(verifier.with_suffix("+ a").is_none());
    }
}

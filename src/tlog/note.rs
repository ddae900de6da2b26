//! Signed checkpoints: C2SP signed-note, tlog-checkpoint and tlog-cosignature, with the Ed25519 keys of logs and
//! cosigners.
//!
//! `signed_note` parses and verifies notes, `tlog_tiles` parses checkpoints; keys are ours, because cosigners have a
//! type of their own: they sign a time together with the note. A wrong signature by a known key refuses the whole note;
//! a signature by an unknown key is ignored. A note may have 100 signatures.

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, NoteError, Verifier, VerifierList};
use tlog_tiles::Checkpoint;

use super::{SignedCheckpoint, empty_root, merkle::TreeHead};

/// Maximum length of a checkpoint with its signatures, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 64 << 10;
/// Maximum length of a verifier key, in bytes.
pub const VERIFIER_KEY_BYTES_MAX: usize = 1_024;

/// Type of a key, and of the message that it signs (type byte of C2SP signed-note).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// 0x01: the note itself.
    Log,
    /// 0x04: a time and the note (C2SP tlog-cosignature).
    Cosigner,
}

impl KeyType {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Cosigner => 0x04,
        }
    }
}

/// A verifier key (C2SP signed-note, "vkey").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    kind: KeyType,
    key: VerifyingKey,
    /// The key in its only spelling.
    text: Box<str>,
}

/// Error of a text that is no verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is malformed.
    #[error("`{text}` is not a verifier key: name, +, eight hexadecimal digits, +, base64")]
    Form {
        /// Beginning of the text.
        text: String,
    },
    /// The type is not supported.
    #[error(
        "the verifier key of {name} is of type {kind:#04x}; only Ed25519 keys of logs (0x01) and witnesses (0x04) are read"
    )]
    Type {
        /// The key's name.
        name: String,
        /// The type byte.
        kind: u8,
    },
    /// The key is a cosigner's, and a log's is required.
    #[error("the verifier key of {name} is that of a witness, not of a log")]
    NotLog {
        /// The key's name.
        name: String,
    },
    /// The id does not belong to name and key.
    #[error("the verifier key of {name} has an id that does not belong to it: a character is wrong somewhere")]
    Id {
        /// The key's name.
        name: String,
    },
}

impl KeyError {
    fn of(text: &str) -> Self {
        Self::Form { text: text.chars().take(80).collect() }
    }
}

/// True if a text can name a key.
pub(super) fn is_key_name(name: &str) -> bool {
    signed_note::is_key_name_valid(name) && !name.chars().any(char::is_control)
}

impl std::str::FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = || KeyError::of(text);
        if text.len() > VERIFIER_KEY_BYTES_MAX {
            return Err(form());
        }
        let (name, rest) = text.split_once('+').ok_or_else(form)?;
        let (digits, key) = rest.split_once('+').ok_or_else(form)?;
        let bytes = BASE64.decode(key.as_bytes()).map_err(|_| form())?;
        let well_formed = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let (Ok(id), Some((&kind, key))) = (u32::from_str_radix(digits, 16), bytes.split_first()) else {
            return Err(form());
        };
        if !well_formed || !is_key_name(name) {
            return Err(form());
        }
        if id != signed_note::key_id(name, &bytes) {
            return Err(KeyError::Id { name: name.into() });
        }
        let kinds = [KeyType::Log, KeyType::Cosigner];
        let found = kinds.into_iter().find(|known| known.byte() == kind);
        let kind = found.ok_or_else(|| KeyError::Type { name: name.into(), kind })?;
        let key = key.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok()).ok_or_else(form)?;
        Ok(Self::new(name, kind, key))
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl VerifierKey {
    pub(super) fn new(name: &str, kind: KeyType, key: VerifyingKey) -> Self {
        let bytes = [&[kind.byte()], key.as_bytes().as_slice()].concat();
        let id = signed_note::key_id(name, &bytes);
        let text = format!("{name}+{id:08x}+{}", BASE64.encode(&bytes)).into();
        Self { name: name.into(), id, kind, key, text }
    }

    /// Parses the key of a log, in the only spelling that [`VerifierKey::text`] gives.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; [`KeyError::NotLog`] for the key of a cosigner.
    pub fn of_log(text: &str) -> Result<Self, KeyError> {
        let key: Self = text.parse()?;
        match key.kind {
            KeyType::Cosigner => Err(KeyError::NotLog { name: key.name }),
            KeyType::Log if *key.text != *text => Err(KeyError::of(text)),
            KeyType::Log => Ok(key),
        }
    }

    /// The same key for a second log, whose name is longer by `suffix`; `None` if that name cannot name a key.
    pub fn with_suffix(&self, suffix: &str) -> Option<Self> {
        let name = format!("{}{suffix}", self.name);
        is_key_name(&name).then(|| Self::new(&name, self.kind, self.key))
    }

    /// Verifies a note as a checkpoint of the log with this key: the key signed it, and the name of the key is the
    /// origin of the checkpoint.
    pub fn verify(&self, note: &[u8]) -> Option<SignedCheckpoint> {
        let TreeHead { size, root } = verify_checkpoint(note, [self]).ok()?.head;
        Some(SignedCheckpoint { size, root, note: std::str::from_utf8(note).ok()?.into() })
    }

    /// The key as text: `name+8 hexadecimal digits+base64 of type and key`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name of the signer: the origin of a log, or the name of a cosigner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type of the key.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The public key alone (RFC 8032).
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }
}

impl Verifier for VerifierKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let verify =
            |text: &[u8], signature: &[u8; 64]| self.key.verify_strict(text, &Signature::from_bytes(signature)).is_ok();
        match self.kind {
            KeyType::Log => signature.try_into().is_ok_and(|signature| verify(text, signature)),
            KeyType::Cosigner => match split_time(signature) {
                Some((time, signature)) => verify(&cosigned_message(time, text), signature),
                None => false,
            },
        }
    }
}

/// Splits a cosignature into its time, in seconds since 1970 UTC, and its signature.
fn split_time(cosignature: &[u8]) -> Option<(u64, &[u8; 64])> {
    let (time, signature) = cosignature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    Some((time, signature.try_into().ok()?)).filter(|_| time <= i64::MAX.cast_unsigned())
}

/// The message that a cosigner signs (C2SP tlog-cosignature, "Ed25519 signed message").
fn cosigned_message(time: u64, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

/// A cosigner's key, with its secret.
pub struct CosignerKey {
    secret: SigningKey,
    verifier: VerifierKey,
}

impl std::fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CosignerKey({})", self.verifier)
    }
}

impl CosignerKey {
    /// A key from 32 random bytes; `None` if the name cannot name a key.
    pub fn new(name: &str, seed: [u8; 32]) -> Option<Self> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic()) && name.len() <= 255;
        let secret = SigningKey::from_bytes(&seed);
        let verifier = VerifierKey::new(name, KeyType::Cosigner, secret.verifying_key());
        (printable && signed_note::is_key_name_valid(name)).then_some(Self { secret, verifier })
    }

    /// Parses `PRIVATE+KEY+<name>+<id>+<base64 of type and seed>`; `None` if the text is not in the form of
    /// [`CosignerKey::encode`].
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.strip_prefix("PRIVATE+KEY+")?.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let seed = BASE64.decode(key.as_bytes()).ok()?.get(1..)?.try_into().ok()?;
        Self::new(name, seed).filter(|key| key.encode() == text)
    }

    /// The key as text, with its secret.
    pub fn encode(&self) -> String {
        let secret = [&[KeyType::Cosigner.byte()], self.secret.as_bytes().as_slice()].concat();
        format!("PRIVATE+KEY+{}+{:08x}+{}", self.verifier.name, self.verifier.id, BASE64.encode(&secret))
    }

    /// The verifier key of this key's cosignatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns the text of a checkpoint at a time, in seconds since 1970 UTC; returns a signature line with its line
    /// feed.
    pub fn cosign(&self, text: &[u8], time: u64) -> String {
        let signature = self.secret.sign(&cosigned_message(time, text));
        let id = self.verifier.id.to_be_bytes();
        let blob = [id.as_slice(), &time.to_be_bytes(), &signature.to_bytes()].concat();
        format!("\u{2014} {} {}\n", self.verifier.name, BASE64.encode(&blob))
    }
}

/// A verified cosignature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The key that made it.
    pub key: VerifierKey,
    /// Time of the cosignature by the cosigner's clock, in seconds since 1970 UTC.
    pub time: u64,
    /// The signature line, with its line feed.
    pub line: String,
}

/// A checkpoint with verified signatures.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedCheckpoint {
    /// The log's name.
    pub origin: String,
    /// Size and root.
    pub head: TreeHead,
    /// Keys of the log that signed, at least one after [`verify_checkpoint`].
    pub log_keys: Vec<VerifierKey>,
    /// Signature lines of those keys, with their line feeds.
    pub log_lines: String,
    /// Cosignatures by known keys.
    pub cosignatures: Vec<Cosignature>,
    /// The signed text: the note without its signatures.
    pub text: Vec<u8>,
}

/// Error of a checkpoint that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The text is no signed note.
    #[error("the checkpoint is not a signed note")]
    Note,
    /// The signed text is no checkpoint.
    #[error("the signed text is not a checkpoint")]
    Text,
    /// A signature by a known key is wrong.
    #[error("the signature of {name} on the checkpoint is wrong")]
    Signature {
        /// The key's name.
        name: String,
    },
    /// No known key of the log signed the checkpoint.
    #[error("no known key of the log `{origin}` signed the checkpoint")]
    NotSigned {
        /// The log's name.
        origin: String,
    },
    /// The checkpoint of an empty tree has another root than the empty tree.
    #[error("the checkpoint of an empty tree has a root that no empty tree has")]
    EmptyRoot,
}

/// Origin of a checkpoint, without any verification.
///
/// # Errors
///
/// [`CheckpointError::Note`], [`CheckpointError::Text`].
pub fn origin(note: &[u8]) -> Result<String, CheckpointError> {
    let (_, checkpoint) = parse(note)?;
    Ok(checkpoint.origin().into())
}

/// Verifies a checkpoint: a log signed it under its own name, and every signature by one of `keys` is right.
///
/// # Errors
///
/// [`CheckpointError`].
pub fn verify_checkpoint<'a>(
    note: &[u8],
    keys: impl IntoIterator<Item = &'a VerifierKey>,
) -> Result<VerifiedCheckpoint, CheckpointError> {
    let verified = verify_signatures(note, keys)?;
    if verified.log_keys.is_empty() {
        return Err(CheckpointError::NotSigned { origin: verified.origin });
    }
    if verified.head.size == 0 && verified.head.root != empty_root() {
        return Err(CheckpointError::EmptyRoot);
    }
    Ok(verified)
}

/// Verifies the cosignature of one cosigner on a checkpoint; other signatures are ignored.
///
/// # Errors
///
/// [`CheckpointError`].
pub fn verify_cosigned(note: &[u8], key: &VerifierKey) -> Result<VerifiedCheckpoint, CheckpointError> {
    let verified = verify_signatures(note, [key])?;
    if verified.cosignatures.is_empty() {
        return Err(CheckpointError::NotSigned { origin: verified.origin });
    }
    Ok(verified)
}

/// Verifies every signature by one of `keys`; there must be at least one.
fn verify_signatures<'a>(
    note: &[u8],
    keys: impl IntoIterator<Item = &'a VerifierKey>,
) -> Result<VerifiedCheckpoint, CheckpointError> {
    let (parsed, checkpoint) = parse(note)?;
    // The library refuses the same key twice, as two keys with one name.
    let mut known: Vec<&VerifierKey> = Vec::new();
    for key in keys {
        if !known.contains(&key) {
            known.push(key);
        }
    }
    let boxed = known.iter().map(|&key| Box::new(key.clone()) as Box<dyn Verifier>).collect();
    let (signatures, _) = parsed.verify(&VerifierList::new(boxed)).map_err(|error| match error {
        NoteError::InvalidSignature { name, .. } => CheckpointError::Signature { name },
        NoteError::UnverifiedNote => CheckpointError::NotSigned { origin: checkpoint.origin().into() },
        _ => CheckpointError::Note,
    })?;
    let mut verified = VerifiedCheckpoint {
        origin: checkpoint.origin().into(),
        head: TreeHead { size: checkpoint.size(), root: *checkpoint.hash() },
        log_keys: Vec::new(),
        log_lines: String::new(),
        cosignatures: Vec::new(),
        text: parsed.text().to_vec(),
    };
    for signature in &signatures {
        let made = |key: &&&VerifierKey| key.name == signature.name() && key.id == signature.id();
        let Some(key) = known.iter().find(made).map(|&key| key.clone()) else { continue };
        let line = String::from_utf8_lossy(&signature.to_bytes()).into_owned();
        match (key.kind, split_time(signature.signature())) {
            (KeyType::Log, _) if key.name == verified.origin => {
                verified.log_keys.push(key);
                verified.log_lines += &line;
            }
            (KeyType::Cosigner, Some((time, _))) => verified.cosignatures.push(Cosignature { key, time, line }),
            _ => {}
        }
    }
    Ok(verified)
}

fn parse(note: &[u8]) -> Result<(Note, Checkpoint), CheckpointError> {
    if note.len() > CHECKPOINT_BYTES_MAX {
        return Err(CheckpointError::Note);
    }
    let parsed = Note::from_bytes(note).map_err(|_| CheckpointError::Note)?;
    let checkpoint = Checkpoint::from_bytes(parsed.text()).map_err(|_| CheckpointError::Text)?;
    Ok((parsed, checkpoint))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signed_note::StandardSigner;

    use super::*;
    use crate::tlog::Hash;

    /// The example of C2SP signed-note.
    const PUBLISHED_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const PUBLISHED_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    const ORIGIN: &str = "example.test/log";

    fn log(seed: u8) -> (StandardSigner, VerifierKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = VerifierKey::new(ORIGIN, KeyType::Log, secret.verifying_key());
        let private = BASE64.encode(&[&[1], [seed; 32].as_slice()].concat());
        (StandardSigner::new(&format!("PRIVATE+KEY+{ORIGIN}+{:08x}+{private}", key.id)).unwrap(), key)
    }

    fn checkpoint(size: u64, root: Hash, seeds: &[u8]) -> String {
        let text = Checkpoint::new(ORIGIN, size, root, "").unwrap().to_bytes();
        let mut note = Note::new(&text, &[]).unwrap();
        for &seed in seeds {
            note.add_sigs(&[&log(seed).0]).unwrap();
        }
        String::from_utf8(note.to_bytes()).unwrap()
    }

    fn cosigner(seed: u8) -> CosignerKey {
        CosignerKey::new(&format!("witness.test/{seed}"), [seed; 32]).unwrap()
    }

    #[test]
    fn the_published_note_verifies() {
        let key: VerifierKey = PUBLISHED_KEY.parse().unwrap();
        assert_eq!((key.name(), key.kind(), key.to_string()), ("example.com/foo", KeyType::Log, PUBLISHED_KEY.into()));
        let verify = |note: &str| {
            let note = Note::from_bytes(note.as_bytes()).unwrap();
            note.verify(&VerifierList::new(vec![Box::new(key.clone())])).is_ok()
        };
        assert!(verify(PUBLISHED_NOTE));
        assert!(!verify(&PUBLISHED_NOTE.replace("example message", "example messagf")));
        // It is a note, and no checkpoint.
        assert_eq!(verify_checkpoint(PUBLISHED_NOTE.as_bytes(), [&key]), Err(CheckpointError::Text));
    }

    #[test]
    fn what_is_no_verifier_key() {
        for (from, to) in [
            ("+530d903a", "+530d903b"),
            ("+530d903a", "+530d903"),
            ("+530d903a", "++30d903a"),
            ("example.com/foo", ""),
            ("example.com/foo", "a b"),
            ("example.com/foo", "example.com/fop"),
            ("Aeky", "BOky"),
            ("U2k", "U2l"),
            ("U2k", "U2k="),
            ("+Aeky", ""),
        ] {
            assert!(PUBLISHED_KEY.contains(from));
            assert!(PUBLISHED_KEY.replacen(from, to, 1).parse::<VerifierKey>().is_err(), "{from} -> {to}");
        }
        let unknown = [&[6], [1; 32].as_slice()].concat();
        let unknown = format!("w+{:08x}+{}", signed_note::key_id("w", &unknown), BASE64.encode(&unknown));
        assert_eq!(unknown.parse::<VerifierKey>(), Err(KeyError::Type { name: "w".into(), kind: 6 }));
    }

    #[test]
    fn the_key_of_a_log_is_read_in_one_spelling() {
        let verifier = VerifierKey::of_log(PUBLISHED_KEY).unwrap();
        assert_eq!((verifier.name(), verifier.text()), ("example.com/foo", PUBLISHED_KEY));
        let derived = verifier.with_suffix("/index/v1").unwrap();
        assert_eq!(derived.name(), "example.com/foo/index/v1");
        assert!(derived.text().ends_with("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"), "{derived:?}");
        assert_eq!(VerifierKey::of_log(derived.text()).unwrap().text(), derived.text());
        for wrong in [
            "",
            "a+b",
            &PUBLISHED_KEY.replace("530d903a", "530d903b"),
            &PUBLISHED_KEY.replace("530d903a", "530D903A"),
            &PUBLISHED_KEY.replace("+Ae", "+Be"),
        ] {
            assert!(VerifierKey::of_log(wrong).is_err(), "{wrong}");
        }
        let witness = cosigner(1).verifier().clone();
        assert_eq!(VerifierKey::of_log(witness.text()), Err(KeyError::NotLog { name: witness.name().into() }));
        assert!(verifier.with_suffix("+ a").is_none());
    }

    #[test]
    fn cosignatures_are_found_with_their_times() {
        let note = checkpoint(7, Hash([1; 32]), &[1]);
        let (_, log) = log(1);
        let text = verify_checkpoint(note.as_bytes(), [&log]).unwrap().text;
        let lines: Vec<String> = (2..20).map(|seed| cosigner(seed).cosign(&text, 1_000 + u64::from(seed))).collect();
        let cosigned = note.clone() + &lines.concat();
        let keys: Vec<VerifierKey> = (2..20).map(|seed| cosigner(seed).verifier().clone()).collect();
        let verified = verify_checkpoint(cosigned.as_bytes(), keys.iter().chain([&log])).unwrap();
        let times: Vec<u64> = verified.cosignatures.iter().map(|cosignature| cosignature.time).collect();
        assert_eq!(times, (1_002..1_020).collect::<Vec<_>>());
        assert_eq!((verified.head.size, verified.log_keys), (7, vec![log.clone()]));
        // Unknown keys are ignored, and a cosigner alone is not enough.
        assert_eq!(verify_checkpoint(cosigned.as_bytes(), [&log]).unwrap().cosignatures, []);
        let none = verify_checkpoint(cosigned.as_bytes(), &keys);
        assert_eq!(none, Err(CheckpointError::NotSigned { origin: ORIGIN.into() }));
    }

    #[test]
    fn a_known_key_that_fails_refuses() {
        let note = checkpoint(7, Hash([1; 32]), &[1]);
        let (_, log) = log(1);
        let witness = cosigner(2);
        let text = verify_checkpoint(note.as_bytes(), [&log]).unwrap().text;
        let late = witness.cosign(&text, 5);
        // The time is part of the signed message.
        let mut blob = BASE64.decode(late.trim_end().rsplit(' ').next().unwrap().as_bytes()).unwrap();
        blob[11] ^= 1;
        let forged = format!("{note}\u{2014} {} {}\n", witness.verifier().name(), BASE64.encode(&blob));
        let refused = Err(CheckpointError::Signature { name: witness.verifier().name().into() });
        assert_eq!(verify_checkpoint(forged.as_bytes(), [&log, witness.verifier()]), refused);
        assert!(verify_checkpoint(forged.as_bytes(), [&log]).is_ok());
        let wrong = note.replace("\n7\n", "\n8\n");
        let refused = Err(CheckpointError::Signature { name: ORIGIN.into() });
        assert_eq!(verify_checkpoint(wrong.as_bytes(), [&log]), refused);
    }

    #[test]
    fn a_key_of_another_name_is_no_key_of_the_log() {
        let note = checkpoint(7, Hash([1; 32]), &[1]);
        let secret = SigningKey::from_bytes(&[1; 32]);
        let other = VerifierKey::new("other.test/log", KeyType::Log, secret.verifying_key());
        let refused = Err(CheckpointError::NotSigned { origin: ORIGIN.into() });
        assert_eq!(verify_checkpoint(note.as_bytes(), [&other]), refused);
        let empty = checkpoint(0, Hash([1; 32]), &[1]);
        assert_eq!(verify_checkpoint(empty.as_bytes(), [&log(1).1]), Err(CheckpointError::EmptyRoot));
        assert!(verify_checkpoint(checkpoint(0, empty_root(), &[1]).as_bytes(), [&log(1).1]).is_ok());
        // A log that changes its key signs with both for a while.
        let both = checkpoint(7, Hash([1; 32]), &[1, 2]);
        assert_eq!(verify_checkpoint(both.as_bytes(), [&log(1).1, &log(2).1]).unwrap().log_keys.len(), 2);
    }

    #[test]
    fn cosigner_keys_are_read_again() {
        for seed in 0..=255 {
            let key = cosigner(seed);
            let again = CosignerKey::parse(&key.encode()).unwrap();
            assert_eq!(again.verifier(), key.verifier());
            assert_eq!(key.verifier().to_string().parse::<VerifierKey>().unwrap(), *key.verifier());
        }
        assert!(CosignerKey::new("two words", [1; 32]).is_none());
        assert!(CosignerKey::parse(&cosigner(1).encode().replace("witness.test", "witness.tset")).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "[a-z/+=0-9A-Z \n\u{2014}]{0,200}") {
            let _ = verify_checkpoint(&bytes, [&log(1).1]);
            let _ = verify_checkpoint(text.as_bytes(), [&log(1).1]);
            let _ = text.parse::<VerifierKey>();
            let _ = CosignerKey::parse(&text);
        }
    }
}

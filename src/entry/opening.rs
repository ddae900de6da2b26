//! Commitments to values, and openings of single ones. The salt of one value reveals nothing of another: each is
//! derived from the entry's salt, which cannot be derived back.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::StoredEntry;
use crate::record::stored::StoredValue;

/// Salts of an entry's commitments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Salts {
    /// Salt of the entry; the salts of its values are derived from it.
    Entry([u8; 32]),
    /// Salts of the values that are not erased, in order; the salt of the entry is destroyed.
    Values(Vec<[u8; 32]>),
}

/// Derives the salts of an entry's values from the salt of the entry.
pub(super) struct ValueSalts(Hmac<Sha256>);

impl ValueSalts {
    pub(super) fn new(entry_salt: &[u8; 32]) -> Self {
        Self(hmac(entry_salt))
    }

    /// Salt of the value with an index.
    pub(super) fn salt(&self, index: u32) -> [u8; 32] {
        self.0.clone().chain_update(index.to_be_bytes()).finalize().into_bytes().into()
    }

    /// Commitment to one value.
    pub(super) fn commitment(&self, value: &StoredValue<'_>) -> [u8; 32] {
        commitment(&self.salt(value.index), value.kind, value.canonical)
    }
}

/// Salt of one value of an entry.
pub(super) fn value_salt(entry_salt: &[u8; 32], index: u32) -> [u8; 32] {
    ValueSalts::new(entry_salt).salt(index)
}

/// Commitment to a value, as in an entry's `value` line: HMAC-SHA256, keyed with the value's salt, over its type, a
/// zero byte and its canonical bytes.
pub fn commitment(salt: &[u8; 32], kind: &str, canonical: &[u8]) -> [u8; 32] {
    hmac(salt).chain_update(kind).chain_update([0]).chain_update(canonical).finalize().into_bytes().into()
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 section 2)")]
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Opening of a commitment: proves its value, and reveals nothing of any other value. The commitment is HMAC-SHA256,
/// keyed with the salt, over `type 0x00 canonical bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueOpening<'a> {
    /// Index of the value.
    pub index: u32,
    /// Salt of this value alone.
    pub salt: [u8; 32],
    /// Type of the value.
    pub kind: &'a str,
    /// Canonical bytes of the value (`record::stored`).
    pub canonical: &'a [u8],
}

impl ValueOpening<'_> {
    /// The commitment that this opens.
    pub fn commitment(&self) -> [u8; 32] {
        commitment(&self.salt, self.kind, self.canonical)
    }
}

impl<'a> StoredEntry<'a> {
    /// Opening of the commitment to the value with this index; `None` if there is no such value, or it is erased.
    pub fn opening(&self, value_index: u32) -> Option<ValueOpening<'a>> {
        let at = self.values.iter().position(|value| value.index == value_index)?;
        let value = self.values.get(at)?;
        let salt = match &self.salts {
            Salts::Entry(salt) => value_salt(salt, value_index),
            Salts::Values(salts) => *salts.get(at)?,
        };
        Some(ValueOpening { index: value_index, salt, kind: value.kind, canonical: value.canonical })
    }
}

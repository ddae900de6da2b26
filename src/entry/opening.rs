//! The commitments to values, and what opens a single one: whoever has the salt of one value learns nothing of another's, for each is
//! derived from the entry's salt, and none gives it back.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::StoredEntry;
use crate::record::stored::StoredValue;

/// The secrets of an entry's commitments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Salts {
    /// That of the entry; those of its values are derived from it.
    Entry([u8; 32]),
    /// Those of the values that are left, in their order; the entry's own was destroyed.
    Values(Vec<[u8; 32]>),
}

/// Derives the salts of an entry's values from the entry's own.
pub(super) struct ValueSalts(Hmac<Sha256>);

impl ValueSalts {
    pub(super) fn new(entry_salt: &[u8; 32]) -> Self {
        Self(hmac(entry_salt))
    }

    /// The salt of the value with an index.
    pub(super) fn salt(&self, index: u32) -> [u8; 32] {
        self.0.clone().chain_update(index.to_be_bytes()).finalize().into_bytes().into()
    }

    /// The commitment to one value.
    pub(super) fn commitment(&self, value: &StoredValue<'_>) -> [u8; 32] {
        commitment(&self.salt(value.index), value.kind, value.canonical)
    }
}

/// The salt of one value of an entry.
pub(super) fn value_salt(entry_salt: &[u8; 32], index: u32) -> [u8; 32] {
    ValueSalts::new(entry_salt).salt(index)
}

/// What an entry's `value` line says about a value: HMAC-SHA256, keyed with the value's salt, over its type, a zero byte and its
/// canonical bytes.
pub fn commitment(salt: &[u8; 32], kind: &str, canonical: &[u8]) -> [u8; 32] {
    hmac(salt).chain_update(kind).chain_update([0]).chain_update(canonical).finalize().into_bytes().into()
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 section 2)")]
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// What shows that a commitment is one to a value, and nothing about any other value: the commitment is HMAC-SHA256, keyed with
/// the salt, over `type 0x00 canonical bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueOpening<'a> {
    /// The value's index.
    pub index: u32,
    /// The salt of this value alone.
    pub salt: [u8; 32],
    /// The value's type.
    pub kind: &'a str,
    /// The canonical bytes of the value (`record::stored`).
    pub canonical: &'a [u8],
}

impl ValueOpening<'_> {
    /// The commitment that this opens.
    pub fn commitment(&self) -> [u8; 32] {
        commitment(&self.salt, self.kind, self.canonical)
    }
}

impl<'a> StoredEntry<'a> {
    /// What opens the commitment to the value with this index; `None` when there is none, or it was erased.
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

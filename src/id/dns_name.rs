//! DNS names of identifiers, both ways.

use super::{Identifier, KeyPrefix};

/// First 20 bytes of SHA-256 of a key: stands for an identifier whose own name does not fit the DNS.
pub type NameHash = [u8; 20];

/// What a name below the zone stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameMeaning {
    /// The identifier that has this name, or the hash of its key.
    pub target: Option<NameTarget>,
    /// Keys whose names lie below this one: if there is any, the name exists (RFC 8020).
    pub below: Option<KeyPrefix>,
}

/// What a name answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameTarget {
    /// The identifier itself.
    Identifier(Identifier),
    /// An identifier known by the hash of its key.
    Hash(NameHash),
}

/// x
pub fn may_need_hash(_id: &Identifier) -> Option<NameHash> {
    todo!()
}

//! Ordered keys of identifiers: their byte order is the order of identifiers, and a prefix of a key is a subtree.

use std::{borrow::Borrow, fmt};

/// Order-preserving bytes that stand for one identifier; at most [`Key::BYTES_MAX`] long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// Maximum length of a key of any scheme, in bytes: a URI of 2,048 bytes and its scheme byte, rounded up.
    pub const BYTES_MAX: usize = 2_304;

    /// Wraps key bytes, as a scheme built them or as a store gives them back.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, in the order in which keys sort.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// The leading bytes shared by all keys of one subtree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix(Box<[u8]>);

impl KeyPrefix {
    /// Wraps prefix bytes; the empty prefix covers every key.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes with which every key of the subtree starts.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPrefix({})", self.0.escape_ascii())
    }
}

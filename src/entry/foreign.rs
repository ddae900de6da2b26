//! Entries of another node's ledger: the stored form without its directory-specific parts, and the kept part of an
//! entry outside a node's prefixes.
//!
//! The locator of the previous entry differs from directory to directory, and the flag for edges is derived anew: both
//! are blank in transit ([`without_place`], [`with_place`]). Of an entry outside its prefixes, an edge node keeps only
//! what the tree needs:
//!
//! ```text
//! outside = 254 · index · time ms (varints) · leaf hash (32 bytes)
//! ```

use super::{EntryKind, FLAG_EDGES, FLAG_REDACTED, Locator, StoredEntry};
use crate::{
    codec::{Reader, Torn, put_varint},
    tlog::Hash,
};

/// First byte of the kept part of an entry outside; no entry begins with it, and no stub of an erased entry (255).
const OUTSIDE: u8 = 0xfe;

/// The kept part of an entry outside the prefixes of an edge node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outside {
    /// Index of the entry in the ledger.
    pub index: u64,
    /// Time of the entry, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Leaf hash of the entry.
    pub leaf_hash: Hash,
}

impl Outside {
    /// Appends the stored form.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(OUTSIDE);
        put_varint(out, self.index);
        put_varint(out, self.time_ms);
        out.extend_from_slice(&self.leaf_hash.0);
    }

    /// True if the stored form is that of an entry outside.
    pub fn is(bytes: &[u8]) -> bool {
        bytes.first() == Some(&OUTSIDE)
    }

    /// Reads the stored form from exactly these bytes.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the bytes are no entry outside.
    pub fn read(bytes: &[u8]) -> Result<Self, Torn> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != OUTSIDE {
            return Err(Torn);
        }
        let outside = Self { index: reader.varint()?, time_ms: reader.varint()?, leaf_hash: Hash(reader.array()?) };
        if reader.is_empty() { Ok(outside) } else { Err(Torn) }
    }
}

/// Content of a segment at an entry's position.
#[derive(Clone, Debug)]
pub enum Kept<'a> {
    /// The whole entry.
    Entry(Box<StoredEntry<'a>>),
    /// The part that the tree needs.
    Outside(Outside),
}

impl<'a> Kept<'a> {
    /// Reads an entry, whole or outside, from exactly these bytes.
    ///
    /// # Errors
    ///
    /// [`Torn`] if the bytes are neither form.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Torn> {
        match Outside::is(bytes) {
            true => Outside::read(bytes).map(Self::Outside),
            false => StoredEntry::read(bytes).map(|entry| Self::Entry(Box::new(entry))),
        }
    }

    /// Index of the entry in the ledger.
    pub fn index(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.index,
            Self::Outside(outside) => outside.index,
        }
    }
}

/// Stored form of an entry with a blank place: no locator of the previous entry, no flag for edges.
///
/// # Errors
///
/// [`Torn`] if the bytes are no entry.
pub fn without_place(stored: &[u8]) -> Result<Vec<u8>, Torn> {
    replaced(stored, Locator(0), 0)
}

/// Stored form of an entry in a directory where the previous entry lies at `previous`.
///
/// # Errors
///
/// [`Torn`] if the bytes are no entry.
pub fn with_place(stored: &[u8], previous: Option<Locator>, has_edges: bool) -> Result<Vec<u8>, Torn> {
    replaced(stored, previous.unwrap_or(Locator(0)), if has_edges { FLAG_EDGES } else { 0 })
}

fn replaced(stored: &[u8], locator: Locator, edges: u8) -> Result<Vec<u8>, Torn> {
    let mut reader = Reader::new(stored);
    let (kind, flags) = (reader.byte()?, reader.byte()?);
    EntryKind::from_code(kind).ok_or(Torn)?;
    let mut out = Vec::with_capacity(stored.len() + 10);
    out.extend_from_slice(&[kind, flags & FLAG_REDACTED | edges]);
    put_varint(&mut out, reader.varint()?);
    put_varint(&mut out, reader.varint()?);
    let version = reader.varint()?;
    put_varint(&mut out, version);
    if version > 1 {
        put_varint(&mut out, reader.varint()?);
        reader.varint()?;
        put_varint(&mut out, locator.0);
    }
    out.extend_from_slice(reader.rest());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Draft, Place, Previous, Principal, Statement},
        id::Identifier,
        record::Values,
    };

    fn stored(version: u64, previous: Option<Previous>, has_edges: bool) -> Vec<u8> {
        let statement = Statement {
            kind: EntryKind::Update,
            identifier: &Identifier::parse("88.1/a").unwrap(),
            principal: &Principal::LOOPBACK,
            values: &Values::new(Vec::new()).unwrap(),
            edges: &[],
            outputs: None,
            request: None,
            erasure: None,
        };
        let mut out = Vec::new();
        let place = Place { index: 300, time_ms: 1_000_000, version, previous, has_edges };
        Draft::new(&statement, [7; 32]).unwrap().put_stored(&mut out, &place);
        out
    }

    #[test]
    fn an_entry_is_the_same_in_another_directory_but_for_its_place() {
        let previous = |locator| Some(Previous { index: 17, locator: Locator(locator), leaf_hash: Hash([0; 32]) });
        for (version, here, there) in [(1, None, None), (2, previous(5), previous(1 << 40))] {
            let (here, there_bytes) = (stored(version, here, true), stored(version, there, false));
            let travelling = without_place(&here).unwrap();
            assert_eq!(travelling, without_place(&there_bytes).unwrap());
            let moved = with_place(&travelling, there.map(|previous| previous.locator), false).unwrap();
            assert_eq!(moved, there_bytes);
        }
        assert!(without_place(&[]).is_err() && without_place(&[200, 0, 1]).is_err());
    }

    #[test]
    fn what_is_kept_of_others_is_read_again() {
        let outside = Outside { index: 1 << 40, time_ms: 77, leaf_hash: Hash([9; 32]) };
        let mut bytes = Vec::new();
        outside.put(&mut bytes);
        assert_eq!(Outside::read(&bytes).unwrap(), outside);
        assert!(matches!(Kept::read(&bytes).unwrap(), Kept::Outside(found) if found == outside));
        assert!(Outside::read(&bytes[..bytes.len() - 1]).is_err() && StoredEntry::read(&bytes).is_err());
        let entry = stored(1, None, false);
        assert!(matches!(Kept::read(&entry).unwrap(), Kept::Entry(found) if found.index == 300));
    }
}

//! Tiles of hashes and bundles of entries (C2SP tlog-tiles), over the tree that the newest checkpoint covers.
//!
//! Level files are written in the layout of tiles, so a tile is one read, and every partial tile is a prefix of a later
//! one: all partial tiles that ever existed are there. A tile of width 0 does not exist.

use super::{LeafLog, Ledger, LedgerError, tree::Levels};

/// Hashes of a full tile, and entries of a full bundle.
const TILE_WIDTH: u64 = 256;
/// Entries of a bundle that are read together.
const READ_ENTRIES: usize = 256;
/// Room reserved for the text of an entry, in bytes: one with four values.
const ENTRY_BYTES_EXPECTED: usize = 448;

impl Ledger {
    /// The first `width` hashes, 32 bytes each, of tile `index` of a level; `None` if the newest checkpoint does not
    /// cover them, or if `width` is 0 or more than 256.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(start) = start(Levels::width(level.into(), self.size()), index, width) else { return Ok(None) };
        self.segments.hash_bytes(level.into(), start, width.into()).map(Some)
    }

    /// The texts of the first `width` entries of bundle `index`, each behind its length (2 bytes, big-endian); `None` as for
    /// [`Ledger::tile`].
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if an entry cannot be read.
    pub fn bundle(&self, index: u64, width: u16) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(start) = start(self.size(), index, width) else { return Ok(None) };
        let (mut next, end) = (start, start + u64::from(width));
        let mut bundle = Vec::with_capacity(usize::from(width) * ENTRY_BYTES_EXPECTED);
        while next < end {
            let count = usize::try_from(end - next).unwrap_or(READ_ENTRIES).min(READ_ENTRIES);
            let entries = self.entries(next, count)?;
            if entries.is_empty() {
                return Err(damaged(next, "is not there"));
            }
            for entry in entries {
                let place = bundle.len();
                bundle.extend_from_slice(&[0; 2]);
                self.put_text(&entry.decode()?, &mut bundle)?;
                let len = u16::try_from(bundle.len() - place - 2).map_err(|_| damaged(next, "is too long"))?;
                bundle[place..place + 2].copy_from_slice(&len.to_be_bytes());
                next += 1;
            }
        }
        Ok(Some(bundle))
    }
}

impl LeafLog {
    /// As [`Ledger::tile`], over the signed leaves.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(start) = start(Levels::width(level.into(), self.size()), index, width) else { return Ok(None) };
        let hashes = self.hashes(level.into(), start, width.into())?;
        Ok(Some(hashes.iter().flat_map(|hash| hash.0).collect()))
    }

    /// As [`Ledger::bundle`], over the signed leaves.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if a leaf cannot be read.
    pub fn bundle(&self, index: u64, width: u16) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(start) = start(self.size(), index, width) else { return Ok(None) };
        let mut bundle = Vec::new();
        for index in start..start + u64::from(width) {
            // Cannot happen: the log refuses a longer leaf.
            put_entry(&mut bundle, &self.leaf(index)?)
                .ok_or_else(|| LedgerError::damaged(self.path(), "holds a leaf too long"))?;
        }
        Ok(Some(bundle))
    }
}

fn damaged(index: u64, what: &str) -> LedgerError {
    LedgerError::Damaged { path: "ledger".into(), what: format!("entry {index} {what}") }
}

/// Appends an entry to a bundle, behind its length; `None` if the entry is longer than 65,535 bytes.
fn put_entry(bundle: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    bundle.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
    bundle.extend_from_slice(text);
    Some(())
}

/// Number of the first item of a tile, if a level of `count` items covers the tile.
fn start(count: u64, index: u64, width: u16) -> Option<u64> {
    let width = Some(u64::from(width)).filter(|width| (1..=TILE_WIDTH).contains(width))?;
    let start = index.checked_mul(TILE_WIDTH)?;
    (start.checked_add(width)? <= count).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_level_covers() {
        let table = [
            ((0, 0, 1), None),
            ((1, 0, 1), Some(0)),
            ((1, 0, 0), None),
            ((1, 0, 2), None),
            ((300, 0, 255), Some(0)),
            ((300, 0, 256), Some(0)),
            ((600, 0, 257), None),
            ((300, 1, 44), Some(256)),
            ((300, 1, 45), None),
            ((300, 2, 1), None),
            ((u64::MAX, u64::MAX, 1), None),
            ((u64::MAX, u64::MAX / 256, 255), Some(u64::MAX - 255)),
            ((u64::MAX, u64::MAX / 256, 256), None),
        ];
        for ((count, index, width), expected) in table {
            assert_eq!(start(count, index, width), expected, "{count} {index} {width}");
        }
    }
}

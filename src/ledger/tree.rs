//! The hashes of the Merkle tree (RFC 6962 section 2.1), in flat files.
//!
//! Level L of the files holds the hashes of full subtrees of 256^L leaves, 32 bytes each, one after the other: tile (L,
//! N) of C2SP tlog-tiles is 8,192 bytes at offset 8,192·N, and every partial tile is a prefix of one. Beside them, in
//! the same way, `positions` holds the position of each entry (u64, LE). The files can be derived from the segments, so
//! nothing waits for their fsync; [`Levels::sync`] is called before the index marks entries as applied, and hashes
//! before that mark are trusted at start. Proofs are made from such hashes by [`Prover`], wherever they are kept
//! ([`TreeHashes`]).

mod proofs;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

pub use proofs::Prover;

use super::{LedgerError, Position};
use crate::tlog::{Frontier, Hash, TILE_HEIGHT, node_hash};

/// Maximum number of levels: 256^8 entries are more than a 64-bit index counts.
const LEVEL_COUNT: usize = 8;
const HASH_BYTES: u64 = 32;
const POSITION_BYTES: u64 = 8;

/// The hashes of a Merkle tree, by level, wherever they are kept. Safe from any thread while the tree grows.
pub trait TreeHashes: fmt::Debug + Send + Sync {
    /// Reads `count` hashes of full subtrees of 256^`level` leaves from hash `start` on, 32 bytes each.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there are fewer hashes.
    fn hash_bytes(&self, level: usize, start: u64, count: usize) -> Result<Vec<u8>, LedgerError>;

    /// As [`TreeHashes::hash_bytes`], as hashes.
    ///
    /// # Errors
    ///
    /// As for [`TreeHashes::hash_bytes`].
    fn hashes(&self, level: usize, start: u64, count: usize) -> Result<Vec<Hash>, LedgerError> {
        let bytes = self.hash_bytes(level, start, count)?;
        Ok(bytes.as_chunks::<32>().0.iter().copied().map(Hash).collect())
    }

    /// Hash of leaf `index`.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there is no such leaf.
    fn leaf(&self, index: u64) -> Result<Hash, LedgerError>;

    /// The right edge of the tree of the first `size` leaves.
    ///
    /// # Errors
    ///
    /// As for [`TreeHashes::hash_bytes`].
    fn frontier(&self, size: u64) -> Result<Frontier, LedgerError> {
        let mut subtrees = Vec::new();
        let mut start = 0u64;
        for height in (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1) {
            let level = height / TILE_HEIGHT;
            let count = 1usize << (height % TILE_HEIGHT);
            let mut hashes = self.hashes(level as usize, start >> (TILE_HEIGHT * level), count)?;
            while hashes.len() > 1 {
                hashes = hashes.chunks_exact(2).map(|pair| node_hash(pair[0], pair[1])).collect();
            }
            subtrees.extend(hashes);
            start += 1 << height;
        }
        Ok(Frontier::of_subtrees(size, subtrees))
    }
}

/// New hashes of one batch, level by level, and the positions of its entries, before they are written.
#[derive(Clone, Debug, Default)]
pub struct NewHashes {
    levels: [Vec<u8>; LEVEL_COUNT],
    positions: Vec<u8>,
    /// CRC-32C of the leaf hashes, updated as each was pushed.
    leaves_checksum: u32,
}

/// A point of a [`NewHashes`]: length of each of its lists, in bytes, and the checksum of its leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct HashesMark {
    levels: [usize; LEVEL_COUNT],
    positions: usize,
    leaves_checksum: u32,
}

impl NewHashes {
    /// Adds a hash to a level; level 0 holds the leaves.
    pub fn push(&mut self, level: usize, hash: Hash) {
        if let Some(hashes) = self.levels.get_mut(level) {
            hashes.extend_from_slice(&hash.0);
        }
        if level == 0 {
            self.leaves_checksum = crc32c::crc32c_append(self.leaves_checksum, &hash.0);
        }
    }

    /// Number of leaves.
    pub fn leaf_count(&self) -> usize {
        self.levels[0].len() / HASH_BYTES as usize
    }

    /// Adds the position of the next entry.
    pub fn push_position(&mut self, position: Position) {
        self.positions.extend_from_slice(&position.0.to_le_bytes());
    }

    /// Position of the `nth` entry of the batch.
    pub fn position(&self, nth: usize) -> Option<Position> {
        self.positions.as_chunks().0.get(nth).map(|bytes| Position(u64::from_le_bytes(*bytes)))
    }

    /// Positions of the entries.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.positions.as_chunks().0.iter().map(|bytes| Position(u64::from_le_bytes(*bytes)))
    }

    /// The `offset`th leaf hash of the batch.
    pub fn leaf(&self, offset: usize) -> Option<Hash> {
        let (hashes, _) = self.levels[0].as_chunks::<32>();
        hashes.get(offset).copied().map(Hash)
    }

    /// Hashes of every level that has any.
    pub fn levels(&self) -> impl Iterator<Item = (usize, &[[u8; 32]])> {
        self.levels
            .iter()
            .enumerate()
            .map(|(level, bytes)| (level, bytes.as_chunks().0))
            .filter(|(_, hashes)| !hashes.is_empty())
    }

    /// Forgets everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.rewind(&HashesMark::default());
    }

    /// A point to go back to.
    pub fn mark(&self) -> HashesMark {
        HashesMark {
            levels: std::array::from_fn(|level| self.levels[level].len()),
            positions: self.positions.len(),
            leaves_checksum: self.leaves_checksum,
        }
    }

    /// Forgets what was added since a mark was set.
    pub fn rewind(&mut self, mark: &HashesMark) {
        self.levels.iter_mut().zip(mark.levels).for_each(|(hashes, len)| hashes.truncate(len));
        self.positions.truncate(mark.positions);
        self.leaves_checksum = mark.leaves_checksum;
    }
}

/// The flat files of tree hashes.
#[derive(Debug)]
pub struct Levels {
    directory: PathBuf,
    files: Vec<File>,
    positions: File,
}

impl Levels {
    /// Opens the level files; creates those that are missing.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let open_all = || {
            std::fs::create_dir_all(directory)?;
            let open = |name: &str| {
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join(name))
            };
            let files = (0..LEVEL_COUNT).map(|level| open(&level.to_string())).collect::<io::Result<_>>()?;
            let positions = open("positions")?;
            File::open(directory)?.sync_all()?;
            Ok(Self { directory: directory.into(), files, positions })
        };
        open_all().map_err(|error| LedgerError::io("cannot open", directory, error))
    }

    /// Path of the files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Number of hashes in a level of a tree of `size` leaves.
    pub fn width(level: usize, size: u64) -> u64 {
        size.checked_shr(TILE_HEIGHT * level as u32).unwrap_or(0)
    }

    /// Writes the hashes and positions that a batch adds to a tree of `size` leaves.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; the files may then be longer than the tree, which [`Levels::cut`] mends.
    pub fn append(&self, size: u64, new: &NewHashes) -> Result<(), LedgerError> {
        for (level, (file, hashes)) in self.files.iter().zip(&new.levels).enumerate() {
            if !hashes.is_empty() {
                let written = file.write_all_at(hashes, Self::width(level, size) * HASH_BYTES);
                written.map_err(|error| self.failed("cannot write", error))?;
            }
        }
        let written = self.positions.write_all_at(&new.positions, size * POSITION_BYTES);
        written.map_err(|error| self.failed("cannot write", error))
    }

    /// True if the files hold the leaves that [`Levels::append`] wrote for a tree of `size` leaves, as they were
    /// pushed. `buffer` is scratch.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn give_back(&self, size: u64, new: &NewHashes, buffer: &mut Vec<u8>) -> Result<bool, LedgerError> {
        buffer.clear();
        buffer.resize(new.levels[0].len(), 0);
        self.read(&self.files[0], buffer, size * HASH_BYTES)?;
        Ok(crc32c::crc32c(buffer) == new.leaves_checksum)
    }

    /// Reads the positions of `count` entries, from entry `start` on.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there are fewer.
    pub fn read_positions(&self, start: u64, count: usize) -> Result<Vec<Position>, LedgerError> {
        let mut bytes = vec![0; count * POSITION_BYTES as usize];
        self.read(&self.positions, &mut bytes, start * POSITION_BYTES)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| Position(u64::from_le_bytes(*bytes))).collect())
    }

    /// Position of an entry.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there is no such entry.
    pub fn position(&self, index: u64) -> Result<Position, LedgerError> {
        let mut bytes = [0; POSITION_BYTES as usize];
        self.read(&self.positions, &mut bytes, index * POSITION_BYTES)?;
        Ok(Position(u64::from_le_bytes(bytes)))
    }

    /// Number of entries whose position is known.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn positions_len(&self) -> Result<u64, LedgerError> {
        Ok(self.len(&self.positions)? / POSITION_BYTES)
    }

    /// Hash of leaf `index`: from a batch that begins at leaf `start` if the leaf is in it, else from the files.
    ///
    /// # Errors
    ///
    /// As for [`TreeHashes::leaf`].
    pub fn leaf_with(&self, index: u64, start: u64, new: &NewHashes) -> Result<Hash, LedgerError> {
        let staged = index.checked_sub(start).and_then(|offset| new.leaf(usize::try_from(offset).ok()?));
        staged.map_or_else(|| self.leaf(index), Ok)
    }

    /// Number of leaves whose hashes and positions the files hold whole: every level must be long enough.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn whole(&self) -> Result<u64, LedgerError> {
        let leaves = self.len(&self.files[0])? / HASH_BYTES;
        let mut whole = leaves.min(self.positions_len()?);
        for (level, file) in self.files.iter().enumerate().skip(1) {
            let have = self.len(file)? / HASH_BYTES;
            if have < Self::width(level, leaves) {
                // One more full subtree at this level would need this many leaves; with fewer, none is missing.
                whole = whole.min(((have + 1) << (TILE_HEIGHT * level as u32)) - 1);
            }
        }
        Ok(whole)
    }

    /// Cuts the files to a tree of `size` leaves.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn cut(&self, size: u64) -> Result<(), LedgerError> {
        for (file, len) in self.files.iter().chain([&self.positions]).zip(Self::file_lens_of(size)) {
            if self.len(file)? > len {
                file.set_len(len).map_err(|error| self.failed("cannot cut", error))?;
            }
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn sync(&self) -> Result<(), LedgerError> {
        let synced = self.files.iter().chain([&self.positions]).try_for_each(File::sync_data);
        synced.map_err(|error| self.failed("cannot sync", error))
    }

    /// Length of each file, in bytes: those of the levels, then that of the positions.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn file_lens(&self) -> Result<Vec<u64>, LedgerError> {
        self.files.iter().chain([&self.positions]).map(|file| self.len(file)).collect()
    }

    /// The result of [`Levels::file_lens`] for a tree of `size` leaves.
    pub fn file_lens_of(size: u64) -> impl Iterator<Item = u64> {
        let levels = (0..LEVEL_COUNT).map(move |level| Self::width(level, size) * HASH_BYTES);
        levels.chain([size * POSITION_BYTES])
    }

    fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> Result<(), LedgerError> {
        file.read_exact_at(bytes, offset).map_err(|error| self.failed("cannot read", error))
    }

    fn len(&self, file: &File) -> Result<u64, LedgerError> {
        Ok(file.metadata().map_err(|error| self.failed("cannot read", error))?.len())
    }

    fn failed(&self, what: &'static str, error: io::Error) -> LedgerError {
        LedgerError::io(what, &self.directory, error)
    }
}

impl TreeHashes for Levels {
    fn hash_bytes(&self, level: usize, start: u64, count: usize) -> Result<Vec<u8>, LedgerError> {
        let file = self.files.get(level);
        let file = file.ok_or_else(|| self.failed("cannot read", io::ErrorKind::InvalidInput.into()))?;
        let mut bytes = vec![0; count * HASH_BYTES as usize];
        self.read(file, &mut bytes, start * HASH_BYTES)?;
        Ok(bytes)
    }

    fn leaf(&self, index: u64) -> Result<Hash, LedgerError> {
        let mut bytes = [0; 32];
        self.read(&self.files[0], &mut bytes, index * HASH_BYTES)?;
        Ok(Hash(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{definition, record_hash};

    fn leaf(index: u64) -> Hash {
        record_hash(&index.to_be_bytes())
    }

    #[test]
    fn files_give_back_every_frontier() {
        let directory = tempfile::tempdir().unwrap();
        let levels = Levels::open(directory.path()).unwrap();
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        for batch in [1, 1, 253, 1, 1, 300, 65_000, 500] {
            let size = frontier.size();
            let mut new = NewHashes::default();
            for _ in 0..batch {
                let leaf = leaf(frontier.size());
                leaves.push(leaf);
                new.push(0, leaf);
                new.push_position(Position(frontier.size() * 10));
                frontier.push(leaf, |level, hash| new.push(level, hash));
            }
            levels.append(size, &new).unwrap();
            assert_eq!(levels.position(size).unwrap(), Position(size * 10));
            assert_eq!(levels.whole().unwrap(), frontier.size());
            assert_eq!(levels.frontier(frontier.size()).unwrap().root(), frontier.root());
            assert_eq!(definition::root(&leaves), frontier.root());
        }
        for size in [0, 1, 2, 255, 256, 257, 65_535, 65_536, 65_537] {
            let root = definition::root(&leaves[..size as usize]);
            assert_eq!(levels.frontier(size).unwrap().root(), root, "{size} leaves");
        }
    }

    #[test]
    fn a_short_level_limits_what_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let levels = Levels::open(directory.path()).unwrap();
        let mut frontier = Frontier::default();
        let mut new = NewHashes::default();
        for index in 0..1_000 {
            new.push(0, leaf(index));
            new.push_position(Position(index));
            frontier.push(leaf(index), |level, hash| new.push(level, hash));
        }
        levels.append(0, &new).unwrap();
        levels.files[1].set_len(2 * HASH_BYTES).unwrap();
        assert_eq!(levels.whole().unwrap(), 767);
        levels.cut(600).unwrap();
        assert_eq!(levels.whole().unwrap(), 600);
        assert_eq!(levels.file_lens().unwrap()[..2], [600 * HASH_BYTES, 2 * HASH_BYTES]);
        assert_eq!(levels.positions_len().unwrap(), 600);
        levels.positions.set_len(100 * POSITION_BYTES + 3).unwrap();
        assert_eq!(levels.whole().unwrap(), 100);
    }
}

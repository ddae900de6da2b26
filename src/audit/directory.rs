//! A data directory as two logs: its ledger, and the output log of its verifiable index.

use super::{LogSource, TILE_WIDTH};
use crate::ledger::{DataDir, LeafLog, Ledger, LedgerError};

/// The ledger of a data directory. The texts of its entries are recomputed from values and salts.
#[derive(Debug)]
pub struct LedgerSource(Ledger);

impl LedgerSource {
    /// Opens the ledger, up to its signed size.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn open(directory: &DataDir) -> Result<Self, LedgerError> {
        Ledger::open_to_read(directory).map(Self)
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.0
    }
}

impl LogSource for LedgerSource {
    fn checkpoint(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.checkpoint().note.as_bytes().into())
    }

    fn entries(&self, bundle: u64, width: usize) -> Result<Vec<u8>, String> {
        let start = bundle * TILE_WIDTH as u64;
        let mut index = start;
        let end = start + width as u64;
        let mut bytes = Vec::with_capacity(width * 512);
        while index < end {
            let at = |error: LedgerError| format!("entry {index} or one behind it: {error}");
            let entries = self.0.entries(index, (end - index) as usize).map_err(at)?;
            if entries.is_empty() {
                return Err(format!("entry {index} is missing"));
            }
            for entry in entries {
                let at = |error: LedgerError| format!("entry {index}: {error}");
                let place = bytes.len();
                // The length stands in front of the text, but is known only after it.
                bytes.extend_from_slice(&[0; 2]);
                self.0.put_text(&entry.decode().map_err(at)?, &mut bytes).map_err(at)?;
                let len = u16::try_from(bytes.len() - place - 2);
                let len = len.map_err(|_| format!("entry {index}: its text is too long"))?;
                bytes[place..place + 2].copy_from_slice(&len.to_be_bytes());
                index += 1;
            }
        }
        Ok(bytes)
    }

    fn hashes(&self, level: usize, tile: u64, width: usize) -> Result<Vec<u8>, String> {
        let hashes = self.0.hashes(level, tile * TILE_WIDTH as u64, width).map_err(|error| error.to_string())?;
        Ok(hashes.iter().flat_map(|hash| hash.0).collect())
    }
}

/// The output log of a data directory.
#[derive(Debug)]
pub struct OutputSource(pub LeafLog);

impl LogSource for OutputSource {
    fn checkpoint(&self) -> Result<Vec<u8>, String> {
        let last = self.0.last().ok_or("the output log is empty")?;
        Ok(last.checkpoint.note.as_bytes().into())
    }

    fn entries(&self, bundle: u64, width: usize) -> Result<Vec<u8>, String> {
        let start = bundle * TILE_WIDTH as u64;
        let mut bytes = Vec::new();
        for index in start..start + width as u64 {
            let leaf = self.0.leaf(index).map_err(|error| error.to_string())?;
            let len = u16::try_from(leaf.len()).map_err(|_| format!("leaf {index} is too long"))?;
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&leaf);
        }
        Ok(bytes)
    }

    fn hashes(&self, level: usize, tile: u64, width: usize) -> Result<Vec<u8>, String> {
        let hashes = self.0.hashes(level, tile * TILE_WIDTH as u64, width).map_err(|error| error.to_string())?;
        Ok(hashes.iter().flat_map(|hash| hash.0).collect())
    }
}

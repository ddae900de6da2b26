//! Audit of a whole ledger, entry by entry, against everything that was said about it.
//!
//! Nothing is trusted and nothing is changed. Checked are: checksums; the order of indexes and times; the chain from
//! each entry to the one before of the same identifier; every leaf hash, derived again from values and salts; every
//! hash in the tree files; the root that each frame names; both slots of the signed head; that every value which an
//! entry lacks was erased by a later entry; and that no entry holds an erased value.

use super::{
    DataDir, Erasures, Keys, Ledger, LedgerError, Missing, Position, Unexplained,
    local::{LocalSegments, check_erasures},
    previous,
    recover::limit,
    segment::{BadEntry, BadFrame, Frame, Scanned, SegmentFiles},
    signed_head::read_slots,
    tree::{Levels, NewHashes, TreeHashes as _},
};
use crate::{
    entry::{
        EntrySubject, Erasure, Kept, StoredEntry,
        chain::{Broken, Chain, check_previous, check_version},
    },
    tlog::Hash,
};

/// Findings about a sound ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Number of entries.
    pub entries: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Number of entries that the last signed checkpoint covers.
    pub signed: u64,
    /// Verifier key of the ledger.
    pub verifier_key: String,
    /// Bytes behind the last entry, of a write that was cut off before it was acknowledged.
    pub torn_bytes: u64,
}

/// Audits the ledger of a data directory; `visit` gets every sound entry, in order.
///
/// # Errors
///
/// [`LedgerError::Damaged`] names the first bad entry or file; [`LedgerError::BehindSignedHead`]; any error of `visit`.
pub fn audit<E: From<LedgerError>>(
    directory: &DataDir,
    mut visit: impl FnMut(Position, &StoredEntry<'_>) -> Result<(), E>,
) -> Result<Audit, E> {
    let mut auditor = Auditor::open(directory)?;
    let mut position = SegmentFiles::first();
    let torn_bytes = loop {
        match auditor.segments.files.scan(position) {
            // A mirror never had a checkpoint for this frame: the next start cuts it.
            Ok(Scanned::Frame(frame)) if frame.info.first_index >= auditor.limit => break frame.end().0 - position.0,
            Ok(Scanned::Frame(frame)) => {
                auditor.frame(&frame, &mut visit)?;
                position = frame.end();
            }
            Ok(Scanned::End(_)) => break 0,
            Ok(Scanned::Torn { bytes, .. }) if !auditor.is_more_signed(directory)? => break bytes,
            Ok(Scanned::Torn { .. }) | Err(LedgerError::Damaged { .. }) => {
                return Err(auditor.bad_frame(position)?.into());
            }
            Err(error) => return Err(error.into()),
        }
    };
    Ok(auditor.finish(directory, torn_bytes)?)
}

struct Auditor {
    segments: LocalSegments,
    keys: Keys,
    chain: Chain,
    /// Bytes of redactions of an erasure that never counted.
    torn_redactions: u64,
    /// Number of entries at which the ledger ends; frames behind it are cut at the next start.
    limit: u64,
    unexplained: Unexplained,
}

impl Auditor {
    fn open(directory: &DataDir) -> Result<Self, LedgerError> {
        let keys = Keys::open(directory)?;
        for path in [directory.segments(), directory.tree(), directory.signed_head()] {
            if !path.exists() {
                return Err(LedgerError::damaged(&path, "is missing"));
            }
        }
        let segments = LocalSegments::open(directory)?;
        let mirrored = match &keys {
            Keys::Own(_) => None,
            Keys::Mirrored(verifier) => Some(&**verifier),
        };
        let limit = limit(directory, mirrored)?;
        let torn_redactions = check_erasures(&segments.files, limit)?;
        let (chain, unexplained) = (Chain::default(), Unexplained::default());
        Ok(Self { segments, keys, chain, torn_redactions, limit, unexplained })
    }

    fn frame<E: From<LedgerError>>(
        &mut self,
        frame: &Frame,
        visit: &mut impl FnMut(Position, &StoredEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.chain.size();
        if frame.info.first_index != start {
            return Err(bad(start, "is not where its frame should begin").into());
        }
        let mut hashes = NewHashes::default();
        let mut count = 0;
        for item in frame.entries() {
            let index = self.chain.size();
            let (position, bytes) = item.map_err(|error| match error {
                BadEntry::Checksum => bad(index, "fails its checksum"),
                BadEntry::Redaction(what) => bad(index, &format!("was erased: {what}")),
            })?;
            match Kept::read(bytes).map_err(|_| bad(index, "cannot be read"))? {
                Kept::Entry(entry) => {
                    self.entry(index, &entry, start, &mut hashes)?;
                    visit(position, &entry)?;
                }
                Kept::Outside(outside) => {
                    self.place(index, outside.index, outside.time_ms)?;
                    self.add(outside.leaf_hash, &mut hashes);
                }
            }
            hashes.push_position(position);
            count += 1;
        }
        let last = self.chain.size();
        if count != frame.info.count || self.chain.time_ms() != frame.info.last_time_ms {
            return Err(bad(last - 1, "ends a frame that counts or dates its entries otherwise").into());
        }
        if self.chain.root() != frame.info.root {
            return Err(bad(last - 1, "ends a frame that names another root than its entries give").into());
        }
        self.compare(start, &hashes)?;
        Ok(())
    }

    /// True if a checkpoint covers more than was found: then the bytes that follow are no write that was cut off.
    fn is_more_signed(&self, directory: &DataDir) -> Result<bool, LedgerError> {
        let newest = read_slots(&directory.signed_head(), self.keys.verifier())?.newest;
        Ok(newest.is_some_and(|(_, newest)| newest.size > self.chain.size()))
    }

    /// Error that names the first bad entry of a damaged frame.
    fn bad_frame(&self, position: Position) -> Result<LedgerError, LedgerError> {
        let BadFrame { path, entry } = self.segments.files.bad_frame(position)?;
        let (first, path) = (self.chain.size(), path.display());
        Ok(match entry {
            Some(entry) => bad(first + entry, &format!("fails its checksum, in {path}")),
            None => bad(first, &format!("begins a frame with a wrong header, in {path}")),
        })
    }

    /// Checks one entry and adds its leaf hash.
    fn entry(
        &mut self,
        index: u64,
        entry: &StoredEntry<'_>,
        start: u64,
        hashes: &mut NewHashes,
    ) -> Result<(), LedgerError> {
        self.place(index, entry.index, entry.time_ms)?;
        let subject = entry.subject().ok_or_else(|| bad(index, "is about no identifier"))?;
        entry.decode_values().map_err(|_| bad(index, "holds values that no record may have"))?;
        let previous_leaf = match previous(entry) {
            None => None,
            Some((before, position)) => {
                self.check_previous(entry, &subject, before, position)?;
                Some(self.leaf(before, start, hashes)?)
            }
        };
        if let Some(erasure) = &entry.erasure {
            self.check_erased(entry, erasure)?;
        }
        if let Some(erasures) = Erasures::of(entry) {
            self.unexplained.see(&erasures);
        }
        let leaf = self.chain.leaf_of(entry, previous_leaf);
        self.add(leaf, hashes);
        Ok(())
    }

    /// Checks the order of indexes and times.
    fn place(&mut self, index: u64, found: u64, time_ms: u64) -> Result<(), LedgerError> {
        self.chain.place(found, time_ms).map_err(|broken| match broken {
            Broken::Index { .. } => bad(index, "bears another index"),
            broken => bad(index, &broken.to_string()),
        })
    }

    fn add(&mut self, leaf: Hash, hashes: &mut NewHashes) {
        hashes.push(0, leaf);
        self.chain.push(leaf, |level, hash| hashes.push(level, hash));
    }

    fn check_previous(
        &self,
        entry: &StoredEntry<'_>,
        subject: &EntrySubject,
        previous: u64,
        position: Position,
    ) -> Result<(), LedgerError> {
        let bytes = self
            .segments
            .entry_at(position)
            .map_err(|_| bad(entry.index, "names a previous entry that is not there"))?;
        let before = StoredEntry::read(bytes.as_bytes())
            .map_err(|_| bad(entry.index, "names a previous entry that cannot be read"))?;
        let same = before.subject().is_some_and(|before| before == *subject);
        let follows = check_previous(Some(previous), Some(before.index))
            .and_then(|()| check_version(entry.version, Some(before.version)));
        if same && previous < entry.index && follows.is_ok() {
            Ok(())
        } else {
            Err(bad(entry.index, "does not follow on the entry it names as the previous one"))
        }
    }

    /// Checks that no version before an erase entry holds a value that the entry says was erased.
    fn check_erased(&self, erase: &StoredEntry<'_>, erasure: &Erasure) -> Result<(), LedgerError> {
        let mut next = previous(erase);
        while let Some((index, position)) = next {
            let bytes = self.segments.entry_at(position);
            let bytes = bytes.map_err(|_| bad(erase.index, &format!("erased entry {index}, which cannot be read")))?;
            let entry = StoredEntry::read(bytes.as_bytes());
            let entry = entry.map_err(|_| bad(erase.index, &format!("erased entry {index}, which cannot be read")))?;
            if entry.holds_any(erasure.values) {
                return Err(bad(index, &format!("holds a value that entry {} says was erased", erase.index)));
            }
            next = previous(&entry);
        }
        Ok(())
    }

    fn leaf(&self, index: u64, start: u64, hashes: &NewHashes) -> Result<Hash, LedgerError> {
        self.segments.levels.leaf_with(index, start, hashes)
    }

    /// Compares derived hashes and positions with those in the tree files.
    fn compare(&self, start: u64, hashes: &NewHashes) -> Result<(), LedgerError> {
        for (level, derived) in hashes.levels() {
            let first = Levels::width(level, start);
            let stored = self.segments.hashes(level, first, derived.len())?;
            if let Some(offset) = (0..derived.len()).find(|&offset| derived[offset] != stored[offset].0) {
                let entry = ((first + offset as u64 + 1) << (8 * level)) - 1;
                return Err(bad(entry, &format!("has another hash in level {level} of the tree files")));
            }
        }
        let derived: Vec<Position> = hashes.positions().collect();
        let stored = self.segments.levels.read_positions(start, derived.len())?;
        match derived.iter().zip(&stored).position(|(derived, stored)| derived != stored) {
            Some(offset) => Err(bad(start + offset as u64, "lies elsewhere than the tree files say")),
            None => Ok(()),
        }
    }

    /// Bytes of tree hashes beyond the last entry: a batch's hashes are written before its frame.
    fn torn_hash_bytes(&self, size: u64) -> Result<u64, LedgerError> {
        let levels = &self.segments.levels;
        let expected = Levels::file_lens_of(size);
        levels
            .file_lens()?
            .iter()
            .zip(expected)
            .map(|(&len, expected)| {
                len.checked_sub(expected).ok_or_else(|| {
                    LedgerError::damaged(levels.directory(), &format!("are shorter than {size} entries make them"))
                })
            })
            .sum()
    }

    /// Checks that every value which an entry lacks was erased by a later entry.
    fn check_explained(&self, directory: &DataDir) -> Result<(), LedgerError> {
        let first = match self.unexplained.next_pass() {
            Some(rest) => Ledger::open_to_read(directory)?.unexplained(rest)?.first(),
            None => self.unexplained.first(),
        };
        let Some(Missing { entry, value }) = first else { return Ok(()) };
        let advice = match &self.keys {
            Keys::Own(_) => "restore it from a copy",
            Keys::Mirrored(_) => {
                "either this mirror was stopped before it was in step, and a start brings the rest, or the value was withheld, \
                 and a new mirror has to take its place"
            }
        };
        Err(bad(
            entry,
            &format!("lacks value {value}, and no entry behind it says that the value was erased: {advice}"),
        ))
    }

    fn finish(self, directory: &DataDir, torn_bytes: u64) -> Result<Audit, LedgerError> {
        let size = self.chain.size();
        let torn_bytes = torn_bytes + self.torn_hash_bytes(size)? + self.torn_redactions;
        let slots = read_slots(&directory.signed_head(), self.keys.verifier())?;
        if let Some(slot) = slots.unreadable.first() {
            return Err(LedgerError::damaged(
                &directory.signed_head(),
                &format!("slot {slot} holds no checkpoint of this ledger"),
            ));
        }
        let signed = slots.newest.map(|(_, newest)| newest);
        if let Some(signed) = &signed {
            let behind = |difference| LedgerError::BehindSignedHead { size, signed: signed.size, difference };
            if signed.size > size {
                return Err(behind("which is more"));
            }
            if self.segments.frontier(signed.size)?.root() != signed.root {
                return Err(behind("with another root"));
            }
        }
        self.check_explained(directory)?;
        Ok(Audit {
            entries: size,
            root: self.chain.root(),
            signed: signed.map_or(0, |signed| signed.size),
            verifier_key: self.keys.verifier().text().into(),
            torn_bytes,
        })
    }
}

fn bad(index: u64, what: &str) -> LedgerError {
    LedgerError::Damaged { path: "ledger".into(), what: format!("entry {index} {what}") }
}

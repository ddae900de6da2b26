//! Recovery: opens a ledger, finds its end, cuts a torn tail, checks the tree, and never signs a second history.
//!
//! The index records up to where it has applied the ledger ([`Mark`]); the tree files were made durable before that
//! mark was written. So opening reads only the frames behind the mark, replays them into the index, and checks the tree
//! files against the root in the last frame. If the tree files do not fit, they are derived again from the entries.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Appender, DataDir, Keys, Ledger, LedgerError, Mark, MirrorOf, Position, Replica,
    head::OwnHead,
    local::{LocalSegments, LocalWriter, recover_erasure},
    segment::{BadEntry, Frame, FrameInfo, Scanned, SegmentFiles, Tail},
    signed_head::{SignedHead, read_slots},
    tree::{NewHashes, Prover, TreeHashes as _},
};
use crate::{
    entry::{Kept, StoredEntry, chain::Chain},
    tlog::{Frontier, Hash, LedgerKey, SignedCheckpoint, empty_root, note::VerifierKey},
};

/// Leaf hashes that are read at once when a tree is checked.
const LEAVES_AT_ONCE: u64 = 65_536;

/// Name and secret for the key of a ledger that has none yet; ignored if it has one.
#[derive(Clone, Copy, Debug)]
pub struct KeySource<'a> {
    /// Name of the ledger, such as `id.example.com/ledger`.
    pub origin: &'a str,
    /// 32 random bytes.
    pub seed: [u8; 32],
}

/// A frame read again: at start, or to rebuild an index.
#[derive(Debug)]
pub struct ReplayedFrame<'a> {
    frame: &'a Frame,
}

impl ReplayedFrame<'_> {
    /// Beginning of the frame.
    pub fn mark(&self) -> Mark {
        Mark { entries: self.frame.info.first_index, position: self.frame.position }
    }

    /// Position behind the frame, for progress.
    pub fn end(&self) -> Position {
        self.frame.end()
    }

    /// Entries with their positions; on an edge node, only those that it keeps.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Position, StoredEntry<'_>), LedgerError>> {
        decoded(self.frame).filter_map(|entry| match entry {
            Ok((position, Kept::Entry(entry))) => Some(Ok((position, *entry))),
            Ok((_, Kept::Outside(_))) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

fn decoded(frame: &Frame) -> impl Iterator<Item = Result<(Position, Kept<'_>), LedgerError>> {
    frame.entries().zip(frame.info.first_index..).map(move |(entry, index)| {
        let bad = |what: &str| LedgerError::Damaged { path: "entry".into(), what: format!("{index} {what}") };
        let (position, bytes) = entry.map_err(|error| match error {
            BadEntry::Checksum => bad("fails its checksum"),
            BadEntry::Redaction(what) => bad(&format!("was erased: {what}")),
        })?;
        let entry = Kept::read(bytes).map_err(|_| bad("cannot be read"))?;
        if entry.index() == index { Ok((position, entry)) } else { Err(bad("bears another index")) }
    })
}

/// A ledger whose files are open and whose end is not known yet.
#[derive(Debug)]
pub struct Opening {
    segments: Arc<LocalSegments>,
    keys: Keys,
    head: OwnHead,
}

/// A ledger that was read to its end and checked. Nothing has been signed yet, and nothing is before
/// [`Replayed::sign`]: witnesses can be asked first whether they know a later state.
#[derive(Debug)]
pub struct Replayed {
    opening: Opening,
    prover: Prover,
    frontier: Frontier,
    end: Position,
    tail: Tail,
    last_time_ms: u64,
}

/// A ledger that is ready, with its one writer.
#[derive(Debug)]
pub struct Recovered {
    /// The reading side.
    pub ledger: Arc<Ledger>,
    /// The one writer.
    pub appender: Appender,
    /// The files that the ledger lies in.
    pub segments: Arc<LocalSegments>,
}

/// The ledger of a mirror that is ready, with its one writer.
#[derive(Debug)]
pub struct Followed {
    /// The reading side.
    pub ledger: Arc<Ledger>,
    /// The one writer.
    pub replica: Replica,
    /// The files that the ledger lies in.
    pub segments: Arc<LocalSegments>,
}

impl Opening {
    /// Opens the files of a ledger, or creates an empty one.
    ///
    /// # Errors
    ///
    /// Any [`LedgerError`] but `Stopped`.
    pub fn new(directory: &DataDir, source: KeySource<'_>) -> Result<Self, LedgerError> {
        let segments = LocalSegments::open(directory)?;
        let mirror = MirrorOf::read(directory)?;
        recover_erasure(&segments.files, limit(directory, mirror.as_ref().map(|mirror| &mirror.key))?)?;
        // Without entries, a missing head or key is that of a new ledger; beside entries it is damage.
        if matches!(segments.files.scan(SegmentFiles::first())?, Scanned::Frame(_)) {
            refuse_missing(&[directory.signed_head()])?;
            Keys::open(directory).map_err(|error| match error {
                LedgerError::Damaged { path, .. } if !path.exists() => missing(&path),
                error => error,
            })?;
        }
        let keys = match mirror {
            Some(mirror) => Keys::Mirrored(Box::new(mirror.key)),
            None => {
                let key = LedgerKey::open_or_create(&directory.key(), source.origin, source.seed)?;
                Keys::Own(Box::new(key))
            }
        };
        let head = OwnHead::load(Box::new(SignedHead::open(&directory.signed_head(), keys.verifier())?))?;
        Ok(Self { segments: Arc::new(segments), keys, head })
    }

    /// True if a frame with the mark's first entry begins at the mark: the mark is of this ledger. [`Mark::START`]
    /// always fits.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn fits(&self, mark: Mark) -> Result<bool, LedgerError> {
        match self.segments.files.scan(mark.frame_position()) {
            Ok(Scanned::Frame(frame)) => Ok(frame.info.first_index == mark.entries),
            Ok(_) | Err(LedgerError::Damaged { .. }) => Ok(mark == Mark::START),
            Err(error) => Err(error),
        }
    }

    /// Bytes that the segments take, for progress.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn bytes(&self) -> Result<u64, LedgerError> {
        self.segments.files.bytes()
    }

    /// Reads every frame behind `from`, hands it to `replay`, and checks the tree.
    ///
    /// # Errors
    ///
    /// Any error of `replay`; [`LedgerError::Damaged`], [`LedgerError::BehindSignedHead`], [`LedgerError::Io`].
    pub fn recover<E: From<LedgerError>>(
        self,
        from: Mark,
        mut replay: impl FnMut(&ReplayedFrame<'_>) -> Result<(), E>,
    ) -> Result<Replayed, E> {
        let mut last: Option<FrameInfo> = None;
        // If positions are missing further back, all of them are derived again below.
        let knows_positions = self.segments.levels.positions_len()? >= from.entries;
        // A mirror cannot sign entries for which it had no checkpoint yet: they are cut, and received again.
        let limit = match &self.keys {
            Keys::Own(_) => u64::MAX,
            Keys::Mirrored(_) => self.head.newest().map_or(0, |signed| signed.size),
        };
        let (end, tail) = for_each_frame::<E>(&self.segments.files, from, limit, |frame| {
            last = Some(frame.info);
            if knows_positions {
                self.note_positions(frame)?;
            }
            replay(&ReplayedFrame { frame })
        })?;
        let size = last.map_or(0, |info| info.first_index + u64::from(info.count));
        let frontier = match last {
            None => self.segments.levels.cut(0).map(|()| Frontier::default())?,
            Some(info) => match self.check_tree(from, size, info.root)? {
                Some(frontier) => frontier,
                None => self.derive_tree(from, size)?,
            },
        };
        self.check_signed(size, frontier.root())?;
        let prover = Prover::new(Arc::clone(&self.segments) as _);
        let last_time_ms = last.map_or(0, |info| info.last_time_ms);
        Ok(Replayed { opening: self, prover, frontier, end, tail, last_time_ms })
    }

    /// Writes the positions of a frame's entries over whatever a crash left there.
    fn note_positions(&self, frame: &Frame) -> Result<(), LedgerError> {
        let mut new = NewHashes::default();
        frame.entries().map_while(Result::ok).for_each(|(position, _)| new.push_position(position));
        self.segments.levels.append(frame.info.first_index, &new)
    }

    /// Checks the tree files against the root that the last frame names. `None`: they must be derived again.
    fn check_tree(&self, from: Mark, size: u64, root: Hash) -> Result<Option<Frontier>, LedgerError> {
        if self.segments.levels.whole()? < size {
            return Ok(None);
        }
        self.segments.levels.cut(size)?;
        let mut frontier = self.segments.frontier(from.entries)?;
        let mut start = from.entries;
        while start < size {
            let count = LEAVES_AT_ONCE.min(size - start);
            let mut new = NewHashes::default();
            for leaf in self.segments.hashes(0, start, count as usize)? {
                new.push(0, leaf);
                frontier.push(leaf, |level, hash| new.push(level, hash));
            }
            // The upper levels follow from the leaves, so whatever a crash left there is overwritten.
            self.segments.levels.append(start, &new)?;
            start += count;
        }
        Ok((frontier.root() == root && self.segments.frontier(size)?.root() == root).then_some(frontier))
    }

    /// Derives the leaf hashes of all entries behind `from` again, from the entries.
    fn derive_tree(&self, from: Mark, size: u64) -> Result<Frontier, LedgerError> {
        let whole = self.segments.levels.whole()?;
        let from = if whole < from.entries { Mark::START } else { from };
        tracing::warn!(
            entries = from.entries,
            "the tree files do not fit the ledger: computing them again from this entry on"
        );
        match self.derive_tree_from(from, size) {
            Err(LedgerError::Damaged { .. }) if from != Mark::START => {
                tracing::warn!("the tree files are damaged further back: computing all of them again");
                self.derive_tree_from(Mark::START, size)
            }
            derived => derived,
        }
    }

    fn derive_tree_from(&self, from: Mark, size: u64) -> Result<Frontier, LedgerError> {
        // Index and time of each entry are left to the audit: here the tree has to give the signed root.
        let mut chain = Chain::new(self.segments.frontier(from.entries)?, 0);
        self.segments.levels.cut(from.entries)?;
        for_each_frame::<LedgerError>(&self.segments.files, from, size, |frame| {
            let start = chain.size();
            let mut new = NewHashes::default();
            for entry in decoded(frame) {
                let (position, entry) = entry?;
                let leaf = match entry {
                    Kept::Outside(outside) => outside.leaf_hash,
                    Kept::Entry(entry) => {
                        let previous = entry
                            .previous
                            .map(|(index, _)| self.segments.levels.leaf_with(index, start, &new))
                            .transpose()?;
                        chain.leaf_of(&entry, previous)
                    }
                };
                new.push(0, leaf);
                new.push_position(position);
                chain.push(leaf, |level, hash| new.push(level, hash));
            }
            if chain.root() != frame.info.root {
                let what = format!("hold entries from {start} on that do not give the root their frame names");
                return Err(LedgerError::Damaged { path: self.segments.levels.directory().into(), what });
            }
            self.segments.levels.append(start, &new)
        })?;
        self.segments.levels.sync()?;
        Ok(chain.into_frontier())
    }

    /// Fails if the ledger does not hold what it has signed.
    fn check_signed(&self, size: u64, root: Hash) -> Result<(), LedgerError> {
        let Some(signed) = self.head.newest() else { return Ok(()) };
        let behind = |difference| LedgerError::BehindSignedHead { size, signed: signed.size, difference };
        if signed.size > size {
            return Err(behind("which is more"));
        }
        let same = if signed.size == size { root } else { self.segments.frontier(signed.size)?.root() };
        if same == signed.root { Ok(()) } else { Err(behind("with another root")) }
    }
}

impl Replayed {
    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Key that will sign.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoKey`] on a mirror.
    pub fn signer(&self) -> Result<&LedgerKey, LedgerError> {
        self.opening.keys.signer()
    }

    /// Key that verifies the ledger's checkpoints.
    pub fn verifier(&self) -> &VerifierKey {
        self.opening.keys.verifier()
    }

    /// The last checkpoint that was signed, as far as this directory knows.
    pub fn signed(&self) -> Option<&SignedCheckpoint> {
        self.opening.head.newest()
    }

    /// Root of the tree of the first `size` entries.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`], also if there are fewer.
    pub fn root(&self, size: u64) -> Result<Hash, LedgerError> {
        Ok(self.opening.segments.frontier(size)?.root())
    }

    /// As [`Ledger::consistency_proof`].
    ///
    /// # Errors
    ///
    /// As for [`Ledger::consistency_proof`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        self.prover.consistency(old, new, self.size())
    }

    /// Signs the tree unless it is signed already, and makes the ledger ready.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::NoKey`] on a mirror.
    pub fn sign(mut self) -> Result<Recovered, LedgerError> {
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let Opening { keys, head, .. } = &mut self.opening;
        let signer = keys.signer()?;
        let checkpoint = match head.newest() {
            Some(signed) if signed.size == size => signed.clone(),
            _ => {
                let checkpoint = signer.sign(size, root)?;
                head.store(&checkpoint)?;
                head.sync()?;
                checkpoint
            }
        };
        self.ready(checkpoint)
    }

    /// Makes the ledger of a mirror ready, up to its primary's checkpoint. A mirror that has received nothing yet has
    /// an empty tree's checkpoint with an empty note.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`].
    pub fn follow(self) -> Result<Followed, LedgerError> {
        let nothing = || SignedCheckpoint { size: 0, root: empty_root(), note: "".into() };
        let checkpoint = self.opening.head.newest().cloned().unwrap_or_else(nothing);
        let Recovered { ledger, appender, segments } = self.ready(checkpoint)?;
        Ok(Followed { ledger, replica: Replica::new(appender), segments })
    }

    fn ready(self, checkpoint: SignedCheckpoint) -> Result<Recovered, LedgerError> {
        let Self { opening: Opening { segments, keys, head }, frontier, end, tail, last_time_ms, .. } = self;
        let writer = Box::new(LocalWriter::new(Arc::clone(&segments), end, tail)?);
        let ledger = Arc::new(Ledger::new(Arc::clone(&segments) as _, keys, checkpoint));
        let appender = Appender::new(Arc::clone(&ledger), writer, frontier, head, last_time_ms);
        Ok(Recovered { ledger, appender, segments })
    }
}

/// Number of entries at which a ledger ends, whatever lies behind: a mirror's ends with its primary's last checkpoint.
/// If that cannot be read, there is no limit; opening reports the error.
///
/// # Errors
///
/// [`LedgerError::Io`].
pub(super) fn limit(directory: &DataDir, mirrored: Option<&VerifierKey>) -> Result<u64, LedgerError> {
    let (Some(verifier), path) = (mirrored, directory.signed_head()) else { return Ok(u64::MAX) };
    if !path.exists() {
        return Ok(u64::MAX);
    }
    Ok(read_slots(&path, verifier)?.newest.map_or(u64::MAX, |(_, signed)| signed.size))
}

/// Fails if a file is missing that every ledger with entries has: without it nobody knows what it has signed, and as
/// whom.
fn refuse_missing(paths: &[PathBuf]) -> Result<(), LedgerError> {
    match paths.iter().find(|path| !path.exists()) {
        Some(path) => Err(missing(path)),
        None => Ok(()),
    }
}

fn missing(path: &Path) -> LedgerError {
    LedgerError::damaged(
        path,
        "is missing beside a ledger with entries: restore it from a copy; on a mirror ledger/mirror stands in the place of ledger/key",
    )
}

/// Visits all frames from a mark on that begin before entry `limit`, in order; returns the position behind the last one
/// and the state of the tail.
fn for_each_frame<E: From<LedgerError>>(
    segments: &SegmentFiles,
    from: Mark,
    limit: u64,
    mut visit: impl FnMut(&Frame) -> Result<(), E>,
) -> Result<(Position, Tail), E> {
    let (mut position, mut next_index, mut time_ms) = (from.frame_position(), from.entries, 0);
    loop {
        match segments.scan(position)? {
            Scanned::Frame(frame) => {
                let info = frame.info;
                if info.first_index != next_index || info.last_time_ms < time_ms {
                    let what =
                        format!("holds a frame at position {position} that does not follow on entry {next_index}");
                    return Err(LedgerError::Damaged { path: "segment".into(), what }.into());
                }
                if info.first_index >= limit {
                    tracing::warn!(
                        entries = info.count,
                        "entries that no checkpoint covers yet are cut; they come again"
                    );
                    return Ok((position.max(frame.position), Tail::Torn));
                }
                visit(&frame)?;
                next_index += u64::from(info.count);
                time_ms = info.last_time_ms;
                position = frame.end();
            }
            Scanned::End(end) => return Ok((end, Tail::Clean)),
            Scanned::Torn { end, bytes } => {
                tracing::warn!(
                    entries = next_index,
                    bytes,
                    "the last write was cut off before it was acknowledged: its bytes are cut from the ledger"
                );
                return Ok((end, Tail::Torn));
            }
        }
    }
}

//! The erasure on the local disk: a group of redactions beside the segments, then the overwriting.
//!
//! A crash before the commit of the erase entry leaves redactions that are cut at the next start: nothing was
//! overwritten, nothing was acknowledged. A crash behind the commit leaves an erasure that counts: the next start
//! overwrites what is left, before it reads any frame ([`recover`]). So an erasure is whole or never was.

use std::sync::Arc;

use super::LocalSegments;
use crate::{
    entry::{EntryKind, StoredEntry},
    ledger::{
        LedgerError, Position,
        redactions::{Group, GroupWriter, Pending, Redaction, Redactions},
        segment::{Overwritten, SegmentFiles},
        segments::{Redacted, Redacting, Unwritten},
    },
};

/// Positions that are read at once to find the beginning of a frame.
const POSITIONS_AT_ONCE: u64 = 256;

/// An erasure whose redactions are being written.
#[derive(Debug)]
pub(super) struct LocalRedacting {
    segments: Arc<LocalSegments>,
    group: GroupWriter,
    /// Frame and position of the version redacted last: the next version may lie in the same frame.
    frame: Option<(Position, Position)>,
}

impl LocalRedacting {
    /// Begins the redactions of an erase entry, which will begin a frame at a position.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Io`]; [`LedgerError::Damaged`] if it is not known which redactions count.
    pub(super) fn begin(segments: Arc<LocalSegments>, erase: u64, frame: Position) -> Result<Self, LedgerError> {
        let group = GroupWriter::begin(Arc::clone(segments.files.redactions()), erase, frame)?;
        Ok(Self { segments, group, frame: None })
    }

    /// Position of the frame of an entry: back from entry to entry, until there is a gap for a header.
    fn frame_of(&self, index: u64, position: Position) -> Result<Position, LedgerError> {
        let LocalSegments { files, levels } = &*self.segments;
        let (mut end, mut last) = (index, position);
        loop {
            let start = end.saturating_sub(POSITIONS_AT_ONCE);
            for before in levels.read_positions(start, (end - start) as usize)?.into_iter().rev() {
                if let Some(frame) = files.frame_begins(last, Some(before))? {
                    return Ok(frame);
                }
                last = before;
            }
            if start == 0 {
                return Ok(files.frame_begins(last, None)?.unwrap_or(last));
            }
            end = start;
        }
    }
}

impl Redacting for LocalRedacting {
    fn redact(&mut self, index: u64, redacted: Vec<u8>) -> Result<(), LedgerError> {
        let position = self.segments.position(index)?;
        let (entry_len, replaced) = self.segments.files.read_raw(position)?;
        let frame = match self.frame {
            Some((frame, last)) if (frame..last).contains(&position) => frame,
            _ => self.frame_of(index, position)?,
        };
        self.frame = Some((frame, position));
        self.group.push(&Redaction { position, frame, replaced, entry_len, bytes: redacted })
    }

    fn seal(mut self: Box<Self>) -> Result<Box<dyn Redacted>, Unwritten> {
        let group = match self.group.end() {
            Ok(group) => group,
            // Most likely the disk is full: give its room back.
            Err(error) => return Err(Unwritten::Nothing(self.abandon().err().unwrap_or(error))),
        };
        self.group.sync().map_err(Unwritten::InDoubt)?;
        Ok(Box::new(LocalRedacted { files: Arc::clone(&self.segments.files), group }))
    }

    fn abandon(self: Box<Self>) -> Result<(), LedgerError> {
        self.segments.files.redactions().cut_pending()
    }
}

/// An erasure whose redactions are on the disk.
#[derive(Debug)]
struct LocalRedacted {
    files: Arc<SegmentFiles>,
    group: Group,
}

impl Redacted for LocalRedacted {
    fn finish(self: Box<Self>) -> Result<(), LedgerError> {
        finish(&self.files, &self.group)
    }

    fn abandon(self: Box<Self>) -> Result<(), LedgerError> {
        self.files.redactions().cut_pending()
    }
}

/// Overwrites the entries of a group, and notes that the group is done. Doing it again changes nothing.
fn finish(segments: &SegmentFiles, group: &Group) -> Result<(), LedgerError> {
    let redactions = segments.redactions();
    let mut frame = Position::default();
    let mut entries: Vec<Overwritten> = Vec::new();
    let mut touched: Vec<(u64, Position)> = Vec::new();
    for record in redactions.records(group) {
        let record = record?;
        if record.frame != frame && !entries.is_empty() {
            segments.overwrite(frame, &entries)?;
            entries.clear();
        }
        frame = record.frame;
        entries.push(Overwritten { position: record.position, len: record.entry_len, record: record.at });
        if let Some(base) = segments.base(frame)
            && touched.iter().all(|(known, _)| *known != base)
        {
            touched.push((base, frame));
        }
    }
    if !entries.is_empty() {
        segments.overwrite(frame, &entries)?;
    }
    touched.into_iter().try_for_each(|(_, position)| segments.sync(position))?;
    redactions.finish(group)
}

/// Completes or removes an erasure that was cut off: it is finished if its erase entry is in the ledger before `limit`,
/// else its redactions are cut. A mirror's ledger ends with its primary's last checkpoint: an entry behind that is cut,
/// and is received again.
///
/// # Errors
///
/// [`LedgerError`].
pub(in crate::ledger) fn recover(segments: &SegmentFiles, limit: u64) -> Result<(), LedgerError> {
    let redactions = segments.redactions();
    let is_committed = |erase, frame| is_committed(segments, limit, erase, frame);
    redactions.mend_header(is_committed)?;
    loop {
        match redactions.pending()? {
            Pending::Nothing => return Ok(()),
            Pending::Group(group) if is_committed(group.erase, group.frame)? => {
                tracing::warn!(entry = group.erase, "an erasure was cut off: finishing it");
                // The frame of the erase entry may not have been synced.
                segments.sync(group.frame)?;
                finish(segments, &group)?;
            }
            Pending::Torn { erase: Some((erase, frame)), .. } if is_committed(erase, frame)? => {
                return Err(torn(redactions, erase));
            }
            Pending::Group(_) | Pending::Torn { .. } => {
                tracing::warn!("an erasure was cut off before it was acknowledged: nothing of it is left");
                return redactions.cut_pending();
            }
        }
    }
}

/// Checks for erasures that were cut off; returns the size in bytes of the redactions of one that never counted.
/// `limit` is as for [`recover`].
///
/// # Errors
///
/// [`LedgerError::ErasureCutOff`], or [`LedgerError::Damaged`].
pub(in crate::ledger) fn check(segments: &SegmentFiles, limit: u64) -> Result<u64, LedgerError> {
    let redactions = segments.redactions();
    let is_committed = |erase, frame| is_committed(segments, limit, erase, frame);
    let pending = redactions.pending()?;
    // The crash may have left older groups half destroyed; the next start heals those.
    if let Pending::Group(group) = &pending
        && is_committed(group.erase, group.frame)?
    {
        return Err(LedgerError::ErasureCutOff { index: group.erase });
    }
    redactions.check()?;
    match pending {
        Pending::Nothing => Ok(0),
        Pending::Group(group) => Ok(group.bytes()),
        Pending::Torn { erase: Some((erase, frame)), .. } if is_committed(erase, frame)? => {
            Err(torn(redactions, erase))
        }
        Pending::Torn { bytes, .. } => Ok(bytes),
    }
}

fn torn(redactions: &Redactions, erase: u64) -> LedgerError {
    redactions.damaged(&format!(
        "is damaged where it holds what entry {erase} leaves of what it erased: restore it from a copy"
    ))
}

/// True if the ledger holds the erase entry of a group, before `limit`.
fn is_committed(segments: &SegmentFiles, limit: u64, erase: u64, frame: Position) -> Result<bool, LedgerError> {
    if erase >= limit {
        return Ok(false);
    }
    let Some(frame) = segments.frame_at(frame)? else { return Ok(false) };
    let entry = frame.entries().next().and_then(Result::ok);
    let entry = entry.and_then(|(_, bytes)| StoredEntry::read(bytes).ok());
    Ok(entry.is_some_and(|entry| entry.kind == EntryKind::Erase && entry.index == erase))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{ErasedValues, Erasure, Reason},
        ledger::{Appender, DataDir, EdgesAfter, KeySource, Mark, Opening, segments_contract::draft},
        record::Status,
    };

    /// Erases a value of an identifier whose newest version is entry `newest`; gives the index of the erase entry.
    fn erase(appender: &mut Appender, value: u32, left: &[u32], newest: u64) -> u64 {
        let erasure = Erasure::of_value(value, Status::Active, Reason::new("r").unwrap()).unwrap();
        let mut erasing = appender.begin_erasing(2, ErasedValues::One(value)).unwrap();
        erasing.redact_all(newest).unwrap();
        let staged = erasing
            .push(&draft(1, EntryKind::Erase, left, Some(&erasure)), newest + 2, newest, EdgesAfter::None)
            .unwrap();
        staged.commit().unwrap();
        appender.finish_erasing().unwrap();
        newest + 1
    }

    #[test]
    fn an_erasure_that_was_cut_off_within_an_older_record_is_for_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open_or_create(directory.path()).unwrap();
        let opening = Opening::new(&data, KeySource { origin: "id.test/ledger", seed: [1; 32] }).unwrap();
        let recovered = opening.recover::<LedgerError>(Mark::START, |_| Ok(())).unwrap().sign().unwrap();
        let (mut appender, segments) = (recovered.appender, &*recovered.segments.files);
        let path = directory.path().join("ledger/redactions");
        let mut batch = appender.begin(1).unwrap();
        let created = batch.push(&draft(1, EntryKind::Create, &[1, 2], None), 1, None, EdgesAfter::None).unwrap();
        batch.commit().unwrap();
        let erased = erase(&mut appender, 1, &[2], created.index);
        let first = std::fs::read(&path).unwrap();
        erase(&mut appender, 2, &[], erased);
        let done = std::fs::read(&path).unwrap();

        // The old header, and the new head of the first record: its bytes were still to be overwritten.
        let (header, record) = (32, 32 + 24 + 48);
        let cut_off = [&first[..header], &done[header..record], &first[record..], &done[first.len()..]].concat();
        assert_eq!(cut_off.len(), done.len());
        std::fs::write(&path, cut_off).unwrap();
        let error = check(segments, u64::MAX).unwrap_err();
        assert!(matches!(error, LedgerError::ErasureCutOff { index: 2 }), "{error}");
        recover(segments, u64::MAX).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), check(segments, u64::MAX).unwrap()), (done.clone(), 0));

        // Nothing is cut if the header does not say what is done and a group cannot be shown to count.
        let mut damaged = done.clone();
        damaged[9] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(check(segments, u64::MAX), Err(LedgerError::Damaged { .. })));
        assert!(recover(segments, u64::MAX).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
        damaged[header] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(recover(segments, u64::MAX).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
}

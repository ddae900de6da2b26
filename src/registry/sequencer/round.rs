//! Decisions: one command against the index and the entries already in the batch.

use std::{borrow::Cow, time::Instant};

use super::{Decided, Sequencer, Staged};
use crate::{
    codec::Torn,
    entry::{Draft, EntryKind, StoredEntry},
    id::{Identifier, Key},
    ledger::{Batch, Committed, EdgesAfter, EntryBytes},
    record::{EdgeChange, Status},
    registry::{
        Entropy, Existing, Refusal,
        prepared::{Asked, Content, ContentRef, Drafted, Merge},
        same::Unreadable,
        stats::Stats,
    },
    store::{Prefixes, Records, RequestKey},
};

/// A batch while its commands are decided.
pub(super) struct Round<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) staged: Staged,
    pub(super) records: &'a Records,
    pub(super) prefixes: &'a Prefixes,
    pub(super) entropy: &'a Entropy,
    /// Reason why the batch must not be committed: one of its entries cannot be read back.
    pub(super) broken: Option<Refusal>,
}

/// A command whose entry shares a batch with others.
#[derive(Clone, Copy)]
pub(super) enum Write<'a> {
    /// The entry is computed already.
    Drafted(&'a Drafted),
    /// The entry depends on the record.
    Merge(&'a Merge),
}

impl<'a> Write<'a> {
    fn asked(self) -> &'a Asked {
        match self {
            Self::Drafted(Drafted { asked, .. }) | Self::Merge(Merge { asked, .. }) => asked,
        }
    }

    /// Content that the command registers, if it registers something.
    fn registers(self) -> Option<&'a Content> {
        match self {
            Self::Drafted(drafted) => Some(&drafted.content).filter(|content| content.registers()),
            Self::Merge(_) => None,
        }
    }

    fn retires(self) -> bool {
        matches!(self, Self::Drafted(drafted) if drafted.content.kind == EntryKind::Retire)
    }

    fn edges(self) -> &'a [EdgeChange] {
        match self {
            Self::Drafted(drafted) => &drafted.content.edges,
            Self::Merge(merge) => &merge.edges,
        }
    }

    fn is_said_by(self, entry: &StoredEntry<'_>) -> Result<bool, Torn> {
        match self {
            Self::Drafted(drafted) => drafted.is_said_by(entry),
            Self::Merge(merge) => merge.is_said_by(entry),
        }
    }
}

impl Sequencer {
    /// Begins a batch.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unavailable`] if index or ledger take no entries now.
    pub(super) fn begin(&mut self) -> Result<Round<'_>, Refusal> {
        let now_ms = (self.clock)();
        self.records.entries().ready()?;
        let batch = self.appender.begin(now_ms)?;
        let (records, prefixes, entropy) = (&self.records, &*self.prefixes, &self.entropy);
        Ok(Round { batch, staged: Staged::default(), records, prefixes, entropy, broken: None })
    }
}

impl Round<'_> {
    /// Makes the batch durable and signed.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unavailable`]; [`Refusal::Internal`] if an entry of the batch cannot be read back, and nothing is
    /// written then.
    pub(super) fn commit(self, stats: &Stats) -> Result<(Staged, Committed), Refusal> {
        if let Some(refusal) = self.broken {
            return Err(refusal);
        }
        let (count, began) = (self.batch.len(), Instant::now());
        let committed = self.batch.commit()?;
        if count > 0 {
            stats.committed(count, began.elapsed());
        }
        Ok((self.staged, committed))
    }

    /// Decides one command; if the command gets an entry, the entry is in the batch afterwards.
    pub(super) fn decide(&mut self, write: Write<'_>) -> Result<Decided, Refusal> {
        let asked = write.asked();
        if let Some(request) = &asked.request_key
            && let Some(bytes) = self.by_request(request)?
        {
            return self.replay(asked, &bytes, |entry| write.is_said_by(entry));
        }
        self.refuse_elsewhere(&asked.identifier)?;
        match self.newest(asked.identifier.key())? {
            None => self.create(write),
            Some(bytes) => self.change(write, &bytes.decode()?),
        }
    }

    /// Decides a command about an identifier that was never registered.
    fn create(&mut self, write: Write<'_>) -> Result<Decided, Refusal> {
        let asked = write.asked();
        let identifier = || asked.identifier.to_string();
        let drafted = match write {
            Write::Drafted(drafted) if drafted.content.registers() => drafted,
            Write::Drafted(_) | Write::Merge(_) => return Err(Refusal::NotFound { identifier: identifier() }),
        };
        if let Some(expected) = asked.expected_version.filter(|&expected| expected != 0) {
            return Err(Refusal::VersionMismatch { identifier: identifier(), expected, found: 0 });
        }
        // The inputs of an event are edges, too.
        let edges_after = if drafted.content.edges.is_empty() { EdgesAfter::None } else { EdgesAfter::Some };
        self.push(&drafted.draft, 1, None, edges_after)
    }

    /// Decides a command about an identifier whose newest entry is `entry`.
    fn change(&mut self, write: Write<'_>, entry: &StoredEntry<'_>) -> Result<Decided, Refusal> {
        let asked = write.asked();
        let identifier = || asked.identifier.to_string();
        if let Some(content) = write.registers() {
            let same_content = self.same_content(entry, content)?;
            let existing = Existing { version: entry.version, ledger_index: entry.index, same_content };
            refuse_ended(asked, entry)?;
            return Err(Refusal::AlreadyExists { identifier: identifier(), existing });
        }
        refuse_ended(asked, entry)?;
        if let Some(expected) = asked.expected_version.filter(|&expected| expected != entry.version) {
            return Err(Refusal::VersionMismatch { identifier: identifier(), expected, found: entry.version });
        }
        if !write.retires() && self.is_event(entry)? {
            return Err(Refusal::Immutable { identifier: identifier(), ledger_index: entry.index });
        }
        let draft = self.draft(write, entry)?;
        let added = write.edges().iter().any(|change| matches!(change, EdgeChange::Add(_)));
        let edges_after = if entry.has_edges || added { EdgesAfter::Some } else { EdgesAfter::None };
        self.push(&draft, entry.version + 1, Some(entry.index), edges_after)
    }

    /// Draft for a command about a record: the prepared one, or a new one for a merge or if the identifier was
    /// registered in another spelling.
    fn draft<'w>(&self, write: Write<'w>, entry: &StoredEntry<'_>) -> Result<Cow<'w, Draft>, Refusal> {
        let asked = write.asked();
        let as_registered = || Identifier::parse(entry.identifier).map_err(|error| asked.invalid(error.to_string()));
        match write {
            Write::Drafted(drafted) if asked.identifier.as_str() == entry.identifier => {
                Ok(Cow::Borrowed(&drafted.draft))
            }
            Write::Drafted(drafted) => {
                let draft = asked.draft_for(&as_registered()?, drafted.content.as_ref(), (self.entropy)());
                draft.map(Cow::Owned)
            }
            Write::Merge(merge) => {
                let current = entry.decode_values().map_err(|_| unreadable(entry))?;
                let values = merge.values.apply(current).map_err(|error| asked.invalid(error.to_string()))?;
                let (values, edges) = (&values, merge.edges.as_slice());
                let content = ContentRef { kind: EntryKind::Update, values, edges, outputs: None };
                asked.draft_for(&as_registered()?, content, (self.entropy)()).map(Cow::Owned)
            }
        }
    }

    /// Gives an entry its place in the batch, and stages its effects.
    pub(super) fn push(
        &mut self,
        draft: &Draft,
        version: u64,
        previous: Option<u64>,
        edges: EdgesAfter,
    ) -> Result<Decided, Refusal> {
        let pushed = self.batch.push(draft, version, previous, edges)?;
        let stored = self.batch.staged(pushed.index).unwrap_or_default();
        let noted = self.staged.note(stored, pushed.leaf_hash);
        noted.inspect_err(|refusal| self.broken = Some(refusal.clone()))
    }

    /// True if the identifier is an event, even an erased one. An erasure has a batch of its own, so the entries
    /// beneath one are in the ledger.
    fn is_event(&self, entry: &StoredEntry<'_>) -> Result<bool, Refusal> {
        match self.records.beneath_erasures(entry)? {
            None => Ok(entry.kind == EntryKind::Event),
            Some(bytes) => Ok(bytes.decode()?.kind == EntryKind::Event),
        }
    }

    /// First receipt of a command that was sent again; `is_said_by` is true if the entry is the one that the command
    /// would have made.
    pub(super) fn replay(
        &self,
        asked: &Asked,
        bytes: &EntryBytes,
        is_said_by: impl FnOnce(&StoredEntry<'_>) -> Result<bool, Torn>,
    ) -> Result<Decided, Refusal> {
        let entry = bytes.decode()?;
        if !is_said_by(&entry).map_err(|_| unreadable(&entry))? {
            let identifier = asked.identifier.to_string();
            return Err(Refusal::RequestReused { identifier, ledger_index: entry.index });
        }
        Ok(Decided::before(&entry, self.batch.leaf_hash(entry.index)?))
    }

    /// True if the registered record says what the command would have registered.
    fn same_content(&self, entry: &StoredEntry<'_>, content: &Content) -> Result<bool, Refusal> {
        content.is_registered_by(entry, || self.edges_now(entry)).map_err(|error| match error {
            Unreadable::Entry => unreadable(entry),
            Unreadable::Record(error) => error.into(),
        })
    }

    /// The newest entry of an identifier, of this batch or of the ledger.
    pub(super) fn newest(&self, key: &Key) -> Result<Option<EntryBytes>, Refusal> {
        match self.staged.newest(key).and_then(|index| self.batch.staged_entry(index)) {
            Some(staged) => Ok(Some(staged)),
            None => Ok(self.records.entries().newest(key)?),
        }
    }

    /// The entry that a request became, of this batch or of the ledger.
    pub(super) fn by_request(&self, request: &RequestKey) -> Result<Option<EntryBytes>, Refusal> {
        match self.staged.by_request(request).and_then(|index| self.batch.staged_entry(index)) {
            Some(staged) => Ok(Some(staged)),
            None => Ok(self.records.entries().by_request(request)?),
        }
    }
}

pub(super) fn unreadable(entry: &StoredEntry<'_>) -> Refusal {
    Refusal::Unavailable { reason: format!("ledger entry {} cannot be read", entry.index) }
}

/// Refuses to change a record that is retired or erased.
fn refuse_ended(asked: &Asked, entry: &StoredEntry<'_>) -> Result<(), Refusal> {
    let (identifier, ledger_index) = (asked.identifier.to_string(), entry.index);
    match entry.status() {
        Status::Active => Ok(()),
        Status::Retired => Err(Refusal::Retired { identifier, ledger_index }),
        Status::Erased => Err(Refusal::Erased { identifier, ledger_index }),
    }
}

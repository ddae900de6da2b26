//! Prepared commands: checked on their own, with everything computed that does not depend on other commands.
//!
//! Each kind holds exactly what the sequencer needs of it, so that no step has to test whether a part is there. A
//! [`Drafted`] command brings its entry along; a [`Merge`] gets one when the record is known; an [`Erase`] has a batch
//! of its own.

use super::{Command, Entropy, Operation, Refusal, ValueChange, command::Merging, request_key};
use crate::{
    entry::{Draft, EntryKind, EntryTooLong, ErasedValues, Principal, Reason, RequestId, Statement, StoredEntry},
    id::Identifier,
    record::{EdgeChange, Event, Flow, Outputs, Values},
    store::RequestKey,
};

/// A command that was checked on its own, with everything computed that does not depend on other commands.
#[derive(Debug)]
pub enum Prepared {
    /// The entry is the same whatever the record holds.
    Drafted(Drafted),
    /// The entry depends on the values that the record holds.
    Merge(Merge),
    /// The command destroys values in earlier entries.
    Erase(Erase),
}

/// Parts that every command has.
#[derive(Debug)]
pub struct Asked {
    pub(super) identifier: Identifier,
    pub(super) expected_version: Option<u64>,
    pub(super) principal: Principal,
    pub(super) request: Option<RequestId>,
    pub(super) request_key: Option<RequestKey>,
}

/// Content of an entry: kind, all values from now on, edges that are added and removed.
#[derive(Debug)]
pub struct Content {
    pub(super) kind: EntryKind,
    pub(super) values: Values,
    pub(super) edges: Vec<EdgeChange>,
    /// Outputs of an event; `None` for every other kind.
    pub(super) outputs: Option<Outputs>,
}

/// A borrowed [`Content`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ContentRef<'a> {
    pub(super) kind: EntryKind,
    pub(super) values: &'a Values,
    pub(super) edges: &'a [EdgeChange],
    pub(super) outputs: Option<&'a Outputs>,
}

/// A command whose entry is computed already.
#[derive(Debug)]
pub struct Drafted {
    pub(super) asked: Asked,
    pub(super) content: Content,
    /// The entry, with the identifier as the command spells it.
    pub(super) draft: Draft,
}

/// An update whose values are merged with those of the record.
#[derive(Debug)]
pub struct Merge {
    pub(super) asked: Asked,
    pub(super) values: Merging,
    pub(super) edges: Vec<EdgeChange>,
}

/// A command that erases values.
#[derive(Debug)]
pub struct Erase {
    pub(super) asked: Asked,
    pub(super) values: ErasedValues,
    pub(super) reason: Reason,
}

impl Prepared {
    /// Prepares a checked command: computes salts, commitments and the key of the request.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] if the entry would be too long.
    pub(super) fn new(command: Command, principal: Principal, entropy: &Entropy) -> Result<Self, Refusal> {
        let Command { identifier, operation, expected_version, request } = command;
        let request_key = request.as_ref().map(|id| request_key(identifier.key(), id.as_bytes()));
        let asked = Asked { identifier, expected_version, principal, request, request_key };
        let content = match operation {
            Operation::Create { values, edges } => {
                let edges = edges.into_iter().map(EdgeChange::Add).collect();
                Content { kind: EntryKind::Create, values, edges, outputs: None }
            }
            Operation::Event { values, event: Event { inputs, outputs } } => {
                let edges = inputs.into_iter().map(|input| EdgeChange::Add(input.into_edge())).collect();
                Content { kind: EntryKind::Event, values, edges, outputs: Some(outputs) }
            }
            Operation::Update { values: ValueChange::Replace(values), edges } => {
                Content { kind: EntryKind::Update, values, edges, outputs: None }
            }
            Operation::Update { values: ValueChange::Merge(values), edges } => {
                return Ok(Self::Merge(Merge { asked, values, edges }));
            }
            Operation::Retire => Content::retired(),
            Operation::Erase { values, reason } => return Ok(Self::Erase(Erase { asked, values, reason })),
        };
        let draft = asked.draft(&content, entropy())?;
        Ok(Self::Drafted(Drafted { asked, content, draft }))
    }

    /// Approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let values = |values: &Values| values.iter().map(|value| value.data.len() + 128).sum::<usize>();
        256 + match self {
            Self::Drafted(Drafted { content, draft, .. }) => values(&content.values) + draft.stored_len_max(),
            Self::Merge(Merge { values: merging, .. }) => values(&merging.set),
            Self::Erase(_) => 0,
        }
    }
}

impl Asked {
    /// Computes the draft of an entry, with the identifier as the command spells it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] if the entry would be too long.
    fn draft(&self, content: &Content, salt: [u8; 32]) -> Result<Draft, Refusal> {
        self.draft_for(&self.identifier, content.as_ref(), salt)
    }

    /// As [`Asked::draft`], with the identifier as it was first registered.
    pub(super) fn draft_for(
        &self,
        identifier: &Identifier,
        content: ContentRef<'_>,
        salt: [u8; 32],
    ) -> Result<Draft, Refusal> {
        let ContentRef { kind, values, edges, outputs } = content;
        let (principal, request) = (&self.principal, self.request.as_ref());
        let statement = Statement { kind, identifier, principal, values, edges, outputs, request, erasure: None };
        Draft::new(&statement, salt).map_err(|error: EntryTooLong| self.invalid(error.to_string()))
    }

    /// True if the version of an entry is the one that this command would have made.
    pub(super) fn follows(&self, entry: &StoredEntry<'_>) -> bool {
        self.expected_version.is_none_or(|expected| expected.checked_add(1) == Some(entry.version))
    }

    /// Refusal of a command that breaks a rule.
    pub(super) fn invalid(&self, reason: String) -> Refusal {
        Refusal::Invalid { identifier: self.identifier.to_string(), reason }
    }
}

impl Content {
    fn retired() -> Self {
        Self { kind: EntryKind::Retire, values: Values::default(), edges: Vec::new(), outputs: None }
    }

    /// Borrows the content.
    pub(super) fn as_ref(&self) -> ContentRef<'_> {
        let Self { kind, values, edges, outputs } = self;
        ContentRef { kind: *kind, values, edges, outputs: outputs.as_ref() }
    }

    /// True if the entry registers an identifier.
    pub(super) fn registers(&self) -> bool {
        matches!(self.kind, EntryKind::Create | EntryKind::Event)
    }

    /// The event, if the content is one.
    pub(super) fn event(&self) -> Option<Event> {
        let input = |change: &EdgeChange| match change {
            EdgeChange::Add(edge) => Some(Flow::from(edge.clone())),
            EdgeChange::Remove(..) => None,
        };
        let outputs = self.outputs.clone()?;
        Some(Event { inputs: self.edges.iter().filter_map(input).collect(), outputs })
    }
}

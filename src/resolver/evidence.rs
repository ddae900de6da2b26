//! Evidence: what shows that an answer of this node is true, and that nothing newer says otherwise.
//!
//! | answer | entry | lookup in the verifiable index |
//! |---|---|---|
//! | found, retired, erased | the one that says it | `id:` of the identifier, for [`Evidence::Latest`] |
//! | denied | the newest one, none of its values shown | the same |
//! | delegated | the one that delegates | `ns:` of the prefix, for [`Evidence::Latest`] |
//! | not found | none: the index shows that there is none | `id:` of the identifier |
//! | not responsible | none | none |
//!
//! For [`Evidence::Latest`] the prefixes between the one that was delegated to this node and the identifier come along, each with
//! what shows that it is not delegated further.

use super::{Answer, Disclosure, EntryProof, ProveError, Resolver, Subject};
use crate::{
    entry::{EntryKind, EntryText},
    id::{Identifier, Prefix},
    ledger::Publication,
    vindex::{
        Lookup, Lookups,
        keys::{LookupKind, prefix_key},
    },
};

/// How much evidence comes along with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// None.
    #[default]
    None,
    /// The proof that the entry which says it stands in the ledger. Not found has no entry: a lookup that finds none.
    Inclusion,
    /// Beside it lookups in the verifiable index, which show that no later entry does, and that no longer prefix is delegated.
    Latest,
}

/// The evidence beside an answer, as far as there is any.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// The entry that says it.
    pub entry: Option<EntryProof>,
    /// The lookup that shows that no later entry is about the same.
    pub lookup: Option<Lookup>,
    /// The prefixes that cover the identifier, from the longest down to the first that is homed.
    pub prefixes: Vec<ProvenPrefix>,
}

/// Evidence that a prefix is not delegated.
#[derive(Clone, Debug)]
pub struct ProvenPrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// What the verifiable index has of it.
    pub lookup: Lookup,
    /// The last entry about it, if there is one.
    pub last: Option<EntryProof>,
}

/// What evidence is made for.
pub(super) struct Claimed<'a> {
    pub(super) identifier: &'a Identifier,
    pub(super) answer: &'a Answer,
    pub(super) evidence: Evidence,
    /// The prefix as whose site the node is asked.
    pub(super) delegated: &'a Prefix,
}

impl Resolver {
    /// The evidence for an answer of this node. It may wait for the disk.
    ///
    /// # Errors
    ///
    /// [`ProveError`] when the ledger cannot be read. An index that is catching up is no error: the answer stands without it.
    pub(super) fn proofs(
        &self,
        claimed: &Claimed<'_>,
        publication: &Publication,
        lookups: Option<&Lookups>,
    ) -> Result<Proofs, ProveError> {
        let &Claimed { identifier, answer, evidence, delegated } = claimed;
        let subject = match answer {
            Answer::Found(found) => Some(Subject::Index(found.record().version.ledger_index)),
            Answer::Retired(tombstone) => Some(Subject::Index(tombstone.version.ledger_index)),
            Answer::Delegated(referral) => referral.ledger_index.map(Subject::Index),
            Answer::Denied => Some(Subject::Newest(identifier.clone())),
            Answer::NotFound | Answer::NotResponsible => None,
        };
        let prove = |subject| self.prove(&subject, &Disclosure::Public, publication);
        let entry = subject.map(prove).transpose()?;
        let is_latest = evidence == Evidence::Latest;
        let key = match answer {
            Answer::NotResponsible => None,
            // No entry says that there is none: the index does.
            Answer::NotFound => Some(LookupKind::Id.key(identifier)),
            _ if !is_latest => None,
            Answer::Delegated(referral) => Some(prefix_key(&referral.prefix)),
            Answer::Found(_) | Answer::Retired(_) | Answer::Denied => Some(LookupKind::Id.key(identifier)),
        };
        let lookup = lookups.zip(key).and_then(|(lookups, key)| lookups.lookup(&key).ok());
        let upper = match answer {
            _ if !is_latest => None,
            Answer::NotResponsible => None,
            Answer::Delegated(referral) => Some(&referral.prefix),
            Answer::Found(_) | Answer::Retired(_) | Answer::Denied | Answer::NotFound => Some(delegated),
        };
        let prefixes = match lookups.zip(upper) {
            Some((lookups, upper)) => self.prefix_proofs(identifier, upper, publication, lookups)?,
            None => Vec::new(),
        };
        Ok(Proofs { entry, lookup, prefixes })
    }

    /// Evidence that the prefixes which cover an identifier and are longer than `upper` are not delegated, from the longest down to the
    /// first that is homed, behind which none counts. Empty when they are too many, or the index has nothing to say.
    fn prefix_proofs(
        &self,
        identifier: &Identifier,
        upper: &Prefix,
        publication: &Publication,
        lookups: &Lookups,
    ) -> Result<Vec<ProvenPrefix>, ProveError> {
        let Some(longer) = Prefix::covering(identifier, upper) else { return Ok(Vec::new()) };
        let mut shown = Vec::with_capacity(longer.len());
        for prefix in longer {
            // First the lookup: what the ledger takes meanwhile stands behind its end.
            let Ok(lookup) = lookups.lookup(&prefix_key(&prefix)) else { return Ok(Vec::new()) };
            let last = match self.prove(&Subject::NewestOf(prefix.clone()), &Disclosure::Public, publication) {
                Ok(last) => Some(last),
                Err(ProveError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            let kind = last.as_ref().and_then(|last| EntryText::parse(&last.text).ok()).map(|entry| entry.kind);
            shown.push(ProvenPrefix { prefix, lookup, last });
            if kind == Some(EntryKind::Home) {
                break;
            }
        }
        Ok(shown)
    }
}

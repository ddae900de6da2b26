//! Evidence: proof that an answer of this node is true, and that no newer entry contradicts it.
//!
//! | answer | entry | lookup in the verifiable index |
//! |---|---|---|
//! | found, retired, erased | the entry behind the answer | `id:` of the identifier, for [`Evidence::Latest`] |
//! | denied | the newest entry, without values | the same |
//! | delegated | the entry that delegates | `ns:` of the prefix, for [`Evidence::Latest`] |
//! | not found | none: the lookup shows absence | `id:` of the identifier |
//! | not responsible | none | none |
//!
//! For [`Evidence::Latest`] the reply also carries, for each prefix between the one delegated to this node and the
//! identifier, proof that the prefix is not delegated further.

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

/// Amount of evidence beside an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// None.
    #[default]
    None,
    /// The inclusion proof of the entry behind the answer. Not found has no entry, and carries a lookup of absence
    /// instead.
    Inclusion,
    /// The inclusion proof, and lookups in the verifiable index: no later entry is about the subject, and no longer
    /// prefix is delegated.
    Latest,
}

/// The evidence beside an answer, as far as the node has any.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// Proof of the entry behind the answer.
    pub entry: Option<EntryProof>,
    /// Lookup that shows that no later entry is about the same subject.
    pub lookup: Option<Lookup>,
    /// Evidence for the prefixes that cover the identifier, from the longest down to the first that is homed.
    pub prefixes: Vec<ProvenPrefix>,
}

/// Evidence that a prefix is not delegated.
#[derive(Clone, Debug)]
pub struct ProvenPrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// Lookup of the prefix in the verifiable index.
    pub lookup: Lookup,
    /// Proof of the last entry about the prefix, if there is one.
    pub last: Option<EntryProof>,
}

/// The answer for which evidence is made.
pub(super) struct Claimed<'a> {
    pub(super) identifier: &'a Identifier,
    pub(super) answer: &'a Answer,
    pub(super) evidence: Evidence,
    /// The prefix for which the node is asked as a site.
    pub(super) delegated: &'a Prefix,
}

impl Resolver {
    /// The evidence for an answer of this node; may wait for a disk.
    ///
    /// # Errors
    ///
    /// [`ProveError`] if the ledger cannot be read. An index that is catching up is no error: its lookups are left out.
    pub(super) fn proofs(
        &self,
        claimed: &Claimed<'_>,
        publication: &Publication,
        lookups: Option<&Lookups>,
    ) -> Result<Proofs, ProveError> {
        let &Claimed { identifier, answer, evidence, delegated } = claimed;
        let subject = match answer {
            Answer::Found(found) => Some(Subject::Index(found.version().ledger_index)),
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
            // Absence has no entry to prove: the lookup shows it.
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

    /// Evidence that no prefix that covers an identifier and is longer than `upper` is delegated, from the longest down
    /// to the first that is homed; shorter prefixes do not count behind a homed one. Empty if there are too many
    /// prefixes, or the index has no lookup.
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
            // The lookup comes first: an entry that the ledger takes meanwhile lies behind the lookup's end.
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

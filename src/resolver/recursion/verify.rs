//! Verification of replies: proofs of what a site said.
//!
//! | said | proven by |
//! |---|---|
//! | found | its entry: in the ledger, about the identifier, with the index, the time and the values that were said |
//! | retired, erased | its entry, which says so |
//! | denied | its entry, which leaves the record active: the record exists; showing values is up to the site |
//! | not found | a lookup of `id:` that finds none |
//! | referral | the entry that delegates, with exactly this delegation |
//!
//! Every proof verifies under the key in the site's delegation. For [`Evidence::Latest`] a lookup shows in addition
//! that the entry is the last one about its subject, as of the checkpoint in the lookup.
//!
//! For [`Evidence::Latest`] every prefix that covers the identifier and is longer than that of the site, or of the
//! referral, needs a lookup of `ns:` that finds nothing, or the last entry that it finds, to show that the site has not
//! delegated the prefix. Otherwise an old record, an absence or a shorter referral from a parent's ledger would pass
//! for what the parent has delegated. The longest prefix counts: behind one that the site homes, shorter prefixes are
//! not checked.
//!
//! Not proven: edges and outputs (a walk leaves them out), version numbers, that withheld values may not be shown, and
//! the age of the site's newest checkpoint; but a checkpoint is not much older than one shown before, or than that of
//! the proof beside it ([`super::floors`]). [`Evidence::Inclusion`] proves nothing about longer prefixes: an attacker
//! who can forge a parent's replies can pass off an entry of its ledger as the answer to what the parent has delegated.

use super::{
    error::Unproven,
    floors::Floors,
    resolved::Verification,
    upstream::{PrefixEvidence, SiteReply},
};
use crate::{
    entry::{EntryKind, EntryText},
    id::{Identifier, Prefix},
    proof::{self, Outcome, Proven},
    record::{Record, Status},
    resolver::{Answer, Evidence, Referral, Tombstone},
    tlog::{note::VerifierKey, policy::Policy, tlog_proof::TlogProof},
    vindex::{Lookup, LookupKind, keys::prefix_key},
};

/// Checks the proofs in a reply. Pure: a check sends no query.
pub trait Verifier: Send + Sync + 'static {
    /// Checks the evidence that the query required.
    ///
    /// # Errors
    ///
    /// [`Unproven`] if the reply proves less.
    fn verify(&self, claim: &Claim<'_>) -> Result<Shown, Unproven>;
}

/// Claim of a site.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Verifier key of the site.
    pub key: Option<&'a str>,
    /// Prefix delegated to the site.
    pub prefix: &'a Prefix,
    /// Identifier in the query.
    pub identifier: &'a Identifier,
    /// Evidence that the query required.
    pub evidence: Evidence,
    /// Reply of the site.
    pub reply: &'a SiteReply,
}

/// Result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Degree of verification.
    pub verification: Verification,
    /// Indexes of values of the entry that were not shown.
    pub withheld: Box<[u32]>,
}

/// Verifies inclusion proofs and lookups. It keeps the size that each ledger has shown, so that [`Evidence::Latest`]
/// rejects an older state that was true once.
#[derive(Debug)]
pub struct LedgerVerifier {
    floors: Floors,
}

impl Default for LedgerVerifier {
    fn default() -> Self {
        Self { floors: Floors::new() }
    }
}

impl Verifier for LedgerVerifier {
    fn verify(&self, claim: &Claim<'_>) -> Result<Shown, Unproven> {
        let key = claim.key.ok_or_else(|| unproven("the delegation of the site names no key"))?;
        if matches!(claim.reply.answer, Answer::NotFound) {
            let found = looked_up(claim, key, &LookupKind::Id.key(claim.identifier))?;
            self.floors.check(key, found.entries, found.entries)?;
            if let Some(last) = found.last {
                return Err(unproven(format!("it says not found, and entry {last} is about the identifier")));
            }
            if claim.evidence == Evidence::Latest {
                none_longer(claim, key, claim.prefix, found.entries)?;
            }
            return Ok(Shown { verification: Verification::by(claim.evidence), withheld: Box::default() });
        }
        let (proven, withheld) = included(claim, key)?;
        let subject = match &claim.reply.answer {
            Answer::Found(found) => found_proven(claim.identifier, &found.record(), &proven, &withheld).map(|()| None),
            Answer::Retired(tombstone) => retired_proven(claim.identifier, tombstone, &proven).map(|()| None),
            Answer::Denied => denied_proven(claim.identifier, &proven).map(|()| None),
            Answer::Delegated(referral) => referral_proven(referral, &proven).map(Some),
            Answer::NotFound | Answer::NotResponsible => Err(unproven("nothing can prove that")),
        }?;
        if claim.evidence == Evidence::Latest {
            let subject = subject.unwrap_or_else(|| LookupKind::Id.key(claim.identifier));
            let found = looked_up(claim, key, &subject)?;
            found.ends_with(proven.index)?;
            self.floors.check(key, found.entries, proven.accepted.checkpoint.head.size)?;
            let upper = match &claim.reply.answer {
                Answer::Delegated(referral) => &referral.prefix,
                _ => claim.prefix,
            };
            none_longer(claim, key, upper, found.entries)?;
        }
        Ok(Shown { verification: Verification::by(claim.evidence), withheld: withheld.into() })
    }
}

fn unproven(reason: impl Into<String>) -> Unproven {
    Unproven { reason: reason.into() }
}

/// The entry proven by a reply, and the indexes of its values that are not shown.
fn included(claim: &Claim<'_>, key: &str) -> Result<(Proven, Vec<u32>), Unproven> {
    entry_in(claim.reply.proof.as_ref().ok_or_else(|| unproven("no proof came along"))?, key)
}

/// The entry proven by a file, and the indexes of its values that are not shown.
fn entry_in(file: &TlogProof, key: &str) -> Result<(Proven, Vec<u32>), Unproven> {
    let key = VerifierKey::of_log(key).map_err(|error| unproven(error.to_string()))?;
    let policy = Policy::of_log(key).map_err(|error| unproven(error.to_string()))?;
    match proof::check(file, &policy) {
        Outcome::Disclosed(proven) => Ok((proven, Vec::new())),
        Outcome::Withheld { proven, indexes } => Ok((proven, indexes)),
        Outcome::Invalid(defect) => Err(unproven(defect.to_string())),
    }
}

/// Content of a verified lookup.
struct LookedUp {
    /// Index of the last entry under the key.
    last: Option<u64>,
    /// Number of ledger entries that the lookup covers.
    entries: u64,
}

impl LookedUp {
    /// Checks that an entry is the last one under the key. The index lags the ledger: an entry beyond the lookup's end
    /// is later than all that the lookup covers.
    fn ends_with(&self, index: u64) -> Result<(), Unproven> {
        if self.last == Some(index) || index >= self.entries {
            return Ok(());
        }
        let last = self.last.map_or("none".into(), |last| last.to_string());
        Err(unproven(format!("it shows entry {index}, and the last one is {last}")))
    }
}

/// The content of a reply's lookup, verified for a subject.
fn looked_up(claim: &Claim<'_>, key: &str, subject: &[u8; 32]) -> Result<LookedUp, Unproven> {
    const NONE: &str = "no lookup came along: the site has no verifiable index (a mirror, one promoted under its old key, \
                        `verifiable` in [index] off), or still makes it after a start";
    shown_by(claim.reply.lookup.as_ref().ok_or_else(|| unproven(NONE))?, key, subject)
}

/// The content of a lookup, verified for a subject.
fn shown_by(lookup: &Lookup, key: &str, subject: &[u8; 32]) -> Result<LookedUp, Unproven> {
    let verifier = VerifierKey::of_log(key).map_err(|error| unproven(error.to_string()))?;
    let verified = lookup.verify(subject, &verifier).map_err(|error| unproven(error.to_string()))?;
    Ok(LookedUp { last: verified.indices.last().copied(), entries: verified.covers.size })
}

/// Checks that the site has delegated no prefix that covers the identifier and is longer than `upper`, by lookups over
/// at least `entries` entries.
fn none_longer(claim: &Claim<'_>, key: &str, upper: &Prefix, entries: u64) -> Result<(), Unproven> {
    let longer = Prefix::covering(claim.identifier, upper).ok_or_else(|| {
        unproven(format!(
            "more than {} prefixes below {upper} cover the identifier, too many to show that none is delegated; delegate a \
             longer one",
            Prefix::COVERING_MAX
        ))
    })?;
    for prefix in &longer {
        let shown = claim.reply.prefixes.iter().find(|shown| shown.prefix == *prefix);
        let shown = shown.ok_or_else(|| unproven(format!("it does not show that {prefix} is not delegated")))?;
        let of_prefix = |unproven: Unproven| self::unproven(format!("of {prefix}: {}", unproven.reason));
        match last_said(shown, key, entries).map_err(of_prefix)? {
            None | Some((EntryKind::Revoke, _)) => {}
            // The longest prefix counts: behind a homed one no shorter one is checked.
            Some((EntryKind::Home, _)) if !matches!(claim.reply.answer, Answer::Delegated(_)) => break,
            Some((kind, index)) => {
                let said = claim.reply.answer.kind().as_str();
                return Err(unproven(format!("it says {said}, and entry {index} is `{}` of {prefix}", kind.as_str())));
            }
        }
    }
    Ok(())
}

/// Kind and index of the last entry about a prefix, by a lookup over at least `entries` entries; `None` if there is
/// none.
fn last_said(shown: &PrefixEvidence, key: &str, entries: u64) -> Result<Option<(EntryKind, u64)>, Unproven> {
    let found = shown_by(&shown.lookup, key, &prefix_key(&shown.prefix))?;
    // Otherwise an old lookup would pass beside the newest answer.
    if found.entries < entries {
        let older = found.entries;
        return Err(unproven(format!("its lookup covers {older} entries, and that of the answer {entries}")));
    }
    let Some(file) = &shown.last else {
        return match found.last {
            None => Ok(None),
            Some(last) => Err(unproven(format!("it does not show entry {last}, which is the last one"))),
        };
    };
    let (proven, _) = entry_in(file, key)?;
    if !proven.kind.is_about_prefix() || proven.identifier != shown.prefix.as_str() {
        return Err(unproven(format!("entry {} is `{}` of {}", proven.index, proven.kind.as_str(), proven.identifier)));
    }
    found.ends_with(proven.index)?;
    Ok(Some((proven.kind, proven.index)))
}

fn about(identifier: &Identifier, proven: &Proven) -> Result<(), Unproven> {
    match Identifier::parse(&proven.identifier) {
        Ok(of_entry) if of_entry.key() == identifier.key() => Ok(()),
        _ => Err(unproven(format!("entry {} is about {}", proven.index, proven.identifier))),
    }
}

/// Status of a record after an entry about it; `None` if the entry is about a prefix.
fn status_behind(proven: &Proven) -> Option<Status> {
    match proven.kind {
        EntryKind::Create | EntryKind::Update | EntryKind::Event => Some(Status::Active),
        EntryKind::Retire => Some(Status::Retired),
        EntryKind::Erase => proven.erasure.as_ref().map(|erasure| erasure.status),
        EntryKind::Delegate | EntryKind::Home | EntryKind::Revoke => None,
    }
}

fn found_proven(identifier: &Identifier, record: &Record, proven: &Proven, withheld: &[u32]) -> Result<(), Unproven> {
    about(identifier, proven)?;
    if status_behind(proven) != Some(Status::Active) {
        return Err(unproven(format!("entry {} is `{}`, and it says found", proven.index, proven.kind.as_str())));
    }
    same_version((record.version.ledger_index, record.version.time_ms), proven)?;
    if *record.values != *proven.values {
        return Err(unproven(format!("its values are not those of entry {}", proven.index)));
    }
    match record.values_erased.iter().find(|index| !withheld.contains(index)) {
        Some(index) => Err(unproven(format!("it says value {index} was erased, and shows it"))),
        None => Ok(()),
    }
}

fn retired_proven(identifier: &Identifier, tombstone: &Tombstone, proven: &Proven) -> Result<(), Unproven> {
    about(identifier, proven)?;
    let said = if tombstone.erased { Status::Erased } else { Status::Retired };
    if status_behind(proven) != Some(said) {
        return Err(unproven(format!("entry {} is `{}`, and it says gone", proven.index, proven.kind.as_str())));
    }
    same_version((tombstone.version.ledger_index, tombstone.version.time_ms), proven)
}

fn denied_proven(identifier: &Identifier, proven: &Proven) -> Result<(), Unproven> {
    about(identifier, proven)?;
    match status_behind(proven) {
        Some(Status::Active) if proven.values.is_empty() => Ok(()),
        _ => Err(unproven(format!("entry {} shows no record whose values are kept back", proven.index))),
    }
}

/// Checks that the entry delegates the prefix to exactly these sites; returns the lookup key of the prefix.
fn referral_proven(referral: &Referral, proven: &Proven) -> Result<[u8; 32], Unproven> {
    let entry = EntryText::parse(proven.text.as_bytes()).map_err(|error| unproven(error.to_string()))?;
    let (index, prefix) = (proven.index, &referral.prefix);
    if proven.kind != EntryKind::Delegate || proven.identifier != prefix.as_str() {
        let kind = proven.kind.as_str();
        return Err(unproven(format!("entry {index} is `{kind}` of {}, and it refers to {prefix}", proven.identifier)));
    }
    if entry.delegation.as_ref() != Some(&referral.delegation) {
        return Err(unproven(format!("entry {index} delegates {prefix} to other sites, or otherwise")));
    }
    match referral.ledger_index {
        Some(said) if said == index => Ok(prefix_key(prefix)),
        Some(said) => Err(unproven(format!("it says entry {said}, and shows entry {index}"))),
        None => Err(unproven(format!("it does not say which entry delegates {prefix}"))),
    }
}

fn same_version(said: (u64, u64), proven: &Proven) -> Result<(), Unproven> {
    match said == (proven.index, proven.time_ms) {
        true => Ok(()),
        false => Err(unproven(format!("it says entry {}, and shows entry {}", said.0, proven.index))),
    }
}

//! Promotion: a stopped mirror becomes a primary, after it was shown to hold everything that the primary is known to have signed.
//!
//! Known are the checkpoint of the mirror's own ledger, the largest that it ever saw (`ledger::Seen`), and one that the operator
//! has. What the primary acknowledged after all of them cannot be known here.

use super::DirectoryError;
use crate::{
    ledger::{self, DataDir, Ledger, MirrorOf, PromotionKey, Seen},
    tlog::SignedCheckpoint,
};

/// What a mirror may lack that becomes a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing that its primary is known to have signed.
    Refused,
    /// Entries that it never received: there is nobody left who has them.
    Accepted,
}

/// What was proved, and what the directory is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteReport {
    /// Entries in the ledger, each read and hashed again.
    pub entries: u64,
    /// Of these, how many the last checkpoint of the primary covers.
    pub signed: u64,
    /// The root of their tree, base64.
    pub root: String,
    /// The largest checkpoint of the primary that is known covers so many entries; what the primary took later nobody knows here.
    pub known: u64,
    /// How many of those are not here, which the operator accepted.
    pub missing: u64,
    /// The entries that the operator's checkpoint covers, all of them here, when one was given.
    pub at_least: Option<u64>,
    /// The verifier key of before.
    pub old_key: String,
    /// The verifier key from now on.
    pub verifier_key: String,
}

/// What an operator asks of a promotion.
#[derive(Clone, Copy, Debug)]
pub struct Promotion<'a> {
    /// Which key signs from then on.
    pub key: PromotionKey<'a>,
    /// A checkpoint that somebody has from the primary: what it covers has to be here, and the same.
    pub at_least: Option<&'a [u8]>,
    /// What may be missing.
    pub loss: Loss,
}

/// What a check of the whole directory found.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Entries in the ledger, each read and hashed again.
    pub entries: u64,
    /// Of these, how many the last checkpoint of the primary covers.
    pub signed: u64,
    /// The root of their tree, base64.
    pub root: String,
}

/// Whose ledger a directory mirrors that may be promoted: it keeps the whole of it.
///
/// # Errors
///
/// [`DirectoryError::Refused`] when it is no whole mirror's; [`DirectoryError::Ledger`].
pub fn promotable(directory: &DataDir) -> Result<MirrorOf, DirectoryError> {
    let refused = |what: String| Err(DirectoryError::Refused { what });
    let Some(mirror) = MirrorOf::read(directory)? else {
        return refused(format!(
            "{} is no mirror's directory; there is nothing to promote",
            directory.path().display()
        ));
    };
    if !mirror.only.is_empty() {
        return refused(format!(
            "this directory keeps {} only, and not the whole ledger; promote a whole mirror",
            mirror.only.join(", ")
        ));
    }
    Ok(mirror)
}

/// Makes the directory of a stopped mirror that of a primary: with its primary's key, of a file, or with a new one.
///
/// Its tree gives the root that the primary's key signed last ([`Sound`]); it has to hold what the largest checkpoint that was ever
/// seen covers, unless the loss is accepted, and what the operator's checkpoint covers.
///
/// # Errors
///
/// [`DirectoryError::Refused`] when the directory holds less or something else; [`DirectoryError::Ledger`]. Nothing is changed
/// then.
pub fn promote(
    directory: &DataDir,
    mirror: &MirrorOf,
    sound: Sound,
    promotion: Promotion<'_>,
) -> Result<PromoteReport, DirectoryError> {
    let Sound { entries, signed, root } = sound;
    let Promotion { key, at_least, loss } = promotion;
    if signed == 0 {
        let what = "this mirror holds nothing that its primary signed; there is nothing to promote".into();
        return Err(DirectoryError::Refused { what });
    }
    let ledger = Ledger::open_to_read(directory)?;
    let at_least = at_least.map(|note| covered(&ledger, mirror, note)).transpose()?;
    let seen = Seen::open(directory.path(), &mirror.key)?.newest();
    let missing = seen.as_ref().map_or(Ok(0), |seen| missing(&ledger, seen, loss))?;
    let known = seen.map_or(signed, |seen| seen.size.max(signed));
    let old_key = mirror.key.text().to_owned();
    let (_, verifier_key) = ledger::promote(directory, mirror, key)?;
    let at_least = at_least.map(|given| given.size);
    Ok(PromoteReport { entries, signed, root, known, missing, at_least, old_key, verifier_key })
}

/// How many entries are missing of a checkpoint that was seen.
fn missing(ledger: &Ledger, seen: &SignedCheckpoint, loss: Loss) -> Result<u64, DirectoryError> {
    let refused = |what: String| Err(DirectoryError::Refused { what });
    let held = ledger.size();
    let missing = seen.size.saturating_sub(held);
    if loss == Loss::Accepted {
        return Ok(missing);
    }
    if missing > 0 {
        return refused(format!(
            "this mirror saw a checkpoint of its primary that covers {} entries, and it holds {held}: {missing} are missing; \
             promote a mirror that has them, or give --accept-loss when there is none",
            seen.size
        ));
    }
    if ledger.root(seen.size)? != seen.root {
        return refused(format!(
            "this mirror saw a checkpoint of its primary that covers other entries than its first {}: the primary's key signed \
             two histories; find out which one counts, and give --accept-loss when it is this one",
            seen.size
        ));
    }
    Ok(missing)
}

/// A checkpoint that somebody has from the primary, whose entries are all here.
fn covered(ledger: &Ledger, mirror: &MirrorOf, note: &[u8]) -> Result<SignedCheckpoint, DirectoryError> {
    let refused = |what: String| DirectoryError::Refused { what };
    let given = mirror.key.verify(note).ok_or_else(|| {
        refused(format!("the checkpoint given is not signed with the key of `{}`", mirror.key.name()))
    })?;
    let held = ledger.size();
    if given.size > held {
        return Err(refused(format!(
            "the checkpoint given covers {} entries, and this mirror holds {held}: {} are missing; promote a mirror that has them",
            given.size,
            given.size - held
        )));
    }
    if ledger.root(given.size)? != given.root {
        return Err(refused(format!(
            "the checkpoint given covers other entries than the first {} of this mirror: one of the two is of another history",
            given.size
        )));
    }
    Ok(given)
}

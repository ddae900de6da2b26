//! Promotion: a stopped mirror becomes a primary, once it is shown to hold everything that the primary is known to have
//! signed.
//!
//! Known are the checkpoint of the mirror's own ledger, the largest that it ever saw (`ledger::Seen`), and one that the
//! operator gives. Entries that the primary acknowledged after all of these are unknown here.

use super::DirectoryError;
use crate::{
    ledger::{self, DataDir, Ledger, MirrorOf, PromotionKey, Seen},
    tlog::SignedCheckpoint,
};

/// Loss that a promotion accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None: the mirror must hold everything that its primary is known to have signed.
    Refused,
    /// The loss of entries that the mirror never received, when no other node has them.
    Accepted,
}

/// Result of a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteReport {
    /// Entries in the ledger, each read and hashed again.
    pub entries: u64,
    /// Number of those that the last checkpoint of the primary covers.
    pub signed: u64,
    /// Root of their tree, base64.
    pub root: String,
    /// Size of the largest known checkpoint of the primary. Entries after it are unknown here.
    pub known: u64,
    /// Number of entries missing up to that size, as the operator accepted.
    pub missing: u64,
    /// Size of the operator's checkpoint, if one was given: its entries are all here.
    pub at_least: Option<u64>,
    /// The verifier key before the promotion.
    pub old_key: String,
    /// The verifier key after the promotion.
    pub verifier_key: String,
}

/// Request of an operator for a promotion.
#[derive(Clone, Copy, Debug)]
pub struct Promotion<'a> {
    /// The key that signs from then on.
    pub key: PromotionKey<'a>,
    /// A checkpoint of the primary: the mirror must hold exactly the entries that it covers.
    pub at_least: Option<&'a [u8]>,
    /// Loss that is accepted.
    pub loss: Loss,
}

/// Result of a check of the whole directory.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Entries in the ledger, each read and hashed again.
    pub entries: u64,
    /// Number of those that the last checkpoint of the primary covers.
    pub signed: u64,
    /// Root of their tree, base64.
    pub root: String,
}

/// Returns the ledger that a directory mirrors, if the directory may be promoted: a mirror of the whole ledger.
///
/// # Errors
///
/// [`DirectoryError::Refused`] if the directory is not that of a whole mirror; [`DirectoryError::Ledger`].
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

/// Turns the directory of a stopped mirror into that of a primary, with its primary's key from a file, or with a new
/// one.
///
/// The root of the tree must be the one that the primary's key signed last ([`Sound`]). The mirror must hold the
/// entries that the largest checkpoint ever seen covers, unless the loss is accepted, and those that the operator's
/// checkpoint covers.
///
/// # Errors
///
/// [`DirectoryError::Refused`] if the directory holds fewer entries or others; [`DirectoryError::Ledger`]. Nothing is
/// changed then.
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

/// Number of entries of a seen checkpoint that are missing.
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

/// Verifies a checkpoint from the operator, whose entries must all be here.
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

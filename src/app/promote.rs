//! Promotion: a stopped mirror becomes a primary, after it was shown to hold everything that the primary is known to have signed.
//!
//! Known are the checkpoint of the mirror's own ledger, the largest that it ever saw (`ledger::Seen`), and one that the operator
//! has. What the primary acknowledged after all of them cannot be known here.

use std::path::Path;

use super::{AppError, FsckReport, Progress, check::fsck_open, entropy};
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

/// Makes the directory of a stopped mirror that of a primary: with its primary's key, of a file, or with a new one.
///
/// Every frame is read and every leaf hash derived again, as `fsck` does; the tree has to give the root that the primary's key
/// signed last, and to hold what the largest checkpoint that was ever seen covers, unless the `loss` is accepted. `at_least` is a
/// checkpoint that somebody has from the primary: what it covers has to be here, and the same.
///
/// # Errors
///
/// [`AppError::Mirror`] when the directory is no whole mirror's, or holds less or something else; [`AppError::Ledger`],
/// [`AppError::Index`] as for `fsck`. Nothing is changed then.
pub fn promote(
    data: &Path,
    key: Option<&Path>,
    at_least: Option<&[u8]>,
    loss: Loss,
    progress: &mut dyn FnMut(Progress),
) -> Result<PromoteReport, AppError> {
    let refused = |what: String| Err(AppError::Mirror { what });
    let directory = DataDir::open(data)?;
    let Some(mirror) = MirrorOf::read(&directory)? else {
        return refused(format!("{} is no mirror's directory; there is nothing to promote", data.display()));
    };
    if !mirror.only.is_empty() {
        return refused(format!(
            "this directory keeps {} only, and not the whole ledger; promote a whole mirror",
            mirror.only.join(", ")
        ));
    }
    let FsckReport { entries, signed, root, .. } = fsck_open(&directory, progress)?;
    if signed == 0 {
        return refused("this mirror holds nothing that its primary signed; there is nothing to promote".into());
    }
    let ledger = Ledger::open_to_read(&directory)?;
    let at_least = at_least.map(|note| covered(&ledger, &mirror, note)).transpose()?;
    let seen = Seen::open(data, &mirror.key)?.newest();
    let missing = seen.as_ref().map_or(Ok(0), |seen| missing(&ledger, seen, loss))?;
    let known = seen.map_or(signed, |seen| seen.size.max(signed));
    let key = match key {
        Some(path) => PromotionKey::Escrowed(path),
        None => PromotionKey::New(entropy()()),
    };
    let old_key = mirror.key.text().to_owned();
    let (SignedCheckpoint { .. }, verifier_key) = ledger::promote(&directory, &mirror, key)?;
    let at_least = at_least.map(|given| given.size);
    Ok(PromoteReport { entries, signed, root, known, missing, at_least, old_key, verifier_key })
}

/// How many entries are missing of a checkpoint that was seen.
fn missing(ledger: &Ledger, seen: &SignedCheckpoint, loss: Loss) -> Result<u64, AppError> {
    let refused = |what: String| Err(AppError::Mirror { what });
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
fn covered(ledger: &Ledger, mirror: &MirrorOf, note: &[u8]) -> Result<SignedCheckpoint, AppError> {
    let refused = |what: String| AppError::Mirror { what };
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

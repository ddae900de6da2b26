//! `touchmark promote`: the whole directory is checked, then a mirror's becomes a primary's.

use std::path::Path;

use super::{AppError, FsckReport, Progress, check::fsck_open, entropy};
use crate::{
    ledger::{DataDir, PromotionKey},
    mirror::promote::{self, Loss, PromoteReport, Promotion, Sound},
};

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
    let directory = DataDir::open(data)?;
    let mirror = promote::promotable(&directory)?;
    let FsckReport { entries, signed, root, .. } = fsck_open(&directory, progress)?;
    let key = key.map_or_else(|| PromotionKey::New(entropy()()), PromotionKey::Escrowed);
    let promotion = Promotion { key, at_least, loss };
    Ok(promote::promote(&directory, &mirror, Sound { entries, signed, root }, promotion)?)
}

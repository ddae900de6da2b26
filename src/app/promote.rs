//! `touchmark promote`: turns the directory of a mirror into that of a primary, after a full check.

use std::path::Path;

use super::{AppError, FsckReport, Progress, check::fsck_open, entropy};
use crate::{
    ledger::{DataDir, PromotionKey},
    mirror::promote::{self, Loss, PromoteReport, Promotion, Sound},
};

/// Promotes the directory of a stopped mirror to a primary: with the primary's key from a file, or with a new key.
///
/// As in `fsck`, every frame is read and every leaf hash derived again. The tree must give the root that the primary's
/// key signed last, and cover the largest checkpoint ever seen, unless `loss` accepts less. `at_least` is a checkpoint
/// of the primary from elsewhere: the ledger must contain all that it covers, unchanged.
///
/// # Errors
///
/// [`AppError::Mirror`] if the directory is not that of a complete mirror, or holds fewer or different entries;
/// [`AppError::Ledger`] and [`AppError::Index`] as for `fsck`. Nothing is changed then.
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

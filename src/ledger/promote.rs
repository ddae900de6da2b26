//! Promotion: makes a mirror's directory a ledger of its own, with its primary's key from escrow or with a new key
//! under the same name.
//!
//! The order keeps the directory usable wherever the promotion is cut off: the key first; then, for a new key, a signed
//! head with a checkpoint under the old and one under the new key; then the mirror's file is removed, which is the
//! commit point; then the old checkpoint goes. The caller must have checked that the ledger holds all that was signed.

use std::path::Path;

use super::{
    DataDir, Ledger, LedgerError, MirrorOf, Seen,
    keys::{remove, write_whole},
    signed_head::slots,
    write_secret,
};
use crate::tlog::{LedgerKey, SignedCheckpoint};

/// Key that signs from the promotion on.
#[derive(Clone, Copy, Debug)]
pub enum PromotionKey<'a> {
    /// The primary's own key, in a file like `DIR/ledger/key`.
    Escrowed(&'a Path),
    /// A new key, from 32 random bytes, under the name of the old one.
    New([u8; 32]),
}

/// Makes a mirror's ledger its own; returns the newest checkpoint under the key that signs from now on, and its
/// verifier key.
///
/// # Errors
///
/// [`LedgerError::OtherKey`] if the escrowed key is not the primary's; [`LedgerError::Io`], [`LedgerError::Damaged`]:
/// promote again then.
pub fn promote(
    directory: &DataDir,
    mirror: &MirrorOf,
    key: PromotionKey<'_>,
) -> Result<(SignedCheckpoint, String), LedgerError> {
    let newest = Ledger::open_to_read(directory)?.checkpoint();
    let path = directory.key();
    let (key, signed) = match key {
        PromotionKey::Escrowed(escrowed) => {
            let key = LedgerKey::open(escrowed)?;
            if key.verifier_key() != mirror.key.text() {
                let (found, expected) = (key.verifier_key().into(), mirror.key.text().into());
                return Err(LedgerError::OtherKey { found, expected });
            }
            key.write(&path)?;
            (key, newest)
        }
        PromotionKey::New(seed) => {
            // A key that exists is of a promotion that was cut off. If that is the primary's key, it was the other kind
            // of promotion.
            if path.exists() && LedgerKey::open(&path)?.verifier_key() == mirror.key.text() {
                remove(&directory.promoted())?;
                remove(&path)?;
            }
            let key = LedgerKey::open_or_create(&path, mirror.key.name(), seed)?;
            let signed = key.sign(newest.size, newest.root)?;
            write_head(directory, &[&newest, &signed])?;
            (key, signed)
        }
    };
    if key.verifier_key() == mirror.key.text() {
        // Another output log of the verifiable index, under the same key, would contradict the primary's.
        let marker = directory.promoted();
        let written = write_secret(&marker, &format!("touchmark promoted 1\nentries {}", signed.size));
        written.map_err(|error| LedgerError::io("cannot write", &marker, error))?;
    }
    MirrorOf::remove(directory)?;
    Seen::remove(directory.path())?;
    write_head(directory, &[&signed])?;
    Ok((signed, key.verifier_key().into()))
}

fn write_head(directory: &DataDir, checkpoints: &[&SignedCheckpoint]) -> Result<(), LedgerError> {
    let path = directory.signed_head();
    let bytes = slots(&path, checkpoints)?;
    write_whole(&path, &bytes).map_err(|error| LedgerError::io("cannot write", &path, error))
}

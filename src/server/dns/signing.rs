//! Signing of a running node's zone with the keys of its data directory, which `touchmark dnssec` may change.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::keys::{self, KeyStore, KeysError};
use crate::protocol::dns::{
    Responder,
    dnssec::{Signer, keys::Algorithm},
};

/// Interval at which the keys of a signed zone are checked for changes.
const KEYS_INTERVAL: Duration = Duration::from_secs(1);

/// The task that reloads the keys of a signed zone; it ends when dropped.
pub struct KeysTask(JoinHandle<()>);

impl Drop for KeysTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Signs the zone with the keys below a data directory, and generates a first key with this algorithm if there is none.
/// `primary` is the address of a mirror's primary, else `None`.
///
/// # Errors
///
/// [`KeysError`] if the keys cannot be read or generated.
pub fn start(
    data: &Path,
    zone: &str,
    algorithm: Algorithm,
    responder: &Arc<Responder>,
    primary: Option<&str>,
) -> Result<KeysTask, KeysError> {
    let path = keys::file(data);
    let had_keys = path.exists();
    let (mut store, ring) = KeyStore::open_or_create(data, zone, algorithm)?;
    if let Some(primary) = primary.filter(|_| !had_keys) {
        tracing::warn!(
            primary,
            "this mirror made a DNSSEC key of its own, and signs the zone with another one than its primary: where both are asked, \
             validators refuse one of them; stop it, copy the primary's dnssec/keys to {}, and start it again",
            path.display()
        );
    }
    responder.set_signer(Signer::new(ring));
    let responder = Arc::clone(responder);
    Ok(KeysTask(tokio::spawn(async move {
        let mut failing = false;
        loop {
            tokio::time::sleep(KEYS_INTERVAL).await;
            match store.reload_if_changed() {
                Ok(None) => failing = false,
                Ok(Some(ring)) => {
                    tracing::info!("the keys of the zone changed: signing with them");
                    responder.set_signer(Signer::new(ring));
                    failing = false;
                }
                Err(error) if !failing => {
                    tracing::error!(%error, "the keys of the zone cannot be read again; signing with those of before");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    })))
}

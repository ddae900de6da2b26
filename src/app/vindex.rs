//! The verifiable index of a node: started if configured, stopped after the sequencer.

use std::sync::Arc;

use super::AppError;
use crate::{
    config::Config,
    ledger::{DataDir, Ledger},
    vindex::{PUBLISH_INTERVAL, VerifiableIndex},
};

/// Starts the verifiable index if it is configured and the node can sign its output log.
///
/// # Errors
///
/// [`AppError::System`] if no thread can be started.
pub(super) fn start(
    config: &Config,
    directory: &DataDir,
    ledger: &Arc<Ledger>,
) -> Result<Option<VerifiableIndex>, AppError> {
    match config.index.verifiable {
        false => Ok(None),
        // A mirror cannot sign the output log.
        true if ledger.signer().is_err() => Ok(None),
        true if directory.promoted().exists() && !directory.vindex().exists() => {
            tracing::warn!(
                "there is no verifiable index: this directory was a mirror, and its primary kept an output log under the same \
                 key, which another one would contradict; copy the primary's directory `vindex` here, or leave it off"
            );
            Ok(None)
        }
        true => {
            let started = VerifiableIndex::start(Arc::clone(ledger), directory.vindex(), PUBLISH_INTERVAL);
            started.map(Some).map_err(|error| AppError::system("cannot start the verifiable index", error))
        }
    }
}

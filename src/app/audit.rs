//! Audits of a data directory or of a log over HTTP: their sources and keys.

use std::path::Path;

use super::AppError;
use crate::{
    audit::{Audit, AuditReport, Audited, LedgerSource, LogSource, OutputSource, processors},
    client::{ClientError, TileClient},
    ledger::{DataDir, LeafLog, LedgerError},
    tlog::note::VerifierKey,
    vindex::keys::ORIGIN_SUFFIX,
};

/// Maximum number of concurrent requests to a log over HTTP.
const REQUESTS_AT_ONCE: usize = 8;

/// Audits the ledger of a data directory, on which no node may run, and its verifiable index if there is one. Without
/// `verifier`, the directory's own key is used.
///
/// # Errors
///
/// [`AppError::Audit`] with the first difference; [`AppError::Ledger`] if the directory cannot be opened.
pub fn audit_directory(
    data: &Path,
    verifier: Option<&VerifierKey>,
    progress: &mut dyn FnMut(Audited),
) -> Result<AuditReport, AppError> {
    let directory = DataDir::open(data)?;
    let source = LedgerSource::open(&directory)?;
    // A mirror cannot sign, and so has no verifiable index.
    let index = match source.ledger().signer() {
        Ok(key) => {
            LeafLog::open_to_read(&directory.vindex(), key.with_suffix(ORIGIN_SUFFIX).map_err(LedgerError::from)?)?
                .map(OutputSource)
        }
        Err(_) => None,
    };
    let verifier = verifier.unwrap_or(source.ledger().verifier());
    let index = index.as_ref().map(|index| index as &dyn LogSource);
    Ok(Audit { log: &source, index, verifier: Some(verifier), threads: processors() }.run(progress)?)
}

/// Audits a log over HTTP, with its checkpoint at `<url>/checkpoint`, and its verifiable index at `index`. Without
/// `verifier`, no signature is checked.
///
/// # Errors
///
/// As for [`audit_directory`].
pub fn audit_url(
    url: &str,
    index: Option<&str>,
    verifier: Option<&VerifierKey>,
    progress: &mut dyn FnMut(Audited),
) -> Result<AuditReport, AppError> {
    let (log, index) = (TileClient::new(url), index.map(TileClient::new));
    let index = index.as_ref().map(|index| index as &dyn LogSource);
    Ok(Audit { log: &log, index, verifier, threads: REQUESTS_AT_ONCE }.run(progress)?)
}

impl LogSource for TileClient {
    fn checkpoint(&self) -> Result<Vec<u8>, String> {
        self.checkpoint().map_err(|error: ClientError| error.to_string())
    }

    fn entries(&self, bundle: u64, width: usize) -> Result<Vec<u8>, String> {
        self.entries(bundle, width).map_err(|error| error.to_string())
    }

    fn hashes(&self, level: usize, tile: u64, width: usize) -> Result<Vec<u8>, String> {
        self.hashes(level, tile, width).map_err(|error| error.to_string())
    }
}

//! Auditing a data directory or a log over HTTP: which sources there are, and with which key.

use std::path::Path;

use super::AppError;
use crate::{
    audit::{Audit, AuditReport, Audited, LedgerSource, LogSource, OutputSource, processors},
    client::{ClientError, TileClient},
    ledger::{DataDir, LeafLog, LedgerError},
    tlog::note::VerifierKey,
    vindex::keys::ORIGIN_SUFFIX,
};

/// Requests under way at once, to a log over HTTP.
const REQUESTS_AT_ONCE: usize = 8;

/// Audits the ledger of a data directory on which no node runs, and its verifiable index when there is one. Without a key the
/// directory's own counts.
///
/// # Errors
///
/// [`AppError::Audit`] is the first difference; [`AppError::Ledger`] when the directory cannot be opened.
pub fn audit_directory(
    data: &Path,
    verifier: Option<&VerifierKey>,
    progress: &mut dyn FnMut(Audited),
) -> Result<AuditReport, AppError> {
    let directory = DataDir::open(data)?;
    let source = LedgerSource::open(&directory)?;
    // A mirror has no verifiable index: it could not sign one.
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

/// Audits a log over HTTP, whose checkpoint lies at `<url>/checkpoint`, and its verifiable index at `index`. Without a key no
/// signature is checked.
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

//! Errors of starting, stopping and checking a node.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    audit::AuditError,
    ledger::LedgerError,
    mirror::DirectoryError,
    protocol::dns::ZoneError,
    publish::GuardError,
    server::{
        dns::{ListenError, cookie_file::CookieFileError, keys::KeysError},
        tls::CertificateError,
    },
    store::{
        ReadError, StoreError,
        local::{CheckError, seal::SealError},
    },
    witness::WitnessError,
};

/// Error of starting, stopping or checking a node.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Error of the ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Error of the index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Entries of the ledger could not be read, or applied to the index.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The zone is not a valid DNS name.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// Error of the certificate for DNS over TLS, HTTPS and QUIC.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Error of the DNS cookie secrets.
    #[error(transparent)]
    Cookies(#[from] CookieFileError),
    /// An address for DNS could not be bound.
    #[error(transparent)]
    Dns(#[from] ListenError),
    /// Error of the zone's keys.
    #[error(transparent)]
    Dnssec(#[from] KeysError),
    /// Witnesses hold another history of the ledger, or too few of them answered.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Error of a witness's key or state.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The configuration of a mirror does not fit its directory.
    #[error("{what}")]
    Mirror {
        /// Reason and remedy.
        what: String,
    },
    /// An address could not be bound.
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Name of the protocol.
        what: &'static str,
        /// Error of the system.
        source: io::Error,
    },
    /// The roots file cannot be used.
    #[error("the roots in {} cannot be used: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// An audit found a difference, or could not read something.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The index and the ledger disagree.
    #[error("{what}; `touchmark rebuild` makes the index again from the ledger")]
    Index {
        /// The difference.
        what: String,
    },
    /// Any other error of the system.
    #[error("{what}: {source}")]
    System {
        /// The operation that failed.
        what: String,
        /// Error of the system.
        source: io::Error,
    },
}

impl From<DirectoryError> for AppError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Refused { what } => Self::Mirror { what },
            DirectoryError::Ledger(error) => Self::Ledger(error),
        }
    }
}

impl From<CheckError> for AppError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Store(error) => Self::Store(error),
            CheckError::Ledger(error) => Self::Ledger(error),
            CheckError::Differs { what } => Self::Index { what },
        }
    }
}

impl From<SealError> for AppError {
    fn from(SealError { what, path, source }: SealError) -> Self {
        file_error(what, &path, source)
    }
}

impl AppError {
    pub(super) fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    /// True if a file of the ledger is damaged.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Ledger(LedgerError::Damaged { .. }) | Self::Read(ReadError::Ledger(LedgerError::Damaged { .. }))
        )
    }
}

pub(super) fn file_error(what: &str, path: &Path, source: io::Error) -> AppError {
    AppError::system(format!("cannot {what} {}", path.display()), source)
}

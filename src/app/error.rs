//! Why a node could not be started, stopped or checked.

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

/// Why a node could not be started, stopped or checked.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Entries of the ledger could not be read, or applied to the index.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The zone is no DNS name.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The certificate of DNS over TLS, HTTPS and QUIC.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The secrets of DNS cookies.
    #[error(transparent)]
    Cookies(#[from] CookieFileError),
    /// An address for DNS could not be bound.
    #[error(transparent)]
    Dns(#[from] ListenError),
    /// The keys of the zone.
    #[error(transparent)]
    Dnssec(#[from] KeysError),
    /// Witnesses hold another history of the ledger, or too few of them say what they hold.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The key or the memory of a witness.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// What a mirror is told does not fit its directory.
    #[error("{what}")]
    Mirror {
        /// What is in the way, and what to do.
        what: String,
    },
    /// An address could not be bound.
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// For which protocol.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file of roots.
    #[error("the roots in {} cannot be used: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An audit found a difference, or could not read something.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The index and the ledger disagree.
    #[error("{what}; `touchmark rebuild` makes the index again from the ledger")]
    Index {
        /// What was found.
        what: String,
    },
    /// The system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
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

    /// True when a file of the ledger holds what nobody wrote there.
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

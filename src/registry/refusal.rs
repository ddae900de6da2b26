//! Refusals: why a command was not carried out. Nothing was written for it.

use super::{ATOMIC_BYTES_MAX, BATCH_COMMANDS_MAX};
use crate::{
    ledger::LedgerError,
    store::{ReadError, StoreError},
};

/// Why a command was refused, named for what the client can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The command breaks a rule; sending it again will not help.
    #[error("`{identifier}`: {reason}")]
    Invalid {
        /// The identifier, as far as it could be read.
        identifier: String,
        /// Which rule, with its limit.
        reason: String,
    },
    /// The bytes of the command are no message; mend the client.
    #[error("the command cannot be read: {reason}")]
    Unreadable {
        /// Which field, and what is wrong with it.
        reason: String,
    },
    /// Too many commands at once; send them in smaller batches.
    #[error("{count} commands in one batch; the limit is {BATCH_COMMANDS_MAX}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The entries of an atomic batch do not fit one ledger batch; send it in smaller ones.
    #[error(
        "the entries of this atomic batch up to this command take more than {ATOMIC_BYTES_MAX} bytes, which is the limit of one \
         that is carried out whole; send fewer commands at once"
    )]
    BatchTooLong,
    /// Another command of an atomic batch was refused; mend or leave out that one.
    #[error("nothing of this atomic batch was written, because command {number} of it was refused: {reason}")]
    Withdrawn {
        /// Which command was in the way, from 1.
        number: usize,
        /// Why it was refused.
        reason: String,
    },
    /// The identifier is registered; update it, or leave it.
    #[error("`{identifier}` is already registered (version {}, ledger index {})", existing.version, existing.ledger_index)]
    AlreadyExists {
        /// The identifier.
        identifier: String,
        /// What is there.
        existing: Existing,
    },
    /// The identifier was never registered; create it first.
    #[error("`{identifier}` is not registered")]
    NotFound {
        /// The identifier.
        identifier: String,
    },
    /// The record was retired; that is for good.
    #[error(
        "`{identifier}` was retired (ledger index {ledger_index}); a retired identifier is never given to anything else"
    )]
    Retired {
        /// The identifier.
        identifier: String,
        /// Where the ledger says so.
        ledger_index: u64,
    },
    /// The identifier is an event; retire it, and register the right one under another identifier.
    #[error(
        "`{identifier}` is an event (ledger index {ledger_index}), and an event is never changed: retire it, and register \
         the right one under another identifier"
    )]
    Immutable {
        /// The identifier.
        identifier: String,
        /// Where the ledger says so.
        ledger_index: u64,
    },
    /// The record was erased; that is for good.
    #[error(
        "`{identifier}` was erased (ledger index {ledger_index}); an erased identifier is never given to anything else"
    )]
    Erased {
        /// The identifier.
        identifier: String,
        /// Where the ledger says so.
        ledger_index: u64,
    },
    /// Someone else changed the record meanwhile; read it again.
    #[error("`{identifier}` is at version {found}, not at the expected version {expected}")]
    VersionMismatch {
        /// The identifier.
        identifier: String,
        /// What the client expected.
        expected: u64,
        /// What is there; 0 when it was never registered.
        found: u64,
    },
    /// The request id names another change; a new change needs a new one.
    #[error("the request id was used for another change of `{identifier}` (ledger index {ledger_index})")]
    RequestReused {
        /// The identifier.
        identifier: String,
        /// The entry of the other change.
        ledger_index: u64,
    },
    /// Another node answers for it: register it there.
    #[error("`{identifier}` is not registered here: {prefix} is delegated; register it at one of its sites: {sites}")]
    Delegated {
        /// The identifier.
        identifier: String,
        /// The delegated prefix.
        prefix: String,
        /// Endpoints of its sites.
        sites: String,
    },
    /// It is below no prefix that is homed here.
    #[error(
        "`{identifier}` is below no prefix that is homed on this node; `touchmark prefix list` shows those that are"
    )]
    NotResponsible {
        /// The identifier.
        identifier: String,
    },
    /// The ledger says the same of the prefix already.
    #[error("of {prefix} the same is said already (version {version}; 0: nothing was ever said of it)")]
    SaidAlready {
        /// The prefix.
        prefix: String,
        /// How often something was said of it.
        version: u64,
    },
    /// The queue before the ledger is full; try again later.
    #[error("the queue before the ledger is full; nothing was written, try again later")]
    TryLater,
    /// The ledger takes no entries now: a full disk, a failed disk, a node that is stopping.
    #[error("no writes are accepted now, and nothing was written: {reason}")]
    Unavailable {
        /// What the ledger said.
        reason: String,
    },
    /// This node mirrors another one; write there.
    #[error("this node is a mirror of the log at {primary}; write to the node of that log, over gRPC")]
    Mirror {
        /// Where the primary is.
        primary: String,
    },
    /// The writer may not do this.
    #[error("{reason}")]
    Denied {
        /// Which right is missing.
        reason: String,
    },
    /// The program contradicts itself. Sending the command again will not help; report it.
    #[error("an error in the program, please report it; nothing was written: {what}")]
    Internal {
        /// What cannot be.
        what: String,
    },
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

/// What is registered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its version.
    pub version: u64,
    /// The ledger entry of that version.
    pub ledger_index: u64,
    /// Whether it says what the command would have written.
    pub same_content: bool,
}

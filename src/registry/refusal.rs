//! Refusals: reasons why a command was not carried out. Nothing was written for it.

use super::{ATOMIC_BYTES_MAX, BATCH_COMMANDS_MAX};
use crate::{
    ledger::LedgerError,
    store::{ReadError, StoreError},
};

/// Reason of a refusal, named for what the client can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The command breaks a rule; sending it again will not help.
    #[error("`{identifier}`: {reason}")]
    Invalid {
        /// The identifier, as far as it could be read.
        identifier: String,
        /// The broken rule, with its limit.
        reason: String,
    },
    /// The bytes of the command are no message of the protocol; mend the client.
    #[error("the command cannot be read: {reason}")]
    Unreadable {
        /// The field, and what is wrong with it.
        reason: String,
    },
    /// Too many commands at once; send them in smaller batches.
    #[error("{count} commands in one batch; the limit is {BATCH_COMMANDS_MAX}")]
    TooMany {
        /// Number of commands.
        count: usize,
    },
    /// The entries of an atomic batch do not fit one ledger batch; send fewer commands at once.
    #[error(
        "the entries of this atomic batch up to this command take more than {ATOMIC_BYTES_MAX} bytes, which is the limit of one \
         that is carried out whole; send fewer commands at once"
    )]
    BatchTooLong,
    /// Another command of an atomic batch was refused; mend or leave out that one.
    #[error("nothing of this atomic batch was written, because command {number} of it was refused: {reason}")]
    Withdrawn {
        /// Number of the refused command, from 1.
        number: usize,
        /// Reason of its refusal.
        reason: String,
    },
    /// The identifier is registered; update it, or leave it.
    #[error("`{identifier}` is already registered (version {}, ledger index {})", existing.version, existing.ledger_index)]
    AlreadyExists {
        /// The identifier.
        identifier: String,
        /// The registered version.
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
        /// Ledger index of the newest entry, by which the record is retired.
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
        /// Ledger index of the newest entry of the event.
        ledger_index: u64,
    },
    /// The record was erased; that is for good.
    #[error(
        "`{identifier}` was erased (ledger index {ledger_index}); an erased identifier is never given to anything else"
    )]
    Erased {
        /// The identifier.
        identifier: String,
        /// Ledger index of the newest entry, by which the record is erased.
        ledger_index: u64,
    },
    /// The record has another version than expected: read it again.
    #[error("`{identifier}` is at version {found}, not at the expected version {expected}")]
    VersionMismatch {
        /// The identifier.
        identifier: String,
        /// Version that the client expected.
        expected: u64,
        /// Version found; 0 if never registered.
        found: u64,
    },
    /// The request id was used for another change; a new change needs a new id.
    #[error("the request id was used for another change of `{identifier}` (ledger index {ledger_index})")]
    RequestReused {
        /// The identifier.
        identifier: String,
        /// Ledger index of the other change.
        ledger_index: u64,
    },
    /// Another node answers for the identifier: register it there.
    #[error("`{identifier}` is not registered here: {prefix} is delegated; register it at one of its sites: {sites}")]
    Delegated {
        /// The identifier.
        identifier: String,
        /// The delegated prefix.
        prefix: String,
        /// Endpoints of the prefix's sites, separated by spaces.
        sites: String,
    },
    /// The identifier is below no prefix that is homed here.
    #[error(
        "`{identifier}` is below no prefix that is homed on this node; `touchmark prefix list` shows those that are"
    )]
    NotResponsible {
        /// The identifier.
        identifier: String,
    },
    /// The ledger's newest statement about the prefix is the same already.
    #[error("of {prefix} the same is said already (version {version}; 0: nothing was ever said of it)")]
    SaidAlready {
        /// The prefix.
        prefix: String,
        /// Number of statements about the prefix so far; 0: none.
        version: u64,
    },
    /// The queue before the ledger is full; try again later.
    #[error("the queue before the ledger is full; nothing was written, try again later")]
    TryLater,
    /// The ledger takes no entries now: a full disk, a failed disk, a node that is stopping.
    #[error("no writes are accepted now, and nothing was written: {reason}")]
    Unavailable {
        /// Reason given by ledger or index.
        reason: String,
    },
    /// This node mirrors another one; write there.
    #[error("this node is a mirror of the log at {primary}; write to the node of that log, over gRPC")]
    Mirror {
        /// Address of the primary's log.
        primary: String,
    },
    /// The principal lacks a right.
    #[error("{reason}")]
    Denied {
        /// The missing right.
        reason: String,
    },
    /// An error in the program: sending the command again will not help; report it.
    #[error("an error in the program, please report it; nothing was written: {what}")]
    Internal {
        /// The contradiction.
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

/// State of an identifier that is registered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Version of the record.
    pub version: u64,
    /// Ledger index of the entry of that version.
    pub ledger_index: u64,
    /// True if the record says what the command would have written.
    pub same_content: bool,
}

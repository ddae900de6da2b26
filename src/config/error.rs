//! Why a configuration cannot be used: where it was written, and the rule that broke, with its limit.

use std::{fmt, io, path::PathBuf};

use super::VERSION;
use crate::{
    id::{ParseError, dns_name::zone::ZoneError, excerpt},
    network::NetworkError,
    tlog::note::KeyError,
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration {} cannot be used: line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The rule of TOML that broke.
        reason: String,
    },
    /// The file says a version that this build does not read.
    #[error(
        "the configuration {} cannot be used: line {line}: version {found}; this build reads version {VERSION}",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The version as written.
        found: String,
    },
    /// The file has a key or a table that there is not.
    #[error("the configuration {} cannot be used: line {line}: {unknown}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The name, its table and the nearest known one.
        unknown: Box<UnknownName>,
    },
    /// One layer says a key under its name and under its old name.
    #[error("{old} is the old form of {new}; keep the new one alone")]
    Twice {
        /// Where the old name is written.
        old: Box<Place>,
        /// Where the name is written.
        new: Box<Place>,
    },
    /// A key has a value that it cannot have.
    #[error("{place}: {rule}")]
    Value {
        /// Where the value is written.
        place: Box<Place>,
        /// The rule that it breaks.
        rule: Box<Rule>,
    },
}

/// A name that no key or table has, and what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The name as written.
    pub name: String,
    /// What it stands for by its place in the file.
    pub kind: NameKind,
    /// What may have been meant.
    pub meant: Meant,
}

/// What an unknown name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A key of this table, or above all tables when it is empty.
    Key(&'static str),
    /// A table.
    Table,
}

/// What may have been meant by an unknown name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The key with this name in other tables.
    Elsewhere(Vec<String>),
    /// The key that had this name before there were tables.
    OldName(String),
    /// A table, not a key.
    Table,
    /// The nearest name in the same place.
    Nearest(String),
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = excerpt(&self.name);
        match self.kind {
            NameKind::Table => write!(f, "unknown table [{name}]; ")?,
            NameKind::Key("") => write!(f, "unknown field `{name}`; ")?,
            NameKind::Key(table) => write!(f, "unknown field `{name}` in [{table}]; ")?,
        }
        match &self.meant {
            Meant::Elsewhere(keys) => write!(f, "there is {}", keys.join(", ")),
            Meant::OldName(key) => write!(f, "it is the old name of {key}"),
            Meant::Table => write!(f, "it is a table: write its keys below [{name}]"),
            Meant::Nearest(nearest) => write!(f, "the nearest is {nearest}"),
        }
    }
}

/// Where a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The key as written, with its table.
        key: String,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// In an argument of this name.
    Argument(&'static str),
    /// Nowhere: the default of this key.
    Default(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, key } => write!(f, "{}, line {line}, key {key}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Argument(name) => write!(f, "argument {name}"),
            Self::Default(key) => write!(f, "the default of {key}"),
        }
    }
}

/// The rule that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum Rule {
    #[error("there is no value")]
    Missing,
    #[error("{found} is not a text")]
    NotText { found: String },
    #[error("{found} is not a text with commas in it, nor an array of texts")]
    NotList { found: String },
    #[error("{found} is not a whole number")]
    NotWhole { found: String },
    #[error("{number} is outside {least} to {most} {unit}")]
    OutOfRange { number: i64, least: String, most: String, unit: &'static str },
    #[error("`{text}` is not an address with a port, such as 127.0.0.1:5300")]
    NotAddress { text: String },
    #[error("`{text}` is not an address that others can ask, such as 192.0.2.1")]
    NotHost { text: String },
    #[error("{count} {what}; the limit is {limit}")]
    TooMany { count: usize, what: &'static str, limit: usize },
    #[error("{found} is neither on nor off")]
    NotSwitch { found: String },
    #[error("`{text}` is none of {choices}")]
    NoChoice { text: String, choices: String },
    #[error("the data directory has no name")]
    NoDirectory,
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error("`{text}` is not an origin: 1 to {limit} bytes without spaces and +")]
    NotOrigin { text: String, limit: usize },
    #[error("the name takes {bytes} bytes; the limit is {limit}")]
    LongIdentity { bytes: usize, limit: usize },
    #[error("there is no level; give error, warn, info, debug or trace")]
    NoLogLevel,
    #[error("`{text}` is not a level or a list of directives: {reason}")]
    NotLog { text: String, reason: String },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Prefix(#[from] ParseError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("`{text}` is not a verifier key, a space and a URL")]
    NotWitness { text: String },
    #[error("{name} is the key of a log; a witness has one of type 0x04")]
    KeyOfLog { name: String },
    #[error("{name} is the key of a witness; a log has one of type 0x01")]
    KeyOfWitness { name: String },
    #[error("`{text}` is not a URL that begins with http:// or https://")]
    NotUrl { text: String },
    #[error("{reason}: give {missing}, too")]
    Alone { reason: &'static str, missing: String },
    #[error("proofs come over gRPC: with {verify} it goes first")]
    ProofsOverGrpc { verify: String },
}

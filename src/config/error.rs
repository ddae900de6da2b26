//! Errors of configurations: the place of the value, and the broken rule with its limit.

use std::{fmt, io, path::PathBuf};

use super::VERSION;
use crate::{
    id::{ParseError, dns_name::zone::ZoneError, excerpt},
    network::NetworkError,
    tlog::note::KeyError,
};

/// Error of a configuration.
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
        /// Line number, from 1.
        line: usize,
        /// Broken rule of TOML.
        reason: String,
    },
    /// The file has a version that this build does not read.
    #[error(
        "the configuration {} cannot be used: line {line}: version {found}; this build reads version {VERSION}",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Version as written.
        found: String,
    },
    /// The file has an unknown key or table.
    #[error("the configuration {} cannot be used: line {line}: {unknown}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The name, its kind and a suggestion.
        unknown: Box<UnknownName>,
    },
    /// One layer has a key under its name and under its old name.
    #[error("{old} is the old form of {new}; keep the new one alone")]
    Twice {
        /// Place of the old name.
        old: Box<Place>,
        /// Place of the name.
        new: Box<Place>,
    },
    /// The value of a key breaks a rule.
    #[error("{place}: {rule}")]
    Value {
        /// Place of the value.
        place: Box<Place>,
        /// The broken rule.
        rule: Box<Rule>,
    },
}

/// An unknown name and a suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// Name as written.
    pub name: String,
    /// Kind of name, by its position in the file.
    pub kind: NameKind,
    /// Suggestion.
    pub meant: Meant,
}

/// Kind of an unknown name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A key of this table; empty above all tables.
    Key(&'static str),
    /// A table.
    Table,
}

/// Suggestion for an unknown name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Keys with this name in other tables.
    Elsewhere(Vec<String>),
    /// Key with this old name, from before there were tables.
    OldName(String),
    /// A table: the name is not that of a key.
    Table,
    /// The nearest name in the same position.
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

/// Place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Key as written, with its table.
        key: String,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// In an argument of this name.
    Argument(&'static str),
    /// No place: the default of this key.
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

/// Rule broken by a value.
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
    #[error("`{text}` is no level; give error, warn, info, debug, trace or off, and for a module MODULE=LEVEL")]
    NotLevel { text: String },
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

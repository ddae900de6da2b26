//! Why a configuration cannot be used: the file or key, where it was written, and the rule.

use std::{io, path::PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be; the text says where and why.
    #[error("the configuration {} cannot be used: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, key and rule.
        reason: String,
    },
    /// A key has a value that it cannot have.
    #[error("{place}: {rule}")]
    Value {
        /// Where it was written, with the key.
        place: String,
        /// The rule, with its limit.
        rule: String,
    },
}

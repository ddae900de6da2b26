//! Failures of commands, and their exit codes.

use std::{fmt::Write as _, io};

use crate::{app::AppError, client::ClientError, config::ConfigError, protocol::outcome::Outcome};

/// Exit code of a failure outside the registry: no connection, no file, a full disk.
pub const EXIT_FAILURE: u8 = 1;

/// Exit code of a valid proof that does not show all values.
pub const EXIT_WITHHELD: u8 = 10;
/// Exit code of an invalid proof.
pub const EXIT_PROOF_INVALID: u8 = 11;

/// Failure of a command.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// One sentence for the user; `None` if nobody is there to read it.
    pub message: Option<String>,
}

impl Failure {
    /// A failure outside the registry.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: EXIT_FAILURE, message: Some(message.into()) }
    }

    /// A failure with the exit code of an outcome.
    pub fn of(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { exit: outcome.spelling().exit, message: Some(message.into()) }
    }

    /// Wrong arguments or invalid input.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::of(Outcome::Invalid, message)
    }

    /// A failed write to the standard output. A reader that closed the pipe (`… | head`) has all it wanted: exit code
    /// 0.
    pub fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: 0, message: None };
        }
        Self::new(format!("cannot write to the standard output: {error}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused { code, .. } => {
                Outcome::of_grpc_code(*code).map_or(EXIT_FAILURE, |outcome| outcome.spelling().exit)
            }
            ClientError::Address { .. } => Outcome::Invalid.spelling().exit,
            ClientError::Unreachable { .. } | ClientError::Protocol { .. } | ClientError::Log { .. } => EXIT_FAILURE,
        };
        Self { exit, message: Some(error.to_string()) }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Read { .. } => Self::new(error.to_string()),
            ConfigError::Syntax { .. }
            | ConfigError::Version { .. }
            | ConfigError::Unknown { .. }
            | ConfigError::Twice { .. }
            | ConfigError::Value { .. } => Self::usage(error.to_string()),
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::new(error.to_string())
    }
}

/// The exit codes, as `--help` lists them.
pub fn exit_codes() -> String {
    let mut rows: Vec<(u8, String)> = vec![(EXIT_FAILURE, "failure: no connection, no such file, a full disk".into())];
    for outcome in Outcome::ALL {
        let spelling = outcome.spelling();
        // An error in a program is a failure like any other.
        if spelling.exit == EXIT_FAILURE {
            continue;
        }
        let word = match outcome {
            Outcome::Invalid => "wrong usage, or invalid input",
            _ => spelling.word,
        };
        match rows.iter_mut().find(|(exit, _)| *exit == spelling.exit) {
            Some((_, words)) => *words = format!("{words}, {word}"),
            None => rows.push((spelling.exit, word.into())),
        }
    }
    rows.push((EXIT_WITHHELD, "a valid proof, with values withheld or erased".into()));
    rows.push((EXIT_PROOF_INVALID, "an invalid proof".into()));
    rows.sort_by_key(|(exit, _)| *exit);
    let mut text = "Exit codes:\n".to_owned();
    for (exit, words) in rows {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {exit}  {words}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_come_from_the_table() {
        assert_eq!(
            exit_codes(),
            "Exit codes:\n  0  ok\n  1  failure: no connection, no such file, a full disk\n  2  wrong usage, or invalid input\n  \
             3  not found\n  4  retired, erased\n  5  delegated, not responsible\n  6  denied\n  7  already exists\n  8  failed precondition\n  \
             9  try later, unavailable\n  \
             10  a valid proof, with values withheld or erased\n  11  an invalid proof\n"
        );
        let refused = |code| Failure::from(ClientError::Refused { code, message: String::new() }).exit;
        assert_eq!([3, 5, 6, 7, 8, 9, 14, 2].map(refused), [2, 3, 7, 6, 9, 8, 9, 1]);
    }
}

//! Trusted keys and policies, and the files that are checked with them.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::failure::Failure;
use crate::tlog::{
    note::{CHECKPOINT_BYTES_MAX, KeyError, VerifierKey},
    policy::{POLICY_BYTES_MAX, Policy},
    tlog_proof::{PROOF_BYTES_MAX, TlogProof, is_proof},
};

/// Keys of logs, or a policy, or both.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Trust {
    /// The verifier key of the ledger, as `touchmark serve` prints it; several when it changed
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// A file that says which ledgers and witnesses are trusted (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Trust {
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        let keys = self.key.iter().map(|key| key.parse().map_err(|error: KeyError| usage(&error)));
        let mut keys = keys.collect::<Result<Vec<VerifierKey>, _>>()?.into_iter();
        let policy = match &self.policy {
            Some(path) => Policy::parse(&read(path, POLICY_BYTES_MAX)?)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
            None => {
                let first = keys.next().ok_or_else(|| Failure::usage("neither a key nor a policy is given"))?;
                Policy::of_log(first).map_err(|error| usage(&error))?
            }
        };
        keys.try_fold(policy, Policy::and_log).map_err(|error| usage(&error))
    }
}

/// Reads a file, at most one byte more than `bytes_max`: the caller's parser refuses it as too long then.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

/// Reads a checkpoint, from a file of its own or out of a proof.
pub(super) fn read_checkpoint(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read(path, PROOF_BYTES_MAX)?;
    if is_proof(&bytes) {
        let proof = TlogProof::parse(&bytes);
        let proof = proof.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        return Ok(proof.checkpoint.into_bytes());
    }
    if bytes.len() > CHECKPOINT_BYTES_MAX {
        return Err(Failure::usage(format!("{} is no checkpoint: it is too long", path.display())));
    }
    Ok(bytes)
}

/// Writes a file, or to the standard output if none is named.
pub(super) fn write(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    match path {
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display()))),
        None => super::output::line(text.strip_suffix('\n').unwrap_or(text)),
    }
}

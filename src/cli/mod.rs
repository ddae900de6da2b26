//! The command line: one file for each command.
//!
//! A command parses its arguments, prints its result to the standard output, for people or with `--json` for programs,
//! and returns an exit code. A failure is one sentence on the standard error output ([`failure::Failure`]).

mod audit;
mod config_print;
mod consistency;
mod dnssec;
mod erase;
mod event;
mod export;
pub mod failure;
mod fsck;
mod history;
pub mod import;
mod lookup;
mod name;
pub mod output;
mod parts;
mod prefix;
mod promote;
mod prove;
mod rebuild;
mod recall;
mod register;
mod resolve;
mod retire;
mod serve;
mod trace;
mod trust;
mod update;
mod verify;
mod watch;
mod witness;

use std::{future::Future, io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Layer, Loaded};
use failure::{Failure, exit_codes};

/// Register, keep and resolve industrial identifiers: Handles, OIDs, GS1 keys and URIs.
///
/// A node keeps every change in a signed, append-only ledger before it acknowledges it, and answers over gRPC and DNS.
/// Start one with `touchmark serve --sample`; it says what to try.
#[derive(Debug, Parser)]
#[command(name = "touchmark", version, max_term_width = 100, after_help = exit_codes(), arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::Args),
    /// Register an identifier
    Register(register::Args),
    /// Register an event: a transformation of inputs into outputs
    Event(event::Args),
    /// Change the record of an identifier
    Update(update::Args),
    /// Retire an identifier for good
    Retire(retire::Args),
    /// Destroy values of an identifier, or all of them, in every version
    Erase(erase::Args),
    /// Home or delegate a prefix, or revoke that
    Prefix(prefix::Args),
    /// Draw the delegations below a node
    Tree(prefix::TreeArgs),
    /// Look identifiers up
    Resolve(resolve::Args),
    /// Show every version of an identifier
    History(history::Args),
    /// Show changes as they are made
    Watch(watch::Args),
    /// Prove which ledger entries an identifier has, and that these are all
    Lookup(lookup::Args),
    /// Write a proof of what the ledger says about an identifier
    Prove(prove::Args),
    /// Check a proof, offline
    Verify(verify::Args),
    /// Check that a ledger only grew between two checkpoints
    Consistency(consistency::Args),
    /// Cosign the checkpoints of ledgers
    Witness(witness::Args),
    /// Follow edges: to parts and origins, or to the products they went into
    Trace(trace::Args),
    /// Find the finished products that a bad lot went into, and their holders
    Recall(recall::Args),
    /// Register many records from files
    Import(import::Args),
    /// Write all records as JSON lines
    Export(export::Args),
    /// Show the canonical form, key and DNS name of an identifier
    Name(name::Args),
    /// Check a data directory: the ledger, the tree, the index
    Fsck(fsck::Args),
    /// Audit a whole log: tree, signatures, entries, verifiable index
    Audit(audit::Args),
    /// Rebuild the index from the ledger
    Rebuild(rebuild::Args),
    /// Turn a stopped mirror into a primary
    Promote(promote::Args),
    /// Show and roll the keys that sign the DNS zone
    Dnssec(dnssec::Args),
    /// Show the configuration
    Config(config_print::Args),
}

/// The node to talk to.
#[derive(Debug, clap::Args)]
struct Server {
    /// The node's gRPC address
    #[arg(long, value_name = "HOST:PORT", default_value_t = Config::default().grpc.listen.to_string())]
    server: String,
}

/// The data directory, for commands that need no node.
#[derive(Debug, clap::Args)]
struct Data {
    /// The data directory [default: touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Data {
    fn config(&self) -> Result<Config, ConfigError> {
        let arguments = Layer::from_arguments([("--data", self.data.clone())]);
        Ok(loaded(Config::load(self.config.as_deref(), arguments))?.config)
    }
}

/// Prints the warnings of a configuration on the standard error output, for commands that do not log.
fn loaded(loaded: Result<Loaded, ConfigError>) -> Result<Loaded, ConfigError> {
    for warning in loaded.iter().flat_map(Loaded::warnings) {
        eprintln!("touchmark: {}", output::clean(&warning.to_string()));
    }
    loaded
}

/// Runs the command that the arguments of this process name.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to the standard output, usage errors to the standard error output; if both are closed, nobody
            // can be told.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::EXIT_FAILURE));
        }
    };
    match cli.command.run() {
        Ok(exit) => ExitCode::from(exit),
        Err(Failure { exit, message }) => {
            if let Some(message) = message {
                eprintln!("touchmark: {}", output::clean(&message));
            }
            ExitCode::from(exit)
        }
    }
}

impl Command {
    fn run(&self) -> Result<u8, Failure> {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Register(args) => register::run(args),
            Self::Event(args) => event::run(args),
            Self::Update(args) => update::run(args),
            Self::Retire(args) => retire::run(args),
            Self::Erase(args) => erase::run(args),
            Self::Prefix(args) => prefix::run(args),
            Self::Tree(args) => prefix::run_tree(args),
            Self::Resolve(args) => resolve::run(args),
            Self::History(args) => history::run(args),
            Self::Watch(args) => watch::run(args),
            Self::Lookup(args) => lookup::run(args),
            Self::Prove(args) => prove::run(args),
            Self::Verify(args) => verify::run(args),
            Self::Consistency(args) => consistency::run(args),
            Self::Witness(args) => witness::run(args),
            Self::Trace(args) => trace::run(args),
            Self::Recall(args) => recall::run(args),
            Self::Import(args) => import::run(args),
            Self::Export(args) => export::run(args),
            Self::Name(args) => name::run(args),
            Self::Fsck(args) => fsck::run(args),
            Self::Audit(args) => audit::run(args),
            Self::Rebuild(args) => rebuild::run(args),
            Self::Promote(args) => promote::run(args),
            Self::Dnssec(args) => dnssec::run(args),
            Self::Config(args) => config_print::run(args),
        }
    }
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?.block_on(future)
}

/// Sends log lines to the standard error output.
fn start_logging(config: &Config) -> Result<(), Failure> {
    // Later directives override earlier ones.
    let directives = format!("{},{}", crate::server::dns::LOG_DIRECTIVES, config.log);
    let filter = tracing_subscriber::EnvFilter::try_new(directives)
        .map_err(|error| Failure::usage(format!("log: `{}`: {error}", config.log)))?;
    let colours = std::io::stderr().is_terminal();
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    logging.try_init().map_err(|error| Failure::new(format!("cannot start logging: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains("Examples:"), "{}", command.get_name());
        }
    }
}

//! `touchmark config`: the configuration.

use clap::Subcommand;

use super::{failure::Failure, output};
use crate::config::TEMPLATE;

/// Shows the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark config print > touchmark.toml
  touchmark serve --config touchmark.toml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the default configuration, with comments
    Print,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure::stdout`].
pub fn run(args: &Args) -> Result<u8, Failure> {
    let Command::Print = args.command;
    output::line(TEMPLATE.trim_end())?;
    Ok(0)
}

//! `touchmark config`: the configuration.

use std::path::PathBuf;

use clap::Subcommand;

use super::{failure::Failure, output};
use crate::config::{self, Config, Layer, Machine};

/// Shows the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark config print > touchmark.toml
  touchmark config print --config old.toml > touchmark.toml
  touchmark serve --config touchmark.toml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the configuration in effect, with comments: the defaults, and what file and environment say
    Print {
        /// Read the configuration from this file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print what every key means, in Markdown
    Reference,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure::stdout`], and [`Failure`] for a configuration that cannot be used.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let text = match &args.command {
        Command::Print { config } => {
            super::loaded(Config::load(config.as_deref(), Layer::default()))?.print(&Machine::here())
        }
        Command::Reference => config::reference(),
    };
    output::line(text.trim_end())?;
    Ok(0)
}

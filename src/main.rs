//! The `touchmark` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    touchmark::cli::run()
}

//! The `touchmark` command: arguments in, exit code out.

use std::process::ExitCode;

/// Registration allocates and frees on different threads all the time, which this allocator is better at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    touchmark::cli::run()
}

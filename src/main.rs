//! The `touchmark` command: arguments in, exit code out.

use std::process::ExitCode;

/// The allocator of the whole process: registration allocates on one thread and frees on another, which mimalloc does
/// better than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    touchmark::cli::run()
}

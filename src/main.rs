//! The `touchmark` command: arguments in, exit code out.

fn main() {}

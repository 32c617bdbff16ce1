//! The `assigner` program: turns one result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    assigner::cli::main()
}

//! The `assigner` program: one result becomes an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    assigner::cli::main()
}

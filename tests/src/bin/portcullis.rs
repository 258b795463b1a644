//! The `portcullis` command, built here so that tests know its path.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis_cli::main()
}

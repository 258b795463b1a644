//! The `portcullis` command; the program is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis_cli::main()
}

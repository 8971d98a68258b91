//! The `lockport` program. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockport::cli::main()
}

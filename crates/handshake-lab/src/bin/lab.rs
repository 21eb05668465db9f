//! The `lab` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    handshake_lab::cli::main()
}

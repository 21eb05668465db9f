//! How a command ends that was called the wrong way.

use std::process::ExitCode;

/// Prints `error: problem` and returns the exit status of a usage error, 2.
pub(crate) fn usage_error(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::from(2)
}

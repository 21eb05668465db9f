//! `cargo xtask bench`: the unit costs, measured by the binary `lab-bench`.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::lab::{self, Binary, printed, usage_error};
use crate::output::print;
use crate::workspace::Workspace;
use crate::{capi, lab::asks};

const BENCH: Binary = Binary { package: "lab-bench", name: "lab-bench" };

/// Builds and runs `lab-bench ARGS...`; answers `--help` without building.
pub(crate) fn run(workspace: &Workspace, args: Vec<OsString>) -> ExitCode {
    if args.iter().any(asks) {
        return printed(print(include_str!("../help/bench.txt")));
    }
    // Some rows measure it as it is installed. Which are asked for only the binary can tell.
    if !args.iter().any(|arg| arg == "--list") {
        match capi::build(workspace) {
            Ok(true) => {}
            Ok(false) => return ExitCode::FAILURE,
            Err(e) => return usage_error(&format!("cannot run cargo: {e}")),
        }
    }
    lab::become_binary(workspace, &BENCH, &[], None, args)
}

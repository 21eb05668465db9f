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
    if measures_the_c_library(&args) {
        match capi::build(workspace) {
            Ok(true) => {}
            Ok(false) => return ExitCode::FAILURE,
            Err(e) => return usage_error(&format!("cannot run cargo: {e}")),
        }
    }
    lab::become_binary(workspace, &BENCH, &[], None, args)
}

/// Its rows are those of the library that is installed. They are measured if they are named, or if none is.
fn measures_the_c_library(args: &[OsString]) -> bool {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let page = args.iter().position(|arg| arg == "--page").map(|option| option + 1);
    let is_name = |(place, arg): &(usize, &std::borrow::Cow<'_, str>)| {
        !arg.starts_with('-') && Some(*place) != page
    };
    let mut names = args.iter().enumerate().filter(is_name).peekable();
    names.peek().is_none() || names.any(|(_, name)| name.contains("capi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_measured_if_it_is_named_or_nothing_is() {
        let measures = |line: &str| {
            let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            measures_the_c_library(&args)
        };
        for line in ["", "--json", "--page docs/figures.md", "capi", "job capi.start --json"] {
            assert!(measures(line), "{line}");
        }
        for line in ["job", "pkcs11 --page docs/capi.md", "--page=docs/figures.md job"] {
            assert!(!measures(line), "{line}");
        }
    }
}

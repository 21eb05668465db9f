//! Tools that do not come with Rust: whether they are installed, and what a step does without them.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::lab;
use crate::output::eprint_line;

/// Reports that `tool` is not installed and that `remedy` installs it.
///
/// The caller skips its step. If `LAYBY_REQUIRE` names the tool, the return value is a finding, and the step fails.
pub(crate) fn missing(tool: &str, remedy: &str) -> Option<String> {
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|name| name == tool);
    let message = format!("{tool} is not installed; {remedy}");
    if !required {
        eprint_line(format_args!("skipped: {message}"));
    }
    required.then_some(message)
}

/// Whether cargo has this subcommand.
pub(crate) fn has_subcommand(subcommand: &str) -> bool {
    let output = lab::cargo().args([subcommand, "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// A toolchain of rustup's other than the one that runs this program.
pub(crate) struct Toolchain {
    pub(crate) name: &'static str,
    /// Whether the step needs the sources of the standard library.
    pub(crate) sources: bool,
}

impl Toolchain {
    /// The cargo of this toolchain; the environment variable `CARGO` names the usual one.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", self.name, "cargo"]);
        command
    }

    pub(crate) fn is_installed(&self) -> bool {
        let rustc =
            Command::new("rustup").args(["run", self.name, "rustc", "--print", "sysroot"]).output();
        let Some(rustc) = rustc.ok().filter(|output| output.status.success()) else { return false };
        let sysroot = String::from_utf8_lossy(&rustc.stdout).trim().to_owned();
        !self.sources || Path::new(&sysroot).join("lib/rustlib/src/rust/library").is_dir()
    }

    pub(crate) fn remedy(&self) -> String {
        let component = if self.sources { " --component rust-src" } else { "" };
        format!("rustup toolchain install {}{component}", self.name)
    }
}

//! The hand-over: build a binary of the laboratory in release mode, then become it.
//!
//! `exec` leaves no process in between, so that signals, the terminal and the exit status (0 all
//! well, 1 a law broken, 2 usage) are the lab's own.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use crate::output::{eprint_line, print};
use crate::workspace::Workspace;

/// A binary of the laboratory.
pub(crate) struct Binary {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
}

const LAB: Binary = Binary { package: "handshake-lab", name: "lab" };

/// Builds the lab and runs `lab COMMAND ARGS...`; answers `--help` without building.
pub(crate) fn hand_over(
    workspace: &Workspace,
    command: Option<&str>,
    args: Vec<OsString>,
) -> ExitCode {
    let for_this_command =
        if command.is_some() { args.iter().any(asks) } else { asks_first(&args) };
    if for_this_command {
        return printed(print(help(command)));
    }
    become_binary(workspace, &LAB, features(&args), command, args)
}

/// Whether it asks for help.
pub(crate) fn asks(arg: &OsString) -> bool {
    arg == "--help" || arg == "-h"
}

/// Builds the binary, then becomes it.
pub(crate) fn become_binary(
    workspace: &Workspace,
    binary: &Binary,
    features: &[&str],
    command: Option<&str>,
    args: Vec<OsString>,
) -> ExitCode {
    match build(workspace, binary, features) {
        Ok(true) => {}
        Ok(false) => return ExitCode::FAILURE,
        Err(e) => return usage_error(&format!("cannot run cargo: {e}")),
    }
    let binary = workspace.target_dir().join("release").join(binary.name);
    let failure = Command::new(&binary).args(command).args(args).exec();
    usage_error(&format!("cannot run {}: {failure}", binary.display()))
}

/// `lab SUBCOMMAND --help` is the lab's own to answer, `lab --help` and a bare `lab` are ours.
fn asks_first(args: &[OsString]) -> bool {
    args.first().is_none_or(asks)
}

/// The help of `lab sim`.
pub(crate) const SIM_HELP: &str = include_str!("../help/sim.txt");

/// The help of `lab sim swarm`.
pub(crate) const SWARM_HELP: &str = include_str!("../help/swarm.txt");

/// The lab's help texts; a test of the workspace compares them with what the lab prints.
fn help(command: Option<&str>) -> &'static str {
    match command {
        Some("serve") => include_str!("../help/serve.txt"),
        _ => include_str!("../help/lab.txt"),
    }
}

/// What the lab has to be built with beyond its usual self.
fn features(args: &[OsString]) -> &'static [&'static str] {
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    if words.any(|word| word == "--plant" || word.starts_with("--plant=")) {
        &["plant"]
    } else {
        &[]
    }
}

/// Builds the binary; cargo's lines pass through only if there is something to build.
fn build(workspace: &Workspace, binary: &Binary, features: &[&str]) -> io::Result<bool> {
    let target_dir = workspace.target_dir();
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", binary.package, "--bin", binary.name]);
    cargo.arg("--target-dir").arg(&target_dir).current_dir(&workspace.root);
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    if locked_by_environment() {
        cargo.arg("--locked");
    }
    if io::stderr().is_terminal() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let why = if target_dir.join("release").join(binary.name).exists() {
        "something changed since the last time"
    } else {
        "aws-lc, rustls; about three minutes the first time"
    };
    let with = features.iter().map(|feature| format!(" with {feature}")).collect::<String>();
    let mut child = cargo.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut announced = false;
    for line in BufReader::new(child.stderr.take().expect("stderr is piped")).lines() {
        let line = line?;
        if !announced && ["Compiling ", "Downloading "].iter().any(|word| line.contains(word)) {
            eprint_line(format_args!("building {} in release mode{with} ({why})", binary.name));
            announced = true;
        }
        if announced || !line.contains("Finished ") {
            eprint_line(line);
        }
    }
    Ok(child.wait()?.success())
}

/// Prints `error: problem` and returns the exit status of a usage error, 2.
pub(crate) fn usage_error(problem: &str) -> ExitCode {
    eprint_line(format_args!("error: {problem}"));
    ExitCode::from(2)
}

/// The exit status of a command that only had to print.
pub(crate) fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => usage_error(&problem.to_string()),
    }
}

/// Cargo, as the one that runs us calls itself.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether the lock file must be taken as it is: on a build machine, or on request.
pub(crate) fn locked_by_environment() -> bool {
    ["CI", "LAYBY_LOCKED"].iter().any(|name| env::var_os(name).is_some_and(|v| !v.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_is_built_with_what_the_command_needs() {
        let of = |line: &str| {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            features(&args)
        };
        assert!(of("offload-modes --seed 1").is_empty());
        assert_eq!(of("offload-modes --plant lost-wake"), ["plant"]);
        assert_eq!(of("sim --plant=lost-wake"), ["plant"]);
    }
}

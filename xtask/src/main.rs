//! `cargo xtask`: the commands of this repository.
//!
//! ```text
//!   cargo xtask sim | serve | lab              built once, then handed over to the lab binary   lab.rs
//!   cargo xtask bench                          the same with the binary lab-bench               bench.rs
//!   cargo xtask bench --rivals                 the same with the package rivals                 rivals.rs
//!   cargo xtask sim --list, any --help         answered here, without building anything         sim.rs, help/
//!   cargo xtask ci                             the gate, as a list of named steps               ci.rs
//!   cargo xtask install-capi PREFIX            the C library, its header and pkg-config file      capi.rs
//!   cargo xtask laws                           writes docs/laws.md from the tests                laws.rs
//! ```
//!
//! This package depends on none of ours, so that it builds in seconds on a fresh machine. What prints is a file of lab-report's.

// `output` instead: these macros panic when their pipe is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod capi;
mod ci;
mod fuzz;
mod keys;
mod lab;
mod laws;
#[path = "../../crates/lab-report/src/output.rs"]
#[expect(unreachable_pub, reason = "it is public in the package that it is a part of")]
mod output;
mod parity;
mod rivals;
mod scenarios;
mod semver;
mod sim;
mod targets;
mod tidy;
mod tools;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::lab::usage_error;
use crate::workspace::Workspace;

/// The commands of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: real handshakes against the simulated accelerator
    #[command(disable_help_flag = true)]
    Sim(HandOver),
    /// Serve a page over HTTPS through an engine of your choice
    #[command(disable_help_flag = true)]
    Serve(HandOver),
    /// Measure, beside the best known rival of each figure
    #[command(disable_help_flag = true)]
    Bench(HandOver),
    /// Anything else that the lab binary can do
    #[command(disable_help_flag = true)]
    Lab(HandOver),
    /// Run the gate: everything that must hold before a change is merged
    Ci(ci::CiArgs),
    /// Build liblayby_async, OpenSSL's ASYNC_* functions on Layby's jobs, and install it for C programs
    InstallCapi(capi::InstallArgs),
    /// Write docs/laws.md: each law, its tests, and the bugs that break it
    Laws,
}

/// Arguments that the lab understands.
#[derive(Args, Debug)]
struct HandOver {
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return refuse(&refusal),
    };
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(problem) => return usage_error(&problem),
    };
    match cli.command {
        Command::Sim(rest) => sim::run(&workspace, rest.args),
        Command::Serve(rest) => lab::hand_over(&workspace, Some("serve"), rest.args),
        Command::Bench(HandOver { mut args }) => match rivals::asked_for(&mut args) {
            true => rivals::bench(&workspace, args),
            false => bench::run(&workspace, args),
        },
        Command::Lab(rest) => lab::hand_over(&workspace, None, rest.args),
        Command::Ci(args) => ci::run(&workspace, &args),
        Command::InstallCapi(args) => capi::install(&workspace, &args),
        Command::Laws => write_laws(&workspace),
    }
}

fn write_laws(workspace: &Workspace) -> ExitCode {
    let path = workspace.root.join(laws::PATH);
    match std::fs::write(&path, tidy::laws_page(workspace)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => usage_error(&format!("cannot write {}: {e}", path.display())),
    }
}

/// Prints the help that was asked for; says anything else in one line, as the lab does.
fn refuse(refusal: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as NothingGiven;
    if !refusal.use_stderr() || refusal.kind() == NothingGiven {
        refusal.exit();
    }
    let text = refusal.to_string();
    let told = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let told: Vec<&str> = told.map(str::trim).filter(|line| !line.is_empty()).collect();
    let problem = told.join("; ");
    usage_error(&format!("{} (see --help)", problem.trim_start_matches("error: ")))
}

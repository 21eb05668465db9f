//! `cargo xtask bench`: unit costs, each beside the best known rival or a limit, both measured in turn in one process.
//!
//! The ratios are the result: a ratio above 1 means that this workspace is ahead. Absolute numbers belong to the machine
//! that printed them.
//!
//! Exit status: 0 if the benches ran, 2 for a command line that cannot be understood.

// `lab_report::output` instead: these macros panic when their pipe is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod aim;
mod capi;
mod clocks;
mod device;
mod engine;
mod heartbeat;
mod job;
mod measure;
mod openssl;
mod paced;
mod paused;
mod pkcs11;
mod report;
mod sim;
mod suite;
mod tls;
mod wait_ctx;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use lab_report::output::{eprint_line, print, print_line};

use suite::Said;

/// Measures what things cost, each beside the best known rival or a limit
#[derive(Debug, Parser)]
#[command(
    name = "lab-bench",
    bin_name = "cargo xtask bench",
    after_help = "Whole servers beside each other: cargo xtask bench --rivals --help"
)]
struct Args {
    /// Only benches whose names begin so
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
    /// Write the table into this page, between its marks
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    page: Option<PathBuf>,
    /// Print the benches and about how long each takes, and run nothing
    #[arg(long)]
    list: bool,
    /// One arm of a bench that needs a process of its own, and its number of jobs or handshakes.
    #[arg(long, hide = true, num_args = 2)]
    child: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Reporting a failed write to standard error there panics.
        .log_internal_errors(false)
        .with_writer(io::stderr)
        .init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprint_line(format_args!("error: {problem}"));
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    if let Some([arm, count]) = args.child.as_deref() {
        let count = count.parse().map_err(|error| format!("--child {arm} {count}: {error}"))?;
        return suite::child(arm, count);
    }
    if args.list {
        let benches = suite::list(&args.names)?;
        let all: u32 = benches.iter().map(|(_, seconds)| seconds).sum();
        let lines = benches.into_iter().chain([("together", all)]);
        let line = |(name, seconds)| format!("{name:28} about {seconds} s\n");
        return printed(print(lines.map(line).collect::<String>()));
    }
    let failed = |path: &Path, error| format!("{}: {error}", path.display());
    // Read first: a run takes minutes.
    let page = match &args.page {
        Some(path) => Some((path, fs::read_to_string(path).map_err(|error| failed(path, error))?)),
        None => None,
    };
    let document = suite::run(&args.names, |said| match said {
        Said::Next(name, s) => eprint_line(format_args!("{name} ... (about {s} s)")),
        Said::Again(name, why) => {
            eprint_line(format_args!("  {name} failed and is tried again: {why}"));
        }
        Said::Result(bench) => eprint_line(format_args!("  {bench}")),
        Said::Over(seconds) => eprint_line(format_args!("  after {seconds:.1} s")),
    })?;
    if args.json {
        printed(print_line(serde_json::to_string_pretty(&document).expect("plain data")))
    } else if let Some((path, page)) = page {
        fs::write(path, document.page(&page)?).map_err(|error| failed(path, error))
    } else {
        printed(print_line(format_args!("{}\n{}", document.machine, document.table())))
    }
}

fn printed(result: io::Result<()>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_help_is_the_text_that_xtask_prints_without_building() {
        let help = Args::command().render_help().to_string();
        assert_eq!(help, include_str!("../../../xtask/help/bench.txt"));
    }
}

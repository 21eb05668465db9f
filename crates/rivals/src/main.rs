//! `cargo xtask bench --rivals`: Layby beside everything else that a Rust server could do with a slow key.
//!
//! Exit status: 0 if servers were measured, 2 for a command line that cannot be understood or a file that cannot be written.

#![forbid(unsafe_code)]
// `lab_report::output` instead: these macros panic when their pipe is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lab_report::Ticks;
use lab_report::output::{eprint_line, print, print_line};
use rivals::Problem;

use command::document::Document;
use command::matrix::{Cell, Effort, QUOTED};
use command::programs::{self, Found};
use command::results::Results;
use command::{markdown, matrix, page, results, standing};

/// Measures Layby beside everything else that a Rust server could do with a slow key
#[derive(Debug, Parser)]
#[command(name = "rivals", bin_name = "cargo xtask bench --rivals")]
struct Args {
    /// Only 1,024 handshakes at once, a key of 10 ms, ECDSA P-256, in memory: within six minutes instead of an hour or two
    #[arg(long)]
    quick: bool,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
    /// Write report.html into this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Write the figures into this page, between its marks; may be given for several pages
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    page: Vec<PathBuf>,
    /// Only these servers, and those whose signature is free
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of all servers; each takes an hour or two without --quick [default: 5 with --quick, else 1]
    #[arg(long, value_name = "NUMBER")]
    rounds: Option<usize>,
    /// Print the servers and their lines of code, and run nothing
    #[arg(long)]
    list: bool,
    /// A server that was not built, and why: `NAME: REASON`.
    #[arg(long, hide = true)]
    skipped: Vec<String>,
}

fn main() -> ExitCode {
    if let Some(done) = rivals::program::run(&rivals::of_library()) {
        return done;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprint_line(format_args!("error: {problem}"));
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<(), Problem> {
    let servers = chosen(programs::servers()?, &args.only)?;
    if args.list {
        let line = |Found { server, .. }: &Found| {
            format!("{:18} {:4} lines  {}\n", server.name, server.lines, server.title)
        };
        return Ok(print(servers.iter().map(line).collect::<String>())?);
    }
    // What cannot be read or written is said first: a run takes minutes, or an hour.
    let mut found = Results::new(&servers);
    let mut pages = Vec::new();
    for path in &args.page {
        let text = fs::read_to_string(path).map_err(|error| named(path, &error))?;
        markdown::write_into(&text, &found).map_err(|error| named(path, &error))?;
        pages.push((path.as_path(), text));
    }
    if let Some(directory) = &args.report {
        fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
    }
    let report = args.report.as_ref().map(|directory| directory.join("report.html"));
    let (cells, effort) = if args.quick {
        (vec![QUOTED], Effort { rounds: 5, window: Duration::from_millis(1500) })
    } else {
        (Cell::all(), Effort { rounds: 1, window: Duration::from_millis(500) })
    };
    let effort = Effort { rounds: args.rounds.unwrap_or(effort.rounds).max(1), ..effort };
    for skipped in &args.skipped {
        eprint_line(format_args!("not measured: {skipped}"));
    }
    let before = Ticks::now();
    found.skipped.clone_from(&args.skipped);
    for (number, &cell) in cells.iter().enumerate() {
        let say = |what: &str| eprint_line(format_args!("{}/{}: {what}", number + 1, cells.len()));
        matrix::measure(&mut found, &servers, cell, effort, say);
        found.machine.taken = before.and_then(|before| Ticks::now()?.taken_since(before));
        // Of a run that is broken off, this much is there.
        if let Some(path) = &report {
            let text = page::report(&found, &cells[..=number]);
            fs::write(path, text).map_err(|error| named(path, &error))?;
        }
        if !args.json {
            print_line(format_args!("{cell}\n{}\n", markdown::table(&found, cell)))?;
        }
    }
    for (path, text) in pages {
        let text = markdown::write_into(&text, &found).map_err(|error| named(path, &error))?;
        fs::write(path, text).map_err(|error| named(path, &error))?;
    }
    if let Some(path) = &report {
        eprint_line(path.display());
    }
    if args.json {
        return Ok(print_line(serde_json::to_string_pretty(&Document::of(&found))?)?);
    }
    for line in standing::lines(&found) {
        print_line(line)?;
    }
    Ok(print_line(format_args!("\n{}\n{}", found.machine, results::versions()))?)
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    format!("{}: {error}", path.display()).into()
}

/// The servers that were asked for, with those that their CPU time is compared with.
fn chosen(all: Vec<Found>, only: &[String]) -> Result<Vec<Found>, Problem> {
    if let Some(name) =
        only.iter().find(|name| !all.iter().any(|found| found.server.name == **name))
    {
        let names: Vec<&str> = all.iter().map(|found| found.server.name.as_str()).collect();
        return Err(format!("--only {name}: no such server; there are {}", names.join(", ")).into());
    }
    let wanted = |found: &Found| {
        let name = &found.server.name;
        let mut servers = all.iter().map(|found| &found.server).filter(|s| only.contains(&s.name));
        only.is_empty() || servers.any(|server| server.name == *name || server.own_free == *name)
    };
    Ok(all.iter().filter(|found| wanted(found)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_help_is_the_text_that_xtask_prints_without_building() {
        let help = Args::command().render_help().to_string();
        assert_eq!(help, include_str!("../../../xtask/help/rivals.txt"));
    }
}

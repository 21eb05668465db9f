//! `lab bench`.

use super::Stop;
use crate::bench::{self, Said};

/// Measures what things cost, each beside the best known rival or a limit.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Only benches whose names begin so
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
    /// Print the benches and about how long each takes, and run nothing
    #[arg(long)]
    list: bool,
}

/// One arm of a bench that needs a process of its own.
#[derive(Debug, clap::Args)]
pub(super) struct BenchChildArgs {
    arm: String,
    jobs: usize,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Stop> {
    if args.list {
        let benches = bench::list(&args.names).map_err(Stop::usage)?;
        for (name, seconds) in &benches {
            println!("{name:28} about {seconds} s");
        }
        let all: u32 = benches.iter().map(|(_, seconds)| seconds).sum();
        println!("{:28} about {all} s", "together");
        return Ok(());
    }
    let document = bench::run(&args.names, |said| match said {
        Said::Next(name, seconds) => eprintln!("{name} ... (about {seconds} s)"),
        Said::Again(name, why) => eprintln!("  {name} failed and is tried again: {why}"),
        Said::Result(bench) => eprintln!("  {bench}"),
    })
    .map_err(Stop::usage)?;
    if args.json {
        let text = serde_json::to_string_pretty(&document).expect("plain data");
        println!("{text}");
    } else {
        println!("{}", document.table());
    }
    Ok(())
}

pub(super) fn run_child(args: &BenchChildArgs) -> Result<(), Stop> {
    bench::child(&args.arm, args.jobs).map_err(Stop::usage)
}

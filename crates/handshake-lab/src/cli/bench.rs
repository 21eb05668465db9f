//! `lab bench`.

use super::Stop;
use crate::bench;

/// Measures what things cost, each beside the best known rival or a limit.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Only benches whose names begin so
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
}

/// One arm of a bench that needs a process of its own.
#[derive(Debug, clap::Args)]
pub(super) struct BenchChildArgs {
    arm: String,
    jobs: usize,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Stop> {
    let document = bench::run(&args.names, |name| eprintln!("{name} ...")).map_err(Stop::usage)?;
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

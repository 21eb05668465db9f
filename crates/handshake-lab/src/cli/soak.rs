//! `lab soak`: very many handshakes under random faults, and what is left of them.

use lab_report::Progress;

use super::{Stop, interrupt, number};
use crate::soak;

/// Arguments of `lab soak`.
#[derive(Debug, clap::Args)]
pub(super) struct SoakArgs {
    /// Handshakes to begin, after a warm-up [default: 100000].
    #[arg(long, value_name = "N")]
    handshakes: Option<String>,
    /// Seed of loads, devices and faults [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// Print the results as one JSON document and nothing else.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SoakArgs) -> Result<(), Stop> {
    let number = |option: &str, given: &Option<String>, range, unit, default| match given {
        Some(text) => number::whole(option, text, range, unit),
        None => Ok(default),
    };
    let handshakes =
        number("--handshakes", &args.handshakes, 1..=100_000_000, "handshakes", 100_000)?;
    let seed = number("--seed", &args.seed, 0..=i64::MAX as u64, "", 1)?;
    let progress = Progress::new(1);
    interrupt::listen(&progress).map_err(Stop::usage)?;
    let report = soak::run(seed, handshakes, &progress).map_err(Stop::usage)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(Stop::usage)?);
        eprintln!("{}", report.verdict());
    } else {
        print!("{}", report.text());
        println!("{}", report.verdict());
    }
    match (report.is_good(), report.partial) {
        (true, false) => Ok(()),
        (true, true) => Err(Stop::Interrupted),
        (false, _) => Err(Stop::Bad),
    }
}

//! `lab soak`: many handshakes under random faults, and what the process holds afterwards.

use lab_report::{
    Progress,
    output::{eprint_line, print, print_line},
};

use super::{
    stop::{self, Stop},
    values,
};
use crate::soak;

/// Arguments of `lab soak`.
#[derive(Debug, clap::Args)]
pub(super) struct SoakArgs {
    /// Handshakes to begin, after a warm-up.
    #[arg(long, value_name = "N", default_value = "100000", allow_hyphen_values = true,
        value_parser = values::whole::<u64>(1..=100_000_000, "handshakes"))]
    handshakes: u64,
    /// Seed of loads, devices and faults.
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true,
        value_parser = values::seed())]
    seed: u64,
    /// Print the results as one JSON document and nothing else.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SoakArgs) -> Result<(), Stop> {
    let progress = Progress::new(1);
    stop::listen(&progress).map_err(Stop::usage)?;
    let report = soak::run(args.seed, args.handshakes, &progress).map_err(Stop::usage)?;
    if args.json {
        let document = serde_json::to_string_pretty(&report).map_err(Stop::usage)?;
        print_line(document).map_err(Stop::usage)?;
        eprint_line(report.verdict());
    } else {
        print(report.text()).map_err(Stop::usage)?;
        print_line(report.verdict()).map_err(Stop::usage)?;
    }
    Stop::after(report.is_good(), report.partial)
}

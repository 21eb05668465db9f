//! `lab diff`: two runs side by side.

use std::path::PathBuf;

use super::stop::Stop;
use lab_report::{
    Comparison, PreviousRun, ReportDir,
    output::{print, print_line},
};

/// Arguments of `lab diff`.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The directory of the run before, or its results.json.
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The directory of the run after, or its results.json.
    #[arg(value_name = "B")]
    after: PathBuf,
    /// Where diff.html goes [default: target/layby/diff].
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

pub(super) fn run(args: &DiffArgs) -> Result<(), Stop> {
    let before = PreviousRun::read(&args.before).map_err(Stop::usage)?;
    let after = PreviousRun::read(&args.after).map_err(Stop::usage)?;
    let comparison = Comparison::of(&before.results, &after.results);
    let directory = ReportDir::create(args.report.as_deref(), "diff").map_err(Stop::usage)?;
    let file = directory.write_diff(&comparison, &before, &after).map_err(Stop::usage)?;
    print(comparison.text()).map_err(Stop::usage)?;
    print_line(format_args!("page:    {}", file.display())).map_err(Stop::usage)?;
    if comparison.unrelated { Err(Stop::Bad) } else { Ok(()) }
}

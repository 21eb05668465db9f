//! `lab schema`: the scenario language for editors and for people.

use lab_report::output::{print, print_line};

use super::stop::Stop;
use crate::scenario::{json_schema, page};

/// Prints the scenario language as a JSON Schema.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// As a page in Markdown instead.
    #[arg(long)]
    page: bool,
}

pub(super) fn run(args: &SchemaArgs) -> Result<(), Stop> {
    let printed = if args.page {
        print(page())
    } else {
        print_line(serde_json::to_string_pretty(&json_schema()).map_err(Stop::usage)?)
    };
    printed.map_err(Stop::usage)
}

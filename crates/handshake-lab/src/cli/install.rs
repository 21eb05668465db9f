//! `lab completions` and `lab man`: what an installed program has beside itself.

use std::path::PathBuf;

use clap_complete::Shell;
use lab_report::output::print;

use super::stop::Stop;

/// Prints the completions of a shell.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell that reads them.
    shell: Shell,
}

/// Writes the manual pages of the laboratory and of each of its commands.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The directory that gets them, such as ~/.local/share/man/man1. It is made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs, mut lab: clap::Command) -> Result<(), Stop> {
    // Not to standard output: it panics where that is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut lab, "lab", &mut script);
    print(String::from_utf8_lossy(&script)).map_err(Stop::usage)
}

pub(super) fn man(args: &ManArgs, lab: clap::Command) -> Result<(), Stop> {
    let ManArgs { dir } = args;
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(lab, dir))
        .map_err(|error| Stop::usage(format!("{}: {error}", dir.display())))
}

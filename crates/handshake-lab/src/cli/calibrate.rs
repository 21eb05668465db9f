//! `lab calibrate`: this machine as a cost profile.

use std::path::PathBuf;

use lab_report::{
    ReportDir,
    output::{eprint_line, print},
};

use super::{stop::Stop, values};
use crate::calibrate::calibrate;

/// Measures this machine into a cost profile for virtual time.
#[derive(Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    /// The profile's name; the file is called so too.
    #[arg(long, value_name = "NAME", default_value = "this-machine")]
    name: String,
    /// Handshakes of each kind, of which the medians are taken.
    #[arg(long, value_name = "N", default_value = "2000", allow_hyphen_values = true,
        value_parser = values::whole::<usize>(1..=1_000_000, "handshakes"))]
    handshakes: usize,
    /// Where the file goes [default: target/layby/profiles].
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

pub(super) fn run(args: &CalibrateArgs) -> Result<(), Stop> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if args.name.is_empty() || args.name.starts_with('.') || !args.name.chars().all(plain) {
        return Err(Stop::Usage(format!(
            "--name {}: not a name for a file; give letters, digits, -, _ and .",
            args.name
        )));
    }
    let directory = ReportDir::create(args.report.as_deref(), "profiles").map_err(Stop::usage)?;
    eprint_line(format_args!("measuring {} handshakes of each kind", args.handshakes));
    let profile = calibrate(&args.name, args.handshakes).map_err(Stop::usage)?;
    let text = profile.toml();
    let file = directory.put(&format!("{}.toml", args.name), &text).map_err(Stop::usage)?;
    print(&text).map_err(Stop::usage)?;
    let file = file.display();
    eprint_line(format_args!("profile: {file}"));
    eprint_line(format_args!("next:    cargo xtask sim --clock virtual --profile {file}"));
    Ok(())
}

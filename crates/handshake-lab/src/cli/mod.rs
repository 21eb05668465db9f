//! The command line of `lab`.
//!
//! Exit status: 0 all well, 1 a law was broken or a handshake failed that should not, 2 usage, 130 broken off by Ctrl-C or
//! `SIGTERM` with nothing wrong until then. Text for a closed pipe is dropped and leaves the status as it is; only
//! `--json-lines` then stops the run, as Ctrl-C does.

mod calibrate;
mod diff;
mod install;
mod schema;
mod serve;
mod sim;
mod soak;
mod stop;
mod swarm;
mod values;

use std::{error::Error as _, process::ExitCode};

use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use lab_report::output::eprint_line;

use crate::serve::log;

use stop::{INTERRUPTED, Stop};

pub use serve::ServeArgs;
pub use sim::SimArgs;

/// The laboratory: real TLS handshakes against a simulated accelerator.
#[derive(Debug, Parser)]
#[command(name = "lab", version = env!("LAYBY_VERSION"), disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario and judge it.
    Sim(SimArgs),
    /// Serve a small page over HTTPS until Ctrl-C.
    Serve(ServeArgs),
    /// Measure this machine into a cost profile for virtual time.
    Calibrate(calibrate::CalibrateArgs),
    /// Print the scenario language as a JSON Schema, or as a page.
    Schema(schema::SchemaArgs),
    /// Compare two runs: what got better or worse, and by how much.
    Diff(diff::DiffArgs),
    /// Run many handshakes under random faults, and check that nothing stays open.
    Soak(soak::SoakArgs),
    /// Print the completions of a shell.
    Completions(install::CompletionsArgs),
    /// Write the manual pages to a directory.
    Man(install::ManArgs),
}

/// Runs the command that the process was called with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return clap_message(&error),
    };
    start_tracing(&cli.command);
    let result = match cli.command {
        Command::Sim(args) => sim::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Completions(args) => install::completions(&args, Cli::command()),
        Command::Man(args) => install::man(&args, Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Bad) => ExitCode::from(1),
        Err(Stop::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Stop::Usage(line)) => usage(&line),
    }
}

fn usage(line: &str) -> ExitCode {
    eprint_line(format_args!("error: {line}"));
    ExitCode::from(2)
}

/// Prints help and version as clap writes them; of an error only the line that says what is wrong.
fn clap_message(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Fails if standard output is closed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return usage("no command; give one of sim, serve, diff, soak (lab --help)");
    }
    if let Some(line) = bad_value(error) {
        return usage(&line);
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    // What is missing or similar stands on the next line.
    let more = lines
        .next()
        .filter(|line| line.starts_with("tip:") || line.starts_with('<') || line.starts_with("--"))
        // An unknown option is not meant as the file that could stand in its place.
        .filter(|line| !line.contains("as a value"));
    let first = more.map_or_else(
        || first.clone(),
        |more| match more.strip_prefix("tip: ") {
            Some(tip) => format!("{first}; {tip}"),
            None => format!("{first} {more}"),
        },
    );
    // `sim` has a subcommand of its own.
    let known = ["sim", "swarm", "serve", "calibrate", "diff", "soak"];
    let words = std::env::args().skip(1).take_while(|word| known.contains(&word.as_str()));
    let command: String = words.map(|word| word + " ").collect();
    usage(&format!("{first}; lab {command}--help shows what there is"))
}

/// A value that its parser refused: option, value, reason and remedy.
fn bad_value(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    let reason = error.source().filter(|_| error.kind() == ErrorKind::ValueValidation)?;
    let option = text(ContextKind::InvalidArg)?.split(' ').next()?;
    Some(format!("{option} {}: {reason}", text(ContextKind::InvalidValue)?))
}

/// Events on standard error as `RUST_LOG` asks for them; nothing without it but errors and warnings, and no warnings of
/// what the swarm does to its devices on purpose.
fn start_tracing(command: &Command) {
    let swarms = match command {
        Command::Sim(args) => args.is_swarm(),
        _ => false,
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(if swarms { "error" } else { "warn" })
    });
    if matches!(command, Command::Serve(_)) {
        // Fails only if there is no thread for the log; the server then has none either, and reports that.
        let _ = log::start(filter);
        return;
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(log::is_colourful())
        // Reporting a failed write to standard error there panics.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // Fails only if a subscriber is set already.
    let _ = subscriber.try_init();
}

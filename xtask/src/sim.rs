//! `cargo xtask sim`: knows the scenarios by name, and hands over to the lab.
//!
//! The list, the help and the refusal of an unknown name need no build. What the values of the
//! options mean is the lab's to say.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::usage::usage_error;
use crate::workspace::Workspace;
use crate::{lab, scenarios};

/// The scenario of a bare `cargo xtask sim`.
const DEFAULT: &str = "offload-modes";

#[derive(Args, Debug)]
pub(crate) struct SimArgs {
    /// A scenario by name, or a scenario of your own as a TOML file
    #[arg(value_name = "SCENARIO|FILE.toml", default_value = DEFAULT)]
    scenario: String,

    /// List the built-in scenarios by the question they answer
    #[arg(long)]
    list: bool,

    /// Print the scenario with every setting filled in, and run nothing
    #[arg(long)]
    print: bool,

    /// Seed of every random draw; the same seed gives the same run in virtual time
    #[arg(long, value_name = "N")]
    seed: Option<String>,

    /// Run in real or in virtual time, whatever the scenario says
    #[arg(long, value_name = "real|virtual")]
    clock: Option<String>,

    /// Charge virtual time from this cost profile; cargo xtask lab calibrate writes one of this machine
    #[arg(long, value_name = "FILE.toml")]
    profile: Option<PathBuf>,

    /// Change one setting of the scenario; may be repeated
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    set: Vec<String>,

    /// Where the report goes [default: target/layby/SCENARIO/TIME]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Print one JSON document on stdout, and nothing else there
    #[arg(long)]
    json: bool,

    /// Of the scenario swarm: print one line of JSON for each seed on stdout
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,

    /// Of the scenario swarm: how many seeds
    #[arg(long, value_name = "N")]
    seeds: Option<String>,

    /// Of the scenario swarm: the first seed
    #[arg(long, value_name = "S")]
    from: Option<String>,

    /// Of the scenario swarm: on how many threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<String>,

    /// Of the scenario swarm: end with the first seed that breaks a law
    #[arg(long)]
    fail_fast: bool,

    /// Plant a known bug, to see the laws catch it (exit status 1)
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, args: SimArgs) -> ExitCode {
    let known = match scenarios::load(&workspace.scenario_dir()) {
        Ok(known) => known,
        Err(problem) => return usage_error(&problem),
    };
    if args.list {
        print!("{}", scenarios::table(&known));
        return ExitCode::SUCCESS;
    }
    if is_file(&args.scenario) {
        if let Err(problem) = File::open(&args.scenario) {
            return usage_error(&format!(
                "scenario file {}: {problem}; give a readable TOML file",
                args.scenario
            ));
        }
    } else if !known.iter().any(|scenario| scenario.name == args.scenario) {
        return usage_error(&scenarios::unknown(&args.scenario, &known));
    }
    lab::hand_over(workspace, Some("sim"), args.for_the_lab())
}

/// A name has neither a slash nor an extension.
fn is_file(scenario: &str) -> bool {
    scenario.ends_with(".toml") || scenario.contains('/')
}

impl SimArgs {
    /// The same arguments, as the lab wants them.
    fn for_the_lab(self) -> Vec<OsString> {
        let mut args = vec![OsString::from(self.scenario)];
        let mut option = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
        self.seed.into_iter().for_each(|seed| option("--seed", seed.into()));
        self.seeds.into_iter().for_each(|seeds| option("--seeds", seeds.into()));
        self.from.into_iter().for_each(|from| option("--from", from.into()));
        self.threads.into_iter().for_each(|threads| option("--threads", threads.into()));
        self.clock.into_iter().for_each(|clock| option("--clock", clock.into()));
        self.profile.into_iter().for_each(|file| option("--profile", file.into()));
        self.set.into_iter().for_each(|setting| option("--set", setting.into()));
        self.report.into_iter().for_each(|dir| option("--report", dir.into()));
        self.plant.into_iter().for_each(|bug| option("--plant", bug.into()));
        let flags = [
            ("--print", self.print),
            ("--json", self.json),
            ("--json-lines", self.json_lines),
            ("--fail-fast", self.fail_fast),
        ];
        args.extend(flags.iter().filter(|(_, on)| *on).map(|(name, _)| OsString::from(name)));
        args
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sim: SimArgs,
    }

    fn for_the_lab(line: &str) -> String {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        let args = Line::parse_from(words).sim.for_the_lab();
        args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_arguments_means_the_default_scenario() {
        assert_eq!(for_the_lab(""), "offload-modes");
    }

    #[test]
    fn every_argument_reaches_the_lab() {
        let line = "mine.toml --seed 7 --clock virtual --profile p.toml --set a=1 --set b=2 --report out --seeds 5 --from 3 --threads 2 \
                    --plant lost-wake --fail-fast --print --json";
        assert_eq!(for_the_lab(line).split_whitespace().count(), line.split_whitespace().count());
        for word in line.split_whitespace() {
            assert!(for_the_lab(line).contains(word), "{word}");
        }
    }
}

//! `cargo xtask sim`: refuses in a second what the lab would refuse after a build, and hands the rest over to the lab.
//!
//! The options are read from the lab's own help, `help/sim.txt` and `help/swarm.txt`. Their values are checked by the lab.

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;

use crate::lab::{self, printed, usage_error};
use crate::laws;
use crate::output::print;
use crate::scenarios::{self, nearest};
use crate::workspace::Workspace;

/// The name that stands for the swarm among the scenarios.
const SWARM: &str = "swarm";

pub(crate) fn run(workspace: &Workspace, args: Vec<OsString>) -> ExitCode {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let is_swarm = Line::read(lab::SIM_HELP, &words).is_ok_and(|line| line.name == Some(SWARM));
    let help = if is_swarm { lab::SWARM_HELP } else { lab::SIM_HELP };
    if words.iter().any(|word| ["--help", "-h"].contains(word)) {
        return printed(print(help));
    }
    let known = match scenarios::load(&workspace.scenario_dir()) {
        Ok(known) => known,
        Err(problem) => return usage_error(&problem),
    };
    if words.contains(&"--list") {
        return printed(print(scenarios::table(&known)));
    }
    let checked = Line::read(help, &words).and_then(|line| line.check(&known));
    match checked {
        Ok(()) => lab::hand_over(workspace, Some("sim"), args),
        Err(problem) => usage_error(&problem),
    }
}

/// A command line, as far as it is checked before the build.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line<'a> {
    /// The scenario, its file, or [`SWARM`].
    name: Option<&'a str>,
    plant: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// Reads the words behind `sim`; an option that `help` does not explain is refused.
    fn read(help: &str, words: &[&'a str]) -> Result<Self, String> {
        let mut line = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                line.name = line.name.or(Some(word));
                continue;
            }
            let (option, given) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (word, None),
            };
            let takes_value = takes_value(help, option).ok_or_else(|| unexpected(help, option))?;
            let value = if takes_value { given.or_else(|| words.next()) } else { None };
            if option == "--plant" {
                line.plant = value;
            }
        }
        Ok(line)
    }

    fn check(&self, known: &[scenarios::Scenario]) -> Result<(), String> {
        if let Some(bug) = self.plant {
            let bugs = laws::bugs();
            if !bugs.iter().any(|known| known == bug) {
                let near = nearest(bug, bugs.iter().map(String::as_str));
                let remedy = near.map_or_else(
                    || format!("give one of {}", bugs.join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                return Err(format!("--plant {bug}: unknown bug; {remedy}"));
            }
        }
        let Some(name) = self.name else { return Ok(()) };
        if name.ends_with(".toml") || name.contains('/') {
            return File::open(name).map(drop).map_err(|problem| {
                format!("scenario file {name}: {problem}; give a readable TOML file")
            });
        }
        if name == SWARM || known.iter().any(|scenario| scenario.name == name) {
            return Ok(());
        }
        Err(scenarios::unknown(name, known))
    }
}

/// Whether an option takes a value; `None` if the help does not explain it.
fn takes_value(help: &str, option: &str) -> Option<bool> {
    options(help).find(|(name, _)| *name == option).map(|(_, takes_value)| takes_value)
}

/// The long options that a help text explains, and whether each takes a value.
fn options(help: &str) -> impl Iterator<Item = (&str, bool)> {
    let explained = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
    explained.filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| !word.starts_with("--"));
        Some((words.next()?, words.next().is_some_and(|word| word.starts_with('<'))))
    })
}

fn unexpected(help: &str, option: &str) -> String {
    let near = nearest(option, options(help).map(|(name, _)| name));
    let tip = near.map(|name| format!("; tip: a similar argument exists: '{name}'"));
    format!("unexpected argument '{option}' found{} (see --help)", tip.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Options:\n      --seed <N>  Seed\n      --json      JSON\n      --plant <BUG>  Bug\n  -h, --help  Help\n";

    fn read(line: &str) -> Result<Line<'_>, String> {
        Line::read(HELP, &line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn the_name_is_told_from_the_values_of_options() {
        let line = Line { name: Some("mine.toml"), plant: Some("lost-wake") };
        assert_eq!(read("--seed 7 mine.toml --json --plant lost-wake").as_ref(), Ok(&line));
        assert_eq!(read("mine.toml --plant=lost-wake --seed=7"), Ok(line));
        assert_eq!(read("--json"), Ok(Line::default()));
    }

    #[test]
    fn an_unknown_option_is_answered_with_the_nearest() {
        assert_eq!(
            read("--sed 1").unwrap_err(),
            "unexpected argument '--sed' found; tip: a similar argument exists: '--seed' (see --help)"
        );
        assert_eq!(read("--zzz").unwrap_err(), "unexpected argument '--zzz' found (see --help)");
    }

    #[test]
    fn an_unknown_bug_is_refused_before_anything_is_built() {
        let refused = read("--plant foo").and_then(|line| line.check(&[])).unwrap_err();
        assert!(refused.starts_with("--plant foo: unknown bug; give one of foreign-result, "));
        assert_eq!(read("--plant lost-wake").and_then(|line| line.check(&[])), Ok(()));
    }
}

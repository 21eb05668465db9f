//! `lab sim`: run a scenario, show what it did, judge it.

use std::path::PathBuf;

use lab_report::{
    Origin, Progress, ReportDir, notes,
    output::{eprint_line, print, print_line},
    table, verdict,
};

use super::{
    stop::{self, Stop},
    swarm::{self, SwarmArgs},
    values::{self, Common},
};
use crate::{
    plant, run,
    scenario::{BUILTINS, ClockMode, DEFAULT, Scenario},
    stepped::CostProfile,
};

/// Arguments of `lab sim`.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// The swarm, which stands in the place of a scenario.
    #[command(subcommand)]
    instead: Option<Instead>,
    /// A built-in scenario or a file; `offload-modes` when none is given.
    #[arg(value_name = "SCENARIO|FILE.toml")]
    scenario: Option<String>,
    /// List the built-in scenarios by the question they answer.
    #[arg(long)]
    list: bool,
    /// Print the scenario as a commented file, every field filled in, instead of running it.
    #[arg(long)]
    print: bool,
    /// Seed of every random draw; the same seed gives the same run in virtual time.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = values::seed())]
    seed: Option<u64>,
    /// The clock to run under, whatever the scenario says.
    #[arg(long, value_name = "real|virtual")]
    clock: Option<String>,
    /// Charge virtual time from this cost profile, such as calibrate writes, instead of the one that comes with the lab.
    #[arg(long, value_name = "FILE.toml")]
    profile: Option<PathBuf>,
    /// Override a field of the scenario, for example load.connections=256; may be given often.
    #[arg(long = "set", value_name = "KEY=VALUE", allow_hyphen_values = true)]
    overrides: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// What can stand in the place of a scenario's name.
#[derive(Debug, Clone, clap::Subcommand)]
enum Instead {
    /// Random load, topology, faults and cancels, drawn from seeds; every law checked.
    Swarm(SwarmArgs),
}

pub(super) fn run(args: &SimArgs) -> Result<(), Stop> {
    if args.list {
        return print(list()).map_err(Stop::usage);
    }
    let scenario = match args.instead {
        Some(_) if args.changes_a_scenario() => {
            let line = "sim swarm: draws its scenarios from seeds; leave out --print, --seed, --clock, --profile and --set";
            return Err(Stop::Usage(line.to_owned()));
        }
        Some(_) => None,
        None => Some(args.scenario()?),
    };
    if let Some(scenario) = scenario.as_ref().filter(|_| args.print) {
        return print(scenario.print()).map_err(Stop::usage);
    }
    if let Some(bug) = &args.common.plant {
        plant::arm_by_name(bug).map_err(Stop::usage)?;
    }
    match (&args.instead, scenario) {
        (Some(Instead::Swarm(swarm)), _) => swarm::run(swarm, &args.common),
        (None, Some(scenario)) => args.run(&scenario),
        (None, None) => Ok(()),
    }
}

impl SimArgs {
    /// The scenario with its overrides.
    fn scenario(&self) -> Result<Scenario, Stop> {
        let mut overrides = self.overrides.clone();
        overrides.extend(self.seed.map(|seed| format!("seed={seed}")));
        overrides.extend(self.clock.as_ref().map(|clock| format!("clock={clock}")));
        let name = self.scenario.as_deref().unwrap_or(DEFAULT);
        Scenario::find(name, &overrides).map_err(Stop::usage)
    }

    /// Runs a scenario, shows the results and judges them.
    fn run(&self, scenario: &Scenario) -> Result<(), Stop> {
        let costs = self.costs(scenario)?;
        let directory = ReportDir::for_run(self.common.report.as_deref(), &scenario.name)
            .map_err(Stop::usage)?;
        let text = scenario.print();
        let command = self.command();
        let origin = Origin {
            question: &scenario.question,
            summary: &scenario.summary,
            text: &text,
            command: &command,
            verdict: scenario.verdict.as_deref(),
            next: &scenario.next,
        };
        let progress = Progress::new(scenario.rows.len());
        stop::listen(&progress).map_err(Stop::usage)?;
        let results = run::run_charging(scenario, &costs, &progress).map_err(Stop::usage)?;
        let verdict = verdict(&results, &origin);
        let file = directory.write(&results, &verdict, &origin).map_err(Stop::usage)?;
        if self.common.json {
            let document = serde_json::to_string_pretty(&results).map_err(Stop::usage)?;
            print_line(document).map_err(Stop::usage)?;
            eprint_line(&verdict.sentence);
        } else {
            let (table, notes, sentence) = (table(&results), notes(&results), &verdict.sentence);
            let mut text = format!("{table}\n{notes}{sentence}\nreport:  {}\n", file.display());
            text.extend(verdict.next.iter().map(|next| format!("next:    {next}\n")));
            print(text).map_err(Stop::usage)?;
        }
        Stop::after(verdict.good, results.partial)
    }

    /// The cost profile of a run.
    fn costs(&self, scenario: &Scenario) -> Result<CostProfile, Stop> {
        let Some(file) = &self.profile else { return Ok(CostProfile::reference()) };
        if scenario.clock == ClockMode::Real {
            return Err(Stop::Usage(format!(
                "--profile {}: in real time everything costs what it costs; give --clock virtual",
                file.display()
            )));
        }
        CostProfile::read(file).map_err(Stop::usage)
    }

    /// Whether an option is given that only a scenario has.
    fn changes_a_scenario(&self) -> bool {
        let values = [self.seed.is_some(), self.clock.is_some(), self.profile.is_some()];
        self.print || !self.overrides.is_empty() || values.contains(&true)
    }

    /// Whether it runs the swarm.
    pub(super) const fn is_swarm(&self) -> bool {
        self.instead.is_some()
    }

    /// The command that runs the same again.
    fn command(&self) -> String {
        let mut words = vec!["cargo xtask sim".to_owned()];
        words.push(quoted(self.scenario.as_deref().unwrap_or(DEFAULT)));
        let mut option = |name: &str, value: &str| words.push(format!("{name} {}", quoted(value)));
        self.seed.iter().for_each(|seed| option("--seed", &seed.to_string()));
        self.clock.iter().for_each(|clock| option("--clock", clock));
        let profile = self.profile.as_ref().map(|file| file.display().to_string());
        profile.iter().for_each(|file| option("--profile", file));
        self.overrides.iter().for_each(|setting| option("--set", setting));
        self.common.plant.iter().for_each(|bug| option("--plant", bug));
        words.join(" ")
    }
}

/// A word quoted for a shell, if it needs to be.
pub(super) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=./:,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The built-in scenarios by the question that they answer, with clock and usual duration.
fn list() -> String {
    // A test reads every built-in scenario.
    let mut scenarios: Vec<Scenario> =
        BUILTINS.iter().filter_map(|builtin| Scenario::find(builtin.name, &[]).ok()).collect();
    scenarios.sort_by(|a, b| (&a.question, &a.name).cmp(&(&b.question, &b.name)));
    let (mut text, mut question) = (String::new(), String::new());
    for scenario in scenarios {
        if scenario.question != question {
            let gap = if question.is_empty() { "" } else { "\n" };
            text += &format!("{gap}{}\n", scenario.question);
            question.clone_from(&scenario.question);
        }
        let (name, clock) = (&scenario.name, scenario.clock.to_string());
        let (seconds, summary) = (scenario.usual_seconds, &scenario.summary);
        text += &format!("  {name:<18} {clock:<8} {seconds:>3} s  {summary}\n");
    }
    text + "\nRandom load, faults and cancels from seeds, every law checked: sim swarm --help\n"
}

//! `lab sim`: run a scenario, show what it did, judge it.

use std::{io::Write as _, num::NonZeroUsize, path::PathBuf};

use lab_report::{Origin, Progress, ReportDir, notes, table, verdict};

use super::{Stop, interrupt, number};
use crate::{
    plant, run,
    scenario::{BUILTINS, ClockMode, DEFAULT, SWARM, Scenario},
    stepped::CostProfile,
    swarm::Swarm,
};

/// Arguments of `lab sim`.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// A built-in scenario or a file; `offload-modes` when none is given.
    #[arg(value_name = "SCENARIO|FILE.toml")]
    scenario: Option<String>,
    /// List the built-in scenarios.
    #[arg(long)]
    list: bool,
    /// Print the scenario as a commented file instead of running it.
    #[arg(long)]
    print: bool,
    /// Seed of the service times.
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// The clock to run under.
    #[arg(long, value_name = "real|virtual")]
    clock: Option<String>,
    /// Charge virtual time from this cost profile, such as calibrate writes, instead of the one that comes with the lab.
    #[arg(long, value_name = "FILE.toml")]
    profile: Option<PathBuf>,
    /// Override a field of the scenario, for example load.connections=256; may be given often.
    #[arg(long = "set", value_name = "KEY=VALUE", allow_hyphen_values = true)]
    overrides: Vec<String>,
    /// Where files go [default: target/layby/SCENARIO/TIME].
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Print the results as one JSON document and nothing else.
    #[arg(long)]
    json: bool,
    /// Of the scenario swarm: print one line of JSON for each seed, as it ends, and nothing else.
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,
    /// Of the scenario swarm: how many seeds.
    #[arg(long, value_name = "N")]
    seeds: Option<String>,
    /// Of the scenario swarm: the first seed.
    #[arg(long, value_name = "S")]
    from: Option<String>,
    /// Of the scenario swarm: on how many threads [default: one for each processor].
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Of the scenario swarm: end with the first seed that breaks a law, and leave it as it is.
    #[arg(long)]
    fail_fast: bool,
    /// Plant a bug; needs a build with the feature `plant`.
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
}

pub(super) fn run(args: &SimArgs) -> Result<(), Stop> {
    if args.list {
        list();
        return Ok(());
    }
    let mut overrides = args.overrides.clone();
    if let Some(seed) = &args.seed {
        number::whole("--seed", seed, 0..=i64::MAX as u64, "")?;
        overrides.push(format!("seed={seed}"));
    }
    if let Some(clock) = &args.clock {
        overrides.push(format!("clock={clock}"));
    }
    let name = args.scenario.as_deref().unwrap_or(DEFAULT);
    let scenario = Scenario::find(name, &overrides).map_err(Stop::usage)?;
    if args.print {
        print!("{}", scenario.print());
        return Ok(());
    }
    if let Some(bug) = &args.plant {
        plant::arm_by_name(bug).map_err(Stop::usage)?;
    }
    let costs = args.costs(&scenario)?;
    if scenario.name == SWARM {
        return swarm(&scenario, args);
    }
    let of_the_swarm = [
        ("--seeds", args.seeds.is_some()),
        ("--from", args.from.is_some()),
        ("--threads", args.threads.is_some()),
        ("--fail-fast", args.fail_fast),
    ];
    if let Some((option, _)) = of_the_swarm.into_iter().find(|(_, given)| *given) {
        return Err(Stop::Usage(format!(
            "{option}: only the scenario swarm has seeds; give --seed N"
        )));
    }
    if args.json_lines {
        let line = "--json-lines: only the scenario swarm has a line for each seed; give --json";
        return Err(Stop::Usage(line.to_owned()));
    }
    let directory =
        ReportDir::for_run(args.report.as_deref(), &scenario.name).map_err(Stop::usage)?;
    let text = scenario.print();
    let command = args.command();
    let origin = Origin {
        question: &scenario.question,
        summary: &scenario.summary,
        text: &text,
        command: &command,
    };
    let progress = Progress::new(scenario.rows.len());
    interrupt::listen(&progress).map_err(Stop::usage)?;
    let results = run::run_charging(&scenario, &costs, &progress).map_err(Stop::usage)?;
    let file = directory.write(&results, &origin).map_err(Stop::usage)?;
    let verdict = verdict(&results);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results).map_err(Stop::usage)?);
        eprintln!("{}", verdict.sentence);
    } else {
        println!("{}", table(&results));
        print!("{}", notes(&results));
        println!("{}", verdict.sentence);
        println!("report:  {}", file.display());
        if let Some(next) = origin.next(&verdict, results.partial) {
            println!("next:    {next}");
        }
    }
    match (verdict.good, results.partial) {
        (true, false) => Ok(()),
        (true, true) => Err(Stop::Interrupted),
        (false, _) => Err(Stop::Bad),
    }
}

impl SimArgs {
    /// What virtual time charges.
    fn costs(&self, scenario: &Scenario) -> Result<CostProfile, Stop> {
        let Some(file) = &self.profile else { return Ok(CostProfile::reference()) };
        let refused =
            |reason: &str| Err(Stop::Usage(format!("--profile {}: {reason}", file.display())));
        if scenario.name == SWARM {
            return refused("a seed of the swarm is the same everywhere; leave it out");
        }
        if scenario.clock == ClockMode::Real {
            return refused("in real time everything costs what it costs; give --clock virtual");
        }
        CostProfile::read(file).map_err(Stop::usage)
    }

    /// Whether it is the swarm that is to be run.
    pub(super) fn is_swarm(&self) -> bool {
        self.scenario.as_deref() == Some(SWARM)
    }

    /// The command that runs the same again.
    fn command(&self) -> String {
        let mut words = vec!["cargo xtask sim".to_owned()];
        words.push(quoted(self.scenario.as_deref().unwrap_or(DEFAULT)));
        let mut option = |name: &str, value: &str| words.push(format!("{name} {}", quoted(value)));
        self.seed.iter().for_each(|seed| option("--seed", seed));
        self.clock.iter().for_each(|clock| option("--clock", clock));
        let profile = self.profile.as_ref().map(|file| file.display().to_string());
        profile.iter().for_each(|file| option("--profile", file));
        self.overrides.iter().for_each(|setting| option("--set", setting));
        self.plant.iter().for_each(|bug| option("--plant", bug));
        words.join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=./:,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Seeds that a swarm runs when no number is given.
const SEEDS: u64 = 2_000;

fn swarm(scenario: &Scenario, args: &SimArgs) -> Result<(), Stop> {
    let number = |option: &str, given: &Option<String>, range, default| match given {
        Some(text) => number::whole(option, text, range, "seeds"),
        None => Ok(default),
    };
    // A file of what is left of a seed stands for that seed alone.
    let default = if scenario.swarm.visits.is_some() { 1 } else { SEEDS };
    let seeds = number("--seeds", &args.seeds, 1..=100_000_000, default)?;
    let from = number("--from", &args.from, 0..=i64::MAX as u64, scenario.seed)?;
    let threads = match &args.threads {
        Some(text) => usize::try_from(number::whole("--threads", text, 1..=1024, "threads")?).ok(),
        None => None,
    };
    let progress = Progress::new(1).counting("seeds");
    interrupt::listen(&progress).map_err(Stop::usage)?;
    progress.begin("swarm", &format!("{seeds} seeds from {from}"));
    let mut swarm = Swarm::new(scenario).map_err(Stop::usage)?.watched(progress.clone());
    if let Some(threads) = threads.and_then(NonZeroUsize::new) {
        swarm = swarm.threads(threads);
    }
    if args.fail_fast {
        swarm = swarm.fail_fast();
    }
    let seeds = from..from.saturating_add(seeds);
    let report = if args.json_lines {
        swarm.run_each(seeds, |line| {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer(&mut out, line)?;
            // One by one, so that a shard that is killed leaves whole lines.
            out.write_all(b"\n").and_then(|()| out.flush())
        })
    } else {
        swarm.run(seeds)
    };
    let report = report.map_err(Stop::usage)?;
    progress.finish();
    if args.json_lines {
        eprint!("{}", report.text());
    } else if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(Stop::usage)?);
    } else {
        print!("{}", report.text());
    }
    if let Some(failure) = report.failures.first().filter(|_| !args.fail_fast) {
        let shrunk = swarm.shrink(failure).map_err(Stop::usage)?;
        let directory =
            ReportDir::create(args.report.as_deref(), &scenario.name).map_err(Stop::usage)?;
        let name = format!("seed-{}.toml", failure.seed);
        let file = directory.put(&name, &shrunk.toml()).map_err(Stop::usage)?;
        let plant = args.plant.as_ref().map(|bug| format!(" --plant {bug}")).unwrap_or_default();
        eprintln!("{}\nnext:    cargo xtask sim {}{plant}", shrunk.summary(), file.display());
    }
    match (report.is_good(), report.partial) {
        (true, false) => Ok(()),
        (true, true) => Err(Stop::Interrupted),
        (false, _) => Err(Stop::Bad),
    }
}

/// The built-in scenarios by the question that they answer, with clock and usual duration.
fn list() {
    // A test holds every built-in scenario to be readable.
    let mut scenarios: Vec<Scenario> =
        BUILTINS.iter().filter_map(|builtin| Scenario::find(builtin.name, &[]).ok()).collect();
    scenarios.sort_by(|a, b| (&a.question, &a.name).cmp(&(&b.question, &b.name)));
    let mut question = String::new();
    for scenario in scenarios {
        if scenario.question != question {
            let gap = if question.is_empty() { "" } else { "\n" };
            println!("{gap}{}", scenario.question);
            question.clone_from(&scenario.question);
        }
        let (name, clock) = (&scenario.name, scenario.clock.to_string());
        println!("  {name:<18} {clock:<8} {:>3} s  {}", scenario.usual_seconds, scenario.summary);
    }
}

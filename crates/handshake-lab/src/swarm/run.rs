//! Running seeds.

use lab_report::{LawReport, Progress};
use std::{
    io,
    num::NonZeroUsize,
    ops::{
        ControlFlow::{Break, Continue},
        Range,
    },
    thread,
    time::Instant,
};

use super::{
    in_order,
    line::SeedLine,
    report::{Failure, SCHEMA, SwarmReport},
    shrink::{self, Shrunk},
    subset::SeedSubset,
};
use crate::{
    certs::TestPki,
    cpu::this_machine,
    error::RunError,
    evidence::{Laws, RowEvidence, TraceSummary},
    scenario::{KeyType, Mix, RowPlan, SWARM, Scenario},
    stepped::{self, CostProfile, Fibers, MOST_WORKERS, SeedPlan},
};

/// A swarm that could not be run to its end.
pub type SwarmError = RunError;

/// The number of failing seeds after which a swarm ends.
const ENOUGH: usize = 20;

const FEW_JOBS: usize = 6;

/// What no seed draws.
const BASE: &str = r#"
    name = "swarm"
    question = "What breaks when everything goes wrong at once?"
    summary = "Random load, topology, faults, hang-ups and cancels, drawn from a seed."
    clock = "virtual"
    [load]
    handshakes = "profiled"
    [[row]]
    name = "swarm"
    mode = "async"
"#;

/// Runs seeds on several threads; the result of a seed does not depend on the thread.
#[derive(Debug)]
pub struct Swarm {
    recipe: Recipe,
    progress: Progress,
    /// The number of failing seeds after which it ends.
    enough: usize,
    threads: NonZeroUsize,
    planted: Option<String>,
}

/// What all seeds have in common.
#[derive(Debug)]
struct Recipe {
    row: RowPlan,
    costs: CostProfile,
    kept: SeedSubset,
    pki: TestPki,
}

/// The stacks of a thread that runs seeds, kept from one to the next.
#[derive(Debug)]
struct Stacks {
    many: Fibers,
    few: Fibers,
}

#[derive(Debug)]
struct SeedOutcome {
    evidence: RowEvidence,
    trace: TraceSummary,
    laws: Vec<LawReport>,
}

impl Swarm {
    /// A swarm that keeps this part of each seed's plan; [`SeedSubset::default`] for all of it.
    ///
    /// # Errors
    /// When there are no keys for real TLS.
    pub fn new(kept: SeedSubset) -> Result<Self, SwarmError> {
        let base = Scenario::parse(SWARM, BASE, &[]).expect("a test reads it");
        let recipe = Recipe {
            row: base.plan().swap_remove(0),
            kept,
            costs: CostProfile::reference(),
            pki: TestPki::generate(KeyType::P256)?,
        };
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Self { recipe, progress: Progress::silent(), enough: ENOUGH, threads, planted: None })
    }

    /// Reports progress to `progress`, and ends early when that is interrupted.
    #[must_use]
    pub fn watched(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Ends with the first seed that breaks a law.
    #[must_use]
    pub fn fail_fast(self) -> Self {
        Self { enough: 1, ..self }
    }

    /// Names the planted bug in the commands that run a seed again.
    #[must_use]
    pub fn planted(self, bug: &str) -> Self {
        Self { planted: Some(bug.to_owned()), ..self }
    }

    /// Runs seeds on this number of threads instead of one for each processor.
    #[must_use]
    pub fn threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// Runs these seeds, each of them twice. Ends early after 20 seeds that broke a law.
    ///
    /// # Errors
    /// If a seed cannot be run; broken laws are in the report instead.
    pub fn run(&self, seeds: Range<u64>) -> Result<SwarmReport, SwarmError> {
        self.run_until(seeds, self.enough, |_| Ok(()))
    }

    /// As [`run`](Self::run), but runs every seed, however many fail, and passes each to `tell` in their order: the lines of
    /// several shards are then those of one run.
    ///
    /// # Errors
    /// As [`run`](Self::run), and those of `tell`.
    pub fn run_each(
        &self,
        seeds: Range<u64>,
        tell: impl FnMut(&SeedLine) -> io::Result<()>,
    ) -> Result<SwarmReport, SwarmError> {
        self.run_until(seeds, usize::MAX, tell)
    }

    fn run_until(
        &self,
        seeds: Range<u64>,
        enough: usize,
        mut tell: impl FnMut(&SeedLine) -> io::Result<()>,
    ) -> Result<SwarmReport, SwarmError> {
        let begun = Instant::now();
        let mut report = SwarmReport {
            schema: SCHEMA.to_owned(),
            machine: this_machine(),
            scenario: SWARM.to_owned(),
            cost_profile: self.recipe.costs.id(),
            from: seeds.start,
            seeds: 0,
            real_tls_seeds: 0,
            replay_seeds: 0,
            handshakes: 0,
            faults: 0,
            cancels: 0,
            failures: Vec::new(),
            partial: false,
            threads: self.threads.get(),
            seeds_per_s: 0.0,
            laws: Vec::new(),
            not_run: 0,
            planted: self.planted.clone(),
        };
        let mut failed = 0;
        let all = seeds.end.saturating_sub(seeds.start);
        let mut take = |line: Result<SeedLine, SwarmError>| -> Result<_, SwarmError> {
            let line = line?;
            tell(&line).map_err(|source| RunError::System {
                row: format!("seed {}", line.seed),
                source,
            })?;
            report.take(&line);
            #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
            self.progress.at(report.seeds, report.seeds as f64 / all as f64);
            failed += usize::from(line.is_bad());
            report.partial = self.progress.is_interrupted() && report.seeds < all;
            Ok(if failed >= enough || report.partial { Break(()) } else { Continue(()) })
        };
        let line = |stacks: &mut Stacks, seed| self.recipe.line(stacks, seed);
        in_order::map(self.threads, seeds, Stacks::new, line, &mut take)?;
        report.not_run = all - report.seeds;
        #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
        let seeds = report.seeds as f64;
        report.seeds_per_s = seeds / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(report)
    }

    /// Makes the plan of a seed that broke a law as small as it gets while that law still breaks.
    ///
    /// # Errors
    /// If the seed cannot be run.
    pub fn shrink(&self, failure: &Failure) -> Result<Shrunk, SwarmError> {
        let whole = SeedPlan::of(failure.seed);
        let (law, from) = (failure.law.clone(), self.recipe.kept.clone());
        let stacks = Stacks::new();
        let fails = |kept: &SeedSubset| -> Result<bool, SwarmError> {
            let outcome = self.recipe.seed(&stacks, &kept.of(whole.clone()))?;
            Ok(outcome.laws.iter().any(|broken| !broken.held && broken.law == law))
        };
        let kept = shrink::shrink(&whole, from, fails)?;
        Ok(Shrunk { failure: failure.clone(), plan: kept.of(whole), kept })
    }
}

impl Recipe {
    fn line(&self, stacks: &Stacks, seed: u64) -> Result<SeedLine, SwarmError> {
        let plan = self.kept.of(SeedPlan::of(seed));
        let SeedOutcome { evidence, trace, laws } = self.seed(stacks, &plan)?;
        let given_up: u64 = evidence.workers.iter().map(|worker| worker.given_up).sum();
        Ok(SeedLine {
            handshakes: plan.connections.len() as u64,
            faults: evidence.cards(|card| card.faults),
            cancels: evidence.load.hung_up + given_up,
            trace_sha256: trace.hex(),
            replay: plan.replays(),
            ..SeedLine::new(seed, plan.real_tls, laws)
        })
    }

    fn seed(&self, stacks: &Stacks, plan: &SeedPlan) -> Result<SeedOutcome, SwarmError> {
        let mut row = self.row.clone();
        row.mode = plan.mode;
        row.parking = plan.parking;
        row.mix = Mix::uniform(plan.tls, KeyType::P256);
        row.workers = plan.workers;
        let fibers = if plan.few_jobs { &stacks.few } else { &stacks.many };
        let once = || stepped::run_seed(plan, &row, &self.pki, &self.costs, fibers);
        let (evidence, trace) = once()?;
        let (_, again) = once()?;
        let mut laws = Laws::default();
        laws.check(&evidence);
        laws.l9_repeats("swarm", trace, again);
        Ok(SeedOutcome { evidence, trace, laws: laws.reports() })
    }
}

impl Stacks {
    fn new() -> Self {
        Self {
            many: Fibers::new(MOST_WORKERS, None),
            few: Fibers::new(MOST_WORKERS, Some(FEW_JOBS)),
        }
    }
}

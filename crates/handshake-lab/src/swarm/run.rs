//! Running seeds.

use lab_report::{LawReport, Machine, Progress};
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
    plan::SeedPlan,
    report::{Failure, SCHEMA, SwarmReport},
    shrink::{self, Shrunk},
};
use crate::{
    certs::TestPki,
    run::{Laws, RowEvidence, RunError},
    scenario::{RowPlan, Scenario, SeedSubset},
    stepped::{self, CostProfile, Fibers, TraceSummary},
};

/// A swarm that could not be run to its end.
pub type SwarmError = RunError;

/// Seeds that fail at most, unless told otherwise.
const ENOUGH: usize = 20;

/// Workers of a seed at most, as [`SeedPlan`] draws them.
const WORKERS: usize = 2;

/// Jobs of a small pool.
const FEW_JOBS: usize = 6;

/// Runs seeds, on as many threads as it is given; what comes of a seed is the same on any.
#[derive(Debug)]
pub struct Swarm {
    recipe: Recipe,
    progress: Progress,
    /// After so many seeds that failed it is known.
    enough: usize,
    threads: NonZeroUsize,
}

/// What all seeds have in common.
#[derive(Debug)]
struct Recipe {
    scenario: String,
    row: RowPlan,
    costs: CostProfile,
    remains: SeedSubset,
    pki: TestPki,
}

/// The stacks of a thread that runs seeds, kept from one to the next.
#[derive(Debug)]
struct Stacks {
    many: Fibers,
    few: Fibers,
}

/// What came of one seed.
#[derive(Debug)]
struct SeedOutcome {
    evidence: RowEvidence,
    trace: TraceSummary,
    laws: Vec<LawReport>,
}

impl Swarm {
    /// A swarm as a scenario has it.
    ///
    /// # Errors
    /// When there are no keys for real TLS.
    pub fn new(scenario: &Scenario) -> Result<Self, SwarmError> {
        let row = scenario.plan().swap_remove(0);
        // The language refuses a mix here.
        let key = row.mix.draw(0).key;
        let recipe = Recipe {
            scenario: scenario.name.clone(),
            row,
            remains: scenario.swarm.clone(),
            costs: CostProfile::reference(),
            pki: TestPki::generate(key)?,
        };
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Self { recipe, progress: Progress::silent(), enough: ENOUGH, threads })
    }

    /// Tells `progress` how far it is, and ends early if that says so.
    #[must_use]
    pub fn watched(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Ends with the first seed that breaks a law.
    #[must_use]
    pub fn fail_fast(self) -> Self {
        Self { enough: 1, ..self }
    }

    /// Runs seeds on so many threads instead of one for each processor.
    #[must_use]
    pub fn threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// Runs these seeds, each of them twice. Ends early when so many have failed that it is known.
    ///
    /// # Errors
    /// What kept a seed from being run; broken laws are in the report instead.
    pub fn run(&self, seeds: Range<u64>) -> Result<SwarmReport, SwarmError> {
        self.run_until(seeds, self.enough, |_| Ok(()))
    }

    /// As [`run`](Self::run), but every seed is run, however many fail, and `tell` is told of each in their order: then it
    /// is all the same how the seeds are cut into shards.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `tell` says.
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
            machine: Machine::this(),
            scenario: self.recipe.scenario.clone(),
            cost_profile: self.recipe.costs.id(),
            from: seeds.start,
            seeds: 0,
            real_tls_seeds: 0,
            handshakes: 0,
            faults: 0,
            cancels: 0,
            failures: Vec::new(),
            partial: false,
            threads: self.threads.get(),
            seeds_per_s: 0.0,
            laws: Vec::new(),
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
        #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
        let seeds = report.seeds as f64;
        report.seeds_per_s = seeds / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(report)
    }

    /// Makes the plan of a seed that broke a law as small as it gets while that law still breaks.
    ///
    /// # Errors
    /// What kept the seed from being run.
    pub fn shrink(&self, failure: &Failure) -> Result<Shrunk, SwarmError> {
        let whole = SeedPlan::of(failure.seed);
        let (law, from) = (failure.law.clone(), self.recipe.remains.clone());
        let stacks = Stacks::new();
        let fails = |remains: &SeedSubset| -> Result<bool, SwarmError> {
            let plan = shrink::left_of(whole.clone(), remains);
            let outcome = self.recipe.seed(&stacks, &plan)?;
            Ok(outcome.laws.iter().any(|broken| !broken.held && broken.law == law))
        };
        let remains = shrink::shrink(&whole, from, fails)?;
        Ok(Shrunk { failure: failure.clone(), left: shrink::left_of(whole, &remains), remains })
    }
}

impl Recipe {
    fn line(&self, stacks: &Stacks, seed: u64) -> Result<SeedLine, SwarmError> {
        let plan = shrink::left_of(SeedPlan::of(seed), &self.remains);
        let SeedOutcome { evidence, trace, laws } = self.seed(stacks, &plan)?;
        let given_up: u64 = evidence.workers.iter().map(|worker| worker.given_up).sum();
        Ok(SeedLine {
            handshakes: plan.visits.len() as u64,
            faults: evidence.cards(|card| card.faults),
            cancels: evidence.load.hung_up + given_up,
            trace_sha256: trace.hex(),
            ..SeedLine::new(seed, plan.real_tls, laws)
        })
    }

    fn seed(&self, stacks: &Stacks, plan: &SeedPlan) -> Result<SeedOutcome, SwarmError> {
        let mut row = self.row.clone();
        row.mode = plan.mode;
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
        Self { many: Fibers::new(WORKERS, None), few: Fibers::new(WORKERS, Some(FEW_JOBS)) }
    }
}

//! Running seeds.

use std::{io, ops::Range, time::Instant};

use super::{
    line::SeedLine,
    plan::SeedPlan,
    report::{Failure, SCHEMA, SwarmReport},
    shrink::{self, Shrunk},
};
use crate::{
    certs::TestPki,
    report::{LawReport, Machine, Progress},
    run::{Laws, RowEvidence, RunError},
    scenario::{Remains, RowPlan, Scenario},
    stepped::{self, CostProfile, Fibers, TraceSummary},
};

/// A swarm that could not be run to its end.
pub type SwarmError = RunError;

/// After so many seeds that failed it is known.
const ENOUGH: usize = 20;

/// Workers of a seed at most, as [`SeedPlan`] draws them.
const WORKERS: usize = 2;

/// Jobs of a small pool.
const FEW_JOBS: usize = 6;

/// Runs seeds one after the other on one thread, with the same stacks.
#[derive(Debug)]
pub struct Swarm {
    scenario: String,
    row: RowPlan,
    costs: CostProfile,
    remains: Remains,
    fibers: Fibers,
    few_fibers: Fibers,
    pki: TestPki,
    progress: Progress,
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
    /// When there are no keys for real TLS, or no memory for stacks.
    pub fn new(scenario: &Scenario) -> Result<Self, SwarmError> {
        let row = scenario.plan().swap_remove(0);
        // The language refuses a mix here.
        let key = row.mix.draw(0).key;
        Ok(Self {
            scenario: scenario.name.clone(),
            row,
            remains: scenario.swarm.clone(),
            costs: CostProfile::reference(),
            fibers: Fibers::new(WORKERS, None),
            few_fibers: Fibers::new(WORKERS, Some(FEW_JOBS)),
            pki: TestPki::generate(key)?,
            progress: Progress::silent(),
        })
    }

    /// Tells `progress` how far it is, and ends early if that says so.
    #[must_use]
    pub fn watched(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Runs these seeds, each of them twice. Ends early when so many have failed that it is known.
    ///
    /// # Errors
    /// What kept a seed from being run; broken laws are in the report instead.
    pub fn run(&mut self, seeds: Range<u64>) -> Result<SwarmReport, SwarmError> {
        self.run_until(seeds, ENOUGH, |_| Ok(()))
    }

    /// As [`run`](Self::run), but every seed is run, however many fail, and `tell` is told of each as it ends: then it
    /// is all the same how the seeds are cut into shards.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `tell` says.
    pub fn run_each(
        &mut self,
        seeds: Range<u64>,
        tell: impl FnMut(&SeedLine) -> io::Result<()>,
    ) -> Result<SwarmReport, SwarmError> {
        self.run_until(seeds, usize::MAX, tell)
    }

    fn run_until(
        &mut self,
        seeds: Range<u64>,
        enough: usize,
        mut tell: impl FnMut(&SeedLine) -> io::Result<()>,
    ) -> Result<SwarmReport, SwarmError> {
        let begun = Instant::now();
        let mut report = SwarmReport {
            schema: SCHEMA.to_owned(),
            machine: Machine::this(),
            scenario: self.scenario.clone(),
            cost_profile: self.costs.id(),
            from: seeds.start,
            seeds: 0,
            real_tls_seeds: 0,
            handshakes: 0,
            faults: 0,
            cancels: 0,
            failures: Vec::new(),
            partial: false,
            seeds_per_s: 0.0,
            laws: Vec::new(),
        };
        let mut failed = 0;
        let all = seeds.end.saturating_sub(seeds.start);
        for seed in seeds {
            if self.progress.is_interrupted() {
                report.partial = true;
                break;
            }
            let line = self.line(seed)?;
            tell(&line)
                .map_err(|source| RunError::System { row: format!("seed {seed}"), source })?;
            report.take(&line);
            #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
            self.progress.at(report.seeds, report.seeds as f64 / all as f64);
            failed += usize::from(line.is_bad());
            if failed >= enough {
                break;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
        let seeds = report.seeds as f64;
        report.seeds_per_s = seeds / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(report)
    }

    fn line(&mut self, seed: u64) -> Result<SeedLine, SwarmError> {
        let plan = shrink::left_of(SeedPlan::of(seed), &self.remains);
        let SeedOutcome { evidence, trace, laws } = self.seed(&plan)?;
        let given_up: u64 = evidence.workers.iter().map(|worker| worker.given_up).sum();
        Ok(SeedLine {
            handshakes: plan.visits.len() as u64,
            faults: evidence.cards(|card| card.faults),
            cancels: evidence.load.hung_up + given_up,
            trace_sha256: trace.hex(),
            ..SeedLine::new(seed, plan.real_tls, laws)
        })
    }

    /// Makes the plan of a seed that broke a law as small as it gets while that law still breaks.
    ///
    /// # Errors
    /// What kept the seed from being run.
    pub fn shrink(&mut self, failure: &Failure) -> Result<Shrunk, SwarmError> {
        let whole = SeedPlan::of(failure.seed);
        let (law, from) = (failure.law.clone(), self.remains.clone());
        let fails = |remains: &Remains| -> Result<bool, SwarmError> {
            let outcome = self.seed(&shrink::left_of(whole.clone(), remains))?;
            Ok(outcome.laws.iter().any(|broken| !broken.held && broken.law == law))
        };
        let remains = shrink::shrink(&whole, from, fails)?;
        Ok(Shrunk { failure: failure.clone(), left: shrink::left_of(whole, &remains), remains })
    }

    fn seed(&mut self, plan: &SeedPlan) -> Result<SeedOutcome, SwarmError> {
        let (evidence, trace) = self.once(plan)?;
        let (_, again) = self.once(plan)?;
        let mut laws = Laws::default();
        laws.check(&evidence);
        laws.l9_repeats("swarm", trace, again);
        Ok(SeedOutcome { evidence, trace, laws: laws.reports() })
    }

    fn once(&mut self, plan: &SeedPlan) -> Result<(RowEvidence, TraceSummary), SwarmError> {
        let fibers = if plan.few_jobs { &self.few_fibers } else { &self.fibers };
        self.row.mode = plan.mode;
        self.row.workers = plan.workers;
        stepped::run_seed(plan, &self.row, &self.pki, &self.costs, fibers)
    }
}

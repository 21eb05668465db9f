//! Running seeds.

use std::{collections::BTreeMap, ops::Range, time::Instant};

use super::{
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

/// Seeds that fail at most, unless told otherwise.
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
    /// After so many seeds that failed it is known.
    enough: usize,
}

/// What came of one seed.
#[derive(Debug)]
struct SeedOutcome {
    evidence: RowEvidence,
    laws: Vec<LawReport>,
}

impl Swarm {
    /// A swarm as a scenario has it.
    ///
    /// # Errors
    /// When there are no keys for real TLS, or no memory for stacks.
    pub fn new(scenario: &Scenario) -> Result<Self, SwarmError> {
        Ok(Self {
            scenario: scenario.name.clone(),
            row: scenario.plan().swap_remove(0),
            remains: scenario.swarm.clone(),
            costs: CostProfile::reference(),
            fibers: Fibers::new(WORKERS, None),
            few_fibers: Fibers::new(WORKERS, Some(FEW_JOBS)),
            pki: TestPki::generate(scenario.load.key)?,
            progress: Progress::silent(),
            enough: ENOUGH,
        })
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

    /// Runs these seeds, each of them twice.
    ///
    /// # Errors
    /// What kept a seed from being run; broken laws are in the report instead.
    pub fn run(&mut self, seeds: Range<u64>) -> Result<SwarmReport, SwarmError> {
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
        let mut laws: BTreeMap<String, LawReport> = BTreeMap::new();
        let mut failed = 0;
        let all = seeds.end.saturating_sub(seeds.start);
        for seed in seeds {
            if self.progress.is_interrupted() {
                report.partial = true;
                break;
            }
            let plan = shrink::left_of(SeedPlan::of(seed), &self.remains);
            let outcome = self.seed(&plan)?;
            report.seeds += 1;
            #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
            self.progress.at(report.seeds, report.seeds as f64 / all as f64);
            report.real_tls_seeds += u64::from(plan.real_tls);
            report.handshakes += plan.visits.len() as u64;
            report.faults += outcome.evidence.cards(|card| card.faults);
            let given_up: u64 = outcome.evidence.workers.iter().map(|worker| worker.given_up).sum();
            report.cancels += outcome.evidence.load.hung_up + given_up;
            failed += usize::from(outcome.laws.iter().any(|law| !law.held));
            for law in outcome.laws {
                if let Some(detail) = &law.detail {
                    report.failures.push(Failure {
                        seed,
                        law: law.law.clone(),
                        detail: detail.clone(),
                    });
                }
                let whole = laws.entry(law.law.clone()).or_insert_with(|| LawReport {
                    checked: 0,
                    held: true,
                    detail: None,
                    ..law.clone()
                });
                whole.checked += law.checked;
                whole.held &= law.held;
            }
            if failed >= self.enough {
                break;
            }
        }
        report.laws = laws.into_values().collect();
        report.laws.sort_by_key(|law| law.law[1..].parse::<u8>().unwrap_or(u8::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a number of seeds is far below 2^52")]
        let seeds = report.seeds as f64;
        report.seeds_per_s = seeds / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(report)
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
        Ok(SeedOutcome { evidence, laws: laws.reports() })
    }

    fn once(&mut self, plan: &SeedPlan) -> Result<(RowEvidence, TraceSummary), SwarmError> {
        let fibers = if plan.few_jobs { &self.few_fibers } else { &self.fibers };
        self.row.mode = plan.mode;
        self.row.workers = plan.workers;
        stepped::run_seed(plan, &self.row, &self.pki, &self.costs, fibers)
    }
}

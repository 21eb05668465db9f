//! Running a soak, round after round.

use std::io;

use lab_report::Progress;

use super::{
    footprint::Footprint,
    plan::{ROUND, plan},
    report::{SCHEMA, SLACK_KIB, SoakReport},
};
use crate::{
    cpu::this_machine,
    error::RunError,
    evidence::{Laws, RowEvidence},
    load::raise_file_limit,
    run::RowRunner,
    scenario::KeyType,
};

/// A soak that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    #[error(transparent)]
    Round(#[from] RunError),
    #[error("cannot count what the process holds: {0}")]
    Footprint(#[source] io::Error),
}

/// A fifth of the rounds, but no more than this, are run beforehand and not counted: until each size of everything has
/// been needed once, memory grows.
const WARM_UP: u64 = 16;

/// Runs rounds until `handshakes` have been begun, after a warm-up.
///
/// # Errors
/// Why a round could not be run. What is left over is in the report instead.
pub fn run(seed: u64, handshakes: u64, progress: &Progress) -> Result<SoakReport, SoakError> {
    // Both ends of a connection and perhaps its session's own descriptor.
    raise_file_limit(128, 3).map_err(RunError::from)?;
    let rows = RowRunner::new(KeyType::P256)?;
    let rounds = handshakes.div_ceil(ROUND);
    let warm_up = rounds.div_ceil(5).min(WARM_UP);
    let mut seeds = seed..;
    // The progress of a single round says nothing about the whole soak.
    let quiet = progress.quiet();
    progress.begin("soak", &format!("{rounds} rounds after {warm_up} to warm up"));
    for seed in seeds.by_ref().take(warm_up as usize) {
        if progress.is_interrupted() {
            break;
        }
        let _warm = rows.run(&plan(seed), &quiet)?;
    }
    let before = Footprint::now().map_err(SoakError::Footprint)?;
    let mut report = SoakReport {
        schema: SCHEMA.to_owned(),
        machine: this_machine(),
        seed,
        before,
        after: before,
        slack_kib: SLACK_KIB,
        ..SoakReport::default()
    };
    let mut laws = Laws::default();
    #[expect(clippy::cast_precision_loss, reason = "a number of rounds is far below 2^52")]
    while report.begun < handshakes {
        let plan = plan(seeds.next().unwrap_or_default());
        let evidence = rows.run(&plan, &quiet)?;
        if progress.is_interrupted() {
            report.partial = true;
            break;
        }
        report.take(&evidence);
        progress.at(report.begun, report.rounds as f64 / rounds as f64);
        laws.check(&evidence);
    }
    report.after = Footprint::with_at_most(before.threads).map_err(SoakError::Footprint)?;
    report.laws = laws.reports();
    progress.end("soak", &format!("{} handshakes", report.begun));
    progress.finish();
    Ok(report)
}

impl SoakReport {
    fn take(&mut self, round: &RowEvidence) {
        let load = &round.load;
        self.rounds += 1;
        self.completed += load.handshakes;
        self.failed += load.failed;
        self.hung_up += load.hung_up;
        self.begun += load.handshakes + load.failed + load.hung_up + load.unfinished;
        self.faults += round.cards(|card| card.faults);
        self.deadlines += round.engines(|engine| engine.deadlines);
        self.fallbacks += round.engines(|engine| engine.fallbacks);
        self.ledger.follow(&round.ledger);
    }
}

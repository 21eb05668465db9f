//! Running a scenario: each row on a fresh server and device, then the ledger and the laws.

mod device;
mod held;
mod row;
mod watch;

use lab_report::{Knee, Ledger, Progress, Results, SCHEMA, Ticks, doubts};

use crate::{
    certs::TestPki,
    cpu::this_machine,
    error::RunError,
    evidence::{Laws, RowEvidence, TraceSummary, unmet_expectations},
    load::raise_file_limit,
    scenario::{ClockMode, DeviceProfile, Handshakes, KeyType, RowPlan, Scenario, Wake},
    stepped::{self, CostProfile, Recording},
};

pub use device::Device;

/// Runs rows in real time, all with the same certificate.
pub(crate) struct RowRunner {
    fleet: Vec<TestPki>,
}

impl RowRunner {
    pub(crate) fn new(key: KeyType) -> Result<Self, RunError> {
        Ok(Self { fleet: TestPki::fleet(&[key])? })
    }

    pub(crate) fn run(&self, plan: &RowPlan, progress: &Progress) -> Result<RowEvidence, RunError> {
        Ok(row::run(plan, &self.fleet, progress)?.0)
    }
}

/// Runs a scenario to its end; virtual time charges the serving thread from the reference profile.
///
/// # Errors
/// What kept it from running; broken laws and failed handshakes are in the results instead.
pub fn run(scenario: &Scenario, progress: &Progress) -> Result<Results, RunError> {
    run_charging(scenario, &CostProfile::reference(), progress)
}

/// As [`run`]; virtual time charges the serving thread from `costs`.
///
/// # Errors
/// As [`run`].
pub fn run_charging(
    scenario: &Scenario,
    costs: &CostProfile,
    progress: &Progress,
) -> Result<Results, RunError> {
    let plans = scenario.plan();
    let costs = match scenario.clock {
        ClockMode::Real => {
            let most = plans.iter().map(|plan| plan.connections).max().unwrap_or_default();
            // Both ends of a connection, and perhaps its session's own descriptor.
            if scenario.load.handshakes != Handshakes::Held {
                raise_file_limit(most, if scenario.server.wake == Wake::Fd { 3 } else { 2 })?;
            }
            None
        }
        ClockMode::Virtual => Some(costs),
    };
    let keys = plans.first().map(|plan| plan.mix.keys()).unwrap_or_default();
    let fleet = TestPki::fleet(&keys)?;

    // Virtual time does not notice who else uses the machine.
    let at_first = if costs.is_none() { Ticks::now() } else { None };
    let mut rows = Vec::with_capacity(plans.len());
    let mut ledger = Ledger::default();
    let mut laws = Laws::default();
    let mut traces = Vec::new();
    let (mut unmet, mut shortened) = (Vec::new(), Vec::new());
    let (mut timelines, mut handshake_traces) = (Vec::new(), Vec::new());
    for plan in &plans {
        if progress.is_interrupted() {
            break;
        }
        progress.begin(&plan.name, &describe(plan));
        let (evidence, timeline) = match costs {
            None if plan.handshakes == Handshakes::Held => held::run(plan, &fleet, progress)?,
            None => row::run(plan, &fleet, progress)?,
            Some(costs) => {
                let run = |recording| {
                    stepped::run_row(plan, &fleet, costs, row::UNPROMPTED_EVERY, recording)
                };
                let ran = run(Recording::On(progress))?;
                let again = run(Recording::Off(progress))?;
                // Law L9: twice the same, unless one was broken off.
                if !progress.is_interrupted() {
                    laws.l9_repeats(&plan.name, ran.trace, again.trace);
                }
                traces.push(ran.trace);
                handshake_traces.push(ran.handshake_trace);
                (ran.evidence, ran.timeline)
            }
        };
        timelines.push(timeline);
        for (failure, count) in &evidence.load.failures {
            tracing::warn!(row = plan.name, count, failure, "clients.failed");
        }
        let report = evidence.report();
        progress.end(
            &plan.name,
            &format!("{} handshakes, {:.0} a second", report.handshakes, report.handshakes_per_s),
        );
        rows.push(report);
        shortened.extend(evidence.shortened.clone());
        // Of a row that was broken off, what is left over says nothing.
        if !progress.is_interrupted() {
            unmet.extend(unmet_expectations(&evidence));
            ledger.follow(&evidence.ledger);
            laws.check(&evidence);
        }
    }
    progress.finish();
    let whole = (!traces.is_empty()).then(|| TraceSummary::of_all(&traces));
    let mut results = Results {
        schema: SCHEMA.to_owned(),
        machine: this_machine(),
        scenario: scenario.name.clone(),
        seed: scenario.seed,
        device_profile: plans.first().and_then(device_profile),
        cost_profile: costs.map(CostProfile::id),
        clock: scenario.clock.to_string(),
        knee: Knee::of(&rows),
        rows,
        ledger,
        laws: laws.reports(),
        unmet,
        timelines,
        handshake_traces,
        partial: progress.is_interrupted(),
        trace_events: whole.map(|whole| whole.events),
        trace_sha256: whole.map(|whole| whole.hex()),
        doubts: Vec::new(),
    };
    let taken = at_first.and_then(|at_first| Ticks::now()?.taken_since(at_first));
    results.doubts = doubts(&results, taken);
    results.doubts.extend(shortened);
    Ok(results)
}

/// The device profile of a row; `None` without a device, and where the scenario gives the service times itself.
fn device_profile(plan: &RowPlan) -> Option<String> {
    let profile = plan.device().profile;
    (profile != DeviceProfile::Custom).then(|| profile.to_string())
}

/// Runs one row once in virtual time and records nothing over time, for measuring how fast that is.
///
/// # Errors
/// As [`run`].
pub fn run_row_once(
    plan: &RowPlan,
    fleet: &[TestPki],
    costs: &CostProfile,
) -> Result<RowEvidence, RunError> {
    let progress = Progress::silent();
    let recording = Recording::Off(&progress);
    Ok(stepped::run_row(plan, fleet, costs, row::UNPROMPTED_EVERY, recording)?.evidence)
}

fn describe(plan: &RowPlan) -> String {
    if plan.handshakes == Handshakes::Held {
        let RowPlan { connections, parking, completed, .. } = plan;
        return format!("{connections} handshakes parked by {parking}, {completed} completed");
    }
    let device = if plan.mode.uses_device() {
        let several = match plan.devices.len() {
            1 => String::new(),
            devices => format!(", {devices} devices"),
        };
        let device = plan.device();
        match device.profile {
            DeviceProfile::Custom => format!("{several}, a key of {} ms", device.latency_ms),
            _ => format!("{several}, a key in the profile {}", device.profile),
        }
    } else {
        String::new()
    };
    let kinds = match plan.mix.kinds().len() {
        1 => String::new(),
        several => format!(" of {several} kinds"),
    };
    let end = match plan.rounds {
        Some(rounds) => format!("{rounds} each"),
        None => format!("for {} s", plan.time_box.as_secs_f64()),
    };
    format!("{} connections{kinds} {end}{device}", plan.connections)
}

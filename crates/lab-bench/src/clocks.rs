//! The two clocks side by side: the same rows in real and in virtual time, which charges what this machine was measured
//! to cost.

use handshake_lab::{
    calibrate::calibrate,
    run,
    scenario::{ClockMode, Scenario},
    stepped::CostProfile,
};
use lab_report::{Progress, RowReport};

use crate::{
    measure::Measured,
    report::{Bench, Better},
};

/// Runs of each row under each clock; their means are compared.
const RUNS: u64 = 5;

/// Handshakes of each kind that the machine is measured by.
const HANDSHAKES: usize = 1_000;

/// A device that is the narrow place, as a slow key is: the clients' CPU time, which virtual time leaves out, is small
/// beside it. In the second row the event loop waits for it. Bounded by rounds, not by time: handshakes under way at the end
/// of the time would be given up under one clock and finished under the other.
const SETTINGS: [&str; 9] = [
    "load.connections=32",
    "load.seconds=600",
    "load.hang_up_every=0",
    "device.service=exponential",
    "device.latency_ms=20",
    "device.units=8",
    "device.ring=64",
    "row.async.rounds=60",
    "row.blocking.rounds=10",
];

/// What is compared: its name, unit, which way is good, and where it stands.
type Figure = (&'static str, &'static str, Better, fn(&RowReport) -> f64);

const FIGURES: [Figure; 4] = [
    ("handshakes", "1/s", Better::Higher, |row| row.handshakes_per_s),
    ("p50", "ms", Better::Lower, |row| row.latency_ms.p50),
    ("p99", "ms", Better::Lower, |row| row.latency_ms.p99),
    ("p999", "ms", Better::Lower, |row| row.latency_ms.p999),
];

/// `clocks.ROW.FIGURE`: ours is virtual time, the rival is real time.
pub(crate) fn clocks() -> Vec<Bench> {
    let costs = match calibrate("this-machine", HANDSHAKES) {
        Ok(costs) => costs,
        Err(why) => return vec![Bench::missing("clocks", "1/s", why.to_string())],
    };
    let (mut real, mut stepped) = (Vec::new(), Vec::new());
    for seed in 1..=RUNS {
        real.push(rows(ClockMode::Real, seed, &costs));
        stepped.push(rows(ClockMode::Virtual, seed, &costs));
    }
    let mut benches = Vec::new();
    for (number, row) in real[0].iter().enumerate() {
        for (name, unit, better, of) in FIGURES {
            let figures = |runs: &[Vec<RowReport>]| {
                Measured::of(&runs.iter().map(|rows| of(&rows[number])).collect::<Vec<_>>())
            };
            let mean = |runs: &[Vec<RowReport>]| {
                runs.iter().map(|rows| of(&rows[number])).sum::<f64>() / runs.len() as f64
            };
            let (ours, theirs) = (mean(&stepped), mean(&real));
            let spread = figures(&real);
            let bench =
                Bench::nanoseconds(format!("clocks.{}.{name}", row.name), figures(&stepped));
            let bench = Bench { value: Some(ours), unit, better, ..bench };
            benches.push(bench.with_rival("real time", theirs).with_note(format!(
                "means of {RUNS}; virtual {:+.1} %; real {:.1} to {:.1}",
                (ours / theirs - 1.0) * 100.0,
                spread.min,
                spread.max
            )));
        }
    }
    benches
}

/// The rows of one run.
fn rows(clock: ClockMode, seed: u64, costs: &CostProfile) -> Vec<RowReport> {
    let clock = format!("clock={clock}");
    let seed = format!("seed={seed}");
    let settings = SETTINGS.into_iter().chain([clock.as_str(), seed.as_str()]);
    let settings: Vec<String> = settings.map(str::to_owned).collect();
    let mut scenario = Scenario::find("offload-modes", &settings).expect("a built-in scenario");
    scenario.rows.retain(|row| ["async", "blocking"].contains(&row.name.as_str()));
    run::run_charging(&scenario, costs, &Progress::silent()).expect("it runs").rows
}

//! The document of `--json`: the schema of `cargo xtask bench --json`.

use lab_report::BenchMachine;
use serde::Serialize;

use super::matrix::QUOTED;
use super::results::{Metric, Results};
use super::standing::{best, figure};

/// Servers that have rows, by the names in the document.
const SERVERS: [&str; 12] = [
    "rustls-blocking",
    "threads",
    "pool-256",
    "spawn-blocking",
    "block-in-place",
    "s2n-tls",
    "boring",
    "openssl-async",
    "layby-mio",
    "layby-tokio",
    "layby-replay",
    "free-sign",
];

/// What there is a row of for each of them.
const METRICS: [Metric; 5] =
    [Metric::Rate, Metric::Cpu, Metric::Memory, Metric::P99, Metric::Heartbeat];

/// All rows.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    machine: &'a BenchMachine,
    benches: Vec<Bench>,
}

/// One row: `value` is Layby's best way on mio.
#[derive(Debug, Serialize)]
struct Bench {
    name: String,
    /// `None` if it could not be measured; `note` says why.
    value: Option<f64>,
    unit: &'static str,
    better: &'static str,
    rival: String,
    rival_value: Option<f64>,
    /// Above 1: ours is ahead.
    ratio: Option<f64>,
    runs: usize,
    min: Option<f64>,
    max: Option<f64>,
    note: Option<String>,
}

impl<'a> Document<'a> {
    pub(crate) fn of(results: &'a Results) -> Self {
        let rows = SERVERS
            .into_iter()
            .flat_map(|server| METRICS.map(|metric| bench(results, server, metric)));
        Self { machine: &results.machine, benches: rows.collect() }
    }
}

fn bench(results: &Results, server: &str, metric: Metric) -> Bench {
    let ours = best(results, metric);
    let value = ours.and_then(|row| row.figure(metric));
    let row = results.row(server, QUOTED);
    let theirs = row.and_then(|row| row.figure(metric));
    let comparable = row.is_some_and(|row| row.is_comparable(metric));
    let mut note = Vec::new();
    if let (Some(ours), Some(_)) = (ours, value) {
        note.push(format!("ours is {}", ours.server));
    }
    if let Some(theirs) = theirs {
        let (unit, size) = metric.shown();
        note.push(format!(
            "the rival's {:.2} to {:.2} {unit}",
            theirs.min / size,
            theirs.max / size
        ));
    }
    let times = results.over_own_free(server, QUOTED).filter(|_| metric == Metric::Cpu);
    note.extend(times.map(|times| format!("{times:.2} times its own free signature")));
    note.extend(missing(results, server, metric));
    Bench {
        name: format!("rival.{server}.{}", metric.name()),
        value: value.map(|spread| spread.median),
        unit: metric.unit(),
        better: if metric.higher_is_better() { "higher" } else { "lower" },
        rival: results.server(server).map_or(server, |known| &known.title).to_owned(),
        rival_value: theirs.map(|spread| spread.median),
        ratio: value
            .zip(theirs)
            .filter(|_| comparable)
            .map(|(ours, theirs)| metric.ratio(ours.median, theirs.median)),
        runs: value.map_or(0, |spread| spread.rounds),
        min: value.map(|spread| spread.min),
        max: value.map(|spread| spread.max),
        note: (!note.is_empty()).then(|| note.join("; ")),
    }
}

/// Why the rival has no figure.
fn missing(results: &Results, server: &str, metric: Metric) -> Option<String> {
    let Some(row) = results.row(server, QUOTED) else {
        let skipped = results.skipped.iter().find(|skipped| skipped.starts_with(server));
        return Some(skipped.map_or_else(|| "not measured in this run".to_owned(), Clone::clone));
    };
    if figure(row, metric).is_some() {
        return None;
    }
    let problem = if metric == Metric::Memory { &row.memory_problem } else { &row.problem };
    Some(match problem.as_ref().or(row.problem.as_ref()) {
        Some(problem) => format!("failed: {problem}"),
        None => match metric {
            Metric::Memory => "it waits for no key",
            Metric::P99 => "time was up before all in flight had been replaced",
            Metric::Heartbeat => "no beat within the time",
            Metric::Rate | Metric::Cpu | Metric::CpuWithAnswers => {
                "no handshake ended within the time"
            }
        }
        .to_owned(),
    })
}

//! One sentence of verdict, the exit status that goes with it, and the next command to try.

use std::cmp::Ordering;

use super::results::{LawReport, Results, RowReport};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// No law was broken and no handshake failed.
    pub good: bool,
    /// The verdict in one sentence.
    pub sentence: String,
    /// A command to try next.
    pub next: String,
}

/// Judges a run.
#[must_use]
pub fn verdict(results: &Results) -> Verdict {
    let broken: Vec<&LawReport> = results.laws.iter().filter(|law| !law.held).collect();
    if !broken.is_empty() {
        let told: Vec<String> = broken
            .iter()
            .map(|law| match &law.detail {
                Some(detail) => format!("{} ({detail})", law.law),
                None => law.law.clone(),
            })
            .collect();
        let noun = if broken.len() == 1 { "law" } else { "laws" };
        return bad(results, format!("Broken {noun}: {}.", told.join("; ")));
    }
    if let Some(row) = results.rows.iter().find(|row| row.failed > row.failures_expected) {
        let sentence = format!(
            "{} of {} handshakes failed in row {:?}, and none should.",
            row.failed,
            row.failed + row.handshakes,
            row.name
        );
        return bad(results, sentence);
    }
    if let Some(unmet) = results.unmet.first() {
        return bad(results, format!("Not as the scenario has it: {unmet}."));
    }
    if results.partial {
        return broken_off(results);
    }
    Verdict {
        good: true,
        sentence: praise(results),
        next: match results.scenario.as_str() {
            "offload-modes" => "cargo xtask sim offload-modes --set load.key=rsa2048".to_owned(),
            "mixed-fleet" => "cargo xtask sim mixed-fleet --set mix.resumed=70".to_owned(),
            "device-standby" => {
                "cargo xtask sim device-standby --set device.hsm.latency_ms=30".to_owned()
            }
            _ => "cargo xtask sim swarm".to_owned(),
        },
    }
}

fn bad(results: &Results, sentence: String) -> Verdict {
    let next = format!("cargo xtask sim {} --seed {} --json", results.scenario, results.seed);
    Verdict { good: false, sentence, next }
}

fn broken_off(results: &Results) -> Verdict {
    let handshakes: u64 = results.rows.iter().map(|row| row.handshakes).sum();
    let sentence = match results.rows.last() {
        Some(last) => format!(
            "Broken off in row {:?}, after {handshakes} handshakes; nothing was wrong until then.",
            last.name
        ),
        None => "Broken off before the first handshake.".to_owned(),
    };
    let next = format!("cargo xtask sim {} --seed {}", results.scenario, results.seed);
    Verdict { good: true, sentence, next }
}

/// What a good run shows: the gain of parking over waiting, when both were measured.
fn praise(results: &Results) -> String {
    let row = |mode: &str| results.rows.iter().find(|row| row.name == mode);
    let laws = format!("all {} laws checked held", results.laws.len());
    if let Some(found) = cliff(&results.rows).or_else(|| lateness(&results.rows)) {
        return format!("{found}; none failed and {laws}.");
    }
    match (row("blocking"), row("async")) {
        (Some(blocking), Some(parked)) if blocking.handshakes_per_s > 0.0 => format!(
            "Parking served {:.0} handshakes a second where waiting served {:.0}, {:.0} times as many with the \
             same key and as many threads{}; none failed and {laws}.",
            parked.handshakes_per_s,
            blocking.handshakes_per_s,
            parked.handshakes_per_s / blocking.handshakes_per_s,
            row("free-sign").map_or_else(String::new, |free| over_free(parked, free)),
        ),
        _ => {
            let handshakes: u64 = results.rows.iter().map(|row| row.handshakes).sum();
            let failed: u64 = results.rows.iter().map(|row| row.failed).sum();
            let as_expected = match failed {
                0 => "none failed".to_owned(),
                _ => format!("{failed} failed as they should"),
            };
            format!("{handshakes} handshakes, {as_expected}, and {laws}.")
        }
    }
}

/// What a batch that does not fill costs, when both have been measured.
fn cliff(rows: &[RowReport]) -> Option<String> {
    let share = |row: &RowReport| Some(row.mean_batch? / f64::from(row.batch));
    let batching = || rows.iter().filter(|row| row.batch > 1 && row.handshakes > 0);
    let by_share =
        |a: &&RowReport, b: &&RowReport| share(a).partial_cmp(&share(b)).unwrap_or(Ordering::Equal);
    let (full, slow) = (
        batching().max_by(by_share)?,
        batching().max_by(|a, b| a.latency_ms.p50.total_cmp(&b.latency_ms.p50))?,
    );
    let times = slow.latency_ms.p50 / full.latency_ms.p50;
    (share(slow)? < share(full)? && times > CLIFF).then(|| {
        format!(
            "A batch that does not fill waits for its timeout: with {:.1} of {} the median handshake took {:.1} ms, \
             {times:.1} times that with {:.1} of {}",
            slow.mean_batch.unwrap_or_default(),
            slow.batch,
            slow.latency_ms.p50,
            full.mean_batch.unwrap_or_default(),
            full.batch,
        )
    })
}

/// How late the other task of the event loop was, when that has been measured with and without parking.
fn lateness(rows: &[RowReport]) -> Option<String> {
    let late = |name: &str| rows.iter().find(|row| row.name == name)?.beat_late_ms;
    let (blocking, parked) = (late("blocking")?, late("async")?);
    Some(format!(
        "Another task of the thread was {:.2} ms late (p99) beside handshakes that park and {:.2} ms beside those that \
         wait",
        parked.p99, blocking.p99
    ))
}

/// Less is no cliff.
const CLIFF: f64 = 1.2;

fn over_free(parked: &RowReport, free: &RowReport) -> String {
    if free.server_cpu_us_per_handshake <= 0.0 {
        return String::new();
    }
    let ratio = parked.server_cpu_us_per_handshake / free.server_cpu_us_per_handshake;
    format!(", at {ratio:.2} times the serving CPU of a signature that costs nothing")
}

//! The expectations of a scenario, checked against the counters of a row.

use super::{row::RowEvidence, theory};

/// The expectations that a row did not meet, one line each.
pub(crate) fn unmet_expectations(row: &RowEvidence) -> Vec<String> {
    if row.devices.is_empty() {
        return Vec::new();
    }
    let expect = &row.plan.expect;
    let failed = row.load.failed;
    let least = [
        ("failed handshakes", expect.least_failed, failed),
        ("faults", expect.least_faults, row.cards(|card| card.faults)),
        ("fallbacks", expect.least_fallbacks, row.engines(|engine| engine.fallbacks)),
        ("late answers", expect.least_late, row.engines(|engine| engine.late)),
        ("full rings", expect.least_ring_full, row.engines(|engine| engine.ring_full)),
        ("cancelled operations", expect.least_cancelled, row.engines(|engine| engine.cancelled)),
        ("invalid results", expect.least_invalid, row.engines(|engine| engine.check_failures)),
        ("openings of the breaker", expect.least_trips, row.engines(|engine| engine.trips)),
    ];
    let mut unmet: Vec<String> = least
        .into_iter()
        .filter(|(_, least, seen)| seen < least)
        .map(|(what, least, seen)| {
            format!("row {:?}: {seen} {what}, expected at least {least}", row.plan.name)
        })
        .collect();
    if expect.wait_within_percent > 0
        && let (Some(wait), Some(theory)) = (row.queue_wait(), theory::queue_wait(&row.plan))
    {
        let off = (wait.as_secs_f64() / theory.as_secs_f64() - 1.0) * 100.0;
        // The percentage is small, so the conversion is exact.
        if off.abs() > expect.wait_within_percent as f64 {
            unmet.push(format!(
                "row {:?}: a mean wait {off:+.1} % off what theory says, expected within {} %",
                row.plan.name, expect.wait_within_percent
            ));
        }
    }
    if failed > expect.most_failed {
        let most = expect.most_failed;
        unmet.push(format!(
            "row {:?}: {failed} failed handshakes, expected at most {most}",
            row.plan.name
        ));
    }
    unmet
}

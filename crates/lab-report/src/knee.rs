//! Where latency leaves the ground: the knee of rows with rising load, and how far waits are from theory.

use std::fmt::Write as _;

use super::results::{Results, RowReport};

/// The p99 at the knee is at most so many times that of the lightest load.
const TIMES: f64 = 1.5;

/// The knee of a run with three or more rows of rising load, and each wait beside its theory; lines for people, empty
/// if the run has neither.
#[must_use]
pub fn knee(results: &Results) -> String {
    let mut out = String::new();
    for row in &results.rows {
        // A wait below that is the time that a request takes to the device.
        if let (Some(wait), Some(theory)) =
            (row.queue_wait_ms, row.queue_wait_theory_ms.filter(|theory| *theory >= 0.01))
        {
            let off = (wait / theory - 1.0) * 100.0;
            let _ = writeln!(
                out,
                "wait:    row {} waited {wait:.4} ms for the device on average, theory says {theory:.4} ({off:+.1} %)",
                row.mode
            );
        }
    }
    let busy: Vec<&RowReport> = results.rows.iter().filter(|row| row.ops > 0).collect();
    let each = busy.iter().map(|row| row.polls as f64 / row.ops as f64);
    let (least, most) = (each.clone().fold(f64::MAX, f64::min), each.fold(0.0, f64::max));
    // Rows that are alike in this need no line.
    if most > 3.0 * least {
        for row in &busy {
            let _ = writeln!(
                out,
                "polls:   row {} polled its device {} times and was interrupted {} times for {} operations",
                row.mode, row.polls, row.interrupts, row.ops
            );
        }
    }
    for row in &results.rows {
        if let Some(late) = row.beat_late_ms {
            let _ = writeln!(
                out,
                "beat:    row {} had its other task late by {:.3} ms (p50), {:.3} (p99), {:.3} (most)",
                row.mode, late.p50, late.p99, late.max
            );
        }
        if row.not_offloaded > 0 {
            let _ = writeln!(
                out,
                "offload: row {} signed {} of {} by itself",
                row.mode, row.not_offloaded, row.ops
            );
        }
        if let Some(mean) = row.mean_batch {
            let _ = writeln!(
                out,
                "batch:   row {} had {mean:.1} of {} in a batch on average",
                row.mode, row.batch
            );
        }
    }
    for row in results.rows.iter().filter(|row| row.turned_away > 0) {
        let _ = writeln!(out, "away:    row {} turned {} clients away", row.mode, row.turned_away);
    }
    if let Some(sentence) = sentence(&results.rows) {
        let _ = writeln!(out, "knee:    {sentence}");
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn sentence(rows: &[RowReport]) -> Option<String> {
    let loads: Vec<(f64, &RowReport)> =
        rows.iter().filter_map(|row| Some((row.offered_per_s?, row))).collect();
    let rising = loads.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if loads.len() < 3 || !rising {
        return None;
    }
    let lightest = loads[0].1.latency_ms.p99;
    let bears = |row: &RowReport| {
        row.latency_ms.p99 <= TIMES * lightest && row.turned_away == 0 && row.failed == 0
    };
    let borne = loads.iter().take_while(|(_, row)| bears(row)).count();
    let (load, row) = loads[borne.checked_sub(1)?];
    Some(match loads.get(borne) {
        Some((next, beyond)) => format!(
            "up to {load:.0} a second p99 stays within {TIMES} times that of the lightest load ({:.1} ms); at {next:.0} it is {:.1} ms",
            row.latency_ms.p99, beyond.latency_ms.p99
        ),
        None => format!("none up to {load:.0} a second (p99 {:.1} ms)", row.latency_ms.p99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LatencyMs;

    fn row(load: f64, p99: f64) -> RowReport {
        RowReport {
            offered_per_s: Some(load),
            latency_ms: LatencyMs { p99, ..LatencyMs::default() },
            ..RowReport::default()
        }
    }

    #[test]
    fn the_knee_is_the_last_load_before_p99_leaves_the_ground() {
        let rows = [row(100.0, 10.0), row(200.0, 14.0), row(300.0, 21.0), row(400.0, 12.0)];
        let said = sentence(&rows).expect("a knee");
        assert!(said.starts_with("up to 200 a second") && said.contains("at 300 it is 21.0 ms"));
    }

    #[test]
    fn loads_that_do_not_rise_have_none() {
        assert_eq!(sentence(&[row(100.0, 1.0), row(100.0, 9.0), row(50.0, 9.0)]), None);
        assert_eq!(sentence(&[row(100.0, 1.0), row(200.0, 9.0)]), None);
        assert!(
            sentence(&[row(1.0, 1.0), row(2.0, 1.0), row(3.0, 1.0)])
                .expect("said")
                .starts_with("none up to 3")
        );
    }
}

//! The series of a run over time add up to the totals of its report.

use lab_report::recording::RowTimeline;
use support::run;

mod support;

/// How long each stretch is: all but the last are alike.
fn stretches(row: &RowTimeline, elapsed: f64) -> Vec<f64> {
    let width = 2.0 * row.at_s[0];
    let mut seconds = vec![width; row.at_s.len()];
    if let Some(last) = seconds.last_mut() {
        *last = elapsed - width * (row.at_s.len() - 1) as f64;
    }
    seconds
}

#[test]
fn series_add_up_to_the_row() {
    for name in ["ring-full", "device-reset", "peer-hangup", "deadline-fallback"] {
        let results = run(name, &["load.handshakes=profiled"]);
        assert_eq!(results.timelines.len(), results.rows.len(), "{name}");
        for (row, whole) in results.timelines.iter().zip(&results.rows) {
            let told = format!("{name}: {row:?}");
            let seconds = stretches(row, whole.elapsed_s);
            assert!(row.at_s.len() > 20 && row.at_s.len() <= 100, "{told}");
            let total: f64 = row.handshakes_per_s.iter().zip(&seconds).map(|(a, b)| a * b).sum();
            assert!((total - whole.handshakes as f64).abs() < 0.1, "{total} {told}");
            assert_eq!(row.failed.iter().sum::<u64>(), whole.failed, "{told}");
            assert_eq!(row.ring_full.iter().sum::<u64>(), whole.ring_full, "{told}");
            let wakes: f64 = row.wakes_per_s.iter().zip(&seconds).map(|(a, b)| a * b).sum();
            assert!((wakes - whole.wakes as f64).abs() < 0.1, "{wakes} {told}");
            let entries = row.ring_entries.expect("there is a device");
            assert!(row.ring_most.iter().all(|most| *most <= entries), "{told}");
            assert!(row.utilisation.iter().all(|share| (0.0..=1.0).contains(share)), "{told}");
        }
    }
}

#[test]
fn utilisation_over_time_is_that_of_the_row_in_the_mean() {
    // In the second, timers of the device go off seconds after the last handshake.
    for name in ["ring-full", "lost-completion"] {
        let results = run(name, &["load.handshakes=profiled", "load.rounds=50"]);
        let (row, whole) = (&results.timelines[0], &results.rows[0]);
        let seconds = stretches(row, whole.elapsed_s);
        let busy: f64 = row.utilisation.iter().zip(&seconds).map(|(share, s)| share * s).sum();
        let mean = busy / whole.elapsed_s;
        let told = whole.device_utilisation.expect("there is a device");
        assert!((mean - told).abs() < 0.05, "{name}: {mean} over time, {told} in the row");
    }
}

#[test]
fn recording_changes_nothing_and_is_the_same_every_time() {
    // Each row runs twice, recorded and not; law L9 compares the two.
    let results = run("device-reset", &["load.handshakes=profiled"]);
    assert!(results.laws.iter().any(|law| law.law == "L9" && law.held));
    let again = run("device-reset", &["load.handshakes=profiled"]);
    assert_eq!(results.timelines, again.timelines);
    assert_eq!(results.handshake_traces, again.handshake_traces);
}

//! What stands below the table of rows, on the terminal and on the page: the rows by kind of connection, by device, and
//! the numbers that only some of them have.

use crate::results::{Results, RowReport};

/// A table with something in it.
pub(super) struct Breakdown {
    pub(super) title: &'static str,
    pub(super) heads: Vec<&'static str>,
    pub(super) lines: Vec<Vec<String>>,
    /// The first column of numbers, which stand to the right.
    pub(super) numbers: usize,
}

pub(super) fn breakdowns(results: &Results) -> impl Iterator<Item = Breakdown> {
    let all = [kinds(results), devices(results), details(results)];
    all.into_iter().filter(|breakdown| !breakdown.lines.is_empty())
}

fn devices(results: &Results) -> Breakdown {
    let heads = ["row", "device", "ops", "busy", "wait ms", "ring full", "faults", "fallbacks"];
    let lines = results.rows.iter().flat_map(|row| {
        row.devices.iter().map(|device| {
            vec![
                row.name.clone(),
                device.name.clone(),
                device.ops.to_string(),
                format!("{:.0} %", device.utilisation * 100.0),
                format!("{:.2}", device.queue_wait_ms),
                device.ring_full.to_string(),
                device.faults.to_string(),
                device.fallbacks.to_string(),
            ]
        })
    });
    let (title, heads, lines) = ("Device by device", heads.to_vec(), lines.collect());
    Breakdown { title, heads, lines, numbers: 2 }
}

fn kinds(results: &Results) -> Breakdown {
    let heads = ["row", "kind", "handshakes", "share", "p50 ms", "p99 ms", "failed"];
    let lines = results.rows.iter().flat_map(|row| {
        row.kinds.iter().map(|kind| {
            #[expect(clippy::cast_precision_loss, reason = "shown to people")]
            let share = 100.0 * kind.handshakes as f64 / row.handshakes.max(1) as f64;
            vec![
                row.name.clone(),
                kind.name(),
                kind.handshakes.to_string(),
                format!("{share:.1} %"),
                format!("{:.1}", kind.latency_ms.p50),
                format!("{:.1}", kind.latency_ms.p99),
                kind.failed.to_string(),
            ]
        })
    });
    let (title, heads, lines) = ("Kind by kind", heads.to_vec(), lines.collect());
    Breakdown { title, heads, lines, numbers: 2 }
}

const KIB: f64 = 1024.0;

type Detail = (&'static str, fn(&RowReport) -> Option<String>);

/// Numbers that only some runs have.
const DETAILS: [Detail; 14] = [
    ("offered a second", |row| row.offered_per_s.map(|rate| format!("{rate:.0}"))),
    ("turned away", |row| counted(row.turned_away)),
    ("wait ms", |row| row.queue_wait_theory_ms.and(row.queue_wait_ms).map(|ms| format!("{ms:.4}"))),
    ("theory ms", |row| row.queue_wait_theory_ms.map(|ms| format!("{ms:.4}"))),
    ("off theory", |row| {
        // A shorter wait is the time that a request takes to the device.
        let theory = row.queue_wait_theory_ms.filter(|ms| *ms >= 0.01)?;
        Some(format!("{:+.1} %", (row.queue_wait_ms? / theory - 1.0) * 100.0))
    }),
    ("parked at most", |row| counted(row.parked_peak)),
    ("KiB each", |row| row.parked_bytes.map(|bytes| format!("{:.1}", bytes / KIB))),
    ("MiB parked", |row| {
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        row.parked_bytes.map(|bytes| format!("{:.1}", row.parked_peak as f64 * bytes / KIB / KIB))
    }),
    ("polls", |row| counted(row.polls)),
    ("interrupts", |row| counted(row.interrupts).filter(|_| row.polls > 0)),
    ("signed in software", |row| counted(row.not_offloaded)),
    ("in a batch", |row| Some(format!("{:.1} of {}", row.mean_batch?, row.batch))),
    ("other task late, p50 ms", |row| row.beat_late_ms.map(|late| format!("{:.3}", late.p50))),
    ("p99 ms", |row| row.beat_late_ms.map(|late| format!("{:.3}", late.p99))),
];

/// The columns of [`DETAILS`] in which any row has something; without lines if there is none.
fn details(results: &Results) -> Breakdown {
    // Rows that are alike in their polls need no column for them.
    let polls_differ = polls_differ(&results.rows);
    let used = |(head, cell): &&Detail| {
        (polls_differ || !["polls", "interrupts"].contains(head))
            && results.rows.iter().any(|row| cell(row).is_some())
    };
    let columns: Vec<&Detail> = DETAILS.iter().filter(used).collect();
    let rows = results.rows.iter().filter(|_| !columns.is_empty());
    let lines = rows.map(|row| {
        let cells = columns.iter().map(|(_, cell)| cell(row).unwrap_or_else(|| "-".to_owned()));
        std::iter::once(row.name.clone()).chain(cells).collect()
    });
    let heads = std::iter::once("row").chain(columns.iter().map(|(head, _)| *head)).collect();
    Breakdown { title: "What only some rows have", heads, lines: lines.collect(), numbers: 1 }
}

/// Whether one row polled its device more than three times as often for each operation as another.
#[expect(clippy::cast_precision_loss, reason = "a ratio shown to people")]
fn polls_differ(rows: &[RowReport]) -> bool {
    let busy = rows.iter().filter(|row| row.ops > 0);
    let each = busy.map(|row| row.polls as f64 / row.ops as f64);
    let (least, most) = (each.clone().fold(f64::MAX, f64::min), each.fold(0.0, f64::max));
    most > 3.0 * least
}

fn counted(count: u64) -> Option<String> {
    (count > 0).then(|| count.to_string())
}

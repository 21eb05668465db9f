//! The table on standard output.

use std::fmt::Write as _;

use super::{
    breakdown::{Breakdown, breakdowns},
    laws::law_title,
    results::{LawReport, Ledger, Results, RowReport},
    text_table::text_table,
};

/// Rows, ledger and laws of a run as text that ends with a line feed.
pub fn table(results: &Results) -> String {
    let heads = [
        "row",
        "handshakes",
        "per second",
        "p50 ms",
        "p99 ms",
        "server CPU us",
        "client CPU us",
        "wakes",
        "device busy",
        "failed",
        "unfinished",
    ];
    let mut out = text_table(heads, results.rows.iter().map(cells), 1..heads.len()) + "\n\n";
    for Breakdown { heads, lines, numbers, .. } in breakdowns(results) {
        let right = numbers..heads.len();
        let _ = writeln!(out, "{}\n", text_table(heads, lines, right));
    }
    if results.partial {
        out.push_str("partial: the run was broken off; its last row is not whole\n");
    }
    let _ = writeln!(out, "{}\n{}", ledger_line(&results.ledger), laws_line(&results.laws));
    out
}

/// The knee, the doubts and the build of a run, each in lines that end with a line feed.
pub fn notes(results: &Results) -> String {
    let mut out = String::new();
    if let Some(knee) = &results.knee {
        let _ = writeln!(out, "knee:    {}", knee.sentence());
    }
    for doubt in &results.doubts {
        let _ = writeln!(out, "doubt:   {doubt}");
    }
    let commit = results.machine.commit.as_deref().unwrap_or("unknown");
    let _ = writeln!(out, "commit:  {commit}");
    out
}

/// The ledger in one line: the level at the end and the peak of each resource.
pub fn ledger_line(ledger: &Ledger) -> String {
    let mut line = "ledger (at the end / peak):".to_owned();
    for (name, level) in ledger.entries() {
        let _ = write!(line, "  {name} {}/{}", level.now, level.peak);
    }
    line
}

/// Which laws held, one line each with the law in words.
pub fn laws_line(laws: &[LawReport]) -> String {
    let mut lines = "laws:".to_owned();
    for LawReport { law, checked, held, .. } in laws {
        let verdict = if *held { "held" } else { "BROKEN" };
        let _ = write!(lines, "\n  {law:<4}{verdict:<7}({checked} checks)  {}", law_title(law));
    }
    lines
}

fn cells(row: &RowReport) -> Vec<String> {
    vec![
        row.name.clone(),
        row.handshakes.to_string(),
        format!("{:.0}", row.handshakes_per_s),
        format!("{:.1}", row.latency_ms.p50),
        format!("{:.1}", row.latency_ms.p99),
        format!("{:.0}", row.server_cpu_us_per_handshake),
        format!("{:.0}", row.client_cpu_us_per_handshake),
        row.wakes.to_string(),
        row.device_utilisation
            .map_or_else(|| "-".to_owned(), |busy| format!("{:.0} %", busy * 100.0)),
        row.failed.to_string(),
        row.unfinished.to_string(),
    ]
}

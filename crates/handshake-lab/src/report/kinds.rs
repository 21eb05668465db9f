//! Rows kind by kind: what became of the connections of each kind in a mix.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::results::{LatencyMs, Results};
use crate::load::{ByKind, KindCount};

/// The handshakes of one kind in a row of a mix.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    /// The type of the server's key.
    pub key: String,
    /// `1.2` or `1.3`.
    pub tls: String,
    /// Whether sessions were resumed, so that nothing was signed.
    pub resumed: bool,
    /// Handshakes that both sides completed.
    pub handshakes: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// From opening the connection to the end of the handshake, seen by the client.
    pub latency_ms: LatencyMs,
}

impl KindReport {
    /// Every kind that there was.
    pub(crate) fn all(kinds: &ByKind) -> Vec<Self> {
        let report = |(kind, count): (&crate::scenario::ConnectionKind, &KindCount)| Self {
            key: kind.key.to_string(),
            tls: kind.tls.to_string(),
            resumed: kind.resumed,
            handshakes: count.handshakes,
            failed: count.failed,
            latency_ms: LatencyMs::of(&count.latency_us),
        };
        kinds.iter().map(report).collect()
    }

    /// The kind in words.
    #[must_use]
    pub fn name(&self) -> String {
        let resumed = if self.resumed { ", resumed" } else { "" };
        format!("TLS {} {}{resumed}", self.tls, self.key)
    }
}

/// The kinds of each row as a table that ends with a line feed; nothing where no row has several.
#[must_use]
pub(super) fn kinds_table(results: &Results) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["mode", "kind", "handshakes", "share", "p50 ms", "p99 ms", "failed"]);
    let mut any = false;
    for row in &results.rows {
        for kind in &row.kinds {
            any = true;
            #[expect(clippy::cast_precision_loss, reason = "shown to people")]
            let share = 100.0 * kind.handshakes as f64 / row.handshakes.max(1) as f64;
            table.add_row([
                row.mode.clone(),
                kind.name(),
                kind.handshakes.to_string(),
                format!("{share:.1} %"),
                format!("{:.1}", kind.latency_ms.p50),
                format!("{:.1}", kind.latency_ms.p99),
                kind.failed.to_string(),
            ]);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if any { format!("{table}\n\n") } else { String::new() }
}

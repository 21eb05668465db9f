//! The tables below the table: rows by the kinds of a mix, and by their devices.

use comfy_table::{CellAlignment, Table, presets};

use super::results::Results;

/// The devices of each row as a table that ends with an empty line; nothing where no row has several.
#[must_use]
pub(super) fn devices_table(results: &Results) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "mode",
        "device",
        "ops",
        "busy",
        "wait ms",
        "ring full",
        "faults",
        "fallbacks",
    ]);
    let mut any = false;
    for row in &results.rows {
        for device in &row.devices {
            any = true;
            table.add_row([
                row.mode.clone(),
                device.name.clone(),
                device.ops.to_string(),
                format!("{:.0} %", device.utilisation * 100.0),
                format!("{:.2}", device.queue_wait_ms),
                device.ring_full.to_string(),
                device.faults.to_string(),
                device.fallbacks.to_string(),
            ]);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if any { format!("{table}\n\n") } else { String::new() }
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

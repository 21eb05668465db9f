//! Rows device by device: what each of several devices did.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::results::Results;
use crate::run::DeviceReport;

/// One of several devices of a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// Operations that its units finished, for whatever engine.
    pub ops: u64,
    /// Busy time of its units over the time they had.
    pub utilisation: f64,
    /// The mean wait of an operation of its engine, from submission to service.
    pub queue_wait_ms: f64,
    /// How often its ring was full.
    pub ring_full: u64,
    /// Faults that struck it.
    pub faults: u64,
    /// Operations of its engine done elsewhere because it could not.
    pub fallbacks: u64,
}

impl DeviceRow {
    pub(crate) fn all(devices: &[DeviceReport]) -> Vec<Self> {
        let row = |device: &DeviceReport| Self {
            name: device.name.clone(),
            ops: device.card.finished,
            utilisation: device.utilisation(),
            queue_wait_ms: device.mean_wait().as_secs_f64() * 1e3,
            ring_full: device.engine.ring_full,
            faults: device.card.faults,
            fallbacks: device.engine.fallbacks,
        };
        devices.iter().map(row).collect()
    }
}

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

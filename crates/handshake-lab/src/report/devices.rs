//! Rows device by device: what each of several devices did.

use serde::{Deserialize, Serialize};

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

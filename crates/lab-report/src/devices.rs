//! The operations of a row by device.

use serde::{Deserialize, Serialize};

/// One of several devices of a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceRow {
    pub name: String,
    /// Operations that its units finished, for all engines.
    pub ops: u64,
    /// Busy time of its units over the time they had.
    pub utilisation: f64,
    /// The mean wait of an operation of its engine, from submission to service.
    pub queue_wait_ms: f64,
    pub ring_full: u64,
    pub faults: u64,
    /// Operations of its engine that a standby computed instead.
    pub fallbacks: u64,
}

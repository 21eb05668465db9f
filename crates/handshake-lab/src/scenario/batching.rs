//! The fields that say how a device's units take several requests at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many requests a unit of a device serves at once, and how long it waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Batching {
    /// At most so many; 1 for one by one.
    pub batch: u32,
    /// It begins with fewer when the oldest has waited so long, in milliseconds.
    pub batch_timeout_ms: f64,
}

/// What a row says of it. What is `None` is as in `[[device]]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RowBatching {
    /// As in `[[device]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// As in `[[device]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_timeout_ms: Option<f64>,
}

impl Default for Batching {
    fn default() -> Self {
        Self { batch: 1, batch_timeout_ms: 1.0 }
    }
}

impl Batching {
    /// What it is in a row.
    pub(super) fn in_row(self, row: RowBatching) -> Self {
        Self {
            batch: row.batch.unwrap_or(self.batch),
            batch_timeout_ms: row.batch_timeout_ms.unwrap_or(self.batch_timeout_ms),
        }
    }

    /// What the units of the device are told; `None` for one by one.
    pub(crate) fn of_units(self) -> Option<sim_device::Batch> {
        let timeout = Duration::from_secs_f64(self.batch_timeout_ms / 1e3);
        (self.batch > 1).then_some(sim_device::Batch { size: self.batch, timeout })
    }
}

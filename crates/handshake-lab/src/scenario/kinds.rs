//! The fields that say of a second, slow kind of signature, and how kinds share a device.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_device::RingLayout;

/// What a device does with the slow kind of signature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kinds {
    /// How long one takes, in milliseconds.
    pub slow_latency_ms: f64,
    /// Operations of the slow kind at the same time.
    pub slow_units: u32,
    /// Whether each kind has a ring of its own.
    pub rings: Rings,
}

/// What a row says of it. What is `None` is as in `[load]` and `[[device]]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RowKinds {
    /// As in `[load]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_every: Option<u64>,
    /// As in `[[device]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rings: Option<Rings>,
}

/// How kinds share the rings of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rings {
    /// Each has its own.
    Own,
    /// One for all.
    Shared,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { slow_latency_ms: 100.0, slow_units: 1, rings: Rings::Own }
    }
}

impl Kinds {
    /// How long one of the slow kind takes.
    pub(crate) fn slow_latency(self) -> Duration {
        Duration::from_secs_f64(self.slow_latency_ms / 1e3)
    }
}

impl Rings {
    /// What the device is told.
    pub(crate) const fn layout(self) -> RingLayout {
        match self {
            Self::Own => RingLayout::PerClass,
            Self::Shared => RingLayout::Shared,
        }
    }
}

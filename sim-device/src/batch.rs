//! Batches: several requests that a unit serves at once.

use core::time::Duration;

/// The size and timeout of batches: when a unit that serves several requests at once starts.
///
/// Hardware of this kind (wide vector units, matrix and graphics processors) takes as long for one
/// request as for a full batch, so an idle unit waits for more requests. Under a light load that wait
/// dominates the latency: a batch that does not fill starts at its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The number of requests at which a unit starts, and the most it takes at once: 1 to the depth
    /// of a ring.
    pub size: u32,
    /// The time after which a unit starts with fewer, counted from when the device saw the oldest
    /// request; at most [`LONGEST_LATENCY`](crate::LONGEST_LATENCY). Zero: a free unit takes the
    /// requests that are queued and waits for no more.
    pub timeout: Duration,
}

//! Batches: several requests that one unit serves at once.

use core::time::Duration;

/// When a unit that serves several requests at once begins.
///
/// Hardware of this kind (wide vector units, matrix and graphics processors) takes as long for one
/// request as for a full batch. So an idle unit waits for more, and under a light load that wait is
/// the latency: a batch that does not fill starts by the timeout and not by its last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// A unit begins when so many requests wait, and takes no more at once; at least 1, at most the
    /// depth of a ring.
    pub size: u32,
    /// It begins with fewer when the oldest has waited so long since the device saw it, at most
    /// [`LONGEST_LATENCY`](crate::LONGEST_LATENCY). Zero never waits: the unit takes what is there
    /// when it is free.
    pub timeout: Duration,
}

//! A count with its highest value, of which ledgers are made.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count and its peak, as they were when they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Now.
    pub now: u64,
    /// The most at any time.
    pub peak: u64,
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (peak {})", self.now, self.peak)
    }
}

/// The live count behind a [`Gauge`]. Any thread may count. For the crates of this workspace.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct LiveGauge {
    now: AtomicU64,
    peak: AtomicU64,
}

impl LiveGauge {
    /// A count of zero.
    pub const fn new() -> Self {
        Self { now: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    /// Counts up.
    pub fn add(&self, n: u64) {
        let now = self.now.fetch_add(n, Ordering::Relaxed) + n;
        // The peak changes rarely; a plain read saves the second read-modify-write.
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Counts down, and returns what is left.
    pub fn sub(&self, n: u64) -> u64 {
        let before = self.now.fetch_sub(n, Ordering::Relaxed);
        debug_assert!(before >= n, "a gauge at {before} cannot lose {n}");
        before.wrapping_sub(n)
    }

    /// Both numbers, read one after the other.
    pub fn read(&self) -> Gauge {
        let [now, peak] = [&self.now, &self.peak].map(|n| n.load(Ordering::Relaxed));
        Gauge { now, peak }
    }
}

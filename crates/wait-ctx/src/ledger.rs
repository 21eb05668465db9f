//! Counts of what is alive, with their highest value.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of something there are, and how many there ever were at once. Any thread may count.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Self { now: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Counts `n` more.
    pub fn add(&self, n: usize) {
        let now = self.now.fetch_add(n, Ordering::Relaxed) + n;
        // The peak changes rarely; a plain read saves the second read-modify-write.
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Counts `n` less. Taking away more than was added is a bug of the caller and is caught in debug builds.
    pub fn sub(&self, n: usize) {
        let before = self.now.fetch_sub(n, Ordering::Relaxed);
        debug_assert!(before >= n, "a gauge at {before} cannot lose {n}");
    }

    /// The count now.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// The highest count so far.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

static FDS: Gauge = Gauge::new();

/// The descriptors that wait contexts of this process keep open: registered ones they own, and their own eventfds.
///
/// With no session alive its value is 0; that is the part of the ledger which this crate answers for. Ready queues
/// belong to threads, not to sessions, and are not counted.
pub fn fds_gauge() -> &'static Gauge {
    &FDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_keeps_its_highest_count() {
        let gauge = Gauge::new();
        for (more, less, now, peak) in [(3, 1, 2, 3), (0, 2, 0, 3), (5, 0, 5, 5)] {
            gauge.add(more);
            gauge.sub(less);
            assert_eq!((gauge.now(), gauge.peak()), (now, peak));
        }
    }
}

//! A count with its highest value.

use core::sync::atomic::{AtomicUsize, Ordering};

/// A count that goes up and down, and the highest value it had. Any thread may count.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Gauge {
    pub(crate) const fn new() -> Self {
        Self { now: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    pub(crate) fn add(&self, n: usize) {
        let now = self.now.fetch_add(n, Ordering::Relaxed) + n;
        // The peak changes rarely; a plain read saves the second read-modify-write.
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn sub(&self, n: usize) {
        let before = self.now.fetch_sub(n, Ordering::Relaxed);
        debug_assert!(before >= n, "a gauge at {before} cannot lose {n}");
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
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

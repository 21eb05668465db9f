//! A histogram with one bucket for each power of two of nanoseconds: enough to tell queueing from service, at the
//! price of one atomic addition.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// Bucket `i` holds durations of `i` significant bits of nanoseconds: 0, 1, 2..3, 4..7, and so on.
const BUCKETS: usize = 65;

#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// The sum of all values, modulo 2^64 ns.
    low: AtomicU64,
    /// How often `low` has wrapped: by Little's law after 208 days with 1,024 requests in flight, so it does.
    high: AtomicU64,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            low: AtomicU64::new(0),
            high: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, value: Duration) {
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - ns.leading_zeros()) as usize;
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        if self.low.fetch_add(ns, Ordering::Relaxed).checked_add(ns).is_none() {
            self.high.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sum of all values. Exact only while no thread records; otherwise it may miss the last values, the wrap included.
    fn total_ns(&self) -> u128 {
        let high = self.high.load(Ordering::Acquire);
        u128::from(high) << u64::BITS | u128::from(self.low.load(Ordering::Relaxed))
    }

    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: core::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            total_ns: self.total_ns(),
        }
    }
}

/// A histogram of durations, one bucket for each power of two of nanoseconds. Its `Debug` shows count, mean and
/// quantiles.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
    total_ns: u128,
}

impl HistogramSnapshot {
    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean, or zero of an empty histogram.
    pub fn mean(&self) -> Duration {
        // No value is longer than a u64 tells in nanoseconds, so neither is the mean.
        let mean = self.total_ns.checked_div(u128::from(self.count())).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// An upper bound, at most twice too high, of the duration below which the fraction `quantile` (0.0 to 1.0) of
    /// the values lies. Zero of an empty histogram.
    pub fn quantile_bound(&self, quantile: f64) -> Duration {
        let count = self.count();
        let rank = ((count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bits, &n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return bound(bits);
            }
        }
        Duration::ZERO
    }

    /// The buckets that hold anything: each upper bound with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let used = self.buckets.iter().enumerate().filter(|(_, n)| **n > 0);
        used.map(|(bits, &n)| (bound(bits), n))
    }
}

/// The longest duration of this number of significant bits of nanoseconds.
fn bound(bits: usize) -> Duration {
    Duration::from_nanos(1u64.checked_shl(bits as u32).map_or(u64::MAX, |top| top - 1))
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count() == 0 {
            return f.write_str("none");
        }
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| self.quantile_bound(quantile));
        let (count, mean) = (self.count(), self.mean());
        write!(f, "{count} x mean {mean:?}, p50 <= {p50:?}, p99 <= {p99:?}, p999 <= {p999:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_bound_is_never_below_and_never_twice_above(mut values in prop::collection::vec(1u64..1 << 40, 1..200), q in 0.0f64..=1.0) {
            let histogram = Histogram::new();
            for &v in &values {
                histogram.record(Duration::from_nanos(v));
            }
            values.sort_unstable();
            let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let bound = histogram.snapshot().quantile_bound(q).as_nanos() as u64;
            prop_assert!(exact <= bound && bound < exact * 2, "exact {exact}, bound {bound}");
            prop_assert_eq!(histogram.snapshot().iter().map(|(_, n)| n).sum::<u64>(), values.len() as u64);
        }
    }

    #[test]
    fn the_bounds_of_buckets_are_one_below_powers_of_two() {
        for bits in [0, 1, 2, 10, 63] {
            let (least, most) = (1 << bits, (1_u64 << bits) - 1 + (1 << bits));
            for value in [least, most].map(Duration::from_nanos) {
                let histogram = Histogram::new();
                histogram.record(value);
                let snapshot = histogram.snapshot();
                let bound = Duration::from_nanos(most);
                assert_eq!((snapshot.quantile_bound(0.5), snapshot.mean()), (bound, value));
                assert_eq!(snapshot.iter().collect::<Vec<_>>(), [(bound, 1)]);
            }
        }
        let zero = Histogram::new();
        zero.record(Duration::ZERO);
        assert_eq!(zero.snapshot().quantile_bound(1.0), Duration::ZERO);
    }

    #[test]
    fn the_mean_outlives_a_sum_beyond_64_bits() {
        let histogram = Histogram::new();
        let longest = Duration::from_nanos(u64::MAX);
        for value in [longest, Duration::MAX, longest, longest] {
            histogram.record(value);
        }
        assert_eq!(histogram.snapshot().mean(), longest);
        assert_eq!(histogram.snapshot().quantile_bound(0.5), longest);
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let snapshot = Histogram::new().snapshot();
        assert_eq!(
            (snapshot.count(), snapshot.mean(), snapshot.quantile_bound(0.99)),
            (0, Duration::ZERO, Duration::ZERO)
        );
        assert_eq!(format!("{snapshot:?}"), "none");
    }
}

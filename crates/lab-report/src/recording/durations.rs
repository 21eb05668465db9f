//! Durations by their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Durations in microseconds, each to three digits.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationHistogram(Histogram<u64>);

impl Default for DurationHistogram {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are in range"))
    }
}

impl DurationHistogram {
    pub fn record(&mut self, time: Duration) {
        self.0 += u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    }

    pub fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// This share of them, 0 to 1, took at most this number of milliseconds.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }
}

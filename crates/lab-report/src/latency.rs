//! Latencies by their percentiles, never by their mean.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Percentiles of the latency of a handshake, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// Half of the handshakes took at most this.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl LatencyMs {
    /// The percentiles of a histogram of microseconds.
    #[must_use]
    pub fn of_micros(times: &Histogram<u64>) -> Self {
        let percentile = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: percentile(0.5),
            p99: percentile(0.99),
            p999: percentile(0.999),
            max: times.max() as f64 / 1e3,
        }
    }
}

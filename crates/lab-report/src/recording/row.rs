//! The series of a row as plain data, for plots and comparisons.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    durations::DurationHistogram,
    outcomes::{OutcomeBin, Outcomes},
    readings::{ReadingBin, Readings},
};

/// The series of a row over time. Every list has one entry for each stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowTimeline {
    #[serde(rename = "mode")]
    pub name: String,
    /// Ring entries there are; null without a device.
    pub ring_entries: Option<u64>,
    /// Units there are; null without a device.
    pub units: Option<u64>,
    /// The middle of each stretch, in seconds since the row began.
    pub at_s: Vec<f64>,
    /// Handshakes completed, by the second.
    pub handshakes_per_s: Vec<f64>,
    pub failed: Vec<u64>,
    /// Half of the handshakes that ended took at most this; null without any.
    pub p50_ms: Vec<Option<f64>>,
    pub p99_ms: Vec<Option<f64>>,
    /// Requests that existed, in the mean. Empty, like all that follow, without a device.
    pub in_flight: Vec<f64>,
    /// Requests that waited for a ring entry, in the mean.
    pub waiting: Vec<f64>,
    /// Ring entries in use, in the mean.
    pub ring: Vec<f64>,
    /// Ring entries in use, at most.
    pub ring_most: Vec<u64>,
    /// The share of units at work, in the mean, 0 to 1.
    pub utilisation: Vec<f64>,
    /// Wakes, by the second.
    pub wakes_per_s: Vec<f64>,
    pub ring_full: Vec<u64>,
    pub faults: Vec<u64>,
    /// The latency of the whole row by its quantiles.
    pub distribution: Vec<Quantile>,
}

/// One quantile of the latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// This share of handshakes, 0 to 1,
    pub share: f64,
    /// took at most this.
    pub ms: f64,
}

/// Points of a row at most, but for the rounding of the last.
const POINTS: u32 = 48;

/// Shares whose latency is kept.
const SHARES: [f64; 15] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0];

impl RowTimeline {
    /// Puts the series of a row together. `elapsed` is its end: what came after it does not count.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
    pub fn of(
        mode: &str,
        elapsed: Duration,
        outcomes: &Outcomes,
        readings: Option<&Readings>,
        ring_entries: Option<u64>,
        latency: &DurationHistogram,
    ) -> Self {
        let mut outcomes = outcomes.series().clone();
        let mut readings = readings.map(|readings| readings.series().clone());
        if let Some(readings) = &mut readings {
            let width = outcomes.width().max(readings.width());
            outcomes.widen(width);
            readings.widen(width);
        }
        // Finer bins would show rounds and batches one by one, and have too few handshakes for a percentile.
        outcomes.widen(elapsed / POINTS);
        let width = outcomes.width();
        if let Some(readings) = &mut readings {
            readings.widen(width);
        }
        let mut row = Self { name: mode.to_owned(), ring_entries, units: None, ..Self::default() };
        for stretch in stretches(elapsed, width) {
            let bin: OutcomeBin = merged(outcomes.bins(), &stretch);
            let percentile = |quantile| {
                let histogram = bin.latency_us.as_ref()?;
                Some(rounded(histogram.value_at_quantile(quantile) as f64 / 1e3))
            };
            row.at_s.push(rounded(stretch.middle));
            row.handshakes_per_s.push(rounded(bin.handshakes as f64 / stretch.seconds));
            row.failed.push(bin.failed);
            row.p50_ms.push(percentile(0.5));
            row.p99_ms.push(percentile(0.99));
            let Some(readings) = &readings else { continue };
            let bin: ReadingBin = merged(readings.bins(), &stretch);
            let mean = |sum: u64| rounded(sum as f64 / bin.looks.max(1) as f64);
            row.in_flight.push(mean(bin.sums.in_flight));
            row.waiting.push(mean(bin.sums.waiting));
            row.ring.push(mean(bin.sums.ring));
            row.ring_most.push(bin.ring_most);
            row.utilisation.push(rounded(bin.sums.working as f64 / bin.sums.units.max(1) as f64));
            row.wakes_per_s.push(rounded(bin.wakes as f64 / stretch.seconds));
            row.ring_full.push(bin.ring_full);
            row.faults.push(bin.faults);
            let units = bin.sums.units / bin.looks.max(1);
            row.units = row.units.max((units > 0).then_some(units));
        }
        if latency.count() > 0 {
            let quantile = |share| Quantile { share, ms: latency.quantile_ms(share) };
            // Beyond what the number of handshakes can show there is only the slowest.
            let finest = 1.0 - 1.0 / latency.count() as f64;
            let shown = SHARES.into_iter().filter(|share| *share <= finest || *share >= 1.0);
            row.distribution = shown.map(quantile).collect();
        }
        row
    }
}

/// One or two bins that are drawn as one point.
struct Stretch {
    bins: std::ops::Range<usize>,
    middle: f64,
    seconds: f64,
}

/// Cuts the time into bins; a last one that is less than half there goes with the one before.
fn stretches(elapsed: Duration, width: Duration) -> Vec<Stretch> {
    let (elapsed, width) = (elapsed.as_secs_f64(), width.as_secs_f64());
    let mut stretches = Vec::new();
    let (mut bin, mut from) = (0, 0.0);
    while from + 1e-9 < elapsed {
        let rest = elapsed - from;
        let (bins, seconds) = if rest < 1.5 * width { (2, rest) } else { (1, width) };
        stretches.push(Stretch { bins: bin..bin + bins, middle: from + seconds / 2.0, seconds });
        bin += bins;
        from += seconds;
    }
    stretches
}

fn merged<B: super::Bin>(bins: &[B], stretch: &Stretch) -> B {
    let mut whole = B::default();
    let end = stretch.bins.end.min(bins.len());
    bins[stretch.bins.start.min(end)..end].iter().for_each(|bin| whole.absorb(bin));
    whole
}

/// To a millionth: what lies beyond is noise of the arithmetic.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

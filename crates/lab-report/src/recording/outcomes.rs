//! Completed and failed handshakes, by the time of their end.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::timeline::{Bin, Timeline};

/// Handshakes of a row as the clients saw them, over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcomes(Timeline<OutcomeBin>);

/// The handshakes that ended in one stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutcomeBin {
    pub handshakes: u64,
    pub failed: u64,
    /// Latencies of the completed ones, in microseconds, to two digits; `None` without any.
    pub latency_us: Option<Histogram<u32>>,
}

impl Outcomes {
    /// Counts a handshake that was complete at `now`, `took` after its connection was opened.
    pub fn handshake(&mut self, now: Duration, took: Duration) {
        let bin = self.0.at(now);
        bin.handshakes += 1;
        let new = || Histogram::new(2).expect("two digits are in range");
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Fails only for histograms of a fixed size.
        let _ = bin.latency_us.get_or_insert_with(new).record(micros);
    }

    /// Counts a handshake that failed at `now`.
    pub fn failure(&mut self, now: Duration) {
        self.0.at(now).failed += 1;
    }

    pub const fn series(&self) -> &Timeline<OutcomeBin> {
        &self.0
    }
}

impl Bin for OutcomeBin {
    fn absorb(&mut self, later: &Self) {
        self.handshakes += later.handshakes;
        self.failed += later.failed;
        match (&mut self.latency_us, &later.latency_us) {
            // Fails only for histograms of a fixed size.
            (Some(here), Some(there)) => drop(here.add(there)),
            (here @ None, Some(there)) => *here = Some(there.clone()),
            (_, None) => {}
        }
    }
}

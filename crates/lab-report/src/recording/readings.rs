//! Samples of the counters of engines and devices.

use std::time::Duration;

use engine_core::EngineStats;
use sim_device::InstanceStats;

use super::timeline::{BINS, Bin, Timeline};

/// One sample of the engines and devices of a row, summed over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests that exist.
    pub in_flight: u64,
    /// Requests among them that wait for a ring entry.
    pub waiting: u64,
    /// Ring entries in use.
    pub ring: u64,
    /// Units at work.
    pub working: u64,
    /// Units there are.
    pub units: u64,
    /// Wakes so far.
    pub wakes: u64,
    /// Full rings so far.
    pub ring_full: u64,
    /// Faults so far.
    pub faults: u64,
}

impl Reading {
    /// Adds the gauges of another one.
    fn add_gauges(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        self.ring += other.ring;
        self.working += other.working;
        self.units += other.units;
    }

    /// Adds the counters of another engine and its device.
    pub fn add(&mut self, engine: &EngineStats, card: &InstanceStats) {
        self.in_flight += engine.requests.now;
        self.waiting += engine.waiters.now;
        self.ring +=
            (card.submitted + card.duplicates).saturating_sub(card.drained + card.reclaimed);
        // Units of a kind that was never used are left out, or the row would seem half idle.
        for class in card.classes.iter().filter(|class| class.finished > 0 || class.working > 0) {
            self.working += u64::from(class.working);
            self.units += u64::from(class.units);
        }
        self.wakes += engine.wakes;
        self.ring_full += engine.ring_full;
        self.faults += card.faults;
    }
}

/// Samples of the engines and devices of a row, over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Readings {
    series: Timeline<ReadingBin>,
    last: (Duration, Reading),
    /// When the next sample is due; kept because it is read at every event.
    due: Duration,
}

impl Default for Readings {
    fn default() -> Self {
        let (series, last) = (Timeline::default(), (Duration::ZERO, Reading::default()));
        let due = series.width() / LOOKS;
        Self { series, last, due }
    }
}

/// The samples of one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadingBin {
    pub looks: u64,
    /// Gauges, summed over the samples.
    pub sums: Reading,
    pub ring_most: u64,
    /// Wakes, full rings and faults in this stretch.
    pub wakes: u64,
    pub ring_full: u64,
    pub faults: u64,
}

/// Samples for each bin.
const LOOKS: u32 = 4;

impl Readings {
    pub const fn due(&self) -> Duration {
        self.due
    }

    /// Records a sample. It stands for the time since the one before.
    pub fn read(&mut self, now: Duration, reading: &Reading) {
        let (before, last) = self.last;
        let bin = self.series.at(before + now.saturating_sub(before) / 2);
        bin.looks += 1;
        bin.sums.add_gauges(reading);
        bin.ring_most = bin.ring_most.max(reading.ring);
        bin.wakes += reading.wakes.saturating_sub(last.wakes);
        bin.ring_full += reading.ring_full.saturating_sub(last.ring_full);
        bin.faults += reading.faults.saturating_sub(last.faults);
        self.last = (now, *reading);
        self.due = now + self.series.width() / LOOKS;
    }

    /// Records that nothing changes until `until`, with one sample for each that is due.
    pub fn stand_still(&mut self, until: Duration, reading: &Reading) {
        // Widened first, so that a long wait costs no more samples than a whole series has.
        self.series.widen((until / u32::try_from(BINS).unwrap_or(u32::MAX)).min(until));
        self.due = self.last.0 + self.series.width() / LOOKS;
        while self.due <= until {
            self.read(self.due, reading);
        }
    }

    pub const fn series(&self) -> &Timeline<ReadingBin> {
        &self.series
    }
}

impl Bin for ReadingBin {
    fn absorb(&mut self, later: &Self) {
        self.looks += later.looks;
        self.sums.add_gauges(&later.sums);
        self.ring_most = self.ring_most.max(later.ring_most);
        self.wakes += later.wakes;
        self.ring_full += later.ring_full;
        self.faults += later.faults;
    }
}

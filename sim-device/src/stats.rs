//! Counters of one instance.

use core::time::Duration;

use crate::completion::ServiceClass;

/// Counters of one instance. They never decrease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InstanceStats {
    /// The number of units that can work at the same time.
    pub units: u32,
    /// Requests accepted.
    pub submitted: u64,
    /// Submissions refused because the ring was full, or stuck full by a fault.
    pub refused_full: u64,
    /// Submissions refused because the instance was resetting or unplugged.
    pub refused_away: u64,
    /// Requests that a unit has finished, even if the response was lost.
    pub finished: u64,
    /// Responses that the software has drained, including duplicates. Always
    /// `submitted + duplicates == drained + reclaimed +` the present
    /// [`occupancy`](crate::Instance::occupancy).
    pub drained: u64,
    /// Drained responses without a payload.
    pub duplicates: u64,
    /// Lost requests that the software reclaimed.
    pub reclaimed: u64,
    /// Faults that have struck.
    pub faults: u64,
    /// Responses that a unit had to hold because the response ring was full.
    pub response_stalls: u64,
    /// Interrupts delivered.
    pub interrupts: u64,
    /// Interrupts lost by a fault.
    pub interrupts_lost: u64,
    /// Polls of the response ring.
    pub polls: u64,
    /// Polls that found the ring empty.
    pub empty_polls: u64,
    /// The highest number of ring entries in use.
    pub peak_occupancy: usize,
    /// Counters by class, in the order of the configuration.
    pub classes: Vec<ClassStats>,
}

impl InstanceStats {
    /// The counters of one class, if the instance serves it.
    #[must_use]
    pub fn class(&self, class: ServiceClass) -> Option<&ClassStats> {
        self.classes.iter().find(|stats| stats.class == class)
    }
}

/// Counters of the units of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// The class.
    pub class: ServiceClass,
    /// The number of units that can serve the class at the same time.
    pub units: u32,
    /// Units that work now, or hold a response for which the ring has no room.
    pub working: u32,
    /// Requests finished.
    pub finished: u64,
    /// Services finished, each of one request or one batch.
    pub services: u64,
    /// Working time, summed over units.
    pub busy: Duration,
    /// Time from submission to service, summed over finished requests.
    pub waited: Duration,
}

impl ClassStats {
    pub(crate) const fn new(class: ServiceClass, units: u32) -> Self {
        Self {
            class,
            units,
            working: 0,
            finished: 0,
            services: 0,
            busy: Duration::ZERO,
            waited: Duration::ZERO,
        }
    }

    /// The mean number of requests per service; 0 before the first.
    #[must_use]
    pub fn mean_batch(&self) -> f64 {
        share(self.finished as f64, self.services as f64)
    }

    /// The share of unit time until `elapsed` that was spent working, 0 to 1. Work is counted when it finishes, so requests
    /// in service are not included.
    #[must_use]
    pub fn utilisation(&self, elapsed: Duration) -> f64 {
        share(self.busy.as_secs_f64(), f64::from(self.units) * elapsed.as_secs_f64())
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

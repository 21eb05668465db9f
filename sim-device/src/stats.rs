//! Counters of one instance.

use core::time::Duration;

use crate::completion::ServiceClass;

/// What an instance has done so far; counters never go back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InstanceStats {
    /// Units that can be at work at a time.
    pub units: u32,
    /// Requests accepted.
    pub submitted: u64,
    /// Submissions refused because the ring was full, or stuck full by a fault.
    pub refused_full: u64,
    /// Submissions refused because the instance was resetting or unplugged.
    pub refused_away: u64,
    /// Requests that a unit has finished, whatever became of the response.
    pub finished: u64,
    /// Responses that the software has drained, duplicates included.
    ///
    /// At any time `submitted + duplicates == drained + reclaimed +` the present
    /// [`occupancy`](crate::Instance::occupancy).
    pub drained: u64,
    /// Those of them that came without a payload.
    pub duplicates: u64,
    /// Lost requests that the software took back.
    pub reclaimed: u64,
    /// Faults that have struck.
    pub faults: u64,
    /// Times that a unit had to keep its work because the response ring was full.
    pub response_stalls: u64,
    /// Interrupts that have reached the software.
    pub interrupts: u64,
    /// Interrupts lost by a fault.
    pub interrupts_lost: u64,
    /// Polls of the response ring.
    pub polls: u64,
    /// Those of them that found nothing.
    pub empty_polls: u64,
    /// The most ring entries ever in use at a time.
    pub peak_occupancy: usize,
    /// By class, in the order of the configuration.
    pub classes: Vec<ClassStats>,
}

impl InstanceStats {
    /// The share of all unit time until `elapsed` that was spent working, 0 to 1.
    ///
    /// Work is counted when it is finished, so the figure lags by what is in service now.
    #[must_use]
    pub fn utilisation(&self, elapsed: Duration) -> f64 {
        let busy: f64 = self.classes.iter().map(|class| class.busy.as_secs_f64()).sum();
        share(busy, f64::from(self.units) * elapsed.as_secs_f64())
    }

    /// The counters of one class, if the instance serves it.
    #[must_use]
    pub fn class(&self, class: ServiceClass) -> Option<&ClassStats> {
        self.classes.iter().find(|stats| stats.class == class)
    }
}

/// What the units of one class have done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// The class.
    pub class: ServiceClass,
    /// How many units can serve it at a time.
    pub units: u32,
    /// Units that are at work now, or keep a response for which the ring has no room.
    pub working: u32,
    /// Requests finished.
    pub finished: u64,
    /// Times that a unit has finished, each with one request or a batch of them.
    pub services: u64,
    /// The time units have worked, summed over units.
    pub busy: Duration,
    /// The time that finished requests had waited from submission to service, summed.
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

    /// How many requests a unit has served at once, on average; 0 before the first.
    #[must_use]
    pub fn mean_batch(&self) -> f64 {
        share(self.finished as f64, self.services as f64)
    }

    /// The share of unit time until `elapsed` that was spent working, 0 to 1.
    #[must_use]
    pub fn utilisation(&self, elapsed: Duration) -> f64 {
        share(self.busy.as_secs_f64(), f64::from(self.units) * elapsed.as_secs_f64())
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

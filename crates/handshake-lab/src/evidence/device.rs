//! The counters of a device and its engine after a row.

use std::time::Duration;

use engine_core::EngineStats;
use sim_engine::InstanceStats;

/// What a device and its engine counted, after their end.
#[derive(Debug, Clone)]
pub struct DeviceReport {
    pub name: String,
    pub engine: EngineStats,
    pub card: InstanceStats,
    /// How long the device ran; in virtual time, until the last client had gone.
    pub elapsed: Duration,
    /// Whether no request was left when the time to wait for it was over.
    pub quiet: bool,
}

impl DeviceReport {
    /// The mean wait of an operation from its submission to the unit that serves it.
    pub fn mean_wait(&self) -> Duration {
        let finished: u64 = self.card.classes.iter().map(|class| class.finished).sum();
        let inside: Duration = self.card.classes.iter().map(|class| class.waited).sum();
        let inside = inside.as_secs_f64() / (finished.max(1) as f64);
        self.engine.queue_wait.mean() + Duration::from_secs_f64(inside)
    }

    /// Busy time of the units that did anything over the time that they had.
    pub fn utilisation(&self) -> f64 {
        let used = self.card.classes.iter().filter(|class| class.finished > 0);
        // What was finished after that time was begun in it.
        used.map(|class| class.utilisation(self.elapsed)).fold(0.0, f64::max).min(1.0)
    }
}

//! The clock of virtual time, which only the calendar advances.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use engine_core::Clock;

/// A clock that is moved by hand. Zero at first.
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// Advances it; a time in the past is ignored.
    pub fn advance_to(&self, time: Duration) {
        self.0.fetch_max(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

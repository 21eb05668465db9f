//! Where an engine reads the time.

use core::fmt;
use core::time::Duration;
use std::time::Instant;

/// A clock that never runs backwards.
///
/// Time is a [`Duration`] since a start that the clock chooses, so that the same code runs under the machine's clock
/// and under a simulated one. Everything that shares an engine must share its clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time since this clock's start.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock, starting when it is made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock that reads zero now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

//! Where an engine reads the time.

use core::fmt;
use core::time::Duration;
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Instant;

/// A clock that never runs backwards.
///
/// Time is a [`Duration`] since a start that the clock chooses, so that the same code runs under the machine's clock
/// and under a simulated one. Everything that shares an engine must share its clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time since this clock's start. Must not panic: the engine reads it between steps that belong together.
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

/// A wait of bounded real time. A time beyond the range of the machine's clock means for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    end: Option<Instant>,
}

impl Wait {
    /// A wait that begins now.
    pub(crate) fn at_most(timeout: Duration) -> Self {
        Self { end: Instant::now().checked_add(timeout) }
    }

    /// The time left; zero once it is over.
    pub(crate) fn left(self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }

    /// Waits for a change, for the time left. Returns whether the wait is over.
    pub(crate) fn on<'a, T>(
        self,
        changed: &Condvar,
        guard: MutexGuard<'a, T>,
    ) -> (MutexGuard<'a, T>, bool) {
        let left = self.left();
        if left.is_zero() {
            return (guard, true);
        }
        // Some systems refuse absurdly long waits; a wakeup once a day costs nothing.
        let left = left.min(Duration::from_secs(86_400));
        let guard = changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        (guard, self.left().is_zero())
    }
}

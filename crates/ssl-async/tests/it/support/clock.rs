//! What is shared by a whole process or engine: its clock, and the turns of tests that look at a global gauge.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_core::Clock;

/// A clock that the test sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock(Arc<Mutex<Duration>>);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// The gauge of device handles is one for the process: tests that make any take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

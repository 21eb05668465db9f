//! A clock set by the test, and the lock of tests that check a gauge of the whole process.

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

/// Serialises tests that check the gauge of device handles, which is the process's.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

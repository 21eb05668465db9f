//! A thread that keeps an engine's deadlines and polls its device when nobody else does.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};

use crate::dispatch::{Core, lock};
use crate::work::Work;

/// The thread of an engine's timers, made by [`Engine::spawn_driver`](crate::Engine::spawn_driver).
///
/// It sleeps until the next deadline, without a system call in between, and is woken when an earlier one is set.
/// Dropping it ends the thread and waits for it; it also ends with the engine.
#[derive(Debug)]
#[must_use = "the thread ends when this is dropped"]
pub struct Driver {
    thread: Option<JoinHandle<()>>,
    bell: Arc<BellState>,
}

/// Why an engine got no driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// It has one.
    #[error("the engine has a driver already: one is enough")]
    Running,
    /// The operating system gave no thread.
    #[error("no thread for the engine's driver: {0}")]
    Thread(#[from] io::Error),
}

impl Driver {
    pub(crate) fn spawn<W: Work>(core: &Arc<Core<W>>) -> Result<Self, DriverError> {
        let bell = Arc::clone(&core.bell.state);
        if bell.attached.swap(true, Ordering::AcqRel) {
            return Err(DriverError::Running);
        }
        *lock(&bell.alarm) = Alarm::Awake { rung: false };
        let (weak, heard) = (Arc::downgrade(core), Arc::clone(&bell));
        let spawned = thread::Builder::new()
            .name(String::from("engine-driver"))
            .spawn(move || drive(&weak, &heard));
        match spawned {
            Ok(thread) => Ok(Self { thread: Some(thread), bell }),
            Err(error) => {
                bell.attached.store(false, Ordering::Release);
                Err(DriverError::Thread(error))
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.bell.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's driver panicked");
        }
        self.bell.attached.store(false, Ordering::Release);
    }
}

fn drive<W: Work>(core: &Weak<Core<W>>, bell: &BellState) {
    loop {
        // Held only while polling: the driver keeps no engine alive.
        let Some(engine) = core.upgrade() else { return };
        let next = engine.poll();
        let now = engine.meter.now();
        drop(engine);
        if bell.sleep(next, now) == Heard::Close {
            return;
        }
    }
}

/// How a driver is told that there is something to do earlier than it thinks.
#[derive(Debug)]
pub(crate) struct Bell {
    state: Arc<BellState>,
}

#[derive(Debug)]
struct BellState {
    /// There is a driver. Asked first, so that an engine without one pays one load.
    attached: AtomicBool,
    alarm: Mutex<Alarm>,
    rung: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The driver polls; it looks again before it sleeps if it was rung.
    Awake { rung: bool },
    /// It sleeps until then, or until it is rung.
    Asleep { until: Option<Duration> },
    /// It is to end.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Work,
    Close,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(BellState {
                attached: AtomicBool::new(false),
                alarm: Mutex::new(Alarm::Awake { rung: false }),
                rung: Condvar::new(),
            }),
        }
    }

    /// There is something to do at `time`.
    pub(crate) fn want(&self, time: Duration) {
        self.state.ring(Some(time));
    }

    /// There is something to do now.
    pub(crate) fn ring(&self) {
        self.state.ring(None);
    }

    pub(crate) fn close(&self) {
        self.state.close();
    }
}

impl BellState {
    fn ring(&self, time: Option<Duration>) {
        if !self.attached.load(Ordering::Acquire) {
            return;
        }
        let mut alarm = lock(&self.alarm);
        match *alarm {
            Alarm::Awake { .. } => *alarm = Alarm::Awake { rung: true },
            Alarm::Asleep { until: Some(until) } if time.is_some_and(|time| time >= until) => {}
            Alarm::Asleep { .. } => {
                *alarm = Alarm::Awake { rung: true };
                self.rung.notify_all();
            }
            Alarm::Closed => {}
        }
    }

    fn close(&self) {
        *lock(&self.alarm) = Alarm::Closed;
        self.rung.notify_all();
    }

    /// Sleeps until `until`, both by the engine's clock, or until rung.
    fn sleep(&self, until: Option<Duration>, now: Duration) -> Heard {
        let mut alarm = lock(&self.alarm);
        match *alarm {
            Alarm::Closed => return Heard::Close,
            Alarm::Awake { rung: true } => {
                *alarm = Alarm::Awake { rung: false };
                return Heard::Work;
            }
            Alarm::Awake { rung: false } | Alarm::Asleep { .. } => {}
        }
        *alarm = Alarm::Asleep { until };
        alarm = self.wait(alarm, until.map(|until| until.saturating_sub(now)));
        if *alarm == Alarm::Closed {
            return Heard::Close;
        }
        // A spurious wakeup of the condition variable costs one poll.
        *alarm = Alarm::Awake { rung: false };
        Heard::Work
    }

    fn wait<'a>(
        &self,
        alarm: MutexGuard<'a, Alarm>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Alarm> {
        use std::sync::PoisonError;
        match timeout {
            None => self.rung.wait(alarm).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.rung.wait_timeout(alarm, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::{Accelerator, Rejected};
    use crate::request::Request;
    use crate::work::{CheckFailed, Kind};
    use crate::{Engine, Terms};

    struct Nothing;

    impl Work for Nothing {
        type Output = ();

        fn kind(&self) -> Kind {
            Kind::new("nothing")
        }

        fn check(&self, (): &()) -> Result<(), CheckFailed> {
            Ok(())
        }
    }

    /// Keeps whatever it gets.
    #[derive(Debug, Default)]
    struct Drawer(Mutex<Vec<Request<Nothing>>>);

    impl Accelerator<Nothing> for Drawer {
        fn submit(&self, request: Request<Nothing>) -> Result<(), Rejected<Nothing>> {
            lock(&self.0).push(request);
            Ok(())
        }
    }

    fn comes_to(happened: impl Fn() -> bool) {
        let mut looks = 0..10_000_000;
        assert!(looks.any(|_| {
            thread::yield_now();
            happened()
        }));
    }

    #[test]
    fn l14_a_driver_sleeps_until_the_next_deadline_and_no_longer_than_its_engine_lives() {
        let engine = Engine::builder(Arc::new(Drawer::default())).build();
        let driver = engine.spawn_driver().unwrap();
        let sleeps = |wanted: &dyn Fn(Option<Duration>) -> bool| {
            comes_to(
                || matches!(*lock(&driver.bell.alarm), Alarm::Asleep { until } if wanted(until)),
            );
        };
        sleeps(&|until| until.is_none());
        let hour = Duration::from_secs(3600);
        let within = |hours| engine.with_terms(Terms::new().deadline(hours * hour));
        let _late = within(9).offer(Nothing).unwrap();
        sleeps(&|until| until.is_some());
        let _early = within(1).offer(Nothing).unwrap();
        let between = engine.now() + 5 * hour;
        sleeps(&|until| until.is_some_and(|until| until < between));

        // As it sleeps, nobody but the engine's end wakes it.
        drop(engine);
        comes_to(|| driver.thread.as_ref().is_some_and(JoinHandle::is_finished));
    }
}

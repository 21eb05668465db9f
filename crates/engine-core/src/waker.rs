//! How the driver of an engine is woken: it sleeps until the next deadline, or until an earlier one is set.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

use crate::clock::Wait;
use crate::sync::lock;
use crate::threads::{HomeProcess, OwnedThreads, Shutdown};

/// Wakes the driver of an engine, if there is one. Clones wake the same driver.
#[derive(Clone, Debug)]
pub(crate) struct DriverWaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// There is a driver. Read first, so that an engine without one pays one load. Written under the lock.
    attached: AtomicBool,
    schedule: Mutex<Schedule>,
    woken: Condvar,
    /// The drivers, dismissed ones that have not ended included.
    threads: OwnedThreads,
}

/// What the driver does, one thread at a time.
#[derive(Debug)]
struct Schedule {
    /// Counts the drivers. One that finds a later generation was dismissed.
    generation: u64,
    alarm: Alarm,
    /// The current driver polls, and so may be in a call of the device's.
    polls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The driver polls. If it was woken meanwhile it polls again before it sleeps.
    Awake { woken: bool },
    /// It sleeps until then, or until it is woken.
    Asleep { until: Option<Duration> },
    /// It is to end.
    Closed,
}

impl DriverWaker {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            attached: AtomicBool::new(false),
            schedule: Mutex::new(Schedule { generation: 0, alarm: Alarm::Closed, polls: false }),
            woken: Condvar::new(),
            threads: OwnedThreads::new(),
        }))
    }

    /// Makes sure that the driver polls at `time`.
    pub(crate) fn wake_at(&self, time: Duration) {
        self.wake_for(Some(time));
    }

    /// Makes the driver poll now.
    pub(crate) fn wake(&self) {
        self.wake_for(None);
    }

    fn wake_for(&self, time: Option<Duration>) {
        if !self.0.attached.load(Ordering::Acquire) {
            return;
        }
        let mut schedule = lock(&self.0.schedule);
        match schedule.alarm {
            Alarm::Awake { .. } => schedule.alarm = Alarm::Awake { woken: true },
            Alarm::Asleep { until: Some(until) } if time.is_some_and(|time| time >= until) => {}
            Alarm::Asleep { .. } => {
                schedule.alarm = Alarm::Awake { woken: true };
                self.0.woken.notify_all();
            }
            Alarm::Closed => {}
        }
    }

    /// Whether a driver keeps the deadlines.
    pub(crate) fn is_attached(&self) -> bool {
        self.0.attached.load(Ordering::Relaxed)
    }

    /// The process of the engine and its drivers.
    pub(crate) fn home(&self) -> &HomeProcess {
        self.0.threads.home()
    }

    /// Registers a driver and returns its generation. `None` if there is one.
    pub(crate) fn attach(&self) -> Option<u64> {
        let mut schedule = lock(&self.0.schedule);
        if self.0.attached.swap(true, Ordering::AcqRel) {
            return None;
        }
        let generation = schedule.generation + 1;
        *schedule = Schedule { generation, alarm: Alarm::Awake { woken: false }, polls: true };
        Some(generation)
    }

    /// Starts the thread of a driver.
    pub(crate) fn spawn(&self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.0.threads.spawn(String::from("engine-driver"), run)
    }

    /// Tells the driver of that generation to end; without a generation, the current one.
    pub(crate) fn dismiss(&self, generation: Option<u64>) {
        let mut schedule = lock(&self.0.schedule);
        if generation.is_none_or(|generation| generation == schedule.generation) {
            schedule.alarm = Alarm::Closed;
            self.0.attached.store(false, Ordering::Release);
            self.0.woken.notify_all();
        }
    }

    /// Dismisses the driver of an engine that is dropped, without waiting for its thread.
    pub(crate) fn let_go(&self) {
        // In another process the lock may be held by a thread that does not exist there.
        if self.home().is_here() {
            self.dismiss(None);
            self.0.threads.let_go();
        }
    }

    /// Waits until the drivers have ended.
    pub(crate) fn join(&self, deadline: Duration) -> Shutdown {
        // A sleeping driver only has to wake up; a polling one may be in a call that does not return.
        let polls = lock(&self.0.schedule).polls || self.0.threads.n_alive() > 1;
        let grace = if polls { Duration::ZERO } else { OwnedThreads::A_MOMENT };
        self.0.threads.join(deadline.max(grace))
    }

    /// Sleeps until `until`, both by the engine's clock, or until woken. For the thread of the driver, which has to end if
    /// this returns false.
    pub(crate) fn sleep(&self, generation: u64, until: Option<Duration>, now: Duration) -> bool {
        let mut schedule = lock(&self.0.schedule);
        if schedule.generation != generation {
            return false;
        }
        schedule.polls = false;
        if let Alarm::Awake { woken: false } | Alarm::Asleep { .. } = schedule.alarm {
            schedule.alarm = Alarm::Asleep { until };
            let timeout = until.map_or(Duration::MAX, |until| until.saturating_sub(now));
            schedule = Wait::at_most(timeout).on(&self.0.woken, schedule).0;
        }
        if schedule.generation != generation || schedule.alarm == Alarm::Closed {
            return false;
        }
        // A spurious wakeup of the condition variable costs one poll.
        schedule.alarm = Alarm::Awake { woken: false };
        schedule.polls = true;
        true
    }
}

//! A task that is due every millisecond on the thread that serves: how late it is.

use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::cpu::nanoseconds;
use crate::meter::histogram;

const PERIOD: Duration = Duration::from_millis(1);

/// The delays of the heartbeat of one turn. Each server lets it beat by one of its three methods.
#[derive(Debug)]
pub struct Heartbeat {
    measuring: AtomicBool,
    delays: Mutex<Histogram<u64>>,
}

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self { measuring: AtomicBool::new(false), delays: Mutex::new(histogram()) }
    }

    pub(crate) fn begin(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    pub(crate) fn delays(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A beat for an event loop, which polls its descriptor.
    ///
    /// # Errors
    ///
    /// The system's, if it has no timer left.
    pub fn timer(self: &Arc<Self>) -> io::Result<Beat> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let beat = Beat { heartbeat: Arc::clone(self), due: Instant::now() + PERIOD, timer };
        beat.arm()?;
        Ok(beat)
    }

    /// Lets it beat on a task of the runtime that the caller is in. Not by tokio's own timer, which counts whole
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// The system's, if it has no timer left.
    pub fn on_tokio(self: &Arc<Self>) -> io::Result<()> {
        #[expect(deprecated, reason = "its successor is unsafe; a beat owns its descriptor")]
        let mut beat = AsyncFd::with_interest(self.timer()?, Interest::READABLE)?;
        tokio::spawn(async move {
            while let Ok(mut ready) = beat.readable_mut().await {
                ready.get_inner_mut().tick();
                ready.clear_ready();
            }
        });
        Ok(())
    }

    /// Lets it beat on a thread beside the others.
    pub fn on_thread(self: &Arc<Self>) {
        let heartbeat = Arc::clone(self);
        thread::spawn(move || {
            // The other heartbeats have timer descriptors, without slack; a thread that sleeps may wake 50 us late by default.
            let _ = rustix::thread::set_current_timer_slack(NonZero::new(1));
            let mut due = Instant::now() + PERIOD;
            loop {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due = heartbeat.note(due);
            }
        });
    }

    /// Records the beat that was due at `due`, and returns when the next one is. A stall counts once: beats that were missed
    /// are not made up for.
    fn note(&self, due: Instant) -> Instant {
        let now = Instant::now();
        if self.measuring.load(Ordering::Relaxed) {
            self.delays().saturating_record(nanoseconds(now.saturating_duration_since(due)));
        }
        (due + PERIOD).max(now)
    }
}

/// The heartbeat of one event loop: a descriptor that is readable when a beat is due.
#[derive(Debug)]
pub struct Beat {
    heartbeat: Arc<Heartbeat>,
    due: Instant,
    timer: OwnedFd,
}

impl Beat {
    /// Beats, if it is due.
    pub fn tick(&mut self) {
        if Instant::now() >= self.due {
            self.due = self.heartbeat.note(self.due);
            // It worked when the timer was made.
            let _ = self.arm();
        }
    }

    fn arm(&self) -> io::Result<()> {
        // Zero would disarm it.
        let wait = self.due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl AsFd for Beat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl AsRawFd for Beat {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

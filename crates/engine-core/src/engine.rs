//! The interface of an engine to its users.

use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use wait_ctx::{InFlight, Notifier, Route};

use crate::breaker::BreakerState;
use crate::driver::{Driver, DriverError};
use crate::error::{EngineError, Refused};
use crate::inner::EngineInner;
use crate::jobs;
use crate::meter::EngineStats;
use crate::options::RequestOptions;
use crate::pending::{Pending, WakesBy};
use crate::threads::{Shutdown, ShuttingDown};
use crate::work::Work;

/// Submits work to an [`Accelerator`](crate::Accelerator), optionally with another one as the standby, and parks the
/// caller until it is done.
///
/// `Send + Sync`. A completion wakes the session that submitted.
pub struct Engine<W: Work> {
    pub(crate) inner: Arc<EngineInner<W>>,
    pub(crate) options: RequestOptions,
}

impl<W: Work> Engine<W> {
    /// The same engine with other options for the operations submitted through the returned handle.
    #[must_use]
    pub fn with_options(&self, options: RequestOptions) -> Self {
        Self { inner: Arc::clone(&self.inner), options }
    }

    /// Carries out `work` and returns its result, as a synchronous function would.
    ///
    /// Inside a job the job pauses, and the thread is free meanwhile; the request reports its status and its wake to the
    /// job's wait context; if the job has none, it wakes the task that awaits the job. Where pausing is refused (outside a
    /// job, under a pause block, on the parent's stack, while panicking) the thread blocks.
    ///
    /// # Errors
    ///
    /// Any [`EngineError`]. To get the work back when the engine refuses it, use [`submit`](Self::submit).
    pub fn run(&self, work: W) -> Result<W::Output, EngineError> {
        // Cancellation is sticky: a cancelled job submits nothing more (law L5).
        if jobs::is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if !jobs::may_pause() {
            // Before the submission: a device that this thread must not wait for gets no request.
            let _scope = self.inner.blocking().map_err(EngineError::Device)?;
        }
        self.submit_as(work, session_request)
            .map_err(|refused| EngineError::Refused(refused.reason))?
            .wait()
    }

    /// Submits `work` without waiting for its result. The [`Pending`] is awaited as a future, waited for with
    /// [`Pending::wait`], or polled; dropping it cancels the request.
    ///
    /// It wakes the task that polls it, or the job that waits for it.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the work, if its queue is full, the engine is closed or its breaker open.
    pub fn submit(&self, work: W) -> Result<Pending<W>, Refused<W>> {
        self.submit_as(work, own_request)
    }

    /// As [`submit`](Self::submit), and reports status and wake through `notifier`, for callers that drive themselves; see
    /// [`Pending::poll_result`]. If the notifier has a live request already, this one only wakes through it.
    ///
    /// # Errors
    ///
    /// As of [`submit`](Self::submit).
    pub fn submit_on(&self, notifier: &Notifier, work: W) -> Result<Pending<W>, Refused<W>> {
        self.submit_as(work, || (request_on(notifier), WakesBy::Session))
    }

    fn submit_as(
        &self,
        work: W,
        begin: impl FnOnce() -> (InFlight, WakesBy),
    ) -> Result<Pending<W>, Refused<W>> {
        let ((state, kept), wakes_by) = self.inner.submit(work, begin, self.options)?;
        Ok(Pending::new(&self.inner, state, kept, wakes_by))
    }

    /// Does what is due: polls the devices, submits what waits, ends or moves requests whose deadline has passed, checks
    /// the device's health. Returns when to call again, by the engine's clock; `None` if no timer is set. A later
    /// submission may be due earlier: poll again before going to sleep.
    pub fn poll(&self) -> Option<Duration> {
        self.inner.poll()
    }

    /// Starts a thread that calls [`poll`](Self::poll) when it is due, for programs in which no other thread does. It
    /// sleeps in real time: not for an engine with a simulated clock.
    ///
    /// # Errors
    ///
    /// [`DriverError`], if there is one already or the system gives no thread.
    pub fn spawn_driver(&self) -> Result<Driver, DriverError> {
        Driver::spawn(&self.inner)
    }

    /// Reports how many handshakes the application has under way, including the one that is about to submit.
    /// [`Offload::Beyond`](crate::Offload::Beyond) compares with it if it is more than the operations under way. From any
    /// thread.
    pub fn set_active(&self, handshakes: usize) {
        self.inner.active.store(handshakes, Ordering::Relaxed);
    }

    /// The time by the engine's clock.
    pub fn now(&self) -> Duration {
        self.inner.meter.now()
    }

    /// The engine's counters, gauges and histograms.
    pub fn stats(&self) -> EngineStats {
        self.inner.meter.stats()
    }

    /// The state of the device's circuit breaker; closed if the engine has none.
    pub fn breaker(&self) -> BreakerState {
        self.inner.device.breaker_state()
    }

    /// The state of the standby's circuit breaker; closed if the engine has none.
    pub fn standby_breaker(&self) -> BreakerState {
        self.inner.standby.as_ref().map_or(BreakerState::Closed, |standby| standby.breaker_state())
    }

    /// Ends the engine: stops the intake, waits for what is under way until `deadline` of real time, fails the rest with
    /// [`EngineError::Gone`], ends the threads of its devices and its driver, and joins them.
    ///
    /// After [`Shutdown::Drained`] nothing of this engine runs any more, so a process may return from `main`, or unload
    /// what its device uses. After [`Shutdown::Stuck`] calls have not returned: end the process by `_exit`, or leave it
    /// running. A device that other engines use goes on until the last of them is shut down.
    ///
    /// The intake ends with this call; the rest runs on a thread of its own. The future works with any executor, and the
    /// shutdown goes on if the future is dropped.
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        if !self.inner.waker.home().is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        self.close();
        let inner = Arc::clone(&self.inner);
        ShuttingDown::on_own_thread(deadline, move |deadline| inner.shut_down(deadline))
    }

    /// As [`shutdown`](Self::shutdown), and blocks; polls the device meanwhile. On a thread of the device or the driver it
    /// does not wait for that thread, which counts as stuck.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.inner.shut_down(deadline)
    }

    /// Stops the intake only; what is in flight goes on. For an engine under a simulated clock, which
    /// [`shutdown`](Self::shutdown) with its real time cannot end.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
    }

    /// Waits, at most `timeout` of real time, until no request exists, cancelled ones that the device still holds
    /// included. True if none does. Ends nothing: that is [`shutdown`](Self::shutdown). For a device that has its own thread,
    /// or that another thread polls.
    pub fn quiesce(&self, timeout: Duration) -> bool {
        self.inner.meter.wait_idle(timeout)
    }
}

impl<W: Work> fmt::Debug for Engine<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("device", &self.inner.device.device)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A request on the wait context of the current job; outside a job, on a notifier of its own.
fn session_request() -> (InFlight, WakesBy) {
    match jobs::wait_ctx() {
        Some(ctx) => (request_on(ctx.notifier()), WakesBy::Session),
        None => own_request(),
    }
}

fn own_request() -> (InFlight, WakesBy) {
    (first_request(&Notifier::new()), WakesBy::OwnWaker)
}

/// A request on `notifier`; if that has a live request, on a new notifier that wakes by the same routes.
fn request_on(notifier: &Notifier) -> InFlight {
    notifier.begin().unwrap_or_else(|_live| {
        let own = Notifier::new();
        own.set_route(Route::Waker(notifier.waker()));
        first_request(&own)
    })
}

fn first_request(notifier: &Notifier) -> InFlight {
    notifier.begin().expect("a new notifier has no live request")
}

//! The engine, as its users see it.

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

/// Carries work to one [`Accelerator`], with another one standing by if wished, and parks whoever asked until it is
/// done.
///
/// Shared freely between threads. Each completion wakes the thread that asked.
pub struct Engine<W: Work> {
    inner: Arc<EngineInner<W>>,
    options: RequestOptions,
}

impl<W: Work> Engine<W> {
    pub(crate) fn new(inner: Arc<EngineInner<W>>, options: RequestOptions) -> Self {
        Self { inner, options }
    }

    /// The same engine on other options, for operations that are in more of a hurry, or less. It counts and closes
    /// together with this one.
    #[must_use]
    pub fn with_options(&self, options: RequestOptions) -> Self {
        Self { inner: Arc::clone(&self.inner), options }
    }

    /// Carries out `work` and returns its result, as a synchronous function would.
    ///
    /// Inside a job the job pauses, and the thread does something else meanwhile. Where pausing is refused (outside a
    /// job, under a pause block, on the parent's stack, while panicking) the thread blocks (law L11).
    ///
    /// # Errors
    ///
    /// Any [`EngineError`]. To get the work back when the engine refuses it, use [`submit`](Self::submit).
    pub fn run(&self, work: W) -> Result<W::Output, EngineError> {
        // Cancelled is sticky: a job on its way out submits nothing more (law L5).
        if jobs::is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        if !jobs::may_pause() {
            // A device that must not be waited for here gets no request.
            let _scope = self.inner.blocking().map_err(EngineError::Device)?;
        }
        self.submit(work).map_err(|refused| EngineError::Refused(refused.reason))?.wait()
    }

    /// Takes `work` on without waiting for it. The [`Pending`] is awaited as a future, waited for with
    /// [`Pending::wait`], or polled; dropping it cancels the request.
    ///
    /// Inside a job with a wait context the request reports its status and its wake there.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the work, if its queue is full, the engine is closed or its breaker open.
    pub fn submit(&self, work: W) -> Result<Pending<W>, Refused<W>> {
        self.submit_as(work, session_request)
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
        let mut wakes_by = WakesBy::Session;
        let begin = || {
            let (in_flight, by) = begin();
            wakes_by = by;
            in_flight
        };
        let submitted = self.inner.submit(work, begin, self.options)?;
        Ok(Pending::new(&self.inner, submitted, wakes_by))
    }

    /// Does what is due: moves devices that have no thread of their own to the present, submits what waits, ends or
    /// moves requests whose deadline has passed, looks after the device's health. Returns when to call again, by the
    /// engine's clock; `None` if nothing is planned. What is submitted afterwards may be due earlier: poll again before
    /// going to sleep.
    pub fn poll(&self) -> Option<Duration> {
        self.inner.poll()
    }

    /// Starts a thread that calls [`poll`](Self::poll) whenever it is due, for programs in which nobody else does. By
    /// real time: not for an engine with a simulated clock.
    ///
    /// # Errors
    ///
    /// [`DriverError`], if there is one already or no thread to be had.
    pub fn spawn_driver(&self) -> Result<Driver, DriverError> {
        Driver::spawn(&self.inner)
    }

    /// Says how many handshakes the application has under way, the one included that is about to ask for something:
    /// what [`Offload::Beyond`](crate::Offload::Beyond) goes by, if it is more than the operations under way. From any
    /// thread.
    pub fn set_active(&self, handshakes: usize) {
        self.inner.active.store(handshakes, Ordering::Relaxed);
    }

    /// The time by the engine's clock.
    pub fn now(&self) -> Duration {
        self.inner.meter.now()
    }

    /// What the engine has counted.
    pub fn stats(&self) -> EngineStats {
        self.inner.meter.stats()
    }

    /// The state of the circuit breaker; closed if the engine has none.
    pub fn breaker(&self) -> BreakerState {
        self.inner.breaker_state()
    }

    /// Ends the engine: takes nothing more on, lets what is under way finish until `deadline` of real time, ends the rest
    /// with [`EngineError::Gone`], ends the threads of its devices and its driver, and joins them.
    ///
    /// After [`Shutdown::Drained`] nothing of this engine runs any more, so a process may return from `main`, or unload
    /// what its device uses. After [`Shutdown::Stuck`] that many calls have not returned: end the process by `_exit`, or
    /// leave it running. A device that other engines use goes on until the last of them is shut down.
    ///
    /// The intake ends with this call, and the rest is done on a thread of its own; the future is of any executor, and the
    /// shutdown goes on if it is dropped.
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        if !self.inner.waker.home().is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        self.close();
        let inner = Arc::clone(&self.inner);
        ShuttingDown::on_own_thread(deadline, move |deadline| inner.shut_down(deadline))
    }

    /// As [`shutdown`](Self::shutdown), and blocks until then; polls the device meanwhile. On a thread of the device, or
    /// of the driver, it does not wait for that thread, which counts as stuck.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.inner.shut_down(deadline)
    }

    /// Takes on no more work; what is in flight goes on. The first step of [`shutdown`](Self::shutdown), for event loops
    /// that do the rest themselves.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
    }

    /// Waits, at most `timeout` of real time, until no request exists: not even one that nobody waits for but the
    /// device still holds. True if none does. Ends nothing: to end an engine use [`shutdown`](Self::shutdown). For a device
    /// that has its own thread, or that another thread polls.
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

/// A request of the current job's wait context; outside a job, one with a notifier of its own.
fn session_request() -> (InFlight, WakesBy) {
    match jobs::wait_ctx() {
        Some(ctx) => (request_on(ctx.notifier()), WakesBy::Session),
        None => (first_request(&Notifier::new()), WakesBy::OwnWaker),
    }
}

/// A request on `notifier`; or, if it has a live one, one of its own that wakes by the same routes.
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

//! The engine: takes work on, submits it or queues it, and lets the caller wait.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wait_ctx::{InFlight, Notifier, Route};

use crate::accelerator::{Accelerator, Rejected};
use crate::clock::{Clock, MonotonicClock};
use crate::error::{DeviceError, EngineError, Refused, RefusedReason};
use crate::fifo::Fifo;
use crate::meter::{EngineSnapshot, Meter};
use crate::pending::Pending;
use crate::plant::{self, Bug};
use crate::request::{Cell, Request, RequestId};
use crate::submission::Submission;
use crate::work::{Kind, Work};

/// Which results are checked before they leave the engine (law L12). Work that
/// [must be checked](Work::must_check) always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckPolicy {
    /// Every result if completions run on a thread of the device, else only what must be: there, a check costs the
    /// serving thread as much as a whole handshake.
    #[default]
    Auto,
    /// Every result.
    Always,
    /// Only what must be checked.
    Required,
}

/// Carries work to one [`Accelerator`] and parks whoever asked until it is done.
///
/// Shared freely between threads. Each completion wakes the thread that asked.
pub struct Engine<W: Work> {
    core: Arc<Core<W>>,
}

impl<W: Work> Engine<W> {
    /// Starts to build an engine over `device`.
    pub fn builder(device: Arc<dyn Accelerator<W>>) -> EngineBuilder<W> {
        EngineBuilder {
            device,
            clock: Arc::new(MonotonicClock::new()),
            queue_bound: DEFAULT_QUEUE_BOUND,
            checks: CheckPolicy::Auto,
        }
    }

    /// Carries out `work` and returns its result, as a synchronous function would.
    ///
    /// Inside a job the job pauses, and the thread does something else meanwhile. Where pausing is refused (outside a
    /// job, under a pause block, on the parent's stack, while panicking) the thread blocks (law L11).
    ///
    /// # Errors
    ///
    /// Any [`EngineError`]. To get the work back when the engine refuses it, use [`offer`](Self::offer).
    pub fn run(&self, work: W) -> Result<W::Output, EngineError> {
        // Cancelled is sticky: a job on its way out submits nothing more (law L5).
        if job_core::current().is_some_and(|job| job.is_cancelled()) {
            return Err(EngineError::Cancelled);
        }
        self.offer(work).map_err(|refused| EngineError::Refused(refused.reason))?.wait()
    }

    /// Takes `work` on without waiting for it.
    ///
    /// Inside a job with a wait context the request reports its status and its wake there.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the work, if its queue is full or the engine is closed.
    pub fn offer(&self, work: W) -> Result<Pending<W>, Refused<W>> {
        self.core.offer(work, session_request())
    }

    /// Takes `work` on as a future, for callers that have an executor. Dropping the future cancels the request.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the work, if its queue is full or the engine is closed. The future itself yields any other
    /// [`EngineError`].
    pub fn submit(&self, work: W) -> Result<Submission<W>, Refused<W>> {
        let notifier = Notifier::new();
        let in_flight = notifier.begin().expect("a new notifier has no live request");
        self.core.offer(work, in_flight).map(Submission::new)
    }

    /// Moves a device that has no thread of its own to the present, submits what waits, and says when to call again.
    pub fn poll(&self) -> Option<Duration> {
        self.core.poll()
    }

    /// The time by the engine's clock.
    pub fn now(&self) -> Duration {
        self.core.meter.now()
    }

    /// What the engine has counted.
    pub fn snapshot(&self) -> EngineSnapshot {
        self.core.meter.snapshot()
    }

    /// Takes on no more work; what is in flight goes on.
    pub fn close(&self) {
        self.core.closed.store(true, Ordering::Release);
    }

    /// Waits, at most `timeout` of real time, until no request exists: not even one that nobody waits for but the
    /// device still holds. True if none does. For a device that has its own thread, or that another thread polls.
    pub fn quiesce(&self, timeout: Duration) -> bool {
        self.core.meter.wait_idle(timeout)
    }
}

impl<W: Work> fmt::Debug for Engine<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("device", &self.core.device).finish_non_exhaustive()
    }
}

/// How an [`Engine`] is to be built.
#[derive(Debug)]
#[must_use]
pub struct EngineBuilder<W: Work> {
    device: Arc<dyn Accelerator<W>>,
    clock: Arc<dyn Clock>,
    queue_bound: usize,
    checks: CheckPolicy,
}

impl<W: Work> EngineBuilder<W> {
    /// How many requests of each kind may wait for a free ring entry; the next one is refused. 4,096 by default, zero
    /// for none.
    pub fn queue_bound(mut self, requests: usize) -> Self {
        self.queue_bound = requests;
        self
    }

    /// Which results are checked. [`CheckPolicy::Auto`] by default.
    pub fn checks(mut self, policy: CheckPolicy) -> Self {
        self.checks = policy;
        self
    }

    /// The clock to read. The machine's monotonic clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the engine.
    pub fn build(self) -> Arc<Engine<W>> {
        let check_all = match self.checks {
            CheckPolicy::Auto => self.device.capabilities().completion_thread,
            CheckPolicy::Always => true,
            CheckPolicy::Required => false,
        };
        Arc::new(Engine {
            core: Arc::new(Core {
                device: self.device,
                meter: Arc::new(Meter::new(self.clock)),
                fifo: Mutex::new(Fifo::new(self.queue_bound)),
                queued: AtomicUsize::new(0),
                pump_calls: AtomicUsize::new(0),
                next_id: AtomicU64::new(0),
                check_all,
                closed: AtomicBool::new(false),
            }),
        })
    }
}

/// A few times the largest ring that a device offers, small enough that its memory does not matter.
const DEFAULT_QUEUE_BOUND: usize = 4096;

/// What the engine's requests refer back to.
pub(crate) struct Core<W: Work> {
    device: Arc<dyn Accelerator<W>>,
    meter: Arc<Meter>,
    fifo: Mutex<Fifo<Request<W>>>,
    /// Requests in `fifo`, and one more while the pump holds one in its hand: as long as it is not zero, a new request
    /// of any kind goes to the end of its queue instead of overtaking.
    queued: AtomicUsize,
    /// Calls of [`pump`](Self::pump) that the running pump has not yet answered.
    pump_calls: AtomicUsize,
    next_id: AtomicU64,
    check_all: bool,
    closed: AtomicBool,
}

impl<W: Work> Core<W> {
    fn offer(self: &Arc<Self>, work: W, in_flight: InFlight) -> Result<Pending<W>, Refused<W>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(self.refuse(work, &in_flight, RefusedReason::Closed));
        }
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let kind = work.kind();
        let check = self.check_all || work.must_check();
        let cell =
            Cell::new(id, kind, in_flight, Arc::downgrade(self), Arc::clone(&self.meter), check);
        if plant::strikes(Bug::LeakRequest, id) {
            core::mem::forget(Arc::clone(&cell));
        }
        tracing::trace!(request = id.0, kind = kind.name(), "request.submit");
        let request = Request::new(work, Arc::clone(&cell));
        if let Err(request) = self.hand_over(request) {
            let bound = self.lock_fifo().bound();
            // A request that was never taken on needs no answer: its work goes back.
            let in_flight = cell.in_flight.clone();
            let work = request.into_work().expect("a request that was not submitted has its work");
            return Err(self.refuse(work, &in_flight, RefusedReason::QueueFull { bound }));
        }
        self.meter.count(|c| &c.submitted);
        Ok(Pending::new(cell))
    }

    fn refuse(&self, work: W, in_flight: &InFlight, reason: RefusedReason) -> Refused<W> {
        in_flight.cancel();
        self.meter.count(|c| &c.refused);
        Refused { work, reason }
    }

    /// Gives a new request to the device or to the queue before it; hands it back if that is full.
    fn hand_over(&self, request: Request<W>) -> Result<(), Request<W>> {
        let request = if self.queued.load(Ordering::Acquire) > 0 {
            request
        } else {
            match self.submit(request) {
                Ok(()) => return Ok(()),
                Err(request) => request,
            }
        };
        let kind = request.kind();
        {
            let mut fifo = self.lock_fifo();
            self.queued.fetch_add(1, Ordering::AcqRel);
            if let Err(request) = fifo.push(kind, request) {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                return Err(request);
            }
            self.meter.waiters.add(1);
        }
        self.meter.count(|c| &c.queued);
        // The device may have emptied its ring between the refusal and the push, and then nothing else would pump.
        self.pump();
        Ok(())
    }

    /// Offers one request to the device. Gives it back if the ring is full.
    fn submit(&self, request: Request<W>) -> Result<(), Request<W>> {
        request.cell().stamp_accepted();
        let in_flight = request.cell().in_flight.clone();
        match self.device.submit(request) {
            Ok(()) => {
                in_flight.accept();
                self.meter.count(|c| &c.accepted);
                Ok(())
            }
            Err(Rejected::Full(request)) => {
                self.meter.count(|c| &c.ring_full);
                Err(request)
            }
            Err(Rejected::Unsupported(request, why)) => {
                request.complete(Err(DeviceError::Unsupported(why)));
                Ok(())
            }
        }
    }

    /// Moves waiting requests to the device until it is full again.
    ///
    /// Any thread may call it at any time, also from within: one caller works, and goes round once more for whoever
    /// called meanwhile.
    pub(crate) fn pump(&self) {
        if self.queued.load(Ordering::Acquire) == 0 {
            return;
        }
        if self.pump_calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        loop {
            let calls = self.pump_calls.load(Ordering::Acquire);
            self.pump_once();
            if self.pump_calls.fetch_sub(calls, Ordering::AcqRel) == calls {
                return;
            }
        }
    }

    fn pump_once(&self) {
        let mut full: Vec<Kind> = Vec::new();
        loop {
            let popped = self.pop_waiting(&full);
            let Some((kind, position, request)) = popped else { return };
            match self.submit(request) {
                Ok(()) => {
                    let overtaken = self.lock_fifo().oldest(kind).is_some_and(|p| p < position);
                    self.meter.count(|c| if overtaken { &c.out_of_order } else { &c.in_order });
                    self.queued.fetch_sub(1, Ordering::AcqRel);
                    self.meter.waiters.sub(1);
                }
                Err(request) => {
                    self.lock_fifo().put_back(kind, position, request);
                    full.push(kind);
                }
            }
        }
    }

    fn pop_waiting(&self, full: &[Kind]) -> Option<(Kind, crate::fifo::Position, Request<W>)> {
        let mut fifo = self.lock_fifo();
        #[cfg(feature = "plant")]
        if plant::armed(Bug::LifoQueue) {
            return fifo.pop_newest(full);
        }
        fifo.pop(full)
    }

    /// Takes a cancelled request out of the queue, if it is still there.
    pub(crate) fn withdraw(&self, kind: Kind, id: RequestId) {
        let removed = self.lock_fifo().remove(kind, |request| request.id() == id);
        if let Some(request) = removed {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.meter.waiters.sub(1);
            drop(request.into_work());
        }
    }

    pub(crate) fn poll(&self) -> Option<Duration> {
        let next = self.device.poll(self.meter.now());
        self.pump();
        next
    }

    pub(crate) fn needs_poll(&self) -> bool {
        self.device.capabilities().needs_poll
    }

    fn lock_fifo(&self) -> MutexGuard<'_, Fifo<Request<W>>> {
        // Nothing panics while the queues are locked, so poisoned ones are still whole.
        self.fifo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait context's request of the current job; or a free-standing one that nobody else watches.
fn session_request() -> InFlight {
    let alone = |notifier: Notifier| notifier.begin().expect("a new notifier has no live request");
    let Some(ctx) = job_core::current().and_then(|job| job.wait_ctx()) else {
        return alone(Notifier::new());
    };
    ctx.notifier().begin().unwrap_or_else(|_live| {
        // The job has another request in flight: this one wakes by the same routes.
        let notifier = Notifier::new();
        notifier.set_route(Route::Waker(ctx.notifier().waker()));
        alone(notifier)
    })
}

//! The waiting half of a request.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use job_core::Pause;
use wait_ctx::{Arm, Route, contain};

use crate::cell::Cell;
use crate::dispatch::Core;
use crate::error::{DeviceError, EngineError};
use crate::lane::Retried;
use crate::plant::{self, Bug};
use crate::request::{Request, RequestId};
use crate::work::{Kind, Work};

/// A request in flight, as its caller holds it: to be awaited, [waited for](Self::wait) or
/// [polled](Self::poll_result). Dropping it cancels the request.
///
/// As a future it registers the waker of its task. A request that was submitted in a job with a wait context, or on a
/// notifier, wakes that session instead: await it where the session's wakes arrive. Polling the future again after it
/// has yielded its result panics.
#[must_use = "dropping a pending request cancels it"]
pub struct Pending<W: Work> {
    /// `None` once the result is taken.
    cell: Option<Arc<Cell<W>>>,
    /// The request itself, while the ring is full and this side is to submit it.
    kept: Option<Request<W>>,
    wakes_by: WakesBy,
}

/// How the completion of a request wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakesBy {
    /// By the routes of a session, which this request leaves as they are.
    Session,
    /// By the waker of the task that awaits it.
    OwnWaker,
}

impl<W: Work> Pending<W> {
    pub(crate) fn new(cell: Arc<Cell<W>>, kept: Option<Request<W>>, wakes_by: WakesBy) -> Self {
        Self { cell: Some(cell), kept, wakes_by }
    }

    /// The request's number.
    ///
    /// # Panics
    ///
    /// After the result was taken.
    pub fn id(&self) -> RequestId {
        self.cell().id
    }

    /// The request's kind.
    ///
    /// # Panics
    ///
    /// After the result was taken.
    pub fn kind(&self) -> Kind {
        self.cell().kind
    }

    /// Waits for the result: pauses the current job, or blocks the thread where pausing is refused (law L11).
    ///
    /// Extra resumes of the job change nothing (law L2).
    ///
    /// # Errors
    ///
    /// Any [`EngineError`]; [`EngineError::Cancelled`] if the job was cancelled while it waited.
    pub fn wait(mut self) -> Result<W::Output, EngineError> {
        let cell = Arc::clone(self.cell());
        if may_pause() {
            self.park(&cell)?;
        } else {
            self.block(&cell);
        }
        self.collect(&cell)
    }

    /// The result, if it is there; else arms the request, so that its completion wakes. For callers that drive
    /// themselves, outside any job.
    ///
    /// Polling without a wake changes nothing (law L2).
    ///
    /// # Panics
    ///
    /// Polling again after the result was taken panics.
    pub fn poll_result(&mut self) -> Poll<Result<W::Output, EngineError>> {
        let cell = Arc::clone(self.cell());
        if self.arm(&cell) {
            return Poll::Pending;
        }
        Poll::Ready(self.collect(&cell))
    }

    /// From here on a completion wakes; one that came before is seen here and wakes nobody (laws L3, L4). True if there
    /// is something to wait for.
    fn arm(&mut self, cell: &Cell<W>) -> bool {
        loop {
            self.take_turn(cell);
            match cell.in_flight.arm() {
                Arm::Armed => return true,
                Arm::Settled(_) => return false,
                // The turn came between the two questions.
                Arm::Retry => {}
            }
        }
    }

    /// Submits the request if it is this side's turn to; that says the engine, the wake for it was only a hint. True if
    /// it was.
    fn take_turn(&mut self, cell: &Cell<W>) -> bool {
        let Some((core, request)) = self.take_kept(cell) else { return cell.is_settled() };
        let (kept, was_turn) = match core.device.retry(&core, request) {
            Retried::NotYet(request) => (Some(request), false),
            Retried::Full(request) => (Some(request), true),
            Retried::Submitted => (None, true),
        };
        self.kept = kept;
        was_turn
    }

    /// The request, if this side has it, and its engine. If that has gone, so has the request.
    fn take_kept(&mut self, cell: &Cell<W>) -> Option<(Arc<Core<W>>, Request<W>)> {
        let request = self.kept.take()?;
        let core = cell.core.upgrade();
        if core.is_none() && cell.is_on_standby() {
            // The answer is to come from there.
            drop(request.into_work());
            return None;
        }
        core.map(|core| (core, request))
    }

    fn park(&mut self, cell: &Cell<W>) -> Result<(), EngineError> {
        while self.arm(cell) {
            tracing::trace!(request = cell.id.as_u64(), kind = cell.kind.name(), "request.park");
            match job_core::pause() {
                Pause::Resumed => {
                    drain_own_fd();
                    cell.meter().count(|c| &c.resumes);
                    if !cell.is_settled() && !self.take_turn(cell) {
                        cell.meter().count(|c| &c.spurious_resumes);
                        if plant::armed(Bug::TrustWake) {
                            return Err(EngineError::Device(DeviceError::Failed("trusted a wake")));
                        }
                    }
                }
                Pause::Cancelled => return Err(EngineError::Cancelled),
                // Pausing is refused after all; the thread has to wait itself (law L11).
                _ => {
                    self.block(cell);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, cell: &Cell<W>) {
        cell.meter().count(|c| &c.blocking_waits);
        if let Some((core, request)) = self.take_kept(cell) {
            core.device.queue_instead(&core, request);
        }
        let elsewhere = |core: Arc<Core<W>>| core.is_elsewhere();
        if !cell.is_settled() && cell.core.upgrade().is_some_and(elsewhere) {
            // Submitted before a fork, in the parent: no thread of this process will answer.
            return;
        }
        // Neither engine nor device is kept alive by the wait: it ends when they go.
        let scope = match cell.core.upgrade() {
            Some(core) if !cell.is_settled() => core.blocking(),
            _ => Ok(None),
        };
        let waited = scope.and_then(|scope| {
            let mut wait = || block_until_settled(cell);
            match scope {
                Some(scope) => contain("the blocking scope of a device", || scope(&mut wait))
                    .unwrap_or(Err(DeviceError::Failed("its blocking scope panicked"))),
                None => {
                    wait();
                    Ok(())
                }
            }
        });
        if let Err(error) = waited
            && let Some(core) = cell.core.upgrade()
        {
            cell.fail(&core, EngineError::Device(error));
        }
    }

    fn collect(&mut self, cell: &Cell<W>) -> Result<W::Output, EngineError> {
        self.cell = None;
        cell.collect().unwrap_or(Err(EngineError::Cancelled))
    }

    pub(crate) fn cell(&self) -> &Arc<Cell<W>> {
        self.cell.as_ref().expect("the result of this request has been taken")
    }
}

impl<W: Work> Future for Pending<W> {
    type Output = Result<W::Output, EngineError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.wakes_by == WakesBy::OwnWaker {
            // The waker first: once armed, a completion on another thread uses it.
            self.cell().in_flight.notifier().set_route(Route::Waker(cx.waker().clone()));
        }
        self.poll_result()
    }
}

/// Nothing in it is ever pinned.
impl<W: Work> Unpin for Pending<W> {}

impl<W: Work> Drop for Pending<W> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            if self.wakes_by == WakesBy::OwnWaker {
                // Drops the task's waker now: the device may hold the request for long.
                cell.in_flight.notifier().clear_route();
            }
            cell.abandon();
        }
        if let Some(request) = self.kept.take() {
            // It never reached a device: there is no answer to expect.
            drop(request.into_work());
        }
    }
}

impl<W: Work> fmt::Debug for Pending<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = self.cell.as_deref();
        f.debug_struct("Pending")
            .field("id", &cell.map(|cell| cell.id))
            .field("kind", &cell.map(|cell| cell.kind))
            .finish()
    }
}

fn block_until_settled<W: Work>(cell: &Cell<W>) {
    while !cell.is_settled() {
        // There may be no other thread that polls: the waiting thread does.
        let timeout = cell.core.upgrade().and_then(|core| {
            let next = core.poll()?;
            Some(next.saturating_sub(core.meter.now()))
        });
        cell.block(timeout);
    }
}

/// Whether [`job_core::pause`] would pause. Asked first, so that a request whose thread blocks is never armed and
/// wakes nobody else.
pub(crate) fn may_pause() -> bool {
    !std::thread::panicking() && job_core::current().is_some_and(|job| !job.is_blocked())
}

/// A wake by the session's own descriptor leaves it readable; after the resume it must not be.
fn drain_own_fd() {
    if let Some(ctx) = job_core::current().and_then(|job| job.wait_ctx()) {
        ctx.drain_notify();
    }
}

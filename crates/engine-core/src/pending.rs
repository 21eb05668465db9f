//! The caller's half of a request.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::{Arc, Weak};

use wait_ctx::{Arm, Route, contain};

use crate::device_queue::Retried;
use crate::error::{DeviceError, EngineError};
use crate::event::event;
use crate::inner::EngineInner;
use crate::jobs::{self, Paused};
use crate::plant::{self, Bug};
use crate::request::Request;
use crate::state::RequestState;
use crate::work::{Kind, RequestId, Work};

/// A request in flight, as its caller holds it: to be awaited, [waited for](Self::wait) or
/// [polled](Self::poll_result). Dropping it cancels the request.
///
/// As a future it wakes the task that polled it last. A request that was submitted on a notifier wakes that too. If the
/// notifier's wait context is dropped the request is cancelled, and its task is not woken. Polling the future again after
/// it has yielded its result panics.
#[must_use = "dropping a pending request cancels it"]
pub struct Pending<W: Work> {
    /// `None` once the result is taken.
    state: Option<Arc<RequestState<W>>>,
    /// Weak: neither engine nor device is kept alive by a caller that waits.
    engine: Weak<EngineInner<W>>,
    /// The request itself, while the ring is full and this side is to submit it. Boxed: most never have one.
    kept: Option<Box<Request<W>>>,
    wakes_by: WakesBy,
}

/// How the completion of a request wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakesBy {
    /// By the routes of a session, which this request leaves as they are.
    Session,
    /// By a notifier of its own, whose route is to the task that polls it or to the job that waits for it.
    OwnWaker,
}

impl<W: Work> Pending<W> {
    pub(crate) fn new(
        engine: &EngineInner<W>,
        state: Arc<RequestState<W>>,
        kept: Option<Request<W>>,
        wakes_by: WakesBy,
    ) -> Self {
        let (state, kept) = (Some(state), kept.map(Box::new));
        Self { state, engine: Weak::clone(&engine.this), kept, wakes_by }
    }

    /// The request's number.
    ///
    /// # Panics
    ///
    /// After the result was taken.
    pub fn id(&self) -> RequestId {
        self.state().id
    }

    /// The request's kind.
    ///
    /// # Panics
    ///
    /// After the result was taken.
    pub fn kind(&self) -> Kind {
        self.state().kind
    }

    /// Waits for the result: pauses the current job, or blocks the thread where pausing is refused. Extra
    /// resumes of the job do no harm.
    ///
    /// # Errors
    ///
    /// Any [`EngineError`]; [`EngineError::Cancelled`] if the job was cancelled while it waited.
    pub fn wait(mut self) -> Result<W::Output, EngineError> {
        let state = Arc::clone(self.state());
        if jobs::may_pause() {
            self.park(&state)?;
        } else {
            self.block(&state);
        }
        self.collect(&state)
    }

    /// The result, if it is there; else arms the request, so that its completion wakes. For callers that drive
    /// themselves, outside any job. Polling without a wake does no harm.
    ///
    /// # Panics
    ///
    /// Polling again after the result was taken panics.
    pub fn poll_result(&mut self) -> Poll<Result<W::Output, EngineError>> {
        self.wake_job();
        self.poll_armed()
    }

    fn poll_armed(&mut self) -> Poll<Result<W::Output, EngineError>> {
        let state = Arc::clone(self.state());
        if self.arm(&state) {
            return Poll::Pending;
        }
        Poll::Ready(self.collect(&state))
    }

    /// Routes the wakes of a request with its own notifier to the current job, if something wakes that.
    fn wake_job(&self) {
        if self.wakes_by == WakesBy::OwnWaker
            && let Some(waker) = jobs::waker()
        {
            self.state().in_flight.notifier().set_route(Route::Waker(waker));
        }
    }

    /// From here on a completion wakes. An earlier one is seen here, and makes no wake (laws L3, L4). True if the request
    /// has to be waited for; not in a child made by `fork`, where no answer comes.
    fn arm(&mut self, state: &RequestState<W>) -> bool {
        if !state.is_settled() && self.is_elsewhere() {
            return false;
        }
        loop {
            self.use_permit(state);
            match state.in_flight.arm() {
                Arm::Armed => return true,
                Arm::Settled(_) => return false,
                // A permit came between the two checks.
                Arm::Retry => {}
            }
        }
    }

    /// Submits the kept request if the engine has granted a permit; a wake is only a hint of one. True if it had, or if
    /// the request is settled.
    fn use_permit(&mut self, state: &RequestState<W>) -> bool {
        let Some((engine, request)) = self.take_kept(state) else { return state.is_settled() };
        let (kept, permitted) = match engine.retry(request) {
            Retried::NotYet(request) => (Some(request), false),
            Retried::Full(request) => (Some(request), true),
            Retried::Submitted => (None, true),
        };
        self.kept = kept.map(Box::new);
        permitted
    }

    /// The request, if this side keeps it, and its engine. If the engine is gone, the request ends.
    fn take_kept(&mut self, state: &RequestState<W>) -> Option<(Arc<EngineInner<W>>, Request<W>)> {
        let request = *self.kept.take()?;
        let engine = self.engine.upgrade();
        if engine.is_none() && state.is_on_standby() {
            // The standby still holds the other request, and answers.
            drop(request.into_work());
            return None;
        }
        engine.map(|engine| (engine, request))
    }

    fn park(&mut self, state: &RequestState<W>) -> Result<(), EngineError> {
        self.wake_job();
        while self.arm(state) {
            event!(TRACE, request = state.id.as_u64(), kind = state.kind.name(), "request.park");
            match jobs::pause() {
                Paused::Resumed => {
                    drain_own_fd();
                    // Another task may await the job now.
                    self.wake_job();
                    state.meter.count(|c| &c.resumes);
                    if !state.is_settled() && !self.use_permit(state) {
                        state.meter.count(|c| &c.spurious_resumes);
                        if plant::armed(Bug::TrustWake) {
                            return Err(EngineError::Device(DeviceError::Failed("trusted a wake")));
                        }
                    }
                }
                Paused::Cancelled => return Err(EngineError::Cancelled),
                Paused::Refused => {
                    self.block(state);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, state: &RequestState<W>) {
        // Before any lock: a thread may hold it that is not in this process.
        if !state.is_settled() && self.is_elsewhere() {
            return;
        }
        state.meter.count(|c| &c.blocking_waits);
        if let Some((engine, request)) = self.take_kept(state) {
            engine.queue_instead(request);
        }
        let scope = match self.engine.upgrade() {
            Some(engine) if !state.is_settled() => engine.blocking(),
            _ => Ok(None),
        };
        let waited = scope.and_then(|scope| {
            let mut wait = || block_until_settled(state, &self.engine);
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
            && let Some(engine) = self.engine.upgrade()
        {
            engine.fail(state, EngineError::Device(error));
        }
    }

    fn collect(&mut self, state: &RequestState<W>) -> Result<W::Output, EngineError> {
        // Not settled only in a child made by `fork`, where the lock of the result may be held for ever.
        let result = if state.is_settled() { state.collect() } else { None };
        if result.is_some() {
            self.state = None;
        } else {
            self.abandon();
        }
        result.unwrap_or(Err(EngineError::Cancelled))
    }

    /// Cancels the request, and unlinks it from the engine if it is there still. In a child made by `fork` it leaks this
    /// half: it is the parent's request, and a lock may be held by a thread that only the parent has.
    fn abandon(&mut self) {
        let Some(state) = self.state.take() else { return };
        if self.is_elsewhere() {
            core::mem::forget((state, self.kept.take()));
            return;
        }
        if self.wakes_by == WakesBy::OwnWaker {
            // Drops the task's waker now: the device may hold the request for long.
            state.in_flight.notifier().clear_route();
        }
        if state.abandon()
            && let Some(engine) = self.engine.upgrade()
        {
            engine.unlink(&state);
        }
    }

    /// Whether the request was submitted before a `fork`, in the parent: no thread of this process will answer.
    fn is_elsewhere(&self) -> bool {
        self.engine.upgrade().is_some_and(|engine| engine.is_elsewhere())
    }

    fn state(&self) -> &Arc<RequestState<W>> {
        self.state.as_ref().expect("the result of this request has been taken")
    }
}

impl<W: Work> Future for Pending<W> {
    type Output = Result<W::Output, EngineError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = self.state();
        // The waker first: once armed, a completion on another thread uses it. A settled request wakes no more.
        if !state.is_settled() {
            match self.wakes_by {
                WakesBy::OwnWaker => {
                    state.in_flight.notifier().set_route(Route::Waker(cx.waker().clone()));
                }
                WakesBy::Session => state.set_task(cx.waker()),
            }
        }
        self.poll_armed()
    }
}

/// Nothing in it is ever pinned.
impl<W: Work> Unpin for Pending<W> {}

impl<W: Work> Drop for Pending<W> {
    fn drop(&mut self) {
        self.abandon();
        if let Some(request) = self.kept.take() {
            // It never reached a device, so there is no answer to report.
            drop(request.into_work());
        }
    }
}

impl<W: Work> fmt::Debug for Pending<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.as_deref();
        f.debug_struct("Pending")
            .field("id", &state.map(|state| state.id))
            .field("kind", &state.map(|state| state.kind))
            .finish()
    }
}

fn block_until_settled<W: Work>(state: &RequestState<W>, engine: &Weak<EngineInner<W>>) {
    while !state.is_settled() {
        // There may be no other thread that polls: this one does.
        let timeout = engine.upgrade().and_then(|engine| {
            let next = engine.poll()?;
            Some(next.saturating_sub(engine.meter.now()))
        });
        state.block(timeout);
    }
}

/// Empties the session's own descriptor after a resume: a wake through it leaves it readable.
fn drain_own_fd() {
    if let Some(ctx) = jobs::wait_ctx() {
        ctx.drain_notify();
    }
}

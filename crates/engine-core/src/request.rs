//! One request: the half that travels to the device, and what it shares with the half that waits.
//!
//! ```text
//!      the job's side                 shared                  the device's side
//!   +----------------+        +-------------------+        +------------------+
//!   | Pending<W>     |--Arc-->| Cell<W>           |<--Arc--| Request<W>       |
//!   |  wait, cancel  |        |  word (wait-ctx)  |        |  owns the work   |
//!   +----------------+        |  result slot      |        |  complete(..)    |
//!                             +-------------------+        +------------------+
//! ```
//!
//! Who may touch what, when:
//! 1. The work belongs to `Request` alone, from submission to completion.
//! 2. The result slot is written by the one caller whose [`InFlight::claim`] won, while it holds the slot's lock; so
//!    whoever sees a settled word and then takes the lock finds the result.
//! 3. The result is taken by `Pending` alone. If `Pending` went away first, the claim fails and the result goes to
//!    [`Work::erase`].

use core::fmt;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::panic::catch_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use wait_ctx::{InFlight, Outcome, RequestState};

use crate::engine::Core;
use crate::error::{DeviceError, EngineError};
use crate::meter::Meter;
use crate::plant::{self, Bug};
use crate::work::{CheckFailed, Kind, Work};

/// The number of a request, unique within its engine. The field `request` of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

impl RequestId {
    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request on its way to a device and back. Owns the [`Work`].
///
/// Dropping it without [`complete`](Self::complete) completes it with [`DeviceError::Lost`], or with
/// [`EngineError::Gone`] if the engine was dropped.
pub struct Request<W: Work> {
    /// `None` only once completed.
    work: Option<W>,
    cell: Arc<Cell<W>>,
}

impl<W: Work> Request<W> {
    pub(crate) fn new(work: W, cell: Arc<Cell<W>>) -> Self {
        Self { work: Some(work), cell }
    }

    /// What the device is to do.
    pub fn work(&self) -> &W {
        self.work.as_ref().expect("a request owns its work until it is completed")
    }

    /// The request's number.
    pub fn id(&self) -> RequestId {
        self.cell.id
    }

    /// The request's kind.
    pub fn kind(&self) -> Kind {
        self.cell.kind
    }

    /// Whether nobody waits for the result any more. A device may drop such a request instead of computing it.
    pub fn is_abandoned(&self) -> bool {
        self.cell.is_settled()
    }

    /// Ends the request with the device's answer: checks it, hands it over, wakes whoever waits, and lets the engine
    /// submit the next waiting request.
    ///
    /// Call it without holding a lock that [`Accelerator::submit`](crate::Accelerator::submit) takes.
    pub fn complete(mut self, answer: Result<W::Output, DeviceError>) {
        if let Some(work) = self.work.take() {
            self.cell.settle(&work, answer.map_err(EngineError::Device));
        }
    }

    /// Takes back a request that never reached a device.
    pub(crate) fn into_work(mut self) -> Option<W> {
        self.work.take()
    }

    pub(crate) fn cell(&self) -> &Cell<W> {
        &self.cell
    }
}

impl<W: Work> Drop for Request<W> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let gone = self.cell.core.strong_count() == 0;
            let error =
                if gone { EngineError::Gone } else { EngineError::Device(DeviceError::Lost) };
            self.cell.settle(&work, Err(error));
        }
    }
}

impl<W: Work> fmt::Debug for Request<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.cell.id)
            .field("kind", &self.cell.kind)
            .finish_non_exhaustive()
    }
}

/// What both halves of a request share.
pub(crate) struct Cell<W: Work> {
    pub(crate) id: RequestId,
    pub(crate) kind: Kind,
    pub(crate) in_flight: InFlight,
    /// Weak, for a device owned by the engine holds requests.
    pub(crate) core: Weak<Core<W>>,
    meter: Arc<Meter>,
    /// Whether the result of this request is checked, decided at submission.
    check: bool,
    slot: Mutex<Slot<W::Output>>,
    settled: Condvar,
    times: Times,
}

struct Slot<O> {
    result: Option<Result<O, EngineError>>,
    /// A thread sleeps on `settled`.
    blocked: bool,
}

/// When the request passed each station, in nanoseconds of the engine's clock.
#[derive(Debug, Default)]
struct Times {
    submitted: AtomicU64,
    accepted: AtomicU64,
    completed: AtomicU64,
}

impl<W: Work> Cell<W> {
    pub(crate) fn new(
        id: RequestId,
        kind: Kind,
        in_flight: InFlight,
        core: Weak<Core<W>>,
        meter: Arc<Meter>,
        check: bool,
    ) -> Arc<Self> {
        let times = Times::default();
        times.submitted.store(meter.now_ns(), Ordering::Relaxed);
        meter.requests.add(1);
        let slot = Mutex::new(Slot { result: None, blocked: false });
        let settled = Condvar::new();
        Arc::new(Self { id, kind, in_flight, core, meter, check, slot, settled, times })
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self.in_flight.state(), RequestState::Queued | RequestState::Submitted)
    }

    /// Notes that the request is about to be handed to the device. Before the hand-over, because the completion may
    /// overtake the return of `submit`.
    pub(crate) fn stamp_accepted(&self) {
        self.times.accepted.store(self.meter.now_ns(), Ordering::Relaxed);
    }

    fn settle(&self, work: &W, answer: Result<W::Output, EngineError>) {
        let result = match answer {
            // Nobody waits: not worth a check, and the claim below would fail anyway.
            _ if self.is_settled() => {
                self.late(answer.ok());
                return;
            }
            Ok(output) => self.checked(work, output),
            Err(error) => Err(error),
        };
        self.times.completed.store(self.meter.now_ns(), Ordering::Relaxed);
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        let mut slot = self.lock();
        let Some(claim) = self.in_flight.claim(outcome) else {
            drop(slot);
            self.late(result.ok());
            return;
        };
        let error = result.as_ref().err().cloned();
        slot.result = Some(result);
        let blocked = slot.blocked;
        drop(slot);
        if blocked {
            self.settled.notify_one();
        }
        match error {
            None => self.meter.count(|c| &c.completed),
            Some(error) => {
                self.meter.count(|c| &c.failed);
                tracing::debug!(request = self.id.0, kind = self.kind.name(), %error, "request.failed");
            }
        }
        self.record_times();
        if plant::strikes(Bug::LostWake, self.id) {
            // The claim's drop would still wake; a bug that loses a wake loses the claim.
            core::mem::forget(claim);
        } else if claim.wake() {
            self.meter.count(|c| &c.wakes);
            if plant::strikes(Bug::DoubleWake, self.id) {
                self.in_flight.notifier().waker().wake();
            }
        }
        self.pump();
    }

    fn checked(&self, work: &W, output: W::Output) -> Result<W::Output, EngineError> {
        if !self.check || plant::strikes(Bug::SkipCheck, self.id) {
            return Ok(output);
        }
        self.meter.count(|c| &c.checked);
        // A check that panics must not leave the request unsettled, nor take down the device's thread.
        let verdict = catch_unwind(AssertUnwindSafe(|| work.check(&output)))
            .unwrap_or(Err(CheckFailed("the check panicked")));
        match verdict {
            Ok(()) => Ok(output),
            Err(why) => {
                self.meter.count(|c| &c.check_failures);
                W::erase(output);
                Err(EngineError::Invalid(why))
            }
        }
    }

    /// A result that comes too late goes to the sink: counted, wiped, dropped.
    fn late(&self, output: Option<W::Output>) {
        self.meter.count(|c| &c.late);
        tracing::debug!(request = self.id.0, kind = self.kind.name(), "request.late");
        if let Some(output) = output {
            W::erase(output);
        }
        self.pump();
    }

    fn pump(&self) {
        if let Some(core) = self.core.upgrade() {
            core.pump();
        }
    }

    fn record_times(&self) {
        let at = |time: &AtomicU64| Duration::from_nanos(time.load(Ordering::Relaxed));
        let (submitted, accepted) = (at(&self.times.submitted), at(&self.times.accepted));
        let completed = at(&self.times.completed);
        self.meter.queue_wait.record(accepted.saturating_sub(submitted));
        self.meter.device_time.record(completed.saturating_sub(accepted));
        tracing::trace!(
            request = self.id.0,
            kind = self.kind.name(),
            wait_us = accepted.saturating_sub(submitted).as_micros() as u64,
            device_us = completed.saturating_sub(accepted).as_micros() as u64,
            "request.complete"
        );
    }

    /// Takes the result. `None` while the request is not settled, and for a cancelled one.
    pub(crate) fn collect(&self) -> Option<Result<W::Output, EngineError>> {
        let result = self.lock().result.take()?;
        let completed = self.times.completed.load(Ordering::Relaxed);
        let delay = Duration::from_nanos(self.meter.now_ns().saturating_sub(completed));
        self.meter.resume_delay.record(delay);
        Some(result)
    }

    /// Gives the request up. Whatever the device still answers goes to the sink.
    pub(crate) fn abandon(&self) {
        let queued = self.in_flight.state() == RequestState::Queued;
        if self.in_flight.cancel() {
            self.meter.count(|c| &c.cancelled);
            tracing::debug!(request = self.id.0, kind = self.kind.name(), "request.cancelled");
            if queued && let Some(core) = self.core.upgrade() {
                core.withdraw(self.kind, self.id);
            }
        } else if let Some(Ok(output)) = { self.lock().result.take() } {
            self.meter.count(|c| &c.late);
            W::erase(output);
        }
    }

    /// Blocks the thread until the request is settled, or until `timeout` has passed.
    pub(crate) fn block(&self, timeout: Option<Duration>) {
        let mut slot = self.lock();
        slot.blocked = true;
        while slot.result.is_none() && !self.is_settled() {
            match timeout {
                None => slot = self.settled.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    slot = self
                        .settled
                        .wait_timeout(slot, timeout)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    break;
                }
            }
        }
        slot.blocked = false;
    }

    fn lock(&self) -> MutexGuard<'_, Slot<W::Output>> {
        // Nothing panics while the slot is locked, so a poisoned slot is still whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Drop for Cell<W> {
    fn drop(&mut self) {
        if let Some(Ok(output)) =
            self.slot.get_mut().unwrap_or_else(PoisonError::into_inner).result.take()
        {
            W::erase(output);
        }
        self.meter.request_gone();
    }
}

//! What the two halves of a request share: the half that waits, and the half that travels to the device.
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
//! 1. The work belongs to `Request` alone, from submission to completion. A copy for the standby, if the options ask for
//!    one, lies in the slot until it is used or the request is settled.
//! 2. The result slot is written by the one caller whose [`InFlight::claim`] won, while it holds the slot's lock; so
//!    whoever sees a settled word and then takes the lock finds the result.
//! 3. The result is taken by `Pending` alone. If `Pending` went away first, the claim fails and the result goes to
//!    [`Work::erase`].

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use wait_ctx::{Ending, InFlight, RequestPhase};

use crate::dispatch::{Core, FellBack};
use crate::error::EngineError;
use crate::foreign::{self, Foreign};
use crate::lane::Role;
use crate::meter::Meter;
use crate::options::RequestOptions;
use crate::plant::{self, Bug};
use crate::request::RequestId;
use crate::roster::Place;
use crate::work::{CheckFailed, Kind, Work};

pub(crate) struct Cell<W: Work> {
    pub(crate) id: RequestId,
    pub(crate) kind: Kind,
    /// What [`Work::must_check`] says.
    pub(crate) must_check: bool,
    pub(crate) options: RequestOptions,
    pub(crate) in_flight: InFlight,
    /// Weak, for a device owned by the engine holds requests.
    pub(crate) core: Weak<Core<W>>,
    meter: Arc<Meter>,
    /// The standby has it, or had it.
    pub(crate) on_standby: AtomicBool,
    /// Its place in the engine's roster, or [`NOWHERE`].
    place: AtomicU32,
    slot: Mutex<Slot<W>>,
    /// A thread sleeps on `settled`, or is about to. Exchanged, never just read or written: whoever comes second sees
    /// what the first did before.
    blocked: AtomicBool,
    settled: Condvar,
    times: Times,
}

struct Slot<W: Work> {
    result: Option<Result<W::Output, EngineError>>,
    /// A copy for the standby.
    spare: Option<Foreign<W>>,
}

/// No place in the roster.
const NOWHERE: u32 = u32::MAX;

/// When the request passed each station, in nanoseconds of the engine's clock.
#[derive(Debug, Default)]
struct Times {
    submitted: AtomicU64,
    accepted: AtomicU64,
    completed: AtomicU64,
}

impl Times {
    /// Until work on the request began, and from there to its completion.
    fn so_far(&self) -> (Duration, Duration) {
        let at = |time: &AtomicU64| Duration::from_nanos(time.load(Ordering::Relaxed));
        let (submitted, accepted) = (at(&self.submitted), at(&self.accepted));
        let completed = at(&self.completed);
        (accepted.saturating_sub(submitted), completed.saturating_sub(accepted))
    }
}

impl<W: Work> Cell<W> {
    pub(crate) fn new(
        id: RequestId,
        kind: Kind,
        must_check: bool,
        options: RequestOptions,
        in_flight: InFlight,
        core: &Arc<Core<W>>,
    ) -> Arc<Self> {
        let meter = Arc::clone(&core.meter);
        let times = Times::default();
        let now = meter.now_ns();
        times.submitted.store(now, Ordering::Relaxed);
        times.accepted.store(now, Ordering::Relaxed);
        meter.requests.add(1);
        Arc::new(Self {
            id,
            kind,
            must_check,
            options,
            in_flight,
            core: Arc::downgrade(core),
            meter,
            on_standby: AtomicBool::new(false),
            place: AtomicU32::new(NOWHERE),
            slot: Mutex::new(Slot { result: None, spare: None }),
            blocked: AtomicBool::new(false),
            settled: Condvar::new(),
            times,
        })
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self.in_flight.phase(), RequestPhase::Queued | RequestPhase::Submitted)
    }

    /// Whether it may be in a queue. Once submitted to a device, it can only be in that of the standby.
    fn may_wait(&self) -> bool {
        self.in_flight.phase() == RequestPhase::Queued || self.is_on_standby()
    }

    pub(crate) fn is_on_standby(&self) -> bool {
        self.on_standby.load(Ordering::Acquire)
    }

    pub(crate) fn place(&self) -> Option<Place> {
        let place = self.place.load(Ordering::Acquire);
        (place != NOWHERE).then(|| Place::from_u32(place))
    }

    pub(crate) fn set_place(&self, place: Place) {
        self.place.store(place.as_u32(), Ordering::Release);
    }

    pub(crate) fn set_spare(&self, spare: Option<Foreign<W>>) {
        let old = core::mem::replace(&mut self.lock().spare, spare);
        drop(old);
    }

    pub(crate) fn take_spare(&self) -> Option<Foreign<W>> {
        self.lock().spare.take()
    }

    /// Notes that the request, having waited, is about to be handed to the device. Before the hand-over, because the
    /// completion may overtake the return of `submit`. One that did not wait was accepted when it was submitted.
    pub(crate) fn stamp_accepted(&self) {
        self.times.accepted.store(self.meter.now_ns(), Ordering::Relaxed);
    }

    /// Notes that the device began its work so long before now.
    pub(crate) fn stamp_begun(&self, before: Duration) {
        let before = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
        let begun = self.meter.now_ns().saturating_sub(before);
        // Not before it was given to the device, whose clock may be another one.
        self.times.accepted.fetch_max(begun, Ordering::Relaxed);
    }

    /// A device's answer, and the work that it was for.
    pub(crate) fn settle(
        self: &Arc<Self>,
        role: Role,
        check: bool,
        work: Foreign<W>,
        answer: Result<W::Output, EngineError>,
    ) {
        let core = self.core.upgrade();
        if self.is_settled() && !self.takes_more() {
            // Nobody waits: not worth a check, and the claim would fail anyway.
            self.late(answer.ok());
        } else {
            let result = answer.and_then(|output| self.checked(check, &work, output));
            #[cfg(feature = "plant")]
            let result = match &core {
                Some(core) => core.swap(result),
                None => result,
            };
            match &core {
                Some(core) if role == Role::Device => self.settle_device(core, work, result),
                core => drop(self.publish(core.as_deref(), result)),
            }
        }
        if let Some(core) = core {
            core.handle_room(role);
        }
    }

    /// What the device itself has answered: the standby may have to do better.
    fn settle_device(
        self: &Arc<Self>,
        core: &Core<W>,
        work: Foreign<W>,
        result: Result<W::Output, EngineError>,
    ) {
        core.note_outcome(&result);
        if let Err(error) = &result {
            match core.fall_back(self, work, error) {
                FellBack::Now => return,
                // The standby is at it since the deadline; the device need not have troubled.
                FellBack::Before => return self.late(None),
                FellBack::Never => {}
            }
        }
        self.publish(Some(core), result);
        if self.is_on_standby() {
            // It may still wait there.
            drop(core.withdraw(self.id));
        }
    }

    /// Gives whoever waits this outcome and wakes them. False if they have one already, or have gone: then it goes to
    /// the sink.
    pub(crate) fn publish(
        &self,
        core: Option<&Core<W>>,
        result: Result<W::Output, EngineError>,
    ) -> bool {
        self.times.completed.store(self.meter.now_ns(), Ordering::Relaxed);
        let outcome = if result.is_ok() { Ending::Done } else { Ending::Failed };
        let mut slot = self.lock();
        let claim = self.in_flight.claim(outcome);
        if claim.is_none() && !self.takes_more() {
            drop(slot);
            self.late(result.ok());
            return false;
        }
        let error = result.as_ref().err().cloned();
        slot.result = Some(result);
        let spare = slot.spare.take();
        drop(slot);
        drop(spare);
        match error {
            None => self.meter.count(|c| &c.completed),
            Some(error) => {
                self.meter.count(|c| &c.failed);
                tracing::debug!(request = self.id.0, kind = self.kind.name(), %error, "request.failed");
                self.meter.complain(self.kind, &error);
            }
        }
        self.record_times();
        if let Some(core) = core {
            self.leave_roster(core);
        }
        let Some(claim) = claim else {
            // Somebody else has claimed it before, or nobody will: only a planted bug comes here.
            self.in_flight.notifier().waker().wake();
            return true;
        };
        if plant::strikes(Bug::LostWake, self.id) {
            // The claim's drop would still wake; a bug that loses a wake loses the claim.
            core::mem::forget(claim);
        } else if claim.wake() {
            self.meter.count(|c| &c.wakes);
            if plant::strikes(Bug::DoubleWake, self.id) {
                self.in_flight.notifier().waker().wake();
            }
        }
        self.unblock();
        true
    }

    /// Whether a planted bug lets a request that has its outcome be completed once more.
    fn takes_more(&self) -> bool {
        match self.in_flight.phase() {
            RequestPhase::Done | RequestPhase::Failed => plant::armed(Bug::DoubleCompletion),
            RequestPhase::Cancelled => plant::armed(Bug::CompletionAfterCancel),
            _ => false,
        }
    }

    /// Ends the request with an error that is not its device's. False if it has ended already.
    pub(crate) fn fail(&self, core: &Core<W>, error: EngineError) -> bool {
        if self.is_settled() {
            return false;
        }
        let queued = self.may_wait();
        let failed = self.publish(Some(core), Err(error));
        if queued {
            drop(core.withdraw(self.id));
        }
        failed
    }

    fn checked(&self, check: bool, work: &W, output: W::Output) -> Result<W::Output, EngineError> {
        if !check || plant::strikes(Bug::SkipCheck, self.id) {
            return Ok(output);
        }
        self.meter.count(|c| &c.checked);
        let verdict = foreign::call(&self.meter, "Work::check", || work.check(&output))
            .unwrap_or(Err(CheckFailed("the check panicked")));
        match verdict {
            Ok(()) => Ok(output),
            Err(why) => {
                self.meter.count(|c| &c.check_failures);
                self.erase(output);
                Err(EngineError::Invalid(why))
            }
        }
    }

    /// An answer that comes too late goes to the sink: counted, wiped, dropped.
    fn late(&self, output: Option<W::Output>) {
        self.meter.count(|c| &c.late);
        tracing::debug!(request = self.id.0, kind = self.kind.name(), "request.late");
        if let Some(output) = output
            && !plant::armed(Bug::SkipErase)
        {
            self.erase(output);
        }
    }

    fn erase(&self, output: W::Output) {
        let _ = foreign::call(&self.meter, "Work::erase", || W::erase(output));
    }

    fn leave_roster(&self, core: &Core<W>) {
        let place = self.place.swap(NOWHERE, Ordering::AcqRel);
        if place != NOWHERE {
            core.leave(Place::from_u32(place));
        }
    }

    fn record_times(&self) {
        let (wait, device) = self.times.so_far();
        self.meter.queue_wait.record(wait);
        self.meter.device_time.record(device);
        tracing::trace!(
            request = self.id.0,
            kind = self.kind.name(),
            wait_us = wait.as_micros() as u64,
            device_us = device.as_micros() as u64,
            "request.complete"
        );
    }

    /// Takes the result. `None` while the request is not settled, and for a cancelled one.
    pub(crate) fn collect(&self) -> Option<Result<W::Output, EngineError>> {
        let result = self.lock().result.take()?;
        let completed = self.times.completed.load(Ordering::Relaxed);
        let delay = Duration::from_nanos(self.meter.now_ns().saturating_sub(completed));
        self.meter.resume_delay.record(delay);
        let (wait, device) = self.times.so_far();
        // On the thread and in the spans of whoever waited: here all three parts of one wait are seen together.
        tracing::trace!(
            request = self.id.0,
            kind = self.kind.name(),
            wait_us = wait.as_micros() as u64,
            device_us = device.as_micros() as u64,
            resume_us = delay.as_micros() as u64,
            "request.collect"
        );
        Some(result)
    }

    /// Gives the request up. Whatever the device still answers goes to the sink.
    pub(crate) fn abandon(&self) {
        let queued = self.may_wait();
        if self.in_flight.cancel() {
            self.meter.count(|c| &c.cancelled);
            tracing::debug!(request = self.id.0, kind = self.kind.name(), "request.cancelled");
            drop(self.take_spare());
            if let Some(core) = self.core.upgrade() {
                self.leave_roster(&core);
                if queued {
                    drop(core.withdraw(self.id));
                }
            }
        } else if let Some(result) = { self.lock().result.take() } {
            self.late(result.ok());
        } else if let Some(core) = self.core.upgrade() {
            // Its session went first, which ended it without a word to the engine.
            drop(self.take_spare());
            self.leave_roster(&core);
            drop(core.withdraw(self.id));
        }
    }

    /// Blocks the thread until the request is settled, or until `timeout` has passed.
    pub(crate) fn block(&self, timeout: Option<Duration>) {
        let mut slot = self.lock();
        self.blocked.swap(true, Ordering::AcqRel);
        while !self.is_settled() {
            match timeout {
                None => slot = self.settled.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    drop(self.settled.wait_timeout(slot, timeout));
                    return;
                }
            }
        }
    }

    /// Wakes the thread that sleeps in [`block`](Self::block), if one does.
    fn unblock(&self) {
        if self.blocked.swap(false, Ordering::AcqRel) {
            // The lock orders this notice after the sleeper's look at the word.
            drop(self.lock());
            self.settled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot<W>> {
        // Nothing panics while the slot is locked, so a poisoned slot is still whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Drop for Cell<W> {
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(output)) = slot.result.take() {
            self.erase(output);
        }
        // Still listed only if it was refused, or if its wait context went away and took the request with it.
        if self.place().is_some()
            && let Some(core) = self.core.upgrade()
        {
            self.leave_roster(&core);
        }
        self.meter.request_gone();
    }
}

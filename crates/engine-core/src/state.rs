//! What the two halves of a request share: the caller's half, and the half that travels to the device.
//!
//! ```text
//!      the caller's side              shared                  the device's side
//!   +----------------+        +-------------------+        +------------------+
//!   | Pending<W>     |--Arc-->| RequestState<W>   |<--Arc--| Request<W>       |
//!   |  wait, cancel  |        |  word (wait-ctx)  |        |  owns the work   |
//!   +----------------+        |  result, spare    |        |  complete(..)    |
//!                             +-------------------+        +------------------+
//! ```
//!
//! Rules:
//! 1. The work belongs to `Request` alone, from submission to completion. A copy for the standby, if the options ask for
//!    one, is kept here until it is used or the request is settled.
//! 2. The result is written by the one caller whose [`InFlight::claim`] won, under the lock of `kept`. So a thread that
//!    sees a settled word and then takes the lock finds the result.
//! 3. The result is taken by `Pending` alone. If `Pending` was dropped first, the claim fails and the result goes to
//!    [`Work::erase`].

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::task::Waker;
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wait_ctx::{Ending, InFlight, RequestPhase};

use crate::error::EngineError;
use crate::event::event;
use crate::foreign::{self, Foreign};
use crate::meter::Meter;
use crate::options::RequestOptions;
use crate::plant::{self, Bug};
use crate::sync::lock;
use crate::work::{CheckFailed, Kind, RequestId, Role, Work};

pub(crate) struct RequestState<W: Work> {
    pub(crate) id: RequestId,
    pub(crate) kind: Kind,
    /// The answer of [`Work::must_check`].
    pub(crate) must_check: bool,
    pub(crate) options: RequestOptions,
    pub(crate) in_flight: InFlight,
    pub(crate) meter: Arc<Meter>,
    /// How many times the device, and the standby, have failed it.
    attempts: [AtomicU32; 2],
    /// Whether the breaker of the device, and of the standby, has counted the failure of the present attempt. The deadline
    /// and the device's error may both come, on two threads.
    failure_counted: [AtomicBool; 2],
    /// The standby has it, or had it.
    pub(crate) on_standby: AtomicBool,
    /// Its key in the engine's registry, or [`UNREGISTERED`].
    registry_key: AtomicU32,
    kept: Mutex<Kept<W>>,
    /// A thread sleeps on `settled` or is about to, or `kept` has the waker of a task. Exchanged, never just read or
    /// written: the second of two threads sees what the first did before.
    waited_for: AtomicBool,
    settled: Condvar,
    times: Times,
}

struct Kept<W: Work> {
    result: Option<Result<W::Output, EngineError>>,
    /// A copy of the work for the standby. Beside a result it is the work itself, for the caller to drop: its thread has
    /// most likely allocated it, and freeing memory of another thread takes the allocator's locks.
    spare: Option<Foreign<W>>,
    /// The task that polls a request whose notifier wakes a session.
    task: Option<Foreign<Waker>>,
}

const UNREGISTERED: u32 = u32::MAX;

/// When the request passed each station, in nanoseconds of the engine's clock.
#[derive(Debug, Default)]
struct Times {
    submitted: AtomicU64,
    accepted: AtomicU64,
    completed: AtomicU64,
}

impl Times {
    /// The time until work on the request began, and from there to its completion.
    fn so_far(&self) -> (Duration, Duration) {
        let [submitted, accepted, completed] =
            [&self.submitted, &self.accepted, &self.completed].map(|at| at.load(Ordering::Relaxed));
        let between = |from, to: u64| Duration::from_nanos(to.saturating_sub(from));
        (between(submitted, accepted), between(accepted, completed))
    }
}

/// A device's answer, with the work that it is for.
pub(crate) struct Answer<W: Work> {
    pub(crate) work: Foreign<W>,
    /// The device that answers.
    pub(crate) role: Role,
    /// Whether the result is checked.
    pub(crate) check: bool,
    pub(crate) result: Result<W::Output, EngineError>,
}

fn registered(key: u32) -> Option<usize> {
    (key != UNREGISTERED).then_some(key as usize)
}

impl<W: Work> RequestState<W> {
    pub(crate) fn new(
        id: RequestId,
        kind: Kind,
        must_check: bool,
        options: RequestOptions,
        in_flight: InFlight,
        meter: &Arc<Meter>,
    ) -> Arc<Self> {
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
            meter: Arc::clone(meter),
            attempts: [AtomicU32::new(0), AtomicU32::new(0)],
            failure_counted: [AtomicBool::new(false), AtomicBool::new(false)],
            on_standby: AtomicBool::new(false),
            registry_key: AtomicU32::new(UNREGISTERED),
            kept: Mutex::new(Kept { result: None, spare: None, task: None }),
            waited_for: AtomicBool::new(false),
            settled: Condvar::new(),
            times,
        })
    }

    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self.in_flight.phase(), RequestPhase::Queued | RequestPhase::Submitted)
    }

    pub(crate) fn is_on_standby(&self) -> bool {
        self.on_standby.load(Ordering::Acquire)
    }

    /// Counts an attempt that a device failed, and returns how many there were.
    pub(crate) fn count_attempt(&self, role: Role) -> u32 {
        self.attempts[role as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Claims the failure of the present attempt for the breaker. False if the breaker has counted it.
    pub(crate) fn claim_failure(&self, role: Role) -> bool {
        !self.failure_counted[role as usize].swap(true, Ordering::AcqRel)
    }

    /// The next attempt may fail anew. Called while no device has the request.
    pub(crate) fn begin_attempt(&self, role: Role) {
        self.failure_counted[role as usize].store(false, Ordering::Release);
    }

    pub(crate) fn registry_key(&self) -> Option<usize> {
        registered(self.registry_key.load(Ordering::Acquire))
    }

    pub(crate) fn set_registry_key(&self, key: usize) {
        let key = u32::try_from(key).expect("four thousand million requests do not fit in memory");
        self.registry_key.store(key, Ordering::Release);
    }

    pub(crate) fn take_registry_key(&self) -> Option<usize> {
        registered(self.registry_key.swap(UNREGISTERED, Ordering::AcqRel))
    }

    pub(crate) fn set_spare(&self, spare: Option<Foreign<W>>) {
        let old = core::mem::replace(&mut self.lock().spare, spare);
        drop(old);
    }

    pub(crate) fn take_spare(&self) -> Option<Foreign<W>> {
        let mut kept = self.lock();
        if kept.result.is_some() { None } else { kept.spare.take() }
    }

    /// Records that the request, having waited, is about to be handed to the device. Before the hand-over, because the
    /// completion may overtake the return of `submit`. A request that did not wait was accepted when it was submitted.
    pub(crate) fn stamp_accepted(&self) {
        self.times.accepted.store(self.meter.now_ns(), Ordering::Relaxed);
    }

    /// Records that the device began its work `before` this call.
    pub(crate) fn stamp_begun(&self, before: Duration) {
        let before = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
        let begun = self.meter.now_ns().saturating_sub(before);
        // Not before the hand-over: the device may have another clock.
        self.times.accepted.fetch_max(begun, Ordering::Relaxed);
    }

    /// Checks an answer. `None` if the request was settled before: the answer is late, and was erased.
    #[inline]
    pub(crate) fn judge(&self, mut answer: Answer<W>) -> Option<Answer<W>> {
        if self.is_settled() && !self.bug_settles_again() {
            // Not worth a check: the claim would fail.
            self.discard_late(answer.result.ok());
            return None;
        }
        answer.result =
            answer.result.and_then(|output| self.check(answer.check, &answer.work, output));
        Some(answer)
    }

    fn check(&self, check: bool, work: &W, output: W::Output) -> Result<W::Output, EngineError> {
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

    /// Settles the request: stores its result with the work, calls `before_wake` and wakes the caller. False if it was
    /// settled before: the result is late, and was erased.
    #[inline]
    pub(crate) fn settle(
        &self,
        work: Option<Foreign<W>>,
        result: Result<W::Output, EngineError>,
        before_wake: impl FnOnce(),
    ) -> bool {
        self.times.completed.store(self.meter.now_ns(), Ordering::Relaxed);
        let ending = if result.is_ok() { Ending::Done } else { Ending::Failed };
        let mut kept = self.lock();
        let claim = self.in_flight.claim(ending);
        if claim.is_none() && !self.bug_settles_again() {
            drop(kept);
            self.discard_late(result.ok());
            return false;
        }
        let error = result.as_ref().err().cloned();
        kept.result = Some(result);
        let spare = core::mem::replace(&mut kept.spare, work);
        drop(kept);
        drop(spare);
        match error {
            None => self.meter.count(|c| &c.completed),
            Some(error) => {
                self.meter.count(|c| &c.failed);
                event!(DEBUG, request = self.id.0, kind = self.kind.name(), %error, "request.failed");
                self.meter.complain(self.kind, &error);
            }
        }
        self.record_times();
        before_wake();
        match claim {
            // Only a planted bug settles without a claim.
            None => self.in_flight.notifier().waker().wake(),
            // The claim's drop would still wake; a bug that loses a wake loses the claim.
            Some(claim) if plant::strikes(Bug::LostWake, self.id) => core::mem::forget(claim),
            Some(claim) => {
                if claim.wake() {
                    self.meter.count(|c| &c.wakes);
                    if plant::strikes(Bug::DoubleWake, self.id) {
                        self.in_flight.notifier().waker().wake();
                    }
                }
            }
        }
        self.wake_waiting();
        true
    }

    /// Whether a planted bug settles a settled request once more.
    fn bug_settles_again(&self) -> bool {
        match self.in_flight.phase() {
            RequestPhase::Done | RequestPhase::Failed => plant::armed(Bug::DoubleCompletion),
            RequestPhase::Cancelled => plant::armed(Bug::CompletionAfterCancel),
            _ => false,
        }
    }

    /// Counts, erases and drops an answer that comes after the request was settled.
    pub(crate) fn discard_late(&self, output: Option<W::Output>) {
        self.meter.count(|c| &c.late);
        event!(DEBUG, request = self.id.0, kind = self.kind.name(), "request.late");
        self.discard(output);
    }

    /// The same for an answer that was there when the caller dropped its half.
    fn discard_uncollected(&self, output: Option<W::Output>) {
        self.meter.count(|c| &c.uncollected);
        event!(DEBUG, request = self.id.0, kind = self.kind.name(), "request.uncollected");
        self.discard(output);
    }

    fn discard(&self, output: Option<W::Output>) {
        if let Some(output) = output
            && !plant::armed(Bug::SkipErase)
        {
            self.erase(output);
        }
    }

    fn erase(&self, output: W::Output) {
        let _ = foreign::call(&self.meter, "Work::erase", || W::erase(output));
    }

    fn record_times(&self) {
        let (wait, device) = self.times.so_far();
        self.meter.queue_wait.record(wait);
        self.meter.device_time.record(device);
        event!(
            TRACE,
            request = self.id.0,
            kind = self.kind.name(),
            wait_us = wait.as_micros() as u64,
            device_us = device.as_micros() as u64,
            "request.complete"
        );
    }

    /// Takes the result. `None` while the request is not settled, and for a cancelled one.
    pub(crate) fn collect(&self) -> Option<Result<W::Output, EngineError>> {
        let (result, task, work) = {
            let mut kept = self.lock();
            (kept.result.take()?, kept.task.take(), kept.spare.take())
        };
        drop((task, work));
        let completed = self.times.completed.load(Ordering::Relaxed);
        let delay = Duration::from_nanos(self.meter.now_ns().saturating_sub(completed));
        self.meter.resume_delay.record(delay);
        let (wait, device) = self.times.so_far();
        // On the caller's thread and in its spans: here all three parts of the wait are seen together.
        event!(
            TRACE,
            request = self.id.0,
            kind = self.kind.name(),
            wait_us = wait.as_micros() as u64,
            device_us = device.as_micros() as u64,
            resume_us = delay.as_micros() as u64,
            "request.collect"
        );
        Some(result)
    }

    /// Cancels the request, because its caller drops its half. A result that was not collected is erased. True if the engine
    /// may still have the request: it was not settled, but cancelled by this call or, without a word to the engine, by the
    /// end of its session.
    pub(crate) fn abandon(&self) -> bool {
        drop(self.take_task());
        if self.in_flight.cancel() {
            self.note_cancelled();
            drop(self.take_spare());
            return true;
        }
        let (result, work) = {
            let mut kept = self.lock();
            (kept.result.take(), kept.spare.take())
        };
        drop(work);
        let Some(result) = result else {
            self.note_cancelled();
            return true;
        };
        self.discard_uncollected(result.ok());
        false
    }

    fn note_cancelled(&self) {
        self.meter.count(|c| &c.cancelled);
        event!(DEBUG, request = self.id.0, kind = self.kind.name(), "request.cancelled");
    }

    /// Blocks the thread until the request is settled, or until `timeout` has passed.
    pub(crate) fn block(&self, timeout: Option<Duration>) {
        let mut kept = self.lock();
        self.waited_for.swap(true, Ordering::AcqRel);
        while !self.is_settled() {
            match timeout {
                None => kept = self.settled.wait(kept).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    drop(self.settled.wait_timeout(kept, timeout));
                    return;
                }
            }
        }
    }

    /// Sets the task to be woken besides the session. Called before the request is armed.
    pub(crate) fn set_task(&self, waker: &Waker) {
        let task = Foreign::new(waker.clone());
        let old = self.lock().task.replace(task);
        self.waited_for.swap(true, Ordering::AcqRel);
        drop(old);
    }

    fn take_task(&self) -> Option<Foreign<Waker>> {
        self.lock().task.take()
    }

    /// Wakes the thread that sleeps in [`block`](Self::block) and the [task](Self::set_task), if there are any.
    pub(crate) fn wake_waiting(&self) {
        if self.waited_for.swap(false, Ordering::AcqRel) {
            // The lock orders this notification after the sleeper's check of the word.
            let task = self.take_task();
            self.settled.notify_one();
            if let Some(task) = task {
                let _ = foreign::call(&self.meter, "a task's waker", || task.wake_by_ref());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept<W>> {
        lock(&self.kept)
    }
}

impl<W: Work> Drop for RequestState<W> {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(output)) = kept.result.take() {
            self.erase(output);
        }
        self.meter.request_gone();
    }
}
